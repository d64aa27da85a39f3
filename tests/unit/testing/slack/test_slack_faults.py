"""What goes wrong on demand with requests."""

import asyncio

import aiohttp
import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from adapters.testing.slack import Fault, SlackServer
from tests.unit.testing.slack.support import refused


async def test_a_gate_holds_a_request_that_was_accepted(server: SlackServer, web: AsyncWebClient) -> None:
    chat = server.direct(server.person("Ann"))
    gate = server.gate("chat.postMessage", channel=chat)
    sending = asyncio.create_task(web.chat_postMessage(channel=chat.id, text="x"))
    async with asyncio.timeout(5):
        await gate.reached.wait()
    assert [message.text for message in server.shown(chat)] == ["x"]
    assert not sending.done()
    assert (gate.held[0].accepted, gate.held[0].status) == (True, None)
    gate.open()
    assert (await sending)["ok"]


async def test_faults_strike_what_they_are_aimed_at(server: SlackServer, web: AsyncWebClient) -> None:
    ann, bob = (server.direct(server.person(name)) for name in ("Ann", "Bob"))
    rule = server.inject(Fault.error(), "chat.postMessage", channel=ann, skip=1)
    await web.chat_postMessage(channel=ann.id, text="1")
    with pytest.raises(SlackApiError) as raised:
        await web.chat_postMessage(channel=ann.id, text="2")
    assert raised.value.response.status_code == 500
    await web.chat_postMessage(channel=bob.id, text="1")
    assert (rule.struck, len(server.shown(ann))) == (1, 1)
    server.inject(Fault.error(503, accepted=True), "chat.postMessage")
    with pytest.raises(SlackApiError):
        await web.chat_postMessage(channel=ann.id, text="taken all the same")
    assert len(server.shown(ann)) == 2
    endless = server.inject(Fault.error(200, "fatal_error"), times=None)
    assert (await refused(web.auth_test()))["error"] == "fatal_error"
    endless.cancel()
    assert (await web.auth_test())["ok"]


async def test_answers_that_never_come_whole_late_or_at_all(server: SlackServer, web: AsyncWebClient) -> None:
    chat = server.direct(server.person("Ann"))
    server.inject(Fault.slow(0.08), "auth.test")
    started = asyncio.get_running_loop().time()
    assert (await web.auth_test())["ok"]
    assert asyncio.get_running_loop().time() - started >= 0.06
    server.inject(Fault.silence(accepted=True), "chat.postMessage")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await web.chat_postMessage(channel=chat.id, text="accepted")
    server.inject(Fault.reset(), "chat.postMessage")
    with pytest.raises((aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)):
        await web.chat_postMessage(channel=chat.id, text="refused")
    assert [message.text for message in server.shown(chat)] == ["accepted"]


async def test_a_wait_that_fails_tells_the_last_requests(server: SlackServer, web: AsyncWebClient) -> None:
    await web.auth_test()
    await refused(web.users_info(user="U0"))
    with pytest.raises(TimeoutError, match=r"auth\.test 200, users\.info 200 user_not_found"):
        await server.until(lambda: False, timeout=0.01)
