"""What was posted to webhooks, on disk: what a sender repeats is taken once, and what somebody replays is not taken."""

import sqlite3
from datetime import timedelta
from enum import Enum
from typing import Final

from gateway.ports import Clock
from gateway.storage import api_queries
from gateway.storage.codec import to_micros
from gateway.storage.database import Database

CALLS_KEPT: Final = timedelta(days=400)
"""How long a request is known again. Those that are signed with a time are refused by it far sooner; the others, as
GitHub's, could be replayed after."""

PAGE: Final = 200


class Known(Enum):
    """What is known of a request."""

    NEW = "new"
    TAKEN = "taken"
    """It is in the inbox already."""
    REPLAYED = "replayed"
    """It came before under another id."""


class Calls:
    """The requests of all webhooks. `mark` is what one was signed with, `delivery` stands for the id that it came
    under."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def note(self, hook: str, mark: str, delivery: str, *, keep: bool = True) -> Known:
        """Say what is known of a request, and note it where it is to be kept; durable then. Raises `StorageError`,
        `StorageBusyError`."""
        at = to_micros(self._clock.now())

        def job(connection: sqlite3.Connection) -> Known:
            if keep:
                connection.execute(api_queries.ADD_WEBHOOK_CALL, (hook, mark, delivery, at))
            first = connection.execute(api_queries.GET_WEBHOOK_CALL, (hook, mark)).fetchone()
            if first is not None and first["delivery"] != delivery:
                return Known.REPLAYED
            taken = connection.execute(api_queries.WEBHOOK_CALL_TAKEN, (hook, delivery)).fetchone()
            return Known.NEW if taken is None else Known.TAKEN

        return await self._database.write(job)

    async def take(self, hook: str, mark: str) -> None:
        """Note that a request is in the inbox. Raises `StorageError`, `StorageBusyError`."""
        await self._database.write(
            lambda connection: connection.execute(api_queries.TAKE_WEBHOOK_CALL, (hook, mark)).rowcount
        )

    async def forget_old(self) -> None:
        """Forget what is too old. Raises `StorageError`, `StorageBusyError`."""
        before = to_micros(self._clock.now() - CALLS_KEPT)

        def job(connection: sqlite3.Connection) -> bool:
            return connection.execute(api_queries.REMOVE_OLD_WEBHOOK_CALLS, (before, PAGE)).rowcount > 0

        while self._database.state.mode == "sqlite" and await self._database.write(job):
            pass
