"""The connection: what breaks it, what it says about itself, and that nothing is missed meanwhile."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from adapters.base import AccountError, AdapterState
from adapters.discord import DiscordAdapter
from adapters.discord.endpoint import Endpoint
from adapters.testing.discord import Channel, CloseCode, DiscordServer, Intents, Opcode, Person
from tests.support.platform_host import FakeHost
from tests.unit.discord.support import QUICK, adapter, config, running

SLACK = 0.3
"""Seconds by which a busy machine may be late."""


def sent(server: DiscordServer, op: Opcode) -> int:
    return sum(frame.op == op for frame in server.gateway.received)


def histories(server: DiscordServer) -> int:
    return sum(request.name == "get_messages" for request in server.requests)


async def settled(server: DiscordServer, host: FakeHost, person: Person, dm: Channel) -> None:
    """Let a conversation be known, with nothing missing in it."""
    written = person.writes(dm, "hello")
    await host.until(lambda: host.positions.get(f"dm:{dm.id}") == str(written.id))


async def test_a_closed_connection_is_resumed_and_nothing_is_missed(server: DiscordServer, host: FakeHost) -> None:
    ann = server.person("ann")
    dm = server.dm(ann)
    async with running(adapter(server, host), host):
        await settled(server, host, ann, dm)
        looked = histories(server)
        gateway = server.gateway
        ends: list[Callable[[], None]] = [partial(gateway.close, 4000), gateway.ask_to_reconnect, gateway.cut]
        for number, end in enumerate(ends):
            end()
            ann.writes(dm, f"meanwhile {number}")
            await server.until(lambda: sent(server, Opcode.RESUME) == number + 1)  # noqa: B023
            await host.until(lambda: f"meanwhile {number}" in host.texts)  # noqa: B023
            await host.until(lambda: host.state is AdapterState.CONNECTED)
    assert sent(server, Opcode.IDENTIFY) == 1
    assert host.texts == ["hello", *(f"meanwhile {number}" for number in range(3))]
    assert histories(server) == looked, "what Discord sends again need not be fetched"


async def test_an_invalid_session_begins_anew_and_is_caught_up(server: DiscordServer, host: FakeHost) -> None:
    ann = server.person("ann")
    dm = server.dm(ann)
    async with running(adapter(server, host), host):
        await settled(server, host, ann, dm)
        for number in range(2):
            server.gateway.invalidate()
            ann.writes(dm, f"lost on the way {number}")
            await server.until(lambda: sent(server, Opcode.IDENTIFY) == number + 2)  # noqa: B023
            await host.until(lambda: len(host.accepted) == number + 2)  # noqa: B023
    assert host.texts == ["hello", "lost on the way 0", "lost on the way 1"]
    assert not server.violations


@pytest.mark.parametrize("resumable", [True, False])
async def test_connections_that_break_one_after_the_other_are_not_opened_as_fast_as_that_goes(
    server: DiscordServer, host: FakeHost, resumable: bool
) -> None:
    """Discord resets the token of a bot that begins more than 1,000 sessions in a day."""

    async def break_each() -> None:
        while True:
            await host.until(lambda: host.state is AdapterState.CONNECTED)
            (server.gateway.cut if resumable else server.gateway.invalidate)()
            await host.until(lambda: host.state is not AdapterState.CONNECTED)

    timing = replace(QUICK, first_wait=0.2, longest_wait=0.4)
    async with running(adapter(server, host, timing), host):
        breaking = asyncio.create_task(break_each())
        await asyncio.sleep(1.5)
        breaking.cancel()
        begun = sent(server, Opcode.IDENTIFY) + sent(server, Opcode.RESUME)
        assert 3 <= begun <= 8
        await host.until(lambda: host.state is AdapterState.CONNECTED)


async def test_a_session_that_cannot_be_gone_on_with_is_begun_anew(server: DiscordServer, host: FakeHost) -> None:
    """The address for resuming answers with errors for ever, so nobody says that the session is over."""
    ann = server.person("ann")
    dm = server.dm(ann)
    async with running(adapter(server, host), host):
        await settled(server, host, ann, dm)
        server.resume_status = 503
        server.gateway.ask_to_reconnect()
        ann.writes(dm, "meanwhile")
        await host.until(lambda: host.texts == ["hello", "meanwhile"])
        await host.until(lambda: host.state is AdapterState.CONNECTED)
        server.resume_status = None
        server.gateway.cut()
        await server.until(lambda: sent(server, Opcode.RESUME) == 1)
        await host.until(lambda: host.state is AdapterState.CONNECTED)
    assert sent(server, Opcode.IDENTIFY) == 2


async def test_an_outage_is_waited_out(server: DiscordServer, host: FakeHost) -> None:
    ann = server.person("ann")
    dm = server.dm(ann)
    async with running(adapter(server, host), host):
        ann.writes(dm, "one")
        await host.until(lambda: host.accepted)
        await server.stop()
        await host.until(lambda: host.state is AdapterState.CONNECTING and host.states[-1].next_try is not None)
        assert "cannot be reached" in (host.states[-1].reason or "")
        ann.writes(dm, "two")
        await server.start()
        await host.until(lambda: "two" in host.texts)
        await host.until(lambda: host.state is AdapterState.CONNECTED)


async def test_a_server_that_is_not_there_yet_is_waited_for(server: DiscordServer, host: FakeHost) -> None:
    await server.stop()
    task = asyncio.create_task(adapter(server, host).run())
    await host.until(lambda: len(host.reasons) > 2)
    assert all(each.state is AdapterState.CONNECTING for each in host.states)
    await server.start()
    await host.until(lambda: host.state is AdapterState.CONNECTED)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("heartbeat", [0.4, 0.8])
async def test_a_half_open_connection_is_noticed_within_a_heartbeat_and_a_half(heartbeat: float) -> None:
    host = FakeHost()
    async with DiscordServer(heartbeat_seconds=heartbeat) as server:
        ann = server.person("ann")
        dm = server.dm(ann)
        async with running(adapter(server, host), host):
            await settled(server, host, ann, dm)
            told = len(host.states)
            await asyncio.sleep(2 * heartbeat)
            assert len(host.states) == told, "a quiet connection is no lost one"
            begun = asyncio.get_running_loop().time()
            server.gateway.half_open()
            ann.writes(dm, "hello?")
            await host.until(lambda: any("heartbeat" in reason for reason in host.reasons))
            assert asyncio.get_running_loop().time() - begun < 1.5 * heartbeat + SLACK
            await host.until(lambda: "hello?" in host.texts)
    assert host.texts == ["hello", "hello?"]


# --- what only the operator can mend ---------------------------------------------------------------------


async def run(server: DiscordServer, host: FakeHost, **settings: Any) -> str:
    with pytest.raises(AccountError) as refused:
        async with asyncio.timeout(5):
            await adapter(server, host, **settings).run()
    return str(refused.value)


async def test_a_wrong_token_is_named(server: DiscordServer, host: FakeHost, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    words = await run(server, host, token="a.wrong.token")
    assert "platforms.discord.token" in words
    assert "a.wrong.token" not in words + caplog.text


async def test_a_token_that_is_revoked_meanwhile_is_named(server: DiscordServer, host: FakeHost) -> None:
    task = asyncio.create_task(adapter(server, host).run())
    await host.until(lambda: host.state is AdapterState.CONNECTED)
    server.revoke(server.bot)
    with pytest.raises(AccountError, match=r"platforms\.discord\.token.*4004"):
        await asyncio.wait_for(task, 5)
    words = await run(server, FakeHost())
    assert "platforms.discord.token" in words


async def test_an_intent_that_is_not_allowed_is_named_with_its_switch(host: FakeHost) -> None:
    async with DiscordServer(privileged=Intents(0)) as server:
        words = await run(server, host)
    assert "Message Content Intent" in words
    assert "Privileged Gateway Intents" in words


async def test_too_many_guilds_are_named(server: DiscordServer, host: FakeHost) -> None:
    server.gateway.refuse_next(CloseCode.SHARDING_REQUIRED)
    assert "shards" in await run(server, host)


async def test_a_wrong_address_is_named(server: DiscordServer, host: FakeHost) -> None:
    words = await run(server, host, api_base_url=f"{server.base_url}/nowhere")
    assert "platforms.discord.api_base_url" in words


@pytest.mark.parametrize("code", [CloseCode.AUTHENTICATION_FAILED, CloseCode.DISALLOWED_INTENTS])
async def test_what_only_the_operator_can_mend_loses_nothing(
    server: DiscordServer, host: FakeHost, code: CloseCode
) -> None:
    ann = server.person("ann")
    dm = server.dm(ann)
    task = asyncio.create_task(adapter(server, host).run())
    await host.until(lambda: host.state is AdapterState.CONNECTED)
    await settled(server, host, ann, dm)
    server.gateway.refuse_next(code)
    server.gateway.cut()
    with pytest.raises(AccountError, match=f"close code {code:d}"):
        await asyncio.wait_for(task, 5)
    ann.writes(dm, "is anybody there?")
    async with running(adapter(server, host), host):
        await host.until(lambda: "is anybody there?" in host.texts)
    assert host.texts == ["hello", "is anybody there?"]


async def test_the_account_is_told_before_anything_else(server: DiscordServer, host: FakeHost) -> None:
    ann = server.person("ann")
    dm = server.dm(ann)
    host.identified, host.positions = "1", {f"dm:{dm.id}": "1", "baseline": "1"}
    ann.writes(dm, "to another bot")
    async with running(adapter(server, host), host):
        assert host.identified == str(server.bot.id)
        assert host.texts == [], "what another account was told is not for this one"
        assert f"dm:{dm.id}" not in host.positions


def test_a_missing_token_is_named(server: DiscordServer, host: FakeHost) -> None:
    with pytest.raises(AccountError, match=r"platforms\.discord\.token"):
        DiscordAdapter(config(server, token=None), host)


def test_there_is_one_discord_in_a_process_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = Endpoint()
    with endpoint.held("http://127.0.0.1:1/api", "ws://127.0.0.1:1"):
        with endpoint.held("http://127.0.0.1:1/api/", "ws://127.0.0.1:1"):
            pass
        with pytest.raises(AccountError, match="one only"), endpoint.held("http://127.0.0.1:2/api", "ws://127.0.0.1:1"):
            pass
    with endpoint.held("http://127.0.0.1:2/api", "ws://127.0.0.1:2"):
        pass


async def test_the_token_stands_in_no_log(
    server: DiscordServer, host: FakeHost, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    ann = server.person("ann")
    dm = server.dm(ann)
    async with running(adapter(server, host), host):
        ann.writes(dm, "one")
        await host.until(lambda: host.accepted)
        server.gateway.cut()
        await server.stop()
        await host.until(lambda: host.state is AdapterState.CONNECTING)
    assert server.bot.token not in caplog.text + " ".join(host.reasons)
