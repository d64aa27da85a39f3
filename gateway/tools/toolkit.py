"""The session tools as agents get them: named, described, typed, and carried out for the person whom they work for."""

import json
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Container, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

from config import LiveConfig
from gateway.access import Gate, Sender
from gateway.access.rights import Rights
from gateway.commands.services import Agents
from gateway.desk import is_outage
from gateway.homes import Homes
from gateway.ids import Ids
from gateway.limits import Limits
from gateway.ports import Clock, StorageBusyError, Target, Tool, ToolContext
from gateway.session.errors import SessionError, UnknownSession
from gateway.storage.database import Database
from gateway.storage.errors import StorageError
from gateway.storage.probe import Probe, no_probe
from gateway.tools.caller import Caller, UnknownCallerError, caller_of_turn
from gateway.tools.messages import MessageDesk
from gateway.tools.relay import Queue, Relays, Waits
from gateway.tools.requests import (
    CreateSession,
    ListSessions,
    ManageSession,
    Request,
    SearchSessions,
    SendMessage,
    SendToSession,
    ToolError,
)
from gateway.tools.sessions import Result, SessionDesk

log = logging.getLogger(__name__)

UNAVAILABLE: Final = "Session manager not available"

R = TypeVar("R", bound=Request)
Work: TypeAlias = Callable[[Mapping[str, Any], Caller], Awaitable[Result]]


@dataclass(frozen=True, slots=True)
class _Described:
    """A tool, before it can be used."""

    description: str
    request: type[Request]
    waits: bool = False


TOOLS: Final[Mapping[str, _Described]] = {
    "create_session": _Described(
        "Begin another session of the person you are talking with, which no chat shows: to have a task worked on apart."
        " send_to_session gives it work.",
        CreateSession,
    ),
    "list_sessions": _Described(
        "List the sessions (conversations) of the person you are talking with, the newest first, with their ids.",
        ListSessions,
    ),
    "send_to_session": _Described(
        "Write to another session of the person you are talking with, and get its answer. Its agent knows what was said"
        " there, and nothing of what was said here. What is live in a chat is seen there.",
        SendToSession,
        waits=True,
    ),
    "manage_session": _Described(
        "Change a session of the person you are talking with: rename it, put it away or back, delete it for good, mark"
        " it as important, shorten it, copy it, or have this chat go on in it (switch).",
        ManageSession,
    ),
    "search_sessions": _Described(
        "Look for words in all that was said in the sessions of the person you are talking with, the newest first.",
        SearchSessions,
    ),
    "send_message": _Described(
        "Send a message to people, now: apart from your answer, or elsewhere.",
        SendMessage,
    ),
}


class SessionTools:
    """The session tools. Until `connect` was called, each says that they are not available.

    Every result is a JSON object; one that failed has its reason under `error`. Whatever a call does, it does once,
    however often it is run: each has a key of its own.
    """

    def __init__(
        self,
        database: Database,
        config: LiveConfig,
        clock: Clock,
        ids: Ids,
        counters: Counter[str],
        *,
        agents: Agents,
        gate: Gate,
        rights: Rights,
        limits: Limits,
        homes: Homes,
        tell: Callable[[Target], object],
        redact: Callable[[str], str] = str,
        probe: Probe = no_probe,
    ) -> None:
        self._database = database
        self._config = config
        self._clock = clock
        self._ids = ids
        self._counters = counters
        self._agents = agents
        self._gate = gate
        self._rights = rights
        self._limits = limits
        self._homes = homes
        self._tell = tell
        self._redact = redact
        self._probe = probe
        self._waits = Waits()
        self._work: dict[str, Work] = {}

    @property
    def tools(self) -> tuple[Tool, ...]:
        """All of them, for the agents of this process."""
        return tuple(self._tool(name, described) for name, described in TOOLS.items())

    @property
    def awaited(self) -> Container[int]:
        """The messages whose answers somebody waits for."""
        return self._waits.messages

    def connect(self, queue: Queue, erase: Callable[[str], Awaitable[object]]) -> None:
        """Have them work: with the lanes, and what deletes a session for good."""
        database, clock, gate, probe = self._database, self._clock, self._gate, self._probe
        desk = SessionDesk(database, clock, self._ids, self._agents, gate, self._rights, queue, erase, probe)
        relays = Relays(
            database, self._config, clock, gate, self._limits, queue, self._tell, self._waits, self._redact, probe
        )
        messages = MessageDesk(database, self._config, clock, gate, self._homes, self._tell, self._redact, probe)
        self._work = {
            "create_session": _reading(CreateSession, desk.create),
            "list_sessions": _reading(ListSessions, desk.listing),
            "send_to_session": _reading(SendToSession, relays.send),
            "manage_session": _reading(ManageSession, desk.manage),
            "search_sessions": _reading(SearchSessions, desk.search),
            "send_message": _reading(SendMessage, messages.send),
        }

    def may_use(self, caller: Caller, name: str) -> bool:
        """Whether the role of whom the caller works for gives this tool. Who is let in no more has none: an agent may
        call until its turn has been stopped."""
        if name not in TOOLS or self._gate.bars(Sender.of_record(caller.record)):
            return False
        return self._rights.may_use(caller.record, name)

    async def call(self, name: str, arguments: Mapping[str, Any], caller: Caller) -> Result:
        """Carry out one call; what goes wrong is a result too."""
        if not self.may_use(caller, name):
            return {"error": f"There is no tool named '{name}'."}
        work = self._work.get(name)
        if work is None:
            return {"error": UNAVAILABLE}
        try:
            return await work(arguments, caller)
        except ToolError as error:
            return {"error": str(error)}
        except UnknownSession as error:
            return {"error": f"Session '{error.session_id}' not found"}
        except SessionError as error:
            return {"error": str(error)}
        except (StorageError, StorageBusyError) as error:
            if not is_outage(error):
                raise
            log.warning("the tool %s could not be carried out: %s", name, error)
            self._counters["tools.storage_errors"] += 1
            return {"error": f"{UNAVAILABLE}: the database is out of use at present. Try it again later."}

    def _tool(self, name: str, described: _Described) -> Tool:
        async def run(arguments: Mapping[str, Any], context: ToolContext) -> str:
            try:
                caller = await caller_of_turn(self._database, context.turn_id, context.call_id)
            except (UnknownCallerError, StorageError):
                return as_text({"error": UNAVAILABLE})
            return as_text(await self.call(name, arguments, caller))

        schema = described.request.arguments_schema()
        return Tool(name, described.description, schema, run, idempotent=True, waits=described.waits)


def as_text(result: Result) -> str:
    """A result as an agent reads it."""
    return json.dumps(result, ensure_ascii=False)


def _reading(request: type[R], work: Callable[[R, Caller], Awaitable[Result]]) -> Work:
    async def run(arguments: Mapping[str, Any], caller: Caller) -> Result:
        return await work(request.read(arguments), caller)

    return run
