"""What can be done with a session from outside its own turns: each operation one transaction, on one owner's own."""

import sqlite3
from collections.abc import Callable
from typing import TypedDict, TypeVar

from gateway.ids import Ids
from gateway.ports import Clock
from gateway.session import changes, cuts
from gateway.session.cuts import Cut
from gateway.session.entry import SessionEntry
from gateway.session.errors import NothingToRetry, NothingToUndo, SessionBusy
from gateway.session.key import SlotIdentity
from gateway.session.scope import Scope, SessionView, find_own, list_own
from gateway.session.store import SessionStore
from gateway.session.text import flatten_text, preview_of
from gateway.storage.database import Database

T = TypeVar("T")


class Retry(TypedDict):
    """What `retry_last` took off the transcript."""

    last_user_text: str
    removed_count: int


class Undo(TypedDict):
    """What `undo_last` took off the transcript."""

    removed_count: int
    removed_preview: str


async def retry_last(store: SessionStore, session_id: str) -> Retry:
    """Take the last message of the user and all that follows it off the transcript, for the caller to send again.

    The text is what the person wrote, not stripped; of content in parts, the text parts. Finding the place and
    cutting there is one transaction. Raises `UnknownSession` (a KeyError), and `NothingToRetry` (a ValueError) if
    the transcript has no message of a user; then nothing was changed.
    """
    cut = await store.cut_last_turn(session_id)
    if cut is None:
        raise NothingToRetry
    return {"last_user_text": flatten_text(cut.message.get("content")), "removed_count": cut.removed}


async def undo_last(store: SessionStore, session_id: str) -> Undo:
    """Take the last message of the user and all that follows it off the transcript, for good.

    The preview is the first 40 characters of what the person wrote. Atomic as `retry_last` is. Raises
    `UnknownSession` (a KeyError), and `NothingToUndo` (a ValueError).
    """
    cut = await store.cut_last_turn(session_id)
    if cut is None:
        raise NothingToUndo
    return {"removed_count": cut.removed, "removed_preview": preview_of(flatten_text(cut.message.get("content")))}


class SessionOperations:
    """Lists, finds and changes the sessions of a scope. What changes a transcript, or ends a session, is refused while
    a turn of it is open.

    Every method raises `UnknownSession` for a session that is not in the scope, whether or not there is one, and
    `StorageError`; those that are refused raise `SessionBusy`.
    """

    def __init__(self, database: Database, clock: Clock, ids: Ids) -> None:
        self._database = database
        self._clock = clock
        self._ids = ids

    async def list(
        self, scope: Scope, *, archived: bool | None = None, limit: int = 50, offset: int = 0
    ) -> list[SessionView]:
        """Pinned ones first, then the newest; see `gateway.session.scope.list_own`."""
        return await list_own(self._database, scope, self._clock.now(), archived=archived, limit=limit, offset=offset)

    async def find(self, scope: Scope, text: str) -> SessionView:
        """The session that is meant by an id, the beginning of one, or a name. Raises `AmbiguousSession`."""
        return await find_own(self._database, scope, text)

    async def rename(self, scope: Scope, session_id: str, title: str) -> str:
        """Give it a name; what it is then."""
        return await self._database.write(lambda connection: changes.rename(connection, scope, session_id, title))

    async def pin(self, scope: Scope, session_id: str, *, on: bool = True) -> SessionView:
        """Pin it, or do not."""
        return await self._database.write(lambda connection: changes.pin(connection, scope, session_id, on=on))

    async def star(self, scope: Scope, session_id: str, *, on: bool = True) -> SessionView:
        """Star it, or do not; a starred one is not deleted."""
        return await self._database.write(lambda connection: changes.star(connection, scope, session_id, on=on))

    async def put_into_project(self, scope: Scope, session_id: str, name: str | None) -> SessionView:
        """Put it into a project, or, with None, out of its own. Raises ValueError for what is no name."""
        return await self._database.write(
            lambda connection: changes.put_into_project(connection, scope, session_id, name)
        )

    async def archive(self, scope: Scope, session_id: str) -> SessionView:
        """Put it away; `resume` brings it back."""
        now = self._clock.now()
        return await self._guarded(
            scope, session_id, lambda connection: changes.archive(connection, scope, session_id, now)
        )

    async def resume(self, identity: SlotIdentity, scope: Scope, session_id: str) -> SessionView:
        """Make it the live one of a slot. Raises `SessionInUse`."""
        now = self._clock.now()
        return await self._database.write(
            lambda connection: changes.resume(connection, identity, scope, session_id, now)
        )

    async def fork(
        self,
        identity: SlotIdentity,
        scope: Scope,
        session_id: str,
        *,
        title: str = "",
        first: int | None = None,
    ) -> SessionEntry:
        """Go on, in a slot, in a copy of it, or of its first so many messages."""
        now = self._clock.now()
        return await self._database.write(
            lambda connection: changes.fork(
                connection, identity, scope, session_id, self._ids, now, title=title, first=first
            )
        )

    async def truncate(
        self, scope: Scope, session_id: str, *, keep_first: int | None = None, keep_last: int | None = None
    ) -> int:
        """Keep its first, or its last, so many messages; how many were taken off, for `redo` to bring back."""
        now = self._clock.now()
        return await self._guarded(
            scope,
            session_id,
            lambda connection: cuts.truncate(connection, session_id, now, keep_first=keep_first, keep_last=keep_last),
        )

    async def undo(self, scope: Scope, session_id: str, number: int = 1) -> Cut | None:
        """Take its last so many turns back, for `redo` to bring back."""
        now = self._clock.now()
        return await self._guarded(
            scope, session_id, lambda connection: cuts.cut_turns(connection, session_id, number, now)
        )

    async def redo(self, scope: Scope, session_id: str) -> int:
        """Bring back what was taken off last; how many messages. Raises `NothingToRedo`."""
        now = self._clock.now()
        return await self._guarded(scope, session_id, lambda connection: cuts.put_back(connection, session_id, now))

    async def _guarded(self, scope: Scope, session_id: str, job: Callable[[sqlite3.Connection], T]) -> T:
        def guarded(connection: sqlite3.Connection) -> T:
            if changes.own(connection, scope, session_id).running:
                raise SessionBusy(session_id)
            return job(connection)

        return await self._database.write(guarded)
