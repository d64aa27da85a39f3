"""What agents do with the sessions of the person whom they work for: begin, list, find, change and delete them."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final

from gateway.access import Gate, Role
from gateway.access.rights import Rights
from gateway.commands.services import Agents
from gateway.erasure import EraseError
from gateway.ids import Ids, is_session_id
from gateway.inbound import Extra, InboundRecord
from gateway.outside import one_line
from gateway.ports import Clock, InboundState
from gateway.search import match_expression
from gateway.session import changes, records, slots
from gateway.session.errors import UnknownSession
from gateway.session.operations import SessionOperations
from gateway.session.scope import DEFAULT_AGENT, EMPTY_SHOWN_SECONDS, SessionView, search_own, view_from_row
from gateway.session.text import TITLE_LENGTH
from gateway.storage import queries, session_queries, tool_queries
from gateway.storage.codec import to_micros
from gateway.storage.database import Database
from gateway.storage.probe import Probe
from gateway.tools.caller import Caller
from gateway.tools.durable import carried_out
from gateway.tools.relay import Queue
from gateway.tools.requests import (
    KEPT_BY_DEFAULT,
    MISSING_ACTION,
    MISSING_SESSION,
    CreateSession,
    ListSessions,
    ManageSession,
    SearchSessions,
    ToolError,
    count_of,
)
from gateway.tools.texts import SHOWN_SESSIONS, age, no_sessions, session_link, session_list

ALL: Final = -1
"""The LIMIT that SQLite reads as none."""

FORK: Final = "Fork: "

SWITCHES: Final = ("switch", "open", "select", "view")

KNOWN: Final = "list, switch, rename, archive, unarchive, delete, important, unimportant, truncate, fork"

Result = dict[str, Any]


class NotFoundError(ToolError):
    """There is no such session, or it is not theirs; which of the two is not told."""

    def __init__(self, session_id: str) -> None:
        super().__init__(f"Session '{session_id}' not found. Use list_sessions and pass the exact id it returned.")


@dataclass(frozen=True, slots=True)
class SessionDesk:
    """Carries out what is asked. Every method raises `ToolError`, `SessionError` and `StorageError`."""

    database: Database
    clock: Clock
    ids: Ids
    agents: Agents
    gate: Gate
    rights: Rights
    queue: Queue
    erase: Callable[[str], Awaitable[object]]
    probe: Probe

    # --- beginning and finding -------------------------------------------------------------------------------

    async def create(self, request: CreateSession, caller: Caller) -> Result:
        """Begin a session that no chat shows, once however often the same call is made."""
        name = one_line(request.name, TITLE_LENGTH)
        if not name:
            raise ToolError("The name is empty.")
        agent = self._agent(request.model.strip(), caller)
        now = self.clock.now()
        view = await self.database.write(lambda connection: self._create(connection, name, agent, caller, now))
        self.probe("tools.created")
        session_id, answers = view.entry.session_id, agent or self.agents.default
        model = self.agents.model(answers) or answers
        words = f"Session '{view.title}' created (id: `{session_id}`, model: {model}). send_to_session writes to it."
        return {"session_id": session_id, "name": view.title, "model": model, "results": words}

    def _agent(self, wanted: str, caller: Caller) -> str | None:
        """The agent that is meant by its name or its model; None for the default. Raises `ToolError`."""
        if not wanted:
            return None
        names = list(self.agents.names)
        found = wanted if wanted in names else next((one for one in names if self.agents.model(one) == wanted), None)
        if found is None:
            known = ", ".join(f"{one} ({self.agents.model(one) or 'no model'})" for one in names)
            raise ToolError(f"There is no agent or model '{wanted[:TITLE_LENGTH]}'. There are: {known}")
        fixed = self.rights.agent(caller.record)
        if fixed is not None and fixed != found:
            raise ToolError(f"Who you work for is answered by the agent {fixed} alone.")
        return found

    def _create(
        self, connection: sqlite3.Connection, name: str, agent: str | None, caller: Caller, now: datetime
    ) -> SessionView:
        slot, known = _own_slot(connection, caller)
        if known is not None:
            return changes.own(connection, caller.scope, known)
        source, new_id, at = caller.record.source, self.ids.session(now), to_micros(now)
        place = (caller.scope.owner, str(source.platform), source.chat_type, source.chat_name)
        origin = records.origin_json(source)
        connection.execute(queries.ADD_SESSION, (new_id, slot["id"], *place, origin, at, at, None, 0, None, 0))
        connection.execute(queries.BIND_SLOT, (new_id, slot["id"]))
        changes.rename(connection, caller.scope, new_id, name)
        changes.choose_agent(connection, caller.scope, new_id, agent)
        return changes.own(connection, caller.scope, new_id)

    async def listing(self, request: ListSessions, caller: Caller) -> Result:
        """The newest sessions, and how many there are."""
        now, wanted = self.clock.now(), request.filter.strip()
        views, total = await self._found(caller, wanted, now)
        return {"results": session_list(views, total, now) if views else no_sessions(wanted)}

    async def _found(self, caller: Caller, wanted: str, now: datetime) -> tuple[list[SessionView], int]:
        scope, read = caller.scope, self.database.read
        fresh = to_micros(now - timedelta(seconds=EMPTY_SHOWN_SECONDS))
        values = (scope.owner, scope.chat, 0, fresh)
        if not wanted:
            rows = await read(tool_queries.NEWEST_OWN, (*values, SHOWN_SESSIONS))
            if len(rows) < SHOWN_SESSIONS:
                return [view_from_row(row) for row in rows], len(rows)
            ((total,),) = await read(tool_queries.COUNT_OWN, values)
            return [view_from_row(row) for row in rows], total
        named = await read(tool_queries.NAMES_OF_OWN, values)
        ids = await asyncio.to_thread(_matching, named, wanted)
        rows = []
        for session_id in ids[:SHOWN_SESSIONS]:
            rows += await read(session_queries.GET_OWN, (scope.owner, scope.chat, session_id))
        return [view_from_row(row) for row in rows], len(ids)

    async def search(self, request: SearchSessions, caller: Caller) -> Result:
        """Messages that match, the newest first."""
        expression = match_expression(request.query)
        if expression is None:
            raise ToolError("query needs a word to look for")
        now = self.clock.now()
        hits = await search_own(self.database, caller.scope, expression, limit=request.limit)
        if not hits:
            return {"results": f"No messages found for '{one_line(request.query, TITLE_LENGTH)}'."}
        lines = [
            f"- **{session_link(hit.title, hit.session_id)}** (id: `{hit.session_id}`, {hit.role}, "
            f"{age(hit.time, now)}): {one_line(hit.snippet)}"
            for hit in hits
        ]
        return {"results": "\n".join([f"Found {len(hits)} message(s), newest first:", *lines])}

    # --- changing --------------------------------------------------------------------------------------------

    async def manage(self, request: ManageSession, caller: Caller) -> Result:
        """One action on one session."""
        action, session_id = request.action, request.session_id
        if not action:
            raise ToolError(MISSING_ACTION)
        if action == "list":
            return await self.listing(ListSessions(filter=request.filter), caller)
        if not session_id:
            raise ToolError(MISSING_SESSION)
        if session_id.lower() == "current" and caller.session_id is not None:
            session_id = caller.session_id
        request = request.model_copy(update={"session_id": session_id})
        try:
            if action in SWITCHES:
                return await self._switch(request, caller)
            work = self._actions.get(action)
            if work is None:
                raise ToolError(f"Unknown action '{action}'. Use: {KNOWN}")
            return {"action": action, "session_id": session_id, **await work(self, request, caller)}
        except UnknownSession:
            if action == "delete":
                raise ToolError(
                    f"Session '{session_id}' not found. Refusing to delete an unknown chat id; "
                    "use the exact id from list_sessions."
                ) from None
            raise NotFoundError(session_id) from None

    async def _view(self, request: ManageSession, caller: Caller) -> SessionView:
        """The session that is meant, by its exact id. Raises `UnknownSession`."""
        scope, session_id = caller.scope, request.session_id
        if not is_session_id(session_id):
            raise UnknownSession(session_id)
        rows = await self.database.read(session_queries.GET_OWN, (scope.owner, scope.chat, session_id))
        if not rows:
            raise UnknownSession(session_id)
        return view_from_row(rows[0])

    @property
    def _operations(self) -> SessionOperations:
        return SessionOperations(self.database, self.clock, self.ids)

    async def _rename(self, request: ManageSession, caller: Caller) -> Result:
        if not request.value:
            await self._view(request, caller)
            raise ToolError("rename needs the new name as value")
        name = await self._operations.rename(caller.scope, request.session_id, request.value)
        return {"name": name, "results": f"Session renamed to '{name}'"}

    async def _archive(self, request: ManageSession, caller: Caller) -> Result:
        view = await self._view(request, caller)
        if not view.archived:
            view = await self._operations.archive(caller.scope, request.session_id)
        return {"results": f"Session '{view.title}' archived"}

    async def _unarchive(self, request: ManageSession, caller: Caller) -> Result:
        def job(connection: sqlite3.Connection) -> SessionView:
            view = changes.own(connection, caller.scope, request.session_id)
            connection.execute(session_queries.ARCHIVE_SESSION, (0, request.session_id))
            return view

        view = await self.database.write(job)
        return {"results": f"Session '{view.title}' unarchived"}

    async def _important(self, request: ManageSession, caller: Caller) -> Result:
        def job(connection: sqlite3.Connection) -> SessionView:
            return changes.star(connection, caller.scope, request.session_id, on=True)

        view = await self.database.write(job)
        return {"results": f"Session '{view.title}' marked as important"}

    async def _unimportant(self, request: ManageSession, caller: Caller) -> Result:
        view = await self._view(request, caller)
        if view.starred:
            raise ToolError(
                f"Session '{view.title}' is starred by the user. Only the user can unstar sessions manually."
            )
        return {"results": f"Session '{view.title}' is not marked as important"}

    async def _delete(self, request: ManageSession, caller: Caller) -> Result:
        if request.session_id == caller.session_id:
            raise ToolError("Cannot delete the current session while chatting in it. Delete other sessions first.")
        view = await self._view(request, caller)
        if view.starred or view.pinned:
            mark = "starred" if view.starred else "pinned"
            raise ToolError(f"Session '{view.title}' is {mark} by the user, so it is not deleted.")
        if (self.gate.role(caller.record) or Role.GUEST) < Role.USER:
            raise ToolError("Guests may not delete sessions.")
        try:
            await self.erase(request.session_id)
        except EraseError as error:
            raise ToolError(f"Session '{view.title}' is not deleted: {error}") from error
        return {"results": f"Session '{view.title}' deleted"}

    async def _truncate(self, request: ManageSession, caller: Caller) -> Result:
        view = await self._view(request, caller)
        try:
            kept = count_of(request.value, KEPT_BY_DEFAULT) or 0
        except ValueError:
            raise ToolError(f"'{one_line(request.value, TITLE_LENGTH)}' is no number: nothing was removed") from None
        if kept < 0:
            raise ToolError(f"Failed to truncate session '{request.session_id}': keep_count must be >= 1")
        if kept == 0:
            raise ToolError("keep_count must be >= 1")
        ends = {"keep_first": kept} if request.keep == "first" else {"keep_last": kept}
        removed = await self._operations.truncate(caller.scope, request.session_id, **ends)
        words = f"Session '{view.title}' keeps its {request.keep} {kept} messages ({removed} removed)"
        return {"messages_removed": removed, "results": words}

    async def _fork(self, request: ManageSession, caller: Caller) -> Result:
        try:
            first = count_of(request.value, None)
        except ValueError:
            first = None
        if first is not None and first < 0:
            raise ToolError(f"A copy has a number of messages from 0, not {first}")
        now = self.clock.now()
        session_id = request.session_id
        view = await self.database.write(lambda connection: self._copy(connection, session_id, first, caller, now))
        self.probe("tools.forked")
        new_id, copied = view.entry.session_id, view.entry.message_count
        words = f"Forked session '{session_id}' -> new session {new_id} ({copied} messages)"
        return {"session_id": new_id, "source_session": session_id, "messages_copied": copied, "results": words}

    def _copy(
        self, connection: sqlite3.Connection, session_id: str, first: int | None, caller: Caller, now: datetime
    ) -> SessionView:
        original = changes.own(connection, caller.scope, session_id)
        slot, known = _own_slot(connection, caller)
        if known is not None:
            return changes.own(connection, caller.scope, known)
        new_id = self.ids.session(now)
        records.install_fork(connection, session_id, new_id, slot, now)
        limit = ALL if first is None else first
        copied = connection.execute(tool_queries.COPY_SPOKEN, (session_id, new_id, limit)).rowcount
        name = f"{FORK}{original.title}"[:TITLE_LENGTH]
        agent = None if original.agent == DEFAULT_AGENT else original.agent
        described = (name, agent, original.entry.model, copied, original.project, new_id)
        connection.execute(session_queries.DESCRIBE_FORK, described)
        return changes.own(connection, caller.scope, new_id)

    # --- going on elsewhere ----------------------------------------------------------------------------------

    async def _switch(self, request: ManageSession, caller: Caller) -> Result:
        view = await self._view(request, caller)
        session_id = view.entry.session_id
        result = {"action": request.action, "session_id": session_id, "name": view.title}
        result["results"] = f"{session_link(view.title, session_id)} - click to open."
        if session_id == caller.session_id:
            return {**result, "next": "This conversation is in it already."}
        if request.action != "switch" or not caller.turn_id or caller.record.silent:
            return {**result, "next": f"The person goes on in it by `/resume {session_id}`."}
        await self._resume_after(session_id, caller)
        return {**result, "next": "This chat goes on in it as soon as this answer is complete."}

    async def _resume_after(self, session_id: str, caller: Caller) -> None:
        """Have the chat go on in a session after the turn: as if the person had asked for it then."""
        mine, now, text = caller.record, self.clock.now(), f"/resume {session_id}"
        extra = Extra().of_sender(mine.extra)
        key = (str(mine.source.platform), mine.account, f"switch:{mine.source.chat_id}", caller.key)

        def job(connection: sqlite3.Connection) -> InboundRecord | None:
            slot_id = slots.slot_number(connection, mine.identity)
            values = (slot_id, records.origin_json(mine.source), text, None, to_micros(now), InboundState.PENDING)
            added = connection.execute(queries.ADD_INBOUND, (*key, *values, None, None, extra.dump()))
            if not added.rowcount:
                return None
            told = replace(mine, id=added.lastrowid or 0, message_id=caller.key, text=text, group_id=None)
            return replace(told, received_at=now, extra=extra, moved=True)

        def resume(record: InboundRecord | None) -> None:
            if record is not None:
                self.queue.offer(record, interrupts=False)

        resume(await carried_out(self.database.write(job), resume))

    _actions: ClassVar[Mapping[str, Callable[..., Awaitable[Result]]]] = {
        "rename": _rename,
        "archive": _archive,
        "unarchive": _unarchive,
        "important": _important,
        "unimportant": _unimportant,
        "delete": _delete,
        "truncate": _truncate,
        "fork": _fork,
    }


def _own_slot(connection: sqlite3.Connection, caller: Caller) -> tuple[sqlite3.Row, str | None]:
    """The slot of what this call begins, and the session that it has begun there already."""
    slot = slots.slot_row(connection, caller.record.identity.private(caller.key))
    return slot, slot["session_id"] or slot["previous_session_id"]


def _matching(rows: list[sqlite3.Row], wanted: str) -> list[str]:
    folded = wanted.casefold()
    return [row["id"] for row in rows if folded in row["title"].casefold()]
