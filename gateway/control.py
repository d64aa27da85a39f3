"""The gateway's Unix socket: each client's first frame names the service that it wants."""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from gateway.constants import HELLO_TIMEOUT_SECONDS, MAX_CLIENTS, MAX_FRAME_BYTES
from gateway.frames import FrameError, StreamConnection
from gateway.ports import FrameConnection, FrameHandler

log = logging.getLogger(__name__)

MAX_PATH_BYTES: Final = 107
"""The longest address of a Unix socket, by the system's `sockaddr_un`."""


class ControlError(Exception):
    """The socket cannot be opened."""


class ControlServer:
    """Takes clients and hands each to the handler of its service."""

    def __init__(self, counters: Counter[str]) -> None:
        self._handlers: dict[str, FrameHandler] = {}
        self._clients: set[asyncio.Task[Any]] = set()
        self._counters = counters

    def serve(self, service: str, handler: FrameHandler) -> None:
        """Hand the clients that name this service to this handler."""
        self._handlers[service] = handler

    @asynccontextmanager
    async def listen(self, path: Path) -> AsyncIterator[None]:
        """Listen while the context lasts. The caller holds the home's lock, so an old socket file is stale.

        Raises `ControlError`.
        """
        if len(bytes(path)) > MAX_PATH_BYTES:
            raise ControlError(f"{path} is too long for a socket's address; set a shorter HERMES_GATEWAY_HOME")
        try:
            _remove(path)
            server = await asyncio.start_unix_server(self._client, path, limit=MAX_FRAME_BYTES)
            _close_to_others(path)
        except OSError as error:
            raise ControlError(f"cannot open the socket {path}: {error}") from error
        try:
            yield
        finally:
            server.close()
            for task in self._clients:
                task.cancel()
            await asyncio.gather(*self._clients, return_exceptions=True)
            with contextlib.suppress(OSError):
                _remove(path)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        connection = StreamConnection(reader, writer)
        try:
            if len(self._clients) > MAX_CLIENTS:
                await connection.send({"op": "error", "text": "too many clients are connected"})
            else:
                await self._greet(connection)
        except ConnectionError:
            pass
        except asyncio.CancelledError:
            # The server closes; a cancelled callback would be reported as an error by asyncio's streams.
            pass
        except FrameError as error:
            with contextlib.suppress(ConnectionError):
                await connection.send({"op": "error", "text": str(error)})
        except Exception:
            log.exception("a client of the socket ended its service with an error")
            self._counters["control.errors"] += 1
        finally:
            self._clients.discard(task)
            await connection.close()

    async def _greet(self, connection: FrameConnection) -> None:
        """Find out what the client wants; a frame that is none is answered, and the client may try again."""
        while True:
            try:
                async with asyncio.timeout(HELLO_TIMEOUT_SECONDS):
                    hello = await connection.receive()
            except TimeoutError:
                await connection.send({"op": "error", "text": "no frame came; the connection is closed"})
                return
            except FrameError as error:
                await connection.send({"op": "error", "text": str(error)})
                if error.fatal:
                    return
                continue
            if hello is None:
                return
            handler = self._handlers.get(str(hello.get("service")))
            if handler is not None:
                await handler(connection, hello)
                return
            known = ", ".join(sorted(self._handlers))
            await connection.send({"op": "error", "text": f"the first frame must name a service: {known}"})


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _close_to_others(path: Path) -> None:
    path.chmod(0o600)


async def answer(connection: FrameConnection, frame: Mapping[str, Any]) -> None:
    """Send a frame to a client that may have gone."""
    with contextlib.suppress(ConnectionError):
        await connection.send(frame)
