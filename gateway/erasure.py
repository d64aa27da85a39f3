"""Deletes a session for good: from the store and the search and, where that is wanted, every trace in the home."""

import asyncio
import logging
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from config import Home
from gateway.ids import is_session_id
from gateway.leftovers import Leftovers, clean, remove_session_files, remove_unpacked, waiting_spools
from gateway.lock import LockHeldError
from gateway.media.files import session_folders
from gateway.ports import Clock, RememberError, StorageBusyError
from gateway.remembering.memory import Memory
from gateway.session import removal
from gateway.session.errors import UnknownSession
from gateway.session.removal import Doomed, RemovalRefusedError, on_file
from gateway.storage import upkeep
from gateway.storage.database import Database
from gateway.storage.errors import StorageError

log = logging.getLogger(__name__)

WHOLE_ID: Final = 32
"""Characters of the ids that `gateway.ids` makes: a shorter one that is not known may be the beginning of others."""

TURNS_PER_JOB: Final = 100
"""Turns whose messages one job of the writer forgets: a few milliseconds."""

CHECKPOINT_TRIES: Final = 50
CHECKPOINT_PAUSE_SECONDS: Final = 0.1
"""How often, and how far apart, the emptying of the write-ahead log is tried while readers are in its way."""


class EraseError(Exception):
    """A session was not deleted, or not every trace of it; `str()` says which, and what to do."""


@dataclass(frozen=True, slots=True)
class Erased:
    """What was deleted: how many messages, and, for a purge, what became of the home's other files.

    `known` is False for a session that was not in the store any more; a purge then removes what is left of it.
    Paths are relative to the home. `unread` are archives and files that could not be looked through.
    """

    session_id: str
    known: bool
    messages: int
    purged: bool
    rewritten: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Erased":
        """Read what `to_dict` gave. Raises KeyError."""
        lists = {name: tuple(map(str, data[name])) for name in ("rewritten", "removed", "unread")}
        return cls(str(data["session_id"]), bool(data["known"]), int(data["messages"]), bool(data["purged"]), **lists)


class Eraser:
    """Deletes sessions of one home, one at a time. Whoever uses it holds the home's lock.

    What waits of a session to be remembered is, before it goes; after a purge nothing of it is remembered.
    """

    def __init__(self, database: Database, home: Home, clock: Clock, memory: Memory | None = None) -> None:
        self._database = database
        self._home = home
        self._clock = clock
        self._memory = memory
        self._erasing = asyncio.Lock()

    async def tidy(self) -> None:
        """Remove what a purge that was killed has left unpacked in the home."""
        try:
            await asyncio.to_thread(remove_unpacked, self._home)
        except OSError as error:
            log.warning("what an interrupted purge has left in %s cannot be removed: %s", self._home.path, error)

    async def serve(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out what a client of the socket asks for; what is answered."""
        session_id = request.get("session_id")
        if not isinstance(session_id, str):
            return {"ok": False, "error": "session_id is missing"}
        try:
            erased = await self.erase(
                session_id, purge=request.get("purge") is True, force=request.get("force") is True
            )
        except EraseError as error:
            return {"ok": False, "error": str(error)}
        return {"ok": True, "erased": erased.to_dict()}

    async def erase(self, session_id: str, *, purge: bool = False, force: bool = False) -> Erased:
        """Delete a session with its messages. A purge also leaves nothing of it in the home's files.

        A session whose turn is running stays; one that is pinned, or whose replies are still on their way, only goes
        by `force`. What came in for it is remembered by its platform's ids alone, so that a copy is still recognised.
        Raises `EraseError`; after one, the same call goes on where this one ended.
        """
        async with self._erasing:
            try:
                return await self._erase(session_id, purge=purge, force=force)
            except UnknownSession as error:
                raise EraseError(f"there is no session {session_id}") from error
            except RemovalRefusedError as error:
                raise EraseError(str(error)) from error
            except (StorageError, StorageBusyError) as error:
                raise EraseError(
                    f"not everything of session {session_id} was deleted: {error}; try it again"
                ) from error

    async def _erase(self, session_id: str, *, purge: bool, force: bool) -> Erased:
        if not is_session_id(session_id):
            raise UnknownSession(session_id)
        if self._database.state.mode != "sqlite":
            raise EraseError(
                "the database is out of use at present, so nothing can be deleted; `hermes-gateway status` says why,"
                " try it again once it is back"
            )
        if purge and (spools := await asyncio.to_thread(waiting_spools, self._home)):
            raise EraseError(
                f"{spools[0].name} holds changes that are not in the database yet; start the gateway, which puts them"
                " there, and try it again"
            )
        now = self._clock.now()
        doomed: Doomed | None = None
        try:
            doomed = await self._database.write(on_file(removal.doom, session_id, now, force=force))
        except UnknownSession:
            if not purge or len(session_id) < WHOLE_ID:
                raise
        await self._settle_memory(session_id, purge=purge)
        # Files first: what they are recognised by is in the database. After an error the same call finds it again.
        left = await self._clean_files(session_id, doomed) if purge else Leftovers()
        await self._remove_media(session_id, doomed)
        messages = await self._remove(doomed) if doomed is not None else 0
        if purge:
            await self._drop_mirror(session_id)
            await self._wipe(doomed)
        log.info("session %s was deleted", session_id)
        lists = (tuple(left.rewritten), tuple(left.removed), tuple(left.unread))
        return Erased(session_id, doomed is not None, messages, purge, *lists)

    async def _settle_memory(self, session_id: str, *, purge: bool) -> None:
        """Have the session remembered, or, for a purge, forgotten."""
        if self._memory is None:
            return
        if not purge:
            await self._memory.before_delete(session_id)
            return
        try:
            await self._memory.forget(session_id)
        except RememberError as error:
            raise EraseError(
                f"the memory could not forget session {session_id} ({error}), so it is still in the store; see to that"
                " and try it again"
            ) from error

    async def _remove(self, doomed: Doomed) -> int:
        """Remove everything of a session from the database, in small parts; how many messages it had."""
        session_id, messages, write = doomed.session_id, 0, self._database.write
        for start in range(0, len(doomed.turns), TURNS_PER_JOB):
            turns = doomed.turns[start : start + TURNS_PER_JOB]
            await write(on_file(removal.forget_messages_of_turns, turns))
        after: int | None = 0
        while after is not None:
            after = await write(on_file(removal.forget_messages_without_turn, doomed, after))
        for name in (*doomed.joined, session_id):
            after = 0
            while after is not None:
                after = await write(on_file(removal.remove_deliveries, name, after))
            while number := await write(on_file(removal.remove_messages, name)):
                messages += number
            await write(on_file(removal.remove_record, name))
        return messages

    async def _clean_files(self, session_id: str, doomed: Doomed | None) -> Leftovers:
        try:
            return await asyncio.to_thread(clean, self._home, doomed or removal.unknown(session_id))
        except LockHeldError as error:
            raise EraseError(
                f"another purge is at work in {self._home.path}, so session {session_id} is still in the store;"
                " try it again once that has ended"
            ) from error
        except OSError as error:
            raise _file_refused(session_id, error) from error

    async def _remove_media(self, session_id: str, doomed: Doomed | None) -> None:
        """Remove the files that came in and went out for a session, also while it was provisional."""
        names = (doomed or removal.unknown(session_id)).ids
        folders = session_folders(self._home.media_dir)
        try:
            for name in names:
                await asyncio.to_thread(remove_session_files, folders, name)
        except OSError as error:
            raise _file_refused(session_id, error) from error

    async def _drop_mirror(self, session_id: str) -> None:
        """Remove what the mirror has written of a session before its messages were gone."""
        await asyncio.to_thread(remove_session_files, (self._home.sessions_dir,), session_id)
        await self._database.write(on_file(removal.forget_mirror, session_id))

    async def _wipe(self, doomed: Doomed | None) -> None:
        """Leave nothing of what was removed in the database's file and its log."""
        if doomed is not None:
            await self._database.write(on_file(removal.remove_orphan_slots, doomed.slots))
        await self._database.maintain(_rewrite)
        for _ in range(CHECKPOINT_TRIES):
            if await self._database.maintain(_empty_log):
                return
            await asyncio.sleep(CHECKPOINT_PAUSE_SECONDS)
        raise StorageError("another program reads the database, and keeps its log from being emptied")


def _file_refused(session_id: str, error: OSError) -> EraseError:
    return EraseError(
        f"{error.filename} cannot be changed ({error.strerror}), so session {session_id} is still in the store;"
        " see to that and try it again"
    )


def _rewrite(connection: sqlite3.Connection) -> None:
    """Write the database anew, with nothing in it but the rows that it has; the log then holds that too."""
    connection.execute(upkeep.OPTIMIZE_SEARCH)
    connection.execute(upkeep.FILE_TEMPORARIES)
    try:
        connection.execute(upkeep.VACUUM)
    finally:
        connection.execute(upkeep.MEMORY_TEMPORARIES)


def _empty_log(connection: sqlite3.Connection) -> bool:
    """Put the log into the database; False if a reader was in the way: turns do not wait for it."""
    connection.execute(upkeep.WAIT_FOR_NOBODY)
    try:
        busy, _frames, _moved = connection.execute(upkeep.EMPTY_LOG).fetchone()
    finally:
        connection.execute(upkeep.WAIT_AS_USUAL)
    return not busy
