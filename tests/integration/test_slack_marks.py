"""A message that waits for its answer is marked, where that is wanted and allowed."""

from collections.abc import AsyncIterator

import pytest

from adapters.testing.slack import Person, SlackServer
from config import Home
from tests.integration.slack_support import answers, gateway
from tests.support.slack import RULES

SECONDS = 10.0


@pytest.fixture
async def server() -> AsyncIterator[SlackServer]:
    async with SlackServer(rules=RULES) as running:
        running.bot.scopes.add("reactions:write")
        yield running
    assert running.violations == []


@pytest.fixture
async def ann(server: SlackServer) -> Person:
    return server.person("Ann")


async def test_it_is_marked_until_the_answer_comes(server: SlackServer, ann: Person, home: Home) -> None:
    chat = server.direct(ann)
    async with gateway(server, home, delay_ms=200, reactions=True):
        await server.until(lambda: server.events.sockets.live, SECONDS)
        asked = ann.writes(chat, "hello there")
        await server.until(lambda: asked.reactions == {"eyes": [server.bot.id]}, SECONDS)
        await server.until(lambda: answers(server, chat) == ["hello there"], SECONDS)
        await server.until(lambda: asked.reactions == {}, SECONDS)


async def test_the_mark_of_an_earlier_process_goes_too(server: SlackServer, ann: Person, home: Home) -> None:
    chat = server.direct(ann)
    async with gateway(server, home, delay_ms=2_000, reactions=True, killed=True):
        await server.until(lambda: server.events.sockets.live, SECONDS)
        asked = ann.writes(chat, "hello")
        await server.until(lambda: asked.reactions, SECONDS)
    async with gateway(server, home, reactions=True):
        await server.until(lambda: asked.reactions == {}, SECONDS)


async def test_without_the_scope_it_is_said_once(
    server: SlackServer, ann: Person, home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    server.bot.scopes.remove("reactions:write")
    chat = server.direct(ann)
    async with gateway(server, home, reactions=True):
        await server.until(lambda: server.events.sockets.live, SECONDS)
        for number in range(3):
            ann.writes(chat, str(number))
        await server.until(lambda: len(answers(server, chat)) == 3, SECONDS)
    assert len([each for each in caplog.records if "lacks the scope reactions:write" in each.getMessage()]) == 1


async def test_by_default_nothing_is_marked(server: SlackServer, ann: Person, home: Home) -> None:
    chat = server.direct(ann)
    async with gateway(server, home):
        await server.until(lambda: server.events.sockets.live, SECONDS)
        ann.writes(chat, "hello")
        await server.until(lambda: answers(server, chat) == ["hello"], SECONDS)
    assert server.requests.of("reactions.add") == ()
