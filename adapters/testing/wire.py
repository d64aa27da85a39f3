"""Answers that go wrong on the wire: slow ones, and connections that are closed or reset instead of one."""

import asyncio
import socket
import struct
from collections.abc import Mapping
from typing import Final

from aiohttp import web

SLOW_PIECES: Final = 8
"""In how many pieces a slow body comes."""
LINGER_ZERO: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing resets the connection."""
SHUTDOWN: Final = 0.05
"""Seconds that requests under way get when a server stops."""


async def slowly(
    http: web.Request, status: int, body: bytes, headers: Mapping[str, str], seconds: float
) -> web.StreamResponse:
    """Answer a few bytes at a time, over so many seconds."""
    response = web.StreamResponse(status=status, headers=dict(headers))
    response.content_length = len(body)
    await response.prepare(http)
    size = len(body) // SLOW_PIECES + 1
    for start in range(0, len(body), size):
        await asyncio.sleep(seconds / SLOW_PIECES)
        await response.write(body[start : start + size])
    await response.write_eof()
    return response


def disconnected(http: web.Request, *, reset: bool) -> web.Response:
    """Close the connection, or reset it; the answer goes nowhere."""
    transport = http.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        if reset and connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
        transport.abort()
    return web.Response()
