"""Transcripts as files, one JSON object a line: read for sessions that the database does not know."""

import json
import logging
from pathlib import Path
from typing import Any, Final

from gateway.ids import is_session_id

log = logging.getLogger(__name__)

SHOWN_OF_A_LINE: Final = 120
"""Characters of a corrupt line that the log names it by."""


def transcript_file(directory: Path, session_id: str) -> Path | None:
    """Where a session's transcript stands as a file; None for what cannot be a session's id, and so no name either."""
    return directory / f"{session_id}.jsonl" if is_session_id(session_id) else None


def read_transcript(path: Path) -> list[dict[str, Any]]:
    """The messages in a file, in order; none if it is not there, or cannot be read.

    Blank lines mean nothing. A line that is no JSON object is left out, and named in the log.
    """
    messages: list[dict[str, Any]] = []
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for number, line in enumerate(file, start=1):
                if line.strip() and (message := _parse(path, number, line)) is not None:
                    messages.append(message)
    except FileNotFoundError:
        return []
    except OSError as error:
        log.warning("%s cannot be read: %s", path, error)
    return messages


def _parse(path: Path, number: int, line: str) -> dict[str, Any] | None:
    try:
        message = json.loads(line)
        if isinstance(message, dict):
            return message
    except ValueError:
        pass
    log.warning("%s, line %d is corrupt and is left out: %.*s", path.name, number, SHOWN_OF_A_LINE, line.strip())
    return None
