"""What goes wrong on demand at the loopback server, and its rate limits."""

import asyncio

import aiohttp
import discord
import pytest

from adapters.testing.discord import DiscordServer, Fault, RateLimits, RouteLimit
from tests.unit.testing.discord.support import Rest, Ticks, point, running, soon


async def test_a_bucket_for_each_channel(session: aiohttp.ClientSession) -> None:
    ticks = Ticks(0)
    limits = RateLimits({"create_message": RouteLimit(2, 5)}, overall_per_second=4)
    async with DiscordServer(limits=limits, monotonic=ticks) as server:
        rest = Rest(server, session)
        ann, bob = server.dm(server.person("ann")), server.dm(server.person("bob"))
        await rest.send(ann, "1")
        headers = {name: value for name, value in rest.headers.items() if name.startswith("X-RateLimit")}
        assert headers["X-RateLimit-Limit"] == "2"
        assert (headers["X-RateLimit-Remaining"], headers["X-RateLimit-Reset-After"]) == ("1", "5.000")
        await rest.send(ann, "2")
        bucket = rest.headers["X-RateLimit-Bucket"]
        assert rest.headers["X-RateLimit-Remaining"] == "0"
        await rest.send(bob, "1")
        assert rest.headers["X-RateLimit-Bucket"] == bucket
        status, answer = await rest.call("POST", f"/channels/{ann.id}/messages", {"content": "3"})
        assert (status, answer) == (
            429, {"message": "You are being rate limited.", "retry_after": 5.0, "global": False}
        )  # fmt: skip
        assert (rest.headers["Retry-After"], rest.headers["X-RateLimit-Scope"]) == ("5", "user")
        assert "Via" in rest.headers
        assert server.violations == []
        ticks.now += 4.9
        assert (await rest.call("POST", f"/channels/{ann.id}/messages", {"content": "3"}))[0] == 429
        assert len(server.violations) == 1
        ticks.now += 0.1
        await rest.send(ann, "3")
        for _ in range(3):
            await rest.result("GET", "/users/@me")
        status, answer = await rest.call("GET", "/users/@me")
        assert (status, answer["global"], rest.headers["X-RateLimit-Global"]) == (429, True, "true")
        assert [message.text for message in ann.messages] == ["1", "2", "3"]


async def test_discord_py_keeps_to_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = RateLimits({"create_message": RouteLimit(2, 0.2)})
    async with DiscordServer(limits=limits) as server:
        point(monkeypatch, server)
        ann = server.person("ann")
        dm = server.dm(ann)
        async with running(server) as client:
            user = await client.fetch_user(ann.id)
            for number in range(6):
                await user.send(f"{number}")
            assert len(server.shown(dm)) == 6
            assert [each.status for each in server.requests.named("create_message")] == [200] * 6
            server.inject(Fault.flood(0.1), "create_message")
            server.inject(Fault.flood(0.1, everywhere=True), "edit_message")
            sent = await user.send("after all")
            await sent.edit(content="changed")
            assert server.shown(dm)[-1].texts == ("after all", "changed")
        assert server.violations == []


async def test_a_gate_holds_a_request_that_was_accepted(server: DiscordServer, rest: Rest) -> None:
    dm = server.dm(server.person("ann"))
    gate = server.gate("create_message", channel=dm)
    sending = asyncio.create_task(rest.send(dm, "x"))
    async with asyncio.timeout(5):
        await gate.reached.wait()
    assert [message.text for message in server.shown(dm)] == ["x"]
    assert not sending.done()
    assert (gate.held[0].accepted, gate.held[0].status) == (True, None)
    gate.open()
    assert (await sending)["content"] == "x"


async def test_a_client_that_dies_at_the_gate_has_sent(server: DiscordServer, rest: Rest) -> None:
    dm = server.dm(server.person("ann"))
    gate = server.gate("create_message")
    sending = asyncio.create_task(rest.send(dm, "x", nonce="1", enforce_nonce=True))
    async with asyncio.timeout(5):
        await gate.reached.wait()
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    again = await rest.send(dm, "x", nonce="1", enforce_nonce=True)
    assert [str(message.id) for message in dm.messages] == [again["id"]]
    assert [each.accepted for each in server.requests.named("create_message")] == [True, True]


async def test_faults_strike_what_they_are_aimed_at(server: DiscordServer, rest: Rest) -> None:
    ann, bob = server.dm(server.person("ann")), server.dm(server.person("bob"))
    rule = server.inject(Fault.error(), "create_message", channel=ann, skip=1, times=2)
    statuses = [(await rest.call("POST", f"/channels/{ann.id}/messages", {"content": "x"}))[0] for _ in range(4)]
    assert statuses == [200, 500, 500, 200]
    await rest.send(bob, "x")
    assert (rule.struck, len(server.shown(ann))) == (2, 2)
    server.inject(Fault.error(502, "Bad Gateway", accepted=True), "create_message")
    assert (await rest.call("POST", f"/channels/{bob.id}/messages", {"content": "y"}))[0] == 502
    assert len(server.shown(bob)) == 2
    with pytest.raises(ValueError, match="send_message"):
        server.inject(Fault.error(), "send_message")


@pytest.mark.parametrize(("fault", "accepted"), [(Fault.drop(), True), (Fault.reset(), False)])
async def test_a_connection_that_breaks(server: DiscordServer, rest: Rest, fault: Fault, accepted: bool) -> None:
    dm = server.dm(server.person("ann"))
    server.inject(fault, "create_message")
    with pytest.raises((aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)):
        await rest.send(dm, "x")
    assert len(server.shown(dm)) == accepted
    (request,) = server.requests.named("create_message")
    assert (request.accepted, request.status) == (accepted, None)


async def test_silence_and_slowness(server: DiscordServer, rest: Rest) -> None:
    server.inject(Fault.silence(), "my_user")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await rest.result("GET", "/users/@me")
    server.inject(Fault.slow(0.08), "my_user")
    started = asyncio.get_running_loop().time()
    assert (await rest.result("GET", "/users/@me"))["bot"]
    assert asyncio.get_running_loop().time() - started >= 0.06


async def test_discord_py_tries_again_after_500(server: DiscordServer) -> None:
    ann = server.person("ann")
    async with running(server) as client:
        user = await client.fetch_user(ann.id)
        server.inject(Fault.error(500, accepted=True), "create_message")
        await user.send("x", nonce=1)
        assert [message.text for message in server.shown(server.dm(ann))] == ["x"]
        assert [each.status for each in server.requests.named("create_message")] == [500, 200]


async def test_a_wait_that_fails_tells_the_last_requests(server: DiscordServer, rest: Rest) -> None:
    await rest.result("GET", "/users/@me")
    with pytest.raises(TimeoutError, match=r"my_user 200"):
        await server.until(lambda: False, timeout=0.01)


async def test_a_token_is_revoked(server: DiscordServer) -> None:
    async with running(server) as client:
        server.revoke(server.bot)
        await soon(client.is_closed)
    with pytest.raises(discord.LoginFailure):
        async with running(server):
            pass
