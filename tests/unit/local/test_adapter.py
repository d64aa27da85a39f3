"""The gateway's side: receipts, acknowledgements, growth, search, and clients that misbehave."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.local.adapter import LocalAdapter
from adapters.local.protocol import MAX_PIECE_CHARACTERS, Bye, Held, Hello
from config import LocalConfig
from gateway.frames import connect
from gateway.ports import (
    AdapterState,
    Found,
    InboundState,
    NotConnectedError,
    OutcomeUnknownError,
    SearchOutcome,
)
from tests.unit.local.support import FakeGateway, FakeHost, RawClient, Store, attached, delivery, oversized_frame


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[FakeGateway]:
    async with FakeGateway(tmp_path / "s", acknowledge_seconds=0.3) as gateway:
        yield gateway


async def test_capabilities_are_those_of_a_terminal() -> None:
    capabilities = LocalAdapter(LocalConfig(), FakeHost(Store())).capabilities
    assert capabilities.edit
    assert capabilities.find
    assert capabilities.operator
    assert not capabilities.typing
    assert not capabilities.redactable_ids
    assert capabilities.edit_interval == 0.0
    assert capabilities.max_length is None
    assert capabilities.note is None


async def test_connected_once_served_and_again_with_each_client(gateway: FakeGateway) -> None:
    assert gateway.host.states == [AdapterState.CONNECTED]
    await gateway.client()
    await attached(gateway, "raw")
    assert gateway.host.states == [AdapterState.CONNECTED] * 2


async def test_a_message_is_stored_before_its_receipt(gateway: FakeGateway) -> None:
    client = await gateway.client()
    await client.say("m1", "hello\nthere")
    assert await client.frame("accepted") == {
        "op": "accepted",
        "id": "m1",
        "state": "pending",
        "duplicate": False,
    }
    stored = gateway.store.messages["m1"]
    assert stored.text == "hello\nthere"
    assert stored.source.chat_id == "cli"
    assert stored.sent_at is not None


async def test_a_message_sent_again_is_a_duplicate(gateway: FakeGateway) -> None:
    client = await gateway.client()
    for _ in range(2):
        await client.say("m1", "hello")
    assert not (await client.frame("accepted"))["duplicate"]
    assert (await client.frame("accepted"))["duplicate"]
    assert gateway.store.texts == ["hello"]


async def test_messages_keep_their_order(gateway: FakeGateway) -> None:
    client = await gateway.client()
    for number in range(50):
        await client.say(f"m{number}", str(number))
    for number in range(50):
        assert (await client.frame("accepted"))["id"] == f"m{number}"
    assert gateway.store.texts == [str(number) for number in range(50)]


async def test_busy_and_broken_storage_ask_for_the_message_again(gateway: FakeGateway) -> None:
    gateway.host.busy, gateway.host.broken = 1, 1
    client = await gateway.client()
    for _ in range(2):
        await client.say("m1", "hello")
        assert (await client.frame("busy"))["id"] == "m1"
    await client.say("m1", "hello")
    assert (await client.frame("accepted"))["id"] == "m1"


async def test_a_refused_message_is_received_and_told_of_by_its_delivery_alone(gateway: FakeGateway) -> None:
    gateway.host.refuse["no"] = "the queue is full"
    client = await gateway.client()
    await client.say("m1", "no")
    frames = [await client.next(), await client.next(), await client.next()]
    assert [(frame["op"], frame.get("state"), frame.get("text")) for frame in frames] == [
        ("peers", None, None),
        ("accepted", "refused", None),
        ("show", None, "the queue is full"),
    ]


# --- deliveries ----------------------------------------------------------------------------------------


async def test_nobody_attached_means_not_connected(gateway: FakeGateway) -> None:
    for call in (gateway.adapter.send, gateway.adapter.edit, gateway.adapter.find):
        with pytest.raises(NotConnectedError):
            await call(delivery(1, "hi"))
    with pytest.raises(NotConnectedError):
        await gateway.adapter.edit(delivery(1, "hi", final=False))


async def test_send_returns_once_a_client_acknowledged(gateway: FakeGateway) -> None:
    client = await gateway.client()
    await attached(gateway, "raw")
    sending = asyncio.create_task(gateway.adapter.send(delivery(7, "hi", answers=("m1",))))
    shown = await client.frame("show")
    assert (shown["id"], shown["text"], shown["final"], shown["answers"]) == (7, "hi", True, ["m1"])
    assert not sending.done()
    await client.ack(7)
    assert await sending == "7"


async def test_one_of_two_clients_is_enough(gateway: FakeGateway) -> None:
    first, second = [await gateway.client(name=name) for name in ("a", "b")]
    await attached(gateway, "a", "b")
    sending = asyncio.create_task(gateway.adapter.send(delivery(7, "hi")))
    await first.frame("show")
    await second.frame("show")
    await second.ack(7)
    assert await sending == "7"
    assert set(gateway.adapter._attached) == {"a", "b"}


async def test_a_silent_client_is_dropped_and_the_outcome_unknown(gateway: FakeGateway) -> None:
    await gateway.client()
    await attached(gateway, "raw")
    with pytest.raises(OutcomeUnknownError, match=r"0\.3 s"):
        await gateway.adapter.send(delivery(7, "hi"))
    await attached(gateway)


async def test_a_client_that_is_still_showing_is_waited_for(gateway: FakeGateway) -> None:
    client = await gateway.client()
    await attached(gateway, "raw")
    sending = asyncio.create_task(gateway.adapter.send(delivery(7, "hi")))
    await client.frame("show")
    for _ in range(6):
        await asyncio.sleep(0.1)
        await client.connection.send(Held(id=7).wire())
    await client.ack(7)
    assert await sending == "7"


async def test_a_client_that_leaves_first_makes_the_outcome_unknown(gateway: FakeGateway) -> None:
    client = await gateway.client()
    await attached(gateway, "raw")
    sending = asyncio.create_task(gateway.adapter.send(delivery(7, "hi")))
    await client.frame("show")
    await client.close()
    with pytest.raises(OutcomeUnknownError):
        await sending


async def test_a_client_that_attaches_meanwhile_can_acknowledge(gateway: FakeGateway) -> None:
    gateway.adapter._acknowledge_seconds = 5
    silent = await gateway.client(name="silent")
    await attached(gateway, "silent")
    sending = asyncio.create_task(gateway.adapter.send(delivery(7, "hi")))
    await silent.frame("show")
    other = await gateway.client(name="other")
    await other.frame("show")
    await other.ack(7)
    assert await sending == "7"


async def test_growth_goes_out_as_deltas_without_waiting(gateway: FakeGateway) -> None:
    client = await gateway.client()
    await attached(gateway, "raw")
    sending = asyncio.create_task(gateway.adapter.send(delivery(7, "one", final=False)))
    await client.frame("show")
    await client.ack(7, final=False)
    await sending
    await gateway.adapter.edit(delivery(7, "one two", final=False))
    grown = await client.frame("grow")
    assert (grown["text"], grown["final"], grown["ack"]) == (" two", False, False)
    await gateway.adapter.edit(delivery(7, "other", final=False))
    assert (await client.frame("show"))["text"] == "other"
    ending = asyncio.create_task(gateway.adapter.edit(delivery(7, "other end", answers=("m1",))))
    grown = await client.frame("grow")
    assert (grown["text"], grown["final"], grown["ack"], grown["answers"]) == (" end", True, True, ["m1"])
    assert not ending.done()
    await client.ack(7)
    await ending


async def test_a_final_edit_without_new_text_is_acknowledged_too(gateway: FakeGateway) -> None:
    client = await gateway.client()
    await attached(gateway, "raw")
    sending = asyncio.create_task(gateway.adapter.send(delivery(7, "one", final=False)))
    await client.frame("show")
    await client.ack(7, final=False)
    await sending
    ending = asyncio.create_task(gateway.adapter.edit(delivery(7, "one")))
    assert (await client.frame("grow"))["text"] == ""
    await client.ack(7)
    await ending


async def test_who_attaches_late_gets_the_whole_text_so_far(gateway: FakeGateway) -> None:
    client = await gateway.client(name="a")
    await attached(gateway, "a")
    sending = asyncio.create_task(gateway.adapter.send(delivery(7, "one", final=False)))
    await client.frame("show")
    await client.ack(7, final=False)
    await sending
    await gateway.adapter.edit(delivery(7, "one two", final=False))
    late = await gateway.client(name="b")
    assert (await late.frame("show"))["text"] == "one two"
    await gateway.adapter.edit(delivery(7, "one two three", final=False))
    assert (await late.frame("grow"))["text"] == " three"


async def test_a_very_long_text_comes_in_pieces(gateway: FakeGateway) -> None:
    client = await gateway.client()
    await attached(gateway, "raw")
    text = "\N{PARTY POPPER}" * (2 * MAX_PIECE_CHARACTERS + 10)
    gateway.adapter._acknowledge_seconds = 20
    sending = asyncio.create_task(gateway.adapter.send(delivery(7, text)))
    got = (await client.frame("show"))["text"]
    for final in (False, True):
        piece = await client.frame("grow")
        assert (piece["final"], piece["ack"]) == (final, final)
        got += piece["text"]
    await client.ack(7)
    assert await sending == "7"
    assert got == text


async def test_a_client_that_reads_nothing_holds_up_nobody(gateway: FakeGateway) -> None:
    await gateway.client(name="stuck", limit=1024)
    client = await gateway.client(name="quick")
    await attached(gateway, "stuck", "quick")
    text, got = "x" * 100_000, ""
    for number in range(60):
        text += f" {number}"
        await gateway.adapter.edit(delivery(7, text, final=False))
    while got != text:
        frame = await client.connection.receive()
        assert frame is not None
        if frame["op"] in ("show", "grow"):
            got = frame["text"] if frame["op"] == "show" else got + frame["text"]
    assert len(gateway.adapter._attached["stuck"]._waiting) <= 1


async def test_answers_that_nobody_reads_end_the_connection(gateway: FakeGateway) -> None:
    await gateway.client(name="calm")
    flood = await gateway.client(name="flood", limit=1024)
    await attached(gateway, "flood", "calm")
    with contextlib.suppress(ConnectionError):
        while "flood" in gateway.adapter._attached:
            await flood.raw(b"{}\n" * 500)
    await attached(gateway, "calm")


# --- finding -------------------------------------------------------------------------------------------


async def lose(gateway: FakeGateway, client: RawClient, *, bye: bool = False) -> None:
    """Have a delivery end without an answer: the client goes once it has it."""
    sending = asyncio.create_task(gateway.adapter.send(delivery(7, "hi")))
    await client.frame("show")
    if bye:
        await client.connection.send(Bye().wire())
    else:
        await client.close()
    with pytest.raises(OutcomeUnknownError):
        await sending


async def test_found_when_the_client_says_that_it_has_shown_it(gateway: FakeGateway) -> None:
    await lose(gateway, await gateway.client())
    await gateway.client(shown=(3, 7))
    assert await gateway.adapter.find(delivery(7, "hi")) == Found("7")


async def test_absent_when_the_same_client_says_that_it_has_not(gateway: FakeGateway) -> None:
    await lose(gateway, await gateway.client())
    await gateway.client(shown=(3,))
    assert await gateway.adapter.find(delivery(7, "hi")) is SearchOutcome.ABSENT


async def test_absent_when_only_a_part_is_on_the_screen(gateway: FakeGateway) -> None:
    await lose(gateway, await gateway.client())
    await gateway.client(shown=(7,), growing=(7,))
    assert await gateway.adapter.find(delivery(7, "hi")) is SearchOutcome.ABSENT
    assert await gateway.adapter.find(delivery(7, "h", final=False)) == Found("7")


async def test_unknown_when_another_process_answers(gateway: FakeGateway) -> None:
    await lose(gateway, await gateway.client(name="old"))
    await gateway.client(name="new")
    assert await gateway.adapter.find(delivery(7, "hi")) is SearchOutcome.UNKNOWN


async def test_absent_when_the_other_process_said_good_bye(gateway: FakeGateway) -> None:
    await lose(gateway, await gateway.client(name="old"), bye=True)
    await gateway.client(name="new")
    assert await gateway.adapter.find(delivery(7, "hi")) is SearchOutcome.ABSENT


async def test_after_a_restart_those_who_were_there_say_so(gateway: FakeGateway) -> None:
    sought = replace(delivery(7, "hi"), before=("m5", "5", "6"))
    first = await gateway.client(name="a", peers=("a", "b"), shown=(5, 6))
    assert await gateway.adapter.find(sought) is SearchOutcome.UNKNOWN
    await gateway.client(name="b", peers=("a", "b"))
    assert await gateway.adapter.find(sought) is SearchOutcome.ABSENT
    await first.close()


@pytest.mark.parametrize("before", [("5", "6"), ("m6",)])
async def test_after_two_restarts_who_came_between_them_knows_nothing(
    gateway: FakeGateway, before: tuple[str, ...]
) -> None:
    """What the first process had shown, to a terminal that is gone, only that one's clients could say."""
    await gateway.client(name="b", peers=("b",), shown=(5,), asked=("m8",))
    sought = replace(delivery(7, "hi", answers=("m7",)), before=before)
    assert await gateway.adapter.find(sought) is SearchOutcome.UNKNOWN


async def test_after_a_restart_who_asked_says_that_it_has_no_answer(gateway: FakeGateway) -> None:
    await gateway.client(name="a", peers=("a",), asked=("m7",))
    assert await gateway.adapter.find(delivery(7, "hi", answers=("m7",))) is SearchOutcome.ABSENT


async def test_after_a_restart_a_new_process_knows_nothing(gateway: FakeGateway) -> None:
    await gateway.client(name="a")
    assert await gateway.adapter.find(delivery(7, "hi")) is SearchOutcome.UNKNOWN


async def test_who_left_without_a_word_stays_among_the_peers(gateway: FakeGateway) -> None:
    leaving = await gateway.client(name="a")
    staying = await gateway.client(name="b")
    await attached(gateway, "a", "b")
    await leaving.close()
    await attached(gateway, "b")
    assert set(gateway.adapter._peers().clients) == {"a", "b"}
    await staying.close()


async def test_a_reply_given_elsewhere_is_shown_to_who_asked_again(gateway: FakeGateway) -> None:
    other = await gateway.client(name="other")
    await attached(gateway, "other")
    gateway.store.states["m1"] = InboundState.ANSWERED
    gateway.store.messages["m1"] = None  # type: ignore[assignment]
    sending = asyncio.create_task(gateway.adapter.send(delivery(7, "hi", answers=("m1",))))
    await other.frame("show")
    await other.ack(7)
    await sending
    back = await gateway.client(name="asker")
    await back.say("m1", "hello")
    assert (await back.frame("accepted"))["state"] == "answered"
    assert (await back.frame("show"))["text"] == "hi"


# --- clients that misbehave ----------------------------------------------------------------------------

MALFORMED = {
    b"nonsense": "JSON object on one line",
    b"[1, 2]": "must be a JSON object",
    b"null": "must be a JSON object",
    b"\xff\xfe": "UTF-8",
    b"{}": 'needs an "op"',
    b'{"op": "fly"}': 'unknown "op"',
    b'{"op": ["message"]}': '"op"',
    b'{"op": "message", "text": "no id"}': '"id" is missing',
    b'{"op": "message", "id": 5, "text": "x"}': '"id"',
    b'{"op": "message", "id": "", "text": "x"}': '"id"',
    b'{"op": "message", "id": "' + b"i" * 200 + b'", "text": "x"}': '"id"',
    b'{"op": "message", "id": "\\ud800", "text": "x"}': "lone surrogate",
    b'{"op": "ack", "id": "7", "final": true}': '"id"',
    b'{"op": "ack", "id": -1, "final": true}': '"id"',
    b'{"op": "ack", "id": 1e400, "final": true}': '"id"',
    b"[" * 100_000: "JSON object on one line",
}


@pytest.mark.parametrize("line", MALFORMED, ids=range(len(MALFORMED)))
async def test_a_malformed_frame_is_an_error_and_the_connection_lives_on(gateway: FakeGateway, line: bytes) -> None:
    client = await gateway.client()
    await client.raw(line + b"\n")
    assert MALFORMED[line] in (await client.frame("error"))["text"]
    await client.say("m1", "still here")
    assert (await client.frame("accepted"))["id"] == "m1"


UNUSABLE = {
    '"text": ""': "empty",
    '"text": " \\n "': "empty",
    '"text": "a\\u0000b"': "NUL",
    '"text": "a\\ud800b"': "lone surrogate",
    '"text": 5': '"text"',
    '"text": null': '"text"',
    '"words": "x"': '"text" is missing',
    f'"text": "{"x" * 1_000_000}"': "longest permitted",
}


@pytest.mark.parametrize("body", UNUSABLE, ids=range(len(UNUSABLE)))
async def test_an_unusable_message_is_refused_by_its_id(gateway: FakeGateway, body: str) -> None:
    client = await gateway.client()
    await client.raw(b'{"op": "message", "id": "m1", ' + body.encode() + b"}\n")
    refusal = await client.frame("refused")
    assert refusal["id"] == "m1"
    assert UNUSABLE[body] in refusal["reason"]
    await client.say("m2", "still here")
    assert (await client.frame("accepted"))["id"] == "m2"
    assert gateway.store.texts == ["still here"]


async def test_a_frame_without_end_ends_only_its_own_connection(gateway: FakeGateway) -> None:
    client = await gateway.client(name="big")
    other = await gateway.client(name="other")
    writing = asyncio.create_task(client.raw(oversized_frame()))
    assert "at most" in (await client.frame("error"))["text"]
    with pytest.raises(ConnectionError):
        await client.frame("never")
    await asyncio.gather(writing, return_exceptions=True)
    await other.say("m1", "here")
    assert (await other.frame("accepted"))["id"] == "m1"


@pytest.mark.parametrize("changes", [{"client": 5}, {"client": "a b"}, {"shown": ["x"]}, {"version": None}])
async def test_a_malformed_hello_is_answered_with_the_reason(gateway: FakeGateway, changes: dict[str, object]) -> None:
    connection = await connect(str(gateway.path))
    gateway.clients.append(RawClient(connection))
    await connection.send(Hello(version="1.2.3", client="c").wire() | changes)
    frame = await connection.receive()
    assert frame is not None
    assert "hello" in frame["text"]
    assert await connection.receive() is None
    assert not gateway.adapter._attached


async def test_another_version_gets_a_welcome_that_names_ours_and_is_not_attached(
    gateway: FakeGateway,
) -> None:
    client = await gateway.client(version="9")
    assert await client.connection.receive() is None
    assert not gateway.adapter._attached


async def test_a_second_connection_of_one_client_takes_the_place_of_the_first(gateway: FakeGateway) -> None:
    first = await gateway.client(name="same")
    second = await gateway.client(name="same")
    with pytest.raises(ConnectionError):
        await first.frame("never")
    await second.say("m1", "hello")
    assert (await second.frame("accepted"))["id"] == "m1"
    assert list(gateway.adapter._attached) == ["same"]
