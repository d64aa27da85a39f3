"""The whole way of a message: from people in Slack through the daemon to the agent, and back over the wire."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

import pytest

from adapters.testing.slack import Channel, Fault, Message, Person, SlackServer, Upload
from config import Home
from gateway.daemon import Daemon
from tests.integration.slack_support import answers, gateway
from tests.support.slack import MARK, RULES

SECONDS = 10.0


@pytest.fixture
async def server() -> AsyncIterator[SlackServer]:
    async with SlackServer(rules=RULES) as running:
        running.app.commands.add("/hermes")
        yield running
    assert running.violations == []


@pytest.fixture
def ann(server: SlackServer) -> Person:
    return server.person("Ann")


async def said(server: SlackServer, channel: Channel, *texts: str) -> None:
    """Wait until the bot has answered with these, in this order, and nothing else."""

    def settled() -> bool:
        shown = answers(server, channel)
        return len(shown) >= len(texts) and all(map(str.endswith, shown, texts))

    await server.until(settled, SECONDS)
    assert answers(server, channel) == list(texts)


async def connected(server: SlackServer) -> None:
    await server.until(lambda: server.events.sockets.live, SECONDS)


async def state_of(daemon: Daemon, wanted: str) -> str:
    """Wait until the platform is in this state; why it is."""
    async with asyncio.timeout(SECONDS):
        while True:
            parts = daemon._parts
            state = parts.adapters.states["slack"] if parts is not None else {"state": ""}
            if state["state"] == wanted:
                return str(state["reason"])
            await asyncio.sleep(0.01)


def stored(home: Home, query: str) -> list[Any]:
    with closing(sqlite3.connect(f"file:{home.database}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()


# --- every kind of place -------------------------------------------------------------------------------


async def test_direct_message(server: SlackServer, ann: Person, home: Home) -> None:
    chat = server.direct(ann)
    async with gateway(server, home):
        await connected(server)
        ann.writes(chat, "good **morning** & <!channel> https://example.org/a?b&c")
        await said(server, chat, "good *morning* & <!channel> https://example.org/a?b&c")
        (answer,) = server.shown(chat, by=server.bot)
        assert (answer.thread_ts, answer.notified) == (None, ())
        ann.writes(chat, "/help")
        await server.until(lambda: len(answers(server, chat)) == 2, SECONDS)
    assert "/new" in answers(server, chat)[1]


async def test_direct_message_in_a_thread(server: SlackServer, ann: Person, home: Home) -> None:
    chat = server.direct(ann)
    async with gateway(server, home):
        await connected(server)
        root = ann.writes(chat, "top")
        await said(server, chat, "top")
        ann.writes(chat, "within", thread=root)
        await server.until(lambda: answers(server, chat, thread=root) == ["within"], SECONDS)
    places = stored(home, "SELECT chat_type, thread FROM slots WHERE platform = 'slack' ORDER BY id")
    assert places == [("dm", ""), ("dm", root.ts)] or places == [("dm", None), ("dm", root.ts)]


async def test_a_mention_in_a_channel_opens_a_thread(server: SlackServer, ann: Person, home: Home) -> None:
    bo = server.person("Bo")
    general = server.channel("general", ann, bo)
    async with gateway(server, home):
        await connected(server)
        bo.writes(general, "nothing for the bot")
        asked = ann.writes(general, "@hermes: what is <b> here?")
        await server.until(lambda: answers(server, general, thread=asked) == ["what is <b> here?"], SECONDS)
        bo.writes(general, "and now?", thread=asked)
        await server.until(lambda: answers(server, general, thread=asked)[1:] == ["and now?"], SECONDS)
        ann.writes(general, "@Bo do you agree?", thread=asked)
        ann.writes(general, "@hermes last", thread=asked)
        await server.until(lambda: answers(server, general)[2:] == ["last"], SECONDS)
    assert all(message.thread_ts == asked.ts for message in server.shown(general, by=server.bot))
    heard = stored(home, "SELECT text FROM inbound WHERE text IS NOT NULL ORDER BY id")
    assert heard == [("what is <b> here?",), ("and now?",), ("last",)]
    assert stored(home, "SELECT DISTINCT json_extract(source, '$.chat_name') FROM inbound WHERE source NOT NULL") == [
        ("general",)
    ]


async def test_threads_are_followed_after_a_restart_or_only_by_mentions(
    server: SlackServer, ann: Person, home: Home
) -> None:
    general = server.channel("general", ann)
    async with gateway(server, home):
        await connected(server)
        asked = ann.writes(general, "@hermes one")
        await said(server, general, "one")
    async with gateway(server, home):
        await server.until(lambda: len(server.events.sockets.all) == 2, SECONDS)
        ann.writes(general, "two", thread=asked)
        await said(server, general, "one", "two")
    async with gateway(server, home, follow_threads=False):
        await server.until(lambda: len(server.events.sockets.all) == 3, SECONDS)
        ann.writes(general, "three", thread=asked)
        ann.writes(general, "@hermes four", thread=asked)
        await said(server, general, "one", "two", "four")


async def test_a_mention_within_the_thread_of_others(server: SlackServer, ann: Person, home: Home) -> None:
    private = server.channel("private", ann, private=True)
    root = ann.writes(private, "we talk")
    async with gateway(server, home):
        await connected(server)
        ann.writes(private, "still among ourselves", thread=root)
        ann.writes(private, "what do you think, @hermes", thread=root, broadcast=True)
        await server.until(lambda: answers(server, private, thread=root), SECONDS)
        (answer,) = answers(server, private)
    assert answer.endswith("what do you think, @hermes")
    ((extra,),) = stored(home, "SELECT extra FROM inbound WHERE text NOT NULL")
    assert json.loads(extra)["quote"]["text"] == "@Ann: we talk\n@Ann: still among ourselves"


@pytest.mark.parametrize("how", ["require_mention", "free_channels"])
async def test_channels_in_which_nobody_has_to_mention_us(
    server: SlackServer, ann: Person, home: Home, how: str
) -> None:
    general = server.channel("general", ann)
    setting: dict[str, Any] = {how: False if how == "require_mention" else [general.id]}
    async with gateway(server, home, **setting):
        await connected(server)
        asked = ann.writes(general, "just so")
        await server.until(lambda: answers(server, general, thread=asked) == ["just so"], SECONDS)


async def test_strangers_and_bots_get_nothing(server: SlackServer, ann: Person, home: Home) -> None:
    mallory, robot = server.person("Mallory"), server.home.robot("Robot")
    general = server.channel("general", ann, mallory, robot)
    async with gateway(server, home, allowed_users=[ann.id]):
        await connected(server)
        mallory.writes(general, "@hermes let me in")
        robot.writes(general, "@hermes let us talk for ever")
        robot.writes(general, "@hermes as in old times", legacy=True)
        ann.writes(general, "@hermes hello")
        await said(server, general, "hello")


async def test_the_pane(server: SlackServer, ann: Person, home: Home) -> None:
    async with gateway(server, home, suggested_prompts=["What now?"]):
        await connected(server)
        pane = ann.opens_assistant(server.bot)
        await server.until(lambda: pane.prompts, SECONDS)
        assert pane.prompts == [{"title": "What now?", "message": "What now?"}]
        channel = pane.root.channel
        ann.writes(channel, "think about it", thread=pane.root)
        await server.until(lambda: answers(server, channel, thread=pane.root) == ["think about it"], SECONDS)


# --- commands and buttons ------------------------------------------------------------------------------


async def test_slash_commands(server: SlackServer, ann: Person, home: Home) -> None:
    chat = server.direct(ann)
    async with gateway(server, home):
        await connected(server)
        ann.commands(chat, "/hermes", "status")
        await server.until(lambda: len(answers(server, chat)) == 1, SECONDS)
        ann.commands(chat, "/hermes")
        await server.until(lambda: len(answers(server, chat)) == 2, SECONDS)
        ann.commands(chat, "/hermes", "what is new?")
        await server.until(lambda: answers(server, chat)[2:] == ["what is new?"], SECONDS)
    assert "/new" in answers(server, chat)[1]
    assert all(interaction.error is None for interaction in server.interactions.all)


@pytest.mark.parametrize("place", ["public", "private", "between two"])
async def test_a_command_where_the_bot_is_not_is_answered_in_direct_messages(
    server: SlackServer, ann: Person, home: Home, place: str
) -> None:
    bo = server.person("Bo")
    elsewhere = server.home.channel("elsewhere", ann, bo, private=place == "private")
    if place == "between two":
        elsewhere = server.home.direct(ann, bo)
    chat = server.direct(ann)
    async with gateway(server, home):
        await connected(server)
        ann.commands(elsewhere, "/hermes", "hello there")
        await said(server, chat, "hello there")
        ann.writes(chat, "and here")
        await said(server, chat, "hello there", "and here")
    assert answers(server, elsewhere) == []
    assert stored(home, "SELECT DISTINCT chat, chat_type FROM slots WHERE platform = 'slack'") == [(chat.id, "dm")]


@pytest.mark.parametrize("words", ["help", "Help", "/help", "/hermes help"])
async def test_the_same_words_after_a_mention(server: SlackServer, ann: Person, home: Home, words: str) -> None:
    general = server.channel("general", ann)
    async with gateway(server, home):
        await connected(server)
        asked = ann.writes(general, f"@hermes {words}")
        (answer,) = await server.until(lambda: answers(server, general, thread=asked), SECONDS)
    assert "/new" in answer


# --- what a message holds ------------------------------------------------------------------------------


async def test_a_shared_message_is_quoted(server: SlackServer, ann: Person, home: Home) -> None:
    chat = server.direct(ann)
    async with gateway(server, home):
        await connected(server)
        held = ann.writes(chat, "what about this?")
        await said(server, chat, "what about this?")
        share = {"is_share": True, "text": "the &lt;plan&gt;", "author_id": ann.id, "ts": held.ts, "fallback": "x"}
        event = {
            "type": "message", "channel": chat.id, "channel_type": "im", "user": ann.id,
            "ts": chat.new_ts(server.world.clock()), "text": "and that?", "attachments": [share],
        }  # fmt: skip
        server.world.emit(server.bot, "message.im", event)
        await server.until(lambda: len(answers(server, chat)) == 2, SECONDS)
    ((extra,),) = stored(home, "SELECT extra FROM inbound WHERE text = 'and that?'")
    assert json.loads(extra)["quote"]["text"] == "the <plan>"
    assert json.loads(extra)["quote"]["author"] == "Ann"


async def test_changes_that_are_none(server: SlackServer, ann: Person, home: Home) -> None:
    chat = server.direct(ann)
    async with gateway(server, home):
        await connected(server)
        asked = ann.writes(chat, "see https://example.org")
        await said(server, chat, "see https://example.org")
        server.home.unfurl(asked, "An example")
        ann.writes(chat, "below", thread=asked)
        await server.until(lambda: len(answers(server, chat)) == 2, SECONDS)
        ann.deletes(asked)
        ann.writes(chat, "after")
        await server.until(lambda: len(answers(server, chat)) == 3, SECONDS)
    assert stored(home, "SELECT count(*) FROM inbound") == [(3,)]
    assert stored(home, "SELECT count(*) FROM updates") == [(0,)]
    assert stored(home, "SELECT count(*) FROM inbound WHERE edited IS NOT NULL") == [(0,)]


async def test_a_file_without_the_scope(server: SlackServer, ann: Person, home: Home) -> None:
    server.bot.scopes.remove("files:read")
    chat = server.direct(ann)
    async with gateway(server, home):
        await connected(server)
        ann.uploads(chat, Upload("plan.txt", b"secret plan"), text="read it")
        await server.until(lambda: answers(server, chat), SECONDS)
    (answer,) = answers(server, chat)
    assert "secret plan" not in answer


# --- the account ---------------------------------------------------------------------------------------


async def test_a_wrong_app_token_is_named(server: SlackServer, home: Home) -> None:
    async with gateway(server, home, app_token="xapp-none") as daemon:
        assert "platforms.slack.app_token" in await state_of(daemon, "failed")


async def test_swapped_tokens_are_named(server: SlackServer, home: Home) -> None:
    async with gateway(server, home, bot_token=server.app.token) as daemon:
        assert "xoxb-" in await state_of(daemon, "failed")


async def test_socket_mode_that_is_off_is_told(server: SlackServer, home: Home) -> None:
    server.app.socket_mode = False
    async with gateway(server, home) as daemon:
        assert "Socket Mode is off" in await state_of(daemon, "failed")


async def test_socket_mode_that_is_switched_off_is_told(server: SlackServer, home: Home) -> None:
    async with gateway(server, home) as daemon:
        await state_of(daemon, "connected")
        await server.events.sockets.disconnect("link_disabled")
        assert "Socket Mode is off" in await state_of(daemon, "failed")


async def test_missing_scopes_are_named(server: SlackServer, home: Home, caplog: pytest.LogCaptureFixture) -> None:
    server.bot.scopes -= {"files:write", "im:history"}
    async with gateway(server, home) as daemon:
        await state_of(daemon, "connected")
    (line,) = [record.getMessage() for record in caplog.records if "lacks scopes" in record.getMessage()]
    assert "files:write (no files can be sent)" in line
    assert "im:history" in line
    server.bot.scopes.remove("chat:write")
    async with gateway(server, home) as daemon:
        assert "chat:write" in await state_of(daemon, "failed")


# --- what goes wrong on the way out --------------------------------------------------------------------


@pytest.mark.parametrize("place", ["dm", "thread"])
async def test_a_send_without_an_answer_is_found_again(
    server: SlackServer, ann: Person, home: Home, place: str
) -> None:
    channel = server.direct(ann) if place == "dm" else server.channel("general", ann)
    async with gateway(server, home):
        await connected(server)
        server.inject(Fault.drop(), "chat.postMessage")
        server.inject(Fault.flood(1), "conversations.history", "conversations.replies")
        ann.writes(channel, "hello" if place == "dm" else "@hermes hello")
        await said(server, channel, "hello")
        ann.writes(channel, "more" if place == "dm" else "@hermes more")
        await said(server, channel, "hello", "more")


async def test_a_send_that_surely_did_not_arrive_is_made_again(server: SlackServer, ann: Person, home: Home) -> None:
    chat = server.direct(ann)
    async with gateway(server, home):
        await connected(server)
        server.inject(Fault.error(200, "fatal_error"), "chat.postMessage")
        ann.writes(chat, "hello")
        await said(server, chat, "hello")


async def test_where_the_history_cannot_be_read_a_repeat_is_marked(
    server: SlackServer, ann: Person, home: Home
) -> None:
    server.bot.scopes.remove("im:history")
    server.app.events.add("app_mention")
    chat = server.direct(ann)
    async with gateway(server, home):
        await connected(server)
        server.inject(Fault.drop(), "chat.postMessage")
        ann.commands(chat, "/hermes", "hello")
        await server.until(lambda: len(answers(server, chat)) == 2, SECONDS)
    first, second = answers(server, chat)
    assert (first, second) == ("hello", f"{MARK}\nhello")


async def test_killed_between_accepting_and_answering(server: SlackServer, ann: Person, home: Home) -> None:
    chat = server.direct(ann)
    gate = server.gate("chat.postMessage")
    async with gateway(server, home, killed=True):
        await connected(server)
        ann.writes(chat, "hello")
        await gate.reached.wait()
    gate.open()
    async with gateway(server, home):
        await server.until(lambda: len(server.events.sockets.all) == 2, SECONDS)
        ann.writes(chat, "again")
        await said(server, chat, "hello", "again")


async def test_a_channel_that_we_left_is_no_end(server: SlackServer, ann: Person, home: Home) -> None:
    general = server.channel("general", ann)
    async with gateway(server, home, delay_ms=100) as daemon:
        await state_of(daemon, "connected")
        ann.writes(general, "@hermes one two three four five six")
        await server.until(lambda: server.requests.of("chat.postMessage"), SECONDS)
        ann.removes(general, server.bot)
        chat = server.direct(ann)
        ann.writes(chat, "still there?")
        await said(server, chat, "still there?")


@pytest.mark.parametrize(("error", "tries"), [("team_access_not_granted", 1), ("ekm_access_denied", 20)])
async def test_a_place_that_is_closed_to_a_good_token_is_not_asked_without_end(
    server: SlackServer, ann: Person, home: Home, error: str, tries: int
) -> None:
    closed, open_ = server.direct(ann), server.channel("general", ann)
    server.inject(Fault.error(200, error), "chat.postMessage", channel=closed, times=None)
    async with gateway(server, home) as daemon:
        await state_of(daemon, "connected")
        ann.writes(closed, "hello")
        await asyncio.sleep(1.0)
        assert 1 <= len(server.requests.of("chat.postMessage")) <= tries
        asked = ann.writes(open_, "@hermes and here?")
        await server.until(lambda: answers(server, open_, thread=asked) == ["and here?"], SECONDS)


# --- a growing answer ----------------------------------------------------------------------------------


async def test_an_answer_grows_by_edits(server: SlackServer, ann: Person, home: Home) -> None:
    chat = server.direct(ann)
    text = " ".join(f"word{number}" for number in range(12))
    async with gateway(server, home, delay_ms=30):
        await connected(server)
        ann.writes(chat, text)
        await said(server, chat, text)
    (answer,) = server.shown(chat, by=server.bot)
    assert len(answer.texts) > 2
    assert all(text.startswith(each) for each in answer.texts)


async def told(server: SlackServer, root: Message, text: str) -> Message:
    """Wait until one message in the thread says this; the bot has said nothing else there."""
    await server.until(lambda: answers(server, root.channel, thread=root) == [text], SECONDS)
    (answer,) = server.shown(root.channel, by=server.bot, thread=root)
    return answer


async def test_in_a_thread_an_answer_is_streamed(server: SlackServer, ann: Person, home: Home) -> None:
    root = ann.opens_assistant(server.bot).root
    text = " ".join(f"**word{number}**" for number in range(12))
    async with gateway(server, home, delay_ms=30):
        await connected(server)
        ann.writes(root.channel, text, thread=root)
        answer = await told(server, root, text.replace("**", "*"))
    assert len(server.requests.of("chat.appendStream")) > 1
    assert server.requests.of("chat.postMessage") == ()
    assert not answer.streaming
    assert answer.content.metadata is not None
    assert all(text.startswith(each) for each in answer.texts[:-1])


async def test_a_stream_whose_beginning_had_no_answer(server: SlackServer, ann: Person, home: Home) -> None:
    root = ann.opens_assistant(server.bot).root
    async with gateway(server, home, delay_ms=30):
        await connected(server)
        server.inject(Fault.drop(), "chat.startStream")
        ann.writes(root.channel, "one two three four five six", thread=root)
        answer = await told(server, root, "one two three four five six")
    assert not answer.streaming


async def test_killed_in_a_stream(server: SlackServer, ann: Person, home: Home) -> None:
    root = ann.opens_assistant(server.bot).root
    gate = server.gate("chat.appendStream")
    async with gateway(server, home, delay_ms=30, killed=True):
        await connected(server)
        ann.writes(root.channel, "one two three four five six", thread=root)
        await gate.reached.wait()
    gate.open()
    (cut,) = server.shown(root.channel, by=server.bot, thread=root)
    assert cut.streaming
    async with gateway(server, home):
        assert await told(server, root, "one two three four five six") is cut
    assert not cut.streaming
