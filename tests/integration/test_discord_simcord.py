"""A second opinion on the Discord adapter: simcord, a model of Discord that others wrote, on who is told what with
which intent, who may do what with which permission, and what becomes of commands, buttons and menus."""

import asyncio
from pathlib import Path

import discord
import pytest
import simcord

from adapters.base import (
    Button,
    Delivery,
    Found,
    InboundMessage,
    MediaKind,
    OutgoingFile,
    SearchOutcome,
    Target,
    UndeliverableError,
)
from adapters.discord.client import INTENTS
from adapters.discord.marks import WAITING
from config import Platform
from tests.support.discord_in_process import World, client, in_process


def delivery(world: World, channel_id: int, text: str, *, thread_id: int | None = None, **fields: object) -> Delivery:
    composed = world.adapter.composer().update(text, final=True, shown=0)
    target = Target(Platform.DISCORD, str(channel_id), None if thread_id is None else str(thread_id))
    given = {"id": 1, "content": composed.parts[0] if composed.parts else None, **fields}
    return Delivery(target=target, kind="reply", text=text, **given)  # type: ignore[arg-type]


def place(message: InboundMessage) -> tuple[str | None, ...]:
    source = message.source
    return (source.chat_type, source.chat_id, source.thread_id, source.user_id)


async def accepted(world: World, count: int) -> list[InboundMessage]:
    await world.host.until(lambda: len(world.host.accepted) >= count)
    return world.host.accepted


# --- intents -------------------------------------------------------------------------------------------


async def test_no_privileged_intent_is_asked_for_but_the_content_of_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    only = discord.Intents.none()
    only.message_content = True
    async with in_process(monkeypatch, approved=only):
        pass
    env = simcord.Env(client({}), approved_intents=discord.Intents.none())
    with pytest.raises(discord.PrivilegedIntentsRequired):
        await env.start()


async def test_nothing_is_held_back_that_the_adapter_lives_by(monkeypatch: pytest.MonkeyPatch) -> None:
    async with in_process(monkeypatch) as world:
        general = world.guild.create_text_channel("general")
        ann = world.guild.add_member(world.env.create_user("ann"))
        thread = world.thread(general, "Plans", ann.id)
        for where in (general, thread):
            written = await ann.send(where, "not a word of the bot in it")
            await ann.edit(written, "nor now")
            await ann.react(written, "👍")
            await ann.typing(where)
        await ann.send_dm("hello")
        messages = await accepted(world, 3)
        assert [message.text for message in messages[:2]] == ["not a word of the bot in it"] * 2
        dropped = {event for event, _why in world.told("DROPPED")}
        assert dropped <= {"GUILD_MEMBER_ADD", "TYPING_START", "MESSAGE_REACTION_ADD"}
        assert not world.told("CENSORED")
        await world.host.until(lambda: len(world.host.amended) == 2)


async def test_without_the_content_of_messages_nothing_of_it_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    without = discord.Intents(**dict(INTENTS))
    without.message_content = False
    monkeypatch.setattr("adapters.discord.client.INTENTS", without)
    async with in_process(monkeypatch) as world:
        general = world.guild.create_text_channel("general")
        ann = world.guild.add_member(world.env.create_user("ann"))
        await ann.send(general, "what the intent is for")
        await ann.send(general, f"{world.me} to the bot")
        messages = await accepted(world, 2)
    assert [message.text for message in messages] == ["", "to the bot"], "the intent is not asked for in vain"


# --- what people write -----------------------------------------------------------------------------------


async def test_each_place_has_its_own_source(monkeypatch: pytest.MonkeyPatch) -> None:
    async with in_process(monkeypatch) as world:
        general = world.guild.create_text_channel("general", topic="Everything")
        forum = world.guild.create_forum_channel("questions")
        user = world.env.create_user("ann")
        ann = world.guild.add_member(user)
        thread = world.thread(general, "Plans", ann.id)
        post = world.thread(forum, "A question", ann.id)
        for where in (general, thread, post):
            await ann.send(where, f"{world.me} hello")
        await ann.send_dm("alone")
        messages = await accepted(world, 4)
        assert [place(message) for message in messages] == [
            ("group", str(general.id), None, str(ann.id)),
            ("thread", str(general.id), str(thread.id), str(ann.id)),
            ("thread", str(forum.id), str(post.id), str(ann.id)),
            ("dm", str(user.dm_channel.id), None, str(ann.id)),
        ]
        assert [message.text for message in messages] == ["hello"] * 3 + ["alone"]
        assert all(message.addressed for message in messages)
        assert {message.team for message in messages} == {str(world.guild.id), None}
        assert messages[0].source.chat_topic == "Everything"


async def test_what_is_for_the_bot(monkeypatch: pytest.MonkeyPatch) -> None:
    async with in_process(monkeypatch) as world:
        general = world.guild.create_text_channel("general")
        ann = world.guild.add_member(world.env.create_user("ann", global_name="Ann"))
        await ann.send(general, "hello everybody")
        question = await ann.send(general, "a question to all")
        answer_id = await world.adapter.send(delivery(world, general.id, "an answer"))
        answer = next(message for message in general.history() if str(message.id) == answer_id)
        await ann.send(general, "and?", reply_to=answer)
        await ann.send(general, "really?", reply_to=question)
        messages = await accepted(world, 4)
        assert [(message.text, message.addressed) for message in messages] == [
            ("hello everybody", False),
            ("a question to all", False),
            ("and?", True),
            ("really?", False),
        ]
        ours, theirs = messages[2].quote, messages[3].quote
        assert ours is not None
        assert (ours.text, ours.ours) == ("an answer", True)
        assert theirs is not None
        assert (theirs.text, theirs.author, theirs.ours) == ("a question to all", "Ann", False)


async def test_bots_and_webhooks_are_told_from_people_and_we_ourselves_are_not_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with in_process(monkeypatch) as world:
        general = world.guild.create_text_channel("general")
        other = world.guild.add_member(world.env.create_user("other", bot=True))
        await world.adapter.send(delivery(world, general.id, "ours"))
        await other.send(general, f"{world.me} beep")
        await world.guild.create_webhook(general).send(f"{world.me} posted")
        messages = await accepted(world, 2)
        assert [(message.text, message.from_bot) for message in messages] == [("beep", True), ("posted", True)]
        assert messages[0].source.user_id == str(other.id)


async def test_a_thread_is_opened_for_a_mention(monkeypatch: pytest.MonkeyPatch) -> None:
    async with in_process(monkeypatch, threads="auto") as world:
        general = world.guild.create_text_channel("general")
        ann = world.guild.add_member(world.env.create_user("ann"))
        asked = await ann.send(general, f"{world.me} what now?")
        (message,) = await accepted(world, 1)
        assert place(message)[:3] == ("thread", str(general.id), str(asked.id))
        (thread,) = general.threads
        assert thread.name == "what now?"
        await world.adapter.send(delivery(world, general.id, "this", thread_id=thread.id, answers=(str(asked.id),)))
        assert thread.history()[-1].content == "this"


# --- what goes out ---------------------------------------------------------------------------------------


async def test_messages_are_sent_edited_found_and_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async with in_process(monkeypatch) as world:
        general = world.guild.create_text_channel("general")
        ann = world.guild.add_member(world.env.create_user("ann"))
        asked = await ann.send(general, f"{world.me} well?")
        first = delivery(world, general.id, "**so** @everyone", answers=(str(asked.id),))
        message_id = await world.adapter.send(first)
        message = general.history()[-1]
        assert message.reference is not None
        assert message.reference.message_id == asked.id
        assert not message.mention_everyone
        assert await world.adapter.find(first) == Found(message_id)
        other = delivery(world, general.id, "not there", id=2, answers=(str(asked.id),))
        assert await world.adapter.find(other) is SearchOutcome.ABSENT
        await world.adapter.edit(delivery(world, general.id, "**so** be it", message_id=message_id))
        assert general.history()[-1].content == "**so** be it"
        await world.adapter.typing(first.target)
        await world.adapter.delete(delivery(world, general.id, "", message_id=message_id))
        assert [each.id for each in general.history()] == [asked.id]


async def test_files_go_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("remember the milk")
    async with in_process(monkeypatch) as world:
        general = world.guild.create_text_channel("general")
        file = OutgoingFile(MediaKind.DOCUMENT, str(path), "notes.txt", "text/plain", "See **this**")
        await world.adapter.send(delivery(world, general.id, "", content=file))
        (message,) = general.history()
        assert message.content == "See **this**"
        assert [each.filename for each in message.attachments] == ["notes.txt"]


async def test_a_message_is_marked_until_its_answer_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    async with in_process(monkeypatch, reactions=True) as world:
        general = world.guild.create_text_channel("general")
        ann = world.guild.add_member(world.env.create_user("ann"))
        asked = await ann.send(general, f"{world.me} well?")

        async def marks(wanted: list[str]) -> None:
            async with asyncio.timeout(5):
                while [str(each.emoji) for each in general.history()[0].reactions] != wanted:
                    await asyncio.sleep(0)

        await marks([WAITING])
        await world.adapter.send(delivery(world, general.id, "so", answers=(str(asked.id),)))
        await marks([])


# --- permissions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("denied", "words"), [("send_messages", "lacks Send Messages"), ("view_channel", "give its role View Channel")]
)
async def test_what_the_bot_may_not_is_named(monkeypatch: pytest.MonkeyPatch, denied: str, words: str) -> None:
    async with in_process(monkeypatch) as world:
        closed = {world.guild.default_role: discord.PermissionOverwrite(**{denied: False})}
        channel = world.guild.create_text_channel("closed", overwrites=closed)  # type: ignore[arg-type]
        with pytest.raises(UndeliverableError, match=words):
            await world.adapter.send(delivery(world, channel.id, "x"))
        assert channel.history() == []


async def test_in_threads_another_permission_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    async with in_process(monkeypatch) as world:
        closed = {world.guild.default_role: discord.PermissionOverwrite(send_messages_in_threads=False)}
        general = world.guild.create_text_channel("general", overwrites=closed)  # type: ignore[arg-type]
        ann = world.guild.add_member(world.env.create_user("ann"))
        thread = world.thread(general, "Plans", ann.id)
        await world.adapter.send(delivery(world, general.id, "in the channel"))
        with pytest.raises(UndeliverableError, match="lacks Send Messages in Threads"):
            await world.adapter.send(delivery(world, general.id, "in the thread", thread_id=thread.id))


async def test_without_permission_for_threads_the_channel_is_the_place(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with in_process(monkeypatch, threads="auto") as world:
        closed = {world.guild.default_role: discord.PermissionOverwrite(create_public_threads=False)}
        general = world.guild.create_text_channel("general", overwrites=closed)  # type: ignore[arg-type]
        ann = world.guild.add_member(world.env.create_user("ann"))
        await ann.send(general, f"{world.me} what now?")
        (message,) = await accepted(world, 1)
        assert place(message)[:3] == ("group", str(general.id), None)
    assert "Create Public Threads" in caplog.text


# --- commands, buttons, menus ------------------------------------------------------------------------------


async def test_commands_are_offered_and_carried_out_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    async with in_process(monkeypatch) as world:
        general = world.guild.create_text_channel("general")
        user = world.env.create_user("ann")
        ann = world.guild.add_member(user)
        thread = world.thread(general, "Plans", ann.id)
        assert set(ann.available_commands(general)) == {"new", "help"}
        assert set(user.available_commands()) == {"new", "help"}
        used = await ann.slash(general, "new", arguments="quietly")
        assert used.acknowledged
        assert used.ephemeral
        await ann.slash(thread, "help")
        await user.slash("help")
        messages = await accepted(world, 3)
        assert [(message.source.chat_type, message.text) for message in messages] == [
            ("group", "/new quietly"),
            ("thread", "/help"),
            ("dm", "/help"),
        ]
        assert all(message.addressed for message in messages)


async def test_buttons_and_menus_are_the_commands_that_they_show(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = ((Button("Yes", "/answer yes"), Button("No", "/answer no")),)
    many = tuple((Button(f"Session {number}", f"/resume {number}"),) for number in range(60))
    async with in_process(monkeypatch) as world:
        general = world.guild.create_text_channel("general")
        ann = world.guild.add_member(world.env.create_user("ann"))
        await world.adapter.send(delivery(world, general.id, "Well?", buttons=rows))
        await world.adapter.send(delivery(world, general.id, "Which?", id=2, buttons=many))
        asked, pages = general.history()
        pressed = await ann.click(asked, label="No")
        chosen = await ann.select(pages, ["57:/resume 57"], custom_id="menu2")
        assert pressed.acknowledged
        assert chosen.acknowledged
        messages = await accepted(world, 2)
        assert [message.text for message in messages] == ["/answer no", "/resume 57"]
        assert {place(message) for message in messages} == {("group", str(general.id), None, str(ann.id))}
