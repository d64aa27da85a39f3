"""Makes Hermes homes from what is known of their files, of each age, for imports.

As a program: `python -m tests.support.hermes_home FOLDER [--sessions N] [--old]`.
"""

import argparse
import json
import random
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

BEGIN: Final = datetime(2026, 3, 1, 8, tzinfo=UTC)

OLD_SCHEMA: Final = """
CREATE TABLE sessions (
    id TEXT PRIMARY KEY, user_id TEXT, model TEXT, model_config TEXT, system_prompt TEXT,
    parent_session_id TEXT, started_at REAL NOT NULL, ended_at REAL, end_reason TEXT,
    message_count INTEGER DEFAULT 0, input_tokens INTEGER DEFAULT 0, output_tokens INTEGER DEFAULT 0
);
CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, session_id TEXT NOT NULL, role TEXT NOT NULL, content TEXT,
    tool_call_id TEXT, tool_calls TEXT, tool_name TEXT, timestamp REAL NOT NULL
);
"""
"""Before sessions had a source, and names."""

SCHEMA: Final = """
CREATE TABLE sessions (
    id TEXT PRIMARY KEY, source TEXT, user_id TEXT, model TEXT, model_config TEXT, system_prompt TEXT,
    parent_session_id TEXT, started_at REAL NOT NULL, ended_at REAL, end_reason TEXT,
    message_count INTEGER DEFAULT 0, tool_call_count INTEGER DEFAULT 0,
    input_tokens INTEGER DEFAULT 0, output_tokens INTEGER DEFAULT 0,
    cache_read_tokens INTEGER DEFAULT 0, cache_write_tokens INTEGER DEFAULT 0,
    billing_provider TEXT, billing_base_url TEXT, estimated_cost_usd REAL, cost_status TEXT, title TEXT
);
CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, session_id TEXT NOT NULL, role TEXT NOT NULL, content TEXT,
    tool_call_id TEXT, tool_calls TEXT, tool_name TEXT, timestamp REAL NOT NULL,
    finish_reason TEXT, reasoning TEXT, active INTEGER NOT NULL DEFAULT 1, observed INTEGER DEFAULT 0
);
CREATE VIRTUAL TABLE messages_fts USING fts5 (content, content = messages, content_rowid = id);
CREATE TRIGGER messages_fts_insert AFTER INSERT ON messages BEGIN
    INSERT INTO messages_fts (rowid, content) VALUES (new.id, new.content);
END;
CREATE INDEX idx_messages_session ON messages (session_id, timestamp);
"""

SECRETS: Final[Mapping[str, str]] = {
    ".env": "TELEGRAM_BOT_TOKEN=110201543:AAHsecretsecretsecretsecretsecretsec\nOPENAI_API_KEY=sk-proj-secretsecret\n",
    "config.yaml": "model:\n  api_key: sk-ant-api03-secretsecretsecret\n",
    "auth.json": '{"tokens": {"access_token": "secret-access-token"}}',
}
"""Files of a home that nobody has any business with."""


@dataclass(slots=True)
class Writer:
    """A home that is being made. Sessions in the database have rows; those of the index, an entry."""

    path: Path
    schema: str = SCHEMA
    index: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.path / "sessions").mkdir(parents=True, exist_ok=True)
        for name, text in SECRETS.items():
            (self.path / name).write_text(text)
        if self.schema:
            with closing(sqlite3.connect(self.state)) as connection:
                connection.executescript(self.schema)

    @property
    def state(self) -> Path:
        return self.path / "state.db"

    @property
    def sessions(self) -> Path:
        return self.path / "sessions"

    def row(self, session_id: str, messages: Sequence[Mapping[str, Any]] = (), **columns: Any) -> None:
        """A session in the database, with what was said in it."""
        columns = {"started_at": BEGIN.timestamp(), "message_count": len(messages), **columns, "id": session_id}
        with closing(sqlite3.connect(self.state)) as connection, connection:
            insert(connection, "sessions", columns)
            for message in messages:
                insert(connection, "messages", {"session_id": session_id, **stored(message)})

    def entry(self, session_id: str, key: str, origin: Mapping[str, Any] | None, **more: Any) -> None:
        """A session that goes on in a place; times are local and name no zone, as Hermes writes them."""
        self.index[key] = {
            "session_key": key,
            "session_id": session_id,
            "created_at": "2026-03-01T08:00:00",
            "updated_at": "2026-03-01T09:30:00.250000",
            "display_name": (origin or {}).get("chat_name"),
            "platform": (origin or {}).get("platform"),
            "chat_type": (origin or {}).get("chat_type", "dm"),
            "origin": origin,
            **more,
        }
        (self.sessions / "sessions.json").write_text(json.dumps(self.index, indent=2))

    def jsonl(self, session_id: str, messages: Sequence[Mapping[str, Any]]) -> Path:
        """A transcript as a file, with the line about its session that such files begin with."""
        lines = [{"role": "session_meta", "tools": [], "model": "m", "platform": "telegram"}, *messages]
        path = self.sessions / f"{session_id}.jsonl"
        path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
        return path


def insert(connection: sqlite3.Connection, table: str, values: Mapping[str, Any]) -> None:
    names, marks = ", ".join(values), ", ".join("?" * len(values))
    connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(values.values()))


def stored(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message as the database has it."""
    row = {**message}
    if isinstance(row.get("content"), list):
        row["content"] = "\0json:" + json.dumps(row["content"])
    if "tool_calls" in row:
        row["tool_calls"] = json.dumps(row["tool_calls"])
    row.setdefault("timestamp", BEGIN.timestamp())
    return row


def source(platform: str, chat: str | None, **more: Any) -> dict[str, Any]:
    """An origin, with every field that Hermes always writes."""
    return {
        "platform": platform, "chat_id": chat, "chat_name": None, "chat_type": "dm", "user_id": None,
        "user_name": None, "thread_id": None, "chat_topic": None, **more,
    }  # fmt: skip


def talk(words: str, turns: int = 1, begin: datetime = BEGIN) -> list[dict[str, Any]]:
    """A conversation of so many turns; times in seconds since 1970."""
    messages: list[dict[str, Any]] = []
    for turn in range(turns):
        at = (begin + timedelta(minutes=turn)).timestamp()
        messages.append({"role": "user", "content": f"{words} {turn}: what is it?", "timestamp": at})
        messages.append({"role": "assistant", "content": f"It is {words} {turn}.", "timestamp": at + 2})
    return messages


def many(path: Path, sessions: int = 1000, *, old: bool = False, seed: int = 8) -> Writer:
    """A home with so many sessions: of every platform and kind, live and ended, in rows, in files, and in both."""
    chance = random.Random(seed)
    home = Writer(path, OLD_SCHEMA if old else SCHEMA)
    entries: dict[str, Any] = {}
    with closing(sqlite3.connect(home.state)) as connection, connection:
        for number in range(sessions):
            begin = BEGIN + timedelta(minutes=7 * number)
            session_id = f"{begin:%Y%m%d_%H%M%S}_{chance.getrandbits(32):08x}"
            origin, key = _place(number)
            messages = talk(f"thing{number}", 1 + number % 7, begin)
            if number % 5:
                columns = {"id": session_id, "user_id": origin["user_id"], "started_at": begin.timestamp()}
                if not old:
                    columns |= {"source": origin["platform"], "title": f"About {number}" if number % 3 else None}
                if number % 4 == 0:
                    columns |= {"ended_at": begin.timestamp() + 900, "end_reason": "session_reset"}
                insert(connection, "sessions", columns)
                for message in messages:
                    insert(connection, "messages", {"session_id": session_id, **stored(message)})
            if number % 5 == 0 or number % 10 == 1:
                home.jsonl(session_id, messages)
            if number % 4 and origin["platform"] != "cli":
                entries[key] = {
                    "session_key": key, "session_id": session_id, "created_at": begin.isoformat(),
                    "updated_at": (begin + timedelta(minutes=8)).isoformat(), "platform": origin["platform"],
                    "chat_type": origin["chat_type"], "origin": origin, "input_tokens": 10, "total_tokens": 10,
                }  # fmt: skip
    home.index = entries
    (home.sessions / "sessions.json").write_text(json.dumps(entries, indent=2))
    return home


def _place(number: int) -> tuple[dict[str, Any], str]:
    """An origin and its key, another one for each number."""
    person, chat = f"{500 + number}", f"{9000 + number}"
    match number % 8:
        case 0:
            return source("telegram", person, user_id=person), f"agent:main:telegram:dm:{person}"
        case 1:
            return (
                source("telegram", f"-100{chat}", chat_type="group", user_id=person, chat_name=f"Group {number}"),
                f"agent:main:telegram:group:-100{chat}:{person}",
            )
        case 2:
            return source("discord", chat, user_id=person), f"agent:main:discord:dm:{chat}"
        case 3:
            return (
                source("discord", chat, chat_type="group", user_id=person),
                f"agent:main:discord:group:{chat}:{person}",
            )
        case 4:
            origin = source("discord", chat, chat_type="thread", user_id=person, thread_id=chat, parent_chat_id="77")
            return origin, f"agent:main:discord:thread:{chat}:{chat}"
        case 5:
            return (
                source("slack", f"C{chat}", chat_type="group", user_id=f"U{person}", thread_id=f"1700.{number}"),
                f"agent:main:slack:group:C{chat}:1700.{number}:U{person}",
            )
        case 6:
            return source("cli", None), f"agent:main:local:dm:cli{number}"
        case _:
            return (
                source("sometalk", chat, chat_type="group", user_id=person),
                f"agent:main:sometalk:group:{chat}:{person}",
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make a Hermes home with many sessions.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--old", action="store_true", help="with a database whose sessions have no source")
    arguments = parser.parse_args()
    many(arguments.folder, arguments.sessions, old=arguments.old)
