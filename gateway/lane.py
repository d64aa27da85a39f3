"""One slot's lane: what waits in it, what runs in it, and work that needs it for itself."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from gateway.inbound import InboundRecord
from gateway.session.key import SlotIdentity
from gateway.turn import Turn

log = logging.getLogger(__name__)

Work: TypeAlias = Callable[[], Awaitable[Any]]


class LanesClosedError(Exception):
    """The gateway stops: nothing new begins. What is in the inbox is taken up at the next start."""


@dataclass(slots=True, eq=False)
class Exclusive:
    """Work that needs the slot for itself."""

    work: Work
    result: "asyncio.Future[Any]"


@dataclass(slots=True, eq=False)
class Lane:
    """What waits in one slot, what runs in it, and the task that works on it, if any.

    What waits leaves the queue once it has an end or is an open turn's, so a failure in between loses nothing.
    `withdrawn` are the numbers of those that people have deleted meanwhile; they leave it as soon as none is at work on
    the head. `turn` is the open turn, also while it is put off; then `parked` is the timer that takes it up again.
    `beginning`: the first of what waits is being made a turn; `joining`: parts of it are still awaited. A stop that
    comes in that time is kept in `stop_reason`. `failures` counts how often in a row the lane failed at its head.
    """

    identity: SlotIdentity
    waiting: deque[InboundRecord | Exclusive] = field(default_factory=deque)
    withdrawn: set[int] = field(default_factory=set)
    turn: Turn | None = None
    running: bool = False
    beginning: bool = False
    joining: bool = False
    stop_reason: str | None = None
    failures: int = 0
    task: asyncio.Task[None] | None = None
    parked: asyncio.TimerHandle | None = None
    arrived: asyncio.Event = field(default_factory=asyncio.Event)


async def run_exclusive(item: Exclusive) -> None:
    """Run the work, unless nobody waits for it any more; whoever asked for it gets its result or its error."""
    if item.result.done():
        return
    try:
        result = await item.work()
    except asyncio.CancelledError:
        item.result.cancel()
        raise
    except Exception as error:  # noqa: BLE001 - whoever asked for the work gets it
        if not item.result.done():
            item.result.set_exception(error)
    else:
        if not item.result.done():
            item.result.set_result(result)


def report_adoption(done: "asyncio.Future[Any]") -> None:
    """Say in the log if a turn that an outage had hidden could not be taken up; that the gateway stops is no fault."""
    error = None if done.cancelled() else done.exception()
    if error is not None and not isinstance(error, LanesClosedError):
        log.error("a turn that an outage had hidden is taken up later: after an outage, or a start", exc_info=error)


def take_off(lane: Lane, gone: Collection[int]) -> int:
    """Take these messages, and those that were withdrawn, out of what waits; how many there were."""
    if not (gone or lane.withdrawn):
        return 0
    before, withdrawn = list(lane.waiting), lane.withdrawn
    kept = [item for item in before if isinstance(item, Exclusive) or not (item.id in gone or item.id in withdrawn)]
    if lane.turn is None and before and isinstance(head := before[0], InboundRecord) and head.id in withdrawn:
        lane.failures = 0  # what stands in its place has not failed
    lane.waiting.clear()
    lane.waiting.extend(kept)
    lane.withdrawn.clear()
    return len(before) - len(kept)


def withdraw(lane: Lane, number: int) -> int:
    """Take a message out of what waits, now or soon; how many are gone. Beside an open turn, and while no task is at
    work, nobody works on the head."""
    lane.withdrawn.add(number)
    return take_off(lane, ()) if lane.turn is not None or lane.task is None else 0


def replace_waiting(lane: Lane, record: InboundRecord) -> None:
    """A message that waits says something else now."""
    for place, item in enumerate(lane.waiting):
        if isinstance(item, InboundRecord) and item.id == record.id:
            lane.waiting[place] = record


def readdress(lane: Lane, identity: SlotIdentity) -> None:
    """The lane, what waits in it and its turn are of a slot with this identity from now on."""
    lane.identity = identity
    for place, item in enumerate(lane.waiting):
        if isinstance(item, InboundRecord):
            lane.waiting[place] = item.at(identity)
    if lane.turn is not None:
        lane.turn.identity = identity
        lane.turn.inbound[:] = [record.at(identity) for record in lane.turn.inbound]


def must_stop(lane: Lane) -> bool:
    """Whether the lane has an open turn that a person has stopped: that ends, however little time is left."""
    return lane.turn is not None and lane.turn.stop_reason is not None


def belongs(one: InboundRecord, other: InboundRecord) -> bool:
    """Whether two messages can be parts of one that the platform has split."""
    same_person = (one.source.user_id, one.account) == (other.source.user_id, other.account)
    return same_person and one.group_id == other.group_id
