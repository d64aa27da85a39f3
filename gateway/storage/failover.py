"""Where the writer's commits go: the database, or, while that cannot be used, a shadow of it and the spool.

Everything here runs on one thread, the writer's (and, before that runs, the one that opens the database).
"""

import errno
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from gateway.ports import Clock
from gateway.storage import queries, spool
from gateway.storage.checks import faults_in
from gateway.storage.faults import is_damage, is_outage
from gateway.storage.merge import Merge, TurnsCollideError, describe
from gateway.storage.probe import Probe
from gateway.storage.reserve import Reserve
from gateway.storage.salvage import replace_damaged, unfinished
from gateway.storage.shadow import Shadow
from gateway.storage.spool import Record, Spool, find_spools, read_records, spool_id_of

log = logging.getLogger(__name__)

RETRY_SECONDS: Final = 1.0
"""The wait before the database is tried again; it doubles up to `RETRY_MAX_SECONDS`."""

RETRY_MAX_SECONDS: Final = 30.0

MENDER_CLOSE_SECONDS: Final = 5.0
"""How long closing waits for a damaged database to be mended; cut short, the next start begins it again."""

NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})

Connect: TypeAlias = Callable[[], sqlite3.Connection]
"""Opens the database on disk and brings it up to date. Raises `sqlite3.Error`, OSError, `StorageError`."""

Mode: TypeAlias = Literal["sqlite", "spool", "none"]


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which the database could not be used, and how many records the spool took in it."""

    began: datetime
    ended: datetime
    reason: str
    records: int


@dataclass(frozen=True, slots=True)
class StorageState:
    """Where data goes: the database, the spool, or, if nothing can be written, nowhere; since when, and why.

    `recovered` counts the returns of the database since the start.
    """

    mode: Mode = "sqlite"
    since: datetime | None = None
    reason: str | None = None
    last_outage: Outage | None = None
    recovered: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for status reports; times in ISO 8601."""
        last = self.last_outage
        return {
            "mode": self.mode,
            "since": self.since.isoformat() if self.since else None,
            "reason": self.reason,
            "last_outage": last
            and {
                "began": last.began.isoformat(),
                "ended": last.ended.isoformat(),
                "reason": last.reason,
                "records": last.records,
            },
        }


class Failover:
    """The writer's transactions. `fall_back` leaves the database for the spool, `recover` returns to it."""

    def __init__(self, path: Path, connect: Connect, clock: Clock, reserve: Reserve, probe: Probe) -> None:
        self._path = path
        self._connect = connect
        self._clock = clock
        self._reserve = reserve
        self._probe = probe
        self._disk: sqlite3.Connection | None = None
        self._shadow: Shadow | None = None
        self._spool: Spool | None = None
        self._pending: list[list[str]] = []
        self._records = 0
        self._damaged = False
        self._checked_sound = False
        self._mender: threading.Thread | None = None
        self._wait = RETRY_SECONDS
        self._next_try = 0.0
        self._reserve_due = False
        self._reserve_used = False
        self.state = StorageState()

    @property
    def directory(self) -> Path:
        """Where spools and the reserve are."""
        return self._path.parent / "sessions"

    @property
    def connection(self) -> sqlite3.Connection:
        """What jobs run on."""
        connection = self._shadow.connection if self._shadow is not None else self._disk
        assert connection is not None
        return connection

    # --- opening and closing -----------------------------------------------------------------------------------

    def open(self) -> None:
        """Open the database, with what an earlier outage has left in spools; without it, fall back.

        Raises `StorageError` for a database that this version cannot read, and OSError if there is no folder to
        write to.
        """
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory.mkdir(mode=0o700, exist_ok=True)
        if unfinished(self._path) is not None:
            self._mend(replacing=True)
        try:
            self._return(requeue=True)
        except (sqlite3.Error, OSError) as error:
            if not is_outage(error):
                raise
            self._leave(error)
            return
        self._take_reserve()

    def close(self) -> None:
        """Let go of everything. What a spool holds is merged at the next start."""
        if self._shadow is not None:
            with suppress(sqlite3.Error, OSError):
                self.recover(at_once=True)
        if self._mender is not None:
            self._mender.join(MENDER_CLOSE_SECONDS)
        for part in (self._disk, self._shadow, self._spool):
            if part is not None:
                part.close()
        self._disk = self._shadow = self._spool = None

    # --- transactions --------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin a transaction."""
        self._pending = []
        self.connection.execute("BEGIN IMMEDIATE")

    def mark(self) -> None:
        """One job of the transaction is done."""
        if self._shadow is not None and (events := self._shadow.drain()):
            self._pending.append(events)

    def commit(self) -> None:
        """Make the transaction durable. Raises `sqlite3.Error` and OSError; then it is to be rolled back."""
        if self._shadow is not None and self._pending:
            self._append()
        self.connection.execute("COMMIT")

    def roll_back(self) -> None:
        """Undo the transaction, if there still is one."""
        with suppress(sqlite3.Error):
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")

    def _append(self) -> None:
        """Put what the transaction's jobs have changed into the spool."""
        self._probe("spool.before-append")
        try:
            self._write_spool()
        except OSError as error:
            if error.errno not in NO_SPACE or not self._reserve.release():
                self._is_lost(error)
                raise
            log.warning("the disk is full: the reserve is used up now; make room")
            self._reserve_used = True
            try:
                self._write_spool()
            except OSError as again:
                self._is_lost(again)
                raise
        self._records += len(self._pending)
        self._probe("spool.appended")
        if self.state.mode == "none":
            log.error("messages can be stored again, in the spool; the database is still out of use")
            self.state = replace(self.state, mode="spool")

    def _write_spool(self) -> None:
        now = self._clock.now()
        if self._spool is None:
            self._spool = Spool.create(self.directory, now, self.state.reason or "")
        self._spool.append(self._pending, now)

    def _is_lost(self, error: OSError) -> None:
        if self.state.mode != "none":
            log.critical("nothing can be stored: neither the database nor the spool can be written (%s)", error)
        self.state = replace(self.state, mode="none", reason=f"nothing can be written: {error}")

    # --- leaving the database ------------------------------------------------------------------------------------

    def fall_back(self, error: BaseException) -> bool:
        """Leave the database for the spool; False if that has been done already, or the error is none of storage."""
        if self._shadow is not None or not is_outage(error):
            return False
        self._leave(error)
        return True

    def _leave(self, error: BaseException) -> None:
        reason = str(error) or type(error).__name__
        log.error("the database is out of use (%s): what happens goes to the spool in %s", reason, self.directory)
        if self._disk is not None:
            with suppress(sqlite3.Error):
                self._disk.close()
            self._disk = None
        now = self._clock.now()
        self._damaged = self._damaged or is_damage(error)
        self._records = 0
        self._wait = RETRY_SECONDS
        self._next_try = self._clock.monotonic() + self._wait
        self._shadow = self._build_shadow(now)
        self.state = replace(self.state, mode="spool", since=now, reason=reason)

    def _build_shadow(self, now: datetime) -> Shadow:
        """A stand-in with all that the database and the spools of earlier outages tell."""
        shadow = Shadow(self._path, floor=int(now.timestamp() * 1_000_000))
        merged = self._merge_spools(shadow.connection, requeue=True)
        if merged:
            with suppress(OSError, ValueError):
                taken = _merged_up_to(shadow.connection, f"spool:{spool_id_of(merged[-1])}")
                self._spool = Spool.reopen(merged[-1], after=taken)
        shadow.capture(on=True)
        return shadow

    # --- returning to it -----------------------------------------------------------------------------------------

    @property
    def pause(self) -> float | None:
        """Seconds until `recover` is to be called again; None if there is nothing to recover from."""
        if self._shadow is None and not self._reserve_due:
            return None
        return max(0.0, self._next_try - self._clock.monotonic())

    def recover(self, *, at_once: bool = False) -> bool:
        """Try to return to the database, if it is time; whether it has just come back.

        After the disk was full, it is tried only once the reserve can be held again: whatever room is left before
        that belongs to the spool, which makes more of it.
        """
        if not at_once and self._clock.monotonic() < self._next_try:
            return False
        self._wait = min(self._wait * 2, RETRY_MAX_SECONDS)
        self._next_try = self._clock.monotonic() + self._wait
        if self._shadow is None:
            self._take_reserve()
            return False
        if self._reserve_used and not at_once:
            if not self._reserve.hold():
                return False
            self._reserve_used = False
        if self._mender is not None and self._mender.is_alive():
            return False
        if self._damaged:
            self._start_mending()
            return False
        try:
            self._return(requeue=False)
        except TurnsCollideError:
            log.info("the database is back; it is used once the turns that are under way have ended")
            return False
        except (sqlite3.Error, OSError) as error:
            self._still_out(error)
            return False
        return True

    def _still_out(self, error: BaseException) -> None:
        self._damaged = self._damaged or is_damage(error)
        if self.state.mode == "spool":
            self.state = replace(self.state, reason=str(error))

    def _return(self, *, requeue: bool) -> None:
        """Open the database, put in what the spools hold, and use it from now on. Raises what that raises."""
        if self._spool is not None:
            self._spool.settle()
        connection = self._connect()
        try:
            merged = self._merge_spools(connection, requeue=requeue)
        except BaseException:
            with suppress(sqlite3.Error):
                connection.close()
            raise
        self._probe("spool.merged")
        if self._spool is not None:
            self._spool.close()
            self._spool = None
        for path in merged:
            _retire(path)
        self._arrive(connection)

    def _arrive(self, connection: sqlite3.Connection) -> None:
        self._disk = connection
        if self._shadow is None:
            return
        self._shadow.close()
        self._shadow = None
        self._checked_sound = False
        now, state = self._clock.now(), self.state
        outage = Outage(state.since or now, now, state.reason or "", self._records)
        lasted = now - outage.began
        log.warning("the database is in use again, after %s; %d changes were merged", lasted, outage.records)
        self.state = StorageState(last_outage=outage, recovered=state.recovered + 1)
        self._reserve_used = False
        self._wait = RETRY_SECONDS
        self._next_try = 0.0
        self._take_reserve()

    def _take_reserve(self) -> None:
        """Hold the reserve; where there is no room for it now, try again later."""
        held = self._reserve.hold()
        if held and self._reserve_due:
            log.info("the reserve is held again")
        elif not held and not self._reserve_due:
            log.warning("the disk has no room for the reserve in %s: make room on it", self.directory)
        self._reserve_due = not held
        if not held:
            self._next_try = max(self._next_try, self._clock.monotonic() + self._wait)

    def _merge_spools(self, connection: sqlite3.Connection, *, requeue: bool) -> list[Path]:
        """Put the spools into the database, in one commit; those that are done with."""
        paths = find_spools(self.directory)
        done: list[Path] = []
        if not paths:
            return done
        with _merging(connection):
            merge = Merge(connection)
            for path in paths:
                try:
                    name = f"spool:{spool_id_of(path)}"
                except ValueError as error:
                    log.warning("%s; it is left where it is", error)
                    continue
                self._merge_spool(connection, merge, path, name)
                done.append(path)
            merge.finish(requeue=requeue)
        return done

    def _merge_spool(self, connection: sqlite3.Connection, merge: Merge, path: Path, name: str) -> None:
        merged = last = _merged_up_to(connection, name)

        def fresh() -> Iterator[Record]:
            nonlocal last
            for record in read_records(path):
                if record.seq > merged:
                    last = record.seq
                    yield record

        number = merge.apply(fresh(), lambda record, error: _reject(path, record, error))
        connection.execute(queries.NOTE_MERGED, (name, str(last)))
        if number:
            log.info("%d changes of %s are taken over", number, path.name)

    # --- mending a damaged database ------------------------------------------------------------------------------

    def _start_mending(self) -> None:
        self._mender = threading.Thread(target=self._mend, name="database-mender", daemon=True)
        self._mender.start()

    def _mend(self, *, replacing: bool = False) -> None:
        """Look whether the database is broken, and if so put what can be read of it into a new one.

        A database that seems sound is believed once: damage that a check does not see is damage all the same.
        """
        try:
            if not replacing and not self._checked_sound and not _is_broken(self._path):
                self._checked_sound = True
            else:
                report = replace_damaged(self._path, self._clock.now())
                log.error("the damaged database was replaced: %s", report)
                self._checked_sound = False
            self._damaged = False
        except Exception:
            log.exception("the damaged database could not be mended; it is tried again")


def _merged_up_to(connection: sqlite3.Connection, name: str) -> int:
    row = connection.execute(queries.MERGED_UP_TO, (name,)).fetchone()
    return 0 if row is None else int(row[0])


def _is_broken(path: Path) -> bool:
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    except sqlite3.Error:
        return True
    try:
        return bool(faults_in(connection))
    finally:
        connection.close()


@contextmanager
def _merging(connection: sqlite3.Connection) -> Iterator[None]:
    """One transaction, without the checks of references that rows may not stand up to one by one."""
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("PRAGMA foreign_keys = ON")


def _retire(path: Path) -> None:
    """Remove a spool that is merged; one with damaged lines is kept under another name."""
    try:
        if spool.damaged_lines(path):
            kept = path.with_name(f"damaged-{path.name}")
            path.rename(kept)
            log.error("%s has damaged lines; it is kept as %s", path.name, kept.name)
        else:
            path.unlink()
        spool.sync_directory(path.parent)
    except OSError as error:
        log.warning("%s is merged, but cannot be removed: %s", path, error)


def _reject(path: Path, record: Record, error: Exception) -> None:
    """Keep a record that the database does not take, for a person to look at."""
    with path.with_name(f"rejected-{path.name}").open("a", encoding="utf-8") as file:
        file.write(describe(record, error) + "\n")
