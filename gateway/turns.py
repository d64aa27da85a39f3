"""One run of the agent: begun, watched, put off and tried again, and ended in one commit."""

import asyncio
import contextlib
import contextvars
import functools
import logging
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Container, Sequence
from datetime import timedelta
from typing import Any, Final

from config import GatewayConfig, LiveConfig
from gateway.access.rights import Rights
from gateway.attempt import OUTCOME_UNKNOWN, Attempt, Workshop
from gateway.constants import ABANDONED_LIMIT, AGENT_CANCEL_GRACE_SECONDS, MAX_RETRY_AFTER_SECONDS
from gateway.delivery import NewDelivery
from gateway.homes import Homes
from gateway.ids import Ids
from gateway.inbound import InboundRecord, record_from_row
from gateway.journal import Progress, steps_from_rows
from gateway.limits import Limits
from gateway.logs import redacted
from gateway.media.content import Attachments
from gateway.media.outgoing import OutgoingFiles, TurnFiles
from gateway.metrics.meters import Meters
from gateway.outbox import Outbox
from gateway.patience import MAX_DOUBLINGS
from gateway.places import Held, Places
from gateway.ports import Clock, DeliveryKind, InboundState, OutgoingFile, StorageBusyError, Tool
from gateway.presence import Typing
from gateway.remembering.hooks import NO_MEMORY, TurnMemory
from gateway.session.prompt import ContextPrompts
from gateway.session.store import SessionStore
from gateway.storage import outbox_queries, queries
from gateway.storage.codec import clean_text, optional_instant, to_micros
from gateway.storage.database import Database
from gateway.storage.errors import StorageError
from gateway.storage.probe import Probe, no_probe
from gateway.stream import ReplyStream
from gateway.transcript import (
    CUT_SHORT_WORDS,
    REVOKED,
    STOPPED,
    OnEnd,
    TurnEnd,
    TurnOpenError,
    begin,
    drop,
    end,
    end_bare,
)
from gateway.turn import Connections, Failure, Roster, Turn, has_acted, wanted_agent
from gateway.waiting import first_done

__all__ = ["NO_TEXT", "OUTCOME_UNKNOWN", "Connections", "Roster", "Turn", "TurnRunner", "turn_id_of_task"]

log = logging.getLogger(__name__)

turn_id_of_task: contextvars.ContextVar[str] = contextvars.ContextVar("turn_id", default="")
"""The turn that the running code works for; log records carry it."""

NO_TEXT: Final = "(The model gave no answer. Ask again, or in other words.)"
TOO_MANY_ABANDONED: Final = Failure(
    "the agent hangs and does not end when it is told to; its operator has to start the gateway anew", retryable=True
)
CANCELLED_ITSELF: Final = Failure("the agent gave up its work", retryable=True)


class TurnRunner:
    """Runs turns. Whoever calls it holds the lane of the turn's slot."""

    def __init__(
        self,
        database: Database,
        store: SessionStore,
        outbox: Outbox,
        roster: Roster,
        connections: Connections,
        config: GatewayConfig | LiveConfig,
        clock: Clock,
        ids: Ids,
        counters: Counter[str],
        *,
        tools: Sequence[Tool] = (),
        pii_secret: bytes | None = None,
        probe: Probe = no_probe,
        attachments: Attachments | None = None,
        files: OutgoingFiles | None = None,
        rights: Rights | None = None,
        limits: Limits | None = None,
        redact: Callable[[str], str] = str,
        homes: Homes | None = None,
        memory: TurnMemory = NO_MEMORY,
        awaited: Container[int] = (),
        on_end: OnEnd = lambda _connection, _end, _now: None,
        on_ended: Callable[[TurnEnd], object] = lambda _end: None,
        meters: Meters | None = None,
    ) -> None:
        prompts = ContextPrompts(pii_secret)
        by_name = {tool.name: tool for tool in tools}
        self._config = live = LiveConfig.of(config)
        self._rights = rights or Rights(live)
        self._limits = limits or Limits(live, clock)
        self._workshop = Workshop(
            database, store, roster, connections, live, clock, counters, by_name, prompts, probe,
            attachments, self._rights, redact, homes, memory,
        )  # fmt: skip
        self._redact = redact
        self._database = database
        self._store = store
        self._outbox = outbox
        self._roster = roster
        self._connections = connections
        self._clock = clock
        self._ids = ids
        self._counters = counters
        self._probe = probe
        self._files, self._awaited, self._on_end, self._on_ended = files, awaited, on_end, on_ended
        self._meters = meters or Meters()
        self._places: dict[str, Places] = {}
        """By agent, so that the turns of one that hangs take no other's places; as many as agents were ever named."""
        self._shares: dict[str, Places] = {}
        """By person, while they have turns."""
        live.listen(self._hand_out_places)
        self._abandoned: dict[str, set[asyncio.Task[Failure | None]]] = {}
        """By agent: what it was let go of and does all the same."""

    # --- beginning -------------------------------------------------------------------------------------------

    async def begin(self, inbound: Sequence[InboundRecord]) -> Turn | None:
        """Resolve the session and begin a turn for these messages; None if they have an end already.

        Where a turn is open in the slot, that one is given instead: it goes on first.
        """
        first = inbound[0]
        turn_id, agent = self._ids.turn(), self._roster.default
        arrival = await self._store.arrival(first.source, first.received_at, identity=first.identity)
        try:
            began = await self._database.write(lambda connection: begin(connection, turn_id, agent, arrival, inbound))
        except TurnOpenError as error:
            return await self._take_up_open(error.turn_id)
        except asyncio.CancelledError:
            # The job is queued and will be done; this one is behind it.
            with contextlib.suppress(StorageError, StorageBusyError):
                self._database.write(self._suspension(turn_id, begun=False))
            raise
        if began is None:
            return None
        self._probe("turn.begun")
        if began.notified:
            self._outbox.offer(began.inbound[0].target)
        first = began.inbound[0]
        agent = self._rights.agent(first) or wanted_agent(first) or began.agent
        turn = Turn(turn_id, first.identity, began.entry, agent, list(began.inbound), history=began.history)
        if began.stop_reason is not None:
            turn.stop(began.stop_reason)
        return turn

    async def recover(self, row: sqlite3.Row) -> Turn | None:
        """A turn that has been left open, with all that it had done; None if it has no messages: it is ended.

        Raises `UnknownSession`, and ValueError for a message whose platform is not known any more.
        """
        turn_id = row["id"]
        inbound = [record_from_row(found) for found in await self._database.read(queries.INBOUND_OF_TURN, (turn_id,))]
        if not inbound:
            log.error("turn %s has no message; it is ended", turn_id)
            now = self._clock.now()
            await self._database.write(lambda connection: drop(connection, turn_id, "no message", now))
            return None
        steps = steps_from_rows(await self._database.read(queries.STEPS, (turn_id,)))
        turn = Turn(
            id=turn_id,
            identity=inbound[0].identity,
            entry=await self._store.get_session(row["session_id"]),
            agent=self._rights.agent(inbound[0]) or wanted_agent(inbound[0]) or row["agent"],
            inbound=inbound,
            attempts=row["attempts"],
            not_before=optional_instant(row["not_before"]),
            interrupted=row["not_before"] is None,
            progress=Progress.replay(steps),
        )
        if turn.progress.stop_reason is not None:
            turn.stop(turn.progress.stop_reason)
        return turn

    async def _take_up_open(self, turn_id: str) -> Turn | None:
        log.warning("turn %s is still open; it goes on first", turn_id)
        (row,) = await self._database.read(queries.GET_TURN, (turn_id,))
        return await self.recover(row)

    # --- running ---------------------------------------------------------------------------------------------

    async def attempt(
        self,
        turn: Turn,
        *,
        again: bool,
        waiting: Callable[[], Sequence[InboundRecord]] = tuple,
        absorbed: Callable[[Sequence[InboundRecord]], None] = lambda _records: None,
    ) -> bool:
        """Run the agent once; True if the turn has ended, False if it is to be tried again at `turn.not_before`.

        `again`: this is not the turn's first attempt. `waiting` and `absorbed` are for steering, see `Attempt`.
        Raises `StorageError` and `StorageBusyError`; then nothing is lost, and it is to be called again.
        """
        token = turn_id_of_task.set(turn.id)
        try:
            if turn.end is None and not await self._run(turn, again, waiting, absorbed):
                return False
            await self._store_end(turn)
            return True
        finally:
            turn_id_of_task.reset(token)

    async def suspend(self, turn: Turn) -> None:
        """The program stops in good order: the turn is taken up again at the next start, no attempt counted."""
        await self._database.write(self._suspension(turn.id, begun=turn.begun))

    def _suspension(self, turn_id: str, *, begun: bool) -> Callable[[sqlite3.Connection], Any]:
        not_before = None if begun else to_micros(self._clock.now())
        return lambda connection: connection.execute(queries.SUSPEND_TURN, (not_before, turn_id)).rowcount

    async def _run(
        self,
        turn: Turn,
        again: bool,
        waiting: Callable[[], Sequence[InboundRecord]],
        absorbed: Callable[[Sequence[InboundRecord]], None],
    ) -> bool:
        """One attempt; True if the turn's end is decided, False if it was put off."""
        turn.begun = False
        holder, stream = self._rights.holder(turn.first), None
        try:
            async with Held(turn, self._wanted(turn, holder)):
                if again and turn.stop_reason is None and not await self._may_try_again(turn):
                    return True
                turn.progress.step_text = ""
                stream = self._stream(turn)
                attempt = Attempt(turn, stream, self._workshop, waiting=waiting, absorbed=absorbed)
                async with self._typing(turn):
                    failure = None if turn.stop_reason else await self._watch(turn, attempt)
        finally:
            self._forget(holder)
            if stream is not None:
                # The last edit of the preview may take long: its turn has no place any more while it does.
                await stream.close()
        return await self._conclude(turn, attempt, failure)

    def _wanted(self, turn: Turn, holder: str | None) -> Sequence[Places]:
        """Among which places a turn needs one: those of who began it, where they are limited, and those of its agent.
        What another turn waits for needs none: that one has its own, and does nothing."""
        if turn.first.id in self._awaited:
            return ()
        own = self._places.setdefault(turn.agent, Places(lambda: self._config.current.turns.max_concurrent))
        if holder is None:
            return (own,)
        return (self._shares.setdefault(holder, Places(lambda: self._rights.turns_at_once or sys.maxsize)), own)

    def _forget(self, holder: str | None) -> None:
        """Who has no turns needs no places."""
        if holder is not None and holder in self._shares and self._shares[holder].is_idle:
            del self._shares[holder]

    def _hand_out_places(self) -> None:
        for places in (*self._places.values(), *self._shares.values()):
            places.refresh()

    async def _may_try_again(self, turn: Turn) -> bool:
        """Count a further attempt, before it is made; False, and the turn is dead, if there were enough."""
        if turn.attempts >= self._config.current.turns.attempts:
            reason = f"gave up after {turn.attempts} attempts"
            await self._decide(turn, InboundState.DEAD, reason, _dead_words(turn))
            return False
        row = await self._database.write(
            lambda connection: connection.execute(queries.RESTART_TURN, (turn.id,)).fetchone()
        )
        turn.attempts, turn.not_before = row["attempts"], None
        return True

    def _stream(self, turn: Turn) -> ReplyStream:
        session_id, target = turn.entry.session_id, turn.target
        files = self._files_of(turn)

        def delivery() -> NewDelivery:
            answers = tuple(message_id for record in turn.inbound for message_id in record.answerable)
            return NewDelivery(target, "reply", "", answers, final=False, session_id=session_id, turn_id=turn.id)

        return ReplyStream(
            self._database,
            self._outbox,
            self._clock,
            lambda: None if turn.first.silent else self._connections.find(target.platform, target.account),
            delivery,
            lambda: self._visible(turn) if files is None else files.visible(self._visible(turn)),
        )

    def _files_of(self, turn: Turn) -> TurnFiles | None:
        """The files that the turn's answer names."""
        if turn.files is None and self._files is not None:
            turn.files = self._files.of_turn(turn.id, turn.entry.session_id)
        return turn.files

    def _visible(self, turn: Turn) -> str:
        """What people may see of the answer: not the secrets of the configuration, should the model have got at one."""
        return self._redact(turn.progress.visible_text)

    async def _split(self, turn: Turn, *, complete: bool) -> tuple[str, Sequence[OutgoingFile]]:
        """What people see of the answer, and the files that it names."""
        text, files = self._visible(turn), self._files_of(turn)
        return (text, ()) if files is None else await files.split(text, complete=complete)

    def _typing(self, turn: Turn) -> Typing:
        target = turn.target
        return Typing(
            self._outbox.budget,
            lambda: self._connections.find(target.platform, target.account),
            target,
            lambda: bool(turn.progress.step_text.strip()),
        )

    async def _watch(self, turn: Turn, attempt: Attempt) -> Failure | None:
        """Let the agent run until it has answered, has failed, is stopped, or shows no sign of life."""
        if len(self._abandoned.get(turn.agent, ())) >= ABANDONED_LIMIT:
            return TOO_MANY_ABANDONED
        limit = self._roster.timeout(turn.agent)
        drive = asyncio.create_task(attempt.run(), name=f"turn {turn.id}")
        try:
            while True:
                left = attempt.moved_at + limit - self._clock.monotonic()
                await first_done(drive, turn.stopped, seconds=max(0.0, left))
                if drive.done():
                    return CANCELLED_ITSELF if drive.cancelled() else drive.result()
                if turn.stopped.done():
                    return None
                limit = self._roster.timeout(turn.agent)
                if attempt.moved_at + limit <= self._clock.monotonic():
                    log.warning("the agent %s made no progress for %g seconds", turn.agent, limit)
                    self._counters["turns.stalled"] += 1
                    return Failure(f"the agent made no progress for {limit:g} seconds", retryable=True)
        finally:
            attempt.close()
            await self._let_go(turn, drive)

    async def _let_go(self, turn: Turn, drive: "asyncio.Task[Failure | None]") -> None:
        """Cancel the agent, and go on without it if it does not end."""
        if drive.done():
            return
        drive.cancel()
        await asyncio.wait({drive}, timeout=AGENT_CANCEL_GRACE_SECONDS)
        self._abandoned.setdefault(turn.agent, set()).add(drive)
        drive.add_done_callback(functools.partial(self._consume, turn.agent))
        if not drive.done():
            log.error("the agent %s does not end when it is cancelled; its turn goes on without it", turn.agent)
            self._counters["turns.abandoned"] += 1

    def _consume(self, agent: str, drive: "asyncio.Task[Failure | None]") -> None:
        """An agent that was let go has ended; its outcome does not count."""
        self._abandoned[agent].discard(drive)
        if not self._abandoned[agent]:
            del self._abandoned[agent]
        if not drive.cancelled():
            drive.exception()

    # --- ending ----------------------------------------------------------------------------------------------

    async def _conclude(self, turn: Turn, attempt: Attempt, failure: Failure | None) -> bool:
        """Decide what an attempt came to; False if the turn is tried again later."""
        if attempt.complete:
            await self._decide(turn, InboundState.ANSWERED, None, None)
        elif turn.stop_reason is not None or failure is None:
            await self._decide(turn, InboundState.ANSWERED, turn.stop_reason or STOPPED, None)
        elif not _may_pass_soon(failure) or (turn.progress.messages and not attempt.resumable):
            await self._decide(turn, InboundState.FAILED, failure.words, _failed_words(failure))
        elif turn.attempts >= self._config.current.turns.attempts:
            await self._decide(turn, InboundState.DEAD, failure.words, _failed_words(failure))
        else:
            await self._put_off(turn, failure)
            return False
        return True

    async def _put_off(self, turn: Turn, failure: Failure) -> None:
        policy = self._config.current.turns
        doublings = min(turn.attempts - 1, MAX_DOUBLINGS)
        seconds = min(policy.retry_seconds * 2.0**doublings, policy.retry_max_seconds)
        seconds = max(seconds, failure.retry_after or 0.0)
        not_before, due_at = self._clock.now() + timedelta(seconds=seconds), self._clock.monotonic() + seconds
        values = (to_micros(not_before), clean_text(failure.words), turn.id)
        await self._database.write(lambda connection: connection.execute(queries.DELAY_TURN, values).rowcount)
        turn.not_before, turn.due_at = not_before, due_at
        self._counters["turns.retried"] += 1

    async def finish_stopped(self, turn: Turn) -> None:
        """End a turn that was put off and is not to be tried again."""
        if turn.end is None:
            await self._decide(turn, InboundState.ANSWERED, turn.stop_reason or STOPPED, None)
        await self._store_end(turn)

    async def give_up(self, turn: Turn, reason: str) -> None:
        """End a turn that the gateway itself cannot carry on or record. Its messages are dead, and their sender is
        told; the transcript does not have them."""
        words = "I could not answer: something is wrong inside the gateway. Its operator finds the reason in the log."
        turn_end = TurnEnd(
            turn.id, turn.entry.session_id, InboundState.DEAD, reason, tuple(turn.inbound), (), turn.progress.usage,
            None, [("error", words)],
        )  # fmt: skip
        now = self._clock.now()
        await self._database.write(lambda connection: end_bare(connection, turn_end, now))
        self._measure(turn, turn_end)
        self._outbox.offer(turn.target)

    async def _decide(self, turn: Turn, state: InboundState, reason: str | None, words: str | None) -> None:
        """Settle how the turn ends, with all that becomes durable with it."""
        complete = state is InboundState.ANSWERED and reason is None
        if not complete or not turn.progress.visible_text:
            for row in await self._database.read(outbox_queries.STREAM_OF_TURN, (turn.id,)):
                known, _files = await self._split(turn, complete=False)
                turn.progress.recall(row["text"], known)
        text, files = await self._split(turn, complete=complete)
        reply = text or None
        if complete and reply is None and not files and not has_acted(turn):
            words = NO_TEXT
        elif state is InboundState.ANSWERED and not complete:
            words = _stopped_words(reason, reply)
        kind: DeliveryKind = "notice" if state is InboundState.ANSWERED else "error"
        done_reason = turn.done_reason if complete else None
        notes: list[tuple[DeliveryKind, str]] = [("notice", text) for text in turn.progress.notices]
        if done_reason in CUT_SHORT_WORDS:
            notes.append(("notice", CUT_SHORT_WORDS[done_reason]))
        if words is not None:
            notes.append((kind, words))
        turn.end = TurnEnd(
            turn_id=turn.id,
            session_id=turn.entry.session_id,
            state=state,
            reason=None if reason is None else clean_text(reason),
            inbound=tuple(turn.inbound),
            messages=redacted([*turn.inputs, *turn.progress.final_messages(partial=not complete)], self._redact),
            usage=turn.progress.usage,
            reply=reply,
            notes=[(kind, self._redact(text)) for kind, text in notes],
            files=files,
            done_reason=done_reason,
            agent=turn.agent,
        )

    async def _store_end(self, turn: Turn) -> None:
        """Make everything that the turn was durable at once, then let it be sent."""
        turn_end = turn.end
        assert turn_end is not None
        now = self._clock.now()
        self._probe("turn.before-end")

        def job(connection: sqlite3.Connection) -> None:
            if end(connection, turn_end, now):
                self._limits.note_usage(connection, turn.first.source, turn_end.usage, now)
                self._on_end(connection, turn_end, now)
                self._workshop.memory.note(connection, turn, turn_end)

        await self._database.write(job)
        self._probe("turn.ended")
        self._workshop.memory.turn_ended(turn, turn_end)
        self._measure(turn, turn_end)
        self._outbox.offer(turn.target)
        self._on_ended(turn_end)

    def _measure(self, turn: Turn, end: TurnEnd) -> None:
        stopped = end.state is InboundState.ANSWERED and end.reason is not None
        outcome, came, spoke = "stopped" if stopped else end.state.value, turn.first.received_at, turn.spoke_at
        self._counters[f"turns.{outcome}"] += 1
        first_text = None if spoke is None else (spoke - came).total_seconds()
        seconds = (self._clock.now() - came).total_seconds()
        self._meters.turn_ended(turn.agent, outcome, end.usage, seconds, first_text)


def _may_pass_soon(failure: Failure) -> bool:
    return failure.retryable and (failure.retry_after or 0.0) <= MAX_RETRY_AFTER_SECONDS


def _stopped_words(reason: str | None, reply: str | None) -> str:
    whys = {"interrupted": "because of your next message", REVOKED: "because you are not let in any more"}
    why = whys.get(reason or "", "as you asked")
    return f"Stopped {why}; the answer above is incomplete." if reply else f"Stopped {why}, before there was an answer."


def _failed_words(failure: Failure) -> str:
    return f"I could not answer: {failure.words.strip().removesuffix('.')}. Send it again to retry."


def _dead_words(turn: Turn) -> str:
    return (
        f"I could not answer: the gateway was interrupted or the agent failed {turn.attempts} times at this message. "
        "Send it again to retry."
    )
