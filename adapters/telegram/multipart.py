"""A multipart body that is read from disk as it is sent: no file is wholly in memory, no read blocks the loop."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from typing import IO, Any, Final

from adapters.telegram.constants import PIECE_BYTES

_ESCAPES: Final = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A", "\\": "%5C"})
"""How names stand in a part's header (https://html.spec.whatwg.org/#multipart-form-data)."""


class Multipart:
    """Fields, then files; a file is `(name, bytes or an open binary file, media type)`. `taken` is told of each piece
    that has left."""

    def __init__(self, fields: Mapping[str, str], files: Mapping[str, Any], taken: Callable[[], None]) -> None:
        self._taken = taken
        boundary = secrets.token_hex(16)
        self._parts: list[bytes | IO[bytes]] = []
        for name, value in fields.items():
            head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name.translate(_ESCAPES)}"\r\n\r\n'
            self._parts.append(f"{head}{value}\r\n".encode())
        for name, (file_name, content, media_type) in files.items():
            shown = str(file_name).translate(_ESCAPES)
            head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{shown}"\r\n'
            self._parts += [f"{head}Content-Type: {media_type}\r\n\r\n".encode(), content, b"\r\n"]
        self._parts.append(f"--{boundary}--\r\n".encode())
        self.headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(sum(_size(part) for part in self._parts)),
        }

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The body, piece by piece."""
        for part in self._parts:
            if isinstance(part, bytes):
                yield part
                self._taken()
                continue
            await asyncio.to_thread(part.seek, 0)
            while piece := await asyncio.to_thread(part.read, PIECE_BYTES):
                yield piece
                self._taken()


def _size(part: bytes | IO[bytes]) -> int:
    return len(part) if isinstance(part, bytes) else os.fstat(part.fileno()).st_size
