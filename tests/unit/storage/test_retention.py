"""What becomes too old goes, and nothing else does: sessions, old turns of live ones, records of finished work."""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from config import GatewayConfig
from gateway.delivery import NewDelivery, add_delivery
from gateway.inbox import Inbox
from gateway.ports import InboundMessage, Target
from gateway.retention import FINISHED_KEPT, TEXT_KEPT, UNANSWERED_KEPT, Retention
from gateway.search import SearchIndexer, search
from gateway.session import SessionStore, removal
from gateway.storage import outbox_queries, queries
from gateway.storage.codec import to_micros
from gateway.storage.database import Database
from gateway.storage.errors import StorageError
from tests.support.stores import START, HandClock, dm

DAY = timedelta(days=1)
LITTLE = timedelta(hours=1)


def settings(days: int = 30) -> GatewayConfig:
    return GatewayConfig.model_validate(
        {
            "storage": {"retention_days": days},
            "sessions": {"reset": {"mode": "none"}},
        }
    )


class Store:
    """A store, a retention over it, and a clock that both go by."""

    def __init__(self, database: Database, folder: Path, days: int = 30) -> None:
        self.database = database
        self.clock = HandClock()
        self.counters: Counter[str] = Counter()
        self.config = settings(days)
        self.sessions = SessionStore(database, self.config, clock=self.clock)
        self.retention = Retention(database, self.config, self.clock, self.counters, (folder,), pause=0)

    async def say(self, *texts: str, chat: str = "9") -> str:
        return await self.sessions.record_turn(dm(chat), [{"role": "user", "content": text} for text in texts])

    async def ask(self, text: str, chat: str = "9") -> str:
        turn = [{"role": "user", "content": text}, {"role": "assistant", "content": f"re {text}"}]
        return await self.sessions.record_turn(dm(chat), turn)

    async def texts(self, session_id: str) -> list[str]:
        return [message["content"] for message in await self.sessions.load_transcript(session_id)]

    async def ids(self) -> set[str]:
        return {entry.session_id for entry in await self.sessions.list_sessions()}

    async def run(self, sql: str, *values: Any) -> list[Any]:
        def job(connection: sqlite3.Connection) -> list[Any]:
            return [tuple(row) for row in connection.execute(sql, values).fetchall()]

        return await self.database.write(job)

    async def sound(self) -> bool:
        check = "INSERT INTO messages_search (messages_search, rank) VALUES ('integrity-check', 1)"
        await SearchIndexer(self.database).catch_up()
        await self.run(check)
        return await self.run("PRAGMA foreign_key_check") == []


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Database.open(tmp_path / "gateway.db", synchronous="normal") as database:
        yield Store(database, tmp_path / "files")


# --- sessions ------------------------------------------------------------------------------------------


async def test_sessions_that_ended_go_when_they_are_too_old(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    old = await store.ask("needle")
    await store.sessions.reset_session("agent:main:telegram:dm:9")
    (folder / f"{old}.jsonl").write_text("{}")
    (folder / old).mkdir()
    (folder / old / "picture.png").touch()
    (folder / "another.jsonl").write_text("{}")
    await SearchIndexer(store.database).catch_up()
    store.clock.instant += 30 * DAY
    await store.retention.sweep()
    assert old in await store.ids()
    young = await store.ask("needle too", chat="8")
    store.clock.instant += LITTLE
    await store.retention.sweep()
    assert old not in await store.ids()
    assert await store.texts(old) == []
    assert [path.name for path in folder.iterdir()] == ["another.jsonl"]
    await SearchIndexer(store.database).catch_up()
    assert {hit.session_id for hit in await search(store.database, "needle")} == {young}
    assert store.counters["retention.sessions"] == 1
    assert store.counters["retention.messages"] == 2
    assert await store.sound()


async def test_nothing_goes_without_a_limit(tmp_path: Path) -> None:
    async with Database.open(tmp_path / "gateway.db") as database:
        store = Store(database, tmp_path, days=0)
        old = await store.ask("hello")
        await store.sessions.reset_session("agent:main:telegram:dm:9")
        store.clock.instant += 10_000 * DAY
        await store.retention.sweep()
        assert await store.texts(old) == ["hello", "re hello"]


async def test_a_pinned_session_stays(store: Store) -> None:
    old = await store.ask("hello")
    await store.sessions.reset_session("agent:main:telegram:dm:9")
    await store.run("UPDATE sessions SET pinned = 1 WHERE id = ?", old)
    store.clock.instant += 100 * DAY
    await store.retention.sweep()
    assert await store.texts(old) == ["hello", "re hello"]


async def test_a_session_with_an_open_turn_stays(store: Store) -> None:
    old = await store.ask("hello")
    await store.sessions.reset_session("agent:main:telegram:dm:9")
    await store.run(
        "INSERT INTO turns (id, slot_id, session_id, agent, state, started_at) VALUES ('t', 1, ?, 'a', 'waiting', 0)",
        old,
    )
    store.clock.instant += 100 * DAY
    await store.retention.sweep()
    assert old in await store.ids()


async def test_a_long_session_goes_in_parts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs: list[int] = []
    whole = removal.remove_messages

    def noted(connection: sqlite3.Connection, session_id: str) -> int:
        jobs.append(whole(connection, session_id))
        return jobs[-1]

    monkeypatch.setattr(removal, "remove_messages", noted)
    old = await store.say(*map(str, range(3 * removal.PAGE)))
    await store.sessions.reset_session("agent:main:telegram:dm:9")
    store.clock.instant += 31 * DAY
    await store.retention.sweep()
    assert old not in await store.ids()
    assert jobs == [removal.PAGE] * 3 + [0]


async def test_neighbours_forget_a_session_that_is_gone(store: Store) -> None:
    first = await store.ask("one")
    entry = await store.sessions.reset_session("agent:main:telegram:dm:9")
    assert entry is not None
    assert entry.predecessor_id == first
    store.clock.instant += 31 * DAY
    await store.retention.sweep()
    assert (await store.sessions.get_session(entry.session_id)).predecessor_id is None
    assert await store.ask("two") == entry.session_id


# --- old turns of live sessions --------------------------------------------------------------------------


async def test_old_turns_of_a_live_session_go_and_the_newest_stays(store: Store) -> None:
    session_id = await store.ask("one")
    await store.ask("two")
    await SearchIndexer(store.database).catch_up()
    store.clock.instant += 20 * DAY
    await store.ask("three")
    store.clock.instant += 11 * DAY
    await store.retention.sweep()
    assert await store.texts(session_id) == ["three", "re three"]
    assert (await store.sessions.get_session(session_id)).message_count == 6
    store.clock.instant += 100 * DAY
    await store.retention.sweep()
    assert await store.texts(session_id) == ["three", "re three"]
    assert await search(store.database, "two") == []
    assert await store.sound()


@pytest.mark.parametrize(
    ("messages", "kept"),
    [
        ([], 0),
        ([("a", "user", 1), ("a", "assistant", 1)], 2),
        ([("a", "user", 1), ("b", "user", 1)], 1),
        ([("a", "user", 1), ("a", "assistant", 9)], 2),
        ([("a", "user", 1), ("b", "user", 1), ("b", "assistant", 9)], 2),
        ([("a", "user", 1), ("b", "user", 1), ("b", "user", 1), ("c", "user", 9)], 1),
        ([(None, "user", 1), (None, "user", 1), (None, "assistant", 1)], 3),
        ([(None, "user", 1), (None, "assistant", 1), (None, "user", 1)], 1),
        ([(None, "assistant", 1), (None, "user", 9)], 1),
        ([("a", "user", 1), (None, "user", 1), ("b", "user", 9)], 1),
        ([("a", "user", 9), ("b", "user", 1), ("c", "user", 1)], 3),
    ],
)
async def test_where_old_turns_end(store: Store, messages: list[tuple[str | None, str, int]], kept: int) -> None:
    session_id = (await store.sessions.get_or_create_session(dm())).session_id
    for turn_id, role, at in messages:
        await store.run(
            "INSERT INTO messages (session_id, turn_id, role, content, created_at) VALUES (?, ?, ?, 'x', ?)",
            session_id, turn_id, role, at,
        )  # fmt: skip
    while await store.database.write(removal.on_file(removal.remove_old_turns, session_id, 5, 1)):
        pass
    assert len(await store.texts(session_id)) == kept


# --- what has come and gone ------------------------------------------------------------------------------


async def take_in(store: Store, number: str, text: str = "hello") -> bool:
    """Whether the message is taken as a copy of one that came before."""
    inbox = Inbox(
        store.database,
        store.sessions,
        store.config,
        store.clock,
        on_message=lambda _record: None,
        on_delivery=lambda _target: None,
    )
    accepted = await inbox.accept(InboundMessage(dm(), number, text), operator=True)
    return accepted.duplicate


async def end(store: Store, number: str, state: str) -> None:
    at = to_micros(store.clock.now())
    await store.run("UPDATE inbound SET state = ?, ended_at = ? WHERE message_id = ?", state, at, number)


async def put_out(store: Store, text: str, state: str, *, repeated: int = 0, final: int = 1) -> None:
    now = store.clock.now()
    target = Target(dm().platform, "9", None, "")
    number = await store.database.write(
        lambda connection: add_delivery(connection, NewDelivery(target, "reply", text), now)
    )
    ended = to_micros(now) if state == "dead" else None
    await store.run(
        "UPDATE outbox SET state = ?, sent_at = ?, ended_at = ?, repeated = ?, final = ? WHERE id = ?",
        state, None if state != "sent" else to_micros(now), ended, repeated, final, number,
    )  # fmt: skip


async def test_messages_keep_their_ids_for_a_week_and_their_text_for_a_day(store: Store) -> None:
    await take_in(store, "1", "secret")
    await end(store, "1", "answered")
    store.clock.instant += TEXT_KEPT
    await store.retention.sweep()
    assert await store.run("SELECT text FROM inbound") == [("secret",)]
    store.clock.instant += LITTLE
    await store.retention.sweep()
    assert await store.run("SELECT text, source FROM inbound") == [(None, None)]
    store.clock.instant += FINISHED_KEPT - TEXT_KEPT - 2 * LITTLE
    await store.retention.sweep()
    assert await take_in(store, "1")
    store.clock.instant += 2 * LITTLE
    await store.retention.sweep()
    assert await store.run("SELECT * FROM inbound") == []


@pytest.mark.parametrize("state", ["refused", "expired", "failed", "dead"])
async def test_messages_without_an_answer_stay_in_sight_for_a_month(store: Store, state: str) -> None:
    await take_in(store, "1", "help")
    await end(store, "1", state)
    store.clock.instant += UNANSWERED_KEPT
    await store.retention.sweep()
    (row,) = await store.database.read(queries.UNANSWERED, (9,))
    assert (row["text"], row["state"]) == ("help", state)
    store.clock.instant += LITTLE
    await store.retention.sweep()
    assert await store.run("SELECT * FROM inbound") == []


@pytest.mark.parametrize("state", ["pending", "running"])
async def test_messages_without_an_end_stay(store: Store, state: str) -> None:
    await take_in(store, "1")
    await store.run("UPDATE inbound SET state = ?", state)
    store.clock.instant += 400 * DAY
    await store.retention.sweep()
    assert await store.run("SELECT text FROM inbound") == [("hello",)]


async def test_deliveries(store: Store) -> None:
    await put_out(store, "shown", "sent")
    await put_out(store, "growing", "sent", final=0)
    await put_out(store, "twice", "sent", repeated=1)
    await put_out(store, "lost", "dead")
    await put_out(store, "waits", "pending")
    left = "SELECT text FROM outbox ORDER BY id"
    store.clock.instant += TEXT_KEPT + LITTLE
    await store.retention.sweep()
    assert await store.run(left) == [("",), ("growing",), ("",), ("lost",), ("waits",)]
    store.clock.instant += FINISHED_KEPT
    await store.retention.sweep()
    assert await store.run(left) == [("growing",), ("",), ("lost",), ("waits",)]
    store.clock.instant += UNANSWERED_KEPT
    await store.retention.sweep()
    assert await store.run(left) == [("growing",), ("waits",)]


async def test_a_reply_that_is_given_up_late_is_in_sight_for_as_long(store: Store) -> None:
    await put_out(store, "lost", "pending")
    store.clock.instant += 2 * UNANSWERED_KEPT
    await store.run(outbox_queries.KILL_DELIVERY, "gone", to_micros(store.clock.now()), 1)
    await store.retention.sweep()
    assert len(await store.run("SELECT * FROM outbox")) == 1


async def test_turns_go_after_a_week(store: Store) -> None:
    session_id = await store.ask("hello")
    at = to_micros(START)
    for turn_id, slot_id, state in (("a", 1, "done"), ("b", 1, "running")):
        await store.run(
            "INSERT INTO turns (id, slot_id, session_id, agent, state, started_at, ended_at) VALUES (?,?,?,'x',?,?,?)",
            turn_id, slot_id, session_id, state, at, at,
        )  # fmt: skip
    store.clock.instant += FINISHED_KEPT
    await store.retention.sweep()
    assert len(await store.run("SELECT * FROM turns")) == 2
    store.clock.instant += LITTLE
    await store.retention.sweep()
    assert await store.run("SELECT id FROM turns") == [("b",)]


async def test_many_rows_go_in_parts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.retention.WALK_PAGE", 3)
    for number in range(10):
        await take_in(store, str(number))
        await end(store, str(number), "answered" if number % 2 else "failed")
    store.clock.instant += FINISHED_KEPT + LITTLE
    await store.retention.sweep()
    assert await store.run("SELECT count(*) FROM inbound") == [(5,)]
    store.clock.instant += UNANSWERED_KEPT
    await store.retention.sweep()
    assert await store.run("SELECT count(*) FROM inbound") == [(0,)]


# --- the task --------------------------------------------------------------------------------------------


async def test_it_is_tried_again_after_a_failure(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    sweeps = asyncio.Queue[None]()
    outcomes: list[Exception | None] = [StorageError("busy"), RuntimeError("unforeseen"), None]

    async def sweep() -> None:
        sweeps.put_nowait(None)
        error = outcomes.pop(0) if outcomes else None
        if error is not None:
            raise error

    retention = Retention(store.database, settings(), store.clock, store.counters, seconds=0)
    monkeypatch.setattr(retention, "sweep", sweep)
    task = asyncio.create_task(retention.run())
    for _ in range(3):
        await sweeps.get()
    task.cancel()
    assert store.counters["retention.errors"] == 2


async def test_a_clock_at_the_beginning_of_time(store: Store) -> None:
    await store.ask("hello")
    store.clock.instant = datetime.min.replace(tzinfo=START.tzinfo)
    await store.retention.sweep()
    assert len(await store.ids()) == 1
