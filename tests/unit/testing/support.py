"""A bot without a library, and a clock that moves when it is told to."""

from typing import Any

import aiohttp

from adapters.testing.telegram import Bot, TelegramServer


class Client:
    """A bot's side, without a library."""

    def __init__(self, server: TelegramServer, session: aiohttp.ClientSession, bot: Bot) -> None:
        self.server = server
        self.session = session
        self.bot = bot

    async def call(self, method: str, **parameters: object) -> dict[str, Any]:
        url = f"{self.server.base_url}/bot{self.bot.token}/{method}"
        async with self.session.post(url, json=parameters) as answer:
            body: dict[str, Any] = await answer.json()
            assert answer.status == (200 if body["ok"] else body["error_code"])
            return body

    async def result(self, method: str, **parameters: object) -> Any:
        body = await self.call(method, **parameters)
        assert body["ok"], body
        return body["result"]

    async def refusal(self, method: str, **parameters: object) -> str:
        body = await self.call(method, **parameters)
        assert not body["ok"]
        return str(body["description"])

    async def send(self, chat_id: int, text: str, **parameters: object) -> dict[str, Any]:
        sent: dict[str, Any] = await self.result("sendMessage", chat_id=chat_id, text=text, **parameters)
        return sent

    async def texts(self, **parameters: object) -> list[str]:
        updates = await self.result("getUpdates", **parameters)
        return [next(value["text"] for name, value in each.items() if name != "update_id") for each in updates]


class Ticks:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now
