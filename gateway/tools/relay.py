"""Messages of agents from session to session: each a turn of the session that it is for, once, and not for ever."""

import asyncio
import hashlib
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Protocol, TypeVar

from config import LiveConfig
from gateway.access import Gate, Role
from gateway.constants import RELAY_POLL_SECONDS
from gateway.delivery import NewDelivery, add_delivery
from gateway.ids import is_session_id
from gateway.inbound import Extra, InboundRecord, Relay, record_from_row, target_of
from gateway.limits import Limits
from gateway.outside import as_value, one_line
from gateway.ports import Clock, InboundState, Target
from gateway.session import changes, records, slots
from gateway.session.errors import UnknownSession
from gateway.session.key import SlotIdentity
from gateway.session.scope import SessionView
from gateway.session.text import flatten_text
from gateway.storage import queries, session_queries, tool_queries
from gateway.storage.codec import clean_text, decode_message, to_micros
from gateway.storage.database import Database
from gateway.storage.probe import Probe
from gateway.tools.caller import Caller
from gateway.tools.durable import carried_out
from gateway.tools.requests import SendToSession, ToolError
from gateway.tools.texts import cut

K = TypeVar("K")

TITLE_CHARS: Final = 80
SHOWN_CHARS: Final = 500
"""Characters of a message from another session that its chat is shown."""

OPEN: Final = (InboundState.PENDING, InboundState.RUNNING)


class Queue(Protocol):
    """The lanes, as far as a message of an agent is concerned."""

    @property
    def is_full(self) -> bool:
        """Whether nothing more is to be taken in."""

    def offer(self, record: InboundRecord, *, interrupts: bool = True) -> None:
        """Take a message that is in the inbox."""


@dataclass(frozen=True, slots=True)
class _Posted:
    """A message that is in the inbox. `record` is None where it had been before; `refusal` says why it is not.

    `told` are the places where something is to be shown."""

    inbound_id: int
    view: SessionView
    record: InboundRecord | None = None
    refusal: str | None = None
    told: tuple[Target, ...] = ()


class Waits:
    """Who waits for whom at present, so that nobody waits for themselves in a circle."""

    def __init__(self) -> None:
        self._edges: Counter[tuple[str, str]] = Counter()
        self.messages: Counter[int] = Counter()
        """The messages that somebody waits for."""

    def closes_circle(self, waiting: str, awaited: str) -> bool:
        """Whether one of them waiting for the other would make both wait for ever."""
        seen, ahead = set(), [awaited]
        while ahead:
            session = ahead.pop()
            if session == waiting:
                return True
            if session not in seen:
                seen.add(session)
                ahead.extend(to for (by, to), count in self._edges.items() if by == session and count)
        return False

    @contextmanager
    def waiting(self, waiting: str | None, awaited: str, inbound_id: int) -> Iterator[None]:
        """While one waits for the other's answer to a message."""
        edge = (waiting or "", awaited)
        self._edges[edge] += 1
        self.messages[inbound_id] += 1
        try:
            yield
        finally:
            _take_one(self._edges, edge)
            _take_one(self.messages, inbound_id)


def _take_one(counter: Counter[K], key: K) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]


class Relays:
    """Writes to sessions for agents, and waits for what is answered."""

    def __init__(
        self,
        database: Database,
        config: LiveConfig,
        clock: Clock,
        gate: Gate,
        limits: Limits,
        queue: Queue,
        tell: Callable[[Target], object],
        waits: Waits,
        redact: Callable[[str], str],
        probe: Probe,
    ) -> None:
        self._database = database
        self._config = config
        self._clock = clock
        self._gate = gate
        self._limits = limits
        self._queue = queue
        self._tell = tell
        self._waits = waits
        self._redact = redact
        self._probe = probe

    async def send(self, request: SendToSession, caller: Caller) -> dict[str, Any]:
        """Write to a session, and give its answer if it comes in time.

        Raises `ToolError`, `UnknownSession`, `StorageError`.
        """
        if self._queue.is_full:
            raise ToolError("Too much waits for an answer at present. Try it again later.")
        now = self._clock.now()
        job = self._database.write(lambda connection: self._post(connection, request, caller, now))
        posted = await carried_out(job, self._take_up)
        self._probe("tools.sent")
        self._tell_of(posted)
        if posted.refusal is not None:
            raise ToolError(posted.refusal)
        view = posted.view
        named = {"session_id": view.entry.session_id, "session_name": view.title}
        seconds = self._config.current.tools.wait_seconds
        circle = caller.session_id is not None and self._waits.closes_circle(caller.session_id, view.entry.session_id)
        # Registered before it can begin: what is waited for takes no place of its own.
        with self._waits.waiting(caller.session_id if not circle else None, view.entry.session_id, posted.inbound_id):
            if posted.record is not None:
                self._queue.offer(posted.record, interrupts=False)
            row = None if circle else await self._ended(posted.inbound_id, seconds)
        if row is None:
            why = (
                "That session waits for yours at present, so it is answered after this turn"
                if circle
                else f"It has not answered within {seconds:g} seconds"
            )
            return {**named, "status": "queued", "results": f"{why}. The answer will stand in that session."}
        return {**named, "response": cut(await self._answer(row, view))}

    def _take_up(self, posted: _Posted) -> None:
        """Have a message answered that nobody waits for."""
        self._tell_of(posted)
        if posted.record is not None:
            self._queue.offer(posted.record, interrupts=False)

    def _tell_of(self, posted: _Posted) -> None:
        for target in posted.told:
            self._tell(target)

    # --- waiting ---------------------------------------------------------------------------------------------

    async def _ended(self, inbound_id: int, seconds: float) -> sqlite3.Row | None:
        """What became of a message; None if it has no end yet after so many seconds."""
        until = asyncio.get_running_loop().time() + seconds
        while True:
            rows = await self._database.read(tool_queries.RELAYED, (inbound_id,))
            if not rows or rows[0]["state"] not in OPEN:
                return rows[0] if rows else _gone()
            if asyncio.get_running_loop().time() >= until:
                return None
            await asyncio.sleep(RELAY_POLL_SECONDS)

    async def _answer(self, row: sqlite3.Row, view: SessionView) -> str:
        """What the turn of a message said. Raises `ToolError` where it said nothing."""
        state, reason = row["state"], row["reason"]
        if state not in (InboundState.ANSWERED, InboundState.MERGED):
            raise ToolError(f"Session '{view.entry.session_id}' did not answer: {reason or state}")
        session_id = view.entry.session_id
        found = await self._database.read(tool_queries.ANSWER_OF_TURN, (session_id, row["turn_id"]))
        text = flatten_text(decode_message(*found[0]).get("content")) if found else ""
        if not text.strip():
            raise ToolError(f"Session '{session_id}' gave no answer" + (f": {reason}" if reason else ""))
        return text

    # --- in the writer ---------------------------------------------------------------------------------------

    def _post(self, connection: sqlite3.Connection, request: SendToSession, caller: Caller, now: datetime) -> _Posted:
        """Put the message into the inbox, once; all in the commit of the writer's job."""
        session_id = request.session_id
        if not is_session_id(session_id):
            raise UnknownSession(session_id)
        view = changes.own(connection, caller.scope, session_id)
        source = view.entry.origin
        if source is None or not source.chat_id:
            raise UnknownSession(session_id)
        account = caller.record.account
        # Not the chat's id: the same call is the same message, wherever its session is live by then.
        place = f"session:{hashlib.sha256(session_id.encode()).hexdigest()[:32]}"
        key = (str(source.platform), account, place, caller.key)
        known = connection.execute(queries.FIND_INBOUND, key).fetchone()
        if known is not None:
            return _Posted(known["id"], view)
        self._check(request, caller, view)
        relay = self._passed_on(connection, caller, session_id)
        if (limit := self._config.current.tools.max_depth) < relay.depth:
            return self._at_limit(connection, caller, view, relay, limit, now)
        slot_id, identity = _slot(connection, view, now)
        mine = caller.record.source
        source = replace(
            source,
            chat_id=identity.chat or source.chat_id,
            user_id=mine.user_id,
            user_name=mine.user_name,
            user_id_alt=mine.user_id_alt,
        )
        self._check_bounds(connection, slot_id, caller, now)
        text = self._words(connection, request.message, caller)
        extra = replace(Extra().of_sender(caller.record.extra), relay=relay)
        values = (slot_id, records.origin_json(source), text, None, to_micros(now), InboundState.PENDING, None, None)
        inbound_id = connection.execute(queries.ADD_INBOUND, (*key, *values, extra.dump())).lastrowid or 0
        connection.execute(
            queries.TOUCH_SESSION, (to_micros(now), source.chat_name, records.origin_json(source), session_id)
        )
        record = InboundRecord(inbound_id, caller.key, identity, source, account, text, None, now, extra, moved=True)
        told = () if record.silent else (self._show(connection, record, request.message, caller, now),)
        return _Posted(inbound_id, view, record, told=told)

    def _check(self, request: SendToSession, caller: Caller, view: SessionView) -> None:
        """Raises `ToolError` for what is not written to a session."""
        limit = self._config.current.inbox.max_message_chars
        if view.entry.session_id == caller.session_id:
            raise ToolError("That is the session that you are in. Answer there instead of writing to it.")
        if not request.message.strip():
            raise ToolError("No message provided")
        if len(request.message) > limit:
            raise ToolError(f"The message has {len(request.message):,} characters; at most {limit:,} are taken.")
        if view.archived:
            raise ToolError(f"Session '{view.entry.session_id}' is archived. Unarchive it first with manage_session.")

    def _check_bounds(self, connection: sqlite3.Connection, slot_id: int, caller: Caller, now: datetime) -> None:
        (waiting,) = connection.execute(queries.COUNT_QUEUED, (slot_id,)).fetchone()
        if waiting >= self._config.current.inbox.max_queued_per_session:
            raise ToolError(f"{waiting} messages wait in that session already. Try it again later.")
        if self._gate.role(caller.record) is Role.OWNER:
            return
        limited = self._limits.over_day(connection, caller.record.source, now)
        if limited is not None:
            raise ToolError(limited.words)

    def _passed_on(self, connection: sqlite3.Connection, caller: Caller, session_id: str) -> Relay:
        """What the message carries: one step more than the furthest of those that its turn answers."""
        rows = connection.execute(queries.INBOUND_OF_TURN, (caller.turn_id,)).fetchall() if caller.turn_id else []
        before = [relay for row in rows if (relay := record_from_row(row).extra.relay) is not None]
        furthest = max(before, key=lambda relay: relay.depth, default=None)
        if furthest is None:
            return Relay(session_id, 1, caller.turn_id or caller.key)
        return Relay(session_id, furthest.depth + 1, furthest.root)

    def _at_limit(
        self, connection: sqlite3.Connection, caller: Caller, view: SessionView, relay: Relay, limit: int, now: datetime
    ) -> _Posted:
        """Nothing is sent any more; the person is told so, once for all that came of one message of theirs."""
        if limit == 0:
            return _Posted(0, view, refusal="Sessions do not write to each other here: tools.max_depth is 0.")
        refusal = (
            f"The limit is reached: this is the answer to a message that was passed on {limit} times from session to"
            " session already. Nothing was sent. Tell the person, and leave it there."
        )
        record = caller.record
        last = as_value(view.title, TITLE_CHARS)
        words = (
            f"Your sessions have passed a message on {limit} times, and were about to write to {last}."
            " That is as often as they may (`tools.max_depth`), so it ends there."
        )
        target = target_of(record.source, record.account)
        add_delivery(connection, NewDelivery(target, "notice", words, key=f"relay-limit:{relay.root}"), now)
        return _Posted(0, view, refusal=refusal, told=(target,))

    def _words(self, connection: sqlite3.Connection, message: str, caller: Caller) -> str:
        """What the other session's agent gets: never a command, whatever the message begins with."""
        whose = _name(connection, caller)
        message = self._redact(message)
        return clean_text(f"[Written by the agent of {whose}, not by the person]\n\n{message}")

    def _show(
        self, connection: sqlite3.Connection, record: InboundRecord, message: str, caller: Caller, now: datetime
    ) -> Target:
        """Say in the session's chat what its next answer is about."""
        words = one_line(self._redact(message), SHOWN_CHARS)
        text = f"Your agent writes here from {_name(connection, caller)}:\n\n{words}"
        key = f"relay:{record.id}"
        add_delivery(connection, NewDelivery(record.target, "notice", text, key=key), now)
        return record.target


def hold(connection: sqlite3.Connection, identity: SlotIdentity, session_id: str, now: datetime) -> int:
    """Make a session that is not live the one of its own slot; the slot's number."""
    number = slots.slot_number(connection, identity)
    connection.execute(queries.REOPEN_SESSION, (to_micros(now), number, identity.chat_type, session_id))
    connection.execute(queries.BIND_SLOT, (session_id, number))
    return number


def _slot(connection: sqlite3.Connection, view: SessionView, now: datetime) -> tuple[int, SlotIdentity]:
    """Where a session is live; one that is not gets a slot of its own."""
    session_id = view.entry.session_id
    live = connection.execute(session_queries.SLOT_OF_SESSION, (session_id,)).fetchone()
    if live is not None:
        slot = connection.execute(queries.GET_SLOT, (live["id"],)).fetchone()
        return live["id"], slots.identity_from_row(slot)
    number = connection.execute(queries.GET_SESSION, (session_id,)).fetchone()["slot_id"]
    was_in = slots.identity_from_row(connection.execute(queries.GET_SLOT, (number,)).fetchone())
    identity = slots.present_identity(connection, was_in.private(session_id))
    return hold(connection, identity, session_id, now), identity


def _name(connection: sqlite3.Connection, caller: Caller) -> str:
    """The session that a message comes from, in words."""
    if caller.session_id is None:
        return "another program"
    row = connection.execute(queries.GET_SESSION, (caller.session_id,)).fetchone()
    title = as_value(row["title"] if row is not None else None, TITLE_CHARS)
    return f"the session {title} ({caller.session_id})" if title else f"the session {caller.session_id}"


def _gone() -> sqlite3.Row:
    raise ToolError("That session was deleted meanwhile.")
