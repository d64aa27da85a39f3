"""The sessions of a Hermes home as its command line has them, looked at and never changed."""

import json
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from gateway.importing.cli_sessions import cli_messages, delete_cli_session, list_cli_sessions

VECTORS = {
    case["id"]: case["expected"]
    for case in json.loads((Path(__file__).parents[2] / "vectors" / "cli_bridge.json").read_text("utf-8"))["cases"]
}
SESSIONS = (
    "CREATE TABLE sessions (id TEXT PRIMARY KEY, source TEXT, title TEXT, model TEXT, message_count INTEGER,"
    " started_at REAL, ended_at REAL)"
)
MESSAGES = "CREATE TABLE messages (session_id TEXT, role TEXT, content TEXT, timestamp REAL)"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def connection(state: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(state, isolation_level=None)) as opened:
        opened.execute(SESSIONS)
        opened.execute(MESSAGES)
        yield opened


def add(connection: sqlite3.Connection, session_id: str, source: str | None, started: float, **more: Any) -> None:
    values = {"title": None, "model": None, "message_count": None, "ended_at": None, **more}
    connection.execute(
        "INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?)",
        (session_id, source, values["title"], values["model"], values["message_count"], started, values["ended_at"]),
    )


def say(connection: sqlite3.Connection, session_id: str, role: str, content: str, at: float) -> None:
    connection.execute("INSERT INTO messages VALUES (?, ?, ?, ?)", (session_id, role, content, at))


def everything(state: Path) -> tuple[bytes, list[str]]:
    return state.read_bytes(), sorted(path.name for path in state.parent.iterdir())


def test_the_list(state: Path, connection: sqlite3.Connection) -> None:
    add(connection, "a", "cli", 100)
    add(connection, "b", "telegram", 50, title="B", model="m", message_count=2)
    say(connection, "b", "user", "x", 500)
    add(connection, "c", "webui", 900)
    add(connection, "d", None, 900)
    add(connection, "e", "api_server", 60)
    before = everything(state)
    assert [each.to_dict() for each in list_cli_sessions(state)] == VECTORS["cli_bridge-001"]
    assert everything(state) == before


def test_at_most_200_are_listed(state: Path, connection: sqlite3.Connection) -> None:
    for number in range(205):
        add(connection, f"s{number:03}", "cli", number)
    found = list_cli_sessions(state)
    expected = VECTORS["cli_bridge-002"]
    assert (len(found), found[0].session_id, found[-1].session_id) == (
        expected["count"], expected["first"], expected["last"],
    )  # fmt: skip


def test_messages_in_the_order_of_time(state: Path, connection: sqlite3.Connection) -> None:
    say(connection, "a", "assistant", "2", 2)
    say(connection, "a", "user", "1", 1)
    assert cli_messages(state, "a") == VECTORS["cli_bridge-005"]
    say(connection, "a", "user", "3", 3)
    say(connection, "a", "assistant", "4", 3)
    assert [message["content"] for message in cli_messages(state, "a")] == ["1", "2", "3", "4"]


def test_a_damaged_file(state: Path, caplog: pytest.LogCaptureFixture) -> None:
    state.write_bytes(b"no database at all" * 100)
    with caplog.at_level(logging.WARNING):
        answers = [list_cli_sessions(state), cli_messages(state, "a"), delete_cli_session(state, "a")]
    assert answers == VECTORS["cli_bridge-004"]
    assert len(caplog.records) == 3


def test_no_file(state: Path) -> None:
    answers = [list_cli_sessions(state), cli_messages(state, "a"), delete_cli_session(state, "a")]
    assert answers == VECTORS["cli_bridge-008"]
    assert not state.exists()


def test_sessions_without_a_source(state: Path) -> None:
    with closing(sqlite3.connect(state)) as connection:
        connection.execute("CREATE TABLE sessions (id TEXT PRIMARY KEY, started_at REAL)")
        connection.execute("INSERT INTO sessions VALUES ('a', 1)")
        connection.commit()
    assert list_cli_sessions(state) == []


def test_what_stands_in_the_log_alone_is_seen_and_left_there(state: Path, connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    add(connection, "a", "cli", 1)
    say(connection, "a", "user", "late", 2)
    wal = state.with_name("state.db-wal")
    assert wal.stat().st_size > 0
    before, log = everything(state), wal.read_bytes()
    assert [each.session_id for each in list_cli_sessions(state)] == ["a"]
    assert [message["content"] for message in cli_messages(state, "a")] == ["late"]
    assert (everything(state), wal.read_bytes()) == (before, log)


def test_deleting_takes_the_messages_along(state: Path, connection: sqlite3.Connection) -> None:
    add(connection, "a", "cli", 1, ended_at=5)
    say(connection, "a", "user", "x", 2)
    say(connection, "orphan", "user", "y", 2)
    say(connection, "kept", "user", "z", 2)
    assert delete_cli_session(state, "a")
    assert delete_cli_session(state, "orphan")
    assert not delete_cli_session(state, "a")
    assert [row[0] for row in connection.execute("SELECT session_id FROM messages")] == ["kept"]
    assert connection.execute("SELECT count(*) FROM sessions").fetchone() == (0,)


def test_a_session_that_goes_on_is_not_deleted(state: Path, connection: sqlite3.Connection) -> None:
    add(connection, "a", "cli", 1)
    say(connection, "a", "user", "x", 2)
    assert not delete_cli_session(state, "a")
    assert len(cli_messages(state, "a")) == 1


def test_what_tools_did_is_told_too(state: Path, connection: sqlite3.Connection) -> None:
    for column in ("tool_calls TEXT", "tool_call_id TEXT", "tool_name TEXT"):
        connection.execute(f"ALTER TABLE messages ADD COLUMN {column}")
    values = [("assistant", "", 1, '[{"id": "c1"}]', None, None), ("tool", "12:00", 2, None, "c1", "clock")]
    connection.executemany("INSERT INTO messages VALUES ('a', ?, ?, ?, ?, ?, ?)", values)
    assert cli_messages(state, "a") == [
        {"role": "assistant", "content": "", "timestamp": 1.0, "tool_calls": '[{"id": "c1"}]'},
        {"role": "tool", "content": "12:00", "timestamp": 2.0, "tool_call_id": "c1", "tool_name": "clock"},
    ]


def test_no_connection_is_left_open(state: Path, connection: sqlite3.Connection) -> None:
    def opened() -> list[str]:
        names: list[str] = []
        for each in Path("/proc/self/fd").iterdir():
            with suppress(FileNotFoundError):
                names.append(str(each.readlink()))
        return sorted(name for name in names if name.startswith(str(state.parent)))

    add(connection, "a", "cli", 1, ended_at=5)
    say(connection, "a", "user", "x", 2)
    before = opened()
    assert before, "the test's own"
    for _ in range(3):
        assert list_cli_sessions(state)
        assert cli_messages(state, "a")
        assert not delete_cli_session(state, "nobody")
    assert delete_cli_session(state, "a")
    damaged = state.with_name("damaged.db")
    damaged.write_bytes(b"no database at all" * 100)
    assert not delete_cli_session(damaged, "a")
    assert opened() == before
