"""Whatever breaks the connection, nothing that people write meanwhile is missed, and nothing is answered twice: the
real daemon, counted at the server."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest

from adapters.testing.discord import Channel, CloseCode, DiscordServer, Gateway, Opcode, Person
from config import Home
from gateway.daemon import Daemon
from tests.integration.discord_support import answers, gateway

SECONDS = 15.0
HEARTBEAT = 0.6

SLACK = 0.5
"""Seconds by which a busy machine may be late."""


@pytest.fixture
async def server() -> AsyncIterator[DiscordServer]:
    async with DiscordServer(heartbeat_seconds=HEARTBEAT) as running:
        yield running
    assert running.violations == []


@dataclass
class Places:
    """A person in a conversation, a channel and a thread."""

    server: DiscordServer
    person: Person
    channels: tuple[Channel, ...]

    @classmethod
    def on(cls, server: DiscordServer) -> "Places":
        ann = server.person("ann")
        general = server.channel(server.guild("Team", ann), "general")
        return cls(server, ann, (server.dm(ann), general, ann.opens_thread(general, "Plans")))

    def write(self, text: str) -> None:
        for channel in self.channels:
            name = "" if channel.guild is None else f"{self.server.bot.mention} "
            self.person.writes(channel, f"{name}{text}")

    async def answered(self, *texts: str) -> None:
        def all_there() -> bool:
            return all(set(texts) <= set(answers(self.server, channel)) for channel in self.channels)

        await self.server.until(all_there, SECONDS)
        await asyncio.sleep(0.2)
        for channel in self.channels:
            assert answers(self.server, channel) == list(texts)


@dataclass(frozen=True)
class Break:
    """What breaks the connection, and how the session goes on."""

    strike: Callable[[Gateway], object]
    resumed: bool


BREAKS = {
    "close 4000": Break(lambda gateway: gateway.close(CloseCode.UNKNOWN_ERROR), resumed=True),
    "close 4008": Break(lambda gateway: gateway.close(CloseCode.RATE_LIMITED), resumed=True),
    "close 1001": Break(lambda gateway: gateway.close(1001), resumed=True),
    "asked to reconnect": Break(lambda gateway: gateway.ask_to_reconnect(), resumed=True),
    "cut": Break(lambda gateway: gateway.cut(), resumed=True),
    "half-open": Break(lambda gateway: gateway.half_open(), resumed=True),
    "invalid session": Break(lambda gateway: gateway.invalidate(), resumed=False),
}


async def connected(server: DiscordServer, sessions: int) -> None:
    await server.until(lambda: len(server.gateway.frames(Opcode.IDENTIFY)) == sessions, SECONDS)


async def state(daemon: Daemon, wanted: str) -> str:
    """The reason of the state that Discord's adapter is in, once it is this one."""
    async with asyncio.timeout(SECONDS):
        while (found := (await daemon.status())["adapters"]["discord"])["state"] != wanted:
            await asyncio.sleep(0.02)
    return str(found["reason"])


@pytest.mark.parametrize("name", BREAKS)
async def test_nothing_is_missed_whatever_breaks_the_connection(server: DiscordServer, home: Home, name: str) -> None:
    places, end = Places.on(server), BREAKS[name]
    async with gateway(server, home):
        await connected(server, 1)
        places.write("before")
        await places.answered("before")
        begun = asyncio.get_running_loop().time()
        end.strike(server.gateway)
        places.write("meanwhile")
        again = Opcode.RESUME if end.resumed else Opcode.IDENTIFY
        await server.until(lambda: len(server.gateway.frames(again)) == (1 if end.resumed else 2), SECONDS)
        assert asyncio.get_running_loop().time() - begun < 1.5 * HEARTBEAT + SLACK
        places.write("after")
        await places.answered("before", "meanwhile", "after")
    assert len(server.gateway.frames(Opcode.IDENTIFY)) == (1 if end.resumed else 2)


async def test_a_session_that_is_gone_by_the_time_is_caught_up(server: DiscordServer, home: Home) -> None:
    places = Places.on(server)
    async with gateway(server, home):
        await connected(server, 1)
        places.write("before")
        await places.answered("before")
        await server.stop()
        places.write("while nobody could listen")
        server.gateway.forget()
        await server.start()
        await connected(server, 2)
        places.write("after")
        await places.answered("before", "while nobody could listen", "after")


@pytest.mark.parametrize(
    ("code", "named"),
    [
        (CloseCode.AUTHENTICATION_FAILED, "platforms.discord.token"),
        (CloseCode.DISALLOWED_INTENTS, "Message Content Intent"),
    ],
)
async def test_what_the_operator_has_to_mend_is_named_and_loses_nothing(
    server: DiscordServer, home: Home, code: CloseCode, named: str
) -> None:
    places = Places.on(server)
    async with gateway(server, home) as daemon:
        await connected(server, 1)
        places.write("before")
        await places.answered("before")
        server.gateway.refuse_next(code)
        server.gateway.cut()
        reason = await state(daemon, "failed")
        assert named in reason
        assert str(int(code)) in reason
        tried = len(server.gateway.received)
        places.write("meanwhile")
        await asyncio.sleep(0.5)
        assert len(server.gateway.received) == tried, "it is not tried again before the operator has acted"
    async with gateway(server, home):
        await places.answered("before", "meanwhile")
        places.write("after")
        await places.answered("before", "meanwhile", "after")
