"""Who calls the tools from outside, by the credential that they show: the agent of an open turn, or the operator."""

import asyncio
import hashlib
import hmac
import json
import logging
import secrets
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.control import answer
from gateway.frames import FrameError
from gateway.ids import is_session_id
from gateway.ports import Clock, FrameConnection, McpServer, Tool
from gateway.storage import tool_queries
from gateway.storage.database import Database
from gateway.storage.errors import StorageError
from gateway.tools.caller import Caller, UnknownCallerError, caller_of_turn, operator
from gateway.tools.requests import MANAGE, READ_ONLY
from gateway.tools.toolkit import SessionTools

log = logging.getLogger(__name__)

PURPOSE: Final = b"hermes-gateway mcp turn"
"""What the installation's secret is used for here, so that no other use of it gives the same codes."""

REMEMBERED_TURNS: Final = 1_000
"""Turns whose calls are counted at once; more do not run."""

REMEMBERED_RESULTS: Final = 1_000
"""Changes of sessions whose results are known again, the latest."""

REMEMBERED_REQUESTS: Final = 1_000
"""Requests of one attempt at a turn that are known again, the latest: nobody sends one again that late."""


KEY: Final = "idempotency_key"
"""The argument by which a client names a call; the same call under the same name is one call."""

MAX_KEY_CHARS: Final = 255

KEY_SCHEMA: Final[Mapping[str, Any]] = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_KEY_CHARS,
    "description": "A text of your own that names this call. Where its answer was lost, make the same call with the"
    " same key: it is not carried out twice. Leave it out otherwise.",
}


@dataclass(frozen=True, slots=True)
class Guest:
    """Who calls: the agent of a turn, or the operator in the place of whoever has a session, or in the terminal's."""

    turn_id: str = ""
    session_id: str | None = None


class ToolDoor:
    """Lets in who shows a credential, and carries out their calls.

    A turn's token holds while the turn is open, over restarts too. Raises `UnknownCallerError` for any other.
    """

    def __init__(
        self, sessions: SessionTools, database: Database, clock: Clock, secret: bytes, counters: Counter[str]
    ) -> None:
        self._sessions = sessions
        self._database = database
        self._clock = clock
        self._key = hmac.digest(secret, PURPOSE, "sha256")
        self._counters = counters
        self._url: str | None = None
        self._calls: OrderedDict[tuple[str, int], _Attempt] = OrderedDict()
        self._done: OrderedDict[str, dict[str, Any]] = OrderedDict()
        """What changes of sessions came to, by the keys of their calls; other tools find what they did by theirs."""
        self._doing: dict[str, asyncio.Task[dict[str, Any]]] = {}
        """Those that are being made."""

    def listens_at(self, host: str, port: int) -> None:
        """The tools are served there over HTTP."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - any address is this machine's too
        self._url = f"http://{f'[{host}]' if ':' in host else host}:{port}/mcp"

    def server(self, turn_id: str) -> McpServer | None:
        """Where the agent of a turn finds the tools; None where no HTTP is served."""
        return None if self._url is None else McpServer(self._url, self.token(turn_id))

    # --- credentials -----------------------------------------------------------------------------------------

    def token(self, turn_id: str) -> str:
        """What the agent of a turn shows, and nobody else can make."""
        return f"{turn_id}.{hmac.digest(self._key, turn_id.encode(), 'sha256').hex()}"

    async def of_token(self, token: str) -> Guest:
        """Who shows a turn's token. Raises `UnknownCallerError`, `StorageError`."""
        turn_id, _, _code = token.partition(".")
        if not hmac.compare_digest(self.token(turn_id).encode(), token.encode("utf-8", "surrogateescape")):
            raise UnknownCallerError("the token is no turn's")
        return await self._known(Guest(turn_id))

    async def of_operator(self, session_id: str | None = None) -> Guest:
        """The operator, in the place of whoever has this session. Raises `UnknownCallerError`, `StorageError`."""
        if session_id is not None and not is_session_id(session_id):
            raise UnknownCallerError("that is no session's id")
        return await self._known(Guest(session_id=session_id))

    async def _known(self, guest: Guest) -> Guest:
        await self._caller(guest, "")
        return guest

    async def _caller(self, guest: Guest, call_id: str) -> Caller:
        if guest.turn_id:
            return await caller_of_turn(self._database, guest.turn_id, call_id)
        return await operator(self._database, self._clock, call_id, guest.session_id)

    # --- tools -----------------------------------------------------------------------------------------------

    async def tools(self, guest: Guest) -> Sequence[Tool]:
        """Those that they may use. Raises `UnknownCallerError`, `StorageError`."""
        caller = await self._caller(guest, "")
        return [_with_key(tool) for tool in self._sessions.tools if self._sessions.may_use(caller, tool.name)]

    async def call(
        self, guest: Guest, name: str, arguments: Mapping[str, Any], *, key: str | None = None, request: str = ""
    ) -> dict[str, Any]:
        """Carry out a call; what goes wrong is a result too.

        `key` names the call where its arguments do not, `request` tells the request from every other one, for ever.
        """
        given: object = key
        if name not in READ_ONLY and KEY in arguments:
            given = arguments[KEY]
            arguments = {name: value for name, value in arguments.items() if name != KEY}
        if not (given is None or (isinstance(given, str) and 1 <= len(given) <= MAX_KEY_CHARS)):
            return {"error": f"{KEY}: a text of 1 to {MAX_KEY_CHARS} characters"}
        try:
            call_id = await self._call_id(guest, name, arguments, given, request)
            caller = await self._caller(guest, call_id)
            repeatable = given is not None or bool(request or guest.turn_id)
            if name != MANAGE or not repeatable or not self._sessions.may_use(caller, name):
                return await self._sessions.call(name, arguments, caller)
            return await self._once(name, arguments, caller)
        except UnknownCallerError as error:
            return {"error": f"Nobody is known by this credential any more: {error}."}
        except Exception:
            log.exception("the tool %s failed", name)
            self._counters["tools.errors"] += 1
            return {"error": "The tool failed inside the gateway. Its operator finds the reason in the log."}

    async def _once(self, name: str, arguments: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
        """Carry out what is no more the same when it is done again: a session may have gone on in between.

        Whoever asks for it while it is done waits for the same; it goes on though they go away.
        """
        done = self._done.get(caller.key)
        if done is not None:
            return dict(done)
        doing = self._doing.get(caller.key)
        if doing is None:
            doing = asyncio.create_task(self._remembering(name, arguments, caller), name=f"tool {name}")
            self._doing[caller.key] = doing
        return dict(await asyncio.shield(doing))

    async def _remembering(self, name: str, arguments: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
        try:
            result = await self._sessions.call(name, arguments, caller)
            if "error" not in result:
                self._done[caller.key] = result
                if len(self._done) > REMEMBERED_RESULTS:
                    self._done.popitem(last=False)
            return result
        finally:
            del self._doing[caller.key]

    async def _call_id(
        self, guest: Guest, name: str, arguments: Mapping[str, Any], key: str | None, request: str
    ) -> str:
        """What tells the call from others. A turn that is tried again makes the same calls: the first of its kind in
        one attempt is the first of its kind in the next."""
        if key is not None:
            return f"key:{_hash(guest.session_id, name, arguments, key)}"
        if not guest.turn_id:
            return f"request:{_hash(name, arguments, request)}" if request else secrets.token_hex(16)
        kind = _hash(name, arguments)
        rows = await self._database.read(tool_queries.OPEN_TURN, (guest.turn_id,))
        attempt = (guest.turn_id, rows[0]["attempts"] if rows else 0)
        made = self._calls.setdefault(attempt, _Attempt())
        self._calls.move_to_end(attempt)
        if len(self._calls) > REMEMBERED_TURNS:
            self._calls.popitem(last=False)
        return f"mcp:{kind}:{made.number(kind, request)}"

    # --- the gateway's own socket ----------------------------------------------------------------------------

    async def serve(self, connection: FrameConnection, hello: Mapping[str, Any]) -> None:
        """Serve a client of the socket, which only the operator can open: `hermes-gateway mcp`."""
        token, session_id = hello.get("token"), hello.get("session_id")
        try:
            if isinstance(token, str) and token:
                guest = await self.of_token(token)
            else:
                guest = await self.of_operator(session_id if isinstance(session_id, str) else None)
        except (UnknownCallerError, StorageError) as error:
            await answer(connection, {"ok": False, "error": str(error)})
            return
        await answer(connection, {"ok": True})
        while (frame := await self._next(connection)) is not None:
            await answer(connection, {"id": frame.get("id"), **await self._answer(guest, frame)})

    async def _next(self, connection: FrameConnection) -> dict[str, Any] | None:
        while True:
            try:
                return await connection.receive()
            except FrameError as error:
                await answer(connection, {"ok": False, "error": str(error)})
                if error.fatal:
                    return None

    async def _answer(self, guest: Guest, frame: Mapping[str, Any]) -> dict[str, Any]:
        if frame.get("op") == "tools":
            try:
                return {"ok": True, "tools": [_described(tool) for tool in await self.tools(guest)]}
            except (UnknownCallerError, StorageError) as error:
                return {"ok": False, "error": str(error)}
        name, arguments = frame.get("name"), frame.get("arguments")
        if frame.get("op") != "call" or not isinstance(name, str) or not isinstance(arguments, dict):
            return {"ok": False, "error": "a frame asks for tools, or for a call with name and arguments"}
        request = frame.get("request")
        known = request if isinstance(request, str) else ""
        return {"ok": True, "result": await self.call(guest, name, arguments, request=known)}


class _Attempt:
    """The calls of one attempt at a turn."""

    def __init__(self) -> None:
        self._kinds: Counter[str] = Counter()
        self._requests: OrderedDict[tuple[str, str], int] = OrderedDict()

    def number(self, kind: str, request: str) -> int:
        """Which call of its kind this is; a request that comes again is the one that it was."""
        known = self._requests.get((kind, request)) if request else None
        if known is not None:
            return known
        self._kinds[kind] += 1
        if request:
            self._requests[kind, request] = self._kinds[kind]
            if len(self._requests) > REMEMBERED_REQUESTS:
                self._requests.popitem(last=False)
        return self._kinds[kind]


def _hash(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()


def _with_key(tool: Tool) -> Tool:
    """The tool as it is called from outside, where an answer can be lost on its way."""
    if tool.name in READ_ONLY:
        return tool
    properties = {**tool.parameters["properties"], KEY: KEY_SCHEMA}
    return replace(tool, parameters={**tool.parameters, "properties": properties})


def _described(tool: Tool) -> dict[str, Any]:
    return {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
