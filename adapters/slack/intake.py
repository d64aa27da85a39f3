"""What Slack sends is stored before Slack hears that we have it, and looked into after that, in its order."""

import asyncio
import hashlib
import json
import logging
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

from adapters.base import AdapterHost, NotStoredError, RawUpdate
from adapters.connection import Connection
from adapters.slack.constants import EVENT, QUEUE_LIMIT

log = logging.getLogger(__name__)


CONFIDENTIAL: Final = frozenset({"token", "response_url", "response_urls"})
"""What Slack sends along that lets somebody speak for it or for us; none of it is of use here."""


class Taker(Protocol):
    """Who is handed what comes."""

    def glance(self, kind: str, payload: Mapping[str, Any]) -> bool:
        """Whether something has to be stored."""

    async def process(self, update: RawUpdate) -> None:
        """Take what was stored. Raises `NotStoredError`."""


class FullError(NotStoredError):
    """So much waits to be looked into that no more is taken."""


class Intake:
    """Stores, and hands on one after the other."""

    def __init__(self, host: AdapterHost, receiver: Taker, connection: Connection) -> None:
        self._host = host
        self._receiver = receiver
        self._connection = connection
        self._waiting: deque[RawUpdate] = deque()
        self._more = asyncio.Event()
        self._storing: set[asyncio.Task[None]] = set()

    def take(self, kind: str, payload: Mapping[str, Any]) -> "asyncio.Future[None]":
        """Give something its place in line before returning. The future ends once it is stored, or known to be nothing
        that has to be; it raises `NotStoredError`."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not self._is_wanted(kind, payload):
            done.set_result(None)
        elif len(self._waiting) + len(self._storing) >= QUEUE_LIMIT:
            done.set_exception(FullError("too many events wait to be looked into"))
        else:
            task = asyncio.create_task(self._store(_raw(kind, payload)), name="slack event")
            self._storing.add(task)
            task.add_done_callback(self._storing.discard)
            # Who waits may go away; what was begun is finished.
            return asyncio.shield(task)
        return done

    def _is_wanted(self, kind: str, payload: Mapping[str, Any]) -> bool:
        try:
            return self._receiver.glance(kind, payload)
        except Exception:  # noqa: BLE001 - what cannot be read is stored, and set aside when its turn comes
            return True

    async def catch_up(self) -> None:
        """Hand on what an earlier process has left."""
        for update in await self._connection.stored(self._host.kept):
            await self._process(update)

    async def run(self) -> None:
        """Hand on what comes, until cancelled."""
        try:
            while True:
                while self._waiting:
                    await self._process(self._waiting.popleft())
                self._more.clear()
                await self._more.wait()
        finally:
            for task in self._storing:
                task.cancel()
            await asyncio.gather(*self._storing, return_exceptions=True)

    def put_back(self, updates: Iterable[RawUpdate]) -> None:
        """Hand these on before all others."""
        self._waiting.extendleft(reversed(list(updates)))
        self._more.set()

    async def _store(self, update: RawUpdate) -> None:
        await self._host.keep([update])
        self._waiting.append(update)
        self._more.set()

    async def _process(self, update: RawUpdate) -> None:
        await self._connection.stored(lambda: self._receiver.process(update))


def history_update(event: Mapping[str, Any]) -> RawUpdate:
    """A message of a channel's history as it would be kept if it had come live."""
    return _raw(EVENT, {"event": event, "event_id": f"{event.get('channel')}:{event.get('ts')}"})


def _raw(kind: str, payload: Mapping[str, Any]) -> RawUpdate:
    """Something as it is kept. A redelivery has the id of the first delivery."""
    kept = {name: value for name, value in payload.items() if name not in CONFIDENTIAL}
    text = json.dumps({"kind": kind, "payload": kept}, ensure_ascii=False, separators=(",", ":"))
    given = payload.get("event_id") if kind == EVENT else payload.get("trigger_id")
    name = str(given) if given else hashlib.sha256(text.encode()).hexdigest()
    return RawUpdate(f"{kind}:{name}", text)
