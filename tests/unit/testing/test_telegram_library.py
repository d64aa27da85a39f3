"""The unmodified python-telegram-bot against the loopback server: what it sends is taken, what it gets it can read."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import telegram
from telegram import BotCommand, InlineKeyboardButton, InlineKeyboardMarkup, MessageEntity, ReplyParameters, Update
from telegram.error import BadRequest, Conflict, Forbidden, InvalidToken, NetworkError, RetryAfter, TimedOut

from adapters.testing.telegram import Fault, Media, TelegramServer


@pytest.fixture
async def bot(server: TelegramServer) -> AsyncIterator[telegram.Bot]:
    async with telegram.Bot(
        server.bot.token, base_url=f"{server.base_url}/bot", base_file_url=f"{server.base_url}/file/bot"
    ) as bot:
        yield bot


async def test_it_knows_itself(bot: telegram.Bot, server: TelegramServer) -> None:
    me = await bot.get_me()
    assert (me.id, me.is_bot, me.username, me.can_join_groups) == (server.bot.id, True, "hermes_bot", True)


async def test_a_person_writes_and_is_answered(bot: telegram.Bot, server: TelegramServer) -> None:
    ann = server.person("Ann")
    chat = server.private(ann)
    asked = ann.writes(chat, "/start now 👋 https://example.org/a")
    (update,) = await bot.get_updates()
    message = update.message
    assert message is not None
    assert message.from_user is not None
    assert (message.chat.id, message.message_id, message.from_user.first_name) == (ann.id, asked.id, "Ann")
    assert {entity.type for entity in message.entities} == {"bot_command", "url"}

    reply = await bot.send_message(chat.id, "one 👋 two", entities=[MessageEntity("bold", 7, 3)])
    assert reply.message_id == asked.id + 1
    assert reply.parse_entity(reply.entities[0]) == "two"
    edited = await bot.edit_message_text("three", chat.id, reply.message_id)
    assert isinstance(edited, telegram.Message)
    assert edited.edit_date is not None
    (shown,) = server.shown(chat, by=server.bot)
    assert shown.texts == ("one 👋 two", "three")
    assert await bot.delete_message(chat.id, reply.message_id)
    assert server.shown(chat, by=server.bot) == ()


async def test_every_kind_of_update_can_be_parsed(server: TelegramServer, bot: telegram.Bot) -> None:
    ann, bob = server.person("Ann", username="ann_of_old"), server.person("Bob")
    chat = server.private(ann)
    group = server.group("Team", ann, bots={server.bot: "administrator"})
    forum = server.forum("Talk", ann)
    channel = server.channel("News", ann, username="the_news")
    await bot.get_updates(allowed_updates=list(Update.ALL_TYPES))
    first = ann.writes(chat, "one two")
    ann.writes(chat, "again", reply_to=first, quote="two")
    ann.edits(first, "one three")
    for kind in ("photo", "document", "voice", "audio", "video", "animation", "sticker", "video_note"):
        ann.sends(chat, Media(kind, b"abc", "a.bin"))
    ann.sends_album(chat, Media("photo"), Media("photo"), caption="two of them")
    ann.sends_location(chat, 52.5, 13.4)
    ann.reacts(first, "👍")
    ann.adds(group, bob)
    bob.leaves(group)
    ann.upgrades(group)
    ann.opens_topic(forum, "Trains")
    post = ann.writes(channel, "news")
    ann.edits(post, "old news")
    ann.blocks(server.bot)
    ann.unblocks(server.bot)
    updates = await bot.get_updates(allowed_updates=list(Update.ALL_TYPES))
    kinds = [next(name for name in update.to_dict() if name != "update_id") for update in updates]
    assert len(updates) == len(server.updates.all) == 24
    assert set(kinds) == {
        "message", "edited_message", "channel_post", "edited_channel_post", "message_reaction", "my_chat_member",
    }  # fmt: skip
    replies = [update.message for update in updates if update.message and update.message.quote]
    assert [(reply.quote.text, reply.quote.position) for reply in replies if reply.quote] == [("two", 4)]
    assert [update.update_id for update in updates] == sorted(update.update_id for update in updates)


async def test_files_go_both_ways(server: TelegramServer, bot: telegram.Bot) -> None:
    ann = server.person("Ann")
    chat = server.private(ann)
    ann.sends(chat, Media("document", b"contents", "notes.txt"), "look")
    (update,) = await bot.get_updates()
    assert update.message is not None
    assert update.message.document is not None
    assert (update.message.document.mime_type, update.message.caption) == ("text/plain", "look")
    file = await bot.get_file(update.message.document.file_id)
    assert bytes(await file.download_as_bytearray()) == b"contents"

    sent = await bot.send_document(chat.id, b"answer", caption="*here*", parse_mode="MarkdownV2", filename="a.pdf")
    assert sent.document is not None
    assert (sent.document.file_name, sent.caption) == ("a.pdf", "here")
    assert sent.caption_entities[0].type == "bold"
    again = await bot.send_document(chat.id, sent.document.file_id)
    assert again.document is not None
    assert again.document.file_id == sent.document.file_id
    for send in (bot.send_photo, bot.send_voice, bot.send_audio, bot.send_video, bot.send_animation, bot.send_sticker):
        await send(chat.id, b"data")
    await bot.send_location(chat.id, latitude=1.0, longitude=2.0)
    album = await bot.send_media_group(chat.id, [telegram.InputMediaPhoto(b"one"), telegram.InputMediaPhoto(b"two")])
    assert album[0].media_group_id == album[1].media_group_id is not None
    ann.sends(chat, Media("document", size=21 * 2**20))
    big = (await bot.get_updates(offset=-1))[0].message
    assert big is not None
    assert big.document is not None
    with pytest.raises(BadRequest, match="File is too big"):
        await bot.get_file(big.document.file_id)


async def test_buttons_menus_reactions_and_what_passes(server: TelegramServer, bot: telegram.Bot) -> None:
    ann = server.person("Ann")
    chat = server.private(ann)
    keys = InlineKeyboardMarkup([[InlineKeyboardButton("Yes", callback_data="y")]])
    sent = await bot.send_message(chat.id, "Shall I?", reply_markup=keys)
    (shown,) = server.shown(chat)
    pressed = ann.presses(shown, "y")
    (update,) = await bot.get_updates()
    assert update.callback_query is not None
    assert update.callback_query.data == "y"
    await bot.answer_callback_query(update.callback_query.id, "done")
    assert server.world.callback_answers[pressed.id]["text"] == "done"
    with pytest.raises(BadRequest, match="Query is too old"):
        await bot.answer_callback_query(pressed.id)
    await bot.edit_message_reply_markup(chat.id, sent.message_id)
    assert shown.content.markup is None

    assert await bot.set_my_commands([BotCommand("new", "Begin anew")])
    assert [command.command for command in await bot.get_my_commands()] == ["new"]
    await bot.delete_my_commands()
    assert await bot.get_my_commands() == ()
    await bot.set_message_reaction(chat.id, sent.message_id, "👀")
    assert shown.reactions == {server.bot.id: ("👀",)}
    with pytest.raises(BadRequest, match="Reaction_invalid"):
        await bot.set_message_reaction(chat.id, sent.message_id, "x")
    await bot.send_chat_action(chat.id, "typing")
    assert [action.name for action in chat.actions] == ["typing"]
    await bot.send_message_draft(chat.id, 7, "so f")
    assert chat.draft is not None
    await bot.send_message(chat.id, "so far")
    assert [draft.text for draft in chat.drafts] == ["so f"]
    assert not server.private(ann).draft


async def test_chats_and_their_members(server: TelegramServer, bot: telegram.Bot) -> None:
    ann = server.person("Ann")
    group = server.supergroup("Team", ann, bots={server.bot: "administrator"})
    found = await bot.get_chat(group.id)
    assert (found.title, found.type) == ("Team", "supergroup")
    assert (await bot.get_chat_member(group.id, server.bot.id)).status == "administrator"
    assert (await bot.get_chat_member(group.id, ann.id)).status == "creator"
    assert len(await bot.get_chat_administrators(group.id)) == await bot.get_chat_member_count(group.id) == 2
    await bot.leave_chat(group.id)
    with pytest.raises(Forbidden, match="bot is not a member of the supergroup chat"):
        await bot.send_message(group.id, "still here?")


async def test_errors_come_as_the_library_knows_them(
    server: TelegramServer, bot: telegram.Bot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PTB_TIMEDELTA", "1")
    ann = server.person("Ann")
    chat, group = server.private(ann), server.group("Team", ann)
    asked = ann.writes(chat, "hello")
    sent = await bot.send_message(chat.id, "hi", reply_parameters=ReplyParameters(asked.id, quote="hell"))
    with pytest.raises(BadRequest, match="Message is not modified"):
        await bot.edit_message_reply_markup(chat.id, sent.message_id)
    with pytest.raises(BadRequest, match="Message can't be edited"):
        await bot.edit_message_reply_markup(chat.id, asked.id)
    with pytest.raises(BadRequest, match="Message to edit not found"):
        await bot.edit_message_reply_markup(chat.id, sent.message_id + 1)
    supergroup = ann.upgrades(group)
    with pytest.raises(telegram.error.ChatMigrated) as migrated:
        await bot.send_message(group.id, "hi")
    assert migrated.value.new_chat_id == supergroup.id
    ann.blocks(server.bot)
    with pytest.raises(Forbidden, match="blocked by the user"):
        await bot.send_message(chat.id, "hi")
    server.inject(Fault.flood(3), "sendMessage", chat=supergroup)
    for _ in range(2):
        with pytest.raises(RetryAfter):
            await bot.send_message(supergroup.id, "hi")
    assert len(server.violations) == 1
    server.revoke(server.bot)
    with pytest.raises(InvalidToken):
        await bot.get_me()


async def test_a_second_poll_ends_the_first(server: TelegramServer, bot: telegram.Bot) -> None:
    async with telegram.Bot(server.bot.token, base_url=f"{server.base_url}/bot") as other:
        first = asyncio.create_task(bot.get_updates(timeout=5))
        await server.until(lambda: server.requests.of("getUpdates"))
        second = asyncio.create_task(other.get_updates(timeout=5))
        with pytest.raises(Conflict, match="terminated by other getUpdates request"):
            await first
        ann = server.person("Ann")
        ann.writes(server.private(ann), "hello")
        assert len(await second) == 1


async def test_a_broken_connection_says_nothing_of_what_was_done(server: TelegramServer, bot: telegram.Bot) -> None:
    chat = server.private(server.person("Ann"))
    server.inject(Fault.drop(), "sendMessage")
    with pytest.raises(NetworkError):
        await bot.send_message(chat.id, "shown")
    server.inject(Fault.reset(), "sendMessage")
    with pytest.raises(NetworkError):
        await bot.send_message(chat.id, "not shown")
    server.inject(Fault.silence(accepted=True), "sendMessage")
    with pytest.raises(TimedOut):
        await bot.send_message(chat.id, "shown too", read_timeout=0.1)
    server.inject(Fault.error(502, "Bad Gateway", accepted=True), "sendMessage")
    with pytest.raises(NetworkError):
        await bot.send_message(chat.id, "shown as well")
    assert [message.text for message in server.shown(chat)] == ["shown", "shown too", "shown as well"]
    assert [request.accepted for request in server.requests.of("sendMessage")] == [True, False, True, True]
