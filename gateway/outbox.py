"""The outbox: what is to be sent, durable, in order per chat, each message once or marked."""

import asyncio
import logging
import sqlite3
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from config import GatewayConfig, LiveConfig, Platform
from gateway.budget import ChatKey, FloodBudget
from gateway.clock import call_at
from gateway.constants import AWAY_SECONDS, OUTBOX_ERROR_PAUSE_SECONDS
from gateway.courier import Connection, Courier, Postponed
from gateway.delivery import ShownPart
from gateway.metrics.meters import Meters
from gateway.ports import Clock, Target
from gateway.shown import Screen
from gateway.storage import outbox_queries
from gateway.storage.database import Database
from gateway.storage.errors import StorageError
from gateway.storage.probe import Probe, no_probe

__all__ = ["Connection", "Outbox"]

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Chat:
    """A chat that something waits for, and the task that works on it, if any.

    `offered` is set by what comes in while the task looks for more. A chat is `parked` while it has to wait; if it
    waits for its platform's connection it is `offline`, and a connection that comes up while it tries sets `retry`.
    """

    key: ChatKey
    offered: bool = False
    task: asyncio.Task[None] | None = None
    parked: asyncio.TimerHandle | None = None
    offline: bool = False
    retry: bool = False


class Outbox:
    """Sends what is in the outbox, in order within a chat. Chats do not wait for each other, nor do platforms.

    The database is the queue: memory holds the chats that something waits for, not what waits.
    """

    def __init__(
        self,
        database: Database,
        config: GatewayConfig | LiveConfig,
        clock: Clock,
        connection: Callable[[Platform, str], Connection | None],
        counters: Counter[str],
        *,
        probe: Probe = no_probe,
        meters: Meters | None = None,
    ) -> None:
        self._database = database
        self._config = LiveConfig.of(config)
        self._clock = clock
        self._counters = counters
        self.budget = FloodBudget(database, clock)
        """Who may call a platform; whoever calls one beside the outbox asks it too."""
        self.screen = Screen()
        """What people see of replies that grow."""
        self._courier = Courier(
            database,
            self._config,
            clock,
            connection,
            self.budget,
            self.screen,
            counters,
            probe,
            self._tell,
            self.offer,
            self._do_later,
            meters or Meters(),
        )
        self._chats: dict[ChatKey, _Chat] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._stopping = asyncio.Event()
        self._moved: dict[ChatKey, ChatKey] = {}
        """Chats that have another id since this process began, by what it was."""
        self._awaited: dict[int, asyncio.Future[Sequence[ShownPart] | None]] = {}
        """Deliveries whose next record someone waits for."""

    async def run(self, ready: asyncio.Event) -> None:
        """Take up what an earlier process left, then serve until `stop`; owns every task of the outbox."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                await self._recover()
                ready.set()
                await self._stopping.wait()
            finally:
                self._leave()

    def stop(self) -> None:
        """End `run`; what was not sent stays in the outbox."""
        self._stopping.set()

    async def drain(self) -> None:
        """Wait until nothing is being sent: what remains waits for a platform or for its time."""
        while tasks := [chat.task for chat in self._chats.values() if chat.task is not None]:
            await asyncio.wait(tasks)

    async def settled(self, platform: Platform, account: str) -> None:
        """Wait until nothing is being sent there."""
        there = (str(platform), account)
        while tasks := [chat.task for key, chat in self._chats.items() if key[:2] == there and chat.task is not None]:
            await asyncio.wait(tasks)

    def offer(self, target: Target) -> None:
        """Something for this place has been committed: send it in its turn. Returns at once."""
        key = (str(target.platform), target.account, target.chat_id)
        while (moved := self._moved.get(key)) is not None:
            key = moved
        chat = self._chat(key)
        chat.offered = True
        self._start(chat)

    def move_chat(self, platform: Platform, account: str, old: str, new: str) -> None:
        """What is to be sent to a chat is committed under another id from now on."""
        before, after = (str(platform), account, old), (str(platform), account, new)
        self._moved.pop(after, None)
        self._moved[before] = after
        self.offer(Target(platform, new, None, account))

    def shown(self, delivery_id: int, target: Target) -> "asyncio.Future[Sequence[ShownPart] | None]":
        """Offer a delivery, and get its messages once all of its present text is shown and recorded; None
        if it is given up.

        Whoever stops waiting cancels the future.
        """
        shown: asyncio.Future[Sequence[ShownPart] | None] = asyncio.get_running_loop().create_future()
        self._awaited[delivery_id] = shown
        shown.add_done_callback(lambda _shown: self._awaited.pop(delivery_id, None))
        self.offer(target)
        return shown

    def wake(self, platform: Platform, account: str) -> None:
        """The platform is connected: go on with the chats that wait for it."""
        for chat in self._chats.values():
            if chat.key[:2] == (str(platform), account):
                chat.retry = True
                if chat.offline:
                    self._unpark(chat)

    async def _recover(self) -> None:
        await self.budget.load()
        await self.take_up()

    async def take_up(self) -> None:
        """Send what lies in the database and is not known here: what an earlier process left, or an outage hid.

        Raises `StorageError`.
        """
        try:
            await self._execute(outbox_queries.COMPLETE_ORPHANS, ())
        except StorageError as error:
            log.warning("replies whose turn is gone stay incomplete until something can be stored again: %s", error)
        await self._courier.recall()
        for platform, account, chat in await self._database.read(outbox_queries.OPEN_CHATS):
            try:
                Platform(platform)
            except ValueError:
                log.warning("messages for %s wait until an adapter for it is installed again", platform)
                continue
            self._start(self._chat((platform, account, chat)))

    def _leave(self) -> None:
        self._stopping.set()
        for chat in self._chats.values():
            if chat.parked is not None:
                chat.parked.cancel()
            if chat.task is not None:
                chat.task.cancel()

    # --- one chat --------------------------------------------------------------------------------------------

    def _chat(self, key: ChatKey) -> _Chat:
        return self._chats.setdefault(key, _Chat(key))

    def _start(self, chat: _Chat) -> None:
        if chat.task is None and chat.parked is None and self._tasks and not self._stopping.is_set():
            chat.task = self._tasks.create_task(self._work(chat), name=f"outbox {':'.join(chat.key)}")

    async def _work(self, chat: _Chat) -> None:
        """Send what waits. Finding nothing and leaving is one step without an await."""
        try:
            while True:
                chat.offered = chat.retry = False
                try:
                    if await self._courier.step(chat.key) or chat.offered:
                        continue
                except Postponed as postponed:
                    if postponed.until is None and chat.retry:
                        continue
                    self._park(chat, postponed.until)
                    return
                except Exception:
                    log.exception("the outbox failed in the gateway itself at %s; it is tried again", chat.key)
                    self._counters["outbox.errors"] += 1
                    self._park(chat, self._after(OUTBOX_ERROR_PAUSE_SECONDS))
                    return
                del self._chats[chat.key]
                return
        finally:
            chat.task = None

    def _park(self, chat: _Chat, until: datetime | None) -> None:
        """Leave the chat until then, with no task. A chat that waits for its platform looks again by itself too."""
        chat.offline = until is None
        if until is None:
            until = self._after(max(AWAY_SECONDS, self._config.current.delivery.retry_max_seconds))
        chat.parked = call_at(self._clock, until, lambda: self._unpark(chat))

    def _unpark(self, chat: _Chat) -> None:
        if chat.parked is not None:
            chat.parked.cancel()
            chat.parked = None
        chat.offline = False
        self._start(chat)

    def _do_later(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside the chats, as a task of the outbox."""
        if self._tasks is not None and not self._stopping.is_set():
            self._tasks.create_task(self._attend(work), name="outbox, afterwards")
        else:
            work.close()

    async def _attend(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception:
            log.exception("what was to be done after a delivery failed")
            self._counters["outbox.errors"] += 1

    def _after(self, seconds: float) -> datetime:
        return self._clock.now() + timedelta(seconds=seconds)

    def _tell(self, delivery_id: int, parts: Sequence[ShownPart] | None) -> None:
        shown = self._awaited.get(delivery_id)
        if shown is not None and not shown.done():
            shown.set_result(parts)

    async def _execute(self, statement: str, values: tuple[object, ...]) -> None:
        def job(connection: sqlite3.Connection) -> None:
            connection.execute(statement, values)

        await self._database.write(job)
