"""A memory that writes down what it is handed, so that a test can see it after the program has died."""

import json
import os
from pathlib import Path

from gateway.ports import MemoryEnvironment, MemorySegment, Recall, RememberedTurn


class RecordingMemory:
    """One line of JSON for each segment, appended to the file `trace` as soon as it is taken."""

    wants_turns = False

    def __init__(self, environment: MemoryEnvironment) -> None:
        self._trace = Path(environment.options["trace"])

    async def start(self) -> None:
        pass

    async def recall(self, _request: Recall) -> str:
        return ""

    async def sync(self, _turn: RememberedTurn) -> None:
        pass

    async def extract(self, segment: MemorySegment) -> None:
        line = {
            "session": segment.session_id,
            "first": segment.first,
            "last": segment.last,
            "repeated": segment.repeated,
            "said": [message["content"] for message in segment.messages if message["role"] == "user"],
        }
        descriptor = os.open(self._trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, (json.dumps(line) + "\n").encode())
        finally:
            os.close(descriptor)

    async def forget(self, _session_id: str) -> int:
        return 0

    async def close(self) -> None:
        pass
