"""Slack posts to the gateway's own HTTP listener: signed, acknowledged once stored, and answered as over a socket."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest

from adapters.testing.slack import DeliveryRules, Fault, Person, SlackServer, signed_headers
from config import Home
from tests.integration.slack_support import answers, gateway
from tests.support.slack import RULES

SECONDS = 10.0


@pytest.fixture
def port(free_port: Callable[[], int]) -> int:
    return free_port()


@pytest.fixture
async def server(port: int) -> AsyncIterator[SlackServer]:
    async with SlackServer(rules=RULES) as running:
        _post_to(running, port)
        yield running
    assert running.violations == []


def _post_to(server: SlackServer, port: int) -> None:
    server.app.socket_mode = False
    server.app.commands.add("/hermes")
    urls = server.events.urls
    urls.events = urls.commands = urls.interactivity = address(port)


def address(port: int) -> str:
    return f"http://127.0.0.1:{port}/platforms/slack/events"


@pytest.fixture
def ann(server: SlackServer) -> Person:
    return server.person("Ann")


def listener(port: int) -> dict[str, Any]:
    return {"enabled": True, "host": "127.0.0.1", "port": port}


async def ready(server: SlackServer, port: int) -> None:
    """Slack asks the address to prove itself, as when it is put into the app's settings."""
    for _ in range(200):
        if await server.events.urls.verify(address(port)):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the address does not prove itself")


async def post(port: int, body: bytes, headers: dict[str, str]) -> int:
    async with aiohttp.ClientSession() as session, session.post(address(port), data=body, headers=headers) as answer:
        return answer.status


async def test_events_commands_and_answers(server: SlackServer, ann: Person, home: Home, port: int) -> None:
    chat = server.direct(ann)
    async with gateway(server, home, http=listener(port)):
        await ready(server, port)
        ann.writes(chat, "hello")
        await server.until(lambda: answers(server, chat) == ["hello"], SECONDS)
        command = ann.commands(chat, "/hermes", "and more, please")
        await server.until(lambda: answers(server, chat) == ["hello", "and more, please"], SECONDS)
        assert command.error is None


async def test_what_is_posted_twice_is_answered_once(server: SlackServer, ann: Person, home: Home, port: int) -> None:
    chat = server.direct(ann)
    async with gateway(server, home, http=listener(port)):
        await ready(server, port)
        server.events.repeat(2)
        ann.writes(chat, "once")
        ann.writes(chat, "after")
        await server.until(lambda: answers(server, chat) == ["once", "after"], SECONDS)


async def test_only_slack_is_heard(server: SlackServer, ann: Person, home: Home, port: int) -> None:
    chat = server.direct(ann)
    event = {"type": "message", "channel": chat.id, "channel_type": "im", "user": ann.id, "ts": "1.000001", "text": "x"}
    body = json.dumps({"type": "event_callback", "event_id": "Ev1", "event": event}).encode()
    now = time.time()
    good = signed_headers(server.app.secret, body, now)
    wrong = [
        {"Content-Type": "application/json"},
        signed_headers("another secret", body, now),
        signed_headers(server.app.secret, b"{}", now),
        signed_headers(server.app.secret, body, now - 330),
        signed_headers(server.app.secret, body, now + 330),
        good | {"X-Slack-Request-Timestamp": "yesterday"},
        good | {"X-Slack-Request-Timestamp": "9" * 400},
        good | {"X-Slack-Signature": "v0=\u00e9"},
    ]
    async with gateway(server, home, http=listener(port)):
        await ready(server, port)
        for headers in wrong:
            assert await post(port, body, headers) in (400, 401)
        for rubbish in (b"[]", b"{", b'"x"'):
            assert await post(port, rubbish, signed_headers(server.app.secret, rubbish, now)) == 400
        assert await post(port, body, good) == 200
        await server.until(lambda: answers(server, chat) == ["x"], SECONDS)


async def test_what_was_posted_while_we_were_away(ann: Person, home: Home, port: int) -> None:
    async with SlackServer(rules=DeliveryRules(retry_delays=())) as server:
        _post_to(server, port)
        ann = server.person("Ann")
        chat = server.direct(ann)
        async with gateway(server, home, http=listener(port)):
            await ready(server, port)
            ann.writes(chat, "before")
            await server.until(lambda: answers(server, chat) == ["before"], SECONDS)
        ann.writes(chat, "missed")
        async with gateway(server, home, http=listener(port)):
            await server.until(lambda: answers(server, chat) == ["before", "missed"], SECONDS)


async def test_an_api_that_cannot_be_reached_is_told(server: SlackServer, ann: Person, home: Home, port: int) -> None:
    chat = server.direct(ann)
    async with gateway(server, home, http=listener(port)) as daemon:
        await ready(server, port)
        server.inject(Fault.reset(), "auth.test", times=2)
        parts = daemon._parts
        assert parts is not None
        pool = parts.adapters
        await server.until(lambda: pool.states["slack"]["state"] == "connecting", SECONDS)
        await server.until(lambda: pool.states["slack"]["state"] == "connected", SECONDS)
        ann.writes(chat, "hello")
        await server.until(lambda: answers(server, chat) == ["hello"], SECONDS)
