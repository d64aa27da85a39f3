"""Backups: a home's content in one tar file, consistent while the gateway runs, and what such a file is held against.

The database is copied by SQLite's backup interface within one read transaction: it is the state of one moment, and
neither side waits for the other (https://www.sqlite.org/backup.html, https://www.sqlite.org/wal.html).
"""

import hashlib
import io
import json
import os
import sqlite3
import stat
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final, Self

from config import Home
from gateway.storage.checks import faults_in, open_to_check, schema_of
from gateway.storage.errors import StorageError
from gateway.storage.reserve import NAME as RESERVE
from gateway.version import program_version

MANIFEST: Final = "manifest.json"
"""The last file of a backup: what is in it. A backup that was cut short has none."""

FORMAT: Final = 1
"""The number of this form of a backup; a reader refuses a higher one."""

DATABASE: Final = "gateway.db"
CONFIGURATION: Final = "gateway.yaml"
FOLDERS: Final = ("sessions", "media", "memory")

GZIP_MAGIC: Final = b"\x1f\x8b"
GZIP_NAMES: Final = (".gz", ".tgz")
CHUNK_BYTES: Final = 1024 * 1024
SNAPSHOT_PAGES: Final = 256
"""Pages of the database that are copied between two reports of progress: a megabyte."""

MAX_MANIFEST_BYTES: Final = 256 * 1024 * 1024
"""The longest manifest that is read: room for a million files."""

PRIVATE_FILE: Final = 0o600

Progress = Callable[[int, int], None]
"""Called with how many bytes are done, and of how many."""


class BackupError(StorageError):
    """The backup cannot be made, or a file is none that can be restored; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in a backup. `size` is in bytes, `sha256` in hexadecimal digits."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds, and which program made it when."""

    version: str
    schema: int
    created_at: datetime
    entries: tuple[Entry, ...]
    skipped: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.entries)

    def dump(self) -> bytes:
        """As it stands in the backup."""
        data = {
            "format": FORMAT,
            "version": self.version,
            "schema": self.schema,
            "created_at": self.created_at.astimezone(UTC).isoformat(),
            "entries": [{"name": each.name, "size": each.size, "sha256": each.sha256} for each in self.entries],
            "skipped": list(self.skipped),
        }
        return json.dumps(data, indent=1).encode()

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """Read one. Raises `BackupError`."""
        try:
            data: Mapping[str, Any] = json.loads(text)
            if int(data["format"]) > FORMAT:
                raise BackupError(
                    f"the backup was made by a newer version ({data.get('version')}); install that version first"
                )
            entries = tuple(
                Entry(str(each["name"]), int(each["size"]), str(each["sha256"])) for each in data["entries"]
            )
            created = datetime.fromisoformat(str(data["created_at"])).astimezone(UTC)
            return cls(str(data["version"]), int(data["schema"]), created, entries)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise BackupError(f"the backup's {MANIFEST} cannot be read: use another backup") from error


def is_safe_name(name: str) -> bool:
    """Whether a file of this name belongs in a home: one of those a backup holds, and nowhere outside of it."""
    path = PurePosixPath(name)
    if "\0" in name or "\\" in name or path.is_absolute() or str(path) != name or ".." in path.parts:
        return False
    return name in (DATABASE, CONFIGURATION) or (len(path.parts) > 1 and path.parts[0] in FOLDERS)


# --- making one ----------------------------------------------------------------------------------------------


def make_backup(
    home: Home, target: Path, now: datetime, *, force: bool = False, progress: Progress | None = None
) -> Manifest:
    """Write a backup of the home to `target`; gzip is used where the name ends so. Returns what is in it.

    The file appears whole or not at all, and only its owner can read it. `force` replaces one that is there.
    Raises `BackupError`, and OSError for the target's folder and disk.
    """
    target = target.absolute()
    if any(target.is_relative_to(home.path / folder) for folder in FOLDERS):
        raise BackupError(f"{target} lies in what is backed up; name a file elsewhere")
    if target.is_dir():
        raise BackupError(f"{target} is a folder; name a file in it")
    if os.path.lexists(target) and not force:
        raise BackupError(f"{target} is there already; --force replaces it")
    if not home.database.is_file():
        raise BackupError(f"there is no database in {home.path} yet, so there is nothing to back up")
    if not target.parent.is_dir():
        raise BackupError(f"there is no folder {target.parent} to write {target.name} to")
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
        work = Path(folder)
        manifest = _Maker(home, work, progress).write(work / "backup", now, compress=target.name.endswith(GZIP_NAMES))
        _put(work / "backup", target, force=force)
    return manifest


def _put(whole: Path, target: Path, *, force: bool) -> None:
    """Give the finished file its name; one that came there meanwhile is not replaced unasked."""
    if force:
        whole.replace(target)
    else:
        try:
            os.link(whole, target)
        except FileExistsError as error:
            raise BackupError(f"{target} is there already; --force replaces it") from error
        except OSError:  # a file system without links
            whole.rename(target)
    sync_directory(target.parent)


class _Maker:
    """Writes one backup."""

    def __init__(self, home: Home, work: Path, progress: Progress | None) -> None:
        self._home = home
        self._work = work
        self._progress = progress
        self._done = 0
        self._total = 0
        self._entries: list[Entry] = []
        self._skipped: list[str] = []

    def write(self, path: Path, now: datetime, *, compress: bool) -> Manifest:
        files = {folder: list(self._files(self._home.path / folder)) for folder in FOLDERS}
        database = self._home.database.stat().st_size
        self._total = 2 * database + sum(_size(each) for found in files.values() for each in found)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE)
        with os.fdopen(descriptor, "wb") as stream:
            with tarfile.open(fileobj=stream, mode="w:gz" if compress else "w", format=tarfile.PAX_FORMAT) as archive:
                # What the spool holds is in the database once it has gone: so the spool, which lies in the first
                # folder, is read before it, and files that the database names after it.
                self._add_all(archive, files[FOLDERS[0]])
                snapshot = self._work / DATABASE
                schema = self._snapshot(snapshot)
                self._add(archive, snapshot, DATABASE)
                snapshot.unlink()
                for folder in FOLDERS[1:]:
                    self._add_all(archive, self._files(self._home.path / folder))
                if self._home.config_file.is_file():
                    self._add(archive, self._home.config_file, CONFIGURATION)
                manifest = Manifest(program_version(), schema, now, tuple(self._entries), tuple(self._skipped))
                text = manifest.dump()
                archive.addfile(_described(MANIFEST, len(text), now.timestamp()), io.BytesIO(text))
            stream.flush()
            os.fsync(stream.fileno())
        return manifest

    def _files(self, folder: Path) -> Iterator[Path]:
        """Every file below; links and devices are not followed, and told. Raises OSError for a folder that cannot be
        read."""
        for parent, names, files in os.walk(folder, onerror=_raise_unless_gone):
            names.sort()
            for name in sorted([*files, *(name for name in names if (Path(parent) / name).is_symlink())]):
                path = Path(parent) / name
                relative = path.relative_to(self._home.path).as_posix()
                if name == RESERVE:
                    continue
                if path.is_file() and not path.is_symlink() and is_safe_name(relative):
                    yield path
                elif os.path.lexists(path) and relative not in self._skipped:
                    self._skipped.append(relative)

    def _add_all(self, archive: tarfile.TarFile, files: Sequence[Path] | Iterator[Path]) -> None:
        for path in files:
            self._add(archive, path, path.relative_to(self._home.path).as_posix())

    def _add(self, archive: tarfile.TarFile, path: Path, name: str) -> None:
        """Add a file as long as it is now; what is appended meanwhile is not in, what has gone is left out."""
        try:
            stream = path.open("rb")
        except FileNotFoundError:
            return
        with stream:
            status = os.fstat(stream.fileno())
            source = _Hashed(stream, status.st_size, self._advance)
            try:
                archive.addfile(_described(name, status.st_size, status.st_mtime), source)
            except OSError as error:
                if source.is_short:
                    raise BackupError(f"{path} became shorter while it was read; make the backup again") from error
                raise
        self._entries.append(Entry(name, status.st_size, source.sha256))

    def _snapshot(self, copy: Path) -> int:
        """Copy the database as it is at one moment; returns its schema. Raises `BackupError`."""
        path = self._home.database
        os.close(os.open(copy, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE))
        size, base = path.stat().st_size, self._done

        def copied(_status: int, remaining: int, total: int) -> None:
            self._done = base + size * (total - remaining) // max(total, 1)
            self._advance(0)

        try:
            with closing(open_to_check(path)) as source, closing(sqlite3.connect(copy)) as target:
                source.execute("BEGIN")
                source.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # the moment that is copied
                source.backup(target, pages=SNAPSHOT_PAGES, progress=copied)
                target.execute("PRAGMA journal_mode = DELETE")
                faults = faults_in(target)
                schema = schema_of(target)
        except sqlite3.Error as error:
            raise BackupError(f"cannot copy {path}: {error}; `hermes-gateway doctor` says more") from error
        if faults:
            raise BackupError(f"{path} is damaged ({faults[0]}); `hermes-gateway doctor` says what to do")
        return schema

    def _advance(self, number: int) -> None:
        self._done += number
        if self._progress is not None:
            self._progress(min(self._done, self._total), self._total)


def _size(path: Path) -> int:
    """A file's bytes; none of one that has gone meanwhile."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _described(name: str, size: int, modified: float) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = size, int(modified), PRIVATE_FILE
    return info


class _Hashed(io.RawIOBase):
    """The first `size` bytes of a stream, hashed as they are read."""

    def __init__(self, stream: IO[bytes], size: int, advance: Callable[[int], None]) -> None:
        super().__init__()
        self._stream = stream
        self._left = size
        self._advance = advance
        self._hash = hashlib.sha256()
        self.is_short = False

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(self._left if size < 0 else min(size, self._left))
        self.is_short = not data and self._left > 0
        self._left -= len(data)
        self._hash.update(data)
        self._advance(len(data))
        return data


# --- reading one ---------------------------------------------------------------------------------------------


def unpack(backup: Path, folder: Path, *, newest_schema: int, progress: Progress | None = None) -> Manifest:
    """Unpack a backup into an empty folder, hold everything against its manifest, and sync it to the disk.

    Raises `BackupError` for a file that is none, is damaged, wants to write elsewhere, or is newer than the program;
    OSError where the disk gives up. The folder may then hold a part.
    """
    try:
        with backup.open("rb") as stream:
            mode: Any = "r:gz" if stream.read(2) == GZIP_MAGIC else "r:"
            stream.seek(0)
            with tarfile.open(fileobj=stream, mode=mode) as archive:
                found, manifest = _unpack_all(archive, stream, folder, backup.stat().st_size, progress)
                while archive.fileobj.read(CHUNK_BYTES):
                    continue  # to the end, where gzip has its checksum of everything
    except (tarfile.TarError, EOFError, UnicodeError, zlib_error()) as error:
        raise BackupError(f"{backup} is no backup, or it is damaged ({error}); use another one") from error
    except OSError as error:
        if error.errno is None:  # gzip's own complaint
            raise BackupError(f"{backup} is damaged ({error}); use another one") from error
        raise
    _compare(backup, manifest, found)
    if manifest.schema > newest_schema:
        raise BackupError(
            f"{backup} was made by a newer version (schema {manifest.schema}; this version knows {newest_schema}): "
            "install the newer version"
        )
    _check_database(backup, folder / DATABASE, manifest.schema)
    for name in FOLDERS:
        (folder / name).mkdir(mode=0o700, exist_ok=True)
    _sync_tree(folder)
    return manifest


def zlib_error() -> type[Exception]:
    """What a broken stream of gzip raises besides OSError and EOFError."""
    import zlib

    return zlib.error


def _unpack_all(
    archive: tarfile.TarFile, stream: IO[bytes], folder: Path, size: int, progress: Progress | None
) -> tuple[dict[str, Entry], Manifest]:
    found: dict[str, Entry] = {}
    manifest: Manifest | None = None
    for member in archive:
        content = archive.extractfile(member) if member.isreg() and not member.issparse() else None
        if content is None:
            raise BackupError(f"the backup holds {member.name!r}, which is no plain file; it is not to be trusted")
        if member.name == MANIFEST and manifest is None:
            manifest = Manifest.parse(content.read(MAX_MANIFEST_BYTES))
            continue
        if not is_safe_name(member.name) or member.name in found:
            raise BackupError(f"the backup holds {member.name!r}, which has no place here; it is not to be trusted")
        found[member.name] = _extract(content, folder, member)
        if progress is not None:
            progress(min(stream.tell(), size), size)
    if manifest is None:
        raise BackupError(f"there is no {MANIFEST}: it is no backup, or was cut short; use another one")
    return found, manifest


def _extract(content: IO[bytes], folder: Path, member: tarfile.TarInfo) -> Entry:
    path = folder / member.name
    for parent in reversed(PurePosixPath(member.name).parents[:-1]):
        (folder / parent).mkdir(mode=0o700, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE_FILE)
    with os.fdopen(descriptor, "wb") as target:
        while data := content.read(CHUNK_BYTES):
            digest.update(data)
            size += len(data)
            target.write(data)
    os.utime(path, (member.mtime, member.mtime))
    return Entry(member.name, size, digest.hexdigest())


def _compare(backup: Path, manifest: Manifest, found: Mapping[str, Entry]) -> None:
    expected = {entry.name: entry for entry in manifest.entries}
    if DATABASE not in expected:
        raise BackupError(f"{backup} holds no database; use another backup")
    for name in sorted(expected.keys() | found.keys()):
        if found.get(name) != expected.get(name):
            raise BackupError(f"{backup} is damaged: {name} is not as it was backed up; use another backup")


def _check_database(backup: Path, path: Path, schema: int) -> None:
    with closing(open_to_check(path)) as connection:
        faults = faults_in(connection)
        if not faults and schema_of(connection) != schema:
            faults = ["its schema is another one than the backup says"]
    if faults:
        raise BackupError(f"the database in {backup} is damaged ({faults[0]}); use another backup")


def _raise_unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _sync_tree(folder: Path) -> None:
    for parent, _names, files in os.walk(folder):
        for name in files:
            path = Path(parent) / name
            if stat.S_ISREG(path.lstat().st_mode):
                with path.open("rb") as stream:
                    os.fsync(stream.fileno())
        sync_directory(Path(parent))


def sync_directory(directory: Path) -> None:
    """Have the names in a folder on the disk. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
