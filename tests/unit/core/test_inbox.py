"""The inbox: durable, once, in order of receipt; what is refused says so, and what is ignored leaves only its id."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.inbox import InvalidMessageError
from gateway.ports import (
    Attachment,
    Brought,
    ClientTool,
    Cursor,
    InboundMessage,
    InboundState,
    MediaKind,
    Quote,
    StorageBusyError,
)
from gateway.storage.errors import StorageError
from tests.support.fakes import ALICE, BOB, FakeAdapter, FakeAgent, Pause, configure, core, texts_of


async def test_a_message_is_accepted_once(tmp_path: Path) -> None:
    async with core(tmp_path) as gateway:
        first = await gateway.say("hello", "m")
        again = await gateway.say("hello", "m")
        await gateway.settled()
        late = await gateway.say("hello", "m")
        await gateway.settled()
        assert not first.duplicate
        assert (again.duplicate, again.inbound_id) == (True, first.inbound_id)
        assert (late.duplicate, late.state) == (True, InboundState.ANSWERED)
        assert len(await gateway.rows("SELECT * FROM turns")) == 1


async def test_a_duplicate_that_races_with_the_first_makes_no_second_turn(tmp_path: Path) -> None:
    agent = FakeAgent()
    async with core(tmp_path, agent) as gateway:
        receipts = await asyncio.gather(*(gateway.say("hello", "m") for _ in range(5)))
        await gateway.settled()
        assert sorted(receipt.duplicate for receipt in receipts) == [False, True, True, True, True]
        assert len(agent.turns) == 1


async def test_the_same_id_in_another_chat_or_account_is_another_message(tmp_path: Path) -> None:
    agent = FakeAgent()
    async with core(tmp_path, agent) as gateway:
        await gateway.say("a", "m")
        await gateway.say("b", "m", BOB)
        await gateway.say("c", "m", account="second")
        await gateway.settled()
        assert len(agent.turns) == 3


async def test_the_order_is_that_of_the_calls(tmp_path: Path) -> None:
    agent = FakeAgent()
    async with core(tmp_path, agent) as gateway:
        await asyncio.gather(*(gateway.say(str(number)) for number in range(20)))
        await gateway.settled()
        assert [turn.inputs[0]["content"] for turn in agent.turns] == [str(number) for number in range(20)]


async def test_who_stops_waiting_for_the_receipt_is_answered_all_the_same(tmp_path: Path) -> None:
    async with core(tmp_path) as gateway:
        waiting = asyncio.ensure_future(gateway.say("hello"))
        await asyncio.sleep(0)
        waiting.cancel()
        await gateway.say("next")
        await gateway.settled()
        assert await gateway.ends() == {"hello": "answered", "next": "answered"}


@pytest.mark.parametrize("error", [StorageError("the disk is full"), StorageBusyError("the queue is full")])
async def test_what_cannot_be_stored_is_not_accepted_and_may_come_again(tmp_path: Path, error: Exception) -> None:
    async with core(tmp_path) as gateway:
        gateway.database.fail(error)
        with pytest.raises(type(error)):
            await gateway.say("hello")
        assert not (await gateway.say("hello")).duplicate
        await gateway.settled()
        assert await gateway.ends() == {"hello": "answered"}


async def test_a_stranger_leaves_nothing_but_an_id(tmp_path: Path) -> None:
    adapter = FakeAdapter()
    async with core(tmp_path, adapter=adapter) as gateway:
        message = InboundMessage(ALICE, "m", "secret words", group_id="album of mine", cursor=Cursor("updates", "9"))
        receipt = await gateway.inbox.accept(message, operator=False)
        await gateway.settled()
        assert receipt.state is InboundState.IGNORED
        (row,) = await gateway.rows("SELECT * FROM inbound")
        assert (row["message_id"], row["state"]) == ("m", "ignored")
        assert [row[name] for name in ("slot_id", "source", "text", "group_id", "turn_id")] == [None] * 5
        assert not await gateway.rows("SELECT * FROM slots")
        assert not adapter.calls
        (cursor,) = await gateway.rows("SELECT value FROM cursors")
        assert cursor["value"] == "9"


@pytest.mark.parametrize(
    ("text", "reason", "said"),
    [("x" * 11, "too long", "11 characters; at most 10"), (" \n", "empty", "empty")],
)
async def test_what_is_refused_says_why(tmp_path: Path, text: str, reason: str, said: str) -> None:
    adapter = FakeAdapter()
    async with core(tmp_path, adapter=adapter, config=configure(inbox={"max_message_chars": 10})) as gateway:
        receipt = await gateway.say(text, "m")
        await gateway.settled()
        assert (receipt.state, receipt.reason) == (InboundState.REFUSED, reason)
        (notice,) = adapter.of("send")
        assert said in notice.text
        assert (notice.kind, notice.answers) == ("error", ("m",))


async def test_a_full_queue_refuses_but_for_what_does_not_wait_in_it(tmp_path: Path) -> None:
    adapter, pause = FakeAdapter(), Pause()
    config = configure(inbox={"max_queued_per_session": 2})
    async with core(tmp_path, FakeAgent(pause), adapter, config=config) as gateway:
        await gateway.say("running")
        await pause.reached.wait()
        states = [(await gateway.say(text)).state for text in ("one", "two", "three")]
        assert states == [InboundState.PENDING, InboundState.PENDING, InboundState.REFUSED]
        assert (await gateway.say("other session", source=BOB)).state is InboundState.PENDING
        assert (await gateway.say("/stop")).state is InboundState.PENDING
        await gateway.settled()
        ends = await gateway.ends()
        assert ends == {
            "running": "answered",
            "one": "answered",
            "two": "answered",
            "three": "refused",
            "other session": "answered",
            "/stop": "answered",
        }
        assert any("still wait" in text for text in texts_of(adapter.of("send")))


async def test_a_message_that_cannot_be_told_apart_or_answered_is_an_error(tmp_path: Path) -> None:
    async with core(tmp_path) as gateway:
        for message_id, group_id in (("", None), ("a\ud800", None), ("a", "\0")):
            message = InboundMessage(ALICE, message_id, "hello", group_id=group_id)
            with pytest.raises(InvalidMessageError):
                gateway.inbox.accept(message, operator=True)


async def test_text_that_no_database_holds_is_cleaned(tmp_path: Path) -> None:
    async with core(tmp_path) as gateway:
        await gateway.say("a\0b\ud83d", "m")
        await gateway.settled()
        assert (await gateway.transcript())[0] == ("user", "a\ufffdb\ufffd")


async def test_the_receipt_comes_even_if_nobody_can_take_the_message_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_record: object) -> None:
        raise RuntimeError("nobody is there")

    async with core(tmp_path) as gateway:
        monkeypatch.setattr(gateway.inbox, "_on_message", broken)
        receipt = await asyncio.wait_for(gateway.say("hello"), 5)
        assert receipt.state is InboundState.PENDING
    async with core(tmp_path) as gateway:
        await gateway.settled()
        assert await gateway.ends() == {"hello": "answered"}


async def test_a_message_of_a_platform_that_is_gone_stops_nothing(tmp_path: Path) -> None:
    async with core(tmp_path, FakeAgent(Pause())) as gateway:
        await gateway.say("first")
        await gateway.say("gone")
        await gateway.say("hello")
        await gateway.die()
    gone = """{"platform": "gone", "chat_id": "1"}"""
    with closing(sqlite3.connect(tmp_path / "gateway.db")) as database, database:
        database.execute("UPDATE inbound SET source = ? WHERE message_id = 'gone'", (gone,))
        database.execute(
            "INSERT INTO outbox (platform, account, chat, thread, kind, text, state, created_at)"
            " VALUES ('gone', 'default', '1', '', 'notice', 'hello', 'pending', 0)"
        )
    async with core(tmp_path) as gateway:
        await gateway.settled()
        assert await gateway.ends() == {"first": "answered", "gone": "pending", "hello": "answered"}


async def test_what_is_known_of_a_group(tmp_path: Path) -> None:
    """The rest of an album belongs to its beginning, if that was taken in."""
    async with core(tmp_path) as gateway:
        for number, addressed in enumerate((True, False)):
            message = InboundMessage(ALICE, f"m{number}", "a picture", addressed=addressed, group_id=f"album {number}")
            await gateway.inbox.accept(message, operator=True)
        place, chat = (str(ALICE.platform), "default"), str(ALICE.chat_id)
        assert await gateway.inbox.knows_group(*place, chat, "album 0")
        assert not await gateway.inbox.knows_group(*place, chat, "album 1"), "it was ignored"
        assert not await gateway.inbox.knows_group(*place, "another", "album 0")
        assert not await gateway.inbox.knows_group(place[0], "second", chat, "album 0")


async def test_which_messages_of_a_chat_are_known(tmp_path: Path) -> None:
    """Also one that was ignored."""
    async with core(tmp_path) as gateway:
        await gateway.say("answered")
        await gateway.inbox.accept(InboundMessage(ALICE, "ignored", "x", addressed=False), operator=True)
        place, chat, asked = (str(ALICE.platform), "default"), str(ALICE.chat_id), ["answered", "ignored", "missed"]
        assert await gateway.inbox.known(*place, chat, asked) == {"answered", "ignored"}
        assert await gateway.inbox.known(*place, chat, []) == frozenset()
        assert await gateway.inbox.known(*place, "another", asked) == frozenset()
        assert await gateway.inbox.known(place[0], "second", chat, asked) == frozenset()


SCHEMA = {"type": "object", "description": "s3cret"}
GIVEN: dict[str, dict[str, Any]] = {
    "a quote": {"quote": Quote("it is s3cret", "Ann s3cret")},
    "a file": {"attachments": (Attachment(MediaKind.DOCUMENT, "f", "s3cret.txt"),)},
    "a program's rows": {
        "brought": Brought(({"role": "user", "content": "s3cret"},), "s3cret", (ClientTool("t", "s3cret", SCHEMA),))
    },
}


@pytest.mark.parametrize("given", GIVEN)
async def test_a_secret_beside_the_text_is_neither_kept_nor_shown(tmp_path: Path, given: str) -> None:
    agent = FakeAgent()
    async with core(tmp_path, agent) as gateway:
        gateway.inbox._redact = lambda text: text.replace("s3cret", "***")
        await gateway.inbox.accept(InboundMessage(ALICE, "m", "yes, s3cret", **GIVEN[given]), operator=True)
        await gateway.settled()
        (row,) = await gateway.rows("SELECT text, extra FROM inbound")
        assert "***" in row["extra"]
        assert "s3cret" not in str(tuple(row))
        (turn,) = agent.turns
        assert "s3cret" not in str((turn.inputs, turn.system_prompt, turn.client_tools))


async def test_a_secret_that_an_edit_brings_is_neither_kept_nor_shown(tmp_path: Path) -> None:
    pause = Pause()
    agent = FakeAgent(pause)
    async with core(tmp_path, agent) as gateway:
        gateway.inbox._redact = lambda text: text.replace("s3cret", "***")
        await gateway.say("first", "1")
        await pause.reached.wait()
        await gateway.say("second", "2")
        edit = InboundMessage(ALICE, "2", "second s3cret", quote=Quote("it is s3cret"))
        await gateway.corrections.amend(edit, operator=True)
        pause.go.set()
        await gateway.settled()
        rows = await gateway.rows("SELECT text, extra FROM inbound")
        assert "s3cret" not in str([tuple(row) for row in rows])
        assert agent.turns[1].inputs == [
            {"role": "user", "content": "In reply to a message of somebody else:\n> it is ***\n\nsecond ***"}
        ]
