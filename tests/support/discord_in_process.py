"""A Discord that others wrote, in this process: simcord, beneath the adapter's own client.

What the library asks of Discord is answered by simcord's model, and what happens there reaches the library's parsers:
nothing of ours stands on the other side. There are no sockets in it; the loopback server has these.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import discord
import pytest
import simcord
from simcord.builders import ChannelHandle, GuildHandle

from adapters.base import AdapterState
from adapters.connection import Connection
from adapters.discord import DiscordAdapter
from adapters.discord import adapter as adapter_module
from adapters.discord.client import DiscordClient, Handlers
from adapters.discord.constants import Timing
from config.platforms import DiscordConfig
from tests.support.platform_host import FakeHost

TIMING = Timing(guilds=0.05, first_wait=0.02, longest_wait=0.1, acknowledge=0.3, close=0.5)


class InProcessClient(DiscordClient):
    """The adapter's client, whose requests and events are simcord's. What comes before it listens waits, as it would on
    a socket."""

    approved: discord.Intents | None = None
    env: simcord.Env | None = None
    _early: list[tuple[str, tuple[Any, ...]]] | None = None

    def dispatch(self, event: str, /, *args: Any, **kwargs: Any) -> None:
        if self._early is not None:
            self._early.append((event, args))
        else:
            super().dispatch(event, *args, **kwargs)

    async def login(self, token: str) -> None:
        if self.env is not None:
            await super().login(token)
            return
        self._early = []
        self.env = simcord.Env(self, approved_intents=self.approved)
        await self.env.start()

    async def listen(self) -> None:
        early, self._early = self._early or [], None
        for event, args in early:
            super().dispatch(event, *args)
        await asyncio.Event().wait()

    async def end(self) -> None:
        if self.env is not None:
            await self.env.shutdown()
        await super().end()


def client(handlers: Handlers) -> DiscordClient:
    """The adapter's client alone."""
    connection = Connection(FakeHost(), first_wait=0.01, longest_wait=0.1, sleep=asyncio.sleep, jitter=lambda: 0.0)
    return DiscordClient(TIMING, connection, handlers)


class World:
    """The model, the adapter that runs in it, and the core that it hands things to."""

    def __init__(self, env: simcord.Env, adapter: DiscordAdapter, host: FakeHost) -> None:
        self.env = env
        self.adapter = adapter
        self.host = host
        self.guild: GuildHandle = env.create_guild("Team")

    @property
    def me(self) -> str:
        """How people call the bot."""
        return f"<@{self.env.backend.bot_user.id}>"

    def thread(self, parent: ChannelHandle, name: str, owner: int) -> ChannelHandle:
        """A thread that somebody opens, or a post in a forum; simcord's people cannot, its model can."""
        return ChannelHandle(self.env, self.guild, self.env.backend.create_thread(parent.id, name, owner))

    def told(self, kind: str) -> list[tuple[str, str]]:
        """What the model has noted of one kind: what it held back for want of an intent, say."""
        return [(str(entry[1]), str(entry[2])) for entry in self.env.backend.transcript if entry[0] == kind]


@asynccontextmanager
async def in_process(
    monkeypatch: pytest.MonkeyPatch, *, approved: discord.Intents | None = None, **settings: Any
) -> AsyncIterator[World]:
    """An adapter that is connected to a Discord with one empty server."""
    clients: list[InProcessClient] = []

    class Client(InProcessClient):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.approved = approved
            clients.append(self)

    monkeypatch.setattr(adapter_module, "DiscordClient", Client)
    host = FakeHost()
    section: Mapping[str, Any] = {"token": "simcord", **settings}
    adapter = DiscordAdapter(DiscordConfig.model_validate(section), host, timing=TIMING, jitter=lambda: 0.0, pace=None)
    task = asyncio.create_task(adapter.run())
    try:
        connected = asyncio.create_task(host.until(lambda: host.state is AdapterState.CONNECTED))
        await asyncio.wait({task, connected}, return_when=asyncio.FIRST_COMPLETED)
        connected.cancel()
        if task.done():
            await task
        env = clients[-1].env
        assert env is not None
        yield World(env, adapter, host)
        env.raise_errors()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
