"""MCP over standard input and output: a process of its own, which hands each call to the gateway through its socket."""

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from mcp.server.stdio import stdio_server

from gateway.frames import FrameError, StreamConnection, connect
from gateway.mcp.errors import CallRefusedError
from gateway.mcp.server import Context, build_server

SERVICE = "mcp"

PAUSES: Final = (0.5, 1.0, 2.0, 4.0)
"""Seconds before each further try at a call whose answer is lost: a gateway that is started anew is there again."""

GONE = "no gateway answers here: start it with `hermes-gateway run`"


class GatewayClient:
    """The gateway's tools through its socket. Calls may run side by side: each has a connection of its own, so that
    one which waits holds up no other. A call whose answer is lost, because the gateway is started anew, is made again
    after each of the `pauses`, in seconds: the gateway knows it, and carries it out once."""

    def __init__(self, socket: Path, hello: Mapping[str, Any], *, pauses: Sequence[float] = PAUSES) -> None:
        self._socket = socket
        self._hello = {"service": SERVICE, **hello}
        self._numbers = itertools.count(1)
        self._name = secrets.token_hex(16)
        self._pauses = tuple(pauses)

    async def tools(self) -> Sequence[Mapping[str, Any]]:
        """The tools that may be used. Raises `CallRefusedError`."""
        tools: Sequence[Mapping[str, Any]] = (await self._ask({"op": "tools"}))["tools"]
        return tools

    async def call(self, name: str, arguments: Mapping[str, Any], request_id: object) -> Mapping[str, Any]:
        """The result of a call. No two requests of one client have one id: what comes under the same is the same call
        (https://modelcontextprotocol.io/specification/2025-06-18/basic, "Requests"). Raises `CallRefusedError`."""
        request = f"{self._name}:{type(request_id).__name__}:{request_id}"
        frame = {"op": "call", "name": name, "arguments": arguments, "request": request}
        result: Mapping[str, Any] = (await self._ask(frame, self._pauses))["result"]
        return result

    async def _ask(self, frame: Mapping[str, Any], pauses: Sequence[float] = ()) -> Mapping[str, Any]:
        left, sent = iter(pauses), False
        while True:
            try:
                async with self._connected() as connection:
                    await connection.send({**frame, "id": next(self._numbers)})
                    sent = True
                    return _checked(await connection.receive())
            except FrameError as error:
                raise CallRefusedError(f"{GONE} ({error})") from error
            except OSError as error:
                pause = next(left, None) if sent else None
                if pause is None:
                    raise CallRefusedError(f"{GONE} ({error})" if str(error) else GONE) from error
            await asyncio.sleep(pause)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[StreamConnection]:
        connection = await connect(str(self._socket))
        try:
            await connection.send(self._hello)
            _checked(await connection.receive())
            yield connection
        finally:
            await asyncio.shield(connection.close())


def _checked(frame: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """An answer. Raises `CallRefusedError` for one that says no, and OSError where the connection ended instead."""
    if frame is None:
        raise ConnectionResetError
    if frame.get("ok") is not True:
        raise CallRefusedError(str(frame.get("error") or frame.get("text") or "the gateway refused"))
    return frame


async def serve_stdio(client: GatewayClient) -> None:
    """Serve until standard input ends. Raises `CallRefusedError` at once if the gateway lets nobody in."""
    await client.tools()

    async def describe(_context: Context) -> Sequence[Mapping[str, Any]]:
        return await client.tools()

    async def call(context: Context, name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        return await client.call(name, arguments, context.request_id)

    server = build_server(describe, call)
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())
