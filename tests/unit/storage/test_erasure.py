"""Sessions that are deleted: what is refused, what stays of others, and that a purge leaves no byte in the home."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from config import GatewayConfig, Home, Platform
from gateway.delivery import NewDelivery, add_delivery
from gateway.erasure import EraseError, Eraser
from gateway.inbox import Inbox
from gateway.leftovers import HISTORY
from gateway.ports import InboundMessage, Target
from gateway.search import SearchIndexer, search
from gateway.session import SessionStore, removal
from gateway.source import SessionSource
from gateway.storage.backup import make_backup, unpack
from gateway.storage.checks import newest_schema
from gateway.storage.database import Database
from gateway.storage.errors import StorageError
from gateway.storage.words import define_words
from gateway.storage.writer import Job
from tests.support.stores import HandClock

MARK = "zanzibarianquagga"
"""A word that is one token of the search index, and in none of the files by itself."""

CONFIG = GatewayConfig.model_validate({"sessions": {"reset": {"mode": "none"}}})


class House:
    """A home with its database open, and sessions in which a lot happened."""

    def __init__(self, home: Home, database: Database) -> None:
        self.home = home
        self.database = database
        self.clock = HandClock()
        self.store = SessionStore(database, CONFIG, clock=self.clock)
        self.eraser = Eraser(database, home, self.clock)

    async def run(self, sql: str, *values: Any) -> list[Any]:
        def job(connection: sqlite3.Connection) -> list[Any]:
            return [tuple(row) for row in connection.execute(sql, values).fetchall()]

        return await self.database.write(job)

    async def live_through(self, word: str, chat: str = "9") -> str:
        """A session with this word in everything that a message, its answer and its turn leave."""
        source = SessionSource(Platform.TELEGRAM, chat, chat_name=word, user_id="7", user_name=word)
        messages: list[dict[str, Any]] = [
            {"role": "user", "content": f"{word} please"},
            {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": word}}]},
            {"role": "tool", "content": [{"type": "text", "text": word}]},
            {"role": "assistant", "content": " ".join([word] * 2000)},
        ]
        session_id = await self.store.record_turn(source, messages)
        turn = f"turn{chat}"
        await self.run("UPDATE messages SET turn_id = ? WHERE session_id = ?", turn, session_id)
        await self.run("UPDATE sessions SET title = ? WHERE id = ?", word, session_id)
        ((slot,),) = await self.run("SELECT slot_id FROM sessions WHERE id = ?", session_id)
        await self.run(
            "INSERT INTO turns (id, slot_id, session_id, agent, state, reason, started_at, ended_at)"
            " VALUES (?, ?, ?, 'echo', 'done', ?, 0, 0)",
            turn, slot, session_id, word,
        )  # fmt: skip
        await self.run("INSERT INTO turn_steps VALUES (?, 1, 'calls', ?)", turn, word)
        inbox = Inbox(
            self.database,
            self.store,
            CONFIG,
            self.clock,
            on_message=lambda _record: None,
            on_delivery=lambda _target: None,
        )
        for number, turn_id in ((f"{chat}-1", turn), (f"{chat}-2", None)):
            await inbox.accept(InboundMessage(source, number, f"/{word}", group_id=word), operator=True)
            await self.run(
                "UPDATE inbound SET state = 'answered', turn_id = ?, ended_at = received_at WHERE message_id = ?",
                turn_id, number,
            )  # fmt: skip
        delivery = NewDelivery(
            Target(source.platform, chat, None, ""), "reply", word, session_id=session_id, turn_id=turn
        )
        now = self.clock.now()
        number_of = await self.database.write(lambda connection: add_delivery(connection, delivery, now))
        await self.run("UPDATE outbox SET text = ?, state = 'sent' WHERE id = ?", f"{word} {word}", number_of)
        await SearchIndexer(self.database).catch_up()
        return session_id

    def copy(self, name: str) -> Path:
        """A copy of the database as it is, beside it."""
        path = self.home.path / name
        path.parent.mkdir(exist_ok=True)
        with closing(sqlite3.connect(self.home.database)) as source, closing(sqlite3.connect(path)) as target:
            source.backup(target)
        return path

    def holding(self, word: str) -> list[str]:
        """The files of the home that have these bytes in them."""
        paths = [path for path in self.home.path.rglob("*") if path.is_file()]
        return sorted(
            str(path.relative_to(self.home.path)) for path in paths if word.encode() in path.read_bytes().lower()
        )

    async def found(self, word: str) -> set[str]:
        return {hit.session_id for hit in await search(self.database, word)}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    home = Home(tmp_path / "home").ensure()
    async with Database.open(home.database) as database:
        yield House(home, database)


async def test_a_deleted_session_is_gone_and_others_stay(house: House) -> None:
    session_id = await house.live_through(MARK)
    other = await house.live_through("other", chat="8")
    erased = await house.eraser.erase(session_id)
    assert (erased.known, erased.messages, erased.purged) == (True, 4, False)
    assert await house.found(MARK) == set()
    assert await house.found("other") == {other}
    assert await house.store.load_transcript(session_id) == []
    for table in ("sessions", "messages", "turns", "turn_steps", "outbox", "inbound", "slots"):
        rows = await house.run(f"SELECT * FROM {table}")
        assert MARK not in str(rows), table
        assert "other" in str(rows) or table == "slots", table
    assert await house.run("PRAGMA foreign_key_check") == []
    with pytest.raises(EraseError, match="there is no session"):
        await house.eraser.erase(session_id)


async def test_a_message_that_comes_again_is_still_recognised(house: House) -> None:
    session_id = await house.live_through(MARK)
    await house.eraser.erase(session_id, purge=True)
    ids = await house.run("SELECT message_id, state, slot_id FROM inbound ORDER BY id")
    assert ids == [("9-1", "ignored", None), ("9-2", "ignored", None)]


async def test_a_live_session_leaves_its_slot_empty(house: House) -> None:
    source = SessionSource(Platform.TELEGRAM, "9", user_id="7")
    session_id = await house.store.record_turn(source, [{"role": "user", "content": "one"}])
    await house.eraser.erase(session_id)
    after = await house.store.record_turn(source, [{"role": "user", "content": "two"}])
    assert after != session_id
    assert (await house.store.get_session(after)).predecessor_id is None


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("state", ["running", "waiting"])
async def test_a_session_whose_turn_runs_is_kept(house: House, state: str, force: bool) -> None:
    session_id = await house.live_through(MARK)
    await house.run("UPDATE turns SET state = ?", state)
    with pytest.raises(EraseError, match="turn is running"):
        await house.eraser.erase(session_id, force=force, purge=force)
    assert len(await house.store.load_transcript(session_id)) == 4
    assert (await house.store.get_session(session_id)).is_live


@pytest.mark.parametrize(
    ("change", "words"),
    [("UPDATE sessions SET pinned = 1", "pinned"), ("UPDATE outbox SET state = 'pending'", "not been delivered")],
)
async def test_what_needs_force(house: House, change: str, words: str) -> None:
    session_id = await house.live_through(MARK)
    await house.run(change)
    with pytest.raises(EraseError, match=words):
        await house.eraser.erase(session_id)
    assert (await house.store.get_session(session_id)).is_live
    await house.eraser.erase(session_id, force=True)
    assert await house.run("SELECT * FROM outbox") == []


@pytest.mark.parametrize("open_after", [False, True], ids=["running", "stopped"])
async def test_a_purge_leaves_no_byte(tmp_path: Path, open_after: bool) -> None:
    home = Home(tmp_path / "home").ensure()
    async with Database.open(home.database) as database:
        house = House(home, database)
        other = await house.live_through("other", chat="8")
        session_id = await house.live_through(MARK)
        # Edits and cuts leave what was there before in free space.
        await house.store.append_turn(
            session_id, [{"role": "user", "content": f"{MARK} {number}"} for number in range(900)]
        )
        await house.store.cut_last_turn(session_id)
        await SearchIndexer(database).catch_up()
        backup = house.copy("gateway.db.schema1.bak")
        nested = house.copy("backups/gateway-20260101.db")
        (home.sessions_dir / f"{session_id}.jsonl").write_text(MARK)
        (home.sessions_dir / "rejected-spool-1.jsonl").write_text(
            f'{{"session_id":"{session_id}","text":"{MARK}"}}\n{{"session_id":"{other}"}}\n'
        )
        (home.media_dir / session_id).mkdir()
        (home.media_dir / session_id / "picture.png").write_text(MARK)
        (home.path / HISTORY).write_text(f"\n# 1\n+{MARK} please\n\n# 2\n+kept\n+too\n")
        damaged = home.path / "gateway.db.damaged-20260101T000000Z"
        damaged.write_bytes(b"not a database " + session_id.encode() + MARK.encode())
        (home.path / "backups" / "strange.tar.gz").write_bytes(b"\x1f\x8b\x08")
        (home.path / "backups" / "strange.zip").write_bytes(b"PK\x03\x04")
        packed = home.path / "backups" / "all.tar.gz"
        made = make_backup(home, packed, house.clock.now())
        (home.path / "replaced-1" / "sessions").mkdir(parents=True)
        (home.path / "replaced-1" / "sessions" / f"{session_id}.jsonl").write_text(MARK)
        if not open_after:
            erased = await house.eraser.erase(session_id, purge=True)
            assert house.holding(MARK) == []
    if open_after:
        assert house.holding(MARK)
        async with Database.open(home.database) as database:
            house = House(home, database)
            erased = await house.eraser.erase(session_id, purge=True)
    assert house.holding(MARK) == []
    assert set(erased.rewritten) == {
        "gateway.db.schema1.bak",
        "backups/gateway-20260101.db",
        "backups/all.tar.gz",
        "sessions/rejected-spool-1.jsonl",
        HISTORY,
    }
    assert set(erased.removed) == {
        f"sessions/{session_id}.jsonl",
        f"replaced-1/sessions/{session_id}.jsonl",
        f"media/{session_id}",
        damaged.name,
    }
    assert set(erased.unread) == {"backups/strange.tar.gz", "backups/strange.zip"}
    unpacked = Home(tmp_path / "unpacked")
    unpacked.path.mkdir()
    manifest = unpack(packed, unpacked.path, newest_schema=newest_schema())
    assert manifest.created_at == made.created_at
    assert len(manifest.entries) == len(made.entries) - 2
    assert not any(MARK.encode() in path.read_bytes() for path in unpacked.path.rglob("*") if path.is_file())
    assert (home.path / HISTORY).read_text() == "\n# 2\n+kept\n+too\n"
    assert other in (home.sessions_dir / "rejected-spool-1.jsonl").read_text()
    for path in (backup, nested, unpacked.database, home.database):
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT id FROM sessions").fetchall() == [(other,)]
            assert connection.execute("SELECT count(*) FROM messages").fetchone() == (4,)
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            define_words(connection)
            connection.execute("INSERT INTO messages_search (messages_search, rank) VALUES ('integrity-check', 1)")
    async with Database.open(home.database) as database:
        assert await House(home, database).found("other") == {other}


async def test_a_deletion_without_purge_leaves_the_copies(house: House) -> None:
    session_id = await house.live_through(MARK)
    house.copy("gateway.db.schema1.bak")
    await house.eraser.erase(session_id)
    assert "gateway.db.schema1.bak" in house.holding(MARK)


async def test_a_copy_that_cannot_be_written_anew_is_removed(house: House) -> None:
    session_id = await house.live_through(MARK)
    copy = house.copy("copy.db")
    data = bytearray(copy.read_bytes())
    data[5000:9000] = b"\xff" * 4000
    copy.write_bytes(data)
    erased = await house.eraser.erase(session_id, purge=True)
    assert erased.removed == ("copy.db",)
    assert house.holding(MARK) == []


async def test_the_database_of_another_program_is_left_alone(house: House) -> None:
    session_id = await house.live_through(MARK)
    with closing(sqlite3.connect(house.home.path / "foreign.db")) as foreign:
        foreign.execute("CREATE TABLE sessions (id TEXT)")
        foreign.commit()
    before = (house.home.path / "foreign.db").read_bytes()
    assert (await house.eraser.erase(session_id, purge=True)).rewritten == ()
    assert (house.home.path / "foreign.db").read_bytes() == before


async def test_a_purge_that_was_cut_short_is_finished_by_the_next(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = await house.live_through(MARK)

    def fail(_connection: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("gateway.erasure._rewrite", fail)
        with pytest.raises(EraseError, match="try it again"):
            await house.eraser.erase(session_id, purge=True)
    assert house.holding(MARK) != []
    erased = await house.eraser.erase(session_id, purge=True)
    assert (erased.known, erased.messages) == (False, 0)
    assert house.holding(MARK) == []


async def test_a_store_that_cannot_be_written_is_said(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    session_id = await house.live_through(MARK)
    with monkeypatch.context() as patch:
        patch.setattr("gateway.storage.writer.WRITER_QUEUE_LIMIT", 0)
        answer = await house.eraser.serve({"session_id": session_id})
    assert (answer["ok"], "try it again" in answer["error"]) == (False, True)
    assert await house.eraser.serve({}) == {"ok": False, "error": "session_id is missing"}
    answer = await house.eraser.serve({"session_id": session_id, "purge": "yes"})
    assert (answer["ok"], answer["erased"]["purged"]) == (True, False)


async def test_nothing_is_removed_while_the_database_is_out_of_use() -> None:
    with closing(sqlite3.connect(":memory:")) as shadow, pytest.raises(StorageError, match="out of use"):
        removal.on_file(removal.remove_messages, "any")(shadow)


async def test_the_beginning_of_an_id_purges_nothing(house: House) -> None:
    await house.live_through(MARK)
    with pytest.raises(EraseError, match="there is no session 2026"):
        await house.eraser.erase("2026", purge=True)
    with pytest.raises(EraseError, match="there is no session"):
        await house.eraser.erase("../../etc/passwd", purge=True)


async def test_a_purge_waits_for_the_spool(house: House) -> None:
    session_id = await house.live_through(MARK)
    (house.home.sessions_dir / "spool-20260101T000000000000Z-00.jsonl").write_text("{}")
    with pytest.raises(EraseError, match="start the gateway"):
        await house.eraser.erase(session_id, purge=True)
    assert len(await house.store.load_transcript(session_id)) == 4


async def test_a_reader_that_is_in_the_way_is_named(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.erasure.CHECKPOINT_TRIES", 2)
    session_id = await house.live_through(MARK)
    with closing(sqlite3.connect(house.home.database)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM messages").fetchone()
        with pytest.raises(EraseError, match="another program"):
            await house.eraser.erase(session_id, purge=True)
    await house.eraser.erase(session_id, purge=True)
    assert house.holding(MARK) == []


async def test_maintenance_runs_between_transactions(house: House) -> None:
    put = "INSERT INTO meta (name, value) VALUES (?, '')"

    def job(name: str) -> Job[int]:
        return lambda connection: connection.execute(put, (name,)).rowcount

    jobs = [house.database.write(job(name)) for name in ("one", "two")]
    inside = house.database.maintain(lambda connection: connection.in_transaction)
    jobs.append(house.database.write(job("three")))
    assert await asyncio.gather(*jobs) == [1, 1, 1]
    assert not await inside
    with pytest.raises(StorageError, match="no such table"):
        await house.database.maintain(lambda connection: connection.execute("DELETE FROM nowhere"))

    def leave_open(connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN")
        connection.execute(put, ("never",))
        raise ValueError("it failed by itself")

    with pytest.raises(ValueError, match="by itself"):
        await house.database.maintain(leave_open)
    assert ("never",) not in await house.run("SELECT name FROM meta")
