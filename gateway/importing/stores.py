"""Where an import goes besides a database of this process: through the gateway that runs, or nowhere, to see."""

import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any, Final, Self

from pydantic import TypeAdapter

from config import GatewayConfig
from gateway.frames import FrameError, StreamConnection, connect
from gateway.importing.intake import SERVICE, ImportRefusedError, known_sessions
from gateway.importing.records import Known, Piece, Verdict, to_wire
from gateway.session.key import SlotIdentity
from gateway.session.slots import find_slot
from gateway.status import reason_of
from gateway.storage.checks import newest_schema, open_to_check, schema_of
from gateway.storage.errors import StorageError

KNOWN: Final = TypeAdapter(dict[str, Known])
VERDICTS: Final = TypeAdapter(list[Verdict])


class RemoteStore:
    """The gateway that runs, which keeps its database to itself."""

    def __init__(self, connection: StreamConnection) -> None:
        self._connection = connection

    @classmethod
    @asynccontextmanager
    async def open(cls, socket: Path) -> AsyncIterator[Self | None]:
        """Reach the gateway that listens on `socket`; None if none does. Raises `ImportRefusedError`, OSError."""
        try:
            connection = await connect(str(socket))
        except (FileNotFoundError, ConnectionRefusedError):
            yield None
            return
        try:
            store = cls(connection)
            await store._ask({"service": SERVICE})
            yield store
        finally:
            await connection.close()

    async def known(self, ids: Sequence[str]) -> dict[str, Known]:
        """See `Store`."""
        return KNOWN.validate_python((await self._ask({"op": "known", "ids": list(ids)}))["known"])

    async def take_in(self, pieces: Sequence[Piece]) -> list[Verdict]:
        """See `Store`."""
        answer = await self._ask({"op": "take_in", "pieces": to_wire(list(pieces))})
        return VERDICTS.validate_python(answer["verdicts"])

    async def finish(self) -> None:
        """See `Store`."""
        await self._ask({"op": "finish"})

    async def _ask(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            await self._connection.send(request)
            answer = await self._connection.receive()
        except (ConnectionError, FrameError) as error:
            raise _gone() from error
        if answer is None:
            raise _gone()
        if answer.get("ok") is not True:
            raise ImportRefusedError(reason_of(answer))
        return answer


class DryStore:
    """Says what an import would come to, and takes nothing in. Without a database, everything would be new."""

    def __init__(self, connection: sqlite3.Connection | None, config: GatewayConfig) -> None:
        self._connection = connection
        self._config = config
        self._taken: set[SlotIdentity] = set()
        self._here: set[str] = set()

    @classmethod
    @contextmanager
    def open(cls, database: Path, config: GatewayConfig) -> Iterator[Self]:
        """Look into the database of a home, if it has one. Raises `StorageError`."""
        if not database.exists():
            yield cls(None, config)
            return
        with closing(open_to_check(database)) as connection:
            connection.row_factory = sqlite3.Row
            if schema_of(connection) != newest_schema():
                raise StorageError(
                    f"{database} was written by another version: start the gateway once, which brings it up to date"
                )
            yield cls(connection, config)

    async def known(self, ids: Sequence[str]) -> dict[str, Known]:
        """See `Store`."""
        found = known_sessions(self._connection, ids) if self._connection is not None else {}
        self._here.update(found)
        return found

    async def take_in(self, pieces: Sequence[Piece]) -> list[Verdict]:
        """See `Store`."""
        return [self._would(piece) for piece in pieces]

    async def finish(self) -> None:
        """See `Store`."""

    def _would(self, piece: Piece) -> Verdict:
        if not (piece.last and piece.session.live) or piece.session.id in self._here:
            return "taken"
        sessions = self._config.sessions
        identity = piece.session.place.identity(sessions.group_sessions_per_user, sessions.thread_sessions_per_user)
        if identity in self._taken or self._is_used(identity):
            return "occupied"
        self._taken.add(identity)
        return "opened"

    def _is_used(self, identity: SlotIdentity) -> bool:
        slot = find_slot(self._connection, identity) if self._connection is not None else None
        return slot is not None and (slot["session_id"] is not None or slot["previous_session_id"] is not None)


def _gone() -> ImportRefusedError:
    return ImportRefusedError("the gateway has gone; import again, and what is here by now is not taken in twice")
