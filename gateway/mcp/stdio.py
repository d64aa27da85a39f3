"""MCP over standard input and output: a process of its own, which hands each call to the gateway through its socket."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mcp.server.stdio import stdio_server

from gateway.frames import FrameError, StreamConnection, connect
from gateway.mcp.errors import CallRefusedError
from gateway.mcp.server import Context, build_server

SERVICE = "mcp"

GONE = "no gateway answers here: start it with `hermes-gateway run`"


class GatewayClient:
    """The gateway's tools through its socket. Calls may run side by side: each has a connection of its own, so that
    one which waits holds up no other."""

    def __init__(self, socket: Path, hello: Mapping[str, Any]) -> None:
        self._socket = socket
        self._hello = {"service": SERVICE, **hello}
        self._numbers = itertools.count(1)

    async def tools(self) -> Sequence[Mapping[str, Any]]:
        """The tools that may be used. Raises `CallRefusedError`."""
        tools: Sequence[Mapping[str, Any]] = (await self._ask({"op": "tools"}))["tools"]
        return tools

    async def call(self, name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """The result of a call. Raises `CallRefusedError`."""
        result: Mapping[str, Any] = (await self._ask({"op": "call", "name": name, "arguments": arguments}))["result"]
        return result

    async def _ask(self, frame: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            async with self._connected() as connection:
                await connection.send({**frame, "id": next(self._numbers)})
                return _checked(await connection.receive())
        except (OSError, FrameError) as error:
            raise CallRefusedError(f"{GONE} ({error})") from error

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
    if frame is None:
        raise CallRefusedError(GONE)
    if frame.get("ok") is not True:
        raise CallRefusedError(str(frame.get("error") or frame.get("text") or "the gateway refused"))
    return frame


async def serve_stdio(client: GatewayClient) -> None:
    """Serve until standard input ends. Raises `CallRefusedError` at once if the gateway lets nobody in."""
    await client.tools()

    async def describe(_context: Context) -> Sequence[Mapping[str, Any]]:
        return await client.tools()

    async def call(_context: Context, name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        return await client.call(name, arguments)

    server = build_server(describe, call)
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())
