"""Where the writer's commits go: the database, or, while that cannot be used, a shadow of it and the spool.

Everything here runs on one thread, the writer's (and, before that runs, the one that opens the database).
"""

import logging
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final, TypeAlias

from gateway.constants import SQLITE_BUSY_SECONDS
from gateway.ports import Clock
from gateway.storage import place
from gateway.storage.errors import StorageError
from gateway.storage.faults import is_damage, is_full, is_outage
from gateway.storage.probe import Probe
from gateway.storage.reserve import Reserve
from gateway.storage.salvage import replace_damaged, set_aside_databases, unfinished
from gateway.storage.shadow import Shadow, floor_of
from gateway.storage.spool import Spool
from gateway.storage.spools import merge_spools, merged_up_to, retire
from gateway.storage.state import Outage, StorageState
from gateway.storage.trial import empty_log, is_broken, try_to_write

log = logging.getLogger(__name__)

RETRY_SECONDS: Final = 1.0
"""The wait before the database is tried again; it doubles up to `RETRY_MAX_SECONDS`."""

RETRY_MAX_SECONDS: Final = 30.0

MENDER_CLOSE_SECONDS: Final = 5.0
"""How long closing waits for a damaged database to be mended; cut short, the next start begins it again."""

STEADY_SECONDS: Final = 60.0
"""A database that was in use so long had recovered: its next outage is no part of the one before."""

RETRY_PATIENCE_SECONDS: Final = 0.1
"""How long a look whether the database can be used again waits for a lock: people wait for it too."""

PLACE_SECONDS: Final = 2.0
"""How often is looked whether the database's file is still in its place: what is written to one that was deleted is
lost if the process dies before that is noticed."""

MAX_DOUBLINGS: Final = 10
"""How often that wait doubles at most: with each time that the file was put back."""

SALVAGE_LOG_PERCENT: Final = 10
"""How much more of a damaged database is read before the log says so again."""

Connect: TypeAlias = Callable[[float | None, bool], sqlite3.Connection]
"""Opens the database on disk and brings it up to date; waits for a lock so many seconds, or as usual; makes a database
where there is none, or does not. Raises `sqlite3.Error`, OSError, `StorageError`."""


class Failover:
    """The writer's transactions. `fall_back` leaves the database for the spool, `recover` returns to it."""

    def __init__(self, path: Path, connect: Connect, clock: Clock, reserve: Reserve, probe: Probe) -> None:
        self._path = path
        self._connect = connect
        self._clock = clock
        self._reserve = reserve
        self._probe = probe
        self._disk: sqlite3.Connection | None = None
        self._place = place.Place(None, None)
        self._next_look = 0.0
        self._put_backs = 0
        self._homeless: sqlite3.Connection | None = None
        self._must_put_back = False
        self._is_back = False
        self._shadow: Shadow | None = None
        self._spool: Spool | None = None
        self._pending: list[list[str]] = []
        self._records = 0
        self._damaged = False
        self._checked_sound = False
        self._mender: threading.Thread | None = None
        self._may_create = False
        self._arrived_at: float | None = None
        self._wait = RETRY_SECONDS
        self._next_try = 0.0
        self._reserve_due = False
        self._reserve_used = False
        self._salvaged: int | None = None
        self._state = StorageState()

    @property
    def state(self) -> StorageState:
        """Where data goes at present. May be asked on any thread."""
        state, salvaged = self._state, self._salvaged
        if salvaged is None:
            return state
        return replace(state, reason=f"{state.reason or 'the database is damaged'}; salvaging: {salvaged} %")

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
        # Only a home without any trace of a database gets a new one: what is away may come back.
        self._may_create = not self._path.exists() and not set_aside_databases(self._path)
        try:
            self._return()
        except (sqlite3.Error, OSError) as error:
            if not is_outage(error):
                raise
            self._leave(error)
            return
        self._take_reserve()

    def close(self) -> None:
        """Let go of everything. What a spool holds is merged at the next start."""
        self._next_look = 0.0
        self._look_after_place()
        if self._shadow is not None:
            try:
                self.recover(at_once=True)
            except Exception:
                log.exception("the spool could not be merged; the next start does it")
        if self._mender is not None:
            self._mender.join(MENDER_CLOSE_SECONDS)
        if self._must_put_back:
            log.critical("the database could not be put back in its place: what only its open file held is lost")
        for part in (self._disk, self._shadow, self._spool, self._homeless):
            if part is not None:
                part.close()
        self._disk = self._shadow = self._spool = self._homeless = None

    # --- transactions --------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin a transaction."""
        self._look_after_place()
        self._pending = []
        self.connection.execute("BEGIN IMMEDIATE")

    def mark(self) -> None:
        """One job of the transaction is done."""
        if self._shadow is not None:
            self._shadow.job_done(kept=True)
            if events := self._shadow.drain():
                self._pending.append(events)

    def unmark(self) -> None:
        """One job of the transaction has failed, and what it did is undone."""
        if self._shadow is not None:
            self._shadow.job_done(kept=False)

    def commit(self) -> None:
        """Make the transaction durable. Raises `sqlite3.Error` and OSError; then it is to be rolled back."""
        if self._shadow is not None and self._pending:
            self._append()
        self.connection.execute("COMMIT")
        if self._shadow is not None:
            self._shadow.transaction_done(kept=True)

    def roll_back(self) -> None:
        """Undo the transaction, if there still is one."""
        with suppress(sqlite3.Error):
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
        if self._shadow is not None:
            self._shadow.transaction_done(kept=False)

    def _append(self) -> None:
        """Put what the transaction's jobs have changed into the spool."""
        self._probe("spool.before-append")
        try:
            self._write_spool()
        except OSError as error:
            if not is_full(error) or not self._reserve.release():
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
            self._state = replace(self._state, mode="spool")

    def _write_spool(self) -> None:
        now = self._clock.now()
        if self._spool is None:
            self._spool = Spool.create(self.directory, now, self.state.reason or "")
        self._spool.append(self._pending, now)

    def _is_lost(self, error: OSError) -> None:
        if self.state.mode != "none":
            log.critical("nothing can be stored: neither the database nor the spool can be written (%s)", error)
        self._state = replace(self._state, mode="none", reason=f"nothing can be written: {error}")

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
        disk, self._disk = self._disk, None
        if disk is not None and is_full(error):
            empty_log(disk)
        now = self._clock.now()
        self._damaged = self._damaged or is_damage(error)
        self._records = 0
        at = self._clock.monotonic()
        if self._arrived_at is None or at - self._arrived_at >= STEADY_SECONDS:
            self._wait, self._checked_sound = RETRY_SECONDS, False
        self._next_try = at + self._wait
        if disk is not None and place.what_is_wrong(self._place, self._path) is not None:
            # Nobody finds that file again: its content is read from what is open, and put back when that can be.
            self._homeless, self._must_put_back = disk, True
        try:
            self._shadow = self._build_shadow(now)
        except BaseException:
            self._disk = disk  # the next transaction fails as this one did, and tries this again
            raise
        # Not before the shadow has it open too: a commit that could not be synced stands in the write-ahead log, and
        # whoever opens that first takes it for good, while its jobs are about to run again.
        if disk is not None and disk is not self._homeless:
            with suppress(sqlite3.Error):
                disk.close()
        known = self._shadow.complete
        self._state = replace(self._state, mode="spool", since=now, reason=reason, complete=known)

    def _build_shadow(self, now: datetime) -> Shadow:
        """A stand-in with all that the database and the spools of earlier outages tell."""
        floor = floor_of(self.directory, now)
        shadow = Shadow(self._path, floor, self._homeless)
        try:
            # What the merge decides about turns is not in any spool yet.
            merged = merge_spools(shadow.connection, self.directory, decided=lambda: shadow.capture(on=True))
        except (sqlite3.Error, OSError, ValueError, LookupError, TypeError):
            log.exception("the spool cannot be read in now; it is kept for the merge, and a new one is begun")
            shadow.close()
            shadow = Shadow(self._path, floor, self._homeless)
            merged = []
        if merged and shadow.complete:
            with suppress(OSError, ValueError):
                taken = merged_up_to(shadow.connection, merged[-1])
                self._spool = Spool.reopen(merged[-1], after=taken)
        shadow.capture(on=True)
        return shadow

    # --- returning to it -----------------------------------------------------------------------------------------

    @property
    def pause(self) -> float:
        """Seconds until `recover` is to be called again."""
        now, look = self._clock.monotonic(), self._next_look
        if self._is_back:
            return 0.0
        if self._shadow is None:
            return max(0.0, (min(look, self._next_try) if self._reserve_due else look) - now)
        return max(0.0, self._next_try - now)

    def recover(self, *, at_once: bool = False) -> bool:
        """Try to return to the database, if it is time; whether it has just come back.

        After the disk was full, it is tried only once the reserve can be held again: whatever room is left before
        that belongs to the spool, which makes more of it.
        """
        if self._shadow is None:
            self._look_after_place()
            is_back, self._is_back = self._is_back, False
            if not self._reserve_due:
                return is_back
        if not at_once and self._clock.monotonic() < self._next_try:
            return False
        self._wait = min(self._wait * 2, RETRY_MAX_SECONDS)
        self._next_try = self._clock.monotonic() + self._wait
        if self._shadow is None:
            self._take_reserve()
            return is_back
        if self._mender is not None and self._mender.is_alive():
            return False
        if self.state.mode == "none" and self._reserve.hold():
            log.warning("there is room again, and messages can be stored in the spool")
            self._state = replace(self._state, mode="spool")
        if self._reserve_used and not at_once:
            if not self._reserve.hold() and not self._make_room():
                return False
            self._reserve_used = False
        try:
            self._put_back_homeless()
        except OSError as error:
            self._still_out(error)
            return False
        if self._damaged or unfinished(self._path) is not None:
            self._start_mending()
            return False
        try:
            self._return()
        except (sqlite3.Error, OSError, StorageError) as error:
            self._still_out(error)
            return False
        return True

    def _make_room(self) -> bool:
        """Give the space of the write-ahead log back to the disk; whether the reserve can be held then."""
        if self._damaged:
            return False
        try:
            connection = self._connect(RETRY_PATIENCE_SECONDS, False)
        except (sqlite3.Error, OSError, StorageError):
            return False
        try:
            empty_log(connection)
        finally:
            with suppress(sqlite3.Error):
                connection.close()
        return self._reserve.hold()

    def _still_out(self, error: BaseException) -> None:
        """Say why the outage lasts: that may be something else than what it began with."""
        self._damaged = self._damaged or is_damage(error)
        if self._state.mode == "spool" and self._state.reason != str(error):
            log.error("the database is still out of use: %s", error)
            self._state = replace(self._state, reason=str(error))

    def _return(self) -> None:
        """Open the database, put in what the spools hold, and use it from now on. Raises what that raises."""
        if self._spool is not None:
            self._spool.settle()
        patience = None if self._shadow is None else RETRY_PATIENCE_SECONDS
        # What an outage hid from this process it cannot be running.
        alive = frozenset[str]() if self._shadow is None else self._shadow.open_turns()
        connection = self._connect(patience, self._may_create)
        try:
            empty_log(connection)
            merged = merge_spools(connection, self.directory, alive=alive)
            if self._shadow is not None and not merged:
                try_to_write(connection, self._clock.now())
        except BaseException as error:
            if is_full(error):
                empty_log(connection)
            with suppress(sqlite3.Error):
                connection.close()
            raise
        self._probe("spool.merged")
        if self._spool is not None:
            self._spool.close()
            self._spool = None
        for path in merged:
            retire(path)
        self._may_create = False
        self._arrive(connection)

    def _arrive(self, connection: sqlite3.Connection) -> None:
        self._take(connection)
        if self._shadow is None:
            return
        connection.execute(f"PRAGMA busy_timeout = {SQLITE_BUSY_SECONDS * 1000:.0f}")
        self._shadow.close()
        self._shadow = None
        if self._homeless is not None:
            self._homeless.close()
            self._homeless = None
        self._arrived_at = self._clock.monotonic()
        now, state = self._clock.now(), self._state
        outage = Outage(state.since or now, now, state.reason or "", self._records)
        lasted = now - outage.began
        log.warning("the database is in use again, after %s; %d changes were merged", lasted, outage.records)
        self._state = StorageState(last_outage=outage, recovered=state.recovered + 1)
        self._reserve_used = False
        self._next_try = 0.0
        self._take_reserve()

    def _take(self, connection: sqlite3.Connection) -> None:
        """Use this connection from now on, and remember where its file is."""
        self._disk = connection
        with suppress(OSError):
            self._place = place.look(self._path)
        # A file system that gives its files other numbers all the time must not have it written anew all the time.
        self._next_look = self._clock.monotonic() + PLACE_SECONDS * 2 ** min(self._put_backs, MAX_DOUBLINGS)

    def _look_after_place(self) -> None:
        """Now and then: if the database's file has been taken away, write what is open anew to its place."""
        if self._disk is None or self._clock.monotonic() < self._next_look:
            return
        self._next_look = self._clock.monotonic() + PLACE_SECONDS
        if (wrong := place.what_is_wrong(self._place, self._path)) is None:
            return
        log.critical("%s; all that it holds is written anew to %s", wrong, self._path)
        now, old = self._clock.now(), self._disk
        try:
            self._put_back(old, now)
            connection = self._connect(None, False)
        except (sqlite3.Error, OSError, StorageError) as error:
            log.critical("the database could not be put back in its place: %s", error)
            self._leave(OSError(f"{wrong}, and it cannot be put back: {error}"))
            return
        self._take(connection)
        with suppress(sqlite3.Error):
            old.close()
        outage = Outage(now, self._clock.now(), f"{wrong}; it was put back", 0)
        self._state = StorageState(last_outage=outage, recovered=self._state.recovered + 1)
        self._is_back = True

    def _put_back_homeless(self) -> None:
        """Do it now if it could not be done before, and is still needed. Raises OSError."""
        if self._must_put_back:
            assert self._homeless is not None
            if (wrong := place.what_is_wrong(self._place, self._path)) is not None:
                try:
                    self._put_back(self._homeless, self._clock.now())
                except (sqlite3.Error, OSError) as error:
                    raise OSError(f"{wrong}, and it cannot be put back: {error}") from error
            self._must_put_back = False

    def _put_back(self, connection: sqlite3.Connection, now: datetime) -> None:
        for aside in place.put_back(connection, self._path, self._place, now):
            log.warning("what stood in its place is kept as %s", aside)
        log.warning("the database is in its place again: %s", self._path)
        self._place = place.look(self._path)
        self._put_backs += 1

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

    # --- mending a damaged database ------------------------------------------------------------------------------

    def _start_mending(self) -> None:
        self._mender = threading.Thread(target=self._mend, name="database-mender", daemon=True)
        self._mender.start()

    def _mend(self, *, replacing: bool = False) -> None:
        """Look whether the database is broken, and if so put what can be read of it into a new one.

        A database that seems sound is believed once: damage that a check does not see is damage all the same.
        """
        try:
            if not replacing and not self._checked_sound and not is_broken(self._path):
                self._checked_sound = True
            else:
                report = replace_damaged(self._path, self._clock.now(), self._tell_salvage)
                log.error("the damaged database was replaced: %s", report)
                self._checked_sound = False
            self._damaged = False
        except StorageError as error:
            log.warning("the damaged database cannot be mended now: %s; it is tried again", error)
        except Exception:
            log.exception("the damaged database could not be mended; it is tried again")
        finally:
            self._salvaged = None

    def _tell_salvage(self, share: float) -> None:
        """A large database takes minutes: people see that something goes on."""
        percent = int(share * 100)
        if self._salvaged is None or percent // SALVAGE_LOG_PERCENT > self._salvaged // SALVAGE_LOG_PERCENT:
            log.warning("salvaging the damaged database: %d %%", percent)
        self._salvaged = percent
