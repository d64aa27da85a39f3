"""The store's side of an import: each job of the writer takes in a bounded part, and can be repeated without harm."""

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Protocol

from pydantic import TypeAdapter, ValidationError

from config import GatewayConfig, LiveConfig
from gateway.importing.records import ImportedSession, Known, Piece, Verdict, digest
from gateway.ports import Clock, FrameConnection, StorageBusyError
from gateway.search import SearchIndexer
from gateway.session.key import SlotIdentity
from gateway.session.removal import on_file
from gateway.session.slots import has_open_turn, present_identity, slot_number
from gateway.storage import import_queries, queries
from gateway.storage.codec import clean_text, dump, to_micros
from gateway.storage.database import Database
from gateway.storage.errors import StorageError

SERVICE: Final = "import"
"""The name of the service on the gateway's socket."""

IMPORTED: Final = "session_import"
"""Why a session has ended that was not live where it came from, or could not become so here."""

PIECES: Final = TypeAdapter(tuple[Piece, ...])
IDS: Final = TypeAdapter(tuple[str, ...])


class ImportRefusedError(Exception):
    """The store did not take something in; `str()` says why, and what to do."""


class Store(Protocol):
    """Whatever takes sessions in: this process's database, or the gateway that runs."""

    async def known(self, ids: Sequence[str]) -> dict[str, Known]:
        """What is here already of sessions with these ids. Raises `ImportRefusedError`."""

    async def take_in(self, pieces: Sequence[Piece]) -> list[Verdict]:
        """Store pieces, all in one commit; what became of each. Raises `ImportRefusedError`."""

    async def finish(self) -> None:
        """Have what came in found by a search. Raises `ImportRefusedError`."""


class Intake:
    """Takes sessions into a database, and serves that to clients of the socket."""

    def __init__(self, database: Database, config: GatewayConfig | LiveConfig, clock: Clock) -> None:
        self._database = database
        self._config = LiveConfig.of(config)
        self._clock = clock

    async def known(self, ids: Sequence[str]) -> dict[str, Known]:
        """See `Store`."""
        if self._database.state.mode != "sqlite":
            raise ImportRefusedError(
                "the database is out of use at present; `hermes-gateway status` says why, import again once it is back"
            )
        try:
            return await self._database.write(on_file(known_sessions, tuple(ids)))
        except (StorageError, StorageBusyError) as error:
            raise ImportRefusedError(str(error)) from error

    async def take_in(self, pieces: Sequence[Piece]) -> list[Verdict]:
        """See `Store`."""
        config, now = self._config.current, self._clock.now()
        try:
            return await self._database.write(on_file(take_in, tuple(pieces), config, now))
        except (StorageError, StorageBusyError) as error:
            raise ImportRefusedError(str(error)) from error

    async def finish(self) -> None:
        """See `Store`."""
        try:
            await SearchIndexer(self._database).catch_up()
        except (StorageError, StorageBusyError) as error:
            raise ImportRefusedError(str(error)) from error

    async def serve(self, connection: FrameConnection, _hello: Mapping[str, Any]) -> None:
        """Answer a client of the socket until it goes: each of its frames is one call."""
        await connection.send({"ok": True})
        while (request := await connection.receive()) is not None:
            try:
                answer = await self._answer(request)
            except ValidationError as error:
                first = error.errors(include_url=False, include_input=False)[0]
                answer = {"ok": False, "error": f"{'.'.join(map(str, first['loc']))}: {first['msg']}"}
            except ImportRefusedError as error:
                answer = {"ok": False, "error": str(error)}
            await connection.send(answer)

    async def _answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        match request.get("op"):
            case "known":
                found = await self.known(IDS.validate_python(request.get("ids")))
                return {"ok": True, "known": {each: state.model_dump() for each, state in found.items()}}
            case "take_in":
                pieces = PIECES.validate_python(request.get("pieces"))
                return {"ok": True, "verdicts": await self.take_in(pieces)}
            case "finish":
                await self.finish()
                return {"ok": True}
            case _:
                return {"ok": False, "error": "unknown operation; known: finish, known, take_in"}


# --- inside a transaction ----------------------------------------------------------------------------------


def known_sessions(connection: sqlite3.Connection, ids: Sequence[str]) -> dict[str, Known]:
    """Those of these sessions that are here."""
    found: dict[str, Known] = {}
    for session_id in ids:
        row = connection.execute(import_queries.KNOWN, (session_id,)).fetchone()
        if row is not None:
            found[session_id] = Known(imported=row["imported"], messages=row["message_count"])
    return found


def take_in(
    connection: sqlite3.Connection, pieces: Sequence[Piece], config: GatewayConfig, now: datetime
) -> list[Verdict]:
    """Store pieces of sessions, in their order. One that is here already, or does not fit, changes nothing."""
    return [_take_in(connection, piece, config, now) for piece in pieces]


def _take_in(connection: sqlite3.Connection, piece: Piece, config: GatewayConfig, now: datetime) -> Verdict:
    session = piece.session
    row = connection.execute(import_queries.KNOWN, (session.id,)).fetchone()
    if row is None and piece.first == 0:
        _add(connection, session, config, now)
        row = connection.execute(import_queries.KNOWN, (session.id,)).fetchone()
    if row is None or row["imported"] != piece.first or row["message_count"] != piece.first:
        return "passed_over"
    if piece.first and not _goes_on(connection, piece):
        return "passed_over"
    if row["ended_at"] is None and has_open_turn(connection, row["slot_id"]):
        return "busy"
    rows = [(session.id, None, None, *message.row, message.at) for message in piece.messages]
    connection.executemany(queries.ADD_MESSAGE, rows)
    title = session.title or piece.title
    values = (len(rows), session.updated_at, clean_text(title) if title else None, session.id)
    connection.execute(import_queries.COUNT_IMPORTED, values)
    return _open(connection, session, row) if piece.last and session.live else "taken"


def _goes_on(connection: sqlite3.Connection, piece: Piece) -> bool:
    """Whether the last message here is the one that stands before the piece where it comes from."""
    last = connection.execute(import_queries.LAST_MESSAGE, (piece.session.id,)).fetchone()
    return last is not None and digest(tuple(last)) == piece.after


def _add(connection: sqlite3.Connection, session: ImportedSession, config: GatewayConfig, now: datetime) -> None:
    identity = _identity(connection, session, config)
    values = (
        session.id,
        slot_number(connection, identity),
        session.place.owner(identity, session.id),
        session.place.platform,
        session.place.chat_type,
        session.display_name,
        dump(session.origin) if session.origin else None,
        session.model,
        session.created_at,
        session.updated_at,
        session.updated_at if session.ended_at is None else session.ended_at,
        session.end_reason or IMPORTED,
        session.predecessor_id,
        session.input_tokens,
        session.output_tokens,
        session.cache_read_tokens,
        session.cache_write_tokens,
        session.last_prompt_tokens,
        session.estimated_cost_usd,
        session.cost_status,
        int(session.pinned),
        int(session.archived),
        to_micros(now),
    )
    connection.execute(import_queries.ADD_IMPORTED, values)
    if session.predecessor_id is not None:
        connection.execute(import_queries.LINK_IMPORTED, (session.id, session.predecessor_id))


def _identity(connection: sqlite3.Connection, session: ImportedSession, config: GatewayConfig) -> SlotIdentity:
    sessions = config.sessions
    identity = session.place.identity(sessions.group_sessions_per_user, sessions.thread_sessions_per_user)
    return present_identity(connection, identity)


def _open(connection: sqlite3.Connection, session: ImportedSession, row: sqlite3.Row) -> Verdict:
    """Make a session that is here as a whole the live one of its slot, if nothing was ever said there."""
    if row["end_reason"] != IMPORTED:
        return "taken"
    slot = connection.execute(queries.GET_SLOT, (row["slot_id"],)).fetchone()
    if slot["session_id"] is not None or slot["previous_session_id"] is not None:
        return "occupied"
    connection.execute(import_queries.OPEN_IMPORTED, (session.id,))
    connection.execute(queries.BIND_SLOT, (session.id, slot["id"]))
    return "opened"
