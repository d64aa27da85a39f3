"""Commands from Discord's menu, and the menu itself."""

import asyncio
from typing import Any
from unittest.mock import AsyncMock

import aiohttp
import pytest
from discord.http import HTTPClient
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from adapters.base import Button
from adapters.discord.interactions import KEPT_OUT
from adapters.testing.discord import CallbackType, DiscordServer, Fault
from tests.support.platform_host import FakeHost
from tests.unit.discord.support import adapter, delivery, running


def names(server: DiscordServer) -> dict[int | None, list[str]]:
    return {
        place: sorted(command["name"] for command in commands.values())
        for (_, place), commands in server.world.commands.items()
    }


def writes(server: DiscordServer) -> list[str]:
    return [request.name for request in server.requests if request.method == "PUT" and "commands" in request.path]


async def test_a_command_is_taken_in_as_if_it_were_written(server: DiscordServer, host: FakeHost) -> None:
    ann = server.person("ann")
    general = server.channel(server.guild("Team", ann), "general")
    thread = ann.opens_thread(general, "Plans")
    dm = server.dm(ann)
    async with running(adapter(server, host), host):
        await server.until(lambda: writes(server))
        await server.until(lambda: names(server))
        used = [ann.uses(general, "new", arguments="quietly"), ann.uses(thread, "help"), ann.uses(dm, "help")]
        await server.until(lambda: all(each.answered for each in used))
    by_text = {(message.source.chat_type, message.text) for message in host.accepted}
    assert by_text == {("group", "/new quietly"), ("thread", "/help"), ("dm", "/help")}
    assert all(message.addressed for message in host.accepted)
    assert len({message.message_id for message in host.accepted}) == 3
    assert used[0].response is not None
    assert used[0].response.ephemeral_for == ann.id


async def test_what_takes_long_to_store_is_acknowledged_in_time(server: DiscordServer, host: FakeHost) -> None:
    ann = server.person("ann")
    dm = server.dm(ann)
    gate = asyncio.Event()
    accept = host.accept

    async def slowly(message: Any) -> Any:
        await gate.wait()
        return await accept(message)

    host.accept = slowly  # type: ignore[method-assign]
    async with running(adapter(server, host), host):
        await server.until(lambda: names(server))
        used = ann.uses(dm, "new")
        await server.until(lambda: used.answered)
        assert used.answered is CallbackType.DEFERRED_CHANNEL_MESSAGE_WITH_SOURCE
        assert host.accepted == []
        gate.set()
        await server.until(lambda: used.response is not None or used.followups)
    assert host.texts == ["/new"]


async def test_what_cannot_be_stored_is_told_to_who_asked(server: DiscordServer, host: FakeHost) -> None:
    ann = server.person("ann")
    dm = server.dm(ann)
    host.broken["accept"] = 1
    async with running(adapter(server, host), host):
        await server.until(lambda: names(server))
        used = ann.uses(dm, "new")
        await server.until(lambda: used.response)
    assert used.response is not None
    assert "the disk is full" in used.response.text
    assert host.accepted == []


async def test_the_menu_is_written_only_when_it_differs(server: DiscordServer, host: FakeHost) -> None:
    server.guild("Team", server.person("ann"))
    async with running(adapter(server, host), host):
        await server.until(lambda: names(server))
    assert names(server) == {None: ["help", "new"]}
    again = FakeHost()
    async with running(adapter(server, again), again):
        await server.until(lambda: [each.name for each in server.requests].count("get_commands") == 2)
    assert len(writes(server)) == 1
    other = FakeHost(commands=(("new", "Begin anew"), ("stop", "Stop")))
    async with running(adapter(server, other), other):
        await server.until(lambda: names(server) == {None: ["new", "stop"]})


async def test_a_guild_can_have_the_commands_as_its_own(server: DiscordServer, host: FakeHost) -> None:
    guild = server.guild("Team", server.person("ann"))
    for each in (host, FakeHost()):
        async with running(adapter(server, each, command_guilds=[str(guild.id)]), each):
            await server.until(lambda: guild.id in names(server))
    assert names(server) == {None: ["help", "new"], guild.id: ["help", "new"]}
    assert len(writes(server)) == 2


async def test_a_guild_that_is_set_no_more_loses_its_own_commands(server: DiscordServer, host: FakeHost) -> None:
    first = server.guild("First", server.person("ann"))
    second = server.guild("Second", server.person("bob"))
    for guilds in ([str(first.id), str(second.id)], [str(second.id)], []):
        async with running(adapter(server, host, command_guilds=guilds), host):
            await host.until(lambda: host.positions.get("menu", "") == ",".join(sorted(guilds)))  # noqa: B023
            await server.until(lambda: None in names(server))
        there = {str(place) for place, commands in names(server).items() if place is not None and commands}
        assert there == set(guilds), "a menu of its own that stays shows each command twice"


async def test_a_menu_that_could_not_be_set_is_set_later(server: DiscordServer, host: FakeHost) -> None:
    server.inject(Fault.drop(accepted=False), "get_commands", times=8)
    async with running(adapter(server, host), host):
        await server.until(lambda: names(server) == {None: ["help", "new"]})


async def test_a_menu_that_a_proxy_keeps_back_tells_nobody_its_login(
    server: DiscordServer, host: FakeHost, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    proxy = URL("http://ann:pass-word@proxy:3128")
    refusal = aiohttp.ClientHttpProxyError(
        aiohttp.RequestInfo(proxy, "CONNECT", CIMultiDictProxy(CIMultiDict()), proxy), (), status=407, message="Login"
    )
    monkeypatch.setattr(HTTPClient, "get_global_commands", AsyncMock(side_effect=[refusal, []]))
    async with running(adapter(server, host), host):
        await server.until(lambda: names(server) == {None: ["help", "new"]})
    assert "cannot be set now: the proxy answered 407 Login" in caplog.text
    assert "pass-word" not in caplog.text


async def test_a_menu_that_may_not_be_set_is_named_with_its_scope(
    server: DiscordServer, host: FakeHost, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(adapter(server, host, command_guilds=["123456789012345678"]), host):
        async with asyncio.timeout(5):
            while "could not be set" not in caplog.text:
                await asyncio.sleep(0.01)
    assert "123456789012345678" in caplog.text
    assert "applications.commands" in caplog.text


async def test_who_is_not_let_in_is_not_told_that_anything_is_on_its_way(server: DiscordServer, host: FakeHost) -> None:
    mallory = server.person("mallory")
    general = server.channel(server.guild("Team", mallory), "general")
    host.allowed = lambda _message: False
    bot = adapter(server, host)
    async with running(bot, host):
        await server.until(lambda: names(server))
        used = mallory.uses(general, "new")
        await server.until(lambda: used.response)
        await bot.send(delivery(general, "Well?", bot, buttons=((Button("Yes", "/yes"),),)))
        pressed = mallory.presses(server.shown(general, by=server.bot)[-1], "0:/yes")
        await server.until(lambda: pressed.response)
    for each in (used, pressed):
        assert each.response is not None
        assert each.response.text == KEPT_OUT
        assert each.response.ephemeral_for == mallory.id
