"""One attached client as the gateway sees it: what it has been sent, and what waits to be sent to it."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from adapters.local.protocol import MAX_PIECE_CHARACTERS, REMEMBERED_DELIVERIES, Frame, Grow, Hello, Show
from gateway.ports import Delivery, FrameConnection

MAX_WAITING_FRAMES: Final = 1000
"""Answers to its own frames that a client may leave unread; one that leaves more is dropped."""

MAX_WAITING_DELIVERIES: Final = 256
"""Different deliveries that may wait for one slow client; beyond it the client is dropped, and gets them when
it attaches again. Growth of one delivery takes no more room: only the newest text waits."""

MAX_GROWING: Final = 64
"""Replies that may grow at once. The text of one that is forgotten is sent as a whole again."""

STALL_SECONDS: Final = 30.0
"""How long a write to a client may be stuck while nothing is heard from it, before it is dropped."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    delivery: Delivery
    ack: bool


class Attachment:
    """A client on its connection. `serial` numbers connections, so that an old one is told from a new one.

    Everything here belongs to the event loop's thread. `on_written(delivery id)` is called right before the
    first byte of a delivery may leave.
    """

    def __init__(
        self,
        connection: FrameConnection,
        hello: Hello,
        serial: int,
        on_written: Callable[[int], None],
    ) -> None:
        self.client = hello.client
        self.hello = hello
        self.serial = serial
        self.shown: set[int] = set(hello.shown)
        self._complete: set[int] = set(hello.shown).difference(hello.growing)
        self.gone = asyncio.Event()
        self.heard_at = self.now()
        self._remembers_from = min(hello.shown) if len(hello.shown) >= REMEMBERED_DELIVERIES else 0
        self._connection = connection
        self._on_written = on_written
        self._frames: deque[Frame] = deque()
        self._waiting: OrderedDict[int, _Waiting] = OrderedDict()
        self._texts: OrderedDict[int, str] = OrderedDict()
        self._wake = asyncio.Event()
        self._writing_since: float | None = None

    @staticmethod
    def now() -> float:
        """The running loop's monotonic seconds, which its timeouts are measured in."""
        return asyncio.get_running_loop().time()

    @property
    def stalled(self) -> bool:
        """Whether a write has been stuck for too long while the client kept silent."""
        if self._writing_since is None:
            return False
        return self.now() - max(self._writing_since, self.heard_at) > STALL_SECONDS

    def remembers(self, delivery_id: int) -> bool:
        """Whether the client's list of what it has shown reaches back to this delivery."""
        return delivery_id >= self._remembers_from

    def was_there_for(self, delivery: Delivery) -> bool:
        """Whether the client was here when this delivery was first to be shown: it answers what the client asked, or
        the client has shown what was sent right before."""
        if not set(self.hello.asked).isdisjoint(delivery.answers):
            return True
        sent = (int(each) for each in (*delivery.before, *delivery.others) if each.isascii() and each.isdigit())
        return max((each for each in sent if each < delivery.id), default=None) in self.shown

    def has(self, delivery: Delivery) -> bool:
        """Whether the client has said that this delivery is on its screen, all of it if it is final."""
        return delivery.id in (self._complete if delivery.final else self.shown)

    def note_shown(self, delivery_id: int, *, complete: bool) -> None:
        """The client has said so."""
        self.shown.add(delivery_id)
        if complete:
            self._complete.add(delivery_id)
        if len(self.shown) > 2 * REMEMBERED_DELIVERIES:
            self._complete.discard(min(self.shown))
            self.shown.discard(min(self.shown))

    def drop(self) -> None:
        """Let the client go; nothing more is written to it."""
        self.gone.set()
        self._wake.set()

    def queue(self, frame: Frame) -> None:
        """Have a frame written, before any delivery that waits."""
        if len(self._frames) >= MAX_WAITING_FRAMES:
            self.drop()
            return
        self._frames.append(frame)
        self._wake.set()

    def offer(self, delivery: Delivery, *, ack: bool = False) -> None:
        """Have a delivery written. What waits under the same id is left out: this text takes its place."""
        before = self._waiting.get(delivery.id)
        if before is None and len(self._waiting) >= MAX_WAITING_DELIVERIES:
            self.drop()
            return
        self._waiting[delivery.id] = _Waiting(delivery, ack or (before is not None and before.ack))
        self._wake.set()

    async def write(self) -> None:
        """Write what is queued until the client is dropped or its connection fails."""
        while not self.gone.is_set():
            await self._wake.wait()
            self._wake.clear()
            while not self.gone.is_set() and (frame := self._next()) is not None:
                try:
                    await self._write(frame)
                except (ConnectionError, OSError):
                    return

    def _next(self) -> Frame | Iterator[Frame] | None:
        if self._frames:
            return self._frames.popleft()
        if self._waiting:
            _, waiting = self._waiting.popitem(last=False)
            return self._pieces(waiting)
        return None

    async def _write(self, frame: Frame | Iterator[Frame]) -> None:
        for one in (frame,) if isinstance(frame, Frame) else frame:
            self._writing_since = self.now()
            try:
                await self._connection.send(one.wire())
            finally:
                self._writing_since = None

    def _pieces(self, waiting: _Waiting) -> Iterator[Frame]:
        """The frames that bring the client from the text it has to the text of the delivery."""
        delivery = waiting.delivery
        known = self._texts.get(delivery.id)
        grows = known is not None and delivery.text.startswith(known)
        rest = delivery.text[len(known) :] if known is not None and grows else delivery.text
        if grows and not rest and not delivery.final and not waiting.ack:
            return
        self._on_written(delivery.id)
        pieces = [
            rest[start : start + MAX_PIECE_CHARACTERS] for start in range(0, max(len(rest), 1), MAX_PIECE_CHARACTERS)
        ]
        for number, piece in enumerate(pieces):
            last = number == len(pieces) - 1
            part = replace(delivery, text=piece, final=delivery.final and last)
            yield _frame(part, grows=grows or number > 0, ack=waiting.ack and last)
        self._remember(delivery)

    def _remember(self, delivery: Delivery) -> None:
        self._texts.pop(delivery.id, None)
        if not delivery.final:
            self._texts[delivery.id] = delivery.text
            while len(self._texts) > MAX_GROWING:
                self._texts.popitem(last=False)


def _frame(part: Delivery, *, grows: bool, ack: bool) -> Frame:
    if grows:
        return Grow(
            id=part.id,
            text=part.text,
            final=part.final,
            ack=ack,
            answers=part.answers,
            repeated=part.repeated,
        )
    return Show(
        id=part.id,
        kind=part.kind,
        text=part.text,
        final=part.final,
        ack=ack,
        answers=part.answers,
        repeated=part.repeated,
        session_id=part.session_id,
        turn_id=part.turn_id,
    )
