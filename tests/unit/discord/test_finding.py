"""A message whose send had no answer is found, or known to be absent, or neither is claimed."""

import pytest

from adapters.base import Found, SearchOutcome
from adapters.discord.compose import TextFile
from adapters.testing.discord import DiscordServer, Permission
from tests.support.platform_host import FakeHost
from tests.unit.discord.support import adapter, delivery, running


async def test_it_is_found_by_its_content_among_others(server: DiscordServer, host: FakeHost) -> None:
    ann = server.person("ann")
    general = server.channel(server.guild("Team", ann), "general")
    bot = adapter(server, host)
    async with running(bot, host):
        asked = ann.writes(general, "a question")
        twin = await bot.send(delivery(general, "the same", bot, id=1))
        ann.writes(general, "the same")
        ours = await bot.send(delivery(general, "the same", bot, id=2))
        lost = delivery(general, "the same", bot, id=2, before=(str(asked.id),), others=(twin,))
        assert await bot.find(lost) == Found(ours)
        missing = delivery(general, "another", bot, id=3, answers=(str(asked.id),))
        assert await bot.find(missing) is SearchOutcome.ABSENT
        file = await bot.send(delivery(general, "", bot, id=4, content=TextFile("long text")))
        lost = delivery(general, "", bot, id=4, content=TextFile("long text"), answers=(f"interaction:{asked.id}",))
        assert await bot.find(lost) == Found(file)


@pytest.mark.parametrize("repeated", [True, False])
async def test_a_part_that_has_grown_since_it_was_sent_is_found(
    server: DiscordServer, host: FakeHost, repeated: bool
) -> None:
    ann = server.person("ann")
    dm = server.dm(ann)
    bot = adapter(server, host)
    async with running(bot, host):
        asked = ann.writes(dm, "q")
        sent = await bot.send(delivery(dm, "That was", bot, repeated=repeated))
        assert await bot.find(delivery(dm, "That was all.", bot, answers=(str(asked.id),))) == Found(sent)
        assert await bot.find(delivery(dm, "Another.", bot, answers=(str(asked.id),))) is SearchOutcome.ABSENT


async def test_what_came_into_its_turn_later_hides_it_not(server: DiscordServer, host: FakeHost) -> None:
    ann = server.person("ann")
    dm = server.dm(ann)
    bot = adapter(server, host)
    async with running(bot, host):
        asked = ann.writes(dm, "q")
        sent = await bot.send(delivery(dm, "That was", bot))
        added = ann.writes(dm, "and that?")
        answers = (str(asked.id), str(added.id))
        for before in ((answers[0],), ()):
            lost = delivery(dm, "That was all.", bot, answers=answers, before=before, others=answers[1:])
            assert await bot.find(lost) == Found(sent)


async def test_where_nothing_is_known_only_the_nonce_speaks(server: DiscordServer, host: FakeHost) -> None:
    ann = server.person("ann")
    general = server.channel(server.guild("Team", ann), "general")
    bot = adapter(server, host)
    async with running(bot, host):
        assert await bot.find(delivery(general, "x", bot)) is SearchOutcome.UNKNOWN
        await bot.send(delivery(general, "x", bot))
        assert await bot.find(delivery(general, "x", bot)) is SearchOutcome.ABSENT
        await bot.send(delivery(general, "x", bot))
        server.deny(general, Permission.READ_MESSAGE_HISTORY)
        asked = ann.writes(general, "q")
        await host.until(lambda: host.accepted)
        unread = delivery(general, "y", bot, id=2, before=(str(asked.id),))
        assert await bot.find(unread) is SearchOutcome.UNKNOWN, "without the right to read, nothing is seen"
    assert len(server.shown(general, by=server.bot)) == 1


@pytest.mark.parametrize("repeated", [True, False])
async def test_a_mark_makes_no_other_message_of_it(server: DiscordServer, host: FakeHost, repeated: bool) -> None:
    ann = server.person("ann")
    dm = server.dm(ann)
    bot = adapter(server, host)
    async with running(bot, host):
        asked = ann.writes(dm, "q")
        sent = await bot.send(delivery(dm, "x", bot, repeated=repeated))
        assert await bot.find(delivery(dm, "x", bot, answers=(str(asked.id),), repeated=not repeated)) == Found(sent)
