"""A platform's request, from the listener to the adapter and the agent: the listener is there before the adapter."""

import asyncio
from collections.abc import Callable

import aiohttp

from config import GatewayConfig, Home, Platform, PlatformConfig
from gateway.daemon import Daemon
from gateway.ports import (
    Adapter,
    AdapterHost,
    AdapterState,
    Capabilities,
    Delivery,
    HttpRequest,
    HttpResponse,
    InboundMessage,
    RawUpdate,
)
from gateway.source import SessionSource


class Hook(Adapter):
    """Takes messages by HTTP: each is kept, and then accepted. It says where it is only once it can be reached."""

    capabilities = Capabilities()

    def __init__(self, address: Callable[[], str | None], host: AdapterHost) -> None:
        self._address = address
        self._host = host
        self.early: str | None = None
        self.sent: asyncio.Queue[str] = asyncio.Queue()

    async def run(self) -> None:
        self.early = self._address()
        self._host.handle_http(self._take)
        self._host.set_state(AdapterState.CONNECTED)
        await asyncio.Event().wait()

    async def _take(self, request: HttpRequest) -> HttpResponse:
        if request.headers.get("x-secret") != "s":
            return HttpResponse(401)
        text = request.body.decode()
        await self._host.keep([RawUpdate(request.path, text)])
        if text == "odd":
            await self._host.settle(request.path, "odd")
        else:
            source = SessionSource(Platform.TELEGRAM, "1", user_id="ann")
            await self._host.accept(InboundMessage(source, request.path, text, update_id=request.path))
        return HttpResponse(200, "ok")

    async def send(self, delivery: Delivery) -> str:
        self.sent.put_nowait(delivery.text)
        return str(delivery.id)


async def test_a_platform_calls_us(home: Home) -> None:
    settings = {
        "agent": "echo",
        "http": {"enabled": True, "port": 0},
        "platforms": {"telegram": {"token": "1:a", "allowed_users": ["ann"]}},
    }
    hooks: list[Hook] = []

    def build(_config: PlatformConfig, host: AdapterHost) -> Hook:
        hooks.append(Hook(lambda: daemon._address, host))
        return hooks[0]

    daemon = Daemon(GatewayConfig.model_validate(settings), home, adapters={"telegram": build})
    ready = asyncio.Event()
    running = asyncio.create_task(daemon.run(ready.set))
    async with asyncio.timeout(20):
        await ready.wait()
        while (await daemon.status())["adapters"]["telegram"]["state"] != "connected":
            await asyncio.sleep(0.01)
        (hook,) = hooks
        assert hook.early == daemon._address is not None
        async with aiohttp.ClientSession(f"http://{daemon._address}", headers={"X-Secret": "s"}) as session:
            async with session.post("/platforms/telegram/1", data="hello", headers={"X-Secret": "t"}) as response:
                assert response.status == 401
            for number, text in enumerate(("hello", "hello", "odd")):
                async with session.post(f"/platforms/telegram/{max(1, number)}", data=text) as response:
                    assert (response.status, await response.text()) == (200, "ok")
            async with session.post("/platforms/slack/1", data="x") as response:
                assert response.status == 404
        assert "hello" in await hook.sent.get()
        status = await daemon.status()
        assert status["updates"] == {"kept": 0, "set_aside": 1}
        daemon.stop()
        await running
    assert hook.sent.empty()
