"""Answers that grow by Slack's own streaming: what people see, what stands in the end, and what goes wrong."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from adapters.base import Delivery, Found, OutcomeUnknownError, RetryLaterError, SearchOutcome, UndeliverableError
from adapters.slack import SlackAdapter
from adapters.slack.constants import MAX_STREAM, STREAMS_A_MINUTE
from adapters.testing.slack import Channel, Fault, Message, Person, SlackServer
from tests.support.platform_host import FakeHost
from tests.unit.slack.support import built, delivery, running

METHODS = ("chat.startStream", "chat.appendStream", "chat.stopStream", "chat.postMessage", "chat.update")


@pytest.fixture
async def chat(server: SlackServer, ann: Person) -> Channel:
    return server.direct(ann)


@pytest.fixture
async def root(ann: Person, chat: Channel) -> Message:
    return ann.writes(chat, "tell me")


@pytest.fixture
async def other(server: SlackServer) -> AsyncIterator[SlackAdapter]:
    """An adapter that knows nothing of what the first one did."""
    host = FakeHost()
    async with running(built(server, host), host) as adapter:
        yield adapter


def growing(adapter: SlackAdapter, root: Message, text: str, **fields: Any) -> Delivery:
    made = {"final": False, "id": 7, "turn_id": "t"} | fields
    return delivery(root.channel, text, adapter, thread=root, **made)


def calls(server: SlackServer) -> list[str]:
    return [request.method.removeprefix("chat.") for request in server.requests if request.method in METHODS]


async def test_an_answer_grows_and_is_replaced(server: SlackServer, root: Message, adapter: SlackAdapter) -> None:
    ts = await adapter.send(growing(adapter, root, "**One"))
    await adapter.edit(growing(adapter, root, "**One** and", message_id=ts))
    await adapter.edit(growing(adapter, root, "**One** and", message_id=ts))
    (shown,) = server.shown(root.channel, by=server.bot)
    assert (shown.thread_ts, shown.text, shown.streaming) == (root.ts, "**One** and", True)
    await adapter.edit(growing(adapter, root, "**One** and two.", message_id=ts, final=True))
    assert (shown.text, shown.streaming) == ("*One* and two.", False)
    assert shown.content.metadata == {
        "event_type": "hermes_delivery",
        "event_payload": {"id": 7, "part": 0, "turn": "t"},
    }
    assert calls(server) == ["startStream", "appendStream", "stopStream", "update"]


async def test_a_stream_calls_nobody(server: SlackServer, ann: Person, root: Message, adapter: SlackAdapter) -> None:
    text = f"<!channel> <@{ann.id}> @here [bank](https://evil.example) &lt;!here&gt; `<!everyone>`"
    ts = await adapter.send(growing(adapter, root, text[:5]))
    await adapter.edit(growing(adapter, root, text, message_id=ts))
    (shown,) = server.shown(root.channel, by=server.bot)
    assert shown.streaming
    assert shown.notified == ()
    assert "](" not in shown.text
    assert shown.text.replace("\N{WORD JOINER}", "") == text


@pytest.mark.parametrize(
    "fields",
    [
        {"final": True},
        {"repeated": True},
        {"text": "x" * (MAX_STREAM + 1)},
        {"part": 1, "content": None},
    ],
    ids=["complete", "a repeat", "long", "a further message"],
)
async def test_what_is_not_streamed(
    server: SlackServer, root: Message, adapter: SlackAdapter, fields: dict[str, Any]
) -> None:
    made = growing(adapter, root, "hello")
    text = str(fields.pop("text", made.text))
    content = adapter.composer().update(text, final=True, shown=0).parts[0]
    await adapter.send(replace(made, **fields | {"text": text, "content": content}))
    assert calls(server) == ["postMessage"]


async def test_places_that_have_no_streams(server: SlackServer, ann: Person, chat: Channel, host: FakeHost) -> None:
    general = server.channel("general", ann)
    thread = ann.writes(general, "?")
    async with running(built(server, host), host) as adapter:
        await adapter.send(growing(adapter, thread, "in a channel others would not see it grow"))
        await adapter.send(delivery(chat, "outside of threads", adapter, final=False))
    async with running(built(server, host, streaming=False), host) as adapter:
        await adapter.send(growing(adapter, ann.writes(chat, "?"), "not wanted"))
    assert calls(server) == ["postMessage"] * 3


@pytest.mark.parametrize("fault", [Fault.error(200, "channel_type_not_supported"), Fault.flood(30)])
async def test_a_workspace_without_streams(
    server: SlackServer, root: Message, adapter: SlackAdapter, fault: Fault
) -> None:
    server.inject(fault, "chat.startStream", times=None)
    ts = await adapter.send(growing(adapter, root, "one"))
    await adapter.edit(growing(adapter, root, "one two", message_id=ts))
    await adapter.send(growing(adapter, root, "next", id=8))
    assert [message.text for message in server.shown(root.channel, by=server.bot)] == ["one two", "next"]
    assert calls(server) == ["startStream", "postMessage", "update", "postMessage"]
    assert server.violations == []


async def test_only_so_many_streams_a_minute(server: SlackServer, root: Message, adapter: SlackAdapter) -> None:
    for number in range(STREAMS_A_MINUTE + 2):
        await adapter.send(growing(adapter, root, f"answer {number}", id=number))
    assert calls(server) == ["startStream"] * STREAMS_A_MINUTE + ["postMessage"] * 2


async def test_a_place_that_is_refused_tells_why(server: SlackServer, root: Message, adapter: SlackAdapter) -> None:
    missing = replace(growing(adapter, root, "one"))
    missing = replace(missing, target=replace(missing.target, chat_id="D0GONE"))
    with pytest.raises(UndeliverableError, match="no such channel"):
        await adapter.send(missing)


# --- what goes wrong while it grows --------------------------------------------------------------------


async def test_a_text_that_begins_anew(server: SlackServer, root: Message, adapter: SlackAdapter) -> None:
    ts = await adapter.send(growing(adapter, root, "one way"))
    await adapter.edit(growing(adapter, root, "another way", message_id=ts))
    await adapter.edit(growing(adapter, root, "another way to say it", message_id=ts))
    (shown,) = server.shown(root.channel, by=server.bot)
    assert shown.texts == ("one way", "one way", "another way", "another way to say it")
    assert calls(server) == ["startStream", "stopStream", "update", "update"]


async def test_a_text_that_outgrows_its_message(server: SlackServer, root: Message, adapter: SlackAdapter) -> None:
    ts = await adapter.send(growing(adapter, root, "short"))
    second = growing(adapter, root, "short and more", part=1, content=growing(adapter, root, "and more").content)
    await adapter.send(second)
    first = replace(second, part=0, message_id=ts, content=growing(adapter, root, "short").content)
    await adapter.edit(first)
    assert [message.text for message in server.shown(root.channel, by=server.bot)] == ["short", "and more"]


@pytest.mark.parametrize("accepted", [False, True])
async def test_a_piece_of_which_nobody_knows_is_not_written_twice(
    server: SlackServer, root: Message, adapter: SlackAdapter, accepted: bool
) -> None:
    ts = await adapter.send(growing(adapter, root, "one"))
    server.inject(Fault.error(accepted=accepted), "chat.appendStream")
    with pytest.raises(OutcomeUnknownError):
        await adapter.edit(growing(adapter, root, "one two", message_id=ts))
    await adapter.edit(growing(adapter, root, "one two three", message_id=ts))
    (shown,) = server.shown(root.channel, by=server.bot)
    assert shown.text == "one two three"
    assert not shown.streaming


async def test_a_limit_is_told_and_the_stream_goes_on(
    server: SlackServer, root: Message, adapter: SlackAdapter
) -> None:
    ts = await adapter.send(growing(adapter, root, "one"))
    server.inject(Fault.flood(3), "chat.appendStream")
    with pytest.raises(RetryLaterError):
        await adapter.edit(growing(adapter, root, "one two", message_id=ts))
    server.limits._closed.clear()
    await adapter.edit(growing(adapter, root, "one two", message_id=ts))
    (shown,) = server.shown(root.channel, by=server.bot)
    assert (shown.text, shown.streaming) == ("one two", True)


async def test_a_stream_that_slack_has_ended(server: SlackServer, root: Message, adapter: SlackAdapter) -> None:
    ts = await adapter.send(growing(adapter, root, "one"))
    (shown,) = server.shown(root.channel, by=server.bot)
    assert shown.stream is not None
    shown.stream.stopped = True
    await adapter.edit(growing(adapter, root, "one two", message_id=ts))
    assert shown.text == "one two"


@pytest.mark.parametrize("accepted", [False, True])
async def test_an_end_of_which_nobody_knows(
    server: SlackServer, root: Message, adapter: SlackAdapter, accepted: bool
) -> None:
    ts = await adapter.send(growing(adapter, root, "one"))
    server.inject(Fault.error(accepted=accepted), "chat.stopStream")
    complete = growing(adapter, root, "one two", message_id=ts, final=True)
    with pytest.raises(OutcomeUnknownError):
        await adapter.edit(complete)
    await adapter.edit(complete)
    (shown,) = server.shown(root.channel, by=server.bot)
    assert (shown.text, shown.streaming) == ("one two", False)


async def test_the_stream_of_an_earlier_process(
    server: SlackServer, root: Message, adapter: SlackAdapter, other: SlackAdapter
) -> None:
    ts = await adapter.send(growing(adapter, root, "one"))
    await other.edit(growing(other, root, "one two", message_id=ts, final=True))
    (shown,) = server.shown(root.channel, by=server.bot)
    assert (shown.text, shown.streaming) == ("one two", False)


# --- a beginning without an answer ---------------------------------------------------------------------


@pytest.mark.parametrize("accepted", [False, True])
async def test_a_beginning_without_an_answer_is_found(
    server: SlackServer, ann: Person, root: Message, adapter: SlackAdapter, other: SlackAdapter, accepted: bool
) -> None:
    before = await adapter.send(growing(adapter, root, "earlier", id=6, final=True))
    server.inject(Fault.error(accepted=accepted), "chat.startStream")
    with pytest.raises(OutcomeUnknownError):
        await adapter.send(growing(adapter, root, "one"))
    ann.writes(root.channel, "meanwhile", thread=root)
    sought = growing(other, root, "one two", before=(root.ts, before), final=True)
    outcome = await other.find(sought)
    if accepted:
        shown = server.shown(root.channel, by=server.bot)[-1]
        assert outcome == Found(shown.ts)
        await other.edit(replace(sought, message_id=shown.ts))
        assert (shown.text, shown.streaming) == ("one two", False)
    else:
        assert outcome is SearchOutcome.ABSENT


async def test_what_another_delivery_has_is_not_taken(
    server: SlackServer, root: Message, adapter: SlackAdapter, other: SlackAdapter
) -> None:
    streamed = await adapter.send(growing(adapter, root, "one", id=6))
    sought = growing(other, root, "two", id=7, before=(root.ts,))
    assert await other.find(replace(sought, others=(streamed,))) is SearchOutcome.ABSENT
    assert await other.find(replace(sought, part=1)) is SearchOutcome.ABSENT
    assert await other.find(sought) == Found(streamed)
