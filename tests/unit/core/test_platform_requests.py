"""The requests of platforms: bounded, open to whoever calls, and handed to the adapter that is there now."""

import asyncio
import contextlib
import io
import logging
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest

from gateway.api.app import create_app, serve
from gateway.api.platforms import MAX_BODY_BYTES, PlatformRequests
from gateway.ports import HttpHandler, HttpRequest, HttpResponse
from tests.support.api import OneKey


class Platforms:
    """What takes the requests of `telegram`; no other platform takes any."""

    def __init__(self) -> None:
        self.requests: list[HttpRequest] = []
        self.handler: HttpHandler | None = self.answer

    async def answer(self, request: HttpRequest) -> HttpResponse:
        self.requests.append(request)
        return HttpResponse(202, '{"ok": true}', "application/json")

    def find(self, platform: str) -> HttpHandler | None:
        if platform != "telegram":
            raise KeyError(platform)
        return self.handler


@contextlib.asynccontextmanager
async def client(platforms: Platforms, seconds: float = 5.0) -> AsyncIterator[aiohttp.ClientSession]:
    app = create_app(health=dict, ready=lambda: (True, {}), keys=OneKey("a key"))
    PlatformRequests(platforms.find, body_seconds=seconds, handler_seconds=seconds).add_to(app)
    async with serve(app, "127.0.0.1", 0) as (host, port), aiohttp.ClientSession(f"http://{host}:{port}") as session:
        yield session


async def test_a_request_reaches_its_adapter_without_our_key() -> None:
    platforms = Platforms()
    async with client(platforms) as session:
        headers = {"X-Secret-Token": "s"}
        async with session.post("/platforms/telegram/hook/a%20b?x=1", data=b"{}", headers=headers) as response:
            assert (response.status, await response.text()) == (202, '{"ok": true}')
            assert response.content_type == "application/json"
        async with session.get("/platforms/telegram/") as response:
            assert response.status == 202
    first, second = platforms.requests
    assert (first.method, first.path, first.body) == ("POST", "hook/a b", b"{}")
    assert first.headers["x-secret-token"] == "s"
    assert (second.method, second.path, second.body) == ("GET", "", b"")


@pytest.mark.parametrize("path", ["/platforms/slack/x", "/platforms/nonsense/", "/platforms/telegram"])
async def test_what_nobody_takes_is_not_found(path: str) -> None:
    platforms = Platforms()
    async with client(platforms) as session, session.post(path, data=b"{}") as response:
        assert response.status in (401, 404)
    assert platforms.requests == []


async def test_an_adapter_that_is_on_its_way_is_tried_again_later() -> None:
    platforms = Platforms()
    platforms.handler = None
    async with client(platforms) as session, session.post("/platforms/telegram/", data=b"{}") as response:
        assert response.status == 503


async def pieces(number: int) -> AsyncIterator[bytes]:
    for _ in range(number):
        yield b"x" * 65536


@pytest.mark.parametrize("body", [lambda: io.BytesIO(b"x" * (MAX_BODY_BYTES + 1)), lambda: pieces(17)])
async def test_a_body_that_is_too_large_is_refused(body: Callable[[], io.BytesIO | AsyncIterator[bytes]]) -> None:
    platforms = Platforms()
    async with client(platforms) as session:
        async with session.post("/platforms/telegram/", data=body()) as response:
            assert response.status == 413
        async with session.post("/platforms/telegram/", data=io.BytesIO(b"x" * MAX_BODY_BYTES)) as response:
            assert response.status == 202
    assert [len(request.body) for request in platforms.requests] == [MAX_BODY_BYTES]


async def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.sleep(10)

    platforms = Platforms()
    async with client(platforms, 0.05) as session, session.post("/platforms/telegram/", data=slow()) as response:
        assert response.status == 408
    assert platforms.requests == []


async def test_a_body_that_cannot_be_unpacked_is_its_senders_fault(caplog: pytest.LogCaptureFixture) -> None:
    platforms = Platforms()
    async with client(platforms) as session:
        base = session._base_url
        assert base is not None
        reader, writer = await asyncio.open_connection(base.host, base.port)
        head = b"POST /platforms/telegram/ HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n"
        writer.write(head + b"none")
        assert b" 400 Bad Request" in await asyncio.wait_for(reader.read(), 5)
        writer.close()
    assert platforms.requests == []
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_an_adapter_that_fails_or_hangs_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(_request: HttpRequest) -> HttpResponse:
        raise RuntimeError("a mistake")

    async def hang(_request: HttpRequest) -> HttpResponse:
        await asyncio.Event().wait()
        raise AssertionError

    platforms = Platforms()
    async with client(platforms, 0.05) as session:
        for handler, status in ((fail, 500), (hang, 503)):
            platforms.handler = handler
            with caplog.at_level(logging.WARNING):
                async with session.post("/platforms/telegram/", data=b"{}") as response:
                    assert response.status == status
                    assert "mistake" not in await response.text()
    assert "failed at a request" in caplog.text
    assert "did not answer a request" in caplog.text
