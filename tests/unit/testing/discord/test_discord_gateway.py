"""The gateway on the wire: the handshake, heartbeats, resuming, close codes, intents, and what goes wrong on demand."""

import json
import zlib

import aiohttp
import pytest

from adapters.testing.discord import (
    ALL_INTENTS,
    PRIVILEGED,
    CloseCode,
    DiscordServer,
    Intents,
    Opcode,
    Permission,
    RateLimits,
)
from tests.unit.testing.discord.support import NO_CONTENT, Ticks, wired


async def test_the_handshake(server: DiscordServer, session: aiohttp.ClientSession) -> None:
    guild = server.guild("Team", server.person("ann"))
    server.channel(guild, "general")
    async with wired(server, session) as wire:
        ready = await wire.identify(server.bot.token)
        assert ready["user"]["id"] == ready["application"]["id"] == str(server.bot.id)
        assert ready["guilds"] == [{"id": str(guild.id), "unavailable": True}]
        assert ready["resume_gateway_url"].endswith("/resume")
        assert ready["session_id"] == server.gateway.sessions[0].id
        assert wire.sequence == 1
        full = await wire.event("GUILD_CREATE")
        assert [channel["name"] for channel in full["channels"]] == ["general"]
        assert [member["user"]["username"] for member in full["members"]] == ["ann", "hermes"]
        assert wire.sequence == 2
        await wire.tell(Opcode.HEARTBEAT, wire.sequence)
        assert await wire.op(Opcode.HEARTBEAT_ACK) is None
        server.gateway.ask_for_heartbeat()
        await wire.op(Opcode.HEARTBEAT)
    assert [each.op for each in server.gateway.received] == [Opcode.IDENTIFY, Opcode.HEARTBEAT]


async def test_members_are_listed_only_with_both_intents(server: DiscordServer, session: aiohttp.ClientSession) -> None:
    guild = server.guild("Team", server.person("ann"))
    async with wired(server, session) as wire:
        await wire.identify(server.bot.token, ALL_INTENTS & ~Intents.GUILD_PRESENCES)
        full = await wire.event("GUILD_CREATE")
        assert [member["user"]["username"] for member in full["members"]] == ["hermes"]
        await wire.tell(Opcode.REQUEST_GUILD_MEMBERS, {"guild_id": str(guild.id), "query": "", "limit": 0})
        chunk = await wire.event("GUILD_MEMBERS_CHUNK")
        assert [member["user"]["username"] for member in chunk["members"]] == ["ann", "hermes"]


@pytest.mark.parametrize(
    ("op", "data", "code"),
    [
        (Opcode.IDENTIFY, {"token": "wrong", "intents": 0}, CloseCode.AUTHENTICATION_FAILED),
        (Opcode.IDENTIFY, {"token": "", "intents": 1 << 40}, CloseCode.INVALID_INTENTS),
        (Opcode.IDENTIFY, {"token": ""}, CloseCode.INVALID_INTENTS),
        (Opcode.IDENTIFY, {"token": "", "intents": int(ALL_INTENTS)}, CloseCode.DISALLOWED_INTENTS),
        (Opcode.IDENTIFY, {"token": "", "intents": 0, "shard": [1, 2]}, CloseCode.INVALID_SHARD),
        (Opcode.REQUEST_GUILD_MEMBERS, {"guild_id": "1"}, CloseCode.NOT_AUTHENTICATED),
        (99, None, CloseCode.UNKNOWN_OPCODE),
        (Opcode.HEARTBEAT, "x" * 4096, CloseCode.DECODE_ERROR),
    ],
)
async def test_what_is_refused(
    server: DiscordServer, session: aiohttp.ClientSession, op: int, data: object, code: CloseCode
) -> None:
    server.bot.privileged = PRIVILEGED & ~Intents.MESSAGE_CONTENT
    if isinstance(data, dict) and data.get("token") == "":
        data = data | {"token": server.bot.token}
    async with wired(server, session) as wire:
        await wire.tell(op, data)
        assert await wire.closed() == code
    assert server.gateway.sessions == ()


async def test_an_old_version_and_a_second_identify(server: DiscordServer, session: aiohttp.ClientSession) -> None:
    async with session.ws_connect(server.gateway_url + "?v=6") as socket:
        await socket.receive()
        assert (await socket.receive()).data == CloseCode.INVALID_VERSION
    async with wired(server, session) as wire:
        await wire.identify(server.bot.token)
        await wire.tell(Opcode.IDENTIFY, {"token": server.bot.token, "intents": 0})
        assert await wire.closed() == CloseCode.ALREADY_AUTHENTICATED


async def test_a_session_is_resumed(server: DiscordServer, session: aiohttp.ClientSession) -> None:
    ann = server.person("ann")
    dm = server.dm(ann)
    async with wired(server, session) as wire:
        ready = await wire.identify(server.bot.token)
        ann.writes(dm, "one")
        await wire.event("MESSAGE_CREATE")
        seen = wire.sequence
        ann.writes(dm, "two")
        server.gateway.close(CloseCode.UNKNOWN_ERROR)
        assert await wire.closed() == CloseCode.UNKNOWN_ERROR
    await server.until(lambda: not server.gateway.connections)
    ann.writes(dm, "three")
    async with wired(server, session, ready["resume_gateway_url"]) as wire:
        await wire.resume(server.bot.token, ready["session_id"], seen)
        assert [(await wire.event("MESSAGE_CREATE"))["content"] for _ in range(2)] == ["two", "three"]
        assert (await wire.next())["t"] == "RESUMED"
        assert wire.sequence == seen + 3
        assert server.gateway.connections[0].path == "/resume"
        ann.writes(dm, "four")
        assert (await wire.event("MESSAGE_CREATE"))["content"] == "four"


async def test_what_cannot_be_resumed(session: aiohttp.ClientSession) -> None:
    ticks = Ticks(0)
    async with DiscordServer(kept_events=3, session_seconds=60, monotonic=ticks) as server:
        ann = server.person("ann")
        dm = server.dm(ann)

        async def begin() -> str:
            async with wired(server, session) as wire:
                ready = await wire.identify(server.bot.token)
                server.gateway.cut()
            await server.until(lambda: not server.gateway.connections)
            return str(ready["session_id"])

        async def resumes(number: str, sequence: int = 1) -> bool:
            async with wired(server, session) as wire:
                await wire.resume(server.bot.token, number, sequence)
                frame = await wire.next()
                if frame["op"] == Opcode.INVALID_SESSION:
                    assert frame["d"] is False
                    return False
                return bool(frame["op"] == Opcode.DISPATCH)

        assert await resumes(await begin())
        assert not await resumes("unknown")
        late = await begin()
        ticks.now += 61
        assert not await resumes(late)
        crowded = await begin()
        for number in range(4):
            ann.writes(dm, f"{number}")
        assert not await resumes(crowded)
        forgotten = await begin()
        server.gateway.forget()
        assert not await resumes(forgotten)
        ahead = await begin()
        async with wired(server, session) as wire:
            await wire.resume(server.bot.token, ahead, 99)
            assert await wire.closed() == CloseCode.INVALID_SEQUENCE
        async with wired(server, session) as wire:
            polite = (await wire.identify(server.bot.token))["session_id"]
            await wire.socket.close(code=1000)
        await server.until(lambda: not server.gateway.connections)
        assert not await resumes(polite)


async def test_reconnect_and_invalid_session(server: DiscordServer, session: aiohttp.ClientSession) -> None:
    async with wired(server, session) as wire:
        await wire.identify(server.bot.token)
        server.gateway.ask_to_reconnect()
        await wire.op(Opcode.RECONNECT)
        server.gateway.invalidate(resumable=True)
        assert await wire.op(Opcode.INVALID_SESSION) is True
        assert server.gateway.sessions
        server.gateway.invalidate()
        assert await wire.op(Opcode.INVALID_SESSION) is False
        assert server.gateway.sessions == ()
    server.gateway.refuse_next(CloseCode.SHARDING_REQUIRED)
    async with wired(server, session) as wire:
        await wire.tell(Opcode.IDENTIFY, {"token": server.bot.token, "intents": 0})
        assert await wire.closed() == CloseCode.SHARDING_REQUIRED


async def test_a_heartbeat_that_does_not_come(server: DiscordServer, session: aiohttp.ClientSession) -> None:
    server.gateway.heartbeat_seconds = 0.05
    async with wired(server, session) as wire:
        await wire.identify(server.bot.token)
        assert await wire.closed() == CloseCode.UNKNOWN_ERROR
    assert server.violations == ["connection 1 sent no heartbeat for 0.55 s"]
    assert len(server.gateway.sessions) == 1


async def test_a_half_open_connection(server: DiscordServer, session: aiohttp.ClientSession) -> None:
    ann = server.person("ann")
    dm = server.dm(ann)
    async with wired(server, session) as wire:
        ready = await wire.identify(server.bot.token)
        server.gateway.half_open()
        await wire.tell(Opcode.HEARTBEAT, 1)
        ann.writes(dm, "unheard")
        with pytest.raises(TimeoutError):
            await wire.socket.receive(timeout=0.1)
        assert server.gateway.frames(Opcode.HEARTBEAT) == []
        async with wired(server, session) as second:
            await second.resume(server.bot.token, ready["session_id"], wire.sequence)
            assert (await second.event("MESSAGE_CREATE"))["content"] == "unheard"
            server.gateway.stop_acknowledging()
            await second.tell(Opcode.HEARTBEAT, 1)
            ann.writes(dm, "heard")
            assert (await second.next())["t"] == "RESUMED"
            assert (await second.next())["t"] == "MESSAGE_CREATE"


async def test_duplicates_and_wrong_order(server: DiscordServer, session: aiohttp.ClientSession) -> None:
    ann = server.person("ann")
    dm = server.dm(ann)
    async with wired(server, session) as wire:
        await wire.identify(server.bot.token)
        server.gateway.mishaps.repeat(1)
        for text in ("a", "b"):
            ann.writes(dm, text)
        server.gateway.mishaps.reverse(2)
        for text in ("c", "d"):
            ann.writes(dm, text)
        got = [(await wire.event("MESSAGE_CREATE"))["content"] for _ in range(5)]
        assert got == ["a", "a", "b", "d", "c"]
        assert wire.sequence == 6


async def test_content_is_withheld(server: DiscordServer, session: aiohttp.ClientSession) -> None:
    ann = server.person("ann")
    guild = server.guild("Team", ann)
    general = server.channel(guild, "general")
    async with wired(server, session) as wire:
        await wire.identify(server.bot.token, NO_CONTENT)
        first = ann.writes(general, "withheld")
        ann.writes(general, f"hey {server.bot.mention}", reply_to=first)
        ann.writes(general, f"`{server.bot.mention}` in code")
        ann.writes(server.dm(ann), "open")
        events = [await wire.event("MESSAGE_CREATE") for _ in range(4)]
        assert [each["content"] for each in events] == ["", f"hey {server.bot.mention}", "", "open"]
        assert events[1]["referenced_message"]["content"] == ""
        assert [each["id"] for each in events[1]["mentions"]] == [str(ann.id), str(server.bot.id)]
        assert "guild_id" not in events[3]
        assert events[0]["member"]["roles"] == []


async def test_events_go_to_whom_they_concern(server: DiscordServer, session: aiohttp.ClientSession) -> None:
    ann = server.person("ann")
    guild = server.guild("Team", ann)
    general, secret = server.channel(guild, "general"), server.channel(guild, "secret")
    server.deny(secret, Permission.VIEW_CHANNEL)
    async with wired(server, session) as wire:
        await wire.identify(server.bot.token, Intents.GUILDS | Intents.GUILD_MESSAGES)
        ann.writes(secret, "unseen")
        ann.writes(server.dm(ann), "no intent")
        message = ann.writes(general, "seen")
        ann.reacts(message, "👍")
        ann.edits(message, "changed")
        created, updated = await wire.event("MESSAGE_CREATE"), await wire.event("MESSAGE_UPDATE")
        assert created["id"] == updated["id"] == str(message.id)
        assert updated["edited_timestamp"] is not None
    names = [each.event for each in server.gateway.dispatched]
    assert names == ["READY", "GUILD_CREATE", "MESSAGE_CREATE", "MESSAGE_UPDATE"]


async def test_frames_and_identifies_are_limited(session: aiohttp.ClientSession) -> None:
    ticks = Ticks(0)
    async with DiscordServer(limits=RateLimits(events=5), monotonic=ticks) as server:
        async with wired(server, session) as wire:
            await wire.identify(server.bot.token)
            for _ in range(5):
                await wire.tell(Opcode.HEARTBEAT, None)
            assert await wire.closed() == CloseCode.RATE_LIMITED
        async with wired(server, session) as wire:
            ticks.now += 4
            await wire.tell(Opcode.IDENTIFY, {"token": server.bot.token, "intents": 0})
            assert await wire.op(Opcode.INVALID_SESSION) is False
        ticks.now += 5
        async with wired(server, session) as wire:
            await wire.identify(server.bot.token)
        assert server.violations == [
            "connection 1 sent more than 5 frames",
            "IDENTIFY came 4.00 s after the one before",
        ]


async def test_zlib_is_spoken_to_who_asks_for_it(server: DiscordServer, session: aiohttp.ClientSession) -> None:
    stream = zlib.decompressobj()
    async with session.ws_connect(server.gateway_url + "?v=10&encoding=json&compress=zlib-stream") as socket:
        raw = await socket.receive_bytes()
        assert raw.endswith(b"\x00\x00\xff\xff")
        assert json.loads(stream.decompress(raw))["op"] == Opcode.HELLO


async def test_an_outage(server: DiscordServer, session: aiohttp.ClientSession) -> None:
    ann = server.person("ann")
    dm = server.dm(ann)
    port = server.base_url
    async with wired(server, session) as wire:
        ready = await wire.identify(server.bot.token)
        await server.stop()
        await wire.closed()
    ann.writes(dm, "meanwhile")
    with pytest.raises(aiohttp.ClientConnectorError):
        await session.get(port)
    await server.start()
    assert server.base_url == port
    async with wired(server, session) as wire:
        await wire.resume(server.bot.token, ready["session_id"], 1)
        assert (await wire.event("MESSAGE_CREATE"))["content"] == "meanwhile"
