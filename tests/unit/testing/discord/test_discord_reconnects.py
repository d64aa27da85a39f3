"""The unmodified discord.py when connections go wrong: it comes back, and nothing is missed."""

import discord
import pytest

from adapters.testing.discord import CloseCode, DiscordServer, Opcode
from tests.unit.testing.discord.support import Client, point, running, soon


async def test_it_resumes_after_a_close(server: DiscordServer) -> None:
    ann = server.person("ann")
    dm = server.dm(ann)
    async with running(server) as client:
        ann.writes(dm, "one")
        server.gateway.close(CloseCode.UNKNOWN_ERROR)
        ann.writes(dm, "two")
        await server.until(lambda: server.gateway.frames(Opcode.RESUME))
        ann.writes(dm, "three")
        await soon(lambda: len(client.messages) == 3)
        assert client.texts() == ["one", "two", "three"]
        assert server.gateway.connections[0].path == "/resume"
        server.gateway.ask_to_reconnect()
        await soon(lambda: client.heard.count("resumed") == 2)
        server.gateway.invalidate(resumable=True)
        await soon(lambda: client.heard.count("resumed") == 3)
        assert len(server.gateway.frames(Opcode.IDENTIFY)) == 1


async def test_it_identifies_anew_after_an_invalid_session(server: DiscordServer) -> None:
    ann = server.person("ann")
    dm = server.dm(ann)
    async with running(server) as client:
        server.gateway.invalidate()
        await server.until(lambda: len(server.gateway.frames(Opcode.IDENTIFY)) == 2)
        await soon(lambda: client.heard.count("ready") == 2)
        ann.writes(dm, "after")
        await soon(lambda: client.messages)
        assert server.gateway.connections[0].path == "/gateway"
    assert server.violations == []


@pytest.mark.parametrize("code", [CloseCode.AUTHENTICATION_FAILED, CloseCode.SHARDING_REQUIRED])
async def test_it_gives_up_where_it_has_to(server: DiscordServer, code: CloseCode) -> None:
    server.gateway.refuse_next(code)
    with pytest.raises(discord.ConnectionClosed) as closed:
        async with running(server):
            pass
    assert closed.value.code == code


async def test_it_notices_a_half_open_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async with DiscordServer(heartbeat_seconds=0.2) as server:
        point(monkeypatch, server)
        ann = server.person("ann")
        dm = server.dm(ann)
        async with running(server, Client(heartbeat_timeout=0.3)) as client:
            (first,) = server.gateway.connections
            server.gateway.half_open()
            ann.writes(dm, "unheard at first")
            await server.until(lambda: len(server.gateway.connections) == 2)
            await soon(lambda: client.messages)
            assert client.texts() == ["unheard at first"]
            first.cut()


async def test_heartbeats_keep_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async with DiscordServer(heartbeat_seconds=0.1) as server:
        point(monkeypatch, server)
        async with running(server) as client:
            await server.until(lambda: len(server.gateway.frames(Opcode.HEARTBEAT)) > 8)
            assert client.latency < 1
            assert len(server.gateway.connections) == 1
        assert server.violations == []
