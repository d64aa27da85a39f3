"""Whose sessions somebody sees: those of one owner, exactly, and in a group only what took place there."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from sqlite3 import Row
from typing import Final

from gateway.ids import is_session_id
from gateway.session.entry import SessionEntry
from gateway.session.errors import AmbiguousSession, UnknownSession
from gateway.session.key import SlotIdentity
from gateway.session.records import entry_from_row, owner_of
from gateway.session.text import UNTITLED
from gateway.source import SessionSource
from gateway.storage import queries, session_queries
from gateway.storage.codec import clean_text, from_micros, to_micros
from gateway.storage.database import Database
from gateway.storage.small_search import search_few

EMPTY_SHOWN_SECONDS: Final = 60
"""How long an empty session without a name stays in a list; exactly so long, it is still there."""

DEFAULT_AGENT: Final = "default"
"""What stands in a list for the agent of a session that nobody has chosen one for."""

FEW_SESSIONS: Final = 200
FEW_MESSAGES: Final = 2_000
"""What somebody may have for a search to look at all of it: some ten milliseconds."""

MANY_SESSIONS: Final = 2_000
"""Of so many sessions an owner has some in any part of all ids."""

BEGINS_MUCH: Final = 2
"""Letters from A to Z with which a large part of all words begins."""

ALL_PROJECTS: Final = 1_000
"""Projects that are looked through for a name."""

TITLES_LOOKED_AT: Final = 1_000
"""Names that are looked through for one that somebody typed: the first of the list."""

NAMED_CHOICES: Final = 5
"""Sessions that are offered where more than one is meant."""

_WORDS: Final = re.compile(r"[^\W_]+")
"""What the index takes for words: runs of letters and digits."""

_AFTER_ALL: Final = "\x7f"
"""Sorts after every character of an id."""


@dataclass(frozen=True, slots=True)
class Scope:
    """An owner's sessions; those of one chat where `chat` is not empty."""

    owner: str
    chat: str = ""

    @classmethod
    def of(cls, identity: SlotIdentity, source: SessionSource) -> "Scope":
        """What somebody who writes in this slot may see. Others read along in a group: what its people said elsewhere
        is not told there."""
        return cls(owner_of(identity, source), "" if identity.chat_type == "dm" else identity.chat)


@dataclass(frozen=True, slots=True)
class SessionView:
    """A session as a list shows it. `running`: a turn of it is open."""

    entry: SessionEntry
    agent: str
    pinned: bool
    archived: bool
    running: bool
    starred: bool = False
    project: str | None = None

    @property
    def title(self) -> str:
        """What people call it."""
        return self.entry.title or UNTITLED


@dataclass(frozen=True, slots=True)
class ProjectView:
    """A project as a list shows it: how many sessions are in it, and when one of them was last touched."""

    name: str
    sessions: int
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class OwnHit:
    """A message in one's own sessions that matches a search; `snippet` is the part of it around the match."""

    session_id: str
    title: str
    role: str
    snippet: str
    time: datetime


async def list_own(
    database: Database,
    scope: Scope,
    now: datetime,
    *,
    archived: bool | None = None,
    limit: int = 50,
    offset: int = 0,
) -> list[SessionView]:
    """The sessions of a scope: pinned ones first, then the newest, then by id.

    `archived` says which of the two kinds, None for both. Empty ones without a name are left out after a minute, unless
    they are pinned, or something is under way in them. Raises `StorageError`.
    """
    fresh = to_micros(now - timedelta(seconds=EMPTY_SHOWN_SECONDS))
    kind = None if archived is None else int(archived)
    statement = session_queries.LIST_ALL_OWN if kind is None else session_queries.LIST_OWN
    rows = await database.read(statement, (scope.owner, scope.chat, kind, fresh, limit, offset))
    return [view_from_row(row) for row in rows]


async def list_projects(database: Database, scope: Scope, *, limit: int = 50, offset: int = 0) -> list[ProjectView]:
    """The projects of a scope, by name. Raises `StorageError`."""
    rows = await database.read(session_queries.PROJECTS, (scope.owner, scope.chat, limit, offset))
    return [ProjectView(row["name"], row["sessions"], from_micros(row["updated_at"])) for row in rows]


async def list_of_project(
    database: Database, scope: Scope, name: str, *, limit: int = 50, offset: int = 0
) -> list[SessionView]:
    """The sessions of a project, those that were put away among them: pinned ones first, then the newest.

    Raises `StorageError`.
    """
    folded = " ".join(clean_text(name).split()).casefold()
    rows = await database.read(session_queries.PROJECTS, (scope.owner, scope.chat, ALL_PROJECTS, 0))
    known = next((row["name"] for row in rows if row["name"].casefold() == folded), name)
    found = await database.read(session_queries.LIST_PROJECT, (scope.owner, scope.chat, known, limit, offset))
    return [view_from_row(row) for row in found]


async def find_own(database: Database, scope: Scope, text: str) -> SessionView:
    """The session of a scope that is meant by an id, by the beginning of one, or by a name or a part of one.

    Raises `UnknownSession` where there is none, whether or not somebody else has one; `AmbiguousSession`;
    `StorageError`.
    """
    wanted = clean_text(text).strip()
    if is_session_id(wanted):
        found = await database.read(session_queries.GET_OWN, (scope.owner, scope.chat, wanted))
        if not found:
            between = (scope.owner, scope.chat, wanted, wanted + _AFTER_ALL, NAMED_CHOICES + 1)
            (size,) = await database.read(session_queries.SIZE_OF_OWN, (scope.owner, MANY_SESSIONS))
            many = size["sessions"] == MANY_SESSIONS
            statement = session_queries.FIND_OWN_OF_MANY if many else session_queries.FIND_OWN
            found = await database.read(statement, between)
        if found:
            return _only([view_from_row(row) for row in found], wanted)
    ids = await _named(database, scope, wanted)
    if not ids:
        raise UnknownSession(text)
    named = []
    for session_id in ids[: NAMED_CHOICES + 1]:
        named += await database.read(session_queries.GET_OWN, (scope.owner, scope.chat, session_id))
    if not named:
        raise UnknownSession(text)
    return _only([view_from_row(row) for row in named], wanted)


async def search_own(database: Database, scope: Scope, expression: str, *, limit: int, offset: int = 0) -> list[OwnHit]:
    """Messages in the sessions of a scope that match a search, the newest first; see `gateway.search.match_expression`.
    The last word is taken for the beginning of others only where it fills no page by itself, and, of somebody who has
    much, where it is no letter or two: to gather everything that begins so takes a second in a million messages.

    Raises `StorageError`.
    """
    (size,) = await database.read(session_queries.SIZE_OF_OWN, (scope.owner, FEW_SESSIONS + 1))
    if size["sessions"] <= FEW_SESSIONS and size["messages"] <= FEW_MESSAGES:
        return await _search_few(database, scope, expression, limit, offset)
    exact = expression.removesuffix(" *")
    if exact != expression and (
        _begins_much(exact)
        or await database.read_file(session_queries.SEARCH_OWN, (scope.owner, scope.chat, exact, 1, limit - 1))
    ):
        expression = exact
    rows = await database.read_file(session_queries.SEARCH_OWN, (scope.owner, scope.chat, expression, limit, offset))
    return [_hit(row, row["snippet"]) for row in rows]


def _begins_much(exact: str) -> bool:
    """Whether the last word of an expression is so short that much of what anybody says begins with it."""
    last = next(reversed(_WORDS.findall(exact)), "")
    return last.isascii() and len(last) <= BEGINS_MUCH


async def _search_few(database: Database, scope: Scope, expression: str, limit: int, offset: int) -> list[OwnHit]:
    """The same where there is little: in the index of everybody's words, what others said would cost the most."""
    rows = await database.read_file(session_queries.OWN_TEXTS, (scope.owner, scope.chat))
    texts = [(row["id"], row["content"]) for row in rows]
    found = await asyncio.to_thread(search_few, texts, expression, limit, offset)
    by_id = {row["id"]: row for row in rows}
    return [_hit(by_id[number], snippet) for number, snippet in found]


def _hit(row: Row, snippet: str) -> OwnHit:
    return OwnHit(row["session_id"], row["title"] or UNTITLED, row["role"], snippet, from_micros(row["created_at"]))


async def _named(database: Database, scope: Scope, wanted: str) -> list[str]:
    """Ids of the sessions that have this name, or, if none has, of those whose names have it in them."""
    folded = " ".join(wanted.casefold().split())
    if not folded:
        return []
    rows = await database.read(session_queries.OWN_TITLES, (scope.owner, scope.chat, TITLES_LOOKED_AT))
    titles = [(row["id"], " ".join(row["title"].casefold().split())) for row in rows]
    exact = [session_id for session_id, title in titles if title == folded]
    return exact or [session_id for session_id, title in titles if folded in title]


def _only(views: Sequence[SessionView], wanted: str) -> SessionView:
    if len(views) > 1:
        raise AmbiguousSession(wanted, [(view.entry.session_id, view.title) for view in views[:NAMED_CHOICES]])
    return views[0]


def view_from_row(row: Row) -> SessionView:
    """What a row of a list holds."""
    agent, pinned, archived, starred, project, running = row[queries.ENTRY_WIDTH :]
    return SessionView(
        entry_from_row(row),
        agent or DEFAULT_AGENT,
        bool(pinned),
        bool(archived),
        bool(running),
        bool(starred),
        project,
    )
