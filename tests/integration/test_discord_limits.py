"""Answers that grow in many places at once, against a server that enforces the limits that are seen of the real one:
the adapter as it runs in earnest is never told to wait."""

import asyncio

from adapters.discord import DiscordAdapter
from adapters.testing.discord import DiscordServer, RateLimits
from config import Home
from tests.integration.discord_support import answers, gateway

PEOPLE = 25
WORDS = " ".join(f"word{number}" for number in range(40))
WORD_MS = 60
SECONDS = 30.0


async def test_the_limits_are_kept_while_many_answers_grow(home: Home) -> None:
    async with DiscordServer(limits=RateLimits()) as server:
        people = [server.person(f"person{number}") for number in range(PEOPLE)]
        general = server.channel(server.guild("Team", *people), "general")
        dms = [server.dm(person) for person in people]
        async with gateway(server, home, delay_ms=WORD_MS, adapters={"discord": DiscordAdapter}, reactions=True):
            await server.until(lambda: server.gateway.received, SECONDS)
            await asyncio.sleep(0.2)
            for person, dm in zip(people, dms, strict=True):
                person.writes(dm, WORDS)
            for person in people[:3]:
                person.writes(general, f"{server.bot.mention} {WORDS}")
            await server.until(lambda: all(answers(server, dm) == [WORDS] for dm in dms), SECONDS)
            await server.until(lambda: answers(server, general).count(WORDS) == 3, SECONDS)
        grown = [len(message.texts) for dm in dms for message in server.shown(dm, by=server.bot)]
        refused = [request.name for request in server.requests if request.status == 429]
    assert refused == []
    assert server.violations == []
    assert sum(grown) > 2 * PEOPLE, "answers are seen to grow"
