"""Home channels: where a platform's unprompted messages go. What people set in a chat goes before the configuration."""

import asyncio
import json
import logging
import sqlite3
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Self

from config import GatewayConfig, HomeChannel, LiveConfig, Platform
from gateway.storage import session_queries
from gateway.storage.codec import dump
from gateway.storage.database import Database
from gateway.storage.shadow import is_hiding

log = logging.getLogger(__name__)

NAME: Final = "home:"
"""Before a platform's name in the table of named values; no other name begins so."""

ANSWERS_ALONE: Final = frozenset({Platform.API_SERVER, Platform.WEBHOOK})
"""Where nobody sees anything but the answers to what was sent in: any other message would be lost there."""


def places_to_send(config: GatewayConfig) -> tuple[Platform, ...]:
    """The platforms whose chats a message that nobody asked for can be sent to."""
    return tuple(each for each in config.enabled_platforms if each not in ANSWERS_ALONE)


class Homes:
    """The home channels in force. Chats that were set are kept in the database."""

    def __init__(self, database: Database, config: LiveConfig) -> None:
        self._database = database
        self._config = config
        self._chosen: Mapping[str, HomeChannel] = MappingProxyType({})
        self._complete = True
        self._setting = asyncio.Lock()

    @classmethod
    async def open(cls, database: Database, config: LiveConfig) -> Self:
        """Those of a database. Raises `StorageError`."""
        homes = cls(database, config)
        await homes.load()
        return homes

    async def load(self) -> None:
        """Read what was set. Raises `StorageError`."""
        found: dict[str, HomeChannel] = {}
        for row in await self._database.read(session_queries.HOMES, (NAME, NAME + "\x7f")):
            try:
                found[row["name"].removeprefix(NAME)] = HomeChannel.model_validate(json.loads(row["value"]))
            except ValueError as error:
                log.warning("the home channel %s cannot be read, and is left out: %s", row["name"], error)
        self._complete = self._database.state.complete
        # Of those that an outage hides, what was known before it stands.
        self._chosen = MappingProxyType(found if self._complete else {**self._chosen, **found})

    async def take_up(self) -> None:
        """Read those that an outage of the database has hidden. Raises `StorageError`."""
        if not self._complete:
            await self.load()

    def get(self, platform: Platform) -> HomeChannel | None:
        """A platform's home channel, if it has one."""
        chosen = self._chosen.get(str(platform))
        section = self._config.current.platforms.get(platform)
        return chosen or (section.home_channel if section is not None else None)

    async def set(self, platform: Platform, home: HomeChannel | None) -> None:
        """Make a chat a platform's home channel, durably; with None the configuration's is it again.

        Raises `StorageError`.
        """
        name, value = f"{NAME}{platform}", None if home is None else dump(home.model_dump(mode="json"))

        def job(connection: sqlite3.Connection) -> None:
            if value is not None or is_hiding(connection):
                # One that an outage hides is put in before it is dropped, so that this is known after it.
                connection.execute(session_queries.SET_HOME, (name, value or "null"))
            if value is None:
                connection.execute(session_queries.DROP_HOME, (name,))

        async with self._setting:
            await self._database.write(job)
            chosen = {each: known for each, known in self._chosen.items() if each != str(platform)}
            self._chosen = MappingProxyType(chosen if home is None else {**chosen, str(platform): home})
            await self.load()
