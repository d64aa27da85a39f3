"""The shadow: a database in memory that stands in for the one on disk while that cannot be used.

It has the same schema, so that every job runs on it as it is. What jobs need is brought in from the database on disk,
as far as that can be read; what they change is captured, row by row, for the spool.
"""

import logging
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeAlias

from gateway.storage import api_queries, inbound_queries, outbox_queries, queries, session_queries
from gateway.storage.errors import StorageError, UnreadableNowError
from gateway.storage.faults import is_damage, is_held
from gateway.storage.migrate import migrations
from gateway.storage.words import define_words

log = logging.getLogger(__name__)

KINDS: Final = {
    "slots": "session",
    "sessions": "session",
    "messages": "transcript",
    "inbound": "inbound",
    "cursors": "inbound",
    "turns": "turn",
    "turn_steps": "turn",
    "outbox": "delivery",
    "updates": "inbound",
    "moved_chats": "session",
    "holds": "delivery",
    "people": "access",
    "pairing_requests": "access",
    "pairing_tries": "access",
    "tokens_by_day": "access",
    "audit": "access",
    "cuts": "transcript",
    "api_keys": "access",
    "api_requests": "inbound",
    "api_answers": "turn",
    "webhook_calls": "inbound",
    "memory_turns": "memory",
    "memory_sessions": "memory",
    "meta": "setting",
}
"""The tables whose changes are captured, and what a change of each is about."""

ONLY: Final = {"meta": "substr({row}.name, 1, 5) = 'home:'"}
"""Tables of which some rows alone are captured: what else has a name is true of the database in which it stands."""

_OPEN_TURNS: Final = """
SELECT id FROM turns WHERE state IN ('running', 'waiting')
UNION SELECT turn_id FROM inbound WHERE state IN ('pending', 'running')"""
"""Those that were put back are known by their messages."""

WORKING_SET: Final = (
    ("slots", ""),
    ("sessions", ""),
    ("cursors", ""),
    ("updates", ""),
    ("moved_chats", ""),
    ("holds", ""),
    ("people", ""),
    ("pairing_requests", ""),
    ("pairing_tries", ""),
    ("tokens_by_day", ""),
    ("api_keys", ""),
    ("memory_turns", ""),
    ("memory_sessions", ""),
    ("inbound", "WHERE state IN ('pending', 'running')"),
    ("turns", f"WHERE id IN ({_OPEN_TURNS})"),
    ("turn_steps", f"WHERE turn_id IN ({_OPEN_TURNS})"),
    ("outbox", "WHERE state IN ('pending', 'sending') OR final = 0"),
    ("meta", "WHERE name NOT LIKE '%cursor'"),
)
"""What is brought in at once: all that is open, and which session is live where. Transcripts follow when asked for."""

NUMBERED: Final = ("inbound", "outbox", "messages", "audit", "memory_turns")
"""Tables whose ids are never given twice."""

FLOOR_GAP: Final = 1_000_000_000
"""How far above the numbers of an earlier outage those of the next begin, whatever the clock says."""

FLOOR_NAME: Final = ".numbers"

DISK_BUSY_SECONDS: Final = 0.5
"""How long a look into the database on disk may wait for a lock: people wait for it too."""

READ_TRIES: Final = 3
"""How often the database on disk is opened: what is not known of it is settled in the merge, but not as well."""

Fetch: TypeAlias = Callable[[Sequence[Any]], None]


class _Connection(sqlite3.Connection):
    """Brings in, before certain statements, what they are about to look at. `hides`: there may be rows of the database
    on disk that are open, and that could not be read."""

    fetch: Mapping[str, Fetch] = {}
    hides = False

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:  # noqa: ANN401 - as in the base class
        if (fetch := self.fetch.get(sql)) is not None:
            fetch(parameters)
        return super().execute(sql, parameters)


class Shadow:
    """A stand-in for the database at `path`. `floor` is where ids begin if those on disk cannot be read.

    `source` is a connection to it that is open still, for one that is not at `path` any more; it is not closed.
    Lives on one thread at a time. `complete` says whether everything that is open could be read.
    """

    def __init__(self, path: Path, floor: int, source: sqlite3.Connection | None = None) -> None:
        self.connection = sqlite3.connect(
            ":memory:", isolation_level=None, check_same_thread=False, factory=_Connection
        )
        self.connection.row_factory = sqlite3.Row
        define_words(self.connection)
        for _number, sql in migrations():
            self.connection.executescript(sql)
        self.connection.execute("PRAGMA foreign_keys = OFF")
        self._capturing = False
        self._fetched: set[str] = set()
        self._fetched_now: set[str] = set()
        self._fetched_by_job: set[str] = set()
        self._source = source
        self._disk = _open(path) if source is None else _begun(source)
        self.complete = self._disk is not None
        self.connection.hides = not self.complete
        self.connection.execute("BEGIN")
        for table, condition in WORKING_SET:
            self._copy(table, condition)
        self._number(floor)
        self.connection.execute("COMMIT")
        if self._disk is not None and self._disk.in_transaction:
            self._disk.execute("ROLLBACK")  # a COMMIT reports damage that was read once more
        self._capture()
        self.connection.fetch = {
            queries.LOAD_MESSAGES: self._fetch_transcript,
            queries.LOAD_MESSAGES_WITH_TIMES: self._fetch_transcript,
            queries.HAS_MESSAGE_KEY: self._fetch_transcript,
            queries.LAST_USER_MESSAGE: self._fetch_whole_transcript,
            queries.DELETE_MESSAGES: self._fetch_whole_transcript,
            session_queries.COPY_MESSAGES: self._fetch_whole_transcript,
            session_queries.NTH_MESSAGE: self._fetch_whole_transcript,
            session_queries.NTH_LAST_MESSAGE: self._fetch_whole_transcript,
            queries.ADD_INBOUND: self._fetch_inbound,
            inbound_queries.INBOUND_BY_KEY: self._fetch_inbound,
            inbound_queries.KNOWN_INBOUND: self._fetch_known,
            session_queries.LATEST_TURN: self._fetch_latest_turn,
            session_queries.GIVEN_UP_MESSAGES: self._fetch_messages_of_turn,
            session_queries.EXTRA_OF_TURN: self._fetch_messages_of_turn,
            api_queries.ADD_WEBHOOK_CALL: self._fetch_webhook_calls,
            outbox_queries.ADD_DELIVERY: lambda parameters: self._fetch_delivery(parameters[-1]),
            outbox_queries.HAS_KEY: lambda parameters: self._fetch_delivery(parameters[0]),
            api_queries.SENT_UNDER_KEY: lambda parameters: self._fetch_delivery(parameters[0]),
        }

    def capture(self, *, on: bool) -> None:
        """Capture what is changed from now on, or do not."""
        self._capturing = on

    def drain(self) -> list[str]:
        """What was changed since the last time, as JSON texts, in order."""
        rows = self.connection.execute("SELECT event FROM temp.changes ORDER BY number").fetchall()
        if rows:
            self.connection.execute("DELETE FROM temp.changes")
        return [row[0] for row in rows]

    def job_done(self, *, kept: bool) -> None:
        """One job of the transaction has ended; not `kept`: what it did is undone, and with it what it brought in."""
        if kept:
            self._fetched_now |= self._fetched_by_job
        self._fetched_by_job.clear()

    def transaction_done(self, *, kept: bool) -> None:
        """The transaction has ended."""
        if kept:
            self._fetched |= self._fetched_now | self._fetched_by_job
        self._fetched_now.clear()
        self._fetched_by_job.clear()

    def open_turns(self) -> frozenset[str]:
        """The turns that this process may be running: what it does not know of it cannot have begun."""
        return frozenset(row["id"] for row in self.connection.execute(queries.OPEN_TURN_IDS))

    def close(self) -> None:
        """Forget everything."""
        self.connection.close()
        if self._disk is not None and self._disk is not self._source:
            self._disk.close()

    # --- bringing in -----------------------------------------------------------------------------------------

    def _copy(self, table: str, condition: str, parameters: Sequence[Any] = ()) -> None:
        """Bring rows of a table in, as many as can be read."""
        if self._disk is None:
            return
        there = {row[0] for row in self._read(f"SELECT name FROM pragma_table_info('{table}')", ())}  # noqa: S608
        # One of an older schema, that could not be brought up to date yet, lacks the newest columns.
        columns = [name for name in _columns(self.connection, table) if name in there]
        if not columns:
            return
        names = ", ".join(columns)
        marks = ", ".join("?" * len(columns))
        rows = self._read(f"SELECT {names} FROM {table} {condition}", parameters)  # noqa: S608 - our own names
        statement = f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})"  # noqa: S608 - our own names
        capturing, self._capturing = self._capturing, False
        try:
            for row in rows:
                try:
                    self.connection.execute(statement, row)
                except (sqlite3.IntegrityError, sqlite3.DataError) as error:
                    # A damaged value; the rows beside it are worth having all the same.
                    log.warning("a row of %s is left out: %s", table, error)
                    self._is_incomplete()
        finally:
            self._capturing = capturing

    def _read(self, sql: str, parameters: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        assert self._disk is not None
        try:
            yield from self._disk.execute(sql, tuple(parameters))
        except sqlite3.Error as error:
            if self.complete:
                log.warning("not everything in the database can be read: %s", error)
            self._is_incomplete()

    def _is_incomplete(self) -> None:
        self.complete = False
        self.connection.hides = True

    def _number(self, floor: int) -> None:
        """Go on with the numbers of the database, or, where they are not known for sure, far above them."""
        if self.complete:
            known = dict(self._read("SELECT name, seq FROM sqlite_sequence", ()))
        if not self.complete:
            known = dict.fromkeys(NUMBERED, floor)
            # The slot with the highest number decides which number the next one gets.
            parts = (floor, "", "", "", "", "", "reserved", "")
            self.connection.execute(
                "INSERT INTO slots (id, agent, platform, chat_type, chat, thread, participant, key)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                parts,
            )
        self.connection.execute("DELETE FROM sqlite_sequence")
        rows = [(table, known.get(table, 0)) for table in NUMBERED]
        self.connection.executemany("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", rows)

    def _fetch_transcript(self, parameters: Sequence[Any]) -> None:
        """Bring a transcript in, as far as it can be read."""
        session_id = parameters[0]
        if any(session_id in done for done in (self._fetched, self._fetched_now, self._fetched_by_job)):
            return
        complete, self.complete = self.complete, True
        self._copy("messages", "WHERE session_id = ? ORDER BY id", (session_id,))
        if self.complete:
            self._fetched_by_job.add(session_id)
        self.complete = self.complete and complete

    def _fetch_whole_transcript(self, parameters: Sequence[Any]) -> None:
        """The same, for a statement that changes it: one that is not known whole stays as it is."""
        self._fetch_transcript(parameters)
        if self._disk is not None and parameters[0] not in self._fetched | self._fetched_now | self._fetched_by_job:
            raise UnreadableNowError("The transcript cannot be read at present. Try it again later.")

    def _fetch_inbound(self, parameters: Sequence[Any]) -> None:
        """A message that was taken in before the outage is to be known as a copy of itself."""
        condition = "WHERE platform = ? AND account = ? AND chat = ? AND message_id = ?"
        self._copy("inbound", condition, tuple(parameters[:4]))

    def _fetch_known(self, parameters: Sequence[Any]) -> None:
        """The same for several messages of a chat."""
        condition = "WHERE platform = ? AND account = ? AND chat = ? AND message_id IN (SELECT value FROM json_each(?))"
        self._copy("inbound", condition, tuple(parameters[:4]))

    def _fetch_latest_turn(self, parameters: Sequence[Any]) -> None:
        """The turn that began last in a session, where none has begun since the outage did."""
        if self.connection.execute("SELECT 1 FROM turns WHERE session_id = ?", (parameters[0],)).fetchone() is None:
            self._copy("turns", "WHERE session_id = ? ORDER BY rowid DESC LIMIT 1", (parameters[0],))

    def _fetch_messages_of_turn(self, parameters: Sequence[Any]) -> None:
        """What a turn was about that has ended."""
        self._copy("inbound", "WHERE turn_id = ?", (parameters[0],))

    def _fetch_webhook_calls(self, parameters: Sequence[Any]) -> None:
        """So is what was posted to a webhook, by what it was signed with and by its id."""
        self._copy("webhook_calls", "WHERE hook = ?1 AND (mark = ?2 OR delivery = ?3)", tuple(parameters[:3]))

    def _fetch_delivery(self, key: str | None) -> None:
        """What is sent once under a key may have been sent before the outage."""
        if key is not None:
            self._copy("outbox", "WHERE key = ?", (key,))

    # --- capturing -------------------------------------------------------------------------------------------

    def _capture(self) -> None:
        connection = self.connection
        connection.create_function("capturing", 0, lambda: self._capturing)
        connection.execute("CREATE TEMP TABLE changes (number INTEGER PRIMARY KEY, event TEXT NOT NULL)")
        for table, kind in KINDS.items():
            whole = _columns(connection, table)
            key = primary_key(connection, table)
            for event, op, row, columns in (
                ("INSERT", "put", "NEW", whole),
                ("UPDATE", "put", "NEW", whole),
                ("DELETE", "delete", "OLD", key),
            ):
                image = ", ".join(f"'{name}', {row}.{name}" for name in columns)
                condition = f"capturing() AND {ONLY.get(table, 'true').format(row=row)}"
                connection.execute(
                    f"CREATE TEMP TRIGGER {table}_{event} AFTER {event} ON main.{table} WHEN {condition} BEGIN"  # noqa: S608
                    f" INSERT INTO changes (event) VALUES (json_object("
                    f"'kind', '{kind}', 'op', '{op}', 'table', '{table}', 'row', json_object({image}))); END"
                )


def floor_of(directory: Path, now: datetime) -> int:
    """Where numbers begin if those of the database are not known: above all that an outage has ever given."""
    path, floor = directory / FLOOR_NAME, int(now.timestamp() * 1_000_000)
    with suppress(OSError, ValueError):
        floor = max(floor, int(path.read_text("ascii")) + FLOOR_GAP)
    with suppress(OSError):
        path.touch(mode=0o600)
        path.write_text(str(floor), "ascii")
    return floor


def primary_key(connection: sqlite3.Connection, table: str) -> list[str]:
    """The columns that tell rows of a table apart, in their order."""
    found = connection.execute(f"PRAGMA table_info({table})").fetchall()
    return [row["name"] for row in sorted(found, key=lambda row: row["pk"]) if row["pk"]]


def _columns(connection: sqlite3.Connection, table: str) -> list[str]:
    return [row["name"] for row in connection.execute(f"PRAGMA table_info({table})")]


def _open(path: Path) -> sqlite3.Connection | None:
    """The database on disk, for reading, in a transaction; None if it cannot be opened."""
    for left in reversed(range(READ_TRIES if path.exists() else 0)):
        try:
            return _open_once(path)
        except sqlite3.Error as error:
            if left and not is_damage(error) and not is_held(error):
                continue
            log.warning("the database cannot be read while it is out of use: %s", error)
            return None
    return None


def _open_once(path: Path) -> sqlite3.Connection:
    address = f"{path.absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(
        address, uri=True, timeout=DISK_BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("BEGIN")  # the tables are read one after another, and are to be of one moment
        connection.execute("SELECT count(*) FROM meta").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _begun(source: sqlite3.Connection) -> sqlite3.Connection:
    """A connection in a transaction, as the tables are read one after another and are to be of one moment."""
    if source.in_transaction:
        source.execute("ROLLBACK")
    source.execute("BEGIN")
    return source


def is_hiding(connection: sqlite3.Connection) -> bool:
    """Whether there may be rows in the database that cannot be seen on this connection, since it is a shadow's."""
    return bool(getattr(connection, "hides", False))


def check_known(connection: sqlite3.Connection, found: object, what: str) -> None:
    """Where nothing was found on a shadow that may lack it, that does not mean that there is nothing.

    Raises `StorageError`: whoever asked keeps what it has, and tries again.
    """
    if not found and is_hiding(connection):
        raise StorageError(f"{what} cannot be looked up while the database is out of use; it is tried again")
