"""For whom a tool is called: the person of a turn, or the operator. Nothing is done for anybody else."""

import hashlib
from dataclasses import dataclass

from gateway.inbound import Extra, InboundRecord, record_from_row
from gateway.ports import Clock
from gateway.session import slots
from gateway.session.key import SlotIdentity
from gateway.session.scope import Scope
from gateway.source import SessionSource
from gateway.storage import queries, tool_queries
from gateway.storage.database import Database


class UnknownCallerError(Exception):
    """Nobody is known by this credential, or not any more: the turn has ended, or there is no such session."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody for whom an agent works. `record` is the message that began the turn, `session_id` the session that it
    runs in. `turn_id` is empty for the operator, who calls outside any turn. `call_id` is the same when the same call
    is made again: what it does, it does once.
    """

    record: InboundRecord
    session_id: str | None
    turn_id: str
    call_id: str

    @property
    def scope(self) -> Scope:
        """The sessions that they may see."""
        return Scope.of(self.record.identity, self.record.source)

    @property
    def key(self) -> str:
        """What tells this call from every other one."""
        return f"{self.turn_id or 'operator'}:{hashlib.sha256(self.call_id.encode()).hexdigest()[:32]}"


async def caller_of_turn(database: Database, turn_id: str, call_id: str) -> Caller:
    """For whom an open turn works. Raises `UnknownCallerError`, `StorageError`."""
    sessions = await database.read(tool_queries.OPEN_TURN, (turn_id,))
    rows = await database.read(queries.INBOUND_OF_TURN, (turn_id,))
    if not sessions or not rows:
        raise UnknownCallerError(f"there is no open turn {turn_id}")
    return Caller(record_from_row(rows[0]), sessions[0]["session_id"], turn_id, call_id)


async def operator(database: Database, clock: Clock, call_id: str, session_id: str | None = None) -> Caller:
    """The operator of this machine: in the terminal's conversations, or in the place of whoever has a session.

    Raises `UnknownCallerError`, `StorageError`.
    """
    if session_id is None:
        source = SessionSource.local_cli()
        identity = SlotIdentity("main", str(source.platform), source.chat_type, source.chat_id or "")
        rows = await database.read(queries.LIVE_SESSION_BRIEF, slots.parts(identity))
        return _operator(source, identity, rows[0]["id"] if rows else None, clock, call_id)
    rows = await database.read(queries.GET_SESSION, (session_id,))
    if not rows:
        raise UnknownCallerError(f"there is no session {session_id}")
    from gateway.session.records import entry_from_row

    entry = entry_from_row(rows[0])
    (slot,) = await database.read(queries.GET_SLOT, (rows[0]["slot_id"],))
    if entry.origin is None:
        raise UnknownCallerError(f"session {session_id} is of a platform that is not installed")
    return _operator(entry.origin, slots.identity_from_row(slot), session_id, clock, call_id)


def _operator(
    source: SessionSource, identity: SlotIdentity, session_id: str | None, clock: Clock, call_id: str
) -> Caller:
    extra = Extra(operator=not source.is_local)
    record = InboundRecord(0, "", identity, source, "default", "", None, clock.now(), extra)
    return Caller(record, session_id, "", call_id)
