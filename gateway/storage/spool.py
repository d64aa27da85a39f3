"""The spool: an append-only JSONL file that takes every change while the database cannot.

Its first line names it; each further one holds what one job of the writer changed, with a sequence number. Every line
has a checksum. A line counts once it is there whole: one that was cut short had not been acknowledged to anybody.
"""

import itertools
import json
import logging
import os
import re
import secrets
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self

log = logging.getLogger(__name__)

PATTERN: Final = "spool-*.jsonl"
FORMAT: Final = 1

NAME: Final = re.compile(r"spool-(?P<began>\d{8}T\d{12}Z)-(?P<id>[0-9a-f]+)\.jsonl")
"""The name says again what the first line does, and spools in order of their names are in order of age."""

STAMP: Final = "%Y%m%dT%H%M%S%fZ"

START: Final = re.compile(rb'\{"crc":"')
"""How each line begins. Within one this cannot stand: JSON escapes the quotes of a text."""


@dataclass(frozen=True, slots=True)
class Record:
    """What one job changed: rows put and deleted, in order, as `gateway.storage.shadow` captures them."""

    seq: int
    events: Sequence[Mapping[str, Any]]


class Spool:
    """One spool file, open for appending. Not safe for use by two threads at once."""

    def __init__(self, path: Path, spool_id: str, descriptor: int, length: int, seq: int) -> None:
        self.path = path
        self.id = spool_id
        self._descriptor = descriptor
        self._length = length
        self._seq = seq
        self._torn = False

    @classmethod
    def create(cls, directory: Path, now: datetime, reason: str) -> Self:
        """Begin a new spool, durable with its name. Raises OSError."""
        spool_id = secrets.token_hex(8)
        directory.mkdir(mode=0o700, exist_ok=True)
        path = directory / f"spool-{_stamp(directory, now)}-{spool_id}.jsonl"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        spool = cls(path, spool_id, descriptor, 0, 0)
        head = {"spool": spool_id, "format": FORMAT, "began": now.astimezone(UTC).isoformat(), "reason": reason}
        try:
            spool._write(_line(_head_body(head)))
            sync_directory(directory)
        except OSError:
            spool.close()
            with suppress(OSError):  # one without a record is of no consequence
                path.unlink(missing_ok=True)
            raise
        return spool

    @classmethod
    def reopen(cls, path: Path, after: int = 0) -> Self:
        """Go on with a spool that an earlier process left; a last line that was cut short is taken off.

        Sequence numbers up to `after` are taken. Raises OSError, and ValueError for a file that is none of ours.
        """
        spool_id = spool_id_of(path)
        last = max((record.seq for record in read_records(path)), default=0)
        data = path.read_bytes()
        length = data.rfind(b"\n") + 1
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        spool = cls(path, spool_id, descriptor, length, max(last, after))
        try:
            spool._cut()
            if _parse(data[length:-1]) is not None:  # whole, and what ends it is damaged
                spool._write(data[length:-1] + b"\n")
        except OSError:
            spool.close()
            raise
        return spool

    def append(self, batch: Sequence[Sequence[str]], now: datetime) -> None:
        """Make what jobs changed durable: for each its events, as JSON texts.

        Raises OSError; then none of it counts.
        """
        at = now.astimezone(UTC).isoformat()
        lines: list[bytes] = []
        for number, events in enumerate(batch, start=self._seq + 1):
            body = f'"seq":{number},"at":"{at}","events":[{",".join(events)}]'.encode()
            lines.append(_line(body))
        self._write(b"".join(lines))
        self._seq += len(batch)

    def settle(self) -> None:
        """Take off what an append that failed has left, which is not to be read as if it had been acknowledged.

        Raises OSError if that cannot be done; it is tried again before the next append.
        """
        if self._torn:
            self._cut()

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self, data: bytes) -> None:
        """Append durably, or leave the file as it was."""
        self.settle()
        self._torn = True
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
            os.fsync(self._descriptor)
        except OSError:
            with suppress(OSError):
                self._cut()
            raise
        self._torn = False
        self._length += len(data)

    def _cut(self) -> None:
        os.ftruncate(self._descriptor, self._length)
        self._torn = False


def find_spools(directory: Path) -> list[Path]:
    """The spools in a folder, the oldest first."""
    return sorted(directory.glob(PATTERN))


def spool_id_of(path: Path) -> str:
    """The id that a spool's first line tells, or, where that is damaged, its name.

    Raises OSError, and ValueError for a file that is none of ours.
    """
    with path.open("rb") as file:
        head = _parse_head(file.readline())
    named = NAME.fullmatch(path.name)
    if head is not None and head.get("format") != FORMAT:
        raise ValueError(f"{path} was written by another version: its format is {head.get('format')}")
    if head is not None and "spool" in head:
        return str(head["spool"])
    if named is None:
        raise ValueError(f"{path} does not begin as a spool does")
    return named["id"]


def read_records(path: Path) -> Iterator[Record]:
    """The whole records of a spool, in order. Damaged lines are skipped, each named in the log. Raises OSError."""
    for number, record in _read(path):
        if record is None:
            log.error("%s, line %d is damaged and is left out; the file is kept", path.name, number)
        else:
            yield record


def damaged_lines(path: Path) -> list[int]:
    """The numbers of the lines that `read_records` leaves out. Raises OSError."""
    return [number for number, record in _read(path) if record is None]


def _read(path: Path) -> Iterator[tuple[int, Record | None]]:
    """The records of a spool with the numbers of their lines; None for what is damaged.

    Where the end of a line is damaged it runs on into the next, and both are found all the same.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if (record := _parse(line)) is not None and line.endswith(b"\n"):
                yield number, record
            elif number > 1 or _parse_head(line) is None:
                yield from ((number, record) for record in _records_in(line, path.name, number))


def _records_in(line: bytes, name: str, number: int) -> Iterator[Record | None]:
    """The records in what is no whole line; None for each part that is none."""
    starts = [match.start() for match in START.finditer(line)]
    for start, end in itertools.pairwise(sorted({0, *starts, len(line)})):
        piece = line[start:end]
        whole = piece.endswith(b"\n")
        record = _parse(piece) if whole else _parse(piece[:-1])
        if record is not None:
            yield record
        elif whole or end < len(line):
            if _parse_head(piece[:-1]) is None:
                yield None
        else:
            log.warning("%s ends within line %d: that had not been acknowledged, and does not count", name, number)


def content_of(line: bytes) -> dict[str, Any] | None:
    """What a line of a spool, or of what a merge has rejected of one, says; None for one that is damaged."""
    data = _checked(line) if START.match(line) else _json(line)
    return data if isinstance(data, dict) and line.endswith(b"\n") else None


def line_of(content: Mapping[str, Any]) -> bytes:
    """A line that says this; with a checksum, if what it was read from had one."""
    body = _head_body({name: value for name, value in content.items() if name != "crc"})
    return _line(body) if "crc" in content else b"{%s}\n" % body


def sync_directory(directory: Path) -> None:
    """Make a change of names in a folder durable. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _parse(line: bytes) -> Record | None:
    """The record of a line; None for one that is damaged, or is none."""
    data = _checked(line)
    try:
        return None if data is None else Record(int(data["seq"]), data["events"])
    except (ValueError, LookupError, TypeError):
        return None


def _parse_head(line: bytes) -> Mapping[str, Any] | None:
    """What a first line says; None if it is damaged. Those of earlier versions have no checksum."""
    data = _checked(line) if START.match(line) else _json(line)
    return data if isinstance(data, dict) and {"spool", "format"} & data.keys() else None


def _checked(line: bytes) -> Any:  # noqa: ANN401 - whatever JSON holds
    """What a line with a checksum says; None if that does not fit."""
    head, comma, body = line.rstrip(b"\n").partition(b",")
    if not comma or head != b'{"crc":"%08x"' % zlib.crc32(body.removesuffix(b"}")):
        return None
    return _json(line)


def _json(line: bytes) -> Any:  # noqa: ANN401 - whatever JSON holds
    try:
        return json.loads(line)
    except ValueError:
        return None


def _line(body: bytes) -> bytes:
    """A line with its checksum, of the members of a JSON object."""
    return b'{"crc":"%08x",%s}\n' % (zlib.crc32(body), body)


def _head_body(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, ensure_ascii=False).encode("utf-8", "backslashreplace")[1:-1]


def _stamp(directory: Path, now: datetime) -> str:
    """When a new spool begins, for its name: later than all that are there, also where the clock was put back."""
    began = now.astimezone(UTC)
    names = [named["began"] for path in find_spools(directory) if (named := NAME.fullmatch(path.name))]
    for name in names[-1:]:
        with suppress(ValueError, OverflowError):
            latest = datetime.strptime(name, STAMP).replace(tzinfo=UTC)
            began = max(began, latest + timedelta(microseconds=1))
    return began.strftime(STAMP)
