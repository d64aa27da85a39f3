"""Looks at what lies in the home: who can read it, whether the database is whole, and what was left behind."""

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from config import Home
from gateway.doctor.findings import Finding, error, ok, size_text, typed, warning
from gateway.doctor.settings import OTHERS
from gateway.storage.checks import (
    faults_in,
    has_full_text_search,
    newest_instant,
    newest_schema,
    open_to_check,
    schema_of,
    updates_set_aside,
)
from gateway.storage.codec import from_micros
from gateway.storage.errors import StorageError
from gateway.storage.faults import is_damage, is_held
from gateway.storage.restore import PLAN, REPLACED, staged
from gateway.storage.salvage import MARKER, SIDE_FILES, set_aside_databases, unfinished
from gateway.storage.spool import PATTERN as SPOOLS

CLOCK_TOLERANCE: Final = timedelta(minutes=5)
"""How far ahead of the clock the newest row may be: clocks are set back by this much in good order."""

NAMED: Final = 3
"""Updates that were set aside which are named."""

DAMAGED: Final = (
    "the gateway sets it aside and rescues what can be read when it meets the damage;"
    " or take a backup of yours: hermes-gateway restore FILE"
)
"""What to do about a damaged database."""

ANOTHER_HOME: Final = "set HERMES_GATEWAY_HOME to a folder of yours"
"""What to do about a home that is none."""

PRIVATE_FOLDER: Final = 0o700
PRIVATE_FILE: Final = 0o600


def barred(home: Home) -> Finding | None:
    """Why nothing that lies in the home can be looked at; None if it can be, or if there is no home yet."""
    try:
        mode = home.path.stat().st_mode
    except FileNotFoundError:
        return None
    except OSError as fault:
        return error("home", f"{home.path} cannot be reached ({fault.strerror})", ANOTHER_HOME)
    if not stat.S_ISDIR(mode):
        return error("home", f"{home.path} is no folder", ANOTHER_HOME)
    if not os.access(home.path, os.R_OK | os.X_OK):
        what = f"{home.path} cannot be looked into by this user: nothing in it was examined"
        return error("home", what, "call this as the user whom it belongs to, or set HERMES_GATEWAY_HOME")
    return None


def folders(home: Home) -> Iterator[Finding]:
    """Whether the home is its owner's alone, and can be written."""
    if not home.path.is_dir():
        yield ok("home", f"{home.path} is not there yet; the first start makes it")
        return
    if home.path.stat().st_uid != os.geteuid():
        yield error(
            "home", f"{home.path} belongs to another user", "start the gateway as its owner, or set HERMES_GATEWAY_HOME"
        )
    elif not os.access(home.path, os.W_OK | os.X_OK):
        yield error("home", f"{home.path} cannot be written", f"allow it: chmod 700 {typed(home.path)}")
    inside, files = _inside(home), _files(home)
    not_ours = [path for path in (*inside, *files) if _owner(path) not in (None, home.path.stat().st_uid)]
    for path in not_ours:
        advice = f"give it back: chown {home.path.stat().st_uid} {typed(path)}"
        yield error("home", f"{path} belongs to another user than the home", advice)
    open_paths = [*_too_open([home.path, *inside], PRIVATE_FOLDER), *_too_open(files, PRIVATE_FILE)]
    for path, mode, wanted in open_paths:
        yield error("home", f"others can open {path} (mode {mode:04o})", f"close it: chmod {wanted:o} {typed(path)}")
    if not open_paths and not not_ours:
        yield ok("home", f"{home.path} is open to its owner alone")


def _inside(home: Home) -> list[Path]:
    kept = sorted(home.path.glob(f"{REPLACED}*"))
    own = (home.sessions_dir, home.media_dir, home.memory_dir, home.logs_dir)
    return [path for path in (*own, *kept) if path.is_dir()]


def _files(home: Home) -> list[Path]:
    """The database and everything that has a part of its content."""
    return [*sorted(home.path.glob(f"{home.database.name}*")), home.socket, home.lock, *_spools(home)]


def _owner(path: Path) -> int | None:
    try:
        return path.stat().st_uid
    except OSError:
        return None


def _too_open(paths: Iterable[Path], wanted: int) -> Iterator[tuple[Path, int, int]]:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            mode = path.stat().st_mode & 0o777
            if mode & OTHERS:
                yield path, mode, wanted


def database(home: Home, now: datetime) -> Iterator[Finding]:
    """Whether the database is whole, of a version that we know, and not from the future."""
    if not has_full_text_search():
        yield error("database", "this Python's SQLite cannot search texts (FTS5)", "use a Python whose SQLite has FTS5")
    if not home.database.exists():
        yield _missing(home)
        return
    try:
        with contextlib.closing(open_to_check(home.database)) as connection:
            schema, known = schema_of(connection), newest_schema()
            if schema > known:
                what = f"{home.database} was written by a newer version (schema {schema}; this one knows {known})"
                yield error("database", what, "install the newer version")
                return
            faults = faults_in(connection)
            for fault in faults:
                yield error("database", f"{home.database} is damaged: {fault}", DAMAGED)
            if not faults and schema < known:
                yield ok("database", f"whole; schema {schema}, brought to {known} by the next start")
            elif not faults:
                yield ok("database", f"whole; schema {schema}, {size_text(home.database.stat().st_size)}")
                yield from _newest_row(newest_instant(connection), now)
                yield from _set_aside(*updates_set_aside(connection, NAMED))
    except StorageError as fault:
        yield error("database", f"{home.database} cannot be read: {fault}", _advice(fault.__cause__))


def _missing(home: Home) -> Finding:
    """There is no database: a start makes one, but where it has been, since it may come back."""
    aside = set_aside_databases(home.database)
    if not aside or unfinished(home.database) is not None:
        return ok("database", "not there yet; the first start makes it")
    return error(
        "database",
        f"{home.database} is missing, and no start makes a new one while {aside[0]} is kept",
        "put it back, or a backup: hermes-gateway restore FILE; to begin anew, move what is named so out of the home",
    )


def _advice(cause: BaseException | None) -> str:
    """What to do about a database that cannot be read, by what SQLite says."""
    if cause is None or is_damage(cause):
        return DAMAGED
    if is_held(cause):
        return "end the program that has it open (sqlite3, a backup tool, a copy of the gateway); nothing is damaged"
    return "look at the disk, the mount, and the owner and the mode of the home and of this file"


def _set_aside(number: int, newest: list[str]) -> Iterator[Finding]:
    """What came from a platform and could not be read as a message."""
    if number:
        named = "; ".join(newest) + (" and others" if number > len(newest) else "")
        what = f"{number:,} updates of platforms were set aside, since nothing could be made of them: {named}"
        yield warning("updates", what, "report it, with the log's lines about it; they are removed after 7 days")


def _newest_row(micros: int | None, now: datetime) -> Iterator[Finding]:
    if micros is not None and from_micros(micros) > now + CLOCK_TOLERANCE:
        yield error(
            "clock",
            f"it is {now:%Y-%m-%d %H:%M} UTC, but the database has a row of {from_micros(micros):%Y-%m-%d %H:%M}",
            "set this machine's clock (timedatectl set-ntp true): sessions would not be reset in time",
        )


# --- what was left behind --------------------------------------------------------------------------------------


def leftovers(home: Home, *, running: bool) -> Iterator[Finding]:
    """What outages, damage and restores have left in the home, and what becomes of it."""
    yield from _spool(home, running=running)
    yield from _left_out(home)
    for path in set_aside_databases(home.database):
        size = sum(_size(path.with_name(path.name + end)) for end in ("", *SIDE_FILES))
        yield warning(
            "database",
            f"{path} is a damaged database that was set aside ({size_text(size)}), and what could be read was rescued",
            f"keep it until you are sure that nothing is missing, then: rm -f"
            f" {' '.join(typed(f'{path}{end}') for end in ('', *SIDE_FILES))}",
        )
    if home.database.with_name(home.database.name + MARKER).exists() and not home.database.exists():
        yield warning("database", "the rescue of a damaged database was interrupted", "the next start ends it")
    waiting = staged(home)
    if waiting is not None and (waiting / PLAN).exists():
        yield error("restore", f"the restore in {waiting} was interrupted half-way", "start the gateway: it ends it")
    elif waiting is not None:
        when = "stop the gateway and start it again" if running else "start the gateway"
        yield warning("restore", f"the backup in {waiting} waits to take effect", f"{when}; or: rm -r {typed(waiting)}")
    for path in sorted(home.path.glob(f"{REPLACED}*")):
        yield ok("restore", f"{path} has what a restore replaced; delete it when you miss nothing")


def _spools(home: Home) -> list[Path]:
    return sorted(home.sessions_dir.glob(SPOOLS))


def _spool(home: Home, *, running: bool) -> Iterator[Finding]:
    spools = _spools(home)
    if not spools:
        return
    size = size_text(sum(map(_size, spools)))
    names = ", ".join(path.name for path in spools)
    yield warning(
        "storage",
        f"the database could not be written; what came meanwhile is in {home.sessions_dir}: {names} ({size})",
        "mend what `hermes-gateway status` says of the storage; it is then merged, so delete nothing"
        if running
        else "start the gateway, which merges it; delete nothing",
    )


def _left_out(home: Home) -> Iterator[Finding]:
    """What no merge has put into the database: nobody else has it."""
    for path in sorted(home.sessions_dir.glob(f"rejected-{SPOOLS}")):
        what = f"{path} has changes of an outage that the database did not take, and they are not in it"
        yield warning(
            "storage", what, f"read it: each line has its reason; once nothing of it is missed: rm {typed(path)}"
        )
    for path in sorted(home.sessions_dir.glob(f"damaged-{SPOOLS}")):
        what = f"{path} has lines of an outage that cannot be read; what they told is not in the database"
        yield warning("storage", what, f"the log names the lines; once nothing of it is missed: rm {typed(path)}")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
