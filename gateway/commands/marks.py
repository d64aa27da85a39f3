"""The commands that mark sessions: pins, stars, and the projects that they are put into."""

import sqlite3
from typing import Final

from gateway.commands.services import CommandServices, ago, counted, current, label, meant, quoted, scope_of, unquoted
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
from gateway.inbound import InboundRecord
from gateway.session import changes
from gateway.session.scope import list_projects

FAMILY: Final = "Your sessions"

PAGE: Final = 8
"""Projects of one page, as many as of sessions."""

MOST_PAGES: Final = 1_000

NO_PROJECTS: Final = "You have no projects. `/project` with a name puts this session into one."

BECOMES: Final = " = "
"""Stands between a project's name and its new one."""

PINNED: Final = (
    "“{title}” is pinned: it stays at the top, and is not deleted by its age. /unpin undoes that.",
    "“{title}” is not pinned any more; /pin pins it again.",
)
STARRED: Final = (
    "“{title}” is starred: neither you nor the agent deletes it by mistake. /unstar undoes that.",
    "“{title}” is not starred any more; /star stars it again.",
)


class MarkCommands:
    """Commands about the marks of one's sessions."""

    def __init__(self, services: CommandServices) -> None:
        self._services = services

    def commands(self) -> list[Command]:
        """In the order in which help lists them."""
        session = Parameter("session", "text")
        page = Parameter("page", "number", most=MOST_PAGES)
        change = Parameter("rename|delete", "choice", choices=("rename", "delete"))
        name, off = Parameter("name", "text"), Parameter("off", "choice", choices=("off",))
        return in_family(
            FAMILY,
            [
                Command("pin", "Keep a session at the top of the list", self._pin, parameters=(session,)),
                Command("unpin", "Let a session move down the list again", self._unpin, parameters=(session,)),
                Command("star", "Keep a session from being deleted", self._star, parameters=(session,)),
                Command("unstar", "Let a session be deleted again", self._unstar, parameters=(session,)),
                Command("project", "Show this session's project, or put it into one", self._project,
                        parameters=(off, name), note='in quotes anything is a name: `/project "off"`'),
                Command("projects", "List your projects, rename one, or take one apart", self._projects,
                        parameters=(change, page, name)),
            ],
        )  # fmt: skip

    # --- pins and stars --------------------------------------------------------------------------------------

    async def _pin(self, record: InboundRecord, given: Arguments) -> Effect:
        return await self._mark(record, "pin", given, on=True)

    async def _unpin(self, record: InboundRecord, given: Arguments) -> Effect:
        return await self._mark(record, "pin", given, on=False)

    async def _star(self, record: InboundRecord, given: Arguments) -> Effect:
        return await self._mark(record, "star", given, on=True)

    async def _unstar(self, record: InboundRecord, given: Arguments) -> Effect:
        return await self._mark(record, "star", given, on=False)

    async def _mark(self, record: InboundRecord, mark: str, given: Arguments, *, on: bool) -> Effect:
        view = await meant(self._services, record, mark if on else f"un{mark}", given.text("session"))
        scope, session_id = scope_of(record), view.entry.session_id
        change, words = (changes.pin, PINNED) if mark == "pin" else (changes.star, STARRED)
        undo = f"un{mark}" if on else mark

        def effect(connection: sqlite3.Connection) -> Reply:
            title = change(connection, scope, session_id, on=on).title
            told = words[0 if on else 1].format(title=title)
            return Reply(told, buttons([(undo.capitalize(), f"/{undo} {session_id}")]))

        return effect

    # --- projects --------------------------------------------------------------------------------------------

    def _project(self, record: InboundRecord, given: Arguments) -> Effect:
        wanted, off = given.text("name"), bool(given.text("off"))
        if off and wanted:
            wanted, off = given.whole, False
        wanted = unquoted(wanted)

        def effect(connection: sqlite3.Connection) -> Reply | str:
            here = current(connection, record)
            before = changes.own(connection, here.scope, here.session_id).project
            if not wanted and not off:
                return _project_words(before)
            try:
                view = changes.put_into_project(connection, here.scope, here.session_id, None if off else wanted)
            except ValueError as error:
                raise CommandRefusedError(f"Nothing was changed: {error}.") from error
            if view.project is not None:
                words = f"“{view.title}” is in the project “{view.project}” now."
                return Reply(words, buttons([(label(view.project), f"/sessions {quoted(view.project)}")]))
            if before is None:
                return "This session is in no project."
            words = f"“{view.title}” is in no project any more."
            return Reply(words, buttons([(label(f"Back to {before}"), f"/project {quoted(before)}")]))

        return effect

    async def _projects(self, record: InboundRecord, given: Arguments) -> Effect:
        change, name = given.text("rename|delete"), given.text("name")
        if change:
            return self._change_project(record, change, " ".join(given.whole.split(maxsplit=1)[1:]))
        if name:
            raise CommandRefusedError(f"`/sessions {name}` lists the sessions of a project.")
        page, now = given.number("page", 1), self._services.clock.now()
        offset = (page - 1) * PAGE
        found = await list_projects(self._services.database, scope_of(record), limit=PAGE + 1, offset=offset)
        if not found:
            return say("There are no more projects." if page > 1 else NO_PROJECTS)
        lines = [
            f"{number}. “{view.name}”: {counted(view.sessions, 'session')}, {ago(view.updated_at, now)}"
            for number, view in enumerate(found[:PAGE], start=offset + 1)
        ]
        rows = [[(label(view.name), f"/sessions {quoted(view.name)}")] for view in found[:PAGE]]
        lines += ["", "`/sessions` with a name lists its sessions."]
        if len(found) > PAGE:
            rows.append([("More", f"/projects {page + 1}")])
            lines.append(f"`/projects {page + 1}` shows more.")
        return say("\n".join(lines), buttons(*rows))

    def _change_project(self, record: InboundRecord, change: str, name: str) -> Effect:
        old, becomes, new = name.partition(BECOMES)
        old, new = unquoted(old), unquoted(new)
        if not old or (change == "rename") != bool(becomes and new):
            how = "/projects rename Name = New name" if change == "rename" else "/projects delete Name"
            raise CommandRefusedError(f"Write it as `{how}`.")
        scope = scope_of(record)

        def effect(connection: sqlite3.Connection) -> str:
            try:
                known = changes.rename_project(connection, scope, old, new if change == "rename" else None)
            except ValueError as error:
                raise CommandRefusedError(f"Nothing was changed: {error}.") from error
            if change == "rename":
                return f"The project “{known}” is called “{changes.project_name(new)}” now."
            return f"There is no project “{known}” any more. Its sessions are kept, and listed by /sessions."

        return effect


def _project_words(project: str | None) -> str:
    if project is None:
        return "This session is in no project. `/project` with a name puts it into one, /projects lists them."
    return (
        f"This session is in the project “{project}”. `/project` with a name puts it into another, or `off` into none."
    )
