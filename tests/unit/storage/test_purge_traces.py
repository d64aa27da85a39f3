"""A purge reaches what a session has left outside of its own rows: records of programs, copies made in the midst of a
turn, spools in backups, and what was kept under another session's or turn's name."""

import json
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from config import Home, Platform
from gateway.api.ledger import ACCOUNT, Answer, Asked, Ledger
from gateway.inbox import Inbox
from gateway.leftovers import clean
from gateway.ports import InboundMessage
from gateway.retention import Retention
from gateway.session.removal import unknown
from gateway.source import SessionSource
from gateway.storage import failover as failover_module
from gateway.storage import queries
from gateway.storage import writer as writer_module
from gateway.storage.backup import make_backup, unpack
from gateway.storage.checks import newest_schema
from gateway.storage.database import Database
from gateway.storage.spool import find_spools
from tests.unit.storage.test_erasure import CONFIG, MARK, House, house
from tests.unit.storage.test_failover import back, held

__all__ = ["house"]

HERE: Final = SessionSource(Platform.TELEGRAM, "9", user_id="7")
"""Where the sessions of a `House` are."""

LAST: Final = "SELECT max(id) FROM inbound"


async def take(
    house: House, number: str, text: str = f"{MARK} again", source: SessionSource = HERE, update_id: str | None = None
) -> None:
    """A message comes in, and waits."""
    inbox = Inbox(
        house.database,
        house.store,
        CONFIG,
        house.clock,
        on_message=lambda _record: None,
        on_delivery=lambda _target: None,
    )
    await inbox.accept(InboundMessage(source, number, text, account=ACCOUNT, update_id=update_id), operator=True)


async def settle(house: House, number: str, turn: str | None, state: str = "answered") -> None:
    """The message has its end."""
    await house.run(
        "UPDATE inbound SET state = ?, turn_id = ?, ended_at = received_at WHERE message_id = ?", state, turn, number
    )


def back_up(house: House) -> Path:
    """A backup in the home."""
    path = house.home.path / "all.tar"
    make_backup(house.home, path, house.clock.now())
    return path


def unpacked(backup: Path, folder: Path) -> House:
    """A backup as it would be restored; its database is not open."""
    home = Home(folder / "unpacked")
    home.path.mkdir(parents=True)
    unpack(backup, home.path, newest_schema=newest_schema())
    return House(home, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("turn", ["turn9", None], ids=["a turn", "a command"])
async def test_what_a_program_asked_and_was_answered(house: House, turn: str | None) -> None:
    session_id, ledger = await house.live_through(MARK), Ledger(house.database, house.clock)
    source = SessionSource(Platform.API_SERVER, "resp_1", user_id="key")
    if turn is None:
        await house.run("UPDATE slots SET platform = 'api_server', chat = 'resp_1', participant = ''")
    await take(house, "resp_1", source=source)
    await settle(house, "resp_1", turn)
    for name, of in (("resp_1", session_id), ("resp_2", "another")):
        await ledger.note(
            Asked(name, "key", "response", name, "print", {"instructions": name + MARK * (name == "resp_1")},
                  house.clock.now())
        )  # fmt: skip
        await ledger.keep([name], Answer(text=MARK if name == "resp_1" else "other", session_id=of))
    await house.eraser.erase(session_id, purge=True)
    assert house.holding(MARK) == []
    assert await ledger.find("resp_1") is None
    assert await ledger.answer("resp_1") is None
    assert await ledger.find("resp_2") is not None
    assert (await ledger.answer("resp_2") or Answer()).text == "other"


async def test_a_message_that_failed_whose_turn_is_forgotten(house: House) -> None:
    # As after /retry: the transcript has the repetition alone. Turns are kept for a week, what failed for a month.
    session_id = await house.live_through("plain")
    await take(house, "9-7")
    await settle(house, "9-7", "gone", "failed")
    await house.run(
        "INSERT INTO turns (id, slot_id, session_id, agent, state, started_at, ended_at)"
        " SELECT 'gone', slot_id, id, 'echo', 'done', 0, 0 FROM sessions WHERE id = ?",
        session_id,
    )
    await house.run("DELETE FROM turn_steps")
    house.clock.advance(days=8)
    await Retention(house.database, CONFIG, house.clock, Counter(), pause=0).sweep()
    assert await house.run("SELECT id FROM turns WHERE id = 'gone'") == []
    assert house.holding(MARK)
    await house.eraser.erase(session_id, purge=True)
    assert house.holding(MARK) == []
    assert await house.run("SELECT message_id, state FROM inbound WHERE message_id = '9-7'") == [("9-7", "ignored")]


async def test_a_command_in_the_chat_from_which_a_session_was_taken_away(house: House) -> None:
    session_id = await house.live_through("plain")
    await take(house, "9-7", f"/title {MARK}")
    await settle(house, "9-7", None)
    after = await house.live_through("other", chat="8")
    # As after /resume in another chat of the same person.
    await house.run("UPDATE slots SET session_id = NULL WHERE chat = '9'")
    await house.run("UPDATE slots SET session_id = ?, previous_session_id = ? WHERE chat = '8'", session_id, after)
    await house.run("UPDATE sessions SET slot_id = (SELECT id FROM slots WHERE chat = '8')")
    await house.eraser.erase(session_id, purge=True)
    assert house.holding(MARK) == []
    assert await house.run("SELECT chat FROM slots") == [("8",)]


@pytest.mark.parametrize("days", [0, 8], ids=["at once", "later"])
@pytest.mark.parametrize("state", ["kept", "pending", "running"])
async def test_a_backup_that_was_made_while_a_message_was_on_its_way(
    house: House, tmp_path: Path, state: str, days: int
) -> None:
    session_id, text = await house.live_through(MARK), f"{MARK} please"
    if state == "kept":
        await house.run(
            "INSERT INTO updates (platform, account, id, seq, payload, received_at)"
            " VALUES ('telegram', ?, '1', 1, ?, 0)",
            ACCOUNT, json.dumps({"message": {"text": text}}),
        )  # fmt: skip
    await take(house, "9-7", text)
    await take(house, "8-7", "another", SessionSource(Platform.TELEGRAM, "8", user_id="8"))
    if state == "running":
        await house.run("UPDATE turns SET state = 'running'")
        await house.run("UPDATE inbound SET state = 'running', turn_id = 'turn9' WHERE message_id = '9-7'")
    backup = back_up(house)
    await house.run("DELETE FROM updates")
    await house.run("UPDATE turns SET state = 'done'")
    await settle(house, "9-7", "turn9")
    if days:
        await house.run("DELETE FROM inbound WHERE message_id LIKE '9-%'")
    await house.eraser.erase(session_id, purge=True)
    assert house.holding(MARK) == []
    inside = unpacked(backup, tmp_path)
    assert inside.holding(MARK) == []
    async with Database.open(inside.home.database) as database:
        rows = await database.read("SELECT message_id, state, text FROM inbound WHERE text IS NOT NULL OR id = 3")
        assert [tuple(row) for row in rows] == [("9-7", "ignored", None), ("8-7", "pending", "another")]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "SQLITE_BUSY_SECONDS", 0.02)
    monkeypatch.setattr(failover_module, "SQLITE_BUSY_SECONDS", 0.02)
    monkeypatch.setattr(failover_module, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(failover_module, "RETRY_MAX_SECONDS", 0.05)


async def talk(house: House, session_id: str, number: str, text: str, end: str = "answered") -> None:
    """A message comes in, first as its platform writes it, is begun with, and answered in words of its own."""
    turn, payload = f"turn-{number}", json.dumps({"text": text})
    await house.run("INSERT INTO updates VALUES ('telegram', ?, ?, 1, ?, 0, NULL)", ACCOUNT, number, payload)
    await take(house, number, text, update_id=number)

    def begin(connection: sqlite3.Connection) -> None:
        connection.execute(
            "INSERT INTO turns (id, slot_id, session_id, agent, state, started_at)"
            " SELECT ?, slot_id, id, 'echo', 'running', 0 FROM sessions WHERE id = ?",
            (turn, session_id),
        )
        connection.execute(queries.CLAIM_INBOUND, (turn, connection.execute(LAST).fetchone()[0])).fetchall()

    await house.database.write(begin)
    if end == "answered":
        said = [{"role": "user", "content": f"In reply to you:\n{text}"}, {"role": "assistant", "content": text}]
        await house.store.append_turn(session_id, said)
        await house.run("UPDATE turns SET state = 'done', ended_at = 1 WHERE id = ?", turn)
        await house.run("UPDATE messages SET turn_id = ? WHERE turn_id IS NULL AND session_id = ?", turn, session_id)
        await settle(house, number, turn)


async def test_the_spool_in_a_backup_that_was_made_in_an_outage(house: House, tmp_path: Path, quick: None) -> None:
    session_id = await house.live_through("plain")
    with held(house.home.database):
        await house.store.get_or_create_session(HERE)
        await talk(house, session_id, "9-7", MARK)
        await take(house, "9-8", f"/title {MARK}")
        await settle(house, "9-8", None)
        assert house.database.state.mode == "spool"
        entry = await house.store.reset_session(house.store.identity(HERE))
        assert entry is not None
        await talk(house, entry.session_id, "9-9", "of the next one")
        await take(house, "9-10", "still waits")
        backup = back_up(house)
        kept = unpacked(backup, tmp_path / "kept").home.sessions_dir
    await back(house.database)
    # Copies of it that were kept: one of which a line is damaged, one that a restore has replaced.
    (spool,) = find_spools(kept)
    damaged = house.home.sessions_dir / f"damaged-{spool.name}"
    damaged.write_bytes(spool.read_bytes() + b'{"crc":"00000000","seq":99,"text":"' + MARK.encode() + b'"}\n')
    (house.home.path / "replaced-1" / "sessions").mkdir(parents=True)
    (house.home.path / "replaced-1" / "sessions" / spool.name).write_bytes(spool.read_bytes())
    erased = await house.eraser.erase(session_id, purge=True)
    assert {f"sessions/{damaged.name}", f"replaced-1/sessions/{spool.name}", "all.tar"} <= set(erased.rewritten)
    assert house.holding(MARK) == []
    inside = unpacked(backup, tmp_path)
    assert inside.holding(MARK) == inside.holding(session_id) == []
    async with Database.open(inside.home.database) as database:
        rows = await database.read("SELECT message_id, state, text FROM inbound WHERE id > 2 ORDER BY id")
        assert [tuple(row) for row in rows] == [
            ("9-7", "ignored", None),
            ("9-8", "ignored", None),
            ("9-9", "answered", "of the next one"),
            ("9-10", "pending", "still waits"),
        ]
        rows = await database.read("SELECT content FROM messages WHERE role = 'assistant'")
        assert [tuple(row) for row in rows] == [("of the next one",)]
        assert [row["id"] for row in await database.read("SELECT id FROM sessions")] == [entry.session_id]
        assert await database.read("PRAGMA foreign_key_check") == []
    assert list(inside.home.sessions_dir.glob("*spool*")) == []


async def test_a_spool_that_is_in_use_is_left_alone(house: House) -> None:
    session_id = await house.live_through(MARK)
    spool = house.home.sessions_dir / "spool-20260101T000000000000Z-00.jsonl"
    spool.write_text(f'{{"seq":1,"events":[{{"op":"put","table":"sessions","row":{{"id":"{session_id}"}}}}]}}\n')
    before = spool.read_bytes()
    clean(house.home, unknown(session_id))
    assert spool.read_bytes() == before


async def test_a_file_that_goes_while_it_is_looked_through(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    session_id, gone = await house.live_through(MARK), house.home.sessions_dir / "other.partial"
    gone.touch()
    is_link = Path.is_symlink

    def goes(path: Path) -> bool:
        if path == gone:
            path.unlink()
        return is_link(path)

    monkeypatch.setattr(Path, "is_symlink", goes)
    erased = await house.eraser.erase(session_id, purge=True)
    assert (erased.known, gone.name in str(erased)) == (True, False)
    assert house.holding(MARK) == []


async def test_what_was_kept_under_the_name_of_a_session_that_joined(house: House, tmp_path: Path) -> None:
    session_id = await house.live_through("plain")
    await house.run(
        "INSERT INTO sessions (id, slot_id, owner, platform, chat_type, display_name, title, created_at, updated_at,"
        " ended_at, end_reason, successor_id) SELECT 'provisional', slot_id, owner, platform, chat_type, ?, ?, 1, 1, 1,"
        " 'session_joined', id FROM sessions",
        MARK, MARK,
    )  # fmt: skip
    (house.home.media_dir / "provisional").mkdir()
    (house.home.media_dir / "provisional" / "picture.png").write_text(MARK)
    backup = back_up(house)
    await house.eraser.erase(session_id, purge=True)
    assert house.holding(MARK) == []
    assert unpacked(backup, tmp_path).holding(MARK) == []
    assert await house.run("SELECT id FROM sessions") == []
