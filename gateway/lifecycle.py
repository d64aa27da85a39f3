"""What happens to sessions while nobody writes: those whose time has come are ended, in their own lane."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable

from gateway.lane import LanesClosedError
from gateway.lanes import Lanes
from gateway.ports import StorageBusyError
from gateway.session.errors import SessionError
from gateway.session.key import SlotIdentity
from gateway.session.store import SessionStore
from gateway.storage.errors import StorageError

log = logging.getLogger(__name__)


class ExpiryWatcher:
    """Looks for sessions whose reset policy says that they are over. Their slots stay empty until the next message.

    `seconds` says how long to wait before each look.
    """

    def __init__(self, store: SessionStore, lanes: Lanes, seconds: Callable[[], float], counters: Counter[str]) -> None:
        self._store = store
        self._lanes = lanes
        self._seconds = seconds
        self._counters = counters

    async def run(self) -> None:
        """Look again and again, until cancelled or the gateway stops."""
        while True:
            await asyncio.sleep(self._seconds())
            try:
                await self.sweep()
            except LanesClosedError:
                return
            except Exception:
                log.exception("the search for sessions that are over failed; it is tried again")
                self._counters["lifecycle.errors"] += 1

    async def sweep(self) -> int:
        """Look once; how many sessions were ended."""
        ended = 0
        async for identity in self._store.due_slots():
            # A slot with work in its lane is active; its next turn decides by the same rule.
            if self._lanes.is_active(identity):
                continue
            try:
                ended += await self._expire(identity)
            except (StorageError, StorageBusyError, SessionError):
                log.exception("the session of %s could not be ended; it is tried again", identity.key)
                self._counters["lifecycle.errors"] += 1
        return ended

    async def _expire(self, identity: SlotIdentity) -> bool:
        reason = await self._lanes.exclusive(identity, lambda: self._store.expire_session(identity))
        if reason is None:
            return False
        log.info("the session of %s is over (%s)", identity.key, reason)
        self._counters["sessions.expired"] += 1
        return True
