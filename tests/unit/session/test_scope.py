"""Whose sessions somebody sees, and in what order: by the rules alone, however many there are and however it is looked
for them."""

import random
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from gateway.search import SearchIndexer, match_expression
from gateway.session import AmbiguousSession, Scope, UnknownSession
from gateway.session import scope as scope_module
from gateway.session.scope import find_own, list_own, search_own
from gateway.session.store import DATABASE_NAME
from gateway.storage.codec import to_micros
from gateway.storage.database import Database
from tests.support.stores import START, HandClock

OWNERS: Final = ("telegram:user:7", "telegram:user:71", "telegram:user:")
CHATS: Final = ("1", "2")
SCOPES: Final = tuple(Scope(owner, chat) for owner in OWNERS for chat in ("", *CHATS))
WORDS: Final = ("tea", "team", "teapot", "café", "e-mail", "ÄRGER", "東京都", "x", "私は京都が好きです。")
QUERIES: Final = (
    "tea",
    "teap",
    "team tea",
    "cafe",
    "e-mail",
    "ärger",
    "東京",
    "京都",
    "都",
    "都が x",
    "x都",
    "x y",
    'tea "team"',
    "nothing",
    "mail tea",
)
EVERY: Final = 10_000


@dataclass(frozen=True)
class Made:
    """A session as it was made."""

    id: str
    owner: str
    chat: str
    updated_at: int
    title: str | None
    said: tuple[str, ...]
    pinned: int
    archived: int
    starred: int
    joined: bool
    running: bool

    def seen_by(self, scope: Scope) -> bool:
        return self.owner == scope.owner and scope.chat in ("", self.chat) and not self.joined

    def listed_at(self, now: int) -> bool:
        named = self.title not in (None, "Untitled")
        marked = bool(self.pinned or self.starred or self.running)
        return named or marked or bool(self.said) or self.updated_at >= now - 60_000_000


def sessions(seed: int) -> Iterator[Made]:
    chance = random.Random(seed)
    now = to_micros(START)
    ids = {f"2026{chance.choice('01')}{chance.choice('01')}_{chance.getrandbits(16):04x}" for _ in range(120)}
    for session_id in sorted(ids):
        yield Made(
            id=session_id,
            owner=chance.choice(OWNERS),
            chat=chance.choice(CHATS),
            updated_at=now - chance.choice((0, 60, 61, 3_600, 90_000)) * 1_000_000,
            title=chance.choice((None, "Untitled", "Named")),
            said=tuple(" ".join(chance.choices(WORDS, k=2)) for _ in range(chance.choice((0, 0, 2)))),
            pinned=int(chance.random() < 0.2),
            archived=int(chance.random() < 0.3),
            starred=int(chance.random() < 0.1),
            joined=chance.random() < 0.1,
            running=chance.random() < 0.1,
        )


def put_in(connection: sqlite3.Connection, made: list[Made]) -> None:
    for one in made:
        slot = connection.execute(
            "INSERT INTO slots (agent, platform, chat_type, chat, thread, participant, key)"
            " VALUES (?, ?, ?, ?, '', '', ?)",
            (one.id, "telegram", "group", one.chat, one.id),
        ).lastrowid
        connection.execute(
            "INSERT INTO sessions (id, slot_id, owner, platform, chat_type, created_at, updated_at, title,"
            " message_count, pinned, archived, starred, ended_at, end_reason)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                one.id, slot, one.owner, "telegram", "group", one.updated_at, one.updated_at, one.title, len(one.said),
                one.pinned, one.archived, one.starred, one.updated_at, "session_joined" if one.joined else None,
            ),
        )  # fmt: skip
        for text in one.said:
            connection.execute(
                "INSERT INTO messages (session_id, role, content, created_at) VALUES (?, 'user', ?, ?)",
                (one.id, text, one.updated_at),
            )
        if one.running:
            connection.execute(
                "INSERT INTO turns (id, slot_id, session_id, agent, state, started_at)"
                " VALUES (?, ?, ?, 'a', 'running', 1)",
                (one.id, slot, one.id),
            )


@pytest.mark.parametrize("seed", range(3))
async def test_what_is_seen_is_what_the_rules_say_in_both_ways(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, now = list(sessions(seed)), to_micros(START)
    async with Database.open(tmp_path / DATABASE_NAME, clock=HandClock()) as database:
        await database.write(lambda connection: put_in(connection, made))
        await SearchIndexer(database).catch_up()
        for scope in SCOPES:
            own = [one for one in made if one.seen_by(scope)]
            for archived in (False, True, None):
                expected = [one for one in own if one.listed_at(now) and archived in (None, bool(one.archived))]
                expected.sort(key=lambda one: (-one.pinned, -one.updated_at, one.id))
                paged = [
                    view.entry.session_id
                    for offset in range(0, len(made), 25)
                    for view in await list_own(database, scope, START, archived=archived, limit=25, offset=offset)
                ]
                assert paged == [one.id for one in expected]
            for many in (1, EVERY):
                monkeypatch.setattr(scope_module, "MANY_SESSIONS", many)
                for prefix in ("2", "20260", "202611_", *(one.id[:9] for one in made[::6]), made[0].id):
                    found = sorted(one.id for one in own if one.id.startswith(prefix))
                    found = [prefix] if prefix in found else found
                    assert await meant(database, scope, prefix) == found[: scope_module.NAMED_CHOICES]
            for query in QUERIES:
                expression = match_expression(query) or ""
                ways = []
                for few in (0, EVERY):
                    monkeypatch.setattr(scope_module, "FEW_SESSIONS", few)
                    hits = await search_own(database, scope, expression, limit=EVERY)
                    ways.append([(hit.session_id, hit.title, hit.role, hit.snippet, hit.time) for hit in hits])
                    third = await search_own(database, scope, expression, limit=EVERY, offset=2)
                    assert [hit.session_id for hit in third] == [hit.session_id for hit in hits[2:]]
                assert ways[0] == ways[1], query
                assert {hit[0] for hit in ways[0]} <= {one.id for one in own if one.said}


async def meant(database: Database, scope: Scope, prefix: str) -> list[str]:
    """Those that are offered for the beginning of an id."""
    try:
        return [(await find_own(database, scope, prefix)).entry.session_id]
    except AmbiguousSession as error:
        return [session_id for session_id, _title in error.choices]
    except UnknownSession:
        return []


async def test_a_minute_is_the_time_that_an_empty_session_is_listed(tmp_path: Path) -> None:
    async with Database.open(tmp_path / DATABASE_NAME, clock=HandClock()) as database:
        one = Made("a", OWNERS[0], "1", to_micros(START), None, (), 0, 0, 0, joined=False, running=False)
        await database.write(lambda connection: put_in(connection, [one]))
        for seconds, listed in ((60, 1), (60.000001, 0)):
            now = START + timedelta(seconds=seconds)
            assert len(await list_own(database, Scope(OWNERS[0]), now)) == listed
