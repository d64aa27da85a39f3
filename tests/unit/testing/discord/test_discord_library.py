"""The unmodified discord.py against the loopback server: what it sends is taken, what it gets it can read."""

import io
from typing import Any

import discord
import pytest
from discord import app_commands

from adapters.testing.discord import PRIVILEGED, ChannelType, DiscordServer, File, Intents, MessageFlags, Permission
from tests.unit.testing.discord.support import Client, running, soon


async def test_it_knows_itself(server: DiscordServer) -> None:
    ann = server.person("ann")
    guild = server.guild("Team", ann)
    general = server.channel(guild, "general", topic="talk")
    async with running(server) as client:
        assert client.user is not None
        assert (client.user.id, client.user.name, client.user.bot) == (server.bot.id, "hermes", True)
        assert client.application_flags.gateway_message_content_limited
        seen = client.get_guild(guild.id)
        assert seen is not None
        assert (seen.name, seen.owner_id) == ("Team", ann.id)
        channel = seen.get_channel(general.id)
        assert isinstance(channel, discord.TextChannel)
        assert (channel.name, channel.topic) == ("general", "talk")
        assert channel.permissions_for(seen.me).send_messages
        assert not channel.permissions_for(seen.me).manage_messages
    assert server.violations == []


async def test_a_person_writes_and_is_answered(server: DiscordServer) -> None:
    ann = server.person("ann", display_name="Ann")
    guild = server.guild("Team", ann)
    general = server.channel(guild, "general")
    async with running(server) as client:
        asked = ann.writes(general, f"{server.bot.mention} hello 👋")
        await soon(lambda: client.messages)
        (message,) = client.messages
        assert client.user is not None
        assert (message.id, message.author.display_name, message.guild and message.guild.id) == (
            asked.id,
            "Ann",
            guild.id,
        )
        assert client.user.mentioned_in(message)
        reply = await message.reply("one", nonce=7, mention_author=False)
        assert reply.reference is not None
        assert reply.reference.message_id == asked.id
        await reply.edit(content="two")
        (shown,) = server.shown(general, by=server.bot)
        assert shown.texts == ("one", "two")
        assert shown.reply_to is asked
        assert shown.versions[0].content.mentions.users == ()
        async with message.channel.typing():
            pass
        assert [each.user.id for each in general.typing] == [server.bot.id]
        await message.add_reaction("👀")
        assert [user.id for user in asked.reactions["👀"]] == [server.bot.id]
        await message.remove_reaction("👀", client.user)
        assert asked.reactions == {}
        await reply.delete()
        assert server.shown(general, by=server.bot) == ()
        with pytest.raises(discord.NotFound) as gone:
            await reply.edit(content="three")
        assert gone.value.code == 10008


async def test_a_conversation(server: DiscordServer) -> None:
    ann = server.person("ann")
    dm = server.dm(ann)
    async with running(server) as client:
        ann.writes(dm, "psst")
        await soon(lambda: client.messages)
        channel = client.messages[0].channel
        assert isinstance(channel, discord.DMChannel)
        assert channel.id == dm.id
        user = await client.fetch_user(ann.id)
        assert (await user.create_dm()).id == dm.id
        await user.send("yes?")
        assert [message.text for message in server.shown(dm)] == ["psst", "yes?"]
        ann.blocks(server.bot)
        with pytest.raises(discord.Forbidden) as closed:
            await user.send("more")
        assert closed.value.code == 50007


async def test_every_event_can_be_read(server: DiscordServer) -> None:
    ann, bob = server.person("ann"), server.person("bob")
    guild = server.guild("Team", ann)
    general = server.channel(guild, "general")
    forum = server.forum(guild, "help", "question")
    async with running(server) as client:
        bob.joins(guild)
        first = ann.writes(general, "one")
        bob.writes(general, "two", reply_to=first)
        ann.edits(first, "one and a half")
        ann.reacts(first, "👍")
        ann.takes_back(first, "👍")
        ann.types(general)
        thread = ann.opens_thread(first, "Trains")
        ann.writes(thread, "in the thread")
        post = bob.posts(forum, "How?", "like that", File("a.txt", b"abc"))
        hidden = ann.opens_thread(general, "Secret", private=True)
        ann.writes(hidden, "unheard")
        ann.adds(hidden, server.bot)
        ann.writes(hidden, "heard")
        ann.speaks(general)
        ann.archives(thread)
        server.webhook(general, "Deploy").writes("done")
        server.other_bot("helper")
        ann.deletes(first)
        bob.leaves(guild)
        server.channel(guild, "more")
        await soon(lambda: "guild_channel_create" in client.heard)
        await soon(lambda: "done" in client.texts())
        texts = client.texts()
        expected = ["one and a half", "two", "in the thread", "like that", "heard", "done"]
        assert [text for text in texts if text] == expected
        assert "unheard" not in texts
        kinds = {
            "member_join", "message", "raw_message_edit", "raw_reaction_add", "raw_reaction_remove", "raw_typing",
            "thread_create", "thread_join", "thread_update", "raw_message_delete", "raw_member_remove",
        }  # fmt: skip
        assert kinds <= set(client.heard), kinds - set(client.heard)
        posted = next(message for message in client.messages if message.content == "like that")
        assert isinstance(posted.channel, discord.Thread)
        assert isinstance(posted.channel.parent, discord.ForumChannel)
        assert posted.id == posted.channel.id == post.id
        assert await posted.attachments[0].read() == b"abc"
        voice = next(message for message in client.messages if message.flags.voice)
        assert voice.attachments[0].duration == 2.5
        deployed = next(message for message in client.messages if message.content == "done")
        assert deployed.webhook_id is not None
        assert deployed.author.bot
        answered = next(message for message in client.messages if message.content == "two")
        assert answered.reference is not None
        assert isinstance(answered.reference.resolved, discord.Message)
        assert answered.reference.resolved.id == first.id
    assert "error" not in client.heard


async def test_files_go_both_ways(server: DiscordServer) -> None:
    ann = server.person("ann")
    dm = server.dm(ann)
    async with running(server) as client:
        ann.sends(dm, File("notes.txt", b"contents"), text="look")
        await soon(lambda: client.messages)
        (message,) = client.messages
        (attachment,) = message.attachments
        assert (attachment.filename, attachment.content_type, attachment.size) == ("notes.txt", "text/plain", 8)
        assert await attachment.read() == b"contents"
        sent = await message.channel.send(
            "here", files=[discord.File(io.BytesIO(b"abc"), "a.bin"), discord.File(io.BytesIO(b"d"), "b.png")]
        )
        assert [each.filename for each in sent.attachments] == ["a.bin", "b.png"]
        kept = await sent.edit(attachments=[sent.attachments[1], discord.File(io.BytesIO(b"e"), "c.txt")])
        assert [each.filename for each in kept.attachments] == ["b.png", "c.txt"]
        (shown,) = server.shown(dm, by=server.bot)
        assert [each.file.data for each in shown.content.attachments] == [b"d", b"e"]
        with pytest.raises(discord.HTTPException) as too_large:
            await message.channel.send(file=discord.File(io.BytesIO(bytes(10 * 2**20 + 1)), "big"))
        assert (too_large.value.status, too_large.value.code) == (413, 40005)


async def test_history_is_read_page_by_page(server: DiscordServer) -> None:
    ann = server.person("ann")
    guild = server.guild("Team", ann)
    general = server.channel(guild, "general")
    sent = [ann.writes(general, f"{number}") for number in range(230)]
    async with running(server) as client:
        channel = client.get_channel(general.id)
        assert isinstance(channel, discord.TextChannel)
        everything = [message.id async for message in channel.history(limit=None)]
        assert everything == [message.id for message in reversed(sent)]
        after = [message.id async for message in channel.history(limit=None, after=discord.Object(sent[9].id))]
        assert after == [message.id for message in sent[10:]]
        before = [message.content async for message in channel.history(limit=3, before=discord.Object(sent[9].id))]
        assert before == ["8", "7", "6"]


async def test_threads(server: DiscordServer) -> None:
    ann = server.person("ann")
    guild = server.guild("Team", ann)
    general = server.channel(guild, "general")
    forum = server.forum(guild, "help", "question")
    async with running(server) as client:
        asked = ann.writes(general, "question")
        await soon(lambda: client.messages)
        thread = await client.messages[0].create_thread(name="Answer", auto_archive_duration=1440)
        assert thread.id == asked.id
        await thread.send("in it")
        inner = guild.threads[thread.id]
        assert [message.text for message in server.shown(inner, by=server.bot)] == ["", "in it"]
        assert inner.thread is not None
        assert inner.thread.auto_archive_minutes == 1440
        with pytest.raises(discord.HTTPException) as twice:
            await client.messages[0].create_thread(name="Again")
        assert twice.value.code == 160004
        seen = client.get_guild(guild.id)
        assert seen is not None
        assert [each.id for each in await seen.active_threads()] == [thread.id]
        shown = seen.get_channel(forum.id)
        assert isinstance(shown, discord.ForumChannel)
        post = await shown.create_thread(name="How", content="so", applied_tags=list(shown.available_tags))
        assert post.message.id == post.thread.id
        assert post.thread.applied_tags[0].name == "question"
        await post.thread.edit(archived=True)
        assert guild.threads[post.thread.id].thread is not None
        await soon(lambda: "thread_update" in client.heard)
        ann.writes(guild.threads[post.thread.id], "open again")
        state = guild.threads[post.thread.id].thread
        assert state is not None
        assert not state.archived
        channel = seen.get_channel(general.id)
        assert isinstance(channel, discord.TextChannel)
        loose = await channel.create_thread(name="Loose", type=discord.ChannelType.public_thread)
        assert guild.threads[loose.id].type is ChannelType.PUBLIC_THREAD


async def test_commands_are_synced_and_used(server: DiscordServer) -> None:
    ann = server.person("ann")
    guild = server.guild("Team", ann)
    general = server.channel(guild, "general")
    client = Client()
    tree = app_commands.CommandTree(client)

    @tree.command(name="echo", description="Say it again")
    async def echo(interaction: discord.Interaction, text: str, times: int = 1) -> None:
        await interaction.response.defer(thinking=True)
        await interaction.followup.send(text * times)
        await interaction.followup.send("and done", ephemeral=True)

    group = app_commands.Group(name="session", description="Sessions")

    @group.command(name="new", description="A new one")
    async def new(interaction: discord.Interaction) -> None:
        await interaction.response.send_message("started", ephemeral=True)
        await interaction.edit_original_response(content="started!")

    tree.add_command(group)
    async with running(server, client):
        assert {command.name for command in await tree.sync()} == {"echo", "session"}
        assert {command.name for command in await tree.fetch_commands()} == {"echo", "session"}
        used = ann.uses(general, "echo", text="ab", times=2)
        await server.until(lambda: used.followups)
        assert used.response is not None
        assert used.response.text == "abab"
        assert [message.text for message in server.shown(general)] == ["abab"]
        assert [message.text for message in server.shown(general, to=ann)] == ["abab", "and done"]
        begun = ann.uses(general, "session new")
        await server.until(lambda: begun.response and begun.response.text == "started!")
        with pytest.raises(ValueError, match="takes"):
            ann.uses(general, "echo")


async def test_buttons_menus_and_forms(server: DiscordServer) -> None:
    ann = server.person("ann")
    guild = server.guild("Team", ann)
    general = server.channel(guild, "general")
    pressed: list[str] = []

    class Form(discord.ui.Modal, title="Form"):
        field: discord.ui.TextInput[Any] = discord.ui.TextInput(label="Name", custom_id="name")

        async def on_submit(self, interaction: discord.Interaction) -> None:
            pressed.append(self.field.value)
            await interaction.response.send_message("thanks", ephemeral=True)

    class Page(discord.ui.View):
        @discord.ui.button(label="Next", custom_id="next")
        async def next(self, interaction: discord.Interaction, button: discord.ui.Button[Any]) -> None:
            await interaction.response.edit_message(content="page 2")

        @discord.ui.button(label="Ask", custom_id="ask")
        async def ask(self, interaction: discord.Interaction, button: discord.ui.Button[Any]) -> None:
            await interaction.response.send_modal(Form())

        @discord.ui.select(
            custom_id="model", options=[discord.SelectOption(label="A"), discord.SelectOption(label="B")]
        )
        async def choose(self, interaction: discord.Interaction, select: discord.ui.Select[Any]) -> None:
            pressed.extend(select.values)
            await interaction.response.defer()

    async with running(server) as client:
        channel = client.get_channel(general.id)
        assert isinstance(channel, discord.TextChannel)
        await channel.send("page 1", view=Page())
        (message,) = server.shown(general)
        first = ann.presses(message, "next")
        await server.until(lambda: first.answered)
        assert message.texts == ("page 1", "page 2")
        chosen = ann.chooses(message, "model", "B")
        await server.until(lambda: chosen.answered)
        asked = ann.presses(message, "ask")
        await server.until(lambda: asked.shown)
        sent = ann.submits(asked, name="Ann")
        await server.until(lambda: sent.response)
        assert pressed == ["B", "Ann"]
        with pytest.raises(ValueError, match="no BUTTON"):
            ann.presses(message, "previous")


async def test_permissions(server: DiscordServer) -> None:
    ann = server.person("ann")
    guild = server.guild("Team", ann)
    general, secret = server.channel(guild, "general"), server.channel(guild, "secret")
    server.deny(secret, Permission.VIEW_CHANNEL)
    async with running(server) as client:
        channel = client.get_channel(general.id)
        assert isinstance(channel, discord.TextChannel)
        server.deny(general, Permission.SEND_MESSAGES, whom=server.bot)
        await soon(lambda: not channel.permissions_for(channel.guild.me).send_messages)
        with pytest.raises(discord.Forbidden) as denied:
            await channel.send("x")
        assert denied.value.code == 50013
        hidden = client.get_channel(secret.id)
        assert isinstance(hidden, discord.TextChannel)
        with pytest.raises(discord.Forbidden) as unseen:
            await hidden.send("x")
        assert unseen.value.code == 50001
        ann.writes(secret, "not for you")
        ann.writes(general, "for you")
        await soon(lambda: client.messages)
        assert client.texts() == ["for you"]
        server.grant(guild, Permission.ADMINISTRATOR)
        await hidden.send("y")
        server.deny(general, Permission.READ_MESSAGE_HISTORY)


async def test_a_wrong_token(server: DiscordServer) -> None:
    server.revoke(server.bot)
    with pytest.raises(discord.LoginFailure):
        async with running(server):
            pass


async def test_intents_that_are_switched_off(server: DiscordServer) -> None:
    server.bot.privileged = PRIVILEGED & ~Intents.MESSAGE_CONTENT
    with pytest.raises(discord.PrivilegedIntentsRequired):
        async with running(server):
            pass
    intents = discord.Intents.all()
    intents.message_content = False
    ann = server.person("ann")
    guild = server.guild("Team", ann)
    general = server.channel(guild, "general")
    async with running(server, Client(intents)) as client:
        ann.writes(general, "withheld")
        ann.writes(general, f"{server.bot.mention} open")
        ann.writes(server.dm(ann), "open too")
        await soon(lambda: len(client.messages) == 3)
        assert client.texts() == ["", f"{server.bot.mention} open", "open too"]


async def test_a_message_of_the_second_kind(server: DiscordServer) -> None:
    dm = server.dm(server.person("ann"))
    async with running(server) as client:
        channel = await client.fetch_channel(dm.id)
        assert isinstance(channel, discord.DMChannel)
        view = discord.ui.LayoutView()
        view.add_item(discord.ui.TextDisplay("shown as text"))
        await channel.send(view=view)
        (message,) = server.shown(dm)
        assert MessageFlags.IS_COMPONENTS_V2 in message.flags
        assert message.content.components[0]["content"] == "shown as text"
