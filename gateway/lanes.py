"""Lanes: one queue of turns for each session slot; a slot runs one turn at a time, slots never wait for each other."""

import asyncio
import contextlib
import logging
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from config import GatewayConfig, LiveConfig
from gateway.access import Gate
from gateway.clock import call_at
from gateway.commands.table import Command, CommandTable, busy_of
from gateway.constants import COALESCE_LIMIT, LANE_ERROR_PAUSE_SECONDS, LANE_FAILURES, WAITING_LIMIT
from gateway.desk import Desk, is_outage
from gateway.inbound import IDENTITY_PARTS, Deleted, Edited, InboundRecord
from gateway.inbox import Inbox
from gateway.lane import (
    Exclusive,
    Lane,
    LanesClosedError,
    Work,
    belongs,
    must_stop,
    readdress,
    replace_waiting,
    report_adoption,
    run_exclusive,
    take_off,
    withdraw,
)
from gateway.outbox import Outbox
from gateway.ports import Clock
from gateway.session.key import SlotIdentity
from gateway.storage import queries
from gateway.storage.database import Database
from gateway.storage.probe import Probe, no_probe
from gateway.transcript import REVOKED, STOPPED
from gateway.turns import Connections, Turn, TurnRunner

log = logging.getLogger(__name__)


class Lanes:
    """Takes accepted messages to their slots' lanes, and runs them there, in order of receipt."""

    def __init__(
        self,
        database: Database,
        inbox: Callable[[], Inbox],
        outbox: Outbox,
        runner: TurnRunner,
        connections: Connections,
        config: GatewayConfig | LiveConfig,
        clock: Clock,
        counters: Counter[str],
        *,
        gate: Gate | None = None,
        probe: Probe = no_probe,
    ) -> None:
        self._database = database
        self._inbox = inbox
        self._runner = runner
        self._connections = connections
        self._config = LiveConfig.of(config)
        self._clock = clock
        self._counters = counters
        self._desk = Desk(database, outbox, self._config, clock, counters, probe, gate)
        self._desk.gate.listen(self._enforce)
        self._lanes: dict[SlotIdentity, Lane] = {}
        self._moved: dict[SlotIdentity, SlotIdentity] = {}
        """Slots whose chat has another id since this process began, by what they were."""
        self._waiting = 0
        """What waits in all lanes."""
        self._tasks: asyncio.TaskGroup | None = None
        self._stopping = asyncio.Event()
        self._draining = False

    def use(self, commands: CommandTable) -> None:
        """Set the commands; they need the lanes, so they come after them."""
        self._desk.use(commands)

    # --- running and stopping --------------------------------------------------------------------------------

    async def run(self, ready: asyncio.Event) -> None:
        """Take up what an earlier process left, open turns first, then serve until `stop`."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                await self._recover()
                ready.set()
                await self._stopping.wait()
            finally:
                self._leave()

    async def drain(self) -> None:
        """Begin no further turn, and wait for those that run. What waits stays in the inbox."""
        self._draining = True
        for lane in self._lanes.values():
            self._refuse_exclusive(lane)
            if lane.turn is not None and lane.turn.queued and lane.task is not None:
                lane.task.cancel()
        while tasks := [lane.task for lane in self._lanes.values() if lane.task is not None]:
            await asyncio.wait(tasks)

    def stop(self) -> None:
        """End `run`; turns that still run are taken up again at the next start."""
        self._stopping.set()

    def _leave(self) -> None:
        """From now on nothing begins: what is offered waits in the inbox for the next start."""
        self._tasks = None
        self._draining = True
        for lane in self._lanes.values():
            self._refuse_exclusive(lane)
            if lane.parked is not None:
                lane.parked.cancel()
            if lane.task is not None:
                lane.task.cancel()

    def _refuse_exclusive(self, lane: Lane) -> None:
        for item in lane.waiting:
            if isinstance(item, Exclusive) and not item.result.done():
                item.result.set_exception(LanesClosedError("the gateway is stopping"))

    async def _recover(self) -> None:
        for row in await self._database.read(queries.OPEN_TURNS):
            turn = await self._recovered(row)
            if turn is not None:
                self._lane(turn.identity).turn = turn
        for row in await self._database.read(queries.PUT_BACK_TURNS):
            self._adopt(row)
        self._enforce()
        async for record in self._inbox().pending():
            self.offer(record)
        for lane in list(self._lanes.values()):
            self._start(lane)

    async def _recovered(self, row: sqlite3.Row) -> Turn | None:
        try:
            turn = await self._runner.recover(row)
        except (LookupError, ValueError, TypeError):
            log.exception("turn %s cannot be taken up; it stays as it is", row["id"])
            self._counters["lanes.unreadable"] += 1
            return None
        if turn is not None:
            log.info("taking up turn %s, which was cut short", turn.id)
        return turn

    async def take_up(self) -> None:
        """Take what lies in the database and is not known here, because an outage hid it. Raises `StorageError`."""
        known = {lane.turn.id for lane in self._lanes.values() if lane.turn is not None}
        for query in (queries.OPEN_TURNS, queries.PUT_BACK_TURNS):
            for row in await self._database.read(query):
                if row["id"] not in known:
                    self._adopt(row)
        async for record in self._inbox().pending():
            # One that this process has begun with since it was read is harmless twice: it is claimed once.
            if not self._knows(record):
                self.offer(record, interrupts=False)

    def _knows(self, record: InboundRecord) -> bool:
        lane = self._lanes.get(record.identity)
        if lane is None:
            return False
        begun = lane.turn.inbound if lane.turn is not None else []
        return any(isinstance(item, InboundRecord) and item.id == record.id for item in (*lane.waiting, *begun))

    def _adopt(self, row: sqlite3.Row) -> None:
        """Let a turn go on, in its slot's lane, that this process did not begin."""
        identity = SlotIdentity(*(row[f"slot_{part}"] for part in IDENTITY_PARTS))
        lane = self._lane(identity)

        async def adopt() -> None:
            # One that another outage hides by now is found again at the end of that one.
            for found in await self._database.read(queries.GET_TURN, (row["id"],)):
                if lane.turn is not None or found["ended_at"] is not None:
                    return
                await self._database.write(
                    lambda connection: connection.execute(queries.REOPEN_TURN, (row["id"],)).rowcount
                )
                lane.turn = await self._recovered(found)
                readdress(lane, lane.identity)
                self._enforce()  # who is let in may have changed while nobody knew of the turn

        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        done.add_done_callback(report_adoption)
        self._put(lane, Exclusive(adopt, done))
        self._start(lane)

    # --- what comes in ---------------------------------------------------------------------------------------

    def offer(self, record: InboundRecord, *, interrupts: bool = True) -> None:
        """Take a message that is in the inbox; where that is so set up, it stops the running turn. Returns at once."""
        if self._tasks is None:
            return
        record = record.at(self._present(record.identity))
        found = self._desk.find(record.text)
        if found is not None and found[0].immediate:
            self._tasks.create_task(self._run_immediate(record, found[0]), name=f"command {found[0].name}")
            return
        lane = self._lane(record.identity)
        self._put(lane, record)
        if interrupts and found is None and busy_of(record.text, self._config.current.busy)[0] == "interrupt":
            self._interrupt(lane)
        self._start(lane)

    def change(self, what: Edited | Deleted) -> None:
        """Do to a message that waits what was done to it where it was written."""
        lane = self._lanes.get(self._present(what.record.identity))
        match what:
            case Edited(record) if lane is not None:
                replace_waiting(lane, record)
            case Deleted(record) if lane is not None:
                self._waiting -= withdraw(lane, record.id)

    def move(self, slots: Iterable[tuple[SlotIdentity, SlotIdentity]]) -> None:
        """Slots, each as it was and as it is, have another chat id: what runs in them goes on there.

        A lane that there is under a new one has nothing to begin any more, for then the slot would not have moved; what
        its task is still at, it ends by itself.
        """
        for old, new in slots:
            self._moved.pop(new, None)
            self._moved[old] = new
            if (lane := self._lanes.pop(old, None)) is not None:
                self._lanes[new] = lane
                readdress(lane, new)

    def _present(self, identity: SlotIdentity) -> SlotIdentity:
        """What a slot is called now."""
        while (new := self._moved.get(identity)) is not None:
            identity = new
        return identity

    def is_immediate(self, text: str) -> bool:
        """Whether this is a command that does not wait for the session's turn."""
        found = self._desk.find(text)
        return found is not None and found[0].immediate

    async def exclusive(self, identity: SlotIdentity, work: Work) -> Any:  # noqa: ANN401 - what the work returns
        """Run this while no turn of the slot runs, after what waits there already. Raises `LanesClosedError`."""
        if self._draining or self._stopping.is_set():
            raise LanesClosedError("the gateway is stopping")
        item = Exclusive(work, asyncio.get_running_loop().create_future())
        lane = self._lane(self._present(identity))
        self._put(lane, item)
        self._start(lane)
        return await item.result

    def stop_turn(self, identity: SlotIdentity, reason: str = STOPPED) -> int | None:
        """Stop the slot's turn, also one that is put off or about to begin; the number of its first message.

        None if there is none. That it is stopped is not durable by this, see `gateway.transcript.stop`.
        """
        lane = self._lanes.get(self._present(identity))
        if lane is None:
            return None
        if lane.turn is not None:
            lane.turn.stop(reason)
            self._unpark(lane)
            return lane.turn.first.id
        head = lane.waiting[0] if lane.beginning else None
        if not isinstance(head, InboundRecord):
            return None
        lane.stop_reason = lane.stop_reason or reason
        return head.id

    def _enforce(self) -> None:
        """Stop each turn with a message of somebody who is not let in any more. What waits is refused in its turn."""
        for lane in list(self._lanes.values()):
            head = lane.waiting[0] if lane.beginning else None
            records = lane.turn.inbound if lane.turn is not None else [head]
            if any(isinstance(one, InboundRecord) and self._desk.bars(one) for one in records):
                self.stop_turn(lane.identity, REVOKED)

    def _interrupt(self, lane: Lane) -> None:
        """A message comes while a turn is open, or about to be: it stops that. One for which it waits is no such."""
        if lane.turn is not None or (lane.beginning and not lane.joining):
            self.stop_turn(lane.identity, "interrupted")

    def describe(self, identity: SlotIdentity) -> str:
        """What a slot is doing, in words."""
        lane = self._lanes.get(self._present(identity))
        waiting = len(lane.waiting) if lane else 0
        queue = f", {waiting} waiting" if waiting else ""
        if lane is None or lane.turn is None:
            return f"idle{queue}"
        if lane.parked is not None:
            return f"waiting to try again{queue}"
        return f"answering{queue}"

    @property
    def counts(self) -> dict[str, int]:
        """Open turns, and what waits in all lanes."""
        lanes = self._lanes.values()
        return {
            "running": sum(lane.running for lane in lanes),
            "queued": self._waiting,
            "put_off": sum(lane.parked is not None for lane in lanes),
        }

    def is_active(self, identity: SlotIdentity) -> bool:
        """Whether the slot has an open turn or waiting messages."""
        return self._present(identity) in self._lanes

    @property
    def is_full(self) -> bool:
        """Whether so much waits that nothing more is to be taken in, `/stop` and its like excepted."""
        return self._waiting >= WAITING_LIMIT

    def _lane(self, identity: SlotIdentity) -> Lane:
        return self._lanes.setdefault(identity, Lane(identity))

    # --- what waits ------------------------------------------------------------------------------------------

    def _put(self, lane: Lane, item: InboundRecord | Exclusive) -> None:
        lane.waiting.append(item)
        lane.arrived.set()
        self._waiting += 1

    def _take_head(self, lane: Lane) -> None:
        lane.waiting.popleft()
        self._waiting -= 1

    def _take_off(self, lane: Lane, records: Sequence[InboundRecord] = ()) -> None:
        """What is an open turn's, or has an end, waits no more."""
        self._waiting -= take_off(lane, {record.id for record in records})

    # --- the lane's task -------------------------------------------------------------------------------------

    def _start(self, lane: Lane) -> None:
        if lane.task is None and lane.parked is None and self._tasks and not self._stopping.is_set():
            name = f"lane {lane.identity.platform}:{lane.identity.chat}"
            lane.task = self._tasks.create_task(self._work(lane), name=name)

    async def _work(self, lane: Lane) -> None:
        """Run what waits. Finding the lane empty and releasing it is one step without an await."""
        try:
            while not self._draining or must_stop(lane):
                self._take_off(lane)
                if lane.failures >= LANE_FAILURES:
                    await self._give_up(lane)
                elif lane.turn is not None:
                    if not await self._go_on(lane, lane.turn):
                        return
                elif lane.waiting:
                    await self._next(lane)
                else:
                    if self._lanes.get(lane.identity) is lane:
                        del self._lanes[lane.identity]
                    return
                lane.failures = 0
        except Exception as error:
            log.exception("lane %s failed in the gateway itself; it is tried again", lane.identity.key)
            self._counters["lanes.errors"] += 1
            lane.failures += not is_outage(error)
            self._park(lane, self._clock.now() + timedelta(seconds=LANE_ERROR_PAUSE_SECONDS))
        finally:
            lane.task = None

    async def _go_on(self, lane: Lane, turn: Turn) -> bool:
        """Try an open turn again; False if the lane is to be left until its time."""
        if turn.stop_reason is not None:
            await self._runner.finish_stopped(turn)
            lane.turn = None
            return True
        if (seconds := self._seconds_to_wait(turn)) > 0:
            self._park(lane, self._clock.now() + timedelta(seconds=seconds))
            return False
        await self._run_turn(lane, turn, again=True)
        return True

    def _seconds_to_wait(self, turn: Turn) -> float:
        """How long an open turn is put off still. The machine's clock may be put back meanwhile: a wait of this process
        lasts no longer for that, one that an earlier process noted no longer than the longest between two attempts."""
        if turn.not_before is None:
            return 0.0
        left = (turn.not_before - self._clock.now()).total_seconds()
        if turn.due_at is None:
            longest = self._config.current.turns.retry_max_seconds
            turn.due_at = self._clock.monotonic() + min(left, longest)
        return min(left, turn.due_at - self._clock.monotonic())

    async def _run_turn(self, lane: Lane, turn: Turn, *, again: bool) -> None:
        if self._draining:
            await self._runner.suspend(turn)
            return
        lane.running = True
        try:
            ended = await self._runner.attempt(
                turn,
                again=again,
                waiting=lambda: self._desk.joining(lane.waiting, turn.first),
                absorbed=lambda records: self._take_off(lane, records),
            )
        except asyncio.CancelledError:
            with contextlib.suppress(Exception):
                await self._runner.suspend(turn)
            raise
        finally:
            lane.running = False
        if ended:
            lane.turn = None

    async def _give_up(self, lane: Lane) -> None:
        """The lane failed at its head again and again: that is ended, so that it blocks nothing else."""
        reason = f"the gateway failed at it {lane.failures} times"
        if lane.turn is not None:
            await self._runner.give_up(lane.turn, reason)
            lane.turn = None
        elif lane.waiting and isinstance(head := lane.waiting[0], InboundRecord):
            await self._desk.give_up(head, reason)
            self._take_head(lane)

    def _park(self, lane: Lane, until: datetime) -> None:
        lane.parked = call_at(self._clock, until, lambda: self._unpark(lane))

    def _unpark(self, lane: Lane) -> None:
        if lane.parked is not None:
            lane.parked.cancel()
            lane.parked = None
            self._start(lane)

    async def _next(self, lane: Lane) -> None:
        item = lane.waiting[0]
        if isinstance(item, Exclusive):
            self._take_head(lane)
            await run_exclusive(item)
        elif (record := await self._desk.settle(item)) is None:
            self._take_head(lane)
        else:
            lane.waiting[0] = record = record.at(lane.identity)
            await self._begin_turn(lane, record)

    async def _begin_turn(self, lane: Lane, record: InboundRecord) -> None:
        lane.beginning = True
        try:
            inbound = await self._coalesce(lane, record)
            turn = await self._runner.begin(inbound)
        finally:
            lane.beginning = False
            stop_reason, lane.stop_reason = lane.stop_reason, None
        # Where an earlier turn is found open, that goes on, and what is not its own waits.
        self._take_off(lane, inbound if turn is None else turn.inbound)
        lane.turn = turn
        if turn is None:
            return
        readdress(lane, lane.identity)  # it may have moved since the turn's commit
        if stop_reason is not None:
            turn.stop(stop_reason)
        if not turn.interrupted and turn.not_before is None:
            await self._run_turn(lane, turn, again=False)

    async def _coalesce(self, lane: Lane, first: InboundRecord) -> list[InboundRecord]:
        """The messages that the platform made of one: parts of an album, or of a text too long for it."""
        inbound = [first]
        while len(inbound) < COALESCE_LIMIT and self._expects_more(inbound[-1]):
            if len(lane.waiting) == len(inbound) and not await self._more_came(lane):
                break
            follower = next(islice(lane.waiting, len(inbound), None), None)
            if not isinstance(follower, InboundRecord) or not belongs(inbound[-1], follower):
                break
            if self._desk.find(follower.text) is not None:
                break
            inbound.append(follower)
        return inbound

    async def _more_came(self, lane: Lane) -> bool:
        """Wait for a part that is still on its way; whether anything came."""
        lane.arrived.clear()
        lane.joining = True
        try:
            async with asyncio.timeout(self._config.current.inbox.coalesce_seconds):
                await lane.arrived.wait()
        except TimeoutError:
            return False
        finally:
            lane.joining = False
        return True

    def _expects_more(self, record: InboundRecord) -> bool:
        if record.group_id is not None:
            return True
        connection = self._connections.find(record.source.platform, record.account)
        splits_at = connection.adapter.capabilities.splits_text_at if connection else None
        return splits_at is not None and len(record.text) >= splits_at

    async def _run_immediate(self, record: InboundRecord, command: Command) -> None:
        try:
            await self._desk.settle(record)
        except Exception:
            log.exception("the command %s could not be recorded; it is run again in its session's lane", command.name)
            self._counters["commands.errors"] += 1
            lane = self._lane(record.identity)
            self._put(lane, record)
            self._start(lane)
