"""A bot's updates: waiting in order until the bot confirms them, by long polling or a webhook."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from adapters.testing.telegram.accounts import Json
from adapters.testing.telegram.errors import ApiError, conflict

MAX_LIMIT = 100
"""The most updates in one answer (https://core.telegram.org/bots/api#getupdates)."""
MAX_TIMEOUT = 50
"""The longest long poll that the server keeps, in seconds."""
KEPT = 24 * 3600.0
"""How long an update waits for the bot, in seconds (https://core.telegram.org/bots/api#getting-updates)."""
ON_REQUEST = frozenset({"chat_member", "message_reaction", "message_reaction_count"})
"""The kinds that a bot only gets when it asks for them (https://core.telegram.org/bots/api#getupdates)."""
TAKEN_OVER = "terminated by other getUpdates request; make sure that only one bot instance is running"
WEBHOOK_ACTIVE = "can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"
WEBHOOK_SET = "terminated by setWebhook request"


@dataclass(frozen=True, slots=True)
class Update:
    """One update; `update_id`s of a bot follow one another."""

    id: int
    kind: str
    payload: Json
    at: float

    def object(self) -> Json:
        """The `Update` object."""
        return {"update_id": self.id, self.kind: self.payload}


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where updates are posted to, and how that went last."""

    url: str
    secret: str | None = None
    max_connections: int = 40
    error_at: int | None = None
    error: str | None = None


class UpdateQueue:
    """The updates of one bot.

    An update leaves it when getUpdates is called with a higher offset, when a webhook has taken it, or after a day.
    """

    def __init__(self, first_id: int, clock: Callable[[], float], changed: Callable[[], None]) -> None:
        self._next_id = first_id
        self._clock = clock
        self._changed = changed
        self._waiting: deque[Update] = deque()
        self._poll: asyncio.Future[None] | None = None
        self._arrival = asyncio.Event()
        self._repeats = 0
        self._reversals = 0
        self._again: list[Update] = []
        self.all: list[Update] = []
        """Every update that there ever was, in order."""
        self.allowed: frozenset[str] | None = None
        """The kinds that the bot asked for; None: all but those that have to be asked for."""
        self.webhook: Webhook | None = None

    @property
    def waiting(self) -> tuple[Update, ...]:
        """What the bot has not confirmed yet."""
        return tuple(self._waiting)

    def push(self, kind: str, payload: Json) -> None:
        """A new update, unless the bot did not ask for its kind."""
        if kind in ON_REQUEST if self.allowed is None else kind not in self.allowed:
            return
        update = Update(self._next_id, kind, payload, self._clock())
        self._next_id += 1
        self._waiting.append(update)
        self.all.append(update)
        self._wake()

    def allow(self, kinds: object) -> None:
        """Take `allowed_updates`: None keeps the last ones, an empty list is the default.

        Updates that are waiting already are not affected.
        """
        if isinstance(kinds, list):
            self.allowed = frozenset(str(kind) for kind in kinds) or None

    async def get(self, offset: int, limit: int, timeout: int) -> list[Json]:
        """The answer of getUpdates; one that waits ends when another comes. Raises `ApiError` (409)."""
        if self.webhook is not None:
            raise conflict(WEBHOOK_ACTIVE)
        self.end_poll(conflict(TAKEN_OVER))
        self._forget(offset)
        limit = limit if 1 <= limit <= MAX_LIMIT else MAX_LIMIT
        if timeout > 0 and not self._waiting and not self._again:
            await self._wait(min(timeout, MAX_TIMEOUT))
        return [update.object() for update in self._batch(limit)]

    async def first(self) -> Update:
        """The oldest update that waits, as soon as there is one."""
        while not self._waiting:
            self._arrival.clear()
            await self._arrival.wait()
        return self._waiting[0]

    def confirm(self, update_id: int) -> None:
        """The update has reached the bot, and everything before it."""
        while self._waiting and self._waiting[0].id <= update_id:
            self._waiting.popleft()
        self._changed()

    def drop(self) -> None:
        """Forget what waits (`drop_pending_updates`)."""
        self._waiting.clear()

    def end_poll(self, error: ApiError) -> None:
        """End the getUpdates that waits, if one does, with this error."""
        if self._poll is not None and not self._poll.done():
            self._poll.set_exception(error)
        self._poll = None

    def repeat(self, batches: int = 1) -> None:
        """Fault: the next answers hold each of their updates twice."""
        self._repeats += batches

    def reverse(self, batches: int = 1) -> None:
        """Fault: the next answers hold their updates in the wrong order."""
        self._reversals += batches

    def redeliver(self, updates: Iterable[Update]) -> None:
        """Fault: the next answer holds these once more, whatever was confirmed."""
        self._again.extend(updates)
        self._wake()

    def note_failure(self, error: str) -> None:
        """The webhook did not take an update."""
        if self.webhook is not None:
            self.webhook = replace(self.webhook, error_at=int(self._clock()), error=error)
            self._changed()

    def _wake(self) -> None:
        self._arrival.set()
        if self._poll is not None and not self._poll.done():
            self._poll.set_result(None)
        self._changed()

    def _forget(self, offset: int) -> None:
        if offset < 0:
            while len(self._waiting) > -offset:
                self._waiting.popleft()
        elif offset > 0:
            self.confirm(offset - 1)
        oldest = self._clock() - KEPT
        while self._waiting and self._waiting[0].at < oldest:
            self._waiting.popleft()

    async def _wait(self, timeout: float) -> None:
        poll: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._poll = poll
        try:
            async with asyncio.timeout(timeout):
                await poll
        except TimeoutError:
            pass
        finally:
            if self._poll is poll:
                self._poll = None

    def _batch(self, limit: int) -> list[Update]:
        batch = [*self._again, *list(self._waiting)[:limit]]
        self._again.clear()
        if batch and self._repeats:
            self._repeats -= 1
            batch = [update for each in batch for update in (each, each)]
        if len(batch) > 1 and self._reversals:
            self._reversals -= 1
            batch.reverse()
        return batch
