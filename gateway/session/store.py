"""`SessionStore`: which session is live in each slot, what was said in it, what it has cost."""

import asyncio
import inspect
import sqlite3
from asyncio import Future
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from math import isfinite
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

from config import GatewayConfig, LiveConfig
from gateway.clock import as_clock
from gateway.ids import Ids, is_session_id
from gateway.ports import Clock, Usage
from gateway.session import records, slots
from gateway.session.cuts import Cut, cut_turns
from gateway.session.entry import SessionEntry, read_origin
from gateway.session.errors import UnaddressedSource, UnknownSession
from gateway.session.jsonl import read_transcript, transcript_file
from gateway.session.key import SlotIdentity, slot_identity
from gateway.session.messages import check_messages, require, rewrite
from gateway.session.records import Arrival
from gateway.session.reset import daily_boundary, reset_reason
from gateway.source import SessionSource
from gateway.storage import queries
from gateway.storage.codec import decode_message, from_micros, to_micros
from gateway.storage.database import Database
from gateway.storage.writer import Job

T = TypeVar("T")
DATABASE_NAME: Final = "gateway.db"
ALL: Final = -1
"""The LIMIT that SQLite reads as none."""
NO_USAGE: Final = Usage()
DECODED_AT_ONCE: Final = 200
"""Messages of a transcript that are decoded on the event loop, in less than a millisecond; more are in a thread."""
HINTS: Final = 4096
"""Slots whose live session is remembered, so that a turn need not look for it; the database decides whether it is."""


ActiveProcesses: TypeAlias = Callable[[str], bool | Awaitable[bool]]
"""Says of a session key whether background work goes on in it; such a session is never reset by its policy."""


@dataclass(frozen=True, slots=True)
class ResetNotice:
    """A session began because the policy ended the one before it: by which rule, and whether that one had content."""

    reason: str
    had_activity: bool


class SessionStore:
    """The keyed store of sessions. All methods are safe to call at once; each write is one transaction.

    Writes return when they are durable. They raise `gateway.storage.errors.StorageError` when the database
    fails, and `StorageBusyError` when it cannot keep up; nothing of such a write is kept.
    """

    def __init__(
        self,
        database: Database,
        config: GatewayConfig | LiveConfig,
        *,
        clock: Clock | Callable[[], datetime] | None = None,
        ids: Ids | None = None,
        has_active_processes: ActiveProcesses | None = None,
    ) -> None:
        self._database = database
        self._config = LiveConfig.of(config)
        self._clock = as_clock(clock)
        self._ids = ids or Ids()
        self._has_active_processes = has_active_processes
        self.origin_of = lru_cache(HINTS)(records.origin_json)
        """A source as sessions and messages keep it; for any thread."""
        self._read_origin = lru_cache(HINTS)(read_origin)
        self._hints: dict[SlotIdentity, records.Slot] = {}

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        directory: Path | str,
        config: GatewayConfig | LiveConfig,
        *,
        clock: Clock | Callable[[], datetime] | None = None,
        has_active_processes: ActiveProcesses | None = None,
    ) -> "AsyncIterator[SessionStore]":
        """Open the store in a directory, which is created if need be, and close it at the end."""
        path = Path(directory) / DATABASE_NAME
        live = LiveConfig.of(config)
        storage = live.current.storage
        reserve_bytes = storage.reserve_kb * 1024
        async with Database.open(path, synchronous=storage.synchronous, reserve_bytes=reserve_bytes) as database:
            yield cls(database, live, clock=clock, has_active_processes=has_active_processes)

    # --- which session -------------------------------------------------------------------------------------

    def identity(self, source: SessionSource) -> SlotIdentity:
        """The slot that a source belongs to, by the configuration in force."""
        sessions = self._config.current.sessions
        return slot_identity(source, sessions.group_sessions_per_user, sessions.thread_sessions_per_user)

    async def get_or_create_session(self, source: SessionSource, force_new: bool = False) -> SessionEntry:
        """The live session of the source's slot; a new one if there is none, if its policy says so, or if forced.

        A session in which work goes on is never ended by its policy. Raises `UnaddressedSource`.
        """
        arrival = await self.arrival(source, self._clock.now(), force_new=force_new)
        resolution = await self._database.write(
            lambda connection: records.resolve(connection, records.present_arrival(connection, arrival))
        )
        return resolution.entry

    async def arrival(
        self,
        source: SessionSource,
        now: datetime,
        *,
        identity: SlotIdentity | None = None,
        force_new: bool = False,
    ) -> Arrival:
        """Everything that resolving a slot at this instant depends on; by default it is the source's own.

        Raises `UnaddressedSource` for a source that names neither a chat nor a person.
        """
        identity = identity or self.identity(source)
        if not identity.is_addressed:
            raise UnaddressedSource(identity.key)
        active = self._has_active_processes is not None and await self._is_active(identity)
        config = self._config.current
        return Arrival(
            identity=identity,
            source=source,
            origin=self.origin_of(source),
            policy=config.get_reset_policy(source.platform, source.chat_type),
            zone=config.zone,
            now=now,
            ids=self._ids,
            active=active,
            force_new=force_new,
        )

    async def record_turn(
        self, source: SessionSource, messages: Sequence[Mapping[str, Any]], usage: Usage | None = None
    ) -> str:
        """Resolve the source's session, append messages and count usage, in one commit; the session's id.

        The same rules as `get_or_create_session` and `append_turn`, in half the time of the two.
        """
        check_messages(messages)
        arrival = await self.arrival(source, self._clock.now())
        counted, hint = usage or NO_USAGE, self._hints.get(arrival.identity)
        slot = await self._database.write(
            lambda connection: records.record_turn(connection, arrival, messages, counted, hint)
        )
        if slot is not hint:
            if len(self._hints) >= HINTS:
                self._hints.pop(next(iter(self._hints)))
            self._hints[arrival.identity] = slot
        return slot.session_id

    async def reset_session(self, key: str | SlotIdentity) -> SessionEntry | None:
        """End the session of a slot and begin the next; None for a key that has none.

        Raises `AmbiguousSessionKey` for a readable key that stands for several slots.
        """
        now = self._clock.now()
        new_id = self._ids.session(now)

        def job(connection: sqlite3.Connection) -> SessionEntry | None:
            slot = slots.find_slot(connection, key)
            return None if slot is None else records.begin_fresh(connection, slot, new_id, now)

        return await self._database.write(job)

    async def switch_session(self, key: str | SlotIdentity, session_id: str) -> SessionEntry | None:
        """Make an earlier session the live one of a slot, with its counters and times; None for an unknown key.

        Raises `UnknownSession` for an id that does not exist or belongs to somebody else, `SessionInUse` for a
        session that is live in another slot, `AmbiguousSessionKey` as `reset_session` does.
        """
        now = self._clock.now()
        _checked(session_id)

        def job(connection: sqlite3.Connection) -> SessionEntry | None:
            slot = slots.find_slot(connection, key)
            return None if slot is None else records.switch(connection, slot, session_id, now)

        return await self._database.write(job)

    async def expire_session(self, identity: SlotIdentity) -> str | None:
        """End the slot's session if its policy's time has come, leaving the slot empty; the rule, or None.

        Call it while holding the slot's lane.
        """
        now = self._clock.now()
        if await self._is_active(identity):
            return None
        config = self._config.current
        policy, zone = config.get_reset_policy(identity.platform, identity.chat_type), config.zone

        def job(connection: sqlite3.Connection) -> str | None:
            slot = slots.find_slot(connection, identity)
            return None if slot is None else records.expire(connection, slot, policy, zone, now)

        return await self._database.write(job)

    async def due_slots(self, page: int = 200) -> AsyncIterator[SlotIdentity]:
        """Slots whose session's time seems to have come; `expire_session` decides."""
        now, config = self._clock.now(), self._config.current
        zone, quiet_since = config.zone, _latest_deadline(config, now)
        after = ""
        while quiet_since is not None:
            rows = await self._database.read(queries.QUIET_SLOTS, (after, to_micros(quiet_since), page))
            for row in rows:
                policy = config.get_reset_policy(row["platform"], row["chat_type"])
                if reset_reason(policy, from_micros(row["updated_at"]), now, zone):
                    yield slots.identity_from_row(row)
            if len(rows) < page:
                return
            after = rows[-1]["session_id"]

    async def take_reset_notice(self, session_id: str) -> ResetNotice | None:
        """The notice of an automatic reset, if nobody has taken it yet."""

        def job(connection: sqlite3.Connection) -> ResetNotice | None:
            row = connection.execute(queries.TAKE_RESET_NOTICE, (session_id,)).fetchone()
            return None if row is None else ResetNotice(row["auto_reset_reason"], bool(row["reset_had_activity"]))

        return await self._database.write(job)

    async def _is_active(self, identity: SlotIdentity) -> bool:
        if self._has_active_processes is None:
            return False
        active = self._has_active_processes(identity.key)
        return bool(await active) if inspect.isawaitable(active) else bool(active)

    # --- what is known of sessions ---------------------------------------------------------------------------

    async def get_session(self, session_id: str) -> SessionEntry:
        """One session's record. Raises `UnknownSession`."""
        rows = await self._database.read(queries.GET_SESSION, (_checked(session_id),))
        if not rows:
            raise UnknownSession(session_id)
        return records.entry_from_row(rows[0])

    async def list_sessions(
        self, active_minutes: float | None = None, *, limit: int | None = None
    ) -> list[SessionEntry]:
        """Sessions, the newest first: live ones, and those that have ended, which stay listed and can be resumed.

        With `active_minutes`, those that were touched so long ago or later, the very instant included. `is_live` of
        an entry tells the two kinds apart.
        """
        since = queries.EVER
        if active_minutes is not None:
            since = to_micros(self._clock.now() - timedelta(minutes=active_minutes))
        rows = await self._database.read(queries.LIST_SESSIONS, (since, ALL if limit is None else limit))
        return [records.entry_from_row(row, self._read_origin) for row in rows]

    async def has_any_sessions(self, session_id: str | None = None) -> bool:
        """Whether there is a session besides the current one, which is stored by the time anyone asks.

        With the current session's id, only its owner's sessions count; without, whether there are two at all.
        """
        if session_id is None:
            return len(await self._database.read(queries.TWO_SESSIONS)) > 1
        rows = await self._database.read(queries.GET_SESSION, (_checked(session_id),))
        if not rows:
            raise UnknownSession(session_id)
        return bool(await self._database.read(queries.SESSION_FOR_OWNER, (rows[0]["owner"], session_id)))

    async def update_session(
        self,
        session_id: str,
        *,
        input_tokens: int = 0,
        output_tokens: int = 0,
        cache_read_tokens: int = 0,
        cache_write_tokens: int = 0,
        last_prompt_tokens: int | None = None,
        model: str | None = None,
        estimated_cost_usd: float | None = None,
        cost_status: str | None = None,
    ) -> None:
        """Add a model's usage to a session's counters.

        Tokens and the cost, in US dollars, add up; `last_prompt_tokens`, `model` and `cost_status` replace what
        was there, where they are given. Raises `UnknownSession`, and ValueError for what is no amount.
        """
        _check_counts(input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, last_prompt_tokens)
        _check_cost(estimated_cost_usd)
        usage = Usage(
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cache_read_tokens=cache_read_tokens,
            cache_write_tokens=cache_write_tokens,
            last_prompt_tokens=last_prompt_tokens,
            model=model,
            cost_usd=estimated_cost_usd,
            cost_status=cost_status,
        )
        await self._append(session_id, (), usage)

    # --- what was said ---------------------------------------------------------------------------------------

    async def append_to_transcript(
        self, session_id: str, message: Mapping[str, Any], *, key: str | None = None
    ) -> None:
        """Append one message; with a key, once. Raises `UnknownSession`, and `InvalidMessage` for what is none."""
        check_messages([message])
        now = self._clock.now()

        def job(connection: sqlite3.Connection) -> None:
            place = session_id if key is None else require(connection, session_id)
            if key is None or connection.execute(queries.HAS_MESSAGE_KEY, (place, key)).fetchone() is None:
                records.append(connection, place, [message], NO_USAGE, now, key=key)

        await self._write_to(session_id, job)

    async def append_turn(
        self, session_id: str, messages: Sequence[Mapping[str, Any]], *, usage: Usage | None = None
    ) -> None:
        """Append a turn's messages, and count its usage, in one commit.

        Raises `UnknownSession`, and `InvalidMessage` if one of them is none; then nothing is stored.
        """
        check_messages(messages)
        await self._append(session_id, messages, usage or NO_USAGE)

    async def rewrite_transcript(self, session_id: str, messages: Sequence[Mapping[str, Any]]) -> None:
        """Replace the whole transcript, or, if anything fails, nothing. Raises `UnknownSession`, `InvalidMessage`."""
        check_messages(messages)
        now = self._clock.now()
        await self._write_to(session_id, lambda connection: rewrite(connection, session_id, messages, now))

    async def cut_last_turn(self, session_id: str) -> Cut | None:
        """Take the last message of the user, the rest of its turn, and all that follows it off the transcript; None if
        there is none. Raises `UnknownSession`.
        """
        now = self._clock.now()
        return await self._write_to(session_id, lambda connection: cut_turns(connection, session_id, 1, now))

    async def load_transcript(self, session_id: str) -> list[dict[str, Any]]:
        """The messages of a session in order, as they were appended; none for a session that is not known.

        One that the database does not know is looked for among the files in `sessions/`.
        """
        if not is_session_id(session_id):
            return []
        rows = await self._database.read(queries.LOAD_MESSAGES, (session_id,))
        if not rows and (joined := await self._database.read(queries.JOINED_BY, (session_id,))):
            return await self.load_transcript(joined[0][0])
        if not rows and not await self._database.read(queries.SESSION_EXISTS, (session_id,)):
            file = transcript_file(self._database.path.parent / "sessions", session_id)
            return await asyncio.to_thread(read_transcript, file) if file is not None else []
        if len(rows) <= DECODED_AT_ONCE:
            return _decode(rows)
        return await asyncio.to_thread(_decode, rows)

    async def _append(self, session_id: str, messages: Sequence[Mapping[str, Any]], usage: Usage) -> None:
        now = self._clock.now()
        await self._write_to(
            session_id, lambda connection: records.append(connection, session_id, messages, usage, now)
        )

    def _write_to(self, session_id: str, job: Job[T]) -> "Future[T]":
        """Queue a job on a session, whose id can be one. Raises `UnknownSession`."""
        _checked(session_id)
        return self._database.write(job)


def _decode(rows: Sequence[sqlite3.Row]) -> list[dict[str, Any]]:
    return [decode_message(*row) for row in rows]


def _latest_deadline(config: GatewayConfig, now: datetime) -> datetime | None:
    """No session that was active at this instant or later is over by any policy; None if none ever ends one."""
    sessions = config.sessions
    deadlines: list[datetime] = []
    for policy in (sessions.reset, *sessions.reset_by_type.values(), *sessions.reset_by_platform.values()):
        if policy.mode in ("idle", "both"):
            with suppress(OverflowError):
                deadlines.append(now - timedelta(minutes=policy.idle_minutes))
        if policy.mode in ("daily", "both"):
            deadlines.append(daily_boundary(now, policy.at_hour, config.zone))
    return max(deadlines, default=None)


def _checked(session_id: str) -> str:
    """The id, if it can be one. Raises `UnknownSession`."""
    if not is_session_id(session_id):
        raise UnknownSession(session_id)
    return session_id


def _check_counts(*counts: int | None) -> None:
    for count in counts:
        if count is not None and count < 0:
            raise ValueError(f"a number of tokens cannot be negative: {count}")


def _check_cost(cost: float | None) -> None:
    if cost is not None and not isfinite(cost):
        raise ValueError(f"a cost must be a finite number of US dollars: {cost}")
