"""Telegram posts to the gateway's own HTTP listener."""

from collections.abc import Callable
from typing import Any

import aiohttp

from adapters.testing.telegram import TelegramServer
from config import Home
from tests.integration.telegram_support import answers, gateway

SECRET = "a-secret_that-nobody-guesses"


async def test_webhook_through_the_listener(home: Home, free_port: Callable[[], int]) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/platforms/telegram/updates"
    webhook: dict[str, Any] = {"mode": "webhook", "webhook_url": url, "secret_token": SECRET}
    async with TelegramServer() as server:
        ann = server.person("Ann")
        chat = server.private(ann)
        async with gateway(server, home, http={"port": port}, **webhook):
            ann.writes(chat, "hello")
            await server.until(lambda: answers(server, chat) == ["hello"], 10)
            async with aiohttp.ClientSession() as session:
                async with session.post(url, json={"update_id": 1}) as answer:
                    assert answer.status == 401
                headers = {"X-Telegram-Bot-Api-Secret-Token": SECRET}
                async with session.post(url, json={"update_id": 1}, headers=headers) as answer:
                    assert answer.status == 200
        assert server.requests.of("getUpdates") == ()
        assert server.updates.webhook is not None
        ann.writes(chat, "while it is down")
        async with gateway(server, home, http={"port": port}):
            await server.until(lambda: len(answers(server, chat)) == 2, 10)
        assert server.updates.webhook is None
