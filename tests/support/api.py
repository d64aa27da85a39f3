"""A gateway with its HTTP interface, in this process, and who knows one key."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from config import GatewayConfig, Home
from gateway.api.keys import SCOPES, Holder
from gateway.connections import AdapterFactory
from gateway.daemon import Daemon
from gateway.ports import Agent

KEY = "key-of-the-tests-which-is-long"


class OneKey:
    """Knows one key, good for everything; or none."""

    def __init__(self, token: str | None = KEY, scopes: tuple[str, ...] = tuple(SCOPES)) -> None:
        self._token = token
        self._scopes = frozenset(scopes)
        self.complete = True

    @property
    def any(self) -> bool:
        return bool(self._token)

    def verify(self, token: str) -> Holder | None:
        return Holder("tests", self._scopes) if self._token and token == self._token else None


@dataclass(frozen=True, slots=True)
class ApiGateway:
    """One that runs: where it listens, and a session that shows its key."""

    daemon: Daemon
    url: str
    session: aiohttp.ClientSession

    async def post(self, path: str, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
        """Send JSON; the status, and the JSON that comes back."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.post(path, json=body, headers=named) as response:
            return response.status, await response.json()

    async def get(self, path: str) -> tuple[int, dict[str, Any]]:
        """The same, without sending anything."""
        async with self.session.get(path) as response:
            return response.status, await response.json()


UNLIMITED: Mapping[str, Any] = {"messages_per_minute": 0, "chat_messages_per_minute": 0, "turns_at_once": 0}


@contextlib.asynccontextmanager
async def api_gateway(
    home: Home,
    port: int,
    *,
    given: Mapping[str, Agent] | None = None,
    adapters: Mapping[str, AdapterFactory] | None = None,
    http: Mapping[str, Any] | None = None,
    **config: Any,
) -> AsyncIterator[ApiGateway]:
    """Run a gateway; it echoes, unless it is given agents, or the configuration names some."""
    values: dict[str, Any] = {"limits": UNLIMITED, **config}
    values["http"] = {"port": port, "api_key": KEY, **(http or {})}
    if given is None and "agents" not in values:
        values |= {"agent": "echo", "agents": {"echo": {"type": "echo"}}}
    daemon = Daemon(GatewayConfig.model_validate(values), home, agents=given, adapters=adapters)
    ready = asyncio.Event()
    running = asyncio.create_task(daemon.run(ready.set))
    up = asyncio.create_task(ready.wait())
    await asyncio.wait({running, up}, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        up.cancel()
        await running
    url = f"http://127.0.0.1:{port}"
    try:
        async with aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {KEY}"}) as session:
            yield ApiGateway(daemon, url, session)
    finally:
        daemon.stop()
        await asyncio.wait_for(running, 30)


def user(text: str) -> dict[str, str]:
    """A message of a user."""
    return {"role": "user", "content": text}


def ask(text: str, model: str = "echo", **more: Any) -> dict[str, Any]:
    """The body of a chat completion."""
    return {"model": model, "messages": [user(text)], **more}
