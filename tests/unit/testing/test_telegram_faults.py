"""What goes wrong on demand at the loopback server, and its flood limits."""

import asyncio
import itertools
from collections.abc import Iterator

import aiohttp
import pytest

from adapters.testing.telegram import Fault, FloodLimits, TelegramServer
from tests.unit.testing.support import Client, Ticks


async def test_flood_limits(session: aiohttp.ClientSession) -> None:
    ticks = Ticks()
    async with TelegramServer(limits=FloodLimits(group_per_minute=3, overall_per_second=2), monotonic=ticks) as server:
        client = Client(server, session, server.bot)
        ann, bob, cid = (server.person(name) for name in ("Ann", "Bob", "Cid"))
        chats = [server.private(person).id for person in (ann, bob, cid)]
        await client.send(chats[0], "1")
        body = await client.call("sendMessage", chat_id=chats[0], text="2")
        assert (body["error_code"], body["parameters"]) == (429, {"retry_after": 1})
        assert server.violations == []
        await client.call("sendMessage", chat_id=chats[0], text="2")
        assert len(server.violations) == 1
        await client.send(chats[1], "1")
        assert (await client.call("sendMessage", chat_id=chats[2], text="1"))["error_code"] == 429
        assert await client.result("sendChatAction", chat_id=chats[2], action="typing")
        group = server.group("Team", ann)
        for text in "123":
            ticks.now += 2
            await client.send(group.id, text)
        ticks.now += 2
        assert (await client.call("sendMessage", chat_id=group.id, text="4"))["parameters"] == {"retry_after": 54}
        ticks.now += 54
        await client.send(group.id, "4")
        assert len(server.violations) == 1


async def test_a_gate_holds_a_request_that_was_accepted(server: TelegramServer, client: Client) -> None:
    chat = server.private(server.person("Ann"))
    gate = server.gate("sendMessage", chat=chat)
    sending = asyncio.create_task(client.send(chat.id, "x"))
    async with asyncio.timeout(5):
        await gate.reached.wait()
    assert [message.text for message in server.shown(chat)] == ["x"]
    assert not sending.done()
    assert gate.held[0].status is None
    gate.open()
    assert (await sending)["text"] == "x"


async def test_faults_strike_what_they_are_aimed_at(server: TelegramServer, client: Client) -> None:
    ann, bob = (server.private(server.person(name)) for name in ("Ann", "Bob"))
    rule = server.inject(Fault.error(), "sendMessage", chat=ann, skip=1, times=2)
    expected: Iterator[bool] = iter([True, False, False, True])
    for ok in expected:
        assert (await client.call("sendMessage", chat_id=ann.id, text="x"))["ok"] is ok
    assert (await client.call("sendMessage", chat_id=bob.id, text="x"))["ok"]
    assert (rule.struck, len(server.shown(ann))) == (2, 2)
    endless = server.inject(Fault.error(502, "Bad Gateway"), times=None)
    assert await client.refusal("getMe") == await client.refusal("getMe") == "Bad Gateway"
    endless.cancel()
    assert await client.result("getMe")


async def test_a_slow_body_comes_whole_in_the_end(server: TelegramServer, client: Client) -> None:
    server.inject(Fault.slow(0.08), "getMe")
    started = asyncio.get_running_loop().time()
    assert (await client.result("getMe"))["is_bot"]
    assert asyncio.get_running_loop().time() - started >= 0.06


async def test_a_connection_that_is_reset_or_silent(server: TelegramServer, client: Client) -> None:
    server.inject(Fault.reset(), "getMe", times=2)
    with pytest.raises((aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)):
        await client.call("getMe")
    server.faults.clear()
    server.inject(Fault.silence(), "getMe")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await client.call("getMe")
    assert await client.result("getMe")


async def test_the_server_goes_away_and_comes_back(server: TelegramServer, client: Client) -> None:
    ann = server.person("Ann")
    poll = asyncio.create_task(client.call("getUpdates", timeout=30))
    await server.until(lambda: server.requests.of("getUpdates"))
    address = server.base_url
    async with asyncio.timeout(5):
        await server.stop()
    with pytest.raises(aiohttp.ClientError):
        await poll
    ann.writes(server.private(ann), "meanwhile")
    await server.start()
    assert server.base_url == address
    assert await client.texts() == ["meanwhile"]


async def test_a_wait_that_fails_tells_the_last_requests(server: TelegramServer, client: Client) -> None:
    await client.result("getMe")
    with pytest.raises(TimeoutError, match="getMe 200"):
        await server.until(lambda: False, timeout=0.01)


async def test_every_request_is_timed(session: aiohttp.ClientSession) -> None:
    counter = itertools.count(1.0)
    async with TelegramServer(monotonic=lambda: next(counter)) as server:
        client = Client(server, session, server.bot)
        await client.result("getMe")
        await client.result("getMe")
        first, second = server.requests
        assert first.at < second.at
