"""Transcripts as files, one JSON object a line: read for sessions that the database does not know, written as a mirror.

A line of the mirror is the message with two keys more: `timestamp`, when it was stored (ISO 8601), and `id`, the number
by which the mirror knows that it is there. Keys of the message itself that are named like these are kept in `original`.
The ids in a file rise, and it is only ever appended to, or replaced as a whole.
"""

import errno
import json
import logging
import os
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

from gateway.ids import is_session_id

log = logging.getLogger(__name__)

SHOWN_OF_A_LINE: Final = 120
"""Characters of a corrupt line that the log names it by."""

ADDED_KEYS: Final = ("timestamp", "id", "original")
"""What the mirror adds to a message."""

TAIL_BYTES: Final = 4096
"""How much is read of the end of a file at first, in search of its last line; most lines are shorter."""

_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(", ", ": ")).encode


# --- reading -----------------------------------------------------------------------------------------------


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
    except (ValueError, RecursionError):
        pass
    log.warning("%s, line %d is corrupt and is left out: %.*s", path.name, number, SHOWN_OF_A_LINE, line.strip())
    return None


# --- the mirror --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ends:
    """The first and the last message in a file, by number, as far as whole lines of the mirror stand there.

    `length` is where the last whole line ends, in bytes; `torn`: something stands behind it.
    """

    first: int | None = None
    last: int | None = None
    length: int = 0
    torn: bool = False


def mirror_line(message: Mapping[str, Any], number: int, time: datetime) -> bytes:
    """A message as a line of the mirror."""
    line = {name: value for name, value in message.items() if name not in ADDED_KEYS}
    original = {name: message[name] for name in ADDED_KEYS if name in message}
    if original:
        line["original"] = original
    line |= {"timestamp": time.isoformat(), "id": number}
    # A lone surrogate has no UTF-8; its escape is JSON as well.
    return _encode(line).encode("utf-8", "backslashreplace") + b"\n"


def ends_of(path: Path) -> Ends | None:
    """What stands at both ends of a file; None if it is not there. Raises OSError."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length, last = _last_line(file, size)
            file.seek(0)
            first = file.readline() if length else b""
    except FileNotFoundError:
        return None
    return Ends(_number(first), _number(last), length, torn=length < size)


def _last_line(file: BinaryIO, size: int) -> tuple[int, bytes]:
    """Where the last whole line ends, and the line."""
    span = TAIL_BYTES
    while True:
        start = max(0, size - span)
        file.seek(start)
        tail = file.read(size - start)
        end = tail.rfind(b"\n") + 1
        begin = tail.rfind(b"\n", 0, max(end - 1, 0)) + 1
        if start == 0 or (end and begin):
            return start + end if end else 0, tail[begin:end]
        span *= 8


def _number(line: bytes) -> int | None:
    """The message's number in a line of the mirror; None for any other line."""
    try:
        number = json.loads(line)["id"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return number if type(number) is int else None


def append_lines(path: Path, lines: Iterable[bytes], length: int) -> None:
    """Append lines to a file, readable by its owner alone, after what is whole of it. Raises OSError.

    After an error it is as it was, without what was torn.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if stat.S_IMODE(os.fstat(descriptor).st_mode) != 0o600:
            os.fchmod(descriptor, 0o600)
        os.ftruncate(descriptor, length)
        os.lseek(descriptor, length, os.SEEK_SET)
        try:
            rest = memoryview(b"".join(lines))
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        except OSError:
            with suppress(OSError):
                os.ftruncate(descriptor, length)
            raise
    finally:
        os.close(descriptor)


def partial_file(path: Path) -> Path:
    """Where a file's successor grows. It goes by the session's name, so that whoever removes a session finds it."""
    return path.with_suffix(".partial")


def replace_file(path: Path, *, keep: bool) -> Path | None:
    """Put the file that has grown beside it in a file's place, at once. Raises OSError.

    `keep`: the old one goes by another name from now on, which is returned; it is the session's still.
    """
    partial, kept = partial_file(path), None
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    if keep:
        kept = _unused_name(path)
        path.rename(kept)
    partial.replace(path)
    return kept


def _unused_name(path: Path) -> Path:
    number = 1
    while (kept := path.with_suffix(f".kept-{number}")).exists():
        number += 1
    return kept


def is_own_fault(path: Path, error: OSError) -> bool:
    """Whether an error comes from this file as it is, so that others can be written all the same."""
    faults = (errno.EISDIR, errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENXIO)
    return error.errno in faults and os.path.lexists(path)
