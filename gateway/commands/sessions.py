"""The commands about sessions: list, resume, name, branch, put away, delete."""

import sqlite3
from datetime import datetime
from typing import Final

from gateway.access import Role
from gateway.commands.services import (
    NO_SESSION,
    CommandServices,
    ago,
    counted,
    current,
    current_id,
    label,
    meant,
    quoted,
    scope_of,
    unquoted,
)
from gateway.commands.table import (
    Arguments,
    Command,
    CommandRefusedError,
    Effect,
    Parameter,
    Reply,
    buttons,
    in_family,
    say,
)
from gateway.erasure import EraseError
from gateway.inbound import InboundRecord
from gateway.session import changes, records
from gateway.session.errors import SessionInUse
from gateway.session.scope import SessionView, list_of_project, list_own

FAMILY: Final = "Your sessions"

PAGE: Final = 8
"""Sessions of one page: as many as fit a phone's screen with their buttons."""

MOST_PAGES: Final = 1_000

IN_USE: Final = (
    "That session goes on in another chat at present ({holder}). Begin a new one there with /new, then resume it here."
)

TEXTS_OF_ANSWER: Final = ("yes", "no")


class SessionCommands:
    """Commands about the sessions of whoever sends them."""

    def __init__(self, services: CommandServices) -> None:
        self._services = services

    def commands(self) -> list[Command]:
        """In the order in which help lists them."""
        which = Parameter("archived|all", "choice", choices=("archived", "all"))
        page, project = Parameter("page", "number", most=MOST_PAGES), Parameter("project", "text")
        session = Parameter("session", "text")
        one, answer = Parameter("session"), Parameter("answer", "choice", choices=TEXTS_OF_ANSWER)
        title = Parameter("title", "text")
        return in_family(
            FAMILY,
            [
                Command("sessions", "List your sessions, or those of a project", self._list,
                        parameters=(which, page, project), immediate=True,
                        note='in quotes anything is a project\'s name: `/sessions "all"`'),
                Command("resume", "Go on with an earlier session", self._resume, parameters=(session,)),
                Command("title", "Show or change this session's name", self._title, parameters=(title,)),
                Command("branch", "Go on in a copy of this session", self._branch, aliases=("fork",),
                        parameters=(title,)),
                Command("archive", "Put a session away; /resume brings it back", self._archive, parameters=(session,)),
                Command("delete", "Delete a session for good", self._delete, parameters=(one, answer), role=Role.USER),
            ],
        )  # fmt: skip

    # --- lists -----------------------------------------------------------------------------------------------

    async def _list(self, record: InboundRecord, given: Arguments) -> Effect:
        services, page, which = self._services, given.number("page", 1), given.text("archived|all")
        project, whole, now = unquoted(given.text("project")), unquoted(given.whole), services.clock.now()
        if project and await self._page(record, "", whole, 0):
            which, page, project = "", 1, whole
        offset = (page - 1) * PAGE
        found = await self._page(record, which, project, offset)
        if not found:
            return say(_nothing(page, which, project))
        here = await current_id(services, record)
        lines = [_line(offset + number, view, here, now) for number, view in enumerate(found[:PAGE], start=1)]
        rows = [
            [(label(view.title), f"/resume {view.entry.session_id}")]
            for view in found[:PAGE]
            if view.entry.session_id != here
        ]
        text = "\n".join([*lines, "", "`/resume` with an id, the beginning of one, or a name goes on there."])
        if len(found) > PAGE:
            more = " ".join(filter(None, ("/sessions", which, str(page + 1), project and quoted(project))))
            rows.append([("More", more)])
            text = f"{text} `{more}` shows more."
        return say(text, buttons(*rows))

    async def _page(self, record: InboundRecord, which: str, project: str, offset: int) -> list[SessionView]:
        """One page of a list, and one session more where there are any."""
        database, scope, limit = self._services.database, scope_of(record), PAGE + 1
        archived = {"archived": True, "all": None}.get(which, False)
        if project:
            return await list_of_project(database, scope, project, limit=limit, offset=offset)
        now = self._services.clock.now()
        return await list_own(database, scope, now, archived=archived, limit=limit, offset=offset)

    # --- going on elsewhere ----------------------------------------------------------------------------------

    async def _resume(self, record: InboundRecord, given: Arguments) -> Effect:
        if not given.text("session"):
            return await self._list(record, Arguments())
        services, scope = self._services, scope_of(record)
        view = await meant(services, record, "resume", given.text("session"))
        now = services.clock.now()

        def effect(connection: sqlite3.Connection) -> str:
            try:
                resumed = changes.resume(connection, record.identity, scope, view.entry.session_id, now)
            except SessionInUse as error:
                raise CommandRefusedError(IN_USE.format(holder=f"`{error.holder}`")) from error
            said = counted(resumed.entry.message_count, "message")
            return f"You are back in “{resumed.title}” ({said}, last active {ago(view.entry.updated_at, now)})."

        return effect

    def _branch(self, record: InboundRecord, given: Arguments) -> Effect:
        services, now = self._services, self._services.clock.now()

        def effect(connection: sqlite3.Connection) -> Reply:
            here = current(connection, record)
            entry = changes.fork(
                connection, record.identity, here.scope, here.session_id, services.ids, now, title=given.text("title")
            )
            words = (
                f"You are in a copy now, “{entry.title}” ({counted(entry.message_count, 'message')}). "
                f"The original is kept as session {here.session_id}; /resume goes back to it."
            )
            return Reply(words, buttons([("Back to the original", f"/resume {here.session_id}")]))

        return effect

    # --- names and marks -------------------------------------------------------------------------------------

    def _title(self, record: InboundRecord, given: Arguments) -> Effect:
        def effect(connection: sqlite3.Connection) -> str:
            here = current(connection, record)
            if not given.text("title"):
                entry = records.load_entry(connection, here.session_id)
                return f"This session is called “{entry.title or 'Untitled'}”. `/title` with a name changes that."
            name = changes.rename(connection, here.scope, here.session_id, given.text("title"))
            return f"This session is called “{name}” now."

        return effect

    async def _archive(self, record: InboundRecord, given: Arguments) -> Effect:
        view = await meant(self._services, record, "archive", given.text("session"))
        scope, now = scope_of(record), self._services.clock.now()

        def effect(connection: sqlite3.Connection) -> Reply:
            session_id = view.entry.session_id
            before = changes.own(connection, scope, session_id)
            if before.running:
                raise CommandRefusedError(f"An answer is being written in “{before.title}”. Stop it there first.")
            changes.archive(connection, scope, session_id, now)
            words = f"“{before.title}” is put away. /sessions archived lists it, /resume brings it back."
            return Reply(words, buttons([("Bring it back", f"/resume {session_id}")]))

        return effect

    # --- deleting --------------------------------------------------------------------------------------------

    async def _delete(self, record: InboundRecord, given: Arguments) -> Effect:
        view = await self._to_delete(record, given.text("session"))
        session_id = view.entry.session_id
        for marked, word, undo in ((view.pinned, "pinned", "unpin"), (view.starred, "starred", "unstar")):
            if marked:
                words = f"“{view.title}” is {word}, so it is not deleted. /{undo} it first."
                return say(words, buttons([(undo.capitalize(), f"/{undo} {session_id}")]))
        if given.text("answer") == "no":
            return say(f"“{view.title}” is kept.")
        if given.text("answer") != "yes":
            return _ask(view)
        try:
            await self._services.erase(session_id)
        except EraseError as error:
            raise CommandRefusedError(f"“{view.title}” is not deleted: {error}.") from error
        return say(f"“{view.title}” is deleted, with its {counted(view.entry.message_count, 'message')}.")

    async def _to_delete(self, record: InboundRecord, text: str) -> SessionView:
        """The session that is meant: this chat's too where somebody only answers. That asks again, with its id: what is
        deleted for good is named."""
        try:
            return await meant(self._services, record, "delete", text)
        except CommandRefusedError:
            if text.casefold() not in TEXTS_OF_ANSWER:
                raise
            return await meant(self._services, record, "delete", "")


def _ask(view: SessionView) -> Effect:
    session_id = view.entry.session_id
    words = (
        f"Delete “{view.title}” ({counted(view.entry.message_count, 'message')}) for good? It cannot be brought back. "
        f"Write `/delete {session_id} yes`, or put it away instead with `/archive {session_id}`."
    )
    return say(
        words,
        buttons(
            [("Delete", f"/delete {session_id} yes"), ("Keep", f"/delete {session_id} no")],
            [("Put it away instead", f"/archive {session_id}")],
        ),
    )


def _nothing(page: int, which: str, project: str) -> str:
    if page > 1:
        return "There are no more sessions."
    if project:
        return f"You have no session in a project “{project}”. /projects lists those that you have."
    return "You have put no session away." if which == "archived" else f"You have no sessions yet. {NO_SESSION}"


def _line(number: int, view: SessionView, here: str | None, now: datetime) -> str:
    marks = [
        *(["you are here"] if view.entry.session_id == here else []),
        *(["answering"] if view.running else []),
        *(["pinned"] if view.pinned else []),
        *(["starred"] if view.starred else []),
        *([f"in {view.project}"] if view.project else []),
        *(["put away"] if view.archived else []),
        counted(view.entry.message_count, "message"),
        ago(view.entry.updated_at, now),
    ]
    return f"{number}. “{view.title}”: {', '.join(marks)} (`{view.entry.session_id}`)"
