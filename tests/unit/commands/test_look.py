"""What a terminal shows beside the chat: completion, sessions to pick, and how the conversation stands."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from config import Home, LiveConfig
from gateway.access import Role
from gateway.commands.builtin import builtin_commands
from gateway.commands.compact import Summaries
from gateway.commands.look import TerminalLook
from gateway.commands.services import CommandServices
from gateway.erasure import Eraser
from gateway.homes import Homes
from gateway.ids import Ids
from gateway.media.outgoing import OutgoingFiles
from gateway.search import SearchIndexer
from gateway.source import SessionSource
from tests.support.fakes import ALICE, FakeAgent, ManualClock, Pause, configure
from tests.unit.commands.support import Chat, chatting

BOB = SessionSource(ALICE.platform, "bob", user_id="bob")


@asynccontextmanager
async def looking(folder: Path, **more: Any) -> AsyncIterator[tuple[Chat, TerminalLook]]:
    async with chatting(folder, **more) as chat:
        core, config = chat.gateway, LiveConfig.of(configure())
        services = CommandServices(
            core.clock, Ids(), config, core.database, core.store, core.lanes, core.roster, core.connections.find,
            OutgoingFiles(folder, config, core.clock, core.counters),
            Eraser(core.database, Home(folder), core.clock).erase,
            lambda _record: Role.OWNER, lambda _record, _command: True, lambda _record: None,
            await Homes.open(core.database, config),
        )  # fmt: skip
        summaries = Summaries(services)
        yield chat, TerminalLook(services, builtin_commands(services, (), summaries), summaries)


async def words(look: TerminalLook, text: str, source: SessionSource = ALICE) -> list[str]:
    return [each.shown for each in await look.complete(source, text)]


async def test_names_and_what_is_fixed_are_completed(tmp_path: Path) -> None:
    async with looking(tmp_path) as (_chat, look):
        assert set(await words(look, "/st")) == {"/stop", "/steer", "/star", "/start", "/status"}
        assert await words(look, "/sessions ar") == ["archived"]
        assert await words(look, "/agent o") == ["other"]
        assert await words(look, "/help und") == ["undo"]
        assert await words(look, "hello") == []
        assert await words(look, "/undo\n") == []


async def test_sessions_and_projects_are_completed_by_their_names(tmp_path: Path) -> None:
    async with looking(tmp_path) as (chat, look):
        await chat.says("a trip to Rome")
        first = await chat.session_id()
        await chat.says("/project Summer trips")
        await chat.says("/new")
        await chat.says("taxes")
        (found,) = await look.complete(ALICE, "/resume trip to")
        assert (found.text, found.replaces, found.shown) == (first, len("trip to"), "a trip to Rome")
        assert await words(look, "/export json tax") == ["taxes"]
        assert await words(look, "/sessions summer") == ["Summer trips"]
        assert await words(look, "/resume ", BOB) == [], "nobody sees what is not theirs"


async def test_the_list_finds_names_and_what_was_said(tmp_path: Path) -> None:
    clock = ManualClock()
    async with looking(tmp_path, clock=clock) as (chat, look):
        await chat.says("a trip")
        await chat.says("the basilisk is closed")
        clock.advance(1)
        await chat.says("/new")
        await chat.says("basilisk facts")
        await SearchIndexer(chat.gateway.database).catch_up()
        assert [line.title for line in await look.sessions(ALICE, "")] == ["basilisk facts", "a trip"]
        named, said = await look.sessions(ALICE, "Basilisk")
        assert (named.title, named.here, named.match) == ("basilisk facts", True, "")
        assert (said.title, said.here) == ("a trip", False)
        assert "basilisk is closed" in said.match
        assert await look.sessions(BOB, "basilisk") == []


async def test_how_a_conversation_stands(tmp_path: Path) -> None:
    pause = Pause(after="done")
    async with looking(tmp_path, agent=FakeAgent(pause)) as (chat, look):
        before = await look.overview(ALICE)
        assert (before.agent, before.model, before.session_id, before.doing) == ("fake", "test:fake-1", None, "idle")
        await chat.write("first")
        await pause.reached.wait()
        await chat.write("second")
        while (await look.overview(ALICE)).doing != "answering, 1 waiting":
            await chat.gateway.rows("SELECT 1")
        pause.go.set()
        await chat.gateway.settled()
        after = await look.overview(ALICE)
        assert (after.title, after.tokens, after.doing) == ("first", 3, "idle")
