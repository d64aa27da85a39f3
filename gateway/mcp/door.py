"""Who calls the tools from outside, by the credential that they show: the agent of an open turn, or the operator."""

import hashlib
import hmac
import json
import logging
import secrets
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.control import answer
from gateway.frames import FrameError
from gateway.ids import is_session_id
from gateway.ports import Clock, FrameConnection, McpServer, Tool
from gateway.storage import tool_queries
from gateway.storage.database import Database
from gateway.storage.errors import StorageError
from gateway.tools.caller import Caller, UnknownCallerError, caller_of_turn, operator
from gateway.tools.toolkit import SessionTools

log = logging.getLogger(__name__)

PURPOSE: Final = b"hermes-gateway mcp turn"
"""What the installation's secret is used for here, so that no other use of it gives the same codes."""

REMEMBERED_TURNS: Final = 1_000
"""Turns whose calls are counted at once; more do not run."""


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
        self._calls: OrderedDict[tuple[str, int], Counter[str]] = OrderedDict()

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
        return [tool for tool in self._sessions.tools if self._sessions.may_use(caller, tool.name)]

    async def call(self, guest: Guest, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out a call; what goes wrong is a result too."""
        try:
            call_id = await self._call_id(guest, name, arguments)
            return await self._sessions.call(name, arguments, await self._caller(guest, call_id))
        except UnknownCallerError as error:
            return {"error": f"Nobody is known by this credential any more: {error}."}
        except Exception:
            log.exception("the tool %s failed", name)
            self._counters["tools.errors"] += 1
            return {"error": "The tool failed inside the gateway. Its operator finds the reason in the log."}

    async def _call_id(self, guest: Guest, name: str, arguments: Mapping[str, Any]) -> str:
        """What tells the call from others. A turn that is tried again makes the same calls: the first of its kind in
        one attempt is the first of its kind in the next."""
        if not guest.turn_id:
            return secrets.token_hex(16)
        said = json.dumps([name, arguments], sort_keys=True).encode("utf-8", "surrogatepass")
        kind = hashlib.sha256(said).hexdigest()
        rows = await self._database.read(tool_queries.OPEN_TURN, (guest.turn_id,))
        attempt = (guest.turn_id, rows[0]["attempts"] if rows else 0)
        counted = self._calls.setdefault(attempt, Counter())
        self._calls.move_to_end(attempt)
        if len(self._calls) > REMEMBERED_TURNS:
            self._calls.popitem(last=False)
        counted[kind] += 1
        return f"mcp:{kind}:{counted[kind]}"

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
        return {"ok": True, "result": await self.call(guest, name, arguments)}


def _described(tool: Tool) -> dict[str, Any]:
    return {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
