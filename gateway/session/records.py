"""Session records inside a transaction: resolve a slot, end, begin and switch sessions, count turns.

Everything here runs as, or within, a job of the database writer, and has no effect but on the connection.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from typing import Any, Final, Literal, TypeAlias

from config import Platform, SessionResetPolicy
from gateway.constants import FRESH_SECONDS
from gateway.ids import Ids
from gateway.ports import Usage
from gateway.session.entry import SessionEntry, read_origin
from gateway.session.errors import SessionInUse, UnknownSession
from gateway.session.key import SlotIdentity
from gateway.session.messages import message_row
from gateway.session.reset import ResetReason, quiet_limit, reset_reason
from gateway.session.slots import has_open_turn, has_waiting, present_identity, slot_number, take_waiting
from gateway.session.slots import parts as parts_of
from gateway.session.text import UNTITLED, title_from
from gateway.source import SessionSource
from gateway.storage import import_queries, queries
from gateway.storage.codec import clean_text, dump, from_micros, optional_instant, to_micros
from gateway.values import maker, value

RESET: Final = "session_reset"
SWITCH: Final = "session_switch"

ReadOrigin: TypeAlias = Callable[[str | None, Platform | None], tuple[SessionSource | None, Mapping[str, Any] | None]]

EndDetail: TypeAlias = Literal["idle", "daily", "command", "switch"]
"""What ended a session: a rule of the reset policy, a command (or a caller who forced it), or a switch."""


@value
class Arrival:
    """What resolving a slot depends on. `origin` is the source as a session keeps it, see `origin_json`. `active`: work
    goes on in it, so no policy may end its session.

    A session that begins gets its id from `ids` there and then: most arrivals need none.
    """

    identity: SlotIdentity
    source: SessionSource
    origin: str
    policy: SessionResetPolicy
    zone: tzinfo
    now: datetime
    ids: Ids
    active: bool = False
    force_new: bool = False


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot by its number, with the session that was live in it; `titled`: the session has its title."""

    number: int
    session_id: str
    titled: bool


@value
class Resolution:
    """The live session of a slot, whether it has just begun, and who was chosen to answer in it."""

    entry: SessionEntry
    created: bool
    slot_id: int
    agent: str | None = None


# --- a message arrives -----------------------------------------------------------------------------------


def present_arrival(connection: sqlite3.Connection, arrival: Arrival) -> Arrival:
    """The arrival in the chat as it is called now."""
    return at_slot(arrival, present_identity(connection, arrival.identity))


def at_slot(arrival: Arrival, identity: SlotIdentity) -> Arrival:
    """The arrival in a slot of another chat id than it was made for; the same if it is its own."""
    if identity == arrival.identity:
        return arrival
    source = replace(arrival.source, chat_id=identity.chat)
    return replace(arrival, identity=identity, source=source, origin=origin_json(source))


def resolve(connection: sqlite3.Connection, arrival: Arrival, *, for_turn: bool = False) -> Resolution:
    """The live session of the slot: as it is, or a new one where the policy or the caller ends the old one.

    `for_turn`: a turn of the slot begins in the same commit. While it is open no policy ends the session, and its end
    moves the session's time: until then one that is fresh stays, unless something else is to be noted too.
    """
    row = _find_live(connection, queries.LIVE_SESSION, arrival)
    if row is None:
        return _begin(connection, arrival)
    now, name = to_micros(arrival.now), arrival.source.chat_name or row["display_name"]
    fresh = for_turn and now - row["updated_at"] <= FRESH_SECONDS * 1_000_000
    if not fresh or (row["display_name"], row["origin"]) != (name, arrival.origin):
        connection.execute(queries.TOUCH_SESSION, (now, name, arrival.origin, row["id"]))
    return Resolution(_entry(row, arrival), created=False, slot_id=row["bound_slot_id"], agent=row["chosen_agent"])


def record_turn(
    connection: sqlite3.Connection,
    arrival: Arrival,
    messages: Sequence[Mapping[str, Any]],
    usage: Usage,
    hint: Slot | None = None,
) -> Slot:
    """What `resolve` and then `append` do, with one update instead of two; the session, and its slot.

    `hint` is what an earlier call gave for the same slot. It may be out of date: the update looks whether it is.
    """
    if hint is not None and _count_live(connection, arrival, messages, usage, hint):
        _add_messages(connection, hint.session_id, messages, arrival.now)
        return hint
    arrival = present_arrival(connection, arrival)
    row = _find_live(connection, queries.LIVE_SESSION_BRIEF, arrival)
    if row is None:
        begun = _begin(connection, arrival)
        append(connection, begun.entry.session_id, messages, usage, arrival.now)
        return Slot(begun.slot_id, begun.entry.session_id, titled=False)
    session_id: str = row["id"]
    title = None if row["titled"] else _title(messages)
    _count(connection, session_id, messages, usage, arrival.now, title, arrival)
    _add_messages(connection, session_id, messages, arrival.now)
    return Slot(row["bound_slot_id"], session_id, titled=bool(row["titled"]))


def _count_live(
    connection: sqlite3.Connection,
    arrival: Arrival,
    messages: Sequence[Mapping[str, Any]],
    usage: Usage,
    hint: Slot,
) -> bool:
    """Count a turn if the hint still holds and the policy lets the session go on; whether it did."""
    limit = quiet_limit(arrival.policy)
    if limit is None or not hint.titled or arrival.force_new:
        return False
    now = to_micros(arrival.now)
    values = _counted(messages, usage, now, None, arrival)
    guard = (hint.session_id, hint.number, now - limit)
    return bool(connection.execute(queries.COUNT_LIVE_TURN, (*values, *guard)).rowcount)


def _find_live(connection: sqlite3.Connection, query: str, arrival: Arrival) -> sqlite3.Row | None:
    """The slot's live session, by a query of the kind of `LIVE_SESSION`, if neither policy nor caller ends it."""
    row: sqlite3.Row | None = connection.execute(query, parts_of(arrival.identity)).fetchone()
    if row is None and take_waiting(connection, arrival.identity) is not None:
        row = connection.execute(query, parts_of(arrival.identity)).fetchone()
    if row is None or row["id"] is None or arrival.force_new:
        return None
    updated_at = row["updated_at"]
    limit = quiet_limit(arrival.policy)
    if limit is not None and to_micros(arrival.now) - updated_at <= limit:
        return row
    reason = _over(connection, row["id"], updated_at, arrival.policy, arrival.zone, arrival.now)
    if reason is None or arrival.active or has_open_turn(connection, row["bound_slot_id"]):
        return row
    return None


# --- sessions begin and end ------------------------------------------------------------------------------


def owner_of(identity: SlotIdentity, source: SessionSource) -> str:
    """Whose a session is: the person's where the slot is one person's, else the chat's."""
    person = identity.participant
    if not person and identity.chat_type == "dm":
        person = source.user_id_alt or source.user_id or ""
    if person:
        return f"{identity.platform}:user:{person}"
    return f"{identity.platform}:{identity.chat_type}:{identity.chat}:{identity.thread}"


def begin_fresh(connection: sqlite3.Connection, slot: sqlite3.Row, new_id: str, now: datetime) -> SessionEntry | None:
    """End a slot's session on command and begin the next, with the same origin; None if there never was one."""
    old_id = slot["session_id"] or slot["previous_session_id"]
    if old_id is None:
        return None
    old = connection.execute(queries.GET_SESSION, (old_id,)).fetchone()
    if slot["session_id"] is not None:
        end_session(connection, old_id, RESET, "command", now)
    predecessor_id = old_id if slot["session_id"] is not None or _ended_in(old, slot["id"]) else None
    micros = to_micros(now)
    place = (old["owner"], old["platform"], slot["chat_type"], old["display_name"], old["origin"])
    values = (new_id, slot["id"], *place, micros, micros, predecessor_id, 0, None, 0)
    return _install(connection, values, slot["id"], predecessor_id)


def end_session(connection: sqlite3.Connection, session_id: str, reason: str, detail: EndDetail, now: datetime) -> None:
    """End a session; it stays listed, searchable and resumable."""
    connection.execute(queries.END_SESSION, (to_micros(now), reason, detail, session_id))


def switch(
    connection: sqlite3.Connection, slot: sqlite3.Row, session_id: str, now: datetime, owner: str | None = None
) -> SessionEntry:
    """Make an earlier session of the same owner the live one of a slot; where no owner is given, that of the slot's
    session. Raises `UnknownSession`, `SessionInUse`."""
    current_id = slot["session_id"] or slot["previous_session_id"]
    current = connection.execute(queries.GET_SESSION, (current_id,)).fetchone()
    target = connection.execute(queries.GET_SESSION, (session_id,)).fetchone()
    if owner is None and current is not None:
        owner = current["owner"]
    if target is None or owner is None or owner != target["owner"]:
        raise UnknownSession(session_id)
    if slot["session_id"] == session_id:
        return entry_from_row(target)
    if target["ended_at"] is None:
        raise SessionInUse(session_id, target["session_key"])
    if slot["session_id"] is not None:
        end_session(connection, current_id, SWITCH, "switch", now)
    ours = current is not None and (slot["session_id"] is not None or _ended_in(current, slot["id"]))
    if ours and current_id != session_id:
        connection.execute(queries.LINK_SUCCESSOR, (session_id, current_id))
    connection.execute(queries.REOPEN_SESSION, (to_micros(now), slot["id"], slot["chat_type"], session_id))
    connection.execute(queries.BIND_SLOT, (session_id, slot["id"]))
    return load_entry(connection, session_id)


def install_fork(
    connection: sqlite3.Connection, original_id: str, new_id: str, slot: sqlite3.Row, now: datetime
) -> None:
    """Begin a session in a slot that follows an original, with its owner and place; the slot's own one ends."""
    original = connection.execute(queries.GET_SESSION, (original_id,)).fetchone()
    if slot["session_id"] is not None:
        end_session(connection, slot["session_id"], SWITCH, "switch", now)
    micros = to_micros(now)
    place = (original["owner"], original["platform"], slot["chat_type"], original["display_name"], original["origin"])
    connection.execute(queries.ADD_SESSION, (new_id, slot["id"], *place, micros, micros, original_id, 0, None, 0))
    if slot["session_id"] is not None:
        connection.execute(queries.LINK_SUCCESSOR, (new_id, slot["session_id"]))
    connection.execute(queries.BIND_SLOT, (new_id, slot["id"]))


def expire(
    connection: sqlite3.Connection, slot: sqlite3.Row, policy: SessionResetPolicy, zone: tzinfo, now: datetime
) -> str | None:
    """End the slot's session if the policy says so and nothing runs or waits there, leaving it empty; by which rule."""
    if slot["session_id"] is None or has_open_turn(connection, slot["id"]) or has_waiting(connection, slot["id"]):
        return None
    updated_at = to_micros(load_entry(connection, slot["session_id"]).updated_at)
    reason = _over(connection, slot["session_id"], updated_at, policy, zone, now)
    if reason is not None:
        end_session(connection, slot["session_id"], RESET, reason, now)
        connection.execute(queries.VACATE_SLOT, (slot["id"],))
    return reason


def _over(
    connection: sqlite3.Connection,
    session_id: str,
    updated_at: int,
    policy: SessionResetPolicy,
    zone: tzinfo,
    now: datetime,
) -> ResetReason | None:
    """The rule by which a session is over, or None. One that was imported has been quiet only since it came in."""
    reason = reset_reason(policy, from_micros(updated_at), now, zone)
    if reason is None:
        return None
    row = connection.execute(import_queries.IMPORTED_AT, (session_id,)).fetchone()
    if row is None or row[0] is None or row[0] <= updated_at:
        return reason
    return reset_reason(policy, from_micros(row[0]), now, zone)


def _begin(connection: sqlite3.Connection, arrival: Arrival) -> Resolution:
    """End the slot's live session, if it has one, and begin the next; it tells of a predecessor that a rule ended."""
    slot_id = slot_number(connection, arrival.identity)
    predecessor, ended_by = _end_before(connection, arrival, slot_id)
    reason = ended_by if ended_by in ("idle", "daily") else None
    had_activity = predecessor is not None and reason is not None and _had_activity(predecessor)
    predecessor_id = predecessor["id"] if predecessor is not None else None
    source, new_id, now = arrival.source, arrival.ids.session(arrival.now), to_micros(arrival.now)
    owner = owner_of(arrival.identity, source)
    place = (owner, str(source.platform.value), source.chat_type, source.chat_name, arrival.origin)
    notice = (int(reason is not None), reason, int(had_activity))
    values = (new_id, slot_id, *place, now, now, predecessor_id, *notice)
    return Resolution(_install(connection, values, slot_id, predecessor_id), created=True, slot_id=slot_id)


def _end_before(
    connection: sqlite3.Connection, arrival: Arrival, slot_id: int
) -> tuple[sqlite3.Row | None, EndDetail | None]:
    """The session that the next one of the slot follows, ended now if it was live, and what ended it."""
    slot = connection.execute(queries.GET_SLOT, (slot_id,)).fetchone()
    old_id = slot["session_id"] or slot["previous_session_id"]
    old: sqlite3.Row | None = connection.execute(queries.GET_SESSION, (old_id,)).fetchone()
    if old is None:
        return None, None
    if slot["session_id"] is None:
        return (old, old["end_detail"]) if _ended_in(old, slot_id) else (None, None)
    detail: EndDetail = "command"
    if not arrival.force_new:
        reason = _over(connection, old_id, old["updated_at"], arrival.policy, arrival.zone, arrival.now)
        detail = reason or "command"
    end_session(connection, old_id, RESET, detail, arrival.now)
    return old, detail


def _ended_in(session: sqlite3.Row, slot_id: int) -> bool:
    """Whether a slot's previous session is still its own: a switch may have taken it up in another slot."""
    return session["slot_id"] == slot_id and session["ended_at"] is not None


def _install(
    connection: sqlite3.Connection, values: tuple[Any, ...], slot_id: int, predecessor_id: str | None
) -> SessionEntry:
    """Add a session (the first value is its id) and make it the live one of the slot."""
    new_id = values[0]
    connection.execute(queries.ADD_SESSION, values)
    if predecessor_id is not None:
        connection.execute(queries.LINK_SUCCESSOR, (new_id, predecessor_id))
    connection.execute(queries.BIND_SLOT, (new_id, slot_id))
    return load_entry(connection, new_id)


def origin_json(source: SessionSource) -> str:
    """A source as a session keeps it. It is written with each message, and seldom differs from the one before."""
    return dump(source.to_dict())


def _had_activity(row: sqlite3.Row) -> bool:
    spent = row["input_tokens"] + row["output_tokens"] + row["cache_read_tokens"] + row["cache_write_tokens"]
    return bool(row["message_count"] > 0 or spent > 0)


# --- turns -----------------------------------------------------------------------------------------------


def append(
    connection: sqlite3.Connection,
    session_id: str,
    messages: Sequence[Mapping[str, Any]],
    usage: Usage,
    now: datetime,
    turn_id: str | None = None,
    key: str | None = None,
) -> None:
    """Append messages and add usage, in one go; the session's first words become its title.

    What a provisional session is to get goes to the one that it has joined meanwhile. Raises `UnknownSession`.
    """
    counted_id = _count(connection, session_id, messages, usage, now, _title(messages))
    _add_messages(connection, counted_id, messages, now, turn_id, key)


def _count(
    connection: sqlite3.Connection,
    session_id: str,
    messages: Sequence[Mapping[str, Any]],
    usage: Usage,
    now: datetime,
    title: str | None,
    arrival: Arrival | None = None,
) -> str:
    """Count in the session, or in the one that it has joined; its id."""
    values = _counted(messages, usage, to_micros(now), title, arrival)
    if connection.execute(queries.COUNT_TURN, (*values, session_id)).rowcount:
        return session_id
    joined = connection.execute(queries.JOINED_BY, (session_id,)).fetchone()
    if joined is None:
        raise UnknownSession(session_id)
    return _count(connection, joined[0], messages, usage, now, title, arrival)


def _counted(
    messages: Sequence[Mapping[str, Any]], usage: Usage, now: int, title: str | None, arrival: Arrival | None
) -> tuple[Any, ...]:
    """What `queries.COUNT_TURN` and its kin count with."""
    return (
        now,
        arrival.source.chat_name if arrival is not None else None,
        arrival.origin if arrival is not None else None,
        title,
        len(messages),
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        usage.last_prompt_tokens,
        usage.model,
        usage.cost_usd,
        usage.cost_usd,
        usage.cost_status or None,
    )


def _add_messages(
    connection: sqlite3.Connection,
    session_id: str,
    messages: Sequence[Mapping[str, Any]],
    now: datetime,
    turn_id: str | None = None,
    key: str | None = None,
) -> None:
    at = to_micros(now)
    rows = [(session_id, turn_id, key, *message_row(message), at) for message in messages]
    connection.executemany(queries.ADD_MESSAGE, rows)


def _title(messages: Sequence[Mapping[str, Any]]) -> str | None:
    title = title_from(messages)
    return None if title == UNTITLED else clean_text(title)


# --- records ---------------------------------------------------------------------------------------------


_made_entry: Final = maker(SessionEntry)


def load_entry(connection: sqlite3.Connection, session_id: str) -> SessionEntry:
    """A session's record. Raises `UnknownSession`."""
    row = connection.execute(queries.GET_SESSION, (session_id,)).fetchone()
    if row is None:
        raise UnknownSession(session_id)
    return entry_from_row(row)


def entry_from_row(row: sqlite3.Row, read: ReadOrigin = read_origin) -> SessionEntry:
    """The record that the first columns of a row hold. `read` reads its origin, as `read_origin` does."""
    return _entry(row, None, read)


def _entry(row: sqlite3.Row, touched_by: Arrival | None, read: ReadOrigin = read_origin) -> SessionEntry:
    (
        session_key,
        session_id,
        created_at,
        updated_at,
        origin_json,
        display_name,
        platform_name,
        chat_type,
        *tokens,
        cost,
        cost_status,
        was_auto_reset,
        auto_reset_reason,
        reset_had_activity,
        message_count,
        model,
        title,
        predecessor_id,
        successor_id,
        ended_at,
        end_reason,
    ) = row[: queries.ENTRY_WIDTH]
    platform, unknown_platform = _platform(platform_name)
    unknown_origin = None
    if touched_by is not None:
        source: SessionSource | None = touched_by.source
        updated_at = max(updated_at, to_micros(touched_by.now))
        display_name = touched_by.source.chat_name or display_name
    else:
        source, unknown_origin = read(origin_json, platform)
    return _made_entry(
        session_key,
        session_id,
        from_micros(created_at),
        from_micros(updated_at),
        source,
        display_name,
        platform,
        chat_type,
        *tokens,
        cost or 0.0,
        cost_status,
        bool(was_auto_reset),
        auto_reset_reason,
        bool(reset_had_activity),
        message_count,
        model,
        title,
        predecessor_id,
        successor_id,
        optional_instant(ended_at),
        end_reason,
        unknown_platform,
        unknown_origin,
    )


def _platform(name: str | None) -> tuple[Platform | None, str | None]:
    """The platform, or its name as it stands where no adapter knows it any more."""
    if name is None:
        return None, None
    try:
        return Platform(name), None
    except ValueError:
        return None, name
