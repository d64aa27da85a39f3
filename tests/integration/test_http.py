"""The HTTP listener: who may call what, what health and readiness say, and a port that is taken."""

import asyncio
import contextlib
import io
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from config import GatewayConfig, Home, PlatformConfig
from gateway.api import ListenError
from gateway.api.app import create_app, serve
from gateway.api.guard import MAX_BODY_BYTES, open_to_all
from gateway.daemon import Daemon
from gateway.ports import (
    Adapter,
    AdapterHost,
    AdapterState,
    Capabilities,
    Delivery,
    Found,
    NotConnectedError,
    SearchOutcome,
)
from tests.support.api import OneKey

KEY = "k-éy-of-this-test"


async def echo(request: web.Request) -> web.Response:
    return web.json_response({"length": len(await request.read())})


@open_to_all
async def fail(_request: web.Request) -> web.Response:
    raise RuntimeError("the reason is nobody's business")


@contextlib.asynccontextmanager
async def client(
    *, api_key: str | None = None, ready: tuple[bool, Mapping[str, Any]] = (True, {"reasons": []})
) -> AsyncIterator[aiohttp.ClientSession]:
    app = create_app(health=lambda: {"version": "1.2.3"}, ready=lambda: ready, keys=OneKey(api_key))
    app.router.add_post("/echo", echo)
    app.router.add_get("/fail", fail)
    async with serve(app, "127.0.0.1", 0) as (host, port), aiohttp.ClientSession(f"http://{host}:{port}") as session:
        yield session


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def test_health_is_open() -> None:
    async with client() as session, session.get("/health") as response:
        assert (response.status, await response.json()) == (200, {"status": "ok", "version": "1.2.3"})
        assert response.headers["Server"] == "hermes-gateway"
        assert response.headers["Cache-Control"] == "no-store"
    async with client(api_key=KEY) as session, session.head("/health") as response:
        assert response.status == 200


@pytest.mark.parametrize(
    ("ready", "status", "word"),
    [((True, {"reasons": []}), 200, "ready"), ((False, {"reasons": ["x"]}), 503, "not ready")],
)
async def test_readiness_says_why_not(ready: tuple[bool, Mapping[str, Any]], status: int, word: str) -> None:
    async with client(ready=ready) as session, session.get("/ready") as response:
        assert response.status == status
        assert await response.json() == {"status": word, **ready[1]}


async def test_readiness_shows_no_token() -> None:
    token = "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1"
    reasons = {"reasons": [f"cannot reach https://api.telegram.org/bot{token}/getMe"]}
    async with client(ready=(False, reasons)) as session, session.get("/ready") as response:
        assert token not in await response.text()


class Talkative(Adapter):
    """An adapter that cannot connect, and says with which token."""

    capabilities = Capabilities()

    def __init__(self, config: PlatformConfig, host: AdapterHost) -> None:
        assert config.token is not None
        host.set_state(AdapterState.CONNECTING)
        self._token = config.token.get_secret_value()

    async def run(self) -> None:
        raise RuntimeError(f"no answer from /bot{self._token}/getMe")

    async def send(self, delivery: Delivery) -> str:
        raise NotConnectedError

    async def edit(self, delivery: Delivery) -> None:
        raise NotConnectedError

    async def find(self, delivery: Delivery) -> Found | SearchOutcome:
        raise NotConnectedError


async def test_what_the_gateway_tells_of_itself_has_none_of_its_secrets(
    home: Home, free_port: Callable[[], int]
) -> None:
    port, token = free_port(), "of-no-known-form"
    platforms = {"telegram": {"token": token}}
    config = GatewayConfig.model_validate({"agent": "echo", "http": {"port": port}, "platforms": platforms})
    daemon = Daemon(config, home, adapters={"telegram": Talkative})
    ready = asyncio.Event()
    running = asyncio.create_task(daemon.run(ready.set))
    await asyncio.wait_for(ready.wait(), 20)
    async with asyncio.timeout(20), aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        while (await daemon.status())["adapters"]["telegram"]["state"] != "failed":
            await asyncio.sleep(0.01)
        async with session.get("/ready") as response:
            reasons = (await response.json())["reasons"]
    assert (await daemon.status())["adapters"]["telegram"]["reason"].endswith("/bot***/getMe")
    assert "telegram is failed: RuntimeError: no answer from /bot***/getMe" in reasons
    daemon.stop()
    await running


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/echo"), ("GET", "/nowhere"), ("DELETE", "/health"), ("GET", "/echo"), ("GET", "/")]
)
async def test_without_a_configured_key_all_else_is_unauthorized(method: str, path: str) -> None:
    async with client() as session, session.request(method, path, headers=bearer("")) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
        error = (await response.json())["error"]
        assert error["type"] == "authentication_error"
        assert "http.api_key" in error["message"]


@pytest.mark.parametrize(
    "headers",
    [{}, bearer("wrong"), bearer(KEY[:-1]), bearer(KEY + "x"), bearer(""), {"Authorization": f"Basic {KEY}"}],
)
async def test_a_wrong_key_is_unauthorized(headers: dict[str, str]) -> None:
    async with client(api_key=KEY) as session:
        for path in ("/echo", "/nowhere"):
            async with session.post(path, headers=headers) as response:
                assert response.status == 401
                assert KEY not in await response.text()


async def test_the_key_opens_what_there_is() -> None:
    async with client(api_key=KEY) as session:
        async with session.post("/echo", data=b"abc", headers=bearer(KEY)) as response:
            assert (response.status, await response.json()) == (200, {"length": 3})
        async with session.get("/nowhere", headers=bearer(KEY)) as response:
            assert response.status == 404
            assert (await response.json())["error"]["type"] == "not_found_error"
        async with session.get("/echo", headers=bearer(KEY)) as response:
            assert response.status == 405
            assert response.headers["Allow"] == "POST"


async def test_an_empty_key_is_none() -> None:
    async with client(api_key="") as session, session.post("/echo", headers=bearer("")) as response:
        assert response.status == 401


async def test_large_bodies_are_refused_whether_their_length_is_said_or_not() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY_BYTES // 65536 + 1):
            yield b"x" * 65536

    async with client(api_key=KEY) as session:
        for body in (io.BytesIO(b"x" * (MAX_BODY_BYTES + 1)), pieces()):
            with contextlib.suppress(aiohttp.ClientOSError):  # the server may close before it has read all
                async with session.post("/echo", data=body, headers=bearer(KEY)) as response:
                    assert response.status == 413
                    assert (await response.json())["error"]["type"] == "invalid_request_error"
        async with session.post("/echo", data=b"x", headers=bearer(KEY)) as response:
            assert response.status == 200


async def test_a_failing_route_tells_nothing_and_logs_it(caplog: pytest.LogCaptureFixture) -> None:
    async with client() as session, session.get("/fail") as response:
        assert response.status == 500
        assert "nobody's business" not in await response.text()
    assert "nobody's business" in caplog.text


async def test_a_port_in_use_names_the_key_to_change() -> None:
    app = create_app(health=dict, ready=lambda: (True, {}), keys=OneKey(None))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenError, match=rf"port {port} on 127.0.0.1 is in use.*http\.port"):
            async with serve(app, "127.0.0.1", port):
                pytest.fail("it listens")


async def test_a_foreign_address_names_the_key_to_change() -> None:
    app = create_app(health=dict, ready=lambda: (True, {}), keys=OneKey(None))
    with pytest.raises(ListenError, match=r"http\.host"):
        async with serve(app, "192.0.2.1", 0):
            pytest.fail("it listens")
