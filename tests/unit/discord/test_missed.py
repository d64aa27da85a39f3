"""What is written while we are away, or cannot be taken in, is fetched: once, and nothing from before our time."""

import asyncio

import discord
import pytest

from adapters.discord import backfill, receive
from adapters.testing.discord import DiscordServer, Fault, Permission
from adapters.testing.discord.channel import Role
from tests.support.platform_host import FakeHost
from tests.unit.discord.support import adapter, delivery, running


async def test_what_was_written_before_we_came_is_not_for_us(server: DiscordServer, host: FakeHost) -> None:
    ann = server.person("ann")
    general = server.channel(server.guild("Team", ann), "general")
    ann.writes(general, f"{server.bot.mention} long ago")
    async with running(adapter(server, host), host):
        ann.writes(general, f"{server.bot.mention} now")
        await host.until(lambda: host.accepted)
    assert host.texts == ["now"]


@pytest.mark.parametrize("away", [True, False])
async def test_what_was_written_on_a_server_before_we_came_to_it_is_not_for_us(
    server: DiscordServer, host: FakeHost, away: bool
) -> None:
    ann = server.person("ann")
    async with running(adapter(server, host), host):
        guild = server.guild("Team", ann, bots=[])
        general = server.channel(guild, "general")
        ann.writes(general, "/help")
        ann.writes(general, f"{server.bot.mention} long ago")
        await asyncio.sleep(0.05)
        if not away:
            server.world.add_member(guild, server.bot.user)
            await asyncio.sleep(0.2)
            ann.writes(general, f"{server.bot.mention} now")
            await host.until(lambda: "now" in host.texts)
    if away:
        server.world.add_member(guild, server.bot.user)
        ann.writes(general, f"{server.bot.mention} now")
        async with running(adapter(server, host), host):
            await host.until(lambda: "now" in host.texts)
    assert host.texts == ["now"]


async def test_after_a_restart_every_known_place_is_looked_into(server: DiscordServer, host: FakeHost) -> None:
    ann, bob = server.person("ann"), server.person("bob")
    guild = server.guild("Team", ann, bob)
    general, silent = server.channel(guild, "general"), server.channel(guild, "silent")
    forum = server.forum(guild, "questions")
    dm = server.dm(ann)
    async with running(adapter(server, host), host):
        ann.writes(dm, "one")
        ann.writes(general, f"{server.bot.mention} two")
        thread = ann.opens_thread(general, "Plans")
        ann.writes(thread, f"{server.bot.mention} three")
        await host.until(lambda: len(host.accepted) == 3)
    ann.writes(dm, "four")
    ann.writes(general, "not for us")
    for number in range(150):
        bob.writes(general, f"{server.bot.mention} many {number}")
    ann.writes(silent, f"{server.bot.mention} five")
    ann.writes(thread, f"{server.bot.mention} six")
    ann.archives(thread)
    ann.posts(forum, "New", f"{server.bot.mention} seven")
    async with running(adapter(server, host), host):
        await host.until(lambda: len(host.accepted) == 158, 10)
        await asyncio.sleep(0.1)
        assert host.positions[f"dm:{dm.id}"] == str(dm.messages[-1].id)
        assert host.positions[f"channel:{general.id}"] == str(general.messages[-1].id)
    texts = host.texts
    assert {"four", "not for us", "five", "six", "seven"} < set(texts)
    assert [text for text in texts if text.startswith("many")] == [f"many {number}" for number in range(150)]
    assert [message.addressed for message in host.accepted if message.text == "not for us"] == [False]
    before = len(server.requests)
    async with running(adapter(server, host), host):
        await asyncio.sleep(0.2)
    looked = [request for request in list(server.requests)[before:] if request.name == "get_messages"]
    assert len(looked) <= 2, "only conversations, and what Discord does not name, are looked into for nothing"
    assert len(host.accepted) == 158


async def test_a_thread_of_which_the_parent_is_not_known_is_served_all_the_same(
    server: DiscordServer, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library leaves out channels of kinds that are newer than itself, and not their threads."""
    ann = server.person("ann")
    general = server.channel(server.guild("Team", ann), "general")
    thread = ann.opens_thread(general, "Plans")
    monkeypatch.setattr(discord.Thread, "parent", None)
    bot = adapter(server, host)
    async with running(bot, host):
        asked = ann.writes(thread, f"{server.bot.mention} one")
        await host.until(lambda: host.accepted)
        await bot.send(delivery(thread, "so", bot, answers=(str(asked.id),)))
    ann.writes(thread, f"{server.bot.mention} two")
    async with running(adapter(server, host), host):
        await host.until(lambda: host.texts == ["one", "two"])
    assert [message.text for message in server.shown(thread, by=server.bot)] == ["so"]


async def test_a_position_stays_while_something_before_it_is_missing(server: DiscordServer, host: FakeHost) -> None:
    ann = server.person("ann")
    dm = server.dm(ann)
    async with running(adapter(server, host), host):
        one = ann.writes(dm, "one")
        await host.until(lambda: host.positions.get(f"dm:{dm.id}") == str(one.id))
    frozen = host.positions[f"dm:{dm.id}"]
    ann.writes(dm, "two")
    gate = server.gate("get_messages")
    async with running(adapter(server, host), host):
        await server.until(lambda: any(request.name == "get_messages" for request in server.requests))
        ann.writes(dm, "three")
        await host.until(lambda: "three" in host.texts)
        assert host.positions[f"dm:{dm.id}"] == frozen
        assert "two" not in host.texts
    # The process ended before it was fetched: the next one fetches it, and what came live is not taken twice.
    gate.open()
    async with running(adapter(server, host), host):
        await host.until(lambda: "two" in host.texts)
        ann.writes(dm, "four")
        await host.until(lambda: "four" in host.texts)
        await host.until(lambda: host.positions[f"dm:{dm.id}"] != frozen)
    assert sorted(host.texts) == ["four", "one", "three", "two"]


async def test_a_conversation_that_began_while_we_were_away_is_read_once_we_hear_of_it(
    server: DiscordServer, host: FakeHost
) -> None:
    ann = server.person("ann")
    dm = server.dm(ann)
    ann.writes(dm, "before your time")
    async with running(adapter(server, host), host):
        await asyncio.sleep(0.1)
    ann.writes(dm, "anybody there?")
    async with running(adapter(server, host), host):
        await asyncio.sleep(0.2)
        assert host.texts == [], "nobody tells a bot of a conversation"
        ann.writes(dm, "hello")
        await host.until(lambda: len(host.accepted) == 2)
    assert sorted(host.texts) == ["anybody there?", "hello"]


@pytest.mark.parametrize("fault", [Fault.drop(), Fault.error(403, "Forbidden")], ids=["drop", "blocked"])
async def test_a_history_that_fails_is_fetched_later(server: DiscordServer, host: FakeHost, fault: Fault) -> None:
    ann = server.person("ann")
    dm = server.dm(ann)
    async with running(adapter(server, host), host):
        ann.writes(dm, "one")
        await host.until(lambda: host.accepted)
    ann.writes(dm, "two")
    server.inject(fault, "get_messages", times=2)
    async with running(adapter(server, host), host):
        await host.until(lambda: "two" in host.texts)


async def test_who_is_let_in_by_a_role_is_known_by_it_in_a_history_too(server: DiscordServer, host: FakeHost) -> None:
    """Discord tells no roles there, nor does the library know members."""
    ann, bob, eve = server.person("ann"), server.person("bob"), server.person("eve")
    guild = server.guild("Team", ann, bob, eve)
    general = server.channel(guild, "general")
    team = Role(server.world.ids.next(), "team", Permission(0))
    guild.roles[team.id] = team
    guild.members[ann.id].roles.append(team.id)
    host.allowed = lambda message: str(team.id) in message.roles or message.source.user_id == str(bob.id)
    async with running(adapter(server, host), host):
        ann.writes(general, f"{server.bot.mention} live")
        await host.until(lambda: host.accepted)
    for person in (ann, ann, bob, eve):
        person.writes(general, f"{server.bot.mention} from {person.name}")
    ann.writes(general, "not for us")
    server.webhook(general, "hook").writes(f"{server.bot.mention} posted")
    server.remove(guild, eve)
    server.inject(Fault.drop(), "get_guild_member", times=1)
    async with running(adapter(server, host), host):
        await host.until(lambda: host.positions[f"channel:{general.id}"] == str(general.messages[-1].id))
    let_in = [message.text for message in host.accepted if host.allowed(message) and message.addressed]
    assert let_in == ["live", "from ann", "from ann", "from bob"]
    assert len(host.accepted) == 7
    asked = [request.id("user_id") for request in server.requests if request.name == "get_guild_member"]
    assert sorted(asked) == sorted([ann.id, ann.id, eve.id]), "once each, but for one that had no answer"


async def test_of_too_much_the_newest_is_fetched_and_the_rest_named(
    server: DiscordServer, host: FakeHost, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(backfill, "BACKFILL_LIMIT", 120)
    ann = server.person("ann")
    dm = server.dm(ann)
    async with running(adapter(server, host), host):
        ann.writes(dm, "first")
        await host.until(lambda: host.accepted)
    for number in range(150):
        ann.writes(dm, f"{number}")
    async with running(adapter(server, host), host):
        await host.until(lambda: host.positions[f"dm:{dm.id}"] == str(dm.messages[-1].id))
    assert host.texts == ["first", *(f"{number}" for number in range(30, 150))]
    assert "are left out" in caplog.text
    assert str(dm.id) in caplog.text


async def test_a_history_that_may_not_be_read_is_named(
    server: DiscordServer, host: FakeHost, caplog: pytest.LogCaptureFixture
) -> None:
    ann = server.person("ann")
    general = server.channel(server.guild("Team", ann), "general")
    server.deny(general, Permission.READ_MESSAGE_HISTORY)
    async with running(adapter(server, host), host):
        ann.writes(general, "one")
        await host.until(lambda: host.accepted)
    ann.writes(general, "two")
    async with running(adapter(server, host), host):
        await asyncio.sleep(0.2)
        ann.writes(general, f"{server.bot.mention} three")
        await host.until(lambda: "three" in host.texts)
    assert "Read Message History" in caplog.text
    assert str(general.id) in caplog.text


async def test_what_comes_faster_than_it_is_stored_is_fetched(
    server: DiscordServer, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receive, "QUEUE_LIMIT", 5)
    ann = server.person("ann")
    dm = server.dm(ann)
    async with running(adapter(server, host), host):
        ann.writes(dm, "first")
        await host.until(lambda: host.accepted)
        host.broken["accept"] = 3
        for number in range(40):
            ann.writes(dm, f"{number}")
        await host.until(lambda: len(host.accepted) == 41)
        await host.until(lambda: host.positions[f"dm:{dm.id}"] == str(dm.messages[-1].id))
    assert sorted(host.texts[1:], key=int) == [str(number) for number in range(40)]


async def test_a_message_that_cannot_be_read_keeps_no_other_back(
    server: DiscordServer, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = server.person("ann")
    dm = server.dm(ann)
    accept = host.accept

    async def fussy(message: object) -> object:
        if getattr(message, "text", "") == "bad":
            raise ValueError("no such thing")
        return await accept(message)  # type: ignore[arg-type]

    monkeypatch.setattr(host, "accept", fussy)
    async with running(adapter(server, host), host):
        ann.writes(dm, "one")
        ann.writes(dm, "bad")
        ann.writes(dm, "two")
        await host.until(lambda: "two" in host.texts)
        await asyncio.sleep(0.1)
    assert host.texts == ["one", "two"]


async def test_what_comes_live_waits_for_what_was_written_before(server: DiscordServer, host: FakeHost) -> None:
    ann = server.person("ann")
    dm = server.dm(ann)
    async with running(adapter(server, host), host):
        one = ann.writes(dm, "one")
        await host.until(lambda: host.positions.get(f"dm:{dm.id}") == str(one.id))
    ann.writes(dm, "two")
    gate = server.gate("get_messages")
    async with running(adapter(server, host), host):
        await server.until(lambda: any(request.name == "get_messages" for request in server.requests))
        three = ann.writes(dm, "three")
        await asyncio.sleep(0.1)
        assert host.texts == ["one"]
        gate.open()
        await host.until(lambda: len(host.accepted) == 3)
        assert host.texts == ["one", "two", "three"]
        ann.edits(three, "3")
        await host.until(lambda: host.amended)
