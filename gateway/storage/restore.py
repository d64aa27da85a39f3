"""Restores: a backup is verified and staged in the home, and takes the place of what is there under the home's lock.

Every step is a rename, and can be made again by whoever takes the lock next: a death in between loses nothing.
"""

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from config import Home
from gateway.storage.backup import CONFIGURATION, DATABASE, FOLDERS, Manifest, Progress, sync_directory, unpack
from gateway.storage.checks import newest_schema
from gateway.storage.errors import StorageError
from gateway.storage.salvage import MARKER, PARTIAL, SIDE_FILES

log = logging.getLogger(__name__)

STAGED: Final = "restore-staged"
"""The folder in the home of a backup that is to take effect; it is there whole or not at all."""

UNPACKING: Final = ".restore-"
"""How the name of a folder begins that holds a process's work, before the process's id."""

REPLACED: Final = "replaced-"
"""How the name of a folder begins that keeps what a restore replaced."""

PLAN: Final = "applying.json"
"""The file in the staged folder that says where what is replaced is kept."""


class RestoreError(StorageError):
    """A staged backup cannot take effect; what is there of both is kept."""


@contextmanager
def unpacked(home: Home, backup: Path, progress: Progress | None = None) -> Iterator[tuple[Path, Manifest]]:
    """A verified backup, unpacked in the home for as long as the context lasts, unless it is staged meanwhile.

    Raises `BackupError` and OSError.
    """
    home.ensure()
    folder = _private_folder(home)
    try:
        yield folder, unpack(backup, folder, newest_schema=newest_schema(), progress=progress)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def stage(home: Home, folder: Path) -> None:
    """Have an unpacked backup take effect when the home's lock is next taken; it replaces one staged before.

    Raises OSError, and `RestoreError` while an earlier one is half in place.
    """
    target = home.path / STAGED
    if (target / PLAN).exists():
        raise RestoreError(f"a restore is half done in {home.path}; start the gateway, which ends it, and try again")
    if target.exists():
        target.rename(_private_folder(home) / STAGED)
    folder.rename(target)
    sync_directory(home.path)
    _clear(home)


def staged(home: Home) -> Path | None:
    """The staged backup that waits to take effect, None if there is none."""
    path = home.path / STAGED
    return path if path.is_dir() else None


def apply_staged(home: Home, now: datetime) -> Path | None:
    """Have the staged backup, if there is one, take effect; returns where what it replaced is kept.

    The caller holds the home's lock and has nothing of the home open. A restore that was begun is ended.
    Raises `RestoreError`.
    """
    source = staged(home)
    if source is None:
        _clear(home)
        return None
    try:
        replaced = _plan(home, source, now)
        _replace_database(home, source, replaced)
        for name in (CONFIGURATION, *FOLDERS):
            _swap(source / name, home.path / name, replaced / name)
        sync_directory(replaced)
        sync_directory(home.path)
        source.rename(_private_folder(home) / STAGED)
        sync_directory(home.path)
        _clear(home)
    except OSError as error:
        raise RestoreError(
            f"the restore in {source} cannot take effect ({error.strerror}); check the disk and its permissions, and"
            " start again: it goes on where it stopped"
        ) from error
    log.info("a backup was restored; what it replaced is kept in %s", replaced)
    return replaced


def _plan(home: Home, source: Path, now: datetime) -> Path:
    """Where what is replaced is kept, decided once for each restore."""
    plan = source / PLAN
    try:
        name = Path(str(json.loads(plan.read_text("utf-8"))["replaced"])).name
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        wanted = name = f"{REPLACED}{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"
        number = 1
        while os.path.lexists(home.path / name):
            number += 1
            name = f"{wanted}-{number}"
        partial = source / f"{PLAN}.partial"
        partial.write_text(json.dumps({"replaced": name}), "utf-8")
        with partial.open("rb") as stream:
            os.fsync(stream.fileno())
        partial.replace(plan)
        sync_directory(source)
    replaced = home.path / name
    replaced.mkdir(mode=0o700, exist_ok=True)
    return replaced


def _replace_database(home: Home, source: Path, replaced: Path) -> None:
    """Swap the database; the log of the one before must never lie beside the new one."""
    new = source / DATABASE
    if not new.exists():
        return
    kept = replaced / DATABASE
    if home.database.exists() and not kept.exists():
        home.database.rename(kept)
    for end in (*SIDE_FILES, MARKER, PARTIAL):
        beside = home.database.with_name(home.database.name + end)
        if beside.exists():
            beside.rename(kept.with_name(kept.name + end))
    sync_directory(replaced)
    sync_directory(home.path)
    new.rename(home.database)


def _swap(new: Path, place: Path, kept: Path) -> None:
    if not new.exists():
        return
    if place.exists() and not kept.exists():
        place.rename(kept)
    new.rename(place)


def _private_folder(home: Home) -> Path:
    """A new folder of this process, which goes when the process does."""
    return Path(tempfile.mkdtemp(prefix=f"{UNPACKING}{os.getpid()}-", dir=home.path))


def _clear(home: Home) -> None:
    """Remove the folders of this process, and of those that died."""
    for left in home.path.glob(f"{UNPACKING}*"):
        owner = left.name.removeprefix(UNPACKING).partition("-")[0]
        if not owner.isdigit() or int(owner) == os.getpid() or not _lives(int(owner)):
            shutil.rmtree(left, ignore_errors=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
