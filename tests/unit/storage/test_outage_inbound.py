"""Updates, edits and chats that move while the database cannot be used: merged as if it had been there all along."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from config import GatewayConfig, Platform
from gateway.corrections import Corrections
from gateway.inbox import Inbox
from gateway.ports import Cursor, InboundMessage, RawUpdate
from gateway.session import SessionStore
from gateway.source import SessionSource
from gateway.storage import failover as failover_module
from gateway.storage import writer as writer_module
from gateway.storage.database import Database
from gateway.storage.errors import StorageError
from gateway.updates import Updates
from tests.support.fakes import ManualClock
from tests.support.faults import LockHolder
from tests.unit.storage.test_failover import back, rows, said

OLD, NEW = "-5", "-1005"
PLACE = ("telegram", "default")


def group(chat: str = OLD) -> SessionSource:
    return SessionSource(Platform.TELEGRAM, chat_id=chat, chat_type="group", user_id="1")


@dataclass
class Inward:
    """What takes in what comes, over one database."""

    database: Database
    store: SessionStore
    inbox: Inbox
    corrections: Corrections
    updates: Updates
    holder: LockHolder

    async def take(self, message_id: str, text: str, chat: str = OLD, update_id: str | None = None) -> None:
        await self.inbox.accept(InboundMessage(group(chat), message_id, text, update_id=update_id), operator=True)

    async def edit(self, message_id: str, text: str, update_id: str | None = None) -> None:
        message = InboundMessage(group(), message_id, text, update_id=update_id)
        await self.corrections.amend(message, operator=True)

    async def delete(self, message_id: str, update_id: str | None = None) -> None:
        await self.corrections.withdraw(Platform.TELEGRAM, "default", OLD, message_id, update_id)

    async def move(self, old: str = OLD, new: str = NEW) -> None:
        await self.corrections.move_chat(Platform.TELEGRAM, "default", old, new, None)

    async def kept(self) -> list[str]:
        return [update.id for update in await self.updates.kept(*PLACE)]

    async def again(self) -> None:
        """The outage ends."""
        assert self.database.state.mode == "spool"
        self.holder.release()
        await back(self.database)
        assert self.database.state.last_outage is not None
        assert list((self.database.path.parent / "sessions").glob("*rejected*")) == []
        assert await self.database.read("PRAGMA foreign_key_check") == []


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "SQLITE_BUSY_SECONDS", 0.02)
    monkeypatch.setattr(failover_module, "SQLITE_BUSY_SECONDS", 0.02)
    monkeypatch.setattr(failover_module, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(failover_module, "RETRY_MAX_SECONDS", 0.05)


@asynccontextmanager
async def inward(folder: Path, *, hidden: bool = False) -> AsyncIterator[Inward]:
    """`hidden`: from the beginning on, nothing can be read."""
    config, clock, path = GatewayConfig(), ManualClock(), folder / "gateway.db"
    holder = LockHolder(path, whole=hidden)
    clock.advance(60 * hidden)
    assert not hidden or holder.hold()
    async with Database.open(path) as database:
        store = SessionStore(database, config, clock=clock)
        inbox = Inbox(database, store, config, clock, on_message=lambda _record: None, on_delivery=lambda _target: None)
        corrections = Corrections(
            database,
            config,
            clock,
            on_changed=lambda _change: None,
            on_moved=lambda _move: None,
            on_delivery=lambda _target: None,
        )
        updates = Updates(database, clock, Counter())
        try:
            yield Inward(database, store, inbox, corrections, updates, holder)
        finally:
            holder.release()


async def test_updates_of_before_and_during_an_outage(tmp_path: Path) -> None:
    async with inward(tmp_path) as one:
        await one.updates.keep(*PLACE, [RawUpdate(str(n), "{}") for n in range(6)], Cursor("offset", "6"))
        assert one.holder.hold()
        await one.updates.settle(*PLACE, "1", None)
        await one.updates.settle(*PLACE, "2", "odd")
        await one.take("m1", "hello", update_id="3")
        await one.updates.keep(*PLACE, [RawUpdate("4", "again"), RawUpdate("7", "{}")], Cursor("offset", "8"))
        assert await one.kept() == ["0", "4", "5", "7"]
        assert await one.updates.cursor(*PLACE, "offset") == "8"
        assert rows(tmp_path / "gateway.db", "SELECT count(*) FROM updates") == [(6,)]
        await one.again()
        assert await one.kept() == ["0", "4", "5", "7"]
        assert await one.updates.counts() == {"kept": 4, "set_aside": 1}
        assert await one.updates.cursor(*PLACE, "offset") == "8"
        assert [tuple(row) for row in await one.database.read("SELECT message_id FROM inbound")] == [("m1",)]


async def test_what_is_deleted_in_an_outage_stays_deleted(tmp_path: Path) -> None:
    async with inward(tmp_path) as one:
        for number in ("1", "2"):
            await one.take(number, f"text {number}")
        assert one.holder.hold()
        await one.take("3", "text 3")
        await one.updates.keep(*PLACE, [RawUpdate("8", "{}"), RawUpdate("9", "{}")], None)
        await one.delete("2", update_id="8")
        await one.delete("3", update_id="9")
        assert await one.kept() == []
        await one.again()
        assert await one.kept() == []
        found = await one.database.read("SELECT message_id, state, reason, text, extra FROM inbound ORDER BY id")
    assert [tuple(row)[:4] for row in found] == [
        ("1", "pending", None, "text 1"),
        ("2", "ignored", "deleted", None),
        ("3", "ignored", "deleted", None),
    ]


async def test_a_deletion_of_what_an_outage_hides_is_kept_for_later(tmp_path: Path) -> None:
    async with inward(tmp_path) as one:
        await one.take("1", "text 1")
    async with inward(tmp_path, hidden=True) as one:
        await one.updates.keep(*PLACE, [RawUpdate("8", "{}")], None)
        await one.delete("1", update_id="8")
        assert await one.kept() == ["8"]
        await one.again()
        assert await one.kept() == ["8"]
        await one.delete("1", update_id="8")
        assert await one.kept() == []
        found = await one.database.read("SELECT state, text FROM inbound")
    assert [tuple(row) for row in found] == [("ignored", None)]


async def test_an_outage_in_which_nothing_can_be_read(tmp_path: Path) -> None:
    async with inward(tmp_path) as one:
        await one.updates.keep(*PLACE, [RawUpdate(str(n), "{}") for n in range(3)], Cursor("offset", "3"))
    async with inward(tmp_path, hidden=True) as one:
        with pytest.raises(StorageError, match="looked up"):
            await one.updates.cursor(*PLACE, "offset")
        await one.edit("m0", "edited", update_id="0")
        await one.take("m1", "hello", update_id="1")
        await one.updates.keep(*PLACE, [RawUpdate("9", "{}")], None)
        await one.updates.settle(*PLACE, "9", None)
        await one.updates.keep(*PLACE, [RawUpdate("8", "{}"), RawUpdate("2", "{}")], None)
        assert await one.kept() == ["8", "2"]
        await one.again()
        assert await one.kept() == ["0", "8", "2"], "the edit of what may be there is handed over again"
        assert await one.updates.cursor(*PLACE, "offset") == "3"


async def test_which_messages_are_known_during_an_outage(tmp_path: Path) -> None:
    """Those too that had their end before it."""
    async with inward(tmp_path) as one:
        await one.inbox.accept(InboundMessage(group(), "ended", "x", addressed=False), operator=True)
        assert one.holder.hold()
        await one.take("m1", "hello")
        assert one.database.state.mode == "spool"
        assert await one.inbox.known(*PLACE, OLD, ["ended", "m1", "m2"]) == {"ended", "m1"}
        await one.again()
        assert await one.inbox.known(*PLACE, OLD, ["ended", "m1", "m2"]) == {"ended", "m1"}


async def test_edits_during_an_outage(tmp_path: Path) -> None:
    async with inward(tmp_path) as one:
        await one.take("m1", "one")
        await one.take("m2", "two")
        change = "UPDATE inbound SET state = 'answered', turn_id = 't' WHERE message_id = 'm2'"
        await one.database.write(lambda connection: connection.execute(change).rowcount)
        assert one.holder.hold()
        await one.edit("m1", "one, edited")
        await one.edit("m2", "two, edited")
        await one.again()
        found = await one.database.read("SELECT message_id, text, edited FROM inbound ORDER BY id")
        assert [tuple(row) for row in found] == [("m1", "one, edited", None), ("m2", "two", "two, edited")]


@pytest.mark.parametrize("hidden", [False, True])
async def test_a_chat_that_moves_during_an_outage(tmp_path: Path, hidden: bool) -> None:
    async with inward(tmp_path) as one:
        session_id = await one.store.record_turn(group(), said("one"))
        await one.take("m1", "waits")
    async with inward(tmp_path, hidden=hidden) as one:
        assert one.holder.holds or one.holder.hold()
        await one.move()
        await one.store.record_turn(group(NEW), said("two"))
        await one.store.record_turn(group(OLD), said("three"))
        await one.take("m2", "waits too", OLD)
        await one.again()
        slots = await one.database.read("SELECT chat, key, session_id FROM slots WHERE session_id IS NOT NULL")
        assert [tuple(row) for row in slots] == [(NEW, f"agent:main:telegram:group:{NEW}:1", session_id)]
        said_there = [message["content"] for message in await one.store.load_transcript(session_id)]
        assert [text for text in said_there if not text.startswith("re: ")] == ["one", "two", "three"]
        pending = [record async for record in one.inbox.pending()]
        assert [(record.text, record.target.chat_id) for record in pending] == [("waits", NEW), ("waits too", NEW)]
        assert await one.store.record_turn(group(OLD), said("four")) == session_id


async def test_a_chat_that_moves_on_during_an_outage(tmp_path: Path) -> None:
    async with inward(tmp_path) as one:
        session_id = await one.store.record_turn(group(), said("one"))
        await one.move(OLD, "b")
        assert one.holder.hold()
        await one.move("b", NEW)
        await one.move(NEW, OLD)
        await one.again()
        for chat in (OLD, "b", NEW):
            assert await one.store.record_turn(group(chat), said("more")) == session_id
