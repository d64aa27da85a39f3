"""What people change about their sessions, inside a transaction: names, marks, who answers, resuming, forks.

Each names the scope of whoever asks: a session that is not in it is unknown, as one that there is none of.
"""

import sqlite3
from datetime import datetime
from typing import Final

from gateway.ids import Ids, is_session_id
from gateway.session import records, slots
from gateway.session.entry import SessionEntry
from gateway.session.errors import SessionBusy, UnknownSession
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
    name = " ".join(clean_text(title).split())[:TITLE_LENGTH].strip()
    connection.execute(session_queries.NAME_SESSION, (name or None, session_id))
    return name or UNTITLED


def pin(connection: sqlite3.Connection, scope: Scope, session_id: str, *, on: bool) -> SessionView:
    """Pin a session, or do not. Raises `UnknownSession`."""
    own(connection, scope, session_id)
    connection.execute(session_queries.PIN_SESSION, (int(on), session_id))
    return own(connection, scope, session_id)


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
    name = " ".join(clean_text(title).split())[:TITLE_LENGTH] or _fork_name(view)
    agent = None if view.agent == DEFAULT_AGENT else view.agent
    connection.execute(session_queries.DESCRIBE_FORK, (name, agent, view.entry.model, copied, new_id))
    return records.load_entry(connection, new_id)


def _free_slot(connection: sqlite3.Connection, identity: SlotIdentity, session_id: str) -> sqlite3.Row:
    """A slot whose session can be changed: no turn of it is open. Raises `SessionBusy`."""
    slot = slots.slot_row(connection, identity)
    if slots.has_open_turn(connection, slot["id"]):
        raise SessionBusy(slot["session_id"] or session_id)
    return slot


def _fork_name(view: SessionView) -> str:
    """The original's name, and that this is another one."""
    return f"{view.title[: TITLE_LENGTH - len(FORK_MARK)]}{FORK_MARK}"
