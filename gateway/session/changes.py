"""What people change about their sessions, inside a transaction: names, marks, projects, who answers, resuming, forks.

Each names the scope of whoever asks: a session that is not in it is unknown, as one that there is none of.
"""

import sqlite3
from datetime import datetime
from typing import Final

from gateway.ids import Ids, is_session_id
from gateway.session import records, slots
from gateway.session.entry import SessionEntry
from gateway.session.errors import SessionBusy, UnknownProject, UnknownSession
from gateway.session.key import SlotIdentity
from gateway.session.scope import DEFAULT_AGENT, Scope, SessionView, view_from_row
from gateway.session.text import TITLE_LENGTH, UNTITLED
from gateway.storage import queries, session_queries
from gateway.storage.codec import clean_text

ALL: Final = -1
"""The LIMIT that SQLite reads as none."""

FORK_MARK: Final = " (branch)"
"""Stands after the name of what a fork was made from."""

ARCHIVED: Final = "session_archive"


def own(connection: sqlite3.Connection, scope: Scope, session_id: str) -> SessionView:
    """A session of this scope. Raises `UnknownSession`."""
    values = (scope.owner, scope.chat, session_id)
    row = connection.execute(session_queries.GET_OWN, values).fetchone() if is_session_id(session_id) else None
    if row is None:
        raise UnknownSession(session_id)
    return view_from_row(row)


def rename(connection: sqlite3.Connection, scope: Scope, session_id: str, title: str) -> str:
    """Give a session a name, one line of at most 64 characters; what it is then. Raises `UnknownSession`."""
    own(connection, scope, session_id)
    name = _one_line(title)
    connection.execute(session_queries.NAME_SESSION, (name or None, session_id))
    return name or UNTITLED


def pin(connection: sqlite3.Connection, scope: Scope, session_id: str, *, on: bool) -> SessionView:
    """Pin a session, or do not. Raises `UnknownSession`."""
    own(connection, scope, session_id)
    connection.execute(session_queries.PIN_SESSION, (int(on), session_id))
    return own(connection, scope, session_id)


def star(connection: sqlite3.Connection, scope: Scope, session_id: str, *, on: bool) -> SessionView:
    """Star a session, or do not; a starred one is not deleted. Raises `UnknownSession`."""
    own(connection, scope, session_id)
    connection.execute(session_queries.STAR_SESSION, (int(on), session_id))
    return own(connection, scope, session_id)


def put_into_project(connection: sqlite3.Connection, scope: Scope, session_id: str, name: str | None) -> SessionView:
    """Put a session into a project, which there is from its first session to its last; None takes it out of its own.

    A name is one line of at most 64 characters; one that differs from a known name in capitals alone is that one.
    Raises `UnknownSession`, and ValueError for a name without a letter.
    """
    own(connection, scope, session_id)
    project = None if name is None else known_project(connection, scope, name) or project_name(name)
    connection.execute(session_queries.PUT_INTO_PROJECT, (project, session_id))
    return own(connection, scope, session_id)


def rename_project(connection: sqlite3.Connection, scope: Scope, name: str, to: str | None) -> str:
    """Give a project another name, or join it to one that has that name; None takes its sessions out of it.

    Returns the name that it had. Raises `UnknownProject`, and ValueError for a name without a letter.
    """
    known = known_project(connection, scope, name)
    if known is None:
        raise UnknownProject(name)
    new = None if to is None else project_name(to)
    if new is not None and new.casefold() != known.casefold():
        new = known_project(connection, scope, new) or new
    connection.execute(session_queries.RENAME_PROJECT, (scope.owner, known, new))
    return known


def known_project(connection: sqlite3.Connection, scope: Scope, name: str) -> str | None:
    """The name of a project as its owner wrote it first; None if there is none of this name."""
    folded = _one_line(name).casefold()
    rows = connection.execute(session_queries.PROJECTS, (scope.owner, "", ALL, 0))
    return next((row["name"] for row in rows if row["name"].casefold() == folded), None)


def project_name(name: str) -> str:
    """A text as the name of a project. Raises ValueError."""
    project = _one_line(name)
    if not any(letter.isalnum() for letter in project):
        raise ValueError("a project's name has a letter or a digit")
    return project


def archive(connection: sqlite3.Connection, scope: Scope, session_id: str, now: datetime) -> SessionView:
    """Put a session away. One that is live is ended, and its slot left empty. Raises `UnknownSession`."""
    view = own(connection, scope, session_id)
    if view.entry.is_live:
        slot = connection.execute(session_queries.SLOT_OF_SESSION, (session_id,)).fetchone()
        records.end_session(connection, session_id, ARCHIVED, "command", now)
        if slot is not None:
            connection.execute(queries.VACATE_SLOT, (slot["id"],))
    connection.execute(session_queries.ARCHIVE_SESSION, (1, session_id))
    return own(connection, scope, session_id)


def choose_agent(connection: sqlite3.Connection, scope: Scope, session_id: str, agent: str | None) -> None:
    """Choose who answers in a session from its next turn on; None for the default. Raises `UnknownSession`."""
    own(connection, scope, session_id)
    connection.execute(session_queries.CHOOSE_AGENT, (agent, session_id))


def resume(
    connection: sqlite3.Connection, identity: SlotIdentity, scope: Scope, session_id: str, now: datetime
) -> SessionView:
    """Make an earlier session the live one of a slot, with its counters and times; one that was put away is back.

    Raises `UnknownSession`, `SessionInUse` for one that is live in another slot, and `SessionBusy` while the slot has
    an open turn.
    """
    own(connection, scope, session_id)
    slot = _free_slot(connection, identity, session_id)
    _let_go(connection, session_id, now)
    records.switch(connection, slot, session_id, now, scope.owner)
    connection.execute(session_queries.ARCHIVE_SESSION, (0, session_id))
    return own(connection, scope, session_id)


def fork(
    connection: sqlite3.Connection,
    identity: SlotIdentity,
    scope: Scope,
    session_id: str,
    ids: Ids,
    now: datetime,
    *,
    title: str = "",
    first: int | None = None,
) -> SessionEntry:
    """Begin a session in a slot that has what was said in another one, or the first so many messages of that.

    Both go on by themselves; the slot's own one ends, and stays resumable. What was spent stays with the original.
    Raises `UnknownSession`, `SessionBusy` while the slot has an open turn, and ValueError for a number of messages that
    is none.
    """
    if first is not None and first < 0:
        raise ValueError(f"a fork has a number of messages from 0, not {first}")
    view = own(connection, scope, session_id)
    slot = _free_slot(connection, identity, session_id)
    new_id = ids.session(now)
    records.install_fork(connection, session_id, new_id, slot, now)
    copied = connection.execute(
        session_queries.COPY_MESSAGES, (session_id, new_id, ALL if first is None else first)
    ).rowcount
    name = _one_line(title) or _fork_name(view)
    agent = None if view.agent == DEFAULT_AGENT else view.agent
    connection.execute(session_queries.DESCRIBE_FORK, (name, agent, view.entry.model, copied, view.project, new_id))
    return records.load_entry(connection, new_id)


def _free_slot(connection: sqlite3.Connection, identity: SlotIdentity, session_id: str) -> sqlite3.Row:
    """A slot whose session can be changed: no turn of it is open. Raises `SessionBusy`."""
    slot = slots.slot_row(connection, identity)
    if slots.has_open_turn(connection, slot["id"]):
        raise SessionBusy(slot["session_id"] or session_id)
    return slot


def _one_line(text: str) -> str:
    return " ".join(clean_text(text).split())[:TITLE_LENGTH].strip()


def _let_go(connection: sqlite3.Connection, session_id: str, now: datetime) -> None:
    """A session that is in a slot of its own leaves it for a chat. Raises `SessionBusy` while anything waits there."""
    row = connection.execute(session_queries.SLOT_OF_SESSION, (session_id,)).fetchone()
    slot = None if row is None else connection.execute(queries.GET_SLOT, (row["id"],)).fetchone()
    if slot is None or not slots.identity_from_row(slot).is_private:
        return
    (waiting,) = connection.execute(queries.COUNT_QUEUED, (slot["id"],)).fetchone()
    if waiting or slots.has_open_turn(connection, slot["id"]):
        raise SessionBusy(session_id)
    records.end_session(connection, session_id, records.SWITCH, "switch", now)
    connection.execute(queries.VACATE_SLOT, (slot["id"],))


def _fork_name(view: SessionView) -> str:
    """The original's name, and that this is another one."""
    return f"{view.title[: TITLE_LENGTH - len(FORK_MARK)]}{FORK_MARK}"
