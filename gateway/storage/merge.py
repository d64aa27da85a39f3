"""Puts what a spool holds into a database: in order, once, and so that a provisional session joins the real one.

In an outage the database may have been unreadable, and then slots have other numbers in the spool, a slot whose
session was not known got a provisional one, and a message that came a second time was not recognised. All of that is
settled here, by what the rows mean.
"""

import json
import logging
import sqlite3
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any, Final, Generic, TypeVar

from gateway.constants import LOCK_OUT_SECONDS
from gateway.storage import api_queries, mirror_queries, queries
from gateway.storage.faults import is_outage
from gateway.storage.moves import Move, move_chat
from gateway.storage.shadow import KINDS, primary_key
from gateway.storage.spool import Record

log = logging.getLogger(__name__)

JOINED: Final = "session_joined"
"""Why a provisional session ended: its content is in the session that it joined."""

SLOT_PARTS: Final = ("agent", "platform", "chat_type", "chat", "thread", "participant")
INBOUND_KEY: Final = ("platform", "account", "chat", "message_id")
COUNTERS: Final = (
    "message_count",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
)
END: Final = ("ended_at", "end_reason", "end_detail", "successor_id")
SESSION_LINKS: Final = ("session_id", "previous_session_id", "predecessor_id", "successor_id")
OPEN: Final = ("running", "waiting")
UNSETTLED: Final = ("pending", "running")
UNSENT: Final = ("pending", "sending")

MICROS: Final = 1_000_000
"""Of a second: how times are kept."""

PUT_BACK: Final = "another turn of the conversation goes first"
"""Why a turn waits that had begun."""

Row = dict[str, Any]
K = TypeVar("K")
V = TypeVar("V")


class Notes(dict[K, V], Generic[K, V]):
    """A mapping with a savepoint: what was set since the last `keep` is undone by `undo`. Nothing is ever removed."""

    def __init__(self) -> None:
        super().__init__()
        self._before: dict[K, V | None] = {}

    def __setitem__(self, key: K, value: V) -> None:
        self._before.setdefault(key, self.get(key))
        super().__setitem__(key, value)

    def keep(self) -> None:
        """Let what was set stand."""
        self._before.clear()

    def undo(self) -> None:
        """Have everything as it was."""
        for key, value in self._before.items():
            if value is None:
                del self[key]
            else:
                super().__setitem__(key, value)
        self._before.clear()


class Merge:
    """One merge of spools, the oldest first, into the database that `connection` has a transaction open on.

    Foreign keys are to be off: what a record refers to may come later, or have been lost with the database's damage.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._slots = Notes[int, int]()
        self._joined = Notes[str, str]()
        self._images = Notes[str, Row]()
        self._turns = Notes[str, Row]()
        self._notes: tuple[Notes[Any, Any], ...] = (self._slots, self._joined, self._images, self._turns)
        self._shape = {table: _shape(connection, table) for table in KINDS}

    def apply(self, records: Iterable[Record], rejected: Callable[[Record, Exception], None]) -> int:
        """Put the records of a spool in; how many there were. Raises `sqlite3.Error` for an outage.

        `rejected` gets each record that the database does not take, with the reason; the others go in regardless.
        """
        number = 0
        for record in records:
            self._apply_one(record, rejected)
            number += 1
        return number

    def learn(self, records: Iterable[Record]) -> None:
        """Take note of records that are in the database already: what later ones refer to may be named in them."""
        for record in records:
            for event in record.events:
                row = dict(event["row"])
                if event["table"] == "slots" and (found := self._find("slots", SLOT_PARTS, row)) is not None:
                    self._slots[row["id"]] = found["id"]
                elif event["table"] == "sessions" and event["op"] == "put":
                    joined = self._connection.execute(queries.JOINED_BY, (row["id"],)).fetchone()
                    if joined is not None:
                        self._joined[row["id"]], self._images[row["id"]] = joined[0], row
        for notes in self._notes:
            notes.keep()

    def finish(self, *, alive: Container[str] = (), decided: Callable[[], None] = lambda: None) -> None:
        """Put the turns in, as the last record left them, and tidy up.

        A slot has one open turn. Where one of the spool meets another, the one that is `alive`, which means that this
        process may be running it, stays open, else the one that is in the database; the other is put back, and goes on
        after it with its messages and its journal. Before the first of these decisions `decided` is called, since no
        record tells of them.
        """
        colliding: list[Row] = []
        # One that has ended makes room for the next of its slot.
        for turn in sorted(self._turns.values(), key=lambda turn: turn["state"] in OPEN):
            if turn["state"] in OPEN and self._other_open(turn) is not None:
                colliding.append(turn)
            else:
                self._put_turn(turn)
            if turn["state"] == "done":
                self._connection.execute(queries.REQUEUE_INBOUND, (turn["id"],))
                # Those that the outage has hidden are named by no record.
                self._connection.execute(queries.DELETE_STEPS, (turn["id"],))
        if colliding:
            decided()
        for turn in colliding:
            other = self._other_open(turn)
            if other is None or turn["id"] in alive:
                self._connection.execute(queries.PUT_BACK_TURN, (PUT_BACK, other))
                self._put_turn(turn)
            else:
                self._put_turn(turn | {"state": "put_back", "not_before": None, "reason": PUT_BACK})
        for slot_id in self._slots.values():
            self._connection.execute(queries.END_UNBOUND_SESSIONS, (slot_id, slot_id))

    def _put_turn(self, turn: Row) -> None:
        self._connection.execute("SAVEPOINT turn")
        try:
            self._put("turns", turn)
        except sqlite3.IntegrityError as error:
            self._connection.execute("ROLLBACK TO turn")
            log.warning("turn %s cannot be merged: %s", turn["id"], error)
        self._connection.execute("RELEASE turn")

    def _apply_one(self, record: Record, rejected: Callable[[Record, Exception], None]) -> None:
        connection = self._connection
        connection.execute("SAVEPOINT record")
        try:
            for event in record.events:
                self._apply_event(event)
        except (sqlite3.Error, LookupError, TypeError, ValueError) as error:
            if is_outage(error):
                raise
            connection.execute("ROLLBACK TO record")
            for notes in self._notes:
                notes.undo()
            log.warning("record %d of the spool cannot be merged: %s", record.seq, error)
            rejected(record, error)
        connection.execute("RELEASE record")
        for notes in self._notes:
            notes.keep()

    def _apply_event(self, event: Mapping[str, Any]) -> None:
        table, row = event["table"], dict(event["row"])
        if table not in KINDS:
            raise ValueError(f"unknown table {table}")
        if "slot_id" in row:
            row["slot_id"] = self._slots.get(row["slot_id"], row["slot_id"])
        if event["op"] == "delete":
            self._delete(table, row)
        elif table == "moved_chats":
            # Its slots are to be found under the new id by what follows, and those that the outage hid move too.
            move_chat(self._connection, Move(row["platform"], row["account"], row["old"], row["new"], row["moved_at"]))
        elif table == "slots":
            self._put_slot(row)
        elif table == "sessions":
            self._put_session(row)
        elif table == "inbound":
            self._put_inbound(row)
        elif table == "turns":
            self._turns[row["id"]] = self._linked(row)
        elif table == "outbox":
            self._put_delivery(row)
        elif table == "tokens_by_day":
            self._put_tokens(row)
        elif table == "turn_steps":
            self._put_step(row)
        elif table == "pairing_tries":
            self._put_tries(row)
        elif table == "api_requests":
            self._put_request(row)
        else:
            self._put(table, self._linked(row))

    # --- rows ------------------------------------------------------------------------------------------------

    def _put(self, table: str, row: Row) -> None:
        columns, key = self._shape[table]
        names = [name for name in columns if name in row]
        rest = ", ".join(f"{name} = excluded.{name}" for name in names if name not in key)
        action = f"UPDATE SET {rest}" if rest else "NOTHING"
        marks = ", ".join("?" * len(names))
        self._connection.execute(
            f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})"  # noqa: S608 - names of our own schema
            f" ON CONFLICT ({', '.join(key)}) DO {action}",
            [row[name] for name in names],
        )

    def _delete(self, table: str, row: Row) -> None:
        if table == "messages":
            self._connection.execute(queries.UNINDEX_MESSAGE, (row["id"],))
            self._connection.execute(mirror_queries.MARK_CUT_AT, (row["id"],))
        _columns, key = self._shape[table]
        condition = " AND ".join(f"{name} = ?" for name in key)
        self._connection.execute(f"DELETE FROM {table} WHERE {condition}", [row[name] for name in key])  # noqa: S608

    def _linked(self, row: Row) -> Row:
        """The row, with references to provisional sessions turned to those that they joined."""
        for name in SESSION_LINKS:
            if row.get(name) in self._joined:
                row[name] = self._joined[row[name]]
        return row

    def _find(self, table: str, names: Iterable[str], row: Row) -> sqlite3.Row | None:
        names = tuple(names)
        condition = " AND ".join(f"{name} = ?" for name in names)
        sql = f"SELECT * FROM {table} WHERE {condition}"  # noqa: S608 - names of our own schema
        found: sqlite3.Row | None = self._connection.execute(sql, [row[name] for name in names]).fetchone()
        return found

    # --- what rows mean --------------------------------------------------------------------------------------

    def _put_slot(self, row: Row) -> None:
        """A slot is known by its parts, whatever its number."""
        found = self._find("slots", SLOT_PARTS, row)
        number = row["id"]
        if found is not None:
            row["id"] = found["id"]
            if row["session_id"] is None and row["previous_session_id"] is None:
                # It was empty as far as was known; what the database knows stands.
                row["session_id"], row["previous_session_id"] = found["session_id"], found["previous_session_id"]
        elif self._find("slots", ("id",), row) is not None:
            del row["id"]  # another slot has the number
        self._put("slots", self._linked(row))
        if "id" not in row:
            (row["id"],) = self._connection.execute(queries.LAST_ROW).fetchone()
        self._slots[number] = row["id"]

    def _put_session(self, row: Row) -> None:
        session_id = row["id"]
        if session_id in self._joined:
            self._join(row)
            return
        if row["predecessor_id"] is None and self._find("sessions", ("id",), row) is None:
            slot = self._find("slots", ("id",), {"id": row["slot_id"]})
            if slot is not None and slot["session_id"] not in (None, session_id):
                self._begin_join(row, slot["session_id"])
                return
        self._put("sessions", self._linked(row))

    def _begin_join(self, row: Row, live_id: str) -> None:
        """A session that follows none, in a slot that has one: it was provisional."""
        log.info("the provisional session %s joins %s", row["id"], live_id)
        stub = row | {"ended_at": row["created_at"], "end_reason": JOINED, "end_detail": None, "successor_id": live_id}
        self._put("sessions", stub | dict.fromkeys(COUNTERS, 0))
        self._joined[row["id"]] = live_id
        self._images[row["id"]] = dict.fromkeys(COUNTERS, 0) | {"estimated_cost_usd": None}
        self._join(row)

    def _join(self, row: Row) -> None:
        """Add to the real session what has changed in the provisional one since the last time."""
        before = self._images[row["id"]]
        cost = row["estimated_cost_usd"]
        added = None if cost is None else cost - (before["estimated_cost_usd"] or 0.0)
        live_id = self._joined[row["id"]]
        counted = [row[name] - before[name] for name in COUNTERS]
        self._connection.execute(
            queries.JOIN_SESSION,
            (
                row["updated_at"],
                row["display_name"],
                row["origin"],
                row["title"],
                *counted,
                row["last_prompt_tokens"] or None,
                row["model"],
                added,
                added,
                row["cost_status"] if row["cost_status"] != "unknown" else None,
                live_id,
            ),
        )
        ended = [row[name] for name in END]
        if ended != [before.get(name) for name in END]:
            ended[-1] = self._joined.get(ended[-1], ended[-1])
            self._connection.execute(queries.END_JOINED, (*ended, live_id))
        self._images[row["id"]] = row

    def _put_inbound(self, row: Row) -> None:
        """A message is known by its platform's id for it: one that has its end keeps that."""
        found = self._find("inbound", INBOUND_KEY, row)
        if found is not None and found["id"] != row["id"]:
            if found["state"] not in UNSETTLED:
                return
            self._connection.execute(queries.RENUMBER_INBOUND, (row["id"], found["id"]))
        self._put("inbound", row)

    def _put_delivery(self, row: Row) -> None:
        """Of two with the same key the outage has hidden one from the other: it is one delivery, and its end stands."""
        found = None if row.get("key") is None else self._find("outbox", ("key",), row)
        if found is not None and found["id"] != row["id"]:
            if found["state"] not in UNSENT:
                return
            row["id"] = found["id"]
        self._put("outbox", self._linked(row))

    def _put_tokens(self, row: Row) -> None:
        """What was spent in a day does not become less because an outage has hidden a part of it."""
        found = self._find("tokens_by_day", ("day", "platform", "kind", "id"), row)
        self._put("tokens_by_day", row if found is None else row | {"tokens": max(row["tokens"], found["tokens"])})

    def _put_tries(self, row: Row) -> None:
        """Wrong codes that an outage has hidden count still: a lock holds as long as it was to, and a count that was
        not too old does not become less."""
        found = self._find("pairing_tries", ("actor",), row)
        if found is not None:
            until = found["locked_until"]
            if until is not None and until > row["last_at"]:
                row["locked_until"] = max(until, row["locked_until"] or 0)
            elif until is None and found["last_at"] > row["last_at"] - LOCK_OUT_SECONDS * MICROS:
                row["wrong"] = max(row["wrong"], found["wrong"])
        self._put("pairing_tries", row)

    def _put_request(self, row: Row) -> None:
        """What was asked in an outage came after all that its conversation had before, whatever the clock said then."""
        if self._find("api_requests", ("id",), row) is None:
            after = self._connection.execute(api_queries.NEXT_API_INSTANT, (row["chat"],)).fetchone()[0]
            self._put("api_requests", row | {"created_at": max(row["created_at"], after)})

    def _put_step(self, row: Row) -> None:
        """A step of a turn's journal never changes: another one with its number was made before, and unknown then."""
        found = self._find("turn_steps", ("turn_id", "seq"), row)
        while found is not None and (found["kind"], found["data"]) != (row["kind"], row["data"]):
            row["seq"] += 1
            found = self._find("turn_steps", ("turn_id", "seq"), row)
        self._put("turn_steps", row)

    def _other_open(self, turn: Row) -> str | None:
        """Another open turn of the slot. One whose messages have all come again in this one is ended, and is none."""
        found = self._connection.execute(queries.SESSION_HAS_TURN, (turn["slot_id"],)).fetchone()
        if found is None or found["id"] == turn["id"]:
            return None
        other = str(found["id"])
        if self._connection.execute(queries.TURN_HAS_INBOUND, (other,)).fetchone() is not None:
            return other
        ended = ("its messages came again", turn["started_at"], other)
        self._connection.execute(queries.END_TURN, ended)
        self._connection.execute(queries.DELETE_STEPS, (other,))
        return None


def describe(record: Record, error: Exception) -> str:
    """A rejected record as a line of JSON, for a person to look at."""
    return json.dumps({"seq": record.seq, "reason": str(error), "events": list(record.events)})


def _shape(connection: sqlite3.Connection, table: str) -> tuple[list[str], list[str]]:
    columns = [row["name"] for row in connection.execute(f"PRAGMA table_info({table})")]
    return columns, primary_key(connection, table)
