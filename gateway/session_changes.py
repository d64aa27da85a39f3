"""What an operator changes about any session: its name, whether it is put away, a copy of it. Served on the socket."""

import sqlite3
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from gateway.control import answer
from gateway.ids import Ids
from gateway.inspection import SessionSummary, summary_from_row
from gateway.ports import Clock, FrameConnection, StorageBusyError
from gateway.session import changes, slots
from gateway.session.errors import SessionBusy, UnknownSession
from gateway.session.scope import Scope
from gateway.storage import queries, session_queries
from gateway.storage.database import Database
from gateway.storage.errors import StorageError

SERVICE: Final = "sessions"
"""The name of the service on the gateway's socket."""


class ChangeRefusedError(Exception):
    """A session was not changed; `str()` says why."""


class _Request(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    session_id: str


class Rename(_Request):
    """Give it this name, or none."""

    op: Literal["rename"] = "rename"
    title: str


class Archive(_Request):
    """Put it away, or back into the lists."""

    op: Literal["archive"] = "archive"
    on: bool = True


class Fork(_Request):
    """Begin a session with what was said in it, or with the first so many messages of that."""

    op: Literal["fork"] = "fork"
    title: str = ""
    first: int | None = Field(default=None, ge=0)


Change: TypeAlias = Rename | Archive | Fork
_CHANGE: Final[TypeAdapter[Change]] = TypeAdapter(Annotated[Change, Field(discriminator="op")])


class SessionChanges:
    """Carries changes out, whosever the sessions are. Whoever uses it holds the home's lock."""

    def __init__(self, database: Database, clock: Clock, ids: Ids) -> None:
        self._database = database
        self._clock = clock
        self._ids = ids

    async def serve(self, connection: FrameConnection, hello: Mapping[str, Any]) -> None:
        """Carry out what a client of the socket asks for."""
        try:
            session = await self.carry_out(_CHANGE.validate_python(dict(hello)))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            await answer(connection, {"ok": False, "error": f"{'.'.join(map(str, first['loc']))}: {first['msg']}"})
        except ChangeRefusedError as error:
            await answer(connection, {"ok": False, "error": str(error)})
        else:
            await answer(connection, {"ok": True, "session": session.to_dict()})

    async def carry_out(self, change: Change) -> SessionSummary:
        """Change a session; how it is then, or its copy. Raises `ChangeRefusedError`."""
        now = self._clock.now()

        def job(connection: sqlite3.Connection) -> SessionSummary:
            session_id = self._change(connection, change, now)
            return summary_from_row(connection.execute(queries.GET_SESSION, (session_id,)).fetchone())

        try:
            return await self._database.write(job)
        except UnknownSession as error:
            raise ChangeRefusedError(f"there is no session {change.session_id}") from error
        except SessionBusy as error:
            raise ChangeRefusedError(
                f"a turn of session {change.session_id} is running; try again once it has its answer"
            ) from error
        except (StorageError, StorageBusyError) as error:
            raise ChangeRefusedError(str(error)) from error

    def _change(self, connection: sqlite3.Connection, change: Change, now: datetime) -> str:
        """Carry it out; the id of the session that it is about by then. Raises `UnknownSession`, `SessionBusy`."""
        session_id = change.session_id
        row = connection.execute(queries.GET_SESSION, (session_id,)).fetchone()
        if row is None:
            raise UnknownSession(session_id)
        scope = Scope(row["owner"])
        match change:
            case Rename(title=title):
                changes.rename(connection, scope, session_id, title)
            case Archive(on=False):
                connection.execute(session_queries.ARCHIVE_SESSION, (0, session_id))
            case Archive():
                if changes.own(connection, scope, session_id).running:
                    raise SessionBusy(session_id)
                changes.archive(connection, scope, session_id, now)
            case Fork(title=title, first=first):
                # In a slot of its own: no chat loses what is going on in it.
                slot = connection.execute(queries.GET_SLOT, (row["slot_id"],)).fetchone()
                place = slots.identity_from_row(slot).private(self._ids.session(now))
                ids = self._ids
                return changes.fork(connection, place, scope, session_id, ids, now, title=title, first=first).session_id
        return session_id
