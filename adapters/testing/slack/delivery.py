"""How events, commands and interactions reach an app: each is sent, has to be acknowledged, and is sent again."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from adapters.testing.slack.accounts import App, Bot, Json
from adapters.testing.slack.request_urls import RequestUrls
from adapters.testing.slack.sockets import Connection, Sockets

NOT_CONNECTED: Final = "connection_failed"
TIMED_OUT: Final = "timeout"
"""Why something is sent again (https://docs.slack.dev/apis/events-api#retries; over a socket, what arrives in
`retry_reason` is not documented, `timeout` is what apps see)."""


class EnvelopeKind(Enum):
    """The `type` of an envelope (https://docs.slack.dev/apis/events-api/using-socket-mode)."""

    EVENT = "events_api"
    COMMAND = "slash_commands"
    INTERACTIVE = "interactive"


@dataclass(frozen=True, slots=True)
class DeliveryRules:
    """How long an app has to acknowledge, and when an event is sent again after a failure, in seconds.

    The values are those of https://docs.slack.dev/apis/events-api#retries; commands and interactions are never sent
    again.
    """

    deadline: float = 3.0
    retry_delays: tuple[float, ...] = (0.0, 60.0, 300.0)


@dataclass(slots=True, eq=False)
class Attempt:
    """One time that something was sent. `at` and `acknowledged_at` are seconds of the monotonic clock."""

    id: str
    """The `envelope_id`; each attempt has its own."""
    number: int
    """0 for the first."""
    reason: str
    """Why it was sent again; empty for the first."""
    at: float
    connection: Connection | None = None
    """The connection that it went to, in Socket Mode."""
    acknowledged_at: float | None = None
    failure: str | None = None
    """Why it does not count as delivered."""
    answered: asyncio.Event = field(default_factory=asyncio.Event, repr=False)


@dataclass(slots=True, eq=False)
class Envelope:
    """An event, a command or an interaction, and how it reached the app."""

    kind: EnvelopeKind
    payload: Json
    bot: Bot
    at: float
    respond: Callable[[Any], None] | None = field(default=None, repr=False)
    """Takes what the app sends along with its acknowledgement."""
    attempts: list[Attempt] = field(default_factory=list)
    given_up: bool = False
    """Whether Slack sends it no more, though it was not acknowledged in time."""
    lost: bool = False
    """Whether a test had it lost on the way."""

    @property
    def acknowledged(self) -> bool:
        """Whether the app has acknowledged it, late or not."""
        return any(attempt.acknowledged_at is not None for attempt in self.attempts)

    @property
    def event(self) -> Json:
        """The event in it; for others the payload itself."""
        inner: Json = self.payload.get("event", self.payload)
        return inner

    @property
    def waits(self) -> list[float]:
        """Seconds from sending to acknowledging, of each attempt that was acknowledged."""
        return [each.acknowledged_at - each.at for each in self.attempts if each.acknowledged_at is not None]


class Feed:
    """Everything that one app is sent, in order. A test may have it repeated, lost, or in another order."""

    def __init__(
        self,
        app: App,
        rules: DeliveryRules,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        note: Callable[[str], None],
        changed: Callable[[], None],
    ) -> None:
        self.app = app
        self.rules = rules
        self.all: list[Envelope] = []
        """Everything that there ever was to send."""
        self.sockets = Sockets(app, self._acknowledge, changed)
        self.urls = RequestUrls(app, clock)
        self._monotonic = monotonic
        self._note = note
        self._changed = changed
        self._attempts: dict[str, Attempt] = {}
        self._envelopes: dict[str, Envelope] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._held: list[Envelope] | None = None
        self._waiting: list[Envelope] = []
        self._paused = False
        self._repeats = 0
        self._losses = 0

    @property
    def pending(self) -> tuple[Envelope, ...]:
        """What is neither acknowledged nor given up."""
        return tuple(each for each in self.all if not (each.acknowledged or each.given_up or each.lost))

    def push(
        self, kind: EnvelopeKind, payload: Json, bot: Bot, respond: Callable[[Any], None] | None = None
    ) -> Envelope:
        """Send something to the app."""
        envelope = Envelope(kind, payload, bot, self._monotonic(), respond)
        self.all.append(envelope)
        if self._losses > 0:
            self._losses -= 1
            envelope.lost = True
        elif self._held is not None:
            self._held.append(envelope)
        else:
            self._send(envelope)
        self._changed()
        return envelope

    def repeat(self, times: int = 1) -> None:
        """Send each of the next ones twice, as if each were the first time."""
        self._repeats += times

    def lose(self, times: int = 1) -> None:
        """Do not send the next ones at all."""
        self._losses += times

    def hold(self) -> None:
        """Keep back what comes, until `release`."""
        self._held = [] if self._held is None else self._held

    def release(self, *, reverse: bool = False) -> None:
        """Send what was kept back, in order or the last one first."""
        held, self._held = self._held or [], None
        for envelope in reversed(held) if reverse else held:
            self._send(envelope)

    def resume(self) -> None:
        """After a stop: send what waits."""
        self._paused = False
        waiting, self._waiting = self._waiting, []
        for envelope in waiting:
            self._send(envelope)

    async def stop(self) -> None:
        """Close every connection and send nothing until `resume`; what was under way waits."""
        self._paused = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        held = self._held or []
        begun = [each for each in self.pending if each not in held and each not in self._waiting]
        self._waiting += [each for each in begun if each.attempts]
        await self.sockets.stop()
        await self.urls.stop()

    def _send(self, envelope: Envelope) -> None:
        if self._paused:
            self._waiting.append(envelope)
            return
        self._begin(envelope)
        if self._repeats > 0:
            self._repeats -= 1
            self._begin(envelope, repeated=True)

    def _begin(self, envelope: Envelope, *, repeated: bool = False) -> None:
        number = 0 if repeated else len(envelope.attempts)
        attempt = self._attempt(envelope, number, TIMED_OUT if number else "")
        task = asyncio.create_task(self._follow(envelope, attempt))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _attempt(self, envelope: Envelope, number: int, reason: str) -> Attempt:
        attempt = Attempt(f"{len(self._attempts):08x}-0000-4000-8000-{number:012d}", number, reason, self._monotonic())
        self._attempts[attempt.id] = attempt
        self._envelopes[attempt.id] = envelope
        envelope.attempts.append(attempt)
        if self.app.socket_mode:
            attempt.connection = self.sockets.send(self._frame(envelope, attempt))
        self._changed()
        return attempt

    @staticmethod
    def _frame(envelope: Envelope, attempt: Attempt) -> Json:
        frame = {
            "envelope_id": attempt.id,
            "payload": envelope.payload,
            "type": envelope.kind.value,
            "accepts_response_payload": envelope.kind is not EnvelopeKind.EVENT,
        }
        if envelope.kind is EnvelopeKind.EVENT:
            frame |= {"retry_attempt": attempt.number, "retry_reason": attempt.reason}
        return frame

    async def _follow(self, envelope: Envelope, attempt: Attempt) -> None:
        """See an envelope through: until it is acknowledged or all retries have failed."""
        delays = self.rules.retry_delays if envelope.kind is EnvelopeKind.EVENT else ()
        while (failure := await self._outcome(envelope, attempt)) is not None:
            attempt.failure = failure
            if attempt.number >= len(delays) or failure == self.urls.NO_RETRY:
                envelope.given_up = not envelope.acknowledged
                break
            await asyncio.sleep(delays[attempt.number])
            attempt = self._attempt(envelope, attempt.number + 1, failure)
        self._changed()

    async def _outcome(self, envelope: Envelope, attempt: Attempt) -> str | None:
        """Why an attempt has failed; None if it has not."""
        if not self.app.socket_mode:
            return await self._post(envelope, attempt)
        if attempt.connection is None:
            return NOT_CONNECTED
        try:
            async with asyncio.timeout(self.rules.deadline):
                await attempt.answered.wait()
        except TimeoutError:
            if attempt.connection.live and not attempt.connection.frozen:
                self._note(f"{_named(envelope)} was not acknowledged within {self.rules.deadline} s")
            return TIMED_OUT
        return None

    async def _post(self, envelope: Envelope, attempt: Attempt) -> str | None:
        retry = (attempt.number, attempt.reason) if attempt.number else None
        posted = await self.urls.post(envelope.kind.value, envelope.payload, retry, self.rules.deadline)
        if posted.failure is None:
            attempt.acknowledged_at = self._monotonic()
            if envelope.respond is not None and posted.body:
                envelope.respond(posted.body)
        elif posted.failure == self.urls.TIMED_OUT:
            self._note(f"{_named(envelope)} was not acknowledged within {self.rules.deadline} s")
        return posted.failure

    def _acknowledge(self, frame: Json) -> None:
        """An acknowledgement came over a connection."""
        attempt = self._attempts.get(str(frame.get("envelope_id")))
        if attempt is None:
            self._note(f"an envelope was acknowledged that there is not: {frame.get('envelope_id')}")
            return
        envelope = self._envelopes[attempt.id]
        if attempt.acknowledged_at is not None:
            self._note(f"{_named(envelope)} was acknowledged twice")
            return
        attempt.acknowledged_at = self._monotonic()
        late = attempt.acknowledged_at - attempt.at - self.rules.deadline
        if late > 0:
            self._note(f"{_named(envelope)} was acknowledged {late:.2f} s too late")
        attempt.answered.set()
        if envelope.respond is not None and frame.get("payload"):
            envelope.respond(frame["payload"])
        self._changed()


def _named(envelope: Envelope) -> str:
    what = envelope.event.get("type") or envelope.payload.get("command", "")
    return f"{envelope.kind.value} {what} {envelope.payload.get('event_id', '')}".rstrip()
