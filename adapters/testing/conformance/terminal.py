"""A bare terminal on the gateway's Unix socket: what shows that one platform's trouble is its own."""

import asyncio
import itertools
import secrets
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from gateway.frames import StreamConnection, connect
from gateway.version import program_version

CLIENT: Final = "conformance"
SECONDS: Final = 20.0
"""How long an answer may take; the machine may be busy."""


class Terminal:
    """One terminal. Use as an async context manager, while the gateway runs."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._connection: StreamConnection | None = None

    async def __aenter__(self) -> Self:
        self._connection = await connect(str(self._socket))
        await self._connection.send(
            {
                "op": "hello",
                "service": "chat",
                "version": program_version(),
                "client": f"{CLIENT}-{secrets.token_hex(4)}",
            }
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._connection is not None
        await self._connection.close()

    async def ask(self, text: str) -> str:
        """Write a line; the whole answer. Raises TimeoutError, or ConnectionError if the gateway has gone."""
        assert self._connection is not None
        message_id = f"line{next(self._numbers)}"
        await self._connection.send({"op": "message", "id": message_id, "text": text})
        texts: dict[int, str] = {}
        async with asyncio.timeout(SECONDS):
            while True:
                frame = await self._next()
                grown = texts.get(frame["id"], "") if frame["op"] == "grow" else ""
                texts[frame["id"]] = grown + frame["text"]
                if frame["final"] and message_id in frame["answers"]:
                    return texts[frame["id"]]

    async def _next(self) -> dict[str, Any]:
        """The next frame that shows something; what wants to be acknowledged is."""
        assert self._connection is not None
        while (frame := await self._connection.receive()) is not None:
            if frame.get("ack"):
                await self._connection.send({"op": "ack", "id": frame["id"], "final": frame["final"]})
            if frame.get("op") in ("show", "grow"):
                return frame
        raise ConnectionResetError("the gateway ended the connection")
