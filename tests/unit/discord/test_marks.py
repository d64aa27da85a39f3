"""The mark below a message that waits for its answer, and the permissions that are named before they are missed."""

import asyncio
from typing import Any

import pytest

from adapters.discord.marks import WAITING
from adapters.testing.discord import DiscordServer, Message, Permission
from tests.support.platform_host import FakeHost
from tests.unit.discord.support import adapter, delivery, running


def marked(server: DiscordServer, message: Message) -> bool:
    return server.bot.user in message.reactions.get(WAITING, [])


async def test_a_message_is_marked_until_its_answer_begins(server: DiscordServer, host: FakeHost) -> None:
    ann = server.person("ann")
    general = server.channel(server.guild("Team", ann), "general")
    thread = ann.opens_thread(general, "Plans")
    bot = adapter(server, host, reactions=True)
    async with running(bot, host):
        for number, channel in enumerate((general, thread, server.dm(ann))):
            asked = ann.writes(channel, f"{server.bot.mention} well?")
            await server.until(lambda: marked(server, asked))  # noqa: B023
            await bot.send(delivery(channel, "so", bot, id=number, answers=(str(asked.id),)))
            await server.until(lambda: not marked(server, asked))  # noqa: B023


async def test_a_mark_of_an_earlier_process_is_taken_away(server: DiscordServer, host: FakeHost) -> None:
    ann = server.person("ann")
    dm = server.dm(ann)
    async with running(adapter(server, host, reactions=True), host):
        asked = ann.writes(dm, "well?")
        await server.until(lambda: marked(server, asked))
    later = adapter(server, host, reactions=True)
    async with running(later, host):
        await later.send(delivery(dm, "so", later, answers=(str(asked.id),)))
        await server.until(lambda: not marked(server, asked))


async def test_who_is_not_let_in_gets_no_mark_and_nobody_does_unless_it_is_wanted(
    server: DiscordServer, host: FakeHost
) -> None:
    ann, mallory = server.person("ann"), server.person("mallory")
    general = server.channel(server.guild("Team", ann, mallory), "general")
    host.allowed = lambda message: message.source.user_id != str(mallory.id)
    async with running(adapter(server, host, reactions=True), host):
        mallory.writes(general, f"{server.bot.mention} hello")
        asked = ann.writes(general, f"{server.bot.mention} hello")
        await server.until(lambda: marked(server, asked))
    quiet = FakeHost()
    async with running(adapter(server, quiet), quiet):
        ann.writes(general, f"{server.bot.mention} again")
        await quiet.until(lambda: quiet.accepted)
        await asyncio.sleep(0.05)
    assert [request.name for request in server.requests].count("add_reaction") == 1


async def test_what_lacks_for_marks_is_named_once(
    server: DiscordServer, host: FakeHost, caplog: pytest.LogCaptureFixture
) -> None:
    ann = server.person("ann")
    general = server.channel(server.guild("Team", ann), "general")
    server.deny(general, Permission.ADD_REACTIONS)
    bot = adapter(server, host, reactions=True)
    async with running(bot, host):
        asked = [ann.writes(general, f"{server.bot.mention} {number}") for number in range(2)]
        await server.until(lambda: [each.name for each in server.requests].count("add_reaction") == 2)
        await bot.send(delivery(general, "so", bot, answers=tuple(str(each.id) for each in asked)))
    assert len(server.shown(general, by=server.bot)) == 1
    assert caplog.text.count("lacks Add Reactions") == 1


@pytest.mark.parametrize(
    ("settings", "lacking"),
    [({}, ["Attach Files"]), ({"threads": "auto", "reactions": True}, ["Attach Files", "Create Public Threads"])],
)
async def test_what_a_server_does_not_give_is_named_on_connecting(
    server: DiscordServer,
    host: FakeHost,
    caplog: pytest.LogCaptureFixture,
    settings: dict[str, Any],
    lacking: list[str],
) -> None:
    team = server.guild("Team", server.person("ann"))
    everyone = team.roles[team.id]
    everyone.permissions &= ~(Permission.ATTACH_FILES | Permission.CREATE_PUBLIC_THREADS)
    async with running(adapter(server, host, **settings), host):
        server.gateway.invalidate()
        await server.until(lambda: len(server.gateway.frames(2)) == 2)  # type: ignore[arg-type]
        await asyncio.sleep(0.2)
    (line,) = [record.getMessage() for record in caplog.records if "on the server Team" in record.getMessage()]
    assert f"lacks {', '.join(lacking)}:" in line
