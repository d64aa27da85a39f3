"""The pages of a SQLite file, read without SQLite: what is left of one that SQLite refuses.

Follows https://www.sqlite.org/fileformat2.html. Nothing is trusted: a number that cannot be right is a fault, which
costs the cell or the page that it stands in and nothing else. The file is never written.
"""

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeAlias

Value: TypeAlias = int | float | str | bytes | None

MAGIC: Final = b"SQLite format 3\0"
HEADER_BYTES: Final = 100
USUAL_PAGE_SIZE: Final = 4096
PAGE_SIZES: Final = tuple(1 << power for power in range(9, 17))

INDEX_INTERIOR: Final = 0x02
TABLE_INTERIOR: Final = 0x05
INDEX_LEAF: Final = 0x0A
TABLE_LEAF: Final = 0x0D
TABLE_KINDS: Final = frozenset({TABLE_INTERIOR, TABLE_LEAF})
INDEX_KINDS: Final = frozenset({INDEX_INTERIOR, INDEX_LEAF})
INTERIORS: Final = frozenset({TABLE_INTERIOR, INDEX_INTERIOR})

WAL_MAGIC: Final = {0x377F0682: "<", 0x377F0683: ">"}
"""The first word of a write-ahead log, and the byte order of its checksums."""

WAL_HEADER_BYTES: Final = 32
FRAME_HEADER_BYTES: Final = 24
SAMPLE_BYTES: Final = 4 * 1024 * 1024
"""How much of the file is looked at to find out how large a page is."""

READ_CACHE: Final = 64
"""Pages kept in memory, as a tree's cells and their overflow pages are read more than once."""


class FaultError(Exception):
    """What was read cannot be what was written."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A row or an index entry, and the page it is on. `complete` is False where some of its content is lost."""

    page: int
    rowid: int
    values: Sequence[Value]
    complete: bool


@dataclass(slots=True)
class Walk:
    """What a walk through a tree has seen, and what was wrong there. `on_page` is called for each page."""

    seen: set[int] = field(default_factory=set)
    overflow: set[int] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    on_page: Callable[[], None] = lambda: None


class PageFile:
    """A database file with what its write-ahead log adds to it. Pages are numbered from 1.

    Raises OSError where the file cannot be opened. A page that cannot be read counts as zeros.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._log: int | None = None
        try:
            self._size = os.fstat(self._descriptor).st_size
            self._header = self._read(0, HEADER_BYTES)
            log = path.with_name(path.name + "-wal")
            if log.exists():
                self._log = os.open(log, os.O_RDONLY | os.O_CLOEXEC)
            self._cache: dict[int, bytes] = {}
            self._frames: dict[int, int] = {}
            self.page_size = self._log_page_size() or self._find_page_size()
            self._frames, committed = self._read_log()
            if 1 in self._frames:
                self._header = self.page(1)[:HEADER_BYTES]
            self.has_header = self._header[: len(MAGIC)] == MAGIC
            self.usable = self.page_size - (self._header[20] if self.has_header and self._header[20] <= 32 else 0)
            self.count = max(-(-self._size // self.page_size), committed, *self._frames, 0)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        os.close(self._descriptor)
        if self._log is not None:
            os.close(self._log)

    @property
    def user_version(self) -> int:
        """The schema that the header names, 0 where it cannot be read."""
        return int.from_bytes(self._header[60:64], "big") if self.has_header else 0

    def page(self, number: int) -> bytes:
        """A page's bytes; zeros for what the file does not hold."""
        known = self._cache.get(number)
        if known is not None:
            return known
        if number in self._frames and self._log is not None:
            data = _read_at(self._log, self._frames[number], self.page_size)
        else:
            data = self._read((number - 1) * self.page_size, self.page_size)
        if len(self._cache) >= READ_CACHE:
            self._cache.clear()
        self._cache[number] = data
        return data

    def kind(self, number: int) -> int:
        """The kind of b-tree page that this says it is."""
        return self.page(number)[HEADER_BYTES if number == 1 else 0]

    def free_pages(self) -> set[int]:
        """Pages that are in use no more; what they hold was deleted."""
        free: set[int] = set()
        trunk = int.from_bytes(self._header[32:36], "big") if self.has_header else 0
        while 1 < trunk <= self.count and trunk not in free:
            free.add(trunk)
            page = self.page(trunk)
            trunk, number = struct.unpack_from(">II", page)
            number = min(number, self.page_size // 4 - 2)
            free.update(leaf for leaf in struct.unpack_from(f">{number}I", page, 8) if 1 < leaf <= self.count)
        return free

    # --- trees -------------------------------------------------------------------------------------------

    def walk(self, root: int, kinds: frozenset[int], walk: Walk) -> Iterator[Cell]:
        """Every cell with content of the tree under `root`; what is broken is noted in `walk` and left out."""
        for number, kind in self.tree(root, kinds, walk):
            walk.on_page()
            if kind != TABLE_INTERIOR:
                yield from self.cells(number, walk)

    def tree(self, root: int, kinds: frozenset[int], walk: Walk) -> Iterator[tuple[int, int]]:
        """The pages of the tree under `root`, each with its kind, without those of what overflows."""
        waiting = [root]
        while waiting:
            number = waiting.pop()
            if not 1 <= number <= self.count or number in walk.seen:
                walk.faults.append(f"page {number} is referred to where it cannot belong")
                continue
            walk.seen.add(number)
            kind = self.kind(number)
            if kind not in kinds:
                walk.faults.append(f"page {number} is not a page of a table or index")
                continue
            if kind in INTERIORS:
                waiting.extend(reversed(self._children(number, walk)))
            yield number, kind

    def cells(self, number: int, walk: Walk) -> Iterator[Cell]:
        """The cells of one page that can be read."""
        for offset in self._cell_offsets(number, walk):
            try:
                yield self._cell(number, offset, walk)
            except (FaultError, IndexError, struct.error):
                walk.faults.append(f"page {number} has a cell that cannot be read")

    def _children(self, number: int, walk: Walk) -> list[int]:
        page, start = self.page(number), HEADER_BYTES if number == 1 else 0
        children = [int.from_bytes(page[offset : offset + 4], "big") for offset in self._cell_offsets(number, walk)]
        return [*children, int.from_bytes(page[start + 8 : start + 12], "big")]

    def _cell_offsets(self, number: int, walk: Walk) -> list[int]:
        page, start = self.page(number), HEADER_BYTES if number == 1 else 0
        cells = int.from_bytes(page[start + 3 : start + 5], "big")
        first = start + (12 if page[start] in INTERIORS else 8)
        room = (self.usable - first) // 2
        if cells > room:
            walk.faults.append(f"page {number} cannot hold {cells} cells")
            cells = room
        offsets = struct.unpack_from(f">{cells}H", page, first)
        good = [offset for offset in offsets if first + 2 * cells <= offset < self.usable - 3]
        if len(good) < cells:
            walk.faults.append(f"page {number} has a cell outside of itself")
        return list(dict.fromkeys(good))

    def _cell(self, number: int, offset: int, walk: Walk) -> Cell:
        page = self.page(number)
        kind = page[HEADER_BYTES if number == 1 else 0]
        if kind == INDEX_INTERIOR:
            offset += 4
        size, offset = _varint(page, offset)
        rowid = 0
        if kind == TABLE_LEAF:
            rowid, offset = _varint(page, offset)
        if size < 1 or size > self.count * self.page_size:
            raise FaultError
        payload, complete = self._payload(page, offset, size, walk, is_table=kind == TABLE_LEAF)
        values, whole = _record(payload, size)
        return Cell(number, _signed(rowid), values, complete and whole)

    def _payload(self, page: bytes, offset: int, size: int, walk: Walk, *, is_table: bool) -> tuple[bytes, bool]:
        """A cell's content as far as it is there, and whether that is all of it."""
        usable = self.usable
        most = usable - 35 if is_table else (usable - 12) * 64 // 255 - 23
        if size <= most:
            local = size
        else:
            least = (usable - 12) * 32 // 255 - 23
            local = least + (size - least) % (usable - 4)
            local = local if local <= most else least
        if offset + local > usable:
            raise FaultError
        parts = [page[offset : offset + local]]
        if local == size:
            return parts[0], True
        following = int.from_bytes(page[offset + local : offset + local + 4], "big")
        missing, chain = size - local, set[int]()
        while missing > 0:
            if not 1 < following <= self.count or following in chain:
                return b"".join(parts), False
            chain.add(following)
            walk.overflow.add(following)
            overflow = self.page(following)
            following = int.from_bytes(overflow[:4], "big")
            if (missing > usable - 4 and not following) or not any(overflow):
                return b"".join(parts), False
            parts.append(overflow[4 : 4 + min(missing, usable - 4)])
            missing -= usable - 4
        return b"".join(parts), True

    # --- the file, the log -------------------------------------------------------------------------------

    def _read(self, offset: int, size: int) -> bytes:
        return _read_at(self._descriptor, offset, size)

    def _find_page_size(self) -> int:
        """What the header says if pages of that size make sense, else the size that makes the most sense."""
        named = int.from_bytes(self._header[16:18], "big")
        named = 65536 if named == 1 else named
        candidates = dict.fromkeys([named, USUAL_PAGE_SIZE, *PAGE_SIZES])
        return max((size for size in candidates if size in PAGE_SIZES), key=self._well_formed)

    def _well_formed(self, size: int) -> int:
        """How many pages of the sample look like leaves, if pages have this size."""
        found = 0
        for offset in range(size, min(SAMPLE_BYTES, self._size - size + 1), size):
            head = self._read(offset, 10)
            cells, content = struct.unpack_from(">HH", head, 3)
            first = int.from_bytes(head[8:10], "big")
            found += head[0] in (TABLE_LEAF, INDEX_LEAF) and 8 + 2 * cells <= (content or 65536) <= first < size
        return found

    def _log_page_size(self) -> int | None:
        if self._log is None:
            return None
        head = _read_at(self._log, 0, WAL_HEADER_BYTES)
        magic, _version, size = struct.unpack_from(">III", head)
        size = 65536 if size == 1 else size
        return size if magic in WAL_MAGIC and size in PAGE_SIZES else None

    def _read_log(self) -> tuple[dict[int, int], int]:
        """Where the log has the last committed state of each page, and how many pages the database has by it.

        A frame whose checksum is wrong is left out alone: the next one's goes on from what stands in it.
        """
        if self._log is None:
            return {}, 0
        head = _read_at(self._log, 0, WAL_HEADER_BYTES)
        magic, _, _, _, salt_1, salt_2, *checksum = struct.unpack(">8I", head)
        order = WAL_MAGIC.get(magic)
        if order is None:
            return {}, 0
        committed: dict[int, int] = {}
        pending: dict[int, int] = {}
        pages = 0
        end = os.fstat(self._log).st_size
        step = FRAME_HEADER_BYTES + self.page_size
        for offset in range(WAL_HEADER_BYTES, end - step + 1, step):
            frame = _read_at(self._log, offset, step)
            number, after, *rest = struct.unpack_from(">6I", frame)
            if rest[:2] != [salt_1, salt_2]:
                break
            good = _checksum(order, checksum, frame[:8] + frame[FRAME_HEADER_BYTES:]) == rest[2:]
            checksum = rest[2:]
            if not good:
                continue
            pending[number] = offset + FRAME_HEADER_BYTES
            if after:
                committed |= pending
                pending, pages = {}, after
        return committed, pages


def _read_at(descriptor: int, offset: int, size: int) -> bytes:
    """Bytes of a file; zeros for those that are not there or that the disk does not give."""
    try:
        data = os.pread(descriptor, size, offset)
    except OSError:
        data = b""
    return data if len(data) == size else data + bytes(size - len(data))


def _checksum(order: str, start: Sequence[int], data: bytes) -> list[int]:
    first, second = start
    words = iter(struct.unpack(f"{order}{len(data) // 4}I", data))
    for left, right in zip(words, words, strict=True):
        first = (first + left + second) & 0xFFFFFFFF
        second = (second + right + first) & 0xFFFFFFFF
    return [first, second]


def _varint(data: bytes, offset: int) -> tuple[int, int]:
    value = data[offset]
    if value < 0x80:
        return value, offset + 1
    value = 0
    for index in range(offset, offset + 8):
        byte = data[index]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, index + 1
    return value << 8 | data[offset + 8], offset + 9


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


_WIDTHS: Final = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)


def _record(payload: bytes, size: int) -> tuple[list[Value], bool]:
    """The values of a record of `size` bytes of which the first are there; the one that is cut is as far as it goes.

    A text that is not UTF-8 has U+FFFD where it is not. The second part of the answer says whether all is there
    and as it should be.
    """
    end, offset = (payload[0], 1) if payload[0] < 0x80 else _varint(payload, 0)
    if end > len(payload) or end < offset:
        raise FaultError
    values, whole, begin = list[Value](), True, end
    while offset < end:
        code = payload[offset]
        if code < 0x80:
            offset += 1
        else:
            code, offset = _varint(payload, offset)
        if code >= 12:
            after = begin + (code - 12 >> 1)
        elif code < 10:
            after = begin + _WIDTHS[code]
        else:
            raise FaultError
        raw = payload[begin:after]
        cut, begin = len(raw) < after - begin, after
        if cut:
            whole = False
            values.append(raw.decode("utf-8", "ignore") if raw and code >= 13 and code % 2 else None)
        elif 1 <= code <= 6:
            values.append(int.from_bytes(raw, "big", signed=True))
        else:
            value, good = _value(code, raw)
            whole = whole and good
            values.append(value)
    if offset != end or begin != size:
        raise FaultError
    return values, whole


def _value(code: int, raw: bytes) -> tuple[Value, bool]:
    if code == 0:
        return None, True
    if code in (8, 9):
        return code - 8, True
    if code == 7:
        (number,) = struct.unpack(">d", raw)
        return float(number), True
    if code < 7:
        return int.from_bytes(raw, "big", signed=True), True
    if code % 2 == 0:
        return raw, True
    try:
        return raw.decode(), True
    except UnicodeDecodeError:
        return raw.decode("utf-8", "replace"), False
