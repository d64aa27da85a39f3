"""What is left of a session in a home outside of the database: its own files, copies of the database, the history.

Runs in a thread: it reads every file of the home that could hold something of the session.
"""

import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from config import Home
from gateway.constants import SQLITE_BUSY_SECONDS
from gateway.lock import LockHeldError, hold
from gateway.session.removal import Doomed, remove_traces
from gateway.session.spool_removal import without_session
from gateway.storage import upkeep
from gateway.storage.backup import GZIP_MAGIC, make_backup, unpack
from gateway.storage.checks import newest_schema
from gateway.storage.errors import StorageError
from gateway.storage.migrate import bring_up
from gateway.storage.spool import PATTERN as SPOOLS
from gateway.storage.spool import sync_directory
from gateway.storage.words import define_words

MAGIC: Final = b"SQLite format 3\0"
"""How a database begins (https://www.sqlite.org/fileformat.html)."""

TAR_MAGIC: Final = b"ustar"
TAR_MAGIC_AT: Final = 257
"""What stands where in the beginning of a tar file (POSIX.1-1988)."""

PACKED: Final = (b"PK\x03\x04", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ", b"BZh", b"7z\xbc\xaf")
"""How zip, zstd, xz, bzip2 and 7z archives begin: the gateway writes none, and does not look through them."""

SIDE_FILES: Final = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a database, named like it with one of these at the end."""

DAMAGED: Final = ".damaged-"
"""Stands in the name of a database that was set aside because it is damaged."""

LINES: Final = (".jsonl", ".md")
"""How the names of files end in which each line that is from a session names it: transcripts, and notes."""

HISTORY: Final = "chat_history"
"""What was typed into the terminal; an entry is a comment line with its time, and its lines, each after a "+"."""

TELLING: Final = 16
"""Characters that an id has at least for its bytes, found anywhere in a damaged database, to tell of its session."""

CHUNK: Final = 1024 * 1024

UNPACKED: Final = ".purge-"
"""How the name of a folder begins in which a backup lies unpacked while it is cleaned."""

LOCK: Final = "purge.lock"
"""The file in the home that whoever unpacks backups there holds locked, and then nobody removes their folders."""


@dataclass(slots=True)
class Leftovers:
    """What was done with files of the home, each by its path in it: `rewritten` without the session, or `removed`.

    `unread` could be neither looked through nor changed.
    """

    rewritten: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


def waiting_spools(home: Home) -> list[Path]:
    """Files with changes that are not in the database yet."""
    return sorted(home.sessions_dir.glob(SPOOLS))


def remove_session_files(folders: Iterable[Path], session_id: str) -> None:
    """Remove what is a session's own in these folders: named by its id, with or without an ending. Raises OSError."""
    for folder in folders:
        if not folder.is_dir():
            continue
        for path in folder.iterdir():
            if session_id not in (path.name, path.stem):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def clean(home: Home, doomed: Doomed) -> Leftovers:
    """Take a session out of every file in the home but the database itself.

    Its own files are removed; copies of the database, backups and files of lines are written anew without it. A copy
    that cannot be is removed. What people wrote in it goes from the terminal's history. Raises OSError for what cannot
    be changed, with its name, and `LockHeldError` while the home is being cleaned already.
    """
    with hold(home.path / LOCK, "a purge"):
        _remove_unpacked(home)
        cleaner = _Cleaner(home.path, doomed, in_use=home.sessions_dir)
        cleaner.clean_tree(home.path, own=_own_files(home), skipped=home.logs_dir, media=home.media_dir)
        cleaner.clean_history(home.path / HISTORY, doomed.texts)
    return cleaner.done


def remove_unpacked(home: Home) -> None:
    """Remove what a purge that was killed has left unpacked; nothing while one is at work. Raises OSError."""
    if any(_unpacked(home)):
        with suppress(LockHeldError), hold(home.path / LOCK, "the removal of what a purge has left"):
            _remove_unpacked(home)


def _remove_unpacked(home: Home) -> None:
    for folder in list(_unpacked(home)):
        shutil.rmtree(folder)
        sync_directory(folder.parent)


def _unpacked(home: Home) -> Iterator[Path]:
    """The folders with unpacked backups, each beside its backup: nobody looks for one among media and logs."""
    for parent, folders, _names in os.walk(home.path):
        found = [path for name in folders if not (path := Path(parent, name)).is_symlink()]
        yield from (path for path in found if path.name.startswith(UNPACKED))
        skipped = (home.media_dir, home.logs_dir)
        folders[:] = [path.name for path in found if not path.name.startswith(UNPACKED) and path not in skipped]


def _own_files(home: Home) -> frozenset[Path]:
    """What is in use, and the history, of which more is known than a session's id."""
    database = (home.database.with_name(home.database.name + end) for end in SIDE_FILES)
    return frozenset({home.database, *database, home.lock, home.socket, home.config_file, home.path / HISTORY})


class _Cleaner:
    """Takes one session out of the files below a folder; paths in `done` are relative to `root`.

    `in_use` is the folder in which the gateway may be writing a spool.
    """

    def __init__(self, root: Path, doomed: Doomed, in_use: Path | None = None) -> None:
        self._root = root
        self._doomed = doomed
        self._in_use = in_use
        marks = (*doomed.ids, *doomed.turns)
        self._quoted = tuple(f'"{mark}"'.encode() for mark in marks)
        self._telling = tuple(mark.encode() for mark in marks if len(mark) >= TELLING)
        self.done = Leftovers()

    def clean_tree(
        self,
        folder: Path,
        *,
        own: frozenset[Path] = frozenset(),
        skipped: Path | None = None,
        media: Path | None = None,
    ) -> None:
        """Clean a folder with what is below it; not the `own` files, and not the folder `skipped`."""
        for parent, folders, names in os.walk(folder):
            for name in list(folders):
                path = Path(parent, name)
                if name in self._doomed.ids:
                    self._remove(path)
                if name in self._doomed.ids or path == skipped:
                    folders.remove(name)
            for name in sorted(names):
                path = Path(parent, name)
                if path not in own and path.is_file() and not path.is_symlink():
                    with suppress(FileNotFoundError):  # the gateway, which runs, has removed it itself
                        self._clean_file(path, is_media=media is not None and path.is_relative_to(media))

    def _clean_file(self, path: Path, *, is_media: bool) -> None:
        with path.open("rb") as file:
            head = file.read(TAR_MAGIC_AT + len(TAR_MAGIC))
        if any(name in (path.name, path.stem) for name in self._doomed.ids):
            self._remove(path)
        elif path.name.endswith(SIDE_FILES):
            if self._is_left_log(path):
                self._remove(path)
        elif DAMAGED in path.name:
            if any(_holds(part, self._telling) for part in _whole(path)):
                self._remove(path)
        elif head.startswith(MAGIC):
            self._clean_copy(path)
        elif head.endswith(TAR_MAGIC) or head.startswith(GZIP_MAGIC):
            if not is_media:
                self._clean_backup(path)
        elif head.startswith(PACKED) and not is_media:
            self.done.unread.append(self._name(path))
        elif path.match(f"*{SPOOLS}"):
            # One that is in use is not written anew under the gateway's hands: it is in the database first.
            if not (path.match(SPOOLS) and path.parent == self._in_use):
                self._clean_spool(path)
        elif path.suffix in LINES and _holds(path, self._quoted):
            _without_lines(path, self._quoted)
            self.done.rewritten.append(self._name(path))

    def _clean_spool(self, path: Path) -> None:
        """Write a spool anew without what it tells of the session."""
        with path.open("rb") as file:
            lines = list(file)
        kept = without_session(lines, self._doomed)
        if kept != lines:
            _write_whole(path, kept)
            self.done.rewritten.append(self._name(path))

    def _is_left_log(self, path: Path) -> bool:
        """Whether this is what stood beside a database of ours that is gone: what is in it is in the database in use.

        Which sessions pages of it belong to cannot be told of each.
        """
        kept_with = path.with_name(path.name.rpartition("-")[0])
        return path.name.startswith(Home(self._root).database.name) and not kept_with.exists()

    def _clean_copy(self, path: Path) -> None:
        """Write a copy of the database anew without the session, and without what it once held and has deleted."""
        try:
            if rewrite_copy(path, self._doomed):
                self.done.rewritten.append(self._name(path))
        except sqlite3.Error:
            self._remove(path)

    def _clean_backup(self, path: Path) -> None:
        """Unpack a backup, clean what is in it, and pack it again as of the same time."""
        with TemporaryDirectory(prefix=UNPACKED, dir=path.parent) as folder:
            inside, anew = Home(Path(folder, "home")), Path(folder, f"anew-{path.name}")
            inside.path.mkdir(mode=0o700)
            try:
                manifest = unpack(path, inside.path, newest_schema=newest_schema())
                rewrite_copy(inside.database, self._doomed)
                within = _Cleaner(inside.path, self._doomed)
                within.clean_tree(inside.path, own=_own_files(inside), media=inside.media_dir)
                make_backup(inside, anew, manifest.created_at)
            except (StorageError, sqlite3.Error):
                self.done.unread.append(self._name(path))
                return
            anew.replace(path)
            sync_directory(path.parent)
        self.done.rewritten.append(self._name(path))

    def clean_history(self, path: Path, texts: frozenset[str]) -> None:
        """Take entries that are one of these texts out of the terminal's history."""
        try:
            lines = path.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return
        kept = list(_entries_without(lines, texts))
        if len(kept) < len(lines):
            _write_whole(path, kept)
            self.done.rewritten.append(self._name(path))

    def _remove(self, path: Path) -> None:
        """Remove a file or a folder, and what SQLite keeps beside it."""
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            for each in _whole(path):
                each.unlink(missing_ok=True)
        sync_directory(path.parent)
        self.done.removed.append(self._name(path))

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self._root))


def rewrite_copy(path: Path, doomed: Doomed) -> bool:
    """Write a copy of the database anew without the session; False if it is the database of another program.

    Raises `sqlite3.Error`.
    """
    with closing(sqlite3.connect(path, timeout=SQLITE_BUSY_SECONDS, isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        define_words(connection)
        if connection.execute(upkeep.IS_GATEWAY).fetchone() is None:
            return False
        connection.execute(upkeep.KEEP_JOURNAL_APART)
        connection.execute(upkeep.IGNORE_FOREIGN_KEYS)
        bring_up(connection)  # what removes a session knows this version's tables alone
        connection.execute("BEGIN IMMEDIATE")
        remove_traces(connection, doomed)
        connection.execute(upkeep.OPTIMIZE_SEARCH)
        connection.execute("COMMIT")
        connection.execute(upkeep.VACUUM)
    return True


def _whole(path: Path) -> list[Path]:
    return [path, *(path.with_name(path.name + end) for end in SIDE_FILES)]


def _holds(path: Path, marks: tuple[bytes, ...]) -> bool:
    """Whether a file has one of these in it. Raises OSError for one that is there and cannot be read."""
    longest = max(map(len, marks), default=0)
    try:
        with path.open("rb") as file:
            rest = b""
            while part := file.read(CHUNK):
                if any(mark in rest + part for mark in marks):
                    return True
                rest = part[-longest:]
    except FileNotFoundError:
        return False
    return False


def _without_lines(path: Path, marks: tuple[bytes, ...]) -> None:
    """Write a file anew without the lines that have one of these in them."""
    with path.open("rb") as old:
        _write_whole(path, (line for line in old if not any(mark in line for mark in marks)))


def _write_whole(path: Path, lines: Iterable[bytes]) -> None:
    """Replace a file's content, durably, or leave it."""
    partial = path.with_name(path.name + ".partial")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as new:
        new.writelines(lines)
        new.flush()
        os.fsync(new.fileno())
    partial.replace(path)
    sync_directory(path.parent)


def _entries_without(lines: Iterable[bytes], texts: frozenset[str]) -> Iterator[bytes]:
    """The lines of a history, without the entries that are one of these texts."""
    head: list[bytes] = []
    entry: list[bytes] = []
    for line in (*lines, b""):
        if line.startswith(b"+"):
            entry.append(line)
            continue
        if entry:
            text = b"".join(part[1:] for part in entry).decode("utf-8", "replace").strip()
            if text not in texts:
                yield from (*head, *entry)
            head, entry = [], []
        head.append(line)
    yield from (line for line in head if line)
