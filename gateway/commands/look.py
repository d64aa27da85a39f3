"""What a terminal shows beside the chat: completion of commands and their arguments, sessions to pick, the state."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from gateway.commands.compact import Summaries
from gateway.commands.services import CommandServices, ago, counted
from gateway.commands.table import PREFIX, CommandTable, Parameter
from gateway.ports import NotStoredError, Overview, SessionLine, Suggestion
from gateway.search import match_expression
from gateway.session import slots
from gateway.session.scope import Scope, SessionView, list_own, list_projects, search_own, view_from_row
from gateway.source import SessionSource
from gateway.storage import queries, session_queries
from gateway.storage.database import Database
from gateway.storage.errors import StorageError

MOST_SHOWN: Final = 30
"""Lines of one list: more than a screen shows at once."""

TITLES_LOOKED_AT: Final = 1_000
"""Names that are looked through for a part of one."""

SESSION: Final = "session"
PROJECT: Final = "project"
"""Parameters whose values are known of nobody but the person who writes."""


class TerminalLook:
    """Looks into the store for whoever sits at a terminal."""

    def __init__(self, services: CommandServices, table: CommandTable, summaries: Summaries) -> None:
        self._services = services
        self._table = table
        self._summaries = summaries

    # --- completion ------------------------------------------------------------------------------------------

    async def complete(self, source: SessionSource, text: str) -> Sequence[Suggestion]:
        """What the end of a text that begins a command can become."""
        if not text.startswith(PREFIX) or "\n" in text:
            return ()
        if not re.search(r"\s", text):
            return [
                Suggestion(f"{PREFIX}{command.name}", len(text), f"{PREFIX}{command.name}", command.help)
                for command in self._table.commands
                if not command.hidden and command.name.startswith(text.removeprefix(PREFIX).casefold())
            ]
        found: list[Suggestion] = []
        async with _readable():
            for parameter, typed in self._table.places(text):
                found += [each async for each in self._values(source, parameter, typed)]
        return found[:MOST_SHOWN]

    async def _values(self, source: SessionSource, parameter: Parameter, typed: str) -> AsyncIterator[Suggestion]:
        if parameter.name == SESSION:
            for line in await self._lines(source, typed, everywhere=False):
                yield Suggestion(line.id, len(typed), line.title, line.about)
        elif parameter.name == PROJECT:
            for view in await list_projects(self._services.database, self._scope(source), limit=MOST_SHOWN):
                if view.name.casefold().startswith(typed.casefold()):
                    yield Suggestion(view.name, len(typed), view.name, counted(view.sessions, "session"))
        else:
            for word in parameter.choices or parameter.names():
                if word.casefold().startswith(typed.casefold()):
                    yield Suggestion(word, len(typed), word)

    # --- sessions --------------------------------------------------------------------------------------------

    async def sessions(self, source: SessionSource, text: str) -> Sequence[SessionLine]:
        """Their sessions; with a text, those whose name has it, then those where it was said."""
        async with _readable():
            return await self._lines(source, text, everywhere=True)

    async def _lines(self, source: SessionSource, text: str, *, everywhere: bool) -> list[SessionLine]:
        database, scope, now = self._services.database, self._scope(source), self._services.clock.now()
        here = await self._here(source)
        if not text.strip():
            views = await list_own(database, scope, now, limit=MOST_SHOWN)
        else:
            views = await _named(database, scope, text)
        lines = [
            SessionLine(view.entry.session_id, view.title, self._about(view), self._is(view, here)) for view in views
        ]
        expression = match_expression(text) if everywhere else None
        if expression is not None and len(lines) < MOST_SHOWN:
            known = {line.id for line in lines}
            for hit in await search_own(database, scope, expression, limit=MOST_SHOWN):
                if hit.session_id not in known:
                    known.add(hit.session_id)
                    match = " ".join(hit.snippet.split())
                    lines.append(
                        SessionLine(hit.session_id, hit.title, ago(hit.time, now), hit.session_id == here, match)
                    )
        return lines[:MOST_SHOWN]

    def _about(self, view: SessionView) -> str:
        marks = [
            *(["pinned"] if view.pinned else []),
            *(["starred"] if view.starred else []),
            *(["put away"] if view.archived else []),
            *([f"in {view.project}"] if view.project else []),
            counted(view.entry.message_count, "message"),
            ago(view.entry.updated_at, self._services.clock.now()),
        ]
        return ", ".join(marks)

    @staticmethod
    def _is(view: SessionView, session_id: str | None) -> bool:
        return view.entry.session_id == session_id

    # --- how it stands ---------------------------------------------------------------------------------------

    async def overview(self, source: SessionSource) -> Overview:
        """How the conversation of this place stands."""
        services = self._services
        identity = services.store.identity(source)
        doing = services.work.describe(identity)
        if self._summaries.is_running(identity):
            doing = "summarising"
        async with _readable():
            session_id = await self._here(source)
            rows = await services.database.read(queries.GET_SESSION, (session_id,)) if session_id else []
            if not rows:
                agent = services.agents.default
                return Overview(agent, doing, services.agents.model(agent))
            entry = await services.store.get_session(rows[0]["id"])
        agent = rows[0]["agent"] or services.agents.default
        model = services.agents.model(agent)
        return Overview(agent, doing, model, entry.session_id, entry.title, entry.total_tokens)

    async def _here(self, source: SessionSource) -> str | None:
        identity = self._services.store.identity(source)
        rows = await self._services.database.read(queries.LIVE_SESSION_BRIEF, slots.parts(identity))
        return rows[0]["id"] if rows else None

    def _scope(self, source: SessionSource) -> Scope:
        return Scope.of(self._services.store.identity(source), source)


async def _named(database: Database, scope: Scope, text: str) -> list[SessionView]:
    """Sessions whose names have a text in them, or whose ids begin with it."""
    wanted = " ".join(text.casefold().split())
    rows = await database.read(session_queries.OWN_TITLES, (scope.owner, scope.chat, TITLES_LOOKED_AT))
    ids = [
        row["id"] for row in rows if wanted in " ".join(row["title"].casefold().split()) or row["id"].startswith(wanted)
    ]
    found = await asyncio.gather(
        *(database.read(session_queries.GET_OWN, (scope.owner, scope.chat, each)) for each in ids[:MOST_SHOWN])
    )
    return [view_from_row(row) for rows in found for row in rows]


@asynccontextmanager
async def _readable() -> AsyncIterator[None]:
    """Raises `NotStoredError` where the store cannot be read."""
    try:
        yield
    except StorageError as error:
        raise NotStoredError("What is stored cannot be read at present.") from error
