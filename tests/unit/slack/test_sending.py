"""What goes out, and how each refusal is told."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from adapters.base import (
    Button,
    DeliveryError,
    MediaKind,
    NotConnectedError,
    OutcomeUnknownError,
    OutgoingFile,
    RetryLaterError,
    Target,
    UndeliverableError,
)
from adapters.slack import SlackAdapter
from adapters.slack.client import Client, SlackError
from adapters.slack.failures import delivery_error
from adapters.slack.send import keyboard
from adapters.testing.slack import Fault, Person, SlackServer
from config import Platform
from tests.support.platform_host import FakeHost
from tests.support.slack import MARK, TIMING
from tests.unit.slack.support import built, delivery, running


async def test_a_message_in_a_thread_is_ours_by_its_metadata(
    server: SlackServer, ann: Person, adapter: SlackAdapter
) -> None:
    general = server.channel("general", ann)
    root = ann.writes(general, "?")
    ts = await adapter.send(delivery(general, "**a** <!here>", adapter, thread=root, id=7, part=0, turn_id="t"))
    (shown,) = server.shown(general, by=server.bot)
    assert (shown.ts, shown.thread_ts, shown.text, shown.notified) == (ts, root.ts, "*a* <!here>", ())
    assert shown.content.metadata == {
        "event_type": "hermes_delivery",
        "event_payload": {"id": 7, "part": 0, "turn": "t"},
    }
    await adapter.edit(delivery(general, "b", adapter, thread=root, id=7, message_id=ts))
    assert shown.texts == ("*a* <!here>", "b")
    assert shown.content.metadata is not None
    await adapter.delete(delivery(general, "b", adapter, message_id=ts))
    await adapter.delete(delivery(general, "b", adapter, message_id=ts))
    assert server.shown(general, by=server.bot) == ()


async def test_what_takes_no_replies_is_answered_in_the_channel(
    server: SlackServer, ann: Person, adapter: SlackAdapter, tmp_path: Path
) -> None:
    general = server.channel("general", ann)
    root = ann.writes(general, "?")
    root.takes_replies = False
    sent = [await adapter.send(delivery(general, text, adapter, thread=root, id=7)) for text in ("a", "b")]
    path = tmp_path / "a.txt"
    path.write_text("a")
    file = OutgoingFile(MediaKind.DOCUMENT, str(path), "a.txt", "text/plain")
    await adapter.send(delivery(general, "", adapter, thread=root, content=file))
    shown = server.shown(general, by=server.bot)
    assert [each.ts for each in shown[:2]] == sent
    assert [each.thread_ts for each in shown] == [None, None, None]
    assert len(server.requests.of("chat.postMessage")) == 3, "Slack is asked once whether there can be a thread"


async def test_channel_without_threads(server: SlackServer, ann: Person, adapter: SlackAdapter) -> None:
    general = server.channel("general", ann)
    server.inject(Fault.error(200, "restricted_action_non_threadable_channel"), "chat.postMessage")
    await adapter.send(delivery(general, "a", adapter, thread=ann.writes(general, "?")))
    assert [each.thread_ts for each in server.shown(general, by=server.bot)] == [None]


async def test_a_repeat_is_marked(server: SlackServer, ann: Person, adapter: SlackAdapter) -> None:
    chat = server.direct(ann)
    await adapter.send(delivery(chat, "x" * 3900, adapter, repeated=True))
    (shown,) = server.shown(chat)
    assert shown.text == f"{MARK}\n{'x' * 3900}"
    assert not shown.over_advice


async def test_a_person_can_be_written_to_by_their_id(server: SlackServer, ann: Person, adapter: SlackAdapter) -> None:
    chat = server.direct(ann)
    ts = await adapter.send(delivery(chat, "a", adapter, chat_id=ann.id))
    await adapter.edit(delivery(chat, "b", adapter, chat_id=ann.id, message_id=ts))
    assert [message.text for message in server.shown(chat)] == ["b"]
    assert len(server.requests.of("conversations.open")) == 1


async def test_a_repeat_says_so_however_it_grows(server: SlackServer, ann: Person, adapter: SlackAdapter) -> None:
    chat = server.direct(ann)
    given = delivery(chat, "one", adapter, repeated=True, final=False)
    ts = await adapter.send(given)
    grown = replace(delivery(chat, "one and two", adapter, repeated=True), message_id=ts)
    await adapter.edit(grown)
    await adapter.edit(replace(grown, final=True, buttons=((Button("New", "/new"),),)))
    (shown,) = server.shown(chat)
    assert all(MARK in text for text in shown.texts)
    assert shown.text == f"{MARK}\none and two\n[New]"


# --- what can be pressed -------------------------------------------------------------------------------


async def test_buttons_stand_below_a_text_of_any_length(
    server: SlackServer, ann: Person, adapter: SlackAdapter, host: FakeHost
) -> None:
    chat = server.direct(ann)
    rows = ((Button("Yes", "/new"), Button("No", "/stop")), (Button("Help", "/help"),))
    text = "word < word. " * 230
    given = delivery(chat, text, adapter, buttons=rows)
    ts = await adapter.send(given)
    (shown,) = server.shown(chat)
    assert [button["value"] for button in shown.buttons] == ["/new", "/stop", "/help"]
    assert "".join(shown.text.split()).startswith("".join(text.split()))
    for presses in (1, 2):
        ann.presses(shown, "/help")
        await host.until(lambda: len(host.accepted) == presses)  # noqa: B023
    assert [each.text for each in host.accepted] == ["/help", "/help"]
    assert len({each.message_id for each in host.accepted}) == 2
    assert {each.source.user_id for each in host.accepted} == {ann.id}
    await adapter.edit(replace(given, message_id=ts, buttons=()))
    assert shown.buttons == ()


async def test_a_text_above_buttons_calls_nobody(server: SlackServer, ann: Person, adapter: SlackAdapter) -> None:
    general = server.channel("general", ann)
    text = f"@channel wants in, and so do @here, <!everyone> and <@{ann.id}>"
    await adapter.send(delivery(general, text, adapter, buttons=((Button("Yes", "/new"),),)))
    (shown,) = server.shown(general)
    assert shown.notified == ()
    assert shown.text == f"{text}\n[Yes]"


async def test_a_long_row_is_a_menu(server: SlackServer, ann: Person, adapter: SlackAdapter, host: FakeHost) -> None:
    chat = server.direct(ann)
    row = tuple(Button(f"Model {number}", f"/model {number}") for number in range(8))
    await adapter.send(delivery(chat, "Which?", adapter, buttons=(row,)))
    (shown,) = server.shown(chat)
    ann.selects(shown, "press:0:menu", "/model 5")
    await host.until(lambda: host.texts == ["/model 5"])


def test_what_slack_has_no_room_for_is_left_out() -> None:
    rows = [[Button("a" * 100, "/x"), Button("b", "/" + "y" * 2_000), Button("", "/z")], [Button("c", "")]]
    (block,) = keyboard(rows)
    (element,) = block["elements"]
    assert (len(element["text"]["text"]), element["value"]) == (75, "/x")


# --- refusals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.flood(7), RetryLaterError),
        (Fault.error(200, "ratelimited"), RetryLaterError),
        (Fault.error(200, "service_unavailable"), RetryLaterError),
        (Fault.error(200, "team_added_to_org"), RetryLaterError),
        (Fault.error(200, "org_login_required"), RetryLaterError),
        (Fault.error(200, "external_channel_migrating"), RetryLaterError),
        (Fault.error(200, "ekm_access_denied"), RetryLaterError),
        (Fault.error(500), OutcomeUnknownError),
        (Fault.error(503), OutcomeUnknownError),
        (Fault.error(200, "fatal_error"), OutcomeUnknownError),
        (Fault.error(200, "internal_error"), OutcomeUnknownError),
        (Fault.drop(), OutcomeUnknownError),
        (Fault.reset(accepted=True), OutcomeUnknownError),
        (Fault.silence(accepted=True), OutcomeUnknownError),
        (Fault.error(200, "invalid_auth"), NotConnectedError),
        (Fault.error(200, "not_in_channel"), UndeliverableError),
        (Fault.error(200, "team_access_not_granted"), UndeliverableError),
        (Fault.error(200, "is_archived"), UndeliverableError),
        (Fault.error(200, "something_new"), UndeliverableError),
    ],
)
async def test_what_a_failure_means(
    server: SlackServer, ann: Person, adapter: SlackAdapter, fault: Fault, error: type[DeliveryError]
) -> None:
    chat = server.direct(ann)
    server.inject(fault, "chat.postMessage")
    with pytest.raises(error) as raised:
        await adapter.send(delivery(chat, "hello", adapter))
    assert server.bot.token not in str(raised.value)
    if isinstance(raised.value, RetryLaterError) and fault.seconds:
        assert raised.value.retry_after == 7
    assert len(server.requests.of("chat.postMessage")) == 1


@pytest.mark.parametrize("status", [403, 404, 407])
async def test_a_page_of_something_on_the_way_is_no_refusal(status: int) -> None:
    async def page(_request: web.Request) -> web.Response:
        return web.Response(status=status, text="<html>blocked</html>", content_type="text/html")

    site = web.Application()
    site.router.add_route("*", "/{rest:.*}", page)
    async with TestServer(site) as proxy:
        client = Client("xoxb-1", str(proxy.make_url("/")), TIMING)
        try:
            with pytest.raises(SlackError, match=str(status)) as raised:
                await client.call(client.web.chat_postMessage(channel="D1", text="hello"))
        finally:
            await client.close()
    assert isinstance(delivery_error(raised.value), OutcomeUnknownError)


async def test_a_server_that_is_not_there(server: SlackServer, ann: Person, adapter: SlackAdapter) -> None:
    chat = server.direct(ann)
    given = delivery(chat, "hello", adapter)
    await server.stop()
    with pytest.raises(NotConnectedError):
        await adapter.send(given)


async def test_a_missing_scope_is_named(server: SlackServer, ann: Person, adapter: SlackAdapter) -> None:
    chat = server.direct(ann)
    server.bot.scopes.remove("chat:write")
    with pytest.raises(UndeliverableError, match="lacks the scope chat:write"):
        await adapter.send(delivery(chat, "hello", adapter))


async def test_what_was_not_sent_by_us_cannot_be_edited(
    server: SlackServer, ann: Person, adapter: SlackAdapter
) -> None:
    chat = server.direct(ann)
    theirs = ann.writes(chat, "mine")
    for message_id in (theirs.ts, "1700000000.000001", "file:F1", None):
        with pytest.raises(UndeliverableError):
            await adapter.edit(delivery(chat, "hello", adapter, message_id=message_id))


async def test_nothing_goes_out_unconnected(server: SlackServer, ann: Person, host: FakeHost) -> None:
    adapter = built(server, host)
    with pytest.raises(NotConnectedError):
        await adapter.send(delivery(server.direct(ann), "hello", adapter))


# --- the sign that something is being written ----------------------------------------------------------


async def test_a_status_does_not_outlive_the_answer(server: SlackServer, ann: Person, adapter: SlackAdapter) -> None:
    chat = server.direct(ann)
    root = ann.writes(chat, "?")
    target = Target(Platform.SLACK, chat.id, root.ts)

    async def answer(_: Any) -> None:
        await adapter.send(delivery(chat, "!", adapter, thread=root))

    server.inject(Fault.call(answer, accepted=False), "assistant.threads.setStatus")
    await adapter.typing(target)
    assert [status.text for status in chat.statuses] == ["is thinking…", ""]
    await adapter.typing(target)
    assert chat.statuses[-1].text == "is thinking…"
    await adapter.typing(Target(Platform.SLACK, chat.id))
    assert len(server.requests.of("assistant.threads.setStatus")) == 3


async def test_no_answer_waits_for_the_limit_of_the_status(
    server: SlackServer, ann: Person, adapter: SlackAdapter
) -> None:
    """Slack limits each method by itself; what is raised as a limit holds back all that goes to a conversation."""
    chat = server.direct(ann)
    root = ann.writes(chat, "?")
    server.inject(Fault.flood(60), "assistant.threads.setStatus")
    target = Target(Platform.SLACK, chat.id, root.ts)
    with pytest.raises(UndeliverableError):
        await adapter.typing(target)
    await adapter.typing(target)
    assert len(server.requests.of("assistant.threads.setStatus")) == 1


async def test_what_the_pane_needs_is_not_needed_for_the_status(
    server: SlackServer, ann: Person, host: FakeHost, caplog: pytest.LogCaptureFixture
) -> None:
    chat = server.direct(ann)
    root = ann.writes(chat, "?")
    server.bot.scopes.remove("assistant:write")
    async with running(built(server, host), host) as adapter:
        await adapter.typing(Target(Platform.SLACK, chat.id, root.ts))
    assert [status.text for status in chat.statuses] == ["is thinking…"]
    assert "assistant:write (the pane suggests nothing)" in caplog.text


async def test_without_the_scope_nobody_asks_again(server: SlackServer, ann: Person, adapter: SlackAdapter) -> None:
    chat = server.direct(ann)
    root = ann.writes(chat, "?")
    server.bot.scopes -= {"assistant:write", "chat:write"}
    target = Target(Platform.SLACK, chat.id, root.ts)
    with pytest.raises(UndeliverableError):
        await adapter.typing(target)
    await adapter.typing(target)
    assert len(server.requests.of("assistant.threads.setStatus")) == 1
