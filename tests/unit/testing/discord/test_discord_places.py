"""Guilds, channels, threads and application commands on the wire, and what people can do in them."""

import json

import aiohttp
import discord
import pytest
from discord import app_commands

from adapters.testing.discord import (
    PRIVILEGED,
    Channel,
    ChannelType,
    DiscordServer,
    File,
    Guild,
    Intents,
    MessageFlags,
    Permission,
    Person,
)
from tests.unit.testing.discord.support import Client, Rest, running, soon


@pytest.fixture
def ann(server: DiscordServer) -> Person:
    return server.person("ann")


@pytest.fixture
def guild(server: DiscordServer, ann: Person) -> Guild:
    return server.guild("Team", ann)


@pytest.fixture
def general(server: DiscordServer, guild: Guild) -> Channel:
    return server.channel(guild, "general")


async def test_a_guild(server: DiscordServer, rest: Rest, ann: Person, guild: Guild, general: Channel) -> None:
    where = f"/guilds/{guild.id}"
    assert (await rest.result("GET", where))["name"] == "Team"
    assert [each["id"] for each in await rest.result("GET", where + "/channels")] == [str(general.id)]
    assert [each["name"] for each in await rest.result("GET", where + "/roles")] == ["@everyone", "hermes"]
    members = await rest.result("GET", where + "/members", limit=10)
    assert [each["user"]["username"] for each in members] == ["hermes", "ann"]
    assert await rest.result("GET", where + "/members", after=server.bot.id) == members[1:]
    assert (await rest.result("GET", f"{where}/members/{ann.id}"))["user"]["id"] == str(ann.id)
    bob = server.person("bob")
    assert await rest.refusal("GET", f"{where}/members/{bob.id}") == (404, 10007)
    assert await rest.refusal("GET", f"{where}/members/5") == (404, 10013)
    (mine,) = await rest.result("GET", "/users/@me/guilds")
    assert (mine["id"], mine["owner"]) == (str(guild.id), False)
    assert (await rest.result("GET", f"/users/{ann.id}"))["username"] == "ann"
    assert await rest.refusal("GET", "/users/5") == (404, 10013)
    server.bot.privileged = PRIVILEGED & ~Intents.GUILD_MEMBERS
    assert await rest.refusal("GET", where + "/members") == (403, 50001)
    foreign = server.guild("Elsewhere", bob, bots=())
    assert await rest.refusal("GET", f"/guilds/{foreign.id}") == (403, 50001)
    assert await rest.refusal("GET", "/guilds/5") == (404, 10004)
    assert await rest.refusal("GET", "/guilds/x") == (400, 50035)


async def test_channels_are_changed_with_a_permission(
    server: DiscordServer, rest: Rest, ann: Person, guild: Guild, general: Channel
) -> None:
    where = f"/channels/{general.id}"
    assert await rest.refusal("PATCH", where, {"name": "new"}) == (403, 50013)
    assert await rest.refusal("DELETE", where) == (403, 50013)
    server.grant(guild, Permission.MANAGE_CHANNELS)
    changed = await rest.result("PATCH", where, {"name": "new", "topic": "talk"})
    assert (changed["name"], changed["topic"]) == ("new", "talk")
    for name in ("", " ", "x" * 101, 5):
        assert await rest.refusal("PATCH", where, {"name": name}) == (400, 50035)
    thread = ann.opens_thread(general, "Talk")
    await rest.result("DELETE", where)
    assert await rest.refusal("GET", where) == (404, 10003)
    assert await rest.refusal("GET", f"/channels/{thread.id}") == (404, 10003)
    dm = server.dm(ann)
    assert await rest.refusal("PATCH", f"/channels/{dm.id}", {"name": "x"}) == (400, 50024)
    assert (await rest.result("DELETE", f"/channels/{dm.id}"))["id"] == str(dm.id)
    await rest.send(dm, "a conversation stays")


async def test_members_of_threads(
    server: DiscordServer, rest: Rest, ann: Person, guild: Guild, general: Channel
) -> None:
    bob = server.person("bob")
    bob.joins(guild)
    thread = ann.opens_thread(general, "Talk")
    members = f"/channels/{thread.id}/thread-members"
    await rest.result("PUT", members + "/@me")
    await rest.result("PUT", f"{members}/{bob.id}")
    everyone = await rest.result("GET", members)
    assert [each["user_id"] for each in everyone] == [str(user.id) for user in (ann, server.bot, bob)]
    assert (await rest.result("GET", f"{members}/{bob.id}"))["user_id"] == str(bob.id)
    assert await rest.refusal("DELETE", f"{members}/{bob.id}") == (403, 50013)
    server.grant(guild, Permission.MANAGE_THREADS)
    await rest.result("DELETE", f"{members}/{bob.id}")
    assert await rest.refusal("GET", f"{members}/{bob.id}") == (404, 10007)
    await rest.result("DELETE", members + "/@me")
    assert await rest.refusal("PUT", members + "/5") == (404, 10013)
    server.bot.privileged = PRIVILEGED & ~Intents.GUILD_MEMBERS
    assert await rest.refusal("GET", members) == (403, 50001)
    ann.archives(thread)
    assert await rest.refusal("PUT", members + "/@me") == (400, 50083)


async def test_a_thread_belongs_to_who_opened_it(
    server: DiscordServer, rest: Rest, ann: Person, guild: Guild, general: Channel
) -> None:
    theirs = ann.opens_thread(general, "Theirs")
    assert await rest.refusal("PATCH", f"/channels/{theirs.id}", {"name": "Mine"}) == (403, 50013)
    start = f"/channels/{general.id}/threads"
    mine = await rest.result("POST", start, {"name": "Mine", "type": int(ChannelType.PRIVATE_THREAD)})
    where = f"/channels/{mine['id']}"
    changed = await rest.result("PATCH", where, {"name": "Ours", "archived": True, "auto_archive_duration": 60})
    metadata = changed["thread_metadata"]
    assert (changed["name"], metadata["archived"], metadata["auto_archive_duration"]) == ("Ours", True, 60)
    assert await rest.refusal("PATCH", where, {"name": "Again"}) == (400, 50083)
    assert await rest.refusal("PATCH", where, {"archived": False, "locked": True}) == (403, 50013)
    await rest.result("PATCH", where, {"archived": False})
    assert await rest.refusal("POST", start, {"name": "x", "auto_archive_duration": 5}) == (400, 50035)
    assert await rest.refusal("POST", start, {"name": "x", "type": 0}) == (400, 50024)
    assert await rest.refusal("DELETE", where) == (403, 50013)
    server.grant(guild, Permission.MANAGE_THREADS)
    await rest.result("DELETE", where)
    assert int(mine["id"]) not in guild.threads


async def test_a_forum_takes_posts_only(server: DiscordServer, rest: Rest, ann: Person, guild: Guild) -> None:
    forum = server.forum(guild, "help", "question")
    assert await rest.refusal("POST", f"/channels/{forum.id}/messages", {"content": "x"}) == (400, 50008)
    assert await rest.refusal("POST", f"/channels/{forum.id}/threads", {"name": "x"}) == (400, 50035)
    with pytest.raises(ValueError, match="post"):
        ann.writes(forum, "x")
    with pytest.raises(ValueError, match="forums"):
        ann.posts(server.channel(guild, "text"), "x", "y")
    post = ann.posts(forum, "How?", "like so")
    assert [message.id for message in post.messages] == [post.id]
    full = await rest.result("GET", f"/channels/{post.id}")
    assert (full["parent_id"], full["message_count"], full["total_message_sent"]) == (str(forum.id), 1, 0)
    await rest.send(post, "thanks")
    assert (await rest.result("GET", f"/channels/{post.id}"))["total_message_sent"] == 1


async def test_a_thread_begins_with_its_message(
    server: DiscordServer, rest: Rest, ann: Person, general: Channel
) -> None:
    root = ann.writes(general, "root")
    where = f"/channels/{general.id}/messages/{root.id}/threads"
    thread = await rest.result("POST", where, {"name": "Talk"})
    shown = (await rest.history(general))[0]
    assert (shown["thread"]["id"], shown["flags"]) == (thread["id"], int(MessageFlags.HAS_THREAD))
    inner = server.world.channels[int(thread["id"])]
    (starter,) = await rest.history(inner)
    assert (starter["type"], starter["content"], starter["referenced_message"]["content"]) == (21, "", "root")
    reply = {"message_reference": {"message_id": starter["id"]}, "content": "x"}
    assert await rest.refusal("POST", f"/channels/{inner.id}/messages", reply) == (400, 50035)
    loose = ann.opens_thread(general, "Loose")
    announced = (await rest.history(general))[0]
    assert (announced["type"], announced["message_reference"]["channel_id"]) == (18, str(loose.id))
    assert await rest.refusal("POST", f"/channels/{general.id}/messages/{announced['id']}/threads", {"name": "x"}) == (
        400,
        50068,
    )


async def test_commands_of_one_place(server: DiscordServer, rest: Rest, guild: Guild) -> None:
    everywhere = f"/applications/{server.bot.id}/commands"
    here = f"/applications/{server.bot.id}/guilds/{guild.id}/commands"
    made = await rest.result("POST", here, {"name": "help", "description": "Helps"})
    assert made["guild_id"] == str(guild.id)
    assert await rest.result("GET", everywhere) == []
    one = f"{here}/{made['id']}"
    assert (await rest.result("GET", one))["description"] == "Helps"
    assert (await rest.result("PATCH", one, {"description": "More"}))["id"] == made["id"]
    assert (await rest.result("POST", here, {"name": "help", "description": "Other"}))["id"] == made["id"]
    await rest.result("DELETE", one)
    assert await rest.refusal("GET", one) == (404, 10063)
    assert await rest.refusal("GET", "/applications/5/commands") == (403, 20012)
    assert await rest.refusal("GET", f"/applications/{server.bot.id}/guilds/5/commands") == (403, 50001)
    many = [{"name": f"c{number}", "description": "x"} for number in range(101)]
    assert await rest.refusal("PUT", everywhere, many) == (400, 30032)
    option = {"name": "a", "description": "x", "type": 3}
    for options in ([option | {"name": "A"}], [option, option | {"name": "b", "required": True}], [option] * 26):
        body = {"name": "help", "description": "x", "options": options}
        assert await rest.refusal("POST", everywhere, body) == (400, 50035)
    assert await rest.refusal("PUT", everywhere, {"name": "help"}) == (400, 50035)
    menu = await rest.result("POST", everywhere, {"name": "Quote This", "type": 3})
    assert menu["type"] == 3


async def test_options_of_commands(server: DiscordServer, ann: Person, guild: Guild, general: Channel) -> None:
    client = Client()
    tree = app_commands.CommandTree(client)
    got: list[object] = []

    @tree.command(name="file", description="Take a file")
    async def take(interaction: discord.Interaction, file: discord.Attachment, whom: discord.User) -> None:
        got.extend([await file.read(), whom.id])
        await interaction.response.send_message("taken")

    async with running(server, client):
        tree.copy_global_to(guild=discord.Object(guild.id))
        assert len(await tree.sync(guild=discord.Object(guild.id))) == 1
        with pytest.raises(ValueError, match="no command"):
            ann.uses(server.dm(ann), "file")
        used = ann.uses(general, "file", file=File("a.txt", b"abc"), whom=ann)
        await server.until(lambda: used.response)
        assert got == [b"abc", ann.id]
        server.deny(general, Permission.USE_APPLICATION_COMMANDS)
        server.deny(general, Permission.VIEW_CHANNEL)
        bob = server.person("bob")
        bob.joins(guild)
        with pytest.raises(ValueError, match="see"):
            bob.uses(general, "file")


async def test_nobody_answers_while_the_bot_is_away(server: DiscordServer, rest: Rest, ann: Person) -> None:
    dm = server.dm(ann)
    body = {"name": "help", "description": "x"}
    await rest.result("PUT", f"/applications/{server.bot.id}/commands", [body])
    used = ann.uses(dm, "help")
    ann.writes(dm, "written while it is away")
    assert server.gateway.dispatched == []
    assert used.answered is None
    async with running(server) as client:
        ann.writes(dm, "now")
        await soon(lambda: client.messages)
        assert client.texts() == ["now"]
        assert client.interactions == []
        assert [message["content"] for message in await rest.history(dm)] == ["now", "written while it is away"]


async def test_members_are_fetched_in_chunks(server: DiscordServer, ann: Person, guild: Guild) -> None:
    client = Client(discord.Intents.all())
    async with running(server, client):
        seen = client.get_guild(guild.id)
        assert seen is not None
        assert [each.id for each in await seen.query_members("an")] == [ann.id]
        assert {each.id for each in await seen.chunk()} == {ann.id, server.bot.id}
    assert server.violations == []


async def test_two_bots_in_one_guild(server: DiscordServer, session: aiohttp.ClientSession, ann: Person) -> None:
    other = server.add_bot("other", privileged=Intents.GUILD_MEMBERS)
    guild = server.guild("Both", ann, bots=(server.bot, other))
    general = server.channel(guild, "general")
    second = Rest(server, session, other.token)
    async with running(server) as client:
        await second.send(general, f"hello {server.bot.mention}")
        await soon(lambda: client.messages)
        assert (client.messages[0].author.id, client.messages[0].author.bot) == (other.id, True)
        server.remove(guild, other)
        assert await second.refusal("GET", f"/channels/{general.id}") == (403, 50001)
        server.remove(guild, server.bot)
        await soon(lambda: "guild_remove" in client.heard)


async def test_a_bot_sends_a_voice_message(server: DiscordServer, rest: Rest, ann: Person) -> None:
    dm = server.dm(ann)
    form = aiohttp.FormData()
    attachment = {"id": "0", "filename": "voice-message.ogg", "duration_secs": 1.5, "waveform": "AAAA"}
    payload = {"flags": int(MessageFlags.IS_VOICE_MESSAGE), "attachments": [attachment]}
    form.add_field("payload_json", json.dumps(payload), content_type="application/json")
    form.add_field("files[0]", b"OggS", filename="voice-message.ogg", content_type="audio/ogg")
    sent = await rest.result("POST", f"/channels/{dm.id}/messages", form)
    assert sent["attachments"][0]["duration_secs"] == 1.5
    edit = await rest.refusal("PATCH", f"/channels/{dm.id}/messages/{sent['id']}", {"content": "x"})
    assert edit == (400, 50173)
    both = {"flags": int(MessageFlags.IS_VOICE_MESSAGE), "content": "x"}
    assert await rest.refusal("POST", f"/channels/{dm.id}/messages", both) == (400, 50161)


async def test_permissions_of_the_bot_alone(
    server: DiscordServer, rest: Rest, ann: Person, guild: Guild, general: Channel
) -> None:
    messages = f"/channels/{general.id}/messages"
    server.deny(general, Permission.EMBED_LINKS, Permission.ATTACH_FILES)
    assert await rest.refusal("POST", messages, {"embeds": [{"title": "x"}]}) == (403, 50013)
    form = aiohttp.FormData()
    form.add_field("files[0]", b"x", filename="a.txt")
    assert await rest.refusal("POST", messages, form) == (403, 50013)
    server.allow(general, Permission.EMBED_LINKS, whom=server.bot)
    await rest.result("POST", messages, {"embeds": [{"title": "x"}]})
    server.deny(general, Permission.READ_MESSAGE_HISTORY)
    first = general.messages[0]
    reply = {"content": "x", "message_reference": {"message_id": str(first.id)}}
    assert await rest.refusal("POST", messages, reply) == (400, 160002)
    with pytest.raises(ValueError, match="own"):
        server.deny(ann.opens_thread(general, "x"), Permission.SEND_MESSAGES)
