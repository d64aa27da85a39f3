"""The record of a turn: its beginning and its end, each one commit."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gateway.delivery import NewDelivery, add_delivery
from gateway.inbox import InboundRecord
from gateway.journal import add_step, stop_step
from gateway.ports import DeliveryKind, InboundState, Message, Target, Usage
from gateway.session import records
from gateway.session.entry import SessionEntry
from gateway.session.records import Arrival
from gateway.storage import queries
from gateway.storage.codec import clean_text, decode_message, dump, to_micros
from gateway.storage.shadow import check_known

READ_ALONG: Final = 40
"""Messages of a transcript that are read in the commit that begins a turn; that of more would hold up others."""

STOPPED: Final = "stopped"
"""Why a turn ended that a person stopped."""


class TurnOpenError(Exception):
    """The slot has a turn that has not ended: that one goes on first."""

    def __init__(self, turn_id: str) -> None:
        super().__init__(f"turn {turn_id} is open")
        self.turn_id = turn_id


@dataclass(frozen=True, slots=True)
class Began:
    """A turn that has begun: its session, its messages, and whether that put anything (of a reset) in the outbox.

    `stop_reason` says that it was stopped before it began. `history` is the transcript so far, None for a long one.
    """

    entry: SessionEntry
    inbound: tuple[InboundRecord, ...]
    notified: bool
    stop_reason: str | None
    history: Sequence[Message] | None


@dataclass(frozen=True, slots=True)
class TurnEnd:
    """How a turn ended, and everything that becomes durable with that.

    The first record gets `state`, the others are merged into it where it was answered. `reply` is the last content
    of what people see of the answer, None if there is none; `notes` are messages of the gateway's own that follow
    it. The last of all deliveries names the messages that it answers.
    """

    turn_id: str
    session_id: str
    state: InboundState
    reason: str | None
    inbound: Sequence[InboundRecord]
    messages: Sequence[Message]
    usage: Usage
    reply: str | None
    notes: Sequence[tuple[DeliveryKind, str]]

    @property
    def target(self) -> Target:
        """Where the answer goes."""
        return self.inbound[0].target


def begin(
    connection: sqlite3.Connection, turn_id: str, agent: str, arrival: Arrival, inbound: Sequence[InboundRecord]
) -> Began | None:
    """Resolve the session and give the messages to a new turn; None if they have an end already.

    Raises `TurnOpenError`.
    """
    slot_id = records.slot_number(connection, arrival.identity)
    open_turn = connection.execute(queries.SESSION_HAS_TURN, (slot_id,)).fetchone()
    if open_turn is not None:
        raise TurnOpenError(open_turn["id"])
    claims = [(record, claim(connection, turn_id, record.id)) for record in inbound]
    claimed = tuple(record for record, row in claims if row is not None)
    check_known(connection, claimed, "the message")
    if not claimed:
        return None
    entry = records.resolve(connection, arrival).entry
    connection.execute(queries.ADD_TURN, (turn_id, slot_id, entry.session_id, agent, to_micros(arrival.now)))
    stop_reason = next((str(row["reason"]) for _record, row in claims if row is not None and row["reason"]), None)
    if stop_reason is not None:
        add_step(connection, turn_id, stop_step(stop_reason))
    notified = entry.was_auto_reset and entry.reset_had_activity
    if entry.was_auto_reset:
        connection.execute(queries.TAKE_RESET_NOTICE, (entry.session_id,))
    if notified:
        target, words = claimed[0].target, _reset_words(entry)
        notice = NewDelivery(target, "notice", words, session_id=entry.session_id, turn_id=turn_id)
        add_delivery(connection, notice, arrival.now)
    return Began(entry, claimed, notified, stop_reason, _history(connection, entry))


def _history(connection: sqlite3.Connection, entry: SessionEntry) -> list[dict[str, Any]] | None:
    """A short transcript, which takes less than asking for it separately would; None for one that is not."""
    if entry.message_count > READ_ALONG:
        return None
    return [decode_message(*row) for row in connection.execute(queries.LOAD_MESSAGES, (entry.session_id,))]


def claim(connection: sqlite3.Connection, turn_id: str, inbound_id: int) -> sqlite3.Row | None:
    """Give a message to a turn; None if it has an end, or a turn, already."""
    row: sqlite3.Row | None = connection.execute(queries.CLAIM_INBOUND, (turn_id, inbound_id)).fetchone()
    return row


def stop(connection: sqlite3.Connection, inbound_id: int, reason: str) -> None:
    """Note that the turn of this message is stopped, so that it is not run again whatever becomes of the program.

    A message that has no turn yet is stopped when it gets one; one that has ended stays as it is.
    """
    row = connection.execute(queries.TURN_OF_INBOUND, (inbound_id,)).fetchone()
    if row is None:
        return
    if row["turn_id"] is None:
        connection.execute(queries.STOP_INBOUND, (reason, inbound_id))
    else:
        add_step(connection, row["turn_id"], stop_step(reason))


def end(connection: sqlite3.Connection, turn: TurnEnd, now: datetime) -> None:
    """End a turn, once: transcript, counters, messages and what goes out."""
    at = to_micros(now)
    ended = connection.execute(queries.END_TURN, (turn.reason, at, turn.turn_id)).rowcount
    check_known(connection, ended, "the turn")
    if not ended:
        return
    records.append(connection, turn.session_id, turn.messages, turn.usage, now, turn_id=turn.turn_id)
    _end_inbound(connection, turn, at)
    _put_out(connection, turn, now)


def end_bare(connection: sqlite3.Connection, turn: TurnEnd, now: datetime) -> None:
    """End a turn whose record cannot be kept: its messages, and what goes out."""
    at = to_micros(now)
    ended = connection.execute(queries.END_TURN, (turn.reason, at, turn.turn_id)).rowcount
    check_known(connection, ended, "the turn")
    if ended:
        _end_inbound(connection, turn, at)
        _put_out(connection, turn, now)


def drop(connection: sqlite3.Connection, turn_id: str, reason: str, now: datetime) -> None:
    """End a turn that has no messages, and so nobody to tell."""
    connection.execute(queries.END_TURN, (reason, to_micros(now), turn_id))
    connection.execute(queries.DELETE_STEPS, (turn_id,))
    connection.execute(queries.COMPLETE_ORPHANS)


def _end_inbound(connection: sqlite3.Connection, turn: TurnEnd, at: int) -> None:
    state = turn.state
    for record in turn.inbound:
        connection.execute(queries.END_INBOUND, (state, turn.reason, at, record.id))
        if state is InboundState.ANSWERED:
            state = InboundState.MERGED
    connection.execute(queries.DELETE_STEPS, (turn.turn_id,))


def _put_out(connection: sqlite3.Connection, turn: TurnEnd, now: datetime) -> None:
    answers = tuple(record.message_id for record in turn.inbound)
    growing = connection.execute(queries.STREAM_OF_TURN, (turn.turn_id,)).fetchone()
    if growing is not None:
        text = growing["text"] if turn.reply is None else turn.reply
        values = (clean_text(text), dump(() if turn.notes else answers), growing["id"])
        connection.execute(queries.COMPLETE_DELIVERY, values)
    texts: list[tuple[DeliveryKind, str]] = list(turn.notes)
    if growing is None and turn.reply is not None:
        texts.insert(0, ("reply", turn.reply))
    for number, (kind, text) in enumerate(texts, start=1):
        last = answers if number == len(texts) else ()
        delivery = NewDelivery(turn.target, kind, text, last, session_id=turn.session_id, turn_id=turn.turn_id)
        add_delivery(connection, delivery, now)


def _reset_words(entry: SessionEntry) -> str:
    why = "there was no message for a while" if entry.auto_reset_reason == "idle" else "a new day began"
    return f"This is a new conversation, because {why}. The one before is kept as session {entry.predecessor_id}."
