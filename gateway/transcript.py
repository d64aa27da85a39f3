"""The record of a turn: its beginning and its end, each one commit."""

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, TypeAlias

from gateway.access.people import person_of
from gateway.delivery import NewDelivery, add_delivery
from gateway.inbound import Extra, InboundRecord
from gateway.journal import add_step, stop_step
from gateway.media.words import describe_file
from gateway.ports import Button, DeliveryKind, InboundState, Message, OutgoingFile, Target, Usage
from gateway.session import records, slots
from gateway.session.entry import SessionEntry
from gateway.session.records import Arrival
from gateway.source import SessionSource
from gateway.storage import inbound_queries, outbox_queries, queries
from gateway.storage.codec import clean_text, decode_message, dump, to_micros
from gateway.storage.shadow import check_known
from gateway.values import value

READ_ALONG: Final = 40
"""Messages of a transcript that are read in the commit that begins a turn; that of more would hold up others."""

MAX_EDITS: Final = 10
"""Edits of earlier messages that an agent is told of at once, the latest: nobody means more of them to be read."""

STOPPED: Final = "stopped"
"""Why a turn ended that a person stopped."""

REVOKED: Final = "revoked"
"""Why a turn ended whose sender is not let in any more."""


CUT_SHORT_WORDS: Final[Mapping[str | None, str]] = {
    "length": "The answer ends here: it is longer than the model may answer.",
    "content_filter": "The answer ends here: the model's provider let no more of it through.",
}
"""What people are told of an answer that its model did not come to the end of, by the agent's reason."""

RETRY: Final = ((Button("Retry", "/retry"),),)
"""Stands below the message that a turn could not be answered."""


class TurnOpenError(Exception):
    """The slot has a turn that has not ended: that one goes on first."""

    def __init__(self, turn_id: str) -> None:
        super().__init__(f"turn {turn_id} is open")
        self.turn_id = turn_id


class WithdrawnError(Exception):
    """A message was deleted before it became a part of a turn: it is for no agent."""


@value
class Began:
    """A turn that has begun: its session, agent and messages, and whether that put anything (of a reset) in the outbox.

    `stop_reason` says that it was stopped before it began. `history` is the transcript so far, None for a long one.
    """

    entry: SessionEntry
    agent: str
    inbound: tuple[InboundRecord, ...]
    notified: bool
    stop_reason: str | None
    history: Sequence[Message] | None


@value
class TurnEnd:
    """How a turn ended, and everything that becomes durable with that.

    The first record gets `state`, the others are merged into it where it was answered. `reply` is the last content
    of what people see of the answer, None if there is none; `files` are those that it names, and follow it, as do then
    `notes`, messages of the gateway's own. The last of all deliveries names the messages that it answers. `done_reason`
    is what the agent said of why its answer ends, `agent` who that was.
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
    files: Sequence[OutgoingFile] = ()
    done_reason: str | None = None
    agent: str = ""

    @property
    def target(self) -> Target:
        """Where the answer goes."""
        return self.inbound[0].target

    @property
    def is_wordless(self) -> bool:
        """Whether there is nothing to deliver: all of the answer is what the agent did or asks for."""
        return self.reply is None and not self.notes and not self.files


OnEnd: TypeAlias = Callable[[sqlite3.Connection, TurnEnd, datetime], object]
"""Told of the end of a turn, as part of the commit that makes it durable."""


def together(*told: OnEnd) -> OnEnd:
    """All of these, one after the other."""

    def tell(connection: sqlite3.Connection, turn: TurnEnd, now: datetime) -> None:
        for each in told:
            each(connection, turn, now)

    return tell


def begin(
    connection: sqlite3.Connection, turn_id: str, agent: str, arrival: Arrival, inbound: Sequence[InboundRecord]
) -> Began | None:
    """Resolve the session and give the messages to a new turn of the agent that was chosen for it, else of this one;
    None if they have an end already. Raises `TurnOpenError`.
    """
    slot, arrival = _placed(connection, arrival, inbound[0])
    if slot["open_turn"] is not None:
        raise TurnOpenError(slot["open_turn"])
    claims = [(record, claim(connection, turn_id, record.id)) for record in inbound]
    claimed = tuple(_as_claimed(record.at(arrival.identity), row) for record, row in claims if row is not None)
    if not claimed and all(_is_withdrawn(connection, record) for record in inbound):
        return None
    check_known(connection, claimed, "the message")
    if not claimed:
        return None
    if slot["has_edits"]:
        claimed = _with_edits(connection, slot["id"], claimed)
    resolution = records.resolve(connection, arrival, for_turn=True)
    entry, agent = resolution.entry, resolution.agent or agent
    connection.execute(queries.ADD_TURN, (turn_id, slot["id"], entry.session_id, agent, to_micros(arrival.now)))
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
    return Began(entry, agent, claimed, notified, stop_reason, _history(connection, entry))


def _placed(connection: sqlite3.Connection, arrival: Arrival, first: InboundRecord) -> tuple[sqlite3.Row, Arrival]:
    """The slot that the message is in, and the arrival there: its chat may have another id by now."""
    slot: sqlite3.Row | None = connection.execute(inbound_queries.SLOT_TO_BEGIN_IN, (first.id, None)).fetchone()
    if slot is not None:
        return slot, records.at_slot(arrival, slots.identity_from_row(slot))
    number = slots.slot_number(connection, arrival.identity)
    slot = connection.execute(inbound_queries.SLOT_TO_BEGIN_IN, (None, number)).fetchone()
    assert slot is not None  # it is found or made in this very transaction
    return slot, arrival


def _as_claimed(record: InboundRecord, row: sqlite3.Row) -> InboundRecord:
    """The message as its sender wants it by now."""
    if (row["text"], row["extra"]) == (record.text, record.extra.dump()):
        return record
    return replace(record, text=row["text"], extra=Extra.load(row["extra"]))


def _with_edits(
    connection: sqlite3.Connection, slot_id: int, claimed: tuple[InboundRecord, ...]
) -> tuple[InboundRecord, ...]:
    """The messages, the first with what was changed in messages that the agent has seen. Where people share the
    conversation, what another one has changed does not pass for its sender's words."""
    rows = sorted(connection.execute(inbound_queries.TAKE_EDITS, (slot_id,)), key=lambda row: int(row["id"]))
    if not rows:
        return claimed
    first = claimed[0]
    own, others = list(first.extra.edits), list(first.extra.edits_of_others)
    for row in rows:
        (own if _is_by(row, first) else others).append(row["text"])
    extra = replace(first.extra, edits=tuple(own[-MAX_EDITS:]), edits_of_others=tuple(others[-MAX_EDITS:]))
    first = replace(first, extra=extra)
    connection.execute(inbound_queries.ANNOTATE_INBOUND, (first.extra.dump(), first.id))
    return (first, *claimed[1:])


def _is_by(row: sqlite3.Row, record: InboundRecord) -> bool:
    """Whether who wrote a message has written this one, too."""
    source = None if row["source"] is None else SessionSource.from_dict(json.loads(row["source"]))
    return source is not None and person_of(source) == person_of(record.source)


def _history(connection: sqlite3.Connection, entry: SessionEntry) -> list[dict[str, Any]] | None:
    """A short transcript, which takes less than asking for it separately would; None for one that is not."""
    if entry.message_count > READ_ALONG:
        return None
    return [decode_message(*row) for row in connection.execute(queries.LOAD_MESSAGES, (entry.session_id,))]


def claim(connection: sqlite3.Connection, turn_id: str, inbound_id: int) -> sqlite3.Row | None:
    """Give a message to a turn; None if it has an end, or a turn, already."""
    row: sqlite3.Row | None = connection.execute(queries.CLAIM_INBOUND, (turn_id, inbound_id)).fetchone()
    return row


def absorb(connection: sqlite3.Connection, turn_id: str, record: InboundRecord) -> None:
    """Give a message, as the agent gets it now, to a running turn; what it says by now, the next one is told.

    Raises `WithdrawnError`.
    """
    row = claim(connection, turn_id, record.id)
    if row is None and _is_withdrawn(connection, record):
        raise WithdrawnError
    if row is not None and row["text"] != record.text:
        connection.execute(inbound_queries.NOTE_EDIT, (row["text"], record.id))


def _is_withdrawn(connection: sqlite3.Connection, record: InboundRecord) -> bool:
    return connection.execute(inbound_queries.IS_WITHDRAWN, (record.id,)).fetchone() is not None


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


def end(connection: sqlite3.Connection, turn: TurnEnd, now: datetime) -> bool:
    """End a turn, once: transcript, counters, messages and what goes out. False if it had ended already."""
    at = to_micros(now)
    ended = connection.execute(queries.END_TURN, (turn.reason, at, turn.turn_id)).rowcount
    check_known(connection, ended, "the turn")
    if not ended:
        return False
    records.append(connection, turn.session_id, turn.messages, turn.usage, now, turn_id=turn.turn_id)
    _end_inbound(connection, turn, at)
    _put_out(connection, turn, now)
    return True


def end_bare(connection: sqlite3.Connection, turn: TurnEnd, now: datetime) -> None:
    """End a turn whose record cannot be kept: its messages, and what goes out."""
    at = to_micros(now)
    ended = connection.execute(queries.END_TURN, (turn.reason, at, turn.turn_id)).rowcount
    check_known(connection, ended, "the turn")
    if ended:
        connection.execute(queries.RESIZE_TRANSCRIPT, (0, at, turn.session_id))
        _end_inbound(connection, turn, at)
        _put_out(connection, turn, now)


def drop(connection: sqlite3.Connection, turn_id: str, reason: str, now: datetime) -> None:
    """End a turn that has no messages, and so nobody to tell."""
    connection.execute(queries.END_TURN, (reason, to_micros(now), turn_id))
    connection.execute(queries.DELETE_STEPS, (turn_id,))
    connection.execute(outbox_queries.COMPLETE_ORPHANS)


def _end_inbound(connection: sqlite3.Connection, turn: TurnEnd, at: int) -> None:
    state = turn.state
    for record in turn.inbound:
        connection.execute(queries.END_INBOUND, (state, turn.reason, at, record.id))
        if state is InboundState.ANSWERED:
            state = InboundState.MERGED
    connection.execute(queries.DELETE_STEPS, (turn.turn_id,))


def _put_out(connection: sqlite3.Connection, turn: TurnEnd, now: datetime) -> None:
    if turn.inbound[0].silent:
        return
    answers = tuple(message_id for record in turn.inbound for message_id in record.answerable)
    growing = connection.execute(outbox_queries.STREAM_OF_TURN, (turn.turn_id,)).fetchone()
    if growing is not None:
        text = growing["text"] if turn.reply is None else turn.reply
        values = (clean_text(text), dump(() if turn.notes or turn.files else answers), growing["id"])
        connection.execute(outbox_queries.COMPLETE_DELIVERY, values)
    parts: list[tuple[DeliveryKind, str, OutgoingFile | None]] = [
        *(("file", describe_file(file), file) for file in turn.files),
        *((kind, text, None) for kind, text in turn.notes),
    ]
    if growing is None and turn.reply is not None:
        parts.insert(0, ("reply", turn.reply, None))
    for number, (kind, text, file) in enumerate(parts, start=1):
        last = answers if number == len(parts) else ()
        delivery = NewDelivery(
            turn.target,
            kind,
            text,
            last,
            session_id=turn.session_id,
            turn_id=turn.turn_id,
            file=file,
            buttons=RETRY if kind == "error" else (),
        )
        add_delivery(connection, delivery, now)


def _reset_words(entry: SessionEntry) -> str:
    why = "there was no message for a while" if entry.auto_reset_reason == "idle" else "a new day began"
    return f"This is a new conversation, because {why}. The one before is kept as session {entry.predecessor_id}."
