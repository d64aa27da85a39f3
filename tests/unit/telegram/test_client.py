"""Calls over HTTP: which error says what, and that no error tells the token."""

import asyncio
import io
import logging
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import unquote

import pytest
from aiohttp import web
from telegram import InputFile

from adapters.base import AccountError
from adapters.telegram import client as module
from adapters.telegram.client import CallError, Client, NoAnswerError, NotSentError, TelegramRequest, quiet_libraries
from adapters.telegram.constants import PIECE_BYTES
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


@asynccontextmanager
async def raw_server(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object]],
) -> AsyncIterator[str]:
    """The address of something that speaks for itself, and takes little at a time."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        finally:
            writer.close()

    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    listener.bind(("127.0.0.1", 0))
    running = await asyncio.start_server(connected, sock=listener, limit=4_096)
    yield f"127.0.0.1:{listener.getsockname()[1]}"
    running.close()


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
            for unusable in ("socks5://127.0.0.1:1080", "http://ann:secret@host:port", "http://[::1", "http://"):
                environment.setenv("http_proxy", unusable)
                with pytest.raises(AccountError, match="HTTP"):
                    Client(TOKEN, "http://api.telegram.invalid", QUICK)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "the proxy answered 407 Proxy Authentication Required"),
        (b"", "ServerDisconnectedError"),
    ],
    ids=["refused", "cut off"],
)
async def test_nothing_leaves_before_the_proxy_has_made_a_way(
    said: bytes, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)

    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    async with raw_server(serve) as address:
        monkeypatch.setenv("https_proxy", f"http://ann:pass-word@{address}")
        async with client("https://api.telegram.invalid") as telegram:
            with pytest.raises(NotSentError, match=words) as failed:
                await telegram.call("sendMessage")
    assert "pass-word" not in str(failed.value)


async def test_proxy_login_is_taken_out() -> None:
    request = TelegramRequest(TOKEN, QUICK, "http://ann:pass-word@proxy:3128")
    words = request.redacted("cannot reach http://ann:pass-word@proxy:3128")
    await request.shutdown()
    assert words == "cannot reach http://***proxy:3128"


async def test_name_of_a_host_that_cannot_be_one() -> None:
    async with client(f"http://{'a' * 70}.example") as telegram:
        with pytest.raises(NotSentError):
            await telegram.updates(None, (), wait=0)


async def test_upload_that_nobody_takes_ends() -> None:
    async def serve(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(3 * QUICK.upload)

    async with raw_server(serve) as address, client(f"http://{address}") as telegram:
        with pytest.raises(NoAnswerError, match="for 2 seconds"):
            async with asyncio.timeout(2 * QUICK.upload):
                await telegram.bot.send_document(1, InputFile(io.BytesIO(bytes(8_000_000)), filename="a.bin"))


class SlowFile(io.FileIO):
    """A file on a disk that takes its time for each piece."""

    def read(self, size: int | None = -1, /) -> bytes:
        time.sleep(QUICK.upload / 8)
        return super().read(PIECE_BYTES if size is None else size)


async def test_upload_takes_what_it_takes(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.partition(b"Content-Length: ")[2].split()[0]))
        answer = b'{"ok": true, "result": {"message_id": 7, "date": 1, "chat": {"id": 1, "type": "private"}}}'
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))

    path = tmp_path / "a.bin"
    path.write_bytes(bytes(10 * PIECE_BYTES))
    async with raw_server(serve) as address, client(f"http://{address}") as telegram:
        with SlowFile(path) as handle:
            sent = await telegram.bot.send_document(1, InputFile(handle, filename="a.bin", read_file_handle=False))
    assert sent.message_id == 7


async def test_error_without_a_body() -> None:
    async with server(page(503)) as url, client(url) as telegram:
        with pytest.raises(CallError, match="503 Service Unavailable") as refused:
            await telegram.bot.get_me()
    assert refused.value.code == 503


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("7", 7), ("99999999999", 86_400), ("-3", None), ("nan", None), ("1e400", None), ("Sat, 21 Nov 2026", None)],
)
async def test_pause_that_only_the_header_tells(said: str, seconds: float | None) -> None:
    async with server(page(429, **{"Retry-After": said})) as url, client(url) as telegram:
        with pytest.raises(CallError) as refused:
            await telegram.call("sendMessage")
    assert refused.value.retry_after == seconds


async def test_pause_that_is_none() -> None:
    said = b'{"ok": false, "description": "Too Many Requests", "parameters": {"retry_after": NaN}}'
    async with server(lambda: web.Response(status=429, body=said)) as url, client(url) as telegram:
        with pytest.raises(CallError) as refused:
            await telegram.call("sendMessage")
    assert refused.value.retry_after is None


async def test_server_that_is_not_there() -> None:
    async with server(page(200)) as url:
        pass
    async with client(url) as telegram:
        with pytest.raises(NotSentError, match=r"^[Nn]o connection to 127\.0\.0\.1:\d+: .*[Cc]onnect") as failed:
            await telegram.bot.get_me()
    assert "secret" not in str(failed.value)


async def test_nothing_leaves_through_a_closed_client() -> None:
    async with client("http://127.0.0.1:9") as telegram:
        pass
    with pytest.raises(NotSentError):
        await telegram.bot.get_me()
    with pytest.raises(NotSentError):
        await telegram.download("photos/file_1.jpg", nothing)


async def test_end_of_the_client_while_calls_are_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECTIONS", 1)
    async with TelegramServer() as bots:
        bots.inject(Fault.silence(), "sendMessage", times=None)
        telegram = Client(bots.bot.token, bots.base_url, QUICK)
        sent = asyncio.create_task(telegram.bot.send_message(1, "sent"))
        await bots.until(lambda: len(bots.requests.of("sendMessage")) == 1)
        waiting = asyncio.create_task(telegram.bot.send_message(1, "waiting"))
        await asyncio.sleep(0)
        await telegram.close()
        with pytest.raises(NoAnswerError):
            await sent
        with pytest.raises(NotSentError):
            await waiting


async def nothing(_piece: bytes) -> None:
    """What is written down of a file."""


@pytest.mark.parametrize("odd", ["#", "?", "&b c?", "/../", '"'])
async def test_token_stays_whole_in_an_address(odd: str) -> None:
    """Of a token with something else behind it, no part is told."""
    token, seen = f"123456:AA-secret{odd}of ours", list[str]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"no HTTP\r\n\r\n")

    async with raw_server(serve) as address:
        telegram = Client(token, f"http://{address}", QUICK)
        for call in (telegram.bot.get_me, lambda: telegram.call("getMe")):
            with pytest.raises(NoAnswerError) as failed:
                await call()
            assert "secret" not in str(failed.value)
        await telegram.close()
    for head in seen:
        target = head.split()[1]
        assert unquote(target) == f"/bot{token}/getMe"
        assert token not in telegram.redacted(target)
        assert "secret" not in telegram.redacted(target)


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
