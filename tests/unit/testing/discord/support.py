"""A bot's side without a library, discord.py's side as a test wants it, and a clock that moves when it is told to."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import aiohttp
import discord
import pytest
import yarl
from discord.gateway import DiscordWebSocket

from adapters.testing.discord import ALL_INTENTS, Channel, DiscordServer, Intents, Message, Opcode


def point(monkeypatch: pytest.MonkeyPatch, server: DiscordServer) -> None:
    """Let discord.py find this server, until the test ends."""
    monkeypatch.setattr(discord.http.Route, "BASE", server.api_url)
    monkeypatch.setattr(DiscordWebSocket, "DEFAULT_GATEWAY", yarl.URL(server.gateway_url))


class Rest:
    """The REST API without a library."""

    def __init__(self, server: DiscordServer, session: aiohttp.ClientSession, token: str | None = None) -> None:
        self.server = server
        self.session = session
        self.token = token or server.bot.token
        self.headers: dict[str, str] = {}
        """The headers of the last answer."""

    async def call(self, method: str, path: str, body: object = None, **query: object) -> tuple[int, Any]:
        parameters = {name: str(value) for name, value in query.items()}
        headers = {"Authorization": f"Bot {self.token}"}
        data: Any = None
        if isinstance(body, aiohttp.FormData):
            data = body
        elif body is not None:
            data = json.dumps(body)
            headers["Content-Type"] = "application/json"
        url = yarl.URL(self.server.api_url + path, encoded=True).update_query(parameters)
        async with self.session.request(method, url, data=data, headers=headers) as answer:
            self.headers = dict(answer.headers)
            raw = await answer.read()
            return answer.status, (json.loads(raw) if raw else None)

    async def result(self, method: str, path: str, body: object = None, **query: object) -> Any:
        status, answer = await self.call(method, path, body, **query)
        assert status < 300, (status, answer)
        return answer

    async def refusal(self, method: str, path: str, body: object = None, **query: object) -> tuple[int, int]:
        """The status and the code."""
        status, answer = await self.call(method, path, body, **query)
        assert status >= 400, (status, answer)
        return status, answer["code"]

    async def send(self, channel: Channel, content: str, **fields: object) -> dict[str, Any]:
        path = f"/channels/{channel.id}/messages"
        sent: dict[str, Any] = await self.result("POST", path, {"content": content, **fields})
        return sent

    async def history(self, channel: Channel, **query: object) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self.result("GET", f"/channels/{channel.id}/messages", **query)
        return found

    async def react(self, message: Message, emoji: str) -> tuple[int, Any]:
        path = f"/channels/{message.channel.id}/messages/{message.id}/reactions/{quote(emoji)}/@me"
        return await self.call("PUT", path)


class Wire:
    """One connection to the gateway without a library."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.sequence = 0

    async def next(self) -> dict[str, Any]:
        frame: dict[str, Any] = json.loads(await self.socket.receive_str(timeout=5))
        self.sequence = frame["s"] or self.sequence
        return frame

    async def event(self, name: str) -> dict[str, Any]:
        """The data of the next event of this kind; what comes before is skipped."""
        while (frame := await self.next())["t"] != name:
            pass
        data: dict[str, Any] = frame["d"]
        return data

    async def op(self, op: Opcode) -> Any:
        while (frame := await self.next())["op"] != op:
            pass
        return frame["d"]

    async def tell(self, op: int, data: object) -> None:
        await self.socket.send_str(json.dumps({"op": op, "d": data}))

    async def identify(self, token: str, intents: int = ALL_INTENTS) -> dict[str, Any]:
        await self.tell(Opcode.IDENTIFY, {"token": token, "intents": int(intents), "properties": {}})
        return await self.event("READY")

    async def resume(self, token: str, session: str, sequence: int) -> None:
        await self.tell(Opcode.RESUME, {"token": token, "session_id": session, "seq": sequence})

    async def closed(self) -> int | None:
        """Read until the server closes; the code."""
        while not self.socket.closed:
            message = await self.socket.receive(timeout=5)
            if message.type in {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED}:
                break
        return self.socket.close_code


@asynccontextmanager
async def wired(server: DiscordServer, session: aiohttp.ClientSession, url: str = "") -> AsyncIterator[Wire]:
    """A connection that has read HELLO."""
    async with session.ws_connect((url or server.gateway_url) + "?v=10&encoding=json") as socket:
        wire = Wire(socket)
        assert (await wire.op(Opcode.HELLO))["heartbeat_interval"] == int(server.gateway.heartbeat_seconds * 1000)
        yield wire


class Client(discord.Client):
    """discord.py with what it heard. It does not wait before it identifies again, and takes READY at once."""

    def __init__(self, intents: discord.Intents | None = None, **options: Any) -> None:
        super().__init__(
            intents=intents or discord.Intents.all(), guild_ready_timeout=0.01, chunk_guilds_at_startup=False, **options
        )
        self.messages: list[discord.Message] = []
        self.interactions: list[discord.Interaction] = []
        self.heard: list[str] = []

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        pass

    def dispatch(self, event: str, /, *args: Any, **kwargs: Any) -> None:
        self.heard.append(event)
        super().dispatch(event, *args, **kwargs)

    async def on_message(self, message: discord.Message) -> None:
        self.messages.append(message)

    async def on_interaction(self, interaction: discord.Interaction) -> None:
        self.interactions.append(interaction)

    def texts(self) -> list[str]:
        return [message.content for message in self.messages]


@asynccontextmanager
async def running(server: DiscordServer, client: Client | None = None) -> AsyncIterator[Client]:
    """discord.py, connected and ready."""
    client = client or Client()
    task = asyncio.create_task(client.start(server.bot.token))
    try:
        await soon(lambda: client.is_ready() or task.done())
        if task.done():
            await task
        yield client
    finally:
        await client.close()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def soon(condition: Any, timeout: float = 5.0) -> Any:
    """Wait until a condition of the client holds, and return its value."""
    async with asyncio.timeout(timeout):
        while not (value := condition()):
            await asyncio.sleep(0.005)
    return value


class Ticks:
    """A clock that moves when it is told to."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


NO_CONTENT = ALL_INTENTS & ~Intents.MESSAGE_CONTENT
