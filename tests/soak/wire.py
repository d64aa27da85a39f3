"""What the soak's platform and its adapter say to each other: JSON objects, one a line, over a Unix socket.

The platform hands over `message` and hears `accepted`; it asks for a `report` and hears one. The adapter makes a
`call` (send, edit or find) and hears its `result`.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

LINE_LIMIT: Final = 1024 * 1024


async def lines(reader: asyncio.StreamReader) -> AsyncIterator[dict[str, Any]]:
    """What the other side says, until it has gone."""
    while True:
        try:
            line = await reader.readline()
        except ConnectionError:
            return
        if not line.endswith(b"\n"):
            return
        yield json.loads(line)


def put(writer: asyncio.StreamWriter, frame: Mapping[str, Any]) -> None:
    """Say something; what the other side never reads is lost with it."""
    if not writer.is_closing():
        writer.write(json.dumps(frame).encode() + b"\n")


@dataclass(frozen=True, slots=True)
class Report:
    """What the daemon's process holds. `tasks` are their names, without numbers."""

    resident_mb: float
    blocks: int
    """Blocks of memory that Python has given out."""
    tasks: list[str]
    descriptors: int
    threads: list[str]
