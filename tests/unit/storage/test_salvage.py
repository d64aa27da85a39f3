"""Salvage: what is rescued of databases that are really damaged, and that nothing of it can hurt."""

import contextlib
import hashlib
import json
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.storage import salvage as salvaging
from gateway.storage.checks import faults_in
from gateway.storage.errors import StorageError
from gateway.storage.faults import is_damage
from gateway.storage.migrate import migrate
from gateway.storage.pages import INDEX_INTERIOR, INTERIORS, TABLE_KINDS, PageFile, Walk
from gateway.storage.salvage import (
    SalvageReport,
    replace_damaged,
    salvage,
    set_aside,
    set_aside_databases,
    unfinished,
)
from gateway.storage.writer import connect

NOW = datetime(2026, 11, 21, 6, 30, tzinfo=UTC)
MICROS = 1_790_000_000_000_000
SESSIONS = 60
MESSAGES = 12
TABLES = ("slots", "sessions", "messages", "turns", "turn_steps", "inbound", "outbox", "cursors", "meta")


def fill(connection: sqlite3.Connection, sessions: int = SESSIONS) -> None:
    """Conversations as the gateway stores them: long texts, tool calls, open turns, deliveries."""
    connection.execute("BEGIN")
    for number in range(1, sessions + 1):
        session, slot = f"session_{number:04}", number
        connection.execute(
            "INSERT INTO slots (id, agent, platform, chat_type, chat, thread, participant, key, session_id)"
            " VALUES (?, 'main', 'telegram', 'dm', ?, '', '', ?, ?)",
            (slot, f"chat-{number}", f"agent:main:telegram:dm:chat-{number}", session),
        )
        connection.execute(
            "INSERT INTO sessions (id, slot_id, owner, platform, chat_type, origin, title, created_at, updated_at)"
            " VALUES (?, ?, ?, 'telegram', 'dm', '{}', ?, ?, ?)",
            (session, slot, f"telegram:user:{number}", f"Title {number}", MICROS + number, MICROS + number),
        )
        for turn in range(MESSAGES):
            text = f"message {number}.{turn} " + "Grüße und mehr " * (400 if turn == 5 else 5)
            data = json.dumps({"tool_calls": [{"id": str(turn)}]}) if turn % 4 == 0 else None
            connection.execute(
                "INSERT INTO messages (session_id, turn_id, role, content, data, created_at)"
                " VALUES (?, ?, 'user', ?, ?, ?)",
                (session, f"turn-{number}", text, data, MICROS + turn),
            )
            connection.execute(
                "INSERT INTO inbound (platform, account, chat, message_id, slot_id, source, text, received_at, state)"
                " VALUES ('telegram', 'default', ?, ?, ?, '{}', 'hello', ?, 'answered')",
                (f"chat-{number}", f"m{turn}", slot, MICROS + turn),
            )
            connection.execute(
                "INSERT INTO outbox (platform, account, chat, thread, session_id, kind, text, state, created_at)"
                " VALUES ('telegram', 'default', ?, '', ?, 'reply', ?, 'sent', ?)",
                (f"chat-{number}", session, f"answer {turn} " * 9, MICROS + turn),
            )
        state = "running" if number % 10 == 0 else "done"
        connection.execute(
            "INSERT INTO turns (id, slot_id, session_id, agent, state, started_at) VALUES (?, ?, ?, 'main', ?, ?)",
            (f"turn-{number}", slot, session, state, MICROS),
        )
        connection.execute("INSERT INTO turn_steps VALUES (?, 1, 'step', ?)", (f"turn-{number}", json.dumps("x" * 200)))
        connection.execute("INSERT INTO cursors VALUES ('telegram', 'default', ?, ?)", (f"cursor-{number}", "7" * 200))
    connection.execute("INSERT INTO meta VALUES ('pii_secret', 'abcdef')")
    connection.execute("INSERT INTO meta VALUES ('search_cursor', '5')")
    connection.execute("COMMIT")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole database, with nothing in its log."""
    path = tmp_path_factory.mktemp("sound") / "gateway.db"
    with closing(connect(path)) as connection:
        migrate(connection, path)
        fill(connection)
    return path


@pytest.fixture
def damaged(sound: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    copy = tmp_path / "gateway.db"
    copy.write_bytes(sound.read_bytes())
    return copy


def rows(path: Path, table: str) -> set[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return set(connection.execute(f"SELECT * FROM {table}"))


def expected(path: Path, table: str) -> set[tuple[object, ...]]:
    return {row for row in rows(path, table) if row[0] != "search_cursor"}


def pages_of(path: Path, table: str) -> dict[int, list[int]]:
    """The leaf pages of a table, with the numbers of their rows."""
    found: dict[int, list[int]] = {}
    with PageFile(path) as pages:
        with closing(sqlite3.connect(path)) as connection:
            (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
        for cell in pages.walk(root, TABLE_KINDS, Walk()):
            found.setdefault(cell.page, []).append(cell.rowid)
    return found


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(data)


def wipe(path: Path, page: int) -> None:
    overwrite(path, (page - 1) * 4096, bytes(4096))


def check(damaged: Path, fresh: Path) -> SalvageReport:
    """Salvage, and hold that the damaged bytes are as they were and the new database is whole."""
    before = hashlib.sha256(damaged.read_bytes()).digest()
    report = salvage(damaged, fresh, now=NOW)
    assert hashlib.sha256(damaged.read_bytes()).digest() == before
    assert fresh.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(fresh)) as connection:
        assert faults_in(connection) == []
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return report


def of(report: SalvageReport, table: str) -> tuple[int, int, int]:
    (found,) = [each for each in report.tables if each.table == table]
    return found.copied, found.lost, found.mended


# --- what is whole stays whole -------------------------------------------------------------------------------


def test_a_whole_database_is_copied_whole(damaged: Path, tmp_path: Path) -> None:
    report = check(damaged, tmp_path / "fresh.db")
    for table in TABLES:
        assert rows(tmp_path / "fresh.db", table) == expected(damaged, table)
    assert (report.lost, report.mended, report.faults) == (0, 0, ())


def test_a_large_database_with_pages_of_another_size(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA page_size = 8192")
        migrate(connection, path)
        fill(connection, 120)
    overwrite(path, 0, bytes(100))
    check(path, tmp_path / "fresh.db")
    with closing(sqlite3.connect(tmp_path / "fresh.db")) as connection:
        assert connection.execute("SELECT count(*) FROM messages").fetchone() == (120 * MESSAGES,)


def test_what_is_only_in_the_log_is_copied(tmp_path: Path) -> None:
    path, copy = tmp_path / "live.db", tmp_path / "gateway.db"
    with closing(connect(path)) as connection:
        migrate(connection, path)
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        fill(connection, 5)
        connection.execute("BEGIN")
        connection.execute("DELETE FROM cursors")  # not committed
        for end in ("", "-wal"):
            copy.with_name(copy.name + end).write_bytes(path.with_name(path.name + end).read_bytes())
        connection.execute("ROLLBACK")
    report = check(copy, tmp_path / "fresh.db")
    assert report.lost == 0
    for table in TABLES:
        assert rows(tmp_path / "fresh.db", table) == expected(path, table)


def test_a_frame_of_the_log_that_is_damaged_costs_its_page_alone(tmp_path: Path) -> None:
    path, copy = tmp_path / "live.db", tmp_path / "gateway.db"
    with closing(connect(path)) as connection:
        migrate(connection, path)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        fill(connection, 20)
        for end in ("", "-wal"):
            copy.with_name(copy.name + end).write_bytes(path.with_name(path.name + end).read_bytes())
    log = copy.with_name("gateway.db-wal")
    overwrite(log, 32 + 24 + 40 * (4096 + 24) + 2000, b"\xff\xfe")
    check(copy, tmp_path / "fresh.db")
    found = sum(len(rows(tmp_path / "fresh.db", table)) for table in TABLES)
    assert found > 0.9 * sum(len(rows(path, table)) for table in TABLES)


def test_deleted_rows_do_not_come_back(damaged: Path, tmp_path: Path) -> None:
    with closing(connect(damaged)) as connection:
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("DELETE FROM messages WHERE session_id < 'session_0031'")
    kept = rows(damaged, "messages")
    wipe(damaged, next(iter(pages_of(damaged, "messages"))))
    check(damaged, tmp_path / "fresh.db")
    assert rows(tmp_path / "fresh.db", "messages") <= kept


# --- pages -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["messages", "outbox", "turns"])
def test_a_lost_leaf_page_costs_its_own_rows_alone(damaged: Path, tmp_path: Path, table: str) -> None:
    pages = pages_of(damaged, table)
    page = sorted(pages)[len(pages) // 2]
    before = rows(damaged, table)
    with closing(sqlite3.connect(damaged)) as connection:
        marks = ",".join(map(str, pages[page]))
        gone = set(connection.execute(f"SELECT * FROM {table} WHERE rowid IN ({marks})"))
    wipe(damaged, page)
    report = check(damaged, tmp_path / "fresh.db")
    assert rows(tmp_path / "fresh.db", table) == before - gone
    assert len(gone) == len(pages[page])
    if table != "outbox":  # no index has every delivery
        assert of(report, table)[1] == len(gone)


@pytest.mark.parametrize("table", ["messages", "sessions", "inbound", "outbox", "turn_steps", "cursors", "slots"])
def test_a_lost_root_page_costs_no_row(damaged: Path, tmp_path: Path, table: str) -> None:
    with closing(sqlite3.connect(damaged)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
    before = rows(damaged, table)
    with PageFile(damaged) as pages:
        assert pages.kind(root) in INTERIORS
        inner = pages.kind(root) == INDEX_INTERIOR
    wipe(damaged, root)
    check(damaged, tmp_path / "fresh.db")
    found = rows(tmp_path / "fresh.db", table)
    assert found <= before
    assert len(before) - len(found) <= (3 if inner else 0), "inner pages of a table without row numbers hold rows"


def test_lost_sessions_and_slots_are_made_again_from_their_indexes(damaged: Path, tmp_path: Path) -> None:
    slots = rows(damaged, "slots")
    for table in ("sessions", "slots"):
        for page in pages_of(damaged, table):
            wipe(damaged, page)
    check(damaged, tmp_path / "fresh.db")
    assert rows(tmp_path / "fresh.db", "slots") == slots
    assert len(rows(tmp_path / "fresh.db", "sessions")) == SESSIONS
    assert len(rows(tmp_path / "fresh.db", "messages")) == SESSIONS * MESSAGES


def test_messages_whose_session_is_lost_everywhere_stay_to_be_found(damaged: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(damaged)) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("DELETE FROM sessions WHERE id = 'session_0007'")
        connection.execute("DELETE FROM slots WHERE id = 9")
        connection.commit()
    report = check(damaged, tmp_path / "fresh.db")
    with closing(sqlite3.connect(tmp_path / "fresh.db")) as connection:
        kept = connection.execute("SELECT count(*) FROM messages WHERE session_id = 'session_0007'").fetchone()
        assert kept == (MESSAGES,)
        title = connection.execute("SELECT title, message_count FROM sessions WHERE id = 'session_0007'").fetchone()
        assert title == ("Rescued conversation", MESSAGES)
        assert connection.execute("SELECT count(*) FROM sessions WHERE slot_id = 9").fetchone() == (1,)
    assert report.mended > 0


def test_a_lost_page_of_inbound_makes_no_message_new(damaged: Path, tmp_path: Path) -> None:
    """A platform may send a message again; the index still knows that it came."""
    key = "SELECT platform, account, chat, message_id FROM inbound"
    with closing(sqlite3.connect(damaged)) as connection:
        before = set(connection.execute(key))
    for page in list(pages_of(damaged, "inbound"))[1:3]:
        wipe(damaged, page)
    check(damaged, tmp_path / "fresh.db")
    with closing(sqlite3.connect(tmp_path / "fresh.db")) as connection:
        assert set(connection.execute(key)) == before


def test_a_message_whose_turn_is_lost_waits_again(damaged: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(damaged)) as connection:
        connection.execute("UPDATE inbound SET state = 'running', turn_id = 'nowhere' WHERE id = 5")
        connection.commit()
    check(damaged, tmp_path / "fresh.db")
    with closing(sqlite3.connect(tmp_path / "fresh.db")) as connection:
        assert connection.execute("SELECT state FROM inbound WHERE id = 5").fetchone() == ("pending",)


def test_a_lost_overflow_page_costs_the_end_of_one_text(damaged: Path, tmp_path: Path) -> None:
    data = damaged.read_bytes()
    pages = [
        n for n in range(1, len(data) // 4096) if data[n * 4096] == 0 and b"mehr" in data[n * 4096 : n * 4096 + 99]
    ]
    wipe(damaged, pages[7] + 1)
    check(damaged, tmp_path / "fresh.db")
    found = rows(tmp_path / "fresh.db", "messages")
    assert len(found) == SESSIONS * MESSAGES
    (cut,) = found - rows_of(data, tmp_path)
    assert str(cut[5]).startswith("message ")


def rows_of(data: bytes, folder: Path) -> set[tuple[object, ...]]:
    path = folder / "before.db"
    path.write_bytes(data)
    return rows(path, "messages")


def test_numbers_are_not_given_twice(damaged: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(damaged)) as connection:
        connection.execute("DELETE FROM outbox WHERE id > 700")
        connection.commit()
    with closing(sqlite3.connect(salvaged(damaged, tmp_path))) as connection:
        assert connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'").fetchone() == (720,)


def salvaged(damaged: Path, folder: Path) -> Path:
    check(damaged, folder / "fresh.db")
    return folder / "fresh.db"


# --- the beginning and the end of the file -------------------------------------------------------------------


@pytest.mark.parametrize("size", [16, 100, 4096])
def test_a_lost_header_or_first_page_costs_no_row(damaged: Path, tmp_path: Path, size: int) -> None:
    before = {table: expected(damaged, table) for table in TABLES}
    overwrite(damaged, 0, b"\xa5" * size)
    with closing(sqlite3.connect(damaged)) as connection, pytest.raises(sqlite3.DatabaseError) as caught:
        connection.execute("SELECT * FROM slots")
    assert is_damage(caught.value)
    check(damaged, tmp_path / "fresh.db")
    assert {table: rows(tmp_path / "fresh.db", table) for table in TABLES} == before


@pytest.mark.parametrize("size", [0, 1, 15, 99, 100, 511, 512, 4095, 4096, 4097, 12345, 65536, 100_000])
def test_a_file_that_was_cut_gives_what_is_before_the_cut(damaged: Path, tmp_path: Path, size: int) -> None:
    whole = {page: numbers for page, numbers in pages_of(damaged, "messages").items() if page * 4096 <= size}
    with damaged.open("r+b") as stream:
        stream.truncate(size)
    check(damaged, tmp_path / "fresh.db")
    with closing(sqlite3.connect(tmp_path / "fresh.db")) as connection:
        found = {number for (number,) in connection.execute("SELECT id FROM messages")}
    assert {number for numbers in whole.values() for number in numbers} <= found


@pytest.mark.parametrize("content", [b"", b"no database at all\n" * 1000, b"\0" * 9000, b"\xff" * 9000, b"x"])
def test_what_never_was_a_database_gives_an_empty_one(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "gateway.db"
    path.write_bytes(content)
    report = check(path, tmp_path / "fresh.db")
    assert report.copied == 0
    assert "nothing could be read" in str(report)


def test_a_log_that_is_none_is_left_out(damaged: Path, tmp_path: Path) -> None:
    damaged.with_name("gateway.db-wal").write_bytes(b"text" * 5000)
    assert check(damaged, tmp_path / "fresh.db").lost == 0


# --- by chance -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_flipped_bits_never_hurt(damaged: Path, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    data = bytearray(damaged.read_bytes())
    for _ in range(1000):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    damaged.write_bytes(data)
    report = check(damaged, tmp_path / "fresh.db")
    assert of(report, "messages")[0] > SESSIONS * MESSAGES / 2


@pytest.mark.parametrize("seed", range(12))
def test_lost_pages_never_hurt(damaged: Path, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    pages = pages_of(damaged, "messages")
    lost = {chance.randrange(damaged.stat().st_size // 4096) + 1 for _ in range(1 + seed)}
    for page in lost:
        wipe(damaged, page)
    check(damaged, tmp_path / "fresh.db")
    with closing(sqlite3.connect(tmp_path / "fresh.db")) as connection:
        found = {number for (number,) in connection.execute("SELECT id FROM messages")}
    assert {number for page, numbers in pages.items() if page not in lost for number in numbers} <= found


@pytest.mark.parametrize("seed", range(6))
def test_noise_in_place_of_pages_never_hurts(damaged: Path, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(20):
        offset = chance.randrange(damaged.stat().st_size - 3000)
        overwrite(damaged, offset, chance.randbytes(chance.randrange(1, 3000)))
    check(damaged, tmp_path / "fresh.db")


# --- files -----------------------------------------------------------------------------------------------------


def test_set_aside_moves_everything_and_overwrites_nothing(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    for _ in range(2):
        for end in ("", "-wal", "-shm"):
            path.with_name(path.name + end).write_text(f"content{end}")
        set_aside(path, NOW)
    names = {entry.name for entry in tmp_path.iterdir()}
    first = "gateway.db.damaged-20261121T063000Z"
    assert {first, f"{first}-wal", f"{first}-shm", f"{first}-2", f"{first}-2-wal", f"{first}-2-shm"} <= names
    assert "gateway.db" not in names
    assert len(set_aside_databases(path)) == 2


def test_a_set_aside_database_can_be_opened_with_its_log(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    with closing(connect(path)) as connection:
        migrate(connection, path)
        fill(connection, 3)
        kept = [path.with_name(path.name + end) for end in ("", "-wal")]
        contents = [each.read_bytes() for each in kept]
    for each, content in zip(kept, contents, strict=True):
        each.write_bytes(content)
    assert len(rows(set_aside(path, NOW), "messages")) == 3 * MESSAGES


def test_an_existing_target_is_an_error(damaged: Path) -> None:
    with pytest.raises(StorageError, match="exists already"):
        salvage(damaged, damaged)


def test_a_missing_file_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot salvage"):
        salvage(tmp_path / "none.db", tmp_path / "fresh.db")
    assert not (tmp_path / "fresh.db").exists()


def test_a_newer_database_is_refused(damaged: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(damaged)) as connection:
        connection.execute("CREATE TABLE novelty (id INTEGER PRIMARY KEY) STRICT")
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StorageError, match="newer version"):
        salvage(damaged, tmp_path / "fresh.db")
    with pytest.raises(StorageError, match="newer version"):
        replace_damaged(damaged, NOW)
    assert [entry.name for entry in tmp_path.iterdir()] == ["gateway.db"], "it is left to the newer version"


def test_replacing_leaves_a_whole_database_and_the_damaged_one_aside(damaged: Path) -> None:
    wipe(damaged, sorted(pages_of(damaged, "messages"))[2])
    content = damaged.read_bytes()
    report = replace_damaged(damaged, NOW)
    assert report.source.read_bytes() == content
    assert {entry.name for entry in damaged.parent.iterdir()} == {damaged.name, report.source.name}
    assert "rows were rescued" in str(report)
    assert json.loads(json.dumps(report.to_dict()))["copied"] == report.copied
    assert unfinished(damaged) is None


class Killed(BaseException):
    """The process dies here."""


def steps(monkeypatch: pytest.MonkeyPatch, last: int) -> None:
    """Die at the given one of the calls that change files."""
    left = iter(range(last))

    @contextlib.contextmanager
    def counted() -> Iterator[None]:
        if next(left, None) is None:
            raise Killed
        yield

    for owner, name in ((Path, "rename"), (Path, "unlink"), (salvaging, "salvage"), (salvaging, "_sync_directory")):
        original = getattr(owner, name)

        def dying(*args: object, _original: object = original, **named: object) -> object:
            with counted():
                assert callable(_original)
                return _original(*args, **named)

        monkeypatch.setattr(owner, name, dying)


@pytest.mark.parametrize("last", range(14))
def test_a_death_at_any_step_loses_nothing(
    damaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: int
) -> None:
    overwrite(damaged, 0, b"\xa5" * 100)
    damaged.with_name("gateway.db-wal").write_bytes(b"a log")
    with monkeypatch.context() as patch, contextlib.suppress(Killed):
        steps(patch, last)
        replace_damaged(damaged, NOW)
    begun = unfinished(damaged)
    assert (begun is None) == damaged.exists()
    if begun is not None or damaged.read_bytes()[:4] == b"\xa5" * 4:
        replace_damaged(damaged, NOW)
    assert len(rows(damaged, "messages")) == SESSIONS * MESSAGES
    assert unfinished(damaged) is None
    (aside,) = set_aside_databases(damaged)
    assert aside.with_name(aside.name + "-wal").read_bytes() == b"a log"
    assert not damaged.with_name("gateway.db-wal").exists()
