"""Calls over HTTP: which error says what, and that no error tells the token."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from adapters.base import AccountError
from adapters.telegram import client as module
from adapters.telegram.client import CallError, Client, NoAnswerError, NotSentError, TelegramRequest, quiet_libraries
from adapters.testing.telegram import Fault, TelegramServer
from tests.unit.telegram.support import QUICK

TOKEN = "123456:AA-secret/with?odd characters"


@asynccontextmanager
async def server(answer: Callable[[], web.Response]) -> AsyncIterator[str]:
    """Something that gives the same answer to everything."""

    async def serve(_request: web.Request) -> web.Response:
        return answer()

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@asynccontextmanager
async def client(url: str) -> AsyncIterator[Client]:
    made = Client(TOKEN, url, QUICK)
    yield made
    await made.close()


def page(status: int, **headers: str) -> Callable[[], web.Response]:
    return lambda: web.Response(status=status, text="<html>a proxy</html>", headers=headers)


def no_result() -> web.Response:
    return web.json_response({"ok": True})


@pytest.mark.parametrize("answer", [page(200), no_result], ids=["a page", "no result"])
async def test_answer_that_is_none_of_the_bot_api(answer: Callable[[], web.Response]) -> None:
    async with server(answer) as url, client(url) as telegram:
        with pytest.raises(NoAnswerError):
            await telegram.bot.get_me()
        with pytest.raises(NoAnswerError):
            await telegram.updates(None, (), wait=0)


async def test_calls_that_hang_keep_no_updates_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECTIONS", 2)
    async with TelegramServer() as bots:
        bots.inject(Fault.silence(), "sendMessage", times=None)
        telegram = Client(bots.bot.token, bots.base_url, QUICK)
        ann = bots.person("Ann")
        chat = bots.private(ann)
        hanging = [asyncio.create_task(telegram.bot.send_message(chat.id, "hello")) for _ in range(4)]
        await bots.until(lambda: len(bots.requests.of("sendMessage")) == 2)
        ann.writes(chat, "hi")
        (update,) = await telegram.updates(None, (), wait=1)
        assert update["message"]["text"] == "hi"
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
        await telegram.close()


async def test_the_environment_names_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as environment:
        for name in ("no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY", "http_proxy", "HTTP_PROXY"):
            environment.delenv(name, raising=False)
        async with server(lambda: web.json_response({"ok": True, "result": []})) as proxy:
            environment.setenv("http_proxy", proxy)
            async with client("http://api.telegram.invalid") as telegram:
                assert await telegram.updates(None, (), wait=0) == []
            environment.setenv("no_proxy", "api.telegram.invalid")
            async with client("http://api.telegram.invalid") as telegram:
                with pytest.raises(NotSentError):
                    await telegram.updates(None, (), wait=0)
            environment.delenv("no_proxy")
            environment.setenv("http_proxy", "socks5://127.0.0.1:1080")
            with pytest.raises(AccountError, match="HTTP"):
                Client(TOKEN, "http://api.telegram.invalid", QUICK)


async def test_error_without_a_body() -> None:
    async with server(page(503)) as url, client(url) as telegram:
        with pytest.raises(CallError, match="503 Service Unavailable") as refused:
            await telegram.bot.get_me()
    assert refused.value.code == 503


async def test_pause_that_only_the_header_tells() -> None:
    async with server(page(429, **{"Retry-After": "7"})) as url, client(url) as telegram:
        with pytest.raises(CallError) as refused:
            await telegram.call("sendMessage")
    assert refused.value.retry_after == 7


async def test_server_that_is_not_there() -> None:
    async with server(page(200)) as url:
        pass
    async with client(url) as telegram:
        with pytest.raises(NotSentError) as failed:
            await telegram.bot.get_me()
    assert "secret" not in str(failed.value)


async def test_nothing_leaves_through_a_closed_client() -> None:
    async with client("http://127.0.0.1:9") as telegram:
        pass
    with pytest.raises(NotSentError):
        await telegram.bot.get_me()


@pytest.mark.parametrize(
    "written", [TOKEN, "123456:AA-secret/with%3Fodd%20characters", "123456%3AAA-secret%2Fwith%3Fodd%20characters"]
)
async def test_token_is_taken_out_however_it_is_written(written: str) -> None:
    request = TelegramRequest(TOKEN, QUICK)
    words = request.redacted(f"cannot reach http://host/bot{written}/getMe")
    await request.shutdown()
    assert words == "cannot reach http://host/bot***/getMe"


async def test_token_that_a_server_tells_is_taken_out() -> None:
    said = f"no upstream for /bot{TOKEN}/sendMessage, nor for 123456%3a{TOKEN.partition(':')[2]}"
    async with (
        server(lambda: web.json_response({"ok": False, "description": said}, status=400)) as url,
        client(url) as telegram,
    ):
        with pytest.raises(CallError) as refused:
            await telegram.call("sendMessage")
    assert str(refused.value) == "no upstream for /bot***/sendMessage, nor for 123456%3a***"
    assert refused.value.is_verdict


async def test_answer_that_is_nested_too_deeply() -> None:
    async with server(lambda: web.Response(status=400, text="[" * 100_000)) as url, client(url) as telegram:
        with pytest.raises(CallError) as refused:
            await telegram.call("sendMessage")
    assert not refused.value.is_verdict


async def test_libraries_are_quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("telegram").setLevel(logging.NOTSET)
    async with server(page(503)) as url, client(url) as telegram:
        with pytest.raises(CallError):
            await telegram.bot.get_me()
        assert "secret" in caplog.text, "the libraries tell addresses no more: nothing has to be silenced"
        caplog.clear()
        quiet_libraries()
        with pytest.raises(CallError):
            await telegram.bot.get_me()
    assert "secret" not in caplog.text
