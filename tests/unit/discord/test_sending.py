"""What goes out: messages and their limits, edits, files, buttons, and what refusals mean."""

import asyncio
from dataclasses import replace
from pathlib import Path

import discord
import pytest

from adapters.base import (
    AdapterState,
    Button,
    MediaKind,
    NotConnectedError,
    OutcomeUnknownError,
    OutgoingFile,
    RetryLaterError,
    Target,
    UndeliverableError,
)
from adapters.discord.compose import REPEATED, TextFile
from adapters.markup.discord import DiscordMessage
from adapters.testing.discord import DiscordServer, Fault, Permission
from config import Platform
from tests.support.platform_host import FakeHost
from tests.unit.discord.support import adapter, delivery, running


async def test_a_message_is_sent_edited_and_taken_back(server: DiscordServer, host: FakeHost) -> None:
    dm = server.dm(server.person("ann"))
    bot = adapter(server, host)
    async with running(bot, host):
        first = delivery(dm, "**Hello**", bot)
        message_id = await bot.send(first)
        (message,) = server.shown(dm)
        assert (str(message.id), message.text) == (message_id, "**Hello**")
        changed = delivery(dm, "**Hello** you_all", bot, message_id=message_id)
        await bot.edit(changed)
        await bot.edit(changed)
        assert message.text == "**Hello** you\\_all"
        await bot.delete(changed)
        await bot.delete(changed)
        assert server.shown(dm) == ()
        with pytest.raises(UndeliverableError, match="gone"):
            await bot.edit(changed)
    assert not server.violations


async def test_the_same_part_sent_twice_is_shown_once(server: DiscordServer, host: FakeHost) -> None:
    dm = server.dm(server.person("ann"))
    bot = adapter(server, host)
    async with running(bot, host):
        one = delivery(dm, "once", bot, id=7)
        assert await bot.send(one) == await bot.send(one)
        assert await bot.send(delivery(dm, "other", bot, id=8)) != await bot.send(one)
    nonces = [request.body["nonce"] for request in server.requests if request.name == "create_message"]
    assert all(len(nonce) <= 25 for nonce in nonces)
    assert [message.text for message in server.shown(dm)] == ["once", "other"]


async def test_a_part_that_has_grown_since_it_was_sent_is_shown_whole(server: DiscordServer, host: FakeHost) -> None:
    dm = server.dm(server.person("ann"))
    bot = adapter(server, host)
    async with running(bot, host):
        sent = await bot.send(delivery(dm, "That was", bot, answers=("1",), turn_id="t"))
        assert await bot.send(delivery(dm, "That was all.", bot, turn_id="t")) == sent
    assert [message.text for message in server.shown(dm)] == ["That was all."]


async def test_a_part_that_somebody_deleted_before_it_had_grown_comes_anew(
    server: DiscordServer, host: FakeHost
) -> None:
    dm = server.dm(server.person("ann"))
    bot = adapter(server, host)
    async with running(bot, host):
        sent = await bot.send(delivery(dm, "That was", bot, turn_id="t"))
        server.world.delete(server.shown(dm)[0])
        again = await bot.send(delivery(dm, "That was all", bot, turn_id="t"))
        assert again != sent
        await bot.edit(delivery(dm, "That was all.", bot, turn_id="t", message_id=again))
    (message,) = server.shown(dm)
    assert message.text.startswith(REPEATED)
    assert message.text.endswith("That was all.")


async def test_a_part_that_was_taken_back_can_come_again(server: DiscordServer, host: FakeHost) -> None:
    dm = server.dm(server.person("ann"))
    bot = adapter(server, host)
    async with running(bot, host):
        message_id = await bot.send(delivery(dm, "again", bot))
        await bot.delete(delivery(dm, "again", bot, message_id=message_id))
        assert await bot.send(delivery(dm, "again", bot)) != message_id
    assert len(server.shown(dm)) == 1


async def test_in_a_guild_the_first_part_answers_who_asked(server: DiscordServer, host: FakeHost) -> None:
    ann = server.person("ann")
    general = server.channel(server.guild("Team", ann), "general")
    bot = adapter(server, host)
    async with running(bot, host):
        asked = ann.writes(general, f"{server.bot.mention} well?")
        await bot.send(delivery(general, "so", bot, answers=(str(asked.id),)))
        await bot.send(delivery(general, "gone", bot, id=2, answers=("123456789012345678",)))
    answered, alone = server.shown(general, by=server.bot)
    assert answered.reply_to is asked
    assert alone.reply_to is None
    assert answered.content.mentions.users == () or ann.id not in [user.id for user in answered.content.mentions.users]


async def test_between_two_people_an_answer_is_no_reply(server: DiscordServer, host: FakeHost) -> None:
    ann = server.person("ann")
    dm = server.dm(ann)
    bot = adapter(server, host)
    async with running(bot, host):
        asked = ann.writes(dm, "well?")
        await bot.send(delivery(dm, "so", bot, answers=(str(asked.id),)))
    assert [message.reply_to for message in server.shown(dm, by=server.bot)] == [None]


async def test_where_the_history_may_not_be_read_an_answer_is_no_reply(server: DiscordServer, host: FakeHost) -> None:
    """Discord refuses a reply there."""
    ann = server.person("ann")
    general = server.channel(server.guild("Team", ann), "general")
    server.deny(general, Permission.READ_MESSAGE_HISTORY)
    bot = adapter(server, host)
    async with running(bot, host):
        asked = ann.writes(general, f"{server.bot.mention} well?")
        thread = ann.opens_thread(general, "Plans")
        later = ann.writes(thread, f"{server.bot.mention} and?")
        await bot.send(delivery(general, "so", bot, answers=(str(asked.id),)))
        await bot.send(delivery(thread, "and so", bot, id=2, answers=(str(later.id),)))
    shown = [*server.shown(general, by=server.bot), *server.shown(thread, by=server.bot)]
    assert [(message.text, message.reply_to) for message in shown] == [("so", None), ("and so", None)]


async def test_a_thread_is_written_to_by_its_own_id(server: DiscordServer, host: FakeHost) -> None:
    ann = server.person("ann")
    general = server.channel(server.guild("Team", ann), "general")
    thread = ann.opens_thread(general, "Plans")
    bot = adapter(server, host)
    async with running(bot, host):
        await bot.send(delivery(thread, "here", bot))
        await bot.typing(delivery(thread, "x", bot).target)
    assert [message.text for message in server.shown(thread, by=server.bot)] == ["here"]
    assert thread.typing


async def test_a_model_calls_nobody_unless_the_operator_lets_it(server: DiscordServer, host: FakeHost) -> None:
    ann = server.person("ann")
    general = server.channel(server.guild("Team", ann), "general")
    quiet = adapter(server, host)
    async with running(quiet, host):
        await quiet.send(delivery(general, f"@everyone {ann.mention}", quiet))
    loud = adapter(server, FakeHost(), allow_mentions=True)
    async with running(loud, loud._host):  # type: ignore[arg-type]
        await loud.send(delivery(general, f"@everyone {ann.mention}", loud, id=2))
    bodies = [request.body for request in server.requests if request.name == "create_message"]
    assert bodies[0]["allowed_mentions"]["parse"] == []
    assert bodies[1]["allowed_mentions"]["parse"] == ["users"]
    assert ann.mention not in bodies[0]["content"]
    assert ann.mention in bodies[1]["content"]
    assert "@everyone" not in bodies[1]["content"]


async def test_a_repeat_says_that_it_may_be_one(server: DiscordServer, host: FakeHost) -> None:
    dm = server.dm(server.person("ann"))
    bot = adapter(server, host)
    async with running(bot, host):
        await bot.send(delivery(dm, "x" * 3_000, bot, repeated=True))
    (message,) = server.shown(dm)
    assert message.text.startswith(f"{REPEATED}\nxxx")
    assert len(message.text) <= 2_000


def test_a_text_that_is_too_long_becomes_a_file(server: DiscordServer, host: FakeHost) -> None:
    composer = adapter(server, host, max_messages=2).composer()
    text = "word " * 2_000
    growing = composer.update(text, final=False, shown=0)
    assert len(growing.parts) == 2
    whole = composer.update(text, final=True, shown=2)
    assert [type(part) for part in whole.parts] == [DiscordMessage, DiscordMessage, TextFile]
    assert whole.parts[:2] == growing.parts


# --- files and buttons ---------------------------------------------------------------------------------


async def test_files_go_out_with_their_caption(server: DiscordServer, host: FakeHost, tmp_path: Path) -> None:
    dm = server.dm(server.person("ann"))
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG")
    bot = adapter(server, host)
    async with running(bot, host):
        file = OutgoingFile(MediaKind.IMAGE, str(path), "picture.png", "image/png", "See **this**")
        await bot.send(delivery(dm, "", bot, content=file))
        await bot.send(delivery(dm, "", bot, id=2, content=TextFile("the whole text")))
        missing = OutgoingFile(MediaKind.DOCUMENT, str(tmp_path / "no"), "gone.txt", "text/plain")
        with pytest.raises(UndeliverableError, match=r"gone\.txt cannot be read"):
            await bot.send(delivery(dm, "", bot, id=3, content=missing))
    picture, text = server.shown(dm)
    assert picture.text == "See **this**"
    assert picture.content.attachments[0].file.data == b"\x89PNG"
    assert picture.content.attachments[0].file.name == "picture.png"
    assert text.content.attachments[0].file.data == b"the whole text"


@pytest.mark.parametrize("repeated", [True, False])
async def test_a_long_caption_is_cut_and_says_so(
    server: DiscordServer, host: FakeHost, tmp_path: Path, repeated: bool
) -> None:
    dm = server.dm(server.person("ann"))
    path = tmp_path / "a.txt"
    path.write_bytes(b"words")
    bot = adapter(server, host)
    async with running(bot, host):
        for number, text in enumerate(("x" * 5_000, "**a** " * 900)):
            file = OutgoingFile(MediaKind.DOCUMENT, str(path), "a.txt", "text/plain", text)
            await bot.send(delivery(dm, "", bot, id=number, content=file, repeated=repeated))
    shown = server.shown(dm)
    assert len(shown) == 2
    assert all(message.text.endswith("…") and len(message.text) <= 2_000 for message in shown)
    assert all(message.text.startswith(REPEATED) is repeated for message in shown)


async def test_buttons_and_menus_carry_their_commands(server: DiscordServer, host: FakeHost) -> None:
    ann = server.person("ann")
    general = server.channel(server.guild("Team", ann), "general")
    bot = adapter(server, host)
    rows = ((Button("Yes", "/answer yes"), Button("No", "/answer no")), (Button("Long", "/x" * 80),))
    many = tuple((Button(f"Page {number}", f"/page {number}"),) for number in range(30))
    async with running(bot, host):
        await bot.send(delivery(general, "Well?", bot, buttons=rows))
        await bot.send(delivery(general, "Pages", bot, id=2, buttons=many))
        asked, pages = server.shown(general)
        pressed = ann.presses(asked, "1:/answer no")
        chosen = ann.chooses(pages, "menu", "7:/page 7")
        last = ann.chooses(pages, "menu1", "29:/page 29")
        await host.until(lambda: len(host.accepted) == 3)
        await server.until(lambda: pressed.answered and chosen.answered and last.answered)
        await bot.edit(delivery(general, "Well!", bot, message_id=str(asked.id)))
    assert sorted(host.texts) == ["/answer no", "/page 29", "/page 7"]
    menus = [row["components"][0] for row in pages.content.components]
    assert [menu["placeholder"] for menu in menus] == ["1 to 25 of 30", "26 to 30 of 30"]
    assert [len(menu["options"]) for menu in menus] == [25, 5]
    first = next(message for message in host.accepted if message.text == "/answer no")
    assert first.source.user_id == str(ann.id)
    assert (first.source.chat_type, first.source.chat_id) == ("group", str(general.id))
    assert first.message_id.startswith("interaction:")
    assert not asked.content.components


# --- refusals ------------------------------------------------------------------------------------------


async def test_refusals_are_told_in_words(server: DiscordServer, host: FakeHost) -> None:
    ann = server.person("ann")
    guild = server.guild("Team", ann)
    general, hidden = server.channel(guild, "general"), server.channel(guild, "hidden")
    dm = server.dm(ann)
    bot = adapter(server, host)
    async with running(bot, host):
        server.deny(general, Permission.SEND_MESSAGES)
        server.deny(hidden, Permission.VIEW_CHANNEL)
        ann.blocks(server.bot)
        await asyncio.sleep(0.05)
        for channel, words in ((general, "lacks Send Messages"), (hidden, "View Channel"), (dm, "takes no messages")):
            with pytest.raises(UndeliverableError, match=words):
                await bot.send(delivery(channel, "x", bot))
        with pytest.raises(UndeliverableError, match="no such channel"):
            await bot.send(replace(delivery(dm, "x", bot), target=Target(Platform.DISCORD, "1")))
        with pytest.raises(UndeliverableError, match="no channel of Discord"):
            await bot.send(replace(delivery(dm, "x", bot), target=Target(Platform.DISCORD, "general")))


async def test_a_rate_limit_that_lasts_is_left_to_the_core(server: DiscordServer, host: FakeHost) -> None:
    dm = server.dm(server.person("ann"))
    bot = adapter(server, host)
    async with running(bot, host):
        server.inject(Fault.flood(90), "create_message")
        with pytest.raises(RetryLaterError) as limited:
            await bot.send(delivery(dm, "x", bot))
        assert limited.value.retry_after is not None
        assert limited.value.retry_after > 80
    assert server.shown(dm) == ()


async def test_what_the_network_before_discord_turns_away_comes_later(server: DiscordServer, host: FakeHost) -> None:
    dm = server.dm(server.person("ann"))
    bot = adapter(server, host)
    async with running(bot, host):
        server.inject(Fault.error(403, "Forbidden"), "create_message")
        with pytest.raises(RetryLaterError, match="the way to Discord is blocked"):
            await bot.send(delivery(dm, "x", bot))
        server.inject(Fault.error(403, "Forbidden"), "get_messages")
        with pytest.raises(RetryLaterError):
            await bot.find(replace(delivery(dm, "x", bot), before=("1",)))
        await bot.send(delivery(dm, "x", bot))
    assert [message.text for message in server.shown(dm)] == ["x"]


async def test_a_call_without_an_answer_is_unknown_and_its_repeat_is_not_shown_again(
    server: DiscordServer, host: FakeHost
) -> None:
    dm = server.dm(server.person("ann"))
    bot = adapter(server, host)
    async with running(bot, host):
        server.inject(Fault.drop(), "create_message")
        with pytest.raises(OutcomeUnknownError):
            await bot.send(delivery(dm, "x", bot))
        server.inject(Fault.silence(accepted=True), "create_message")
        with pytest.raises(OutcomeUnknownError):
            await bot.send(delivery(dm, "y", bot, id=2))
        await bot.send(delivery(dm, "x", bot))
        await bot.send(delivery(dm, "y", bot, id=2))
    assert [message.text for message in server.shown(dm)] == ["x", "y"]


async def test_before_it_is_connected_nothing_is_sent(server: DiscordServer, host: FakeHost) -> None:
    dm = server.dm(server.person("ann"))
    bot = adapter(server, host)
    with pytest.raises(NotConnectedError):
        await bot.send(delivery(dm, "x", bot))
    async with running(bot, host):
        await server.stop()
        with pytest.raises(NotConnectedError):
            await bot.send(delivery(dm, "x", bot))


async def test_once_a_call_can_leave_again_the_deliveries_go_on(
    server: DiscordServer, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    dm = server.dm(server.person("ann"))
    bot = adapter(server, host)
    async with running(bot, host):
        with monkeypatch.context() as patch:
            # The gateway stays; only where calls go is nobody.
            patch.setattr(discord.http.Route, "BASE", "http://127.0.0.1:9/api")
            with pytest.raises(NotConnectedError):
                await bot.send(delivery(dm, "x", bot))
            told = len(host.states)
            await asyncio.sleep(0.1)
            assert len(host.states) == told
        await host.until(lambda: len(host.states) > told)
        assert host.state is AdapterState.CONNECTED
        await bot.send(delivery(dm, "x", bot))
