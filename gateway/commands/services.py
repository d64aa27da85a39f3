"""What commands work with, and what several of them do: the session that is meant, how times and names are told."""

import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from config import LiveConfig, Platform
from gateway.access import Role
from gateway.aside import AgentSource
from gateway.commands.table import CommandRefusedError, buttons
from gateway.homes import Homes
from gateway.ids import Ids
from gateway.inbound import InboundRecord
from gateway.media.outgoing import OutgoingFiles
from gateway.outbox import Connection
from gateway.ports import Clock
from gateway.session import slots
from gateway.session.errors import AmbiguousSession, UnknownSession
from gateway.session.key import SlotIdentity
from gateway.session.scope import Scope, SessionView, find_own
from gateway.session.store import SessionStore
from gateway.storage import queries
from gateway.storage.database import Database

LABEL: Final = 40
"""Characters of a button's label; what is longer is cut by most platforms."""

QUOTES: Final = frozenset({'""', "“”", "„“", "„”", "«»", "»«"})
"""Pairs that a name may stand between."""

MINUTE: Final = 60
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
WEEK: Final = 7 * DAY

NO_SESSION: Final = "There is no conversation here yet: your next message begins one."


class Work(Protocol):
    """What is going on in a slot."""

    def stop_turn(self, identity: SlotIdentity) -> int | None:
        """Stop its turn; the number of that one's first message, None if there is none."""

    def describe(self, identity: SlotIdentity) -> str:
        """What it is doing, in words."""


class Agents(AgentSource, Protocol):
    """Who can be chosen to answer, and can be asked aside."""

    @property
    def default(self) -> str:
        """Who answers where nothing else is said."""

    @property
    def names(self) -> Sequence[str]:
        """All that can be chosen."""

    def model(self, name: str) -> str | None:
        """The model behind one of them, where it is known."""


@dataclass(frozen=True, slots=True)
class CommandServices:
    """What the core lends the commands. `erase` deletes a session for good; `role` is what somebody may do, `may_run`
    whether they may use the command of a name, if it is one for their role, `fixed_agent` who answers them whatever is
    chosen, None if the configuration does not say."""

    clock: Clock
    ids: Ids
    config: LiveConfig
    database: Database
    store: SessionStore
    work: Work
    agents: Agents
    connection: Callable[[Platform, str], Connection | None]
    files: OutgoingFiles
    erase: Callable[[str], Awaitable[object]]
    role: Callable[[InboundRecord], Role | None]
    may_run: Callable[[InboundRecord, str], bool]
    fixed_agent: Callable[[InboundRecord], str | None]
    homes: Homes


@dataclass(frozen=True, slots=True)
class Current:
    """The live session of a slot, and the scope that it is in."""

    session_id: str
    scope: Scope


def scope_of(record: InboundRecord) -> Scope:
    """What whoever sent a command may see."""
    return Scope.of(record.identity, record.source)


def current(connection: sqlite3.Connection, record: InboundRecord) -> Current:
    """The session of the chat that a command was sent in. Raises `CommandRefusedError`."""
    session_id = slots.slot_row(connection, record.identity)["session_id"]
    if session_id is None:
        raise CommandRefusedError(NO_SESSION)
    owner = connection.execute(queries.GET_SESSION, (session_id,)).fetchone()["owner"]
    return Current(session_id, Scope(owner))


async def current_id(services: CommandServices, record: InboundRecord) -> str | None:
    """The id of the session of the chat that a command was sent in."""
    rows = await services.database.read(queries.LIVE_SESSION_BRIEF, slots.parts(record.identity))
    return rows[0]["id"] if rows else None


async def meant(services: CommandServices, record: InboundRecord, command: str, text: str) -> SessionView:
    """The session that was named, or the one of this chat. Raises `CommandRefusedError`, with what can be meant."""
    scope = scope_of(record)
    if not text:
        session_id = await current_id(services, record)
        if session_id is None:
            raise CommandRefusedError(NO_SESSION)
        text = session_id
    try:
        return await find_own(services.database, scope, text)
    except UnknownSession:
        raise CommandRefusedError(
            f"There is no session “{text}” of yours. /sessions lists them.", buttons([("Sessions", "/sessions")])
        ) from None
    except AmbiguousSession as error:
        rows = [[(label(title), f"/{command} {session_id}")] for session_id, title in error.choices]
        listed = "\n".join(f"- “{title}”: `/{command} {session_id}`" for session_id, title in error.choices)
        question = f"Several sessions are like “{text}”. Which one?\n\n{listed}"
        raise CommandRefusedError(question, buttons(*rows)) from None


def label(text: str) -> str:
    """A text as the label of a button."""
    return text if len(text) <= LABEL else f"{text[: LABEL - 1]}…"


def quoted(name: str) -> str:
    """A name as an argument that is taken for nothing else, whatever it is."""
    return f'"{name}"'


def unquoted(name: str) -> str:
    """A name that was given with or without quotes, of whichever kind a keyboard makes."""
    name = name.strip()
    return name[1:-1].strip() if len(name) > 2 and name[0] + name[-1] in QUOTES else name


def counted(number: int, thing: str) -> str:
    """A number of things: `1 message`, `2,000 messages`."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def ago(instant: datetime, now: datetime) -> str:
    """How long something is past, in words."""
    seconds = (now - instant).total_seconds()
    if seconds < MINUTE:
        return "just now"
    if seconds < HOUR:
        return f"{counted(int(seconds // MINUTE), 'minute')} ago"
    if seconds < DAY:
        return f"{counted(int(seconds // HOUR), 'hour')} ago"
    if seconds < WEEK:
        return f"{counted(int(seconds // DAY), 'day')} ago"
    return f"on {instant:%Y-%m-%d}"
