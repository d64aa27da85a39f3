"""The messages of a Hermes home, from JSONL files and from rows of its database, as this gateway's store has them."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any, Final

from gateway.constants import MAX_FRAME_BYTES
from gateway.importing.problems import Problem
from gateway.importing.records import ImportedMessage
from gateway.session.errors import InvalidMessage
from gateway.session.jsonl import SHOWN_OF_A_LINE
from gateway.session.messages import message_row
from gateway.storage.codec import to_micros

NOT_SAID: Final = frozenset({"session_meta"})
"""Roles of lines that describe the session to its program: tools, the model."""

KEPT: Final = ("tool_calls", "tool_call_id", "tool_name")
"""What a message has here besides its role and content."""

OURS: Final = ("path", "origin")
"""What an image here has to say where its file is, and where that came from."""

JSON_CONTENT: Final = "\0json:"
"""How a content begins in the database that is no plain text."""

MAX_MESSAGE_BYTES: Final = MAX_FRAME_BYTES - 256 * 1024
"""The largest message that comes in, as JSON: it has to fit a frame of the socket."""

MAX_LINE_BYTES: Final = 4 * MAX_FRAME_BYTES
"""The longest line that is read into memory."""

LATEST: Final = 253_402_300_799
"""The last second of the year 9999, in seconds since 1970 UTC: what lies beyond is no time."""

MILLISECONDS: Final = 100_000_000_000
"""A number of seconds beyond this, in the year 5138, is one of milliseconds."""

Report = Callable[[Problem], None]
"""Is told what cannot be used."""


@dataclass(frozen=True, slots=True)
class Span:
    """How many messages there are, and when the first and the last were said, in microseconds, where it is told."""

    count: int = 0
    first: int | None = None
    last: int | None = None


def micros(value: object, zone: tzinfo) -> int | None:
    """An instant, given in seconds (or milliseconds) since 1970 UTC or in ISO 8601, in microseconds; None for what is
    none. `zone` is that of a time that names none."""
    if isinstance(value, bool):
        return None
    try:
        if isinstance(value, int | float):
            seconds = value / 1000 if abs(value) > MILLISECONDS else value
            return round(seconds * 1_000_000) if 0 < seconds <= LATEST else None
        if isinstance(value, str) and value:
            instant = datetime.fromisoformat(value)
            return to_micros((instant if instant.tzinfo else instant.replace(tzinfo=zone)).astimezone(UTC))
    except (ValueError, OverflowError):
        pass
    return None


def to_message(raw: Mapping[str, Any], at: int, where: str, report: Report) -> ImportedMessage | None:
    """A message as the store has it; None for what is none, or cannot be stored, which is reported."""
    role = raw.get("role")
    if isinstance(role, str) and role in NOT_SAID:
        return None
    content = raw.get("content")
    message: dict[str, Any] = {
        "role": role if isinstance(role, str) and role else "unknown",
        "content": "" if content is None else _without_files(content),
    }
    message |= {name: raw[name] for name in KEPT if raw.get(name)}
    if message["role"] == "tool" and "tool_name" not in message and isinstance(raw.get("name"), str):
        message["tool_name"] = raw["name"]
    try:
        row = message_row(message)
    except InvalidMessage as error:
        report(Problem(where, f"cannot be stored ({error.problem}), and was left out"))
        return None
    if sum(len(part) for part in row if part) * 6 > MAX_MESSAGE_BYTES and len(json.dumps(row)) > MAX_MESSAGE_BYTES:
        report(Problem(where, f"is larger than {MAX_MESSAGE_BYTES // 1024 // 1024} MiB, and was left out"))
        return None
    return ImportedMessage(role=row[0], content=row[1], data=row[2], at=at)


def _without_files(content: object) -> object:
    """The content; what would make an image in it one of the gateway's own is left out. By that, whoever goes on with
    the session would be shown a file of somebody else's, or one that only the bot can fetch."""
    if not isinstance(content, list):
        return content
    return [
        {name: value for name, value in part.items() if name not in OURS}
        if isinstance(part, dict) and part.get("type") == "image"
        else part
        for part in content
    ]


def from_row(row: Mapping[str, Any], at: int, where: str, report: Report) -> ImportedMessage | None:
    """A row of the database as a message."""
    raw = dict(row)
    content, calls = raw.get("content"), raw.get("tool_calls")
    if isinstance(content, str) and content.startswith(JSON_CONTENT):
        raw["content"] = _parsed(content.removeprefix(JSON_CONTENT), content)
    if isinstance(calls, str):
        raw["tool_calls"] = _parsed(calls, None)
        if raw["tool_calls"] is None and calls.strip() not in ("", "null"):
            report(Problem(where, "its tool calls are no JSON, and were left out"))
    return to_message(raw, at, where, report)


def _parsed(text: str, otherwise: object) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return otherwise


def span_of(path: Path, zone: tzinfo, report: Report) -> Span:
    """Look through a JSONL file once; every line that is no message is reported. An unreadable file has none."""
    count, times = 0, []
    try:
        for number, raw in _lines(path, report):
            at = micros(raw.get("timestamp"), zone)
            if at is not None:
                times.append(at)
            count += to_message(raw, at or 0, f"{path.name}, line {number}", report) is not None
    except OSError as error:
        report(Problem(path.name, f"cannot be read ({error.strerror})"))
    return Span(count, min(times, default=None), max(times, default=None))


def from_file(path: Path, begin: int, zone: tzinfo) -> Iterator[ImportedMessage]:
    """The messages in a JSONL file. One without a time was said when the one before was, the first at `begin`.

    What cannot be used is left out silently: `span_of` has reported it. Raises OSError.
    """
    at = begin
    for number, raw in _lines(path, _silent):
        at = micros(raw.get("timestamp"), zone) or at
        message = to_message(raw, at, f"{path.name}, line {number}", _silent)
        if message is not None:
            yield message


def _lines(path: Path, report: Report) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_LINE_BYTES):
            number += 1
            if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
                while (rest := file.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                    pass
                report(Problem(f"{path.name}, line {number}", "is too long to be a message, and was left out"))
            elif line.strip():
                raw = _parsed(line.decode("utf-8-sig", "replace"), None)
                if isinstance(raw, dict):
                    yield number, raw
                else:
                    shown = line.decode("utf-8", "replace").strip()[:SHOWN_OF_A_LINE]
                    report(Problem(f"{path.name}, line {number}", f"is corrupt, and was left out: {shown}"))


def _silent(_problem: Problem) -> None:
    """It has been reported already."""
