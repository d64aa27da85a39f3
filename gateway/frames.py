"""The frames of the gateway's Unix socket: one JSON object a line, in UTF-8, with a length limit."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from gateway.constants import FRAME_CLOSE_SECONDS, MAX_FRAME_BYTES


class FrameError(Exception):
    """A line was no frame. `str()` says what is wrong; `fatal` whether the stream can still be read."""

    def __init__(self, message: str, *, fatal: bool = False) -> None:
        super().__init__(message)
        self.fatal = fatal


def decode(line: bytes) -> dict[str, Any]:
    """The object on one line. Raises `FrameError`."""
    try:
        frame = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise FrameError("a frame must be one JSON object on one line, in UTF-8") from error
    if not isinstance(frame, dict):
        raise FrameError("a frame must be a JSON object")
    return frame


def encode(frame: Mapping[str, Any]) -> bytes:
    """One line. Escapes everything beyond ASCII, so that any text, lone surrogates included, can pass."""
    return json.dumps(frame, separators=(",", ":")).encode("ascii") + b"\n"


class StreamConnection:
    """A `FrameConnection` over asyncio streams. Open streams with `limit=MAX_FRAME_BYTES`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._sending = asyncio.Lock()

    async def receive(self) -> dict[str, Any] | None:
        """The next frame, or None once the other side has gone. Raises `FrameError`."""
        try:
            line = await self._reader.readline()
        except ValueError as error:
            raise FrameError(f"a frame may have at most {MAX_FRAME_BYTES} bytes", fatal=True) from error
        except ConnectionError:
            return None
        if not line:
            return None
        return decode(line)

    async def send(self, frame: Mapping[str, Any]) -> None:
        """Write one frame and wait until the other side keeps up. Raises ConnectionError."""
        data = encode(frame)
        async with self._sending:
            if self._writer.is_closing():
                raise ConnectionResetError("the client has gone")
            self._writer.write(data)
            await self._writer.drain()

    async def close(self) -> None:
        """Close the stream; never raises. What a client does not read in time is dropped."""
        self._writer.close()
        # A task of its own: to cancel the wait itself would leave the stream's end cancelled for whoever waits next.
        closed = asyncio.ensure_future(self._writer.wait_closed())
        closed.add_done_callback(_consume)
        done, _ = await asyncio.wait([closed], timeout=FRAME_CLOSE_SECONDS)
        if not done:
            self._writer.transport.abort()
            await asyncio.wait([closed])


async def connect(path: str) -> StreamConnection:
    """Open the socket at `path`. Raises OSError."""
    reader, writer = await asyncio.open_unix_connection(path, limit=MAX_FRAME_BYTES)
    return StreamConnection(reader, writer)


def _consume(closed: "asyncio.Future[None]") -> None:
    """How a stream ended is no news to whoever closes it."""
    if not closed.cancelled():
        closed.exception()
