"""What people write reaches the core: where, from whom, and whether it is meant for us."""

import asyncio
from typing import Any

import pytest

from adapters.base import InboundMessage, MediaError, MediaKind, Quote
from adapters.testing.discord import DiscordServer, Fault, File, Permission
from tests.support.platform_host import FakeHost
from tests.unit.discord.support import adapter, delivery, running


def place(message: InboundMessage) -> tuple[str, str | None, str | None, str | None]:
    source = message.source
    return (source.chat_type, source.chat_id, source.thread_id, source.user_id)


async def test_a_direct_message(server: DiscordServer, host: FakeHost) -> None:
    ann = server.person("ann", display_name="Ann")
    dm = server.dm(ann)
    async with running(adapter(server, host), host):
        written = ann.writes(dm, "hello")
        await host.until(lambda: host.positions.get(f"dm:{dm.id}") == str(written.id))
    (message,) = host.accepted
    assert message.text == "hello"
    assert message.message_id == str(written.id)
    assert message.addressed
    assert place(message) == ("dm", str(dm.id), None, str(ann.id))
    assert message.source.user_name == "Ann"


async def test_each_place_has_its_own_source(server: DiscordServer, host: FakeHost) -> None:
    ann = server.person("ann")
    guild = server.guild("Team", ann)
    general = server.channel(guild, "general", topic="Everything")
    forum = server.forum(guild, "questions")
    async with running(adapter(server, host), host):
        ann.writes(general, f"{server.bot.mention} one")
        thread = ann.opens_thread(general, "Plans")
        ann.writes(thread, f"{server.bot.mention} two")
        post = ann.posts(forum, "A question", f"{server.bot.mention} three")
        await host.until(lambda: len(host.accepted) == 3)
    assert host.texts == ["one", "two", "three"]
    assert [place(message) for message in host.accepted] == [
        ("group", str(general.id), None, str(ann.id)),
        ("thread", str(general.id), str(thread.id), str(ann.id)),
        ("thread", str(forum.id), str(post.id), str(ann.id)),
    ]
    assert [message.source.chat_name for message in host.accepted] == [
        "Team / #general",
        "Team / #general / Plans",
        "Team / #questions / A question",
    ]
    assert host.accepted[0].source.chat_topic == "Everything"
    assert all(message.addressed for message in host.accepted)


@pytest.mark.parametrize(
    ("settings", "text", "addressed"),
    [
        ({}, "hello", False),
        ({}, "@everyone hello", False),
        ({}, "{me} hello", True),
        ({}, "hello {me}, how are you", True),
        ({}, "/new now", True),
        ({}, "/unknown", False),
        ({"require_mention": False}, "hello", True),
        ({"free_channels": "here"}, "hello", True),
    ],
)
async def test_what_is_for_us_in_a_channel(
    server: DiscordServer, host: FakeHost, settings: dict[str, Any], text: str, addressed: bool
) -> None:
    ann = server.person("ann")
    general = server.channel(server.guild("Team", ann), "general")
    if "free_channels" in settings:
        settings = {"free_channels": [str(general.id)]}
    async with running(adapter(server, host, **settings), host):
        ann.writes(general, text.format(me=server.bot.mention))
        await host.until(lambda: host.accepted)
    assert host.accepted[0].addressed is addressed
    assert f"channel:{general.id}" in host.positions


async def test_an_answer_to_us_is_for_us_and_quotes_what_it_answers(server: DiscordServer, host: FakeHost) -> None:
    ann, bob = server.person("ann", display_name="Ann"), server.person("bob", display_name="Bob")
    general = server.channel(server.guild("Team", ann, bob), "general")
    running_adapter = adapter(server, host)
    async with running(running_adapter, host):
        message_id = await running_adapter.send(delivery(general, "An **answer**", running_adapter))
        ours = next(message for message in general.messages if str(message.id) == message_id)
        ann.writes(general, "And?", reply_to=ours, ping=False)
        theirs = bob.writes(general, "I think so")
        ann.writes(general, "Really?", reply_to=theirs)
        await host.until(lambda: len(host.accepted) == 3)
    first, _, last = host.accepted
    assert first.addressed
    assert first.quote is not None
    assert (first.quote.text, first.quote.ours, first.quote.message_id) == ("An **answer**", True, message_id)
    assert not last.addressed
    assert last.quote is not None
    assert (last.quote.text, last.quote.author, last.quote.ours) == ("I think so", "Bob", False)


async def test_what_is_answered_and_not_told_is_asked_for(server: DiscordServer, host: FakeHost) -> None:
    ann, bob = server.person("ann", display_name="Ann"), server.person("bob", display_name="Bob")
    general = server.channel(server.guild("Team", ann, bob), "general")
    before_us = FakeHost()
    earlier = adapter(server, before_us)
    async with running(earlier, before_us):
        message_id = await earlier.send(delivery(general, "An **answer**", earlier))
    ours = next(message for message in general.messages if str(message.id) == message_id)
    theirs, gone = bob.writes(general, "I think so"), bob.writes(general, "no")
    bob.deletes(gone)
    server.world.view.tells_answered = False
    async with running(adapter(server, host), host):
        before = len(host.accepted)
        for answered in (ours, theirs, gone):
            ann.writes(general, "And?", reply_to=answered, ping=False)
        await host.until(lambda: len(host.accepted) == before + 3)
        server.inject(Fault.silence(accepted=True), "get_message")
        ann.writes(general, "And?", reply_to=ours, ping=False)
        await host.until(lambda: len(host.accepted) == before + 4)
    to_us, to_bob, to_nothing, unknown = host.accepted[before:]
    assert to_us.quote == Quote("An **answer**", "hermes", ours=True, message_id=message_id)
    assert (to_us.addressed, to_bob.addressed) == (True, False)
    assert to_bob.quote == Quote("I think so", "Bob", message_id=str(theirs.id))
    assert to_nothing.quote is not None
    assert to_nothing.quote.text == "[a message that was deleted]"
    assert unknown.quote is not None
    assert "not known" in unknown.quote.text


async def test_bots_and_webhooks_are_told_from_people_and_we_ourselves_are_not_heard(
    server: DiscordServer, host: FakeHost
) -> None:
    ann = server.person("ann")
    guild = server.guild("Team", ann)
    general = server.channel(guild, "general")
    other = server.other_bot("other")
    other.joins(guild)
    running_adapter = adapter(server, host, require_mention=False)
    async with running(running_adapter, host):
        await running_adapter.send(delivery(general, "ours", running_adapter))
        other.writes(general, "beep")
        server.webhook(general, "hook").writes("posted")
        ann.opens_thread(general, "A thread")
        ann.writes(general, "a person")
        await host.until(lambda: len(host.accepted) == 3)
        await asyncio.sleep(0.05)
    assert [(message.text, message.from_bot) for message in host.accepted] == [
        ("beep", True),
        ("posted", True),
        ("a person", False),
    ]
    assert host.accepted[0].source.user_id == str(other.id)


async def test_names_stand_beside_ids(server: DiscordServer, host: FakeHost) -> None:
    ann, bob = server.person("ann"), server.person("bob", display_name="Bob")
    general = server.channel(server.guild("Team", ann, bob), "general")
    async with running(adapter(server, host), host):
        ann.writes(general, f"{server.bot.mention}, ask {bob.mention} in <#{general.id}> <:smile:123456789012345678>")
        ann.writes(general, server.bot.mention)
        await host.until(lambda: len(host.accepted) == 2)
    assert host.texts[0] == f"ask @Bob ({bob.mention}) in #general (<#{general.id}>) :smile:"
    assert server.bot.mention in host.texts[1]


async def test_an_edit_is_told_and_a_preview_is_not(server: DiscordServer, host: FakeHost) -> None:
    ann = server.person("ann")
    dm = server.dm(ann)
    async with running(adapter(server, host), host):
        written = ann.writes(dm, "helo")
        ann.edits(written, "hello")
        await host.until(lambda: host.amended)
        ann.edits(written, "hello")
        ann.writes(dm, "next")
        await host.until(lambda: "next" in host.texts)
    assert [(message.message_id, message.text) for message in host.amended] == [(str(written.id), "hello")]
    assert host.amended[0].cursor is None


async def test_a_deletion_is_told_after_its_message(server: DiscordServer, host: FakeHost) -> None:
    ann = server.person("ann")
    dm, general = server.dm(ann), server.channel(server.guild("Team", ann), "general")
    running_adapter = adapter(server, host)
    async with running(running_adapter, host):
        first = ann.writes(dm, "hello")
        ann.deletes(first)
        thread = ann.opens_thread(general, "Plans")
        second = ann.writes(thread, f"{server.bot.mention} hello")
        ann.deletes(second)
        await host.until(lambda: len(host.withdrawn) == 2)
        sent = await running_adapter.send(delivery(dm, "an answer", running_adapter))
        await running_adapter.delete(delivery(dm, "an answer", running_adapter, message_id=sent))
        ann.writes(dm, "next")
        await host.until(lambda: "next" in host.texts)
    assert sorted(host.withdrawn) == sorted([(str(dm.id), str(first.id)), (str(general.id), str(second.id))])
    assert host.texts == ["hello", "hello", "next"]


async def test_what_a_moderator_clears_away_is_told(server: DiscordServer, host: FakeHost) -> None:
    ann = server.person("ann")
    guild = server.guild("Team", ann)
    general = server.channel(guild, "general")
    async with running(adapter(server, host), host):
        written = [ann.writes(general, f"{server.bot.mention} {number}") for number in range(2)]
        body = {"ids": [str(each.id) for each in written], "channel_id": str(general.id), "guild_id": str(guild.id)}
        server.world.tell_channel(general, "MESSAGE_DELETE_BULK", lambda _bot, _intents: body)
        await host.until(lambda: len(host.withdrawn) == 2)
    assert host.withdrawn == [(str(general.id), str(each.id)) for each in written]


# --- files ---------------------------------------------------------------------------------------------


async def test_files_come_with_their_kind_and_can_be_fetched_later(server: DiscordServer, host: FakeHost) -> None:
    ann = server.person("ann")
    dm = server.dm(ann)
    running_adapter = adapter(server, host)
    async with running(running_adapter, host):
        ann.sends(dm, File("a.png", b"\x89PNG", "image/png"), File("b.pdf", b"%PDF" * 50_000, "application/pdf"))
        ann.speaks(dm, b"OggS voice")
        await host.until(lambda: len(host.accepted) == 2)
        picture, document = host.accepted[0].attachments
        (voice,) = host.accepted[1].attachments
        assert [each.kind for each in (picture, document, voice)] == [
            MediaKind.IMAGE,
            MediaKind.DOCUMENT,
            MediaKind.VOICE,
        ]
        assert (picture.name, picture.media_type, document.size) == ("a.png", "image/png", 200_000)
        got = bytearray()

        async def write(piece: bytes) -> None:
            got.extend(piece)

        await running_adapter.fetch(document, write)
        assert bytes(got) == b"%PDF" * 50_000
        server.inject(Fault.error(), "download")
        with pytest.raises(MediaError) as failed:
            await running_adapter.fetch(voice, write)
        assert failed.value.retryable
        ann.deletes(dm.messages[0])
        with pytest.raises(MediaError, match="gone"):
            await running_adapter.fetch(picture, write)


# --- threads -------------------------------------------------------------------------------------------


async def test_a_mention_opens_a_thread_where_that_is_wanted(server: DiscordServer, host: FakeHost) -> None:
    ann = server.person("ann")
    general = server.channel(server.guild("Team", ann), "general")
    async with running(adapter(server, host, threads="auto"), host):
        written = ann.writes(general, f"{server.bot.mention} What is *this*?\nTell me")
        await host.until(lambda: host.accepted)
        thread = written.thread
        assert thread is not None
        assert thread.name == "What is this?"
        ann.writes(thread, "and that?")
        ann.writes(general, "nothing for you")
        await host.until(lambda: len(host.accepted) == 3)
    assert [place(message)[:3] for message in host.accepted] == [
        ("thread", str(general.id), str(thread.id)),
        ("thread", str(general.id), str(thread.id)),
        ("group", str(general.id), None),
    ]
    assert [message.addressed for message in host.accepted] == [True, True, False]


async def test_who_is_not_let_in_opens_no_thread(server: DiscordServer, host: FakeHost) -> None:
    mallory = server.person("mallory")
    general = server.channel(server.guild("Team", mallory), "general")
    host.allowed = lambda message: message.source.user_id != str(mallory.id)
    async with running(adapter(server, host, threads="auto"), host):
        written = mallory.writes(general, f"{server.bot.mention} open one for me")
        await host.until(lambda: host.accepted)
    assert written.thread is None
    assert place(host.accepted[0])[:3] == ("group", str(general.id), None)


async def test_without_permission_for_threads_the_channel_is_the_place(
    server: DiscordServer, host: FakeHost, caplog: pytest.LogCaptureFixture
) -> None:
    ann = server.person("ann")
    general = server.channel(server.guild("Team", ann), "general")
    server.deny(general, Permission.CREATE_PUBLIC_THREADS)
    async with running(adapter(server, host, threads="auto"), host):
        ann.writes(general, f"{server.bot.mention} hello")
        await host.until(lambda: host.accepted)
    assert place(host.accepted[0])[:3] == ("group", str(general.id), None)
    assert "Create Public Threads" in caplog.text


# --- storing -------------------------------------------------------------------------------------------


async def test_what_cannot_be_stored_is_kept_until_it_can(server: DiscordServer, host: FakeHost) -> None:
    ann = server.person("ann")
    dm = server.dm(ann)
    host.broken["accept"] = 3
    async with running(adapter(server, host), host):
        ann.writes(dm, "one")
        ann.writes(dm, "two")
        await host.until(lambda: len(host.accepted) == 2)
        assert host.state is not None
        await host.until(lambda: host.state == "connected")
    assert host.texts == ["one", "two"]
    assert any("cannot be stored" in reason for reason in host.reasons)
