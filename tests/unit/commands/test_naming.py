"""Names that the agent gives sessions: only where that is set up, and never in place of a person's."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from config import GatewayConfig
from gateway.aside import Aside
from gateway.ids import Ids
from gateway.naming import REQUEST, Namer, _Unnamed, name_from
from gateway.ports import AgentError, AgentEvent, AgentTurn, Done, Text, Usage
from gateway.session.store import SessionStore
from gateway.storage.database import Database
from tests.support.fakes import ALICE, FakeAgent, FakeRoster, ManualClock, Pause, Script, configure, fails

SAID = ({"role": "user", "content": "Where is the harbour?"}, {"role": "assistant", "content": "By the sea."})


def names(text: str) -> Script:
    async def script(turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        assert turn.inputs[0]["content"] == REQUEST
        yield Text(text)
        yield Usage(input_tokens=7, output_tokens=3)
        yield Done()

    return script


class Room:
    def __init__(self, database: Database, agent: FakeAgent, config: GatewayConfig) -> None:
        clock = ManualClock()
        self.database = database
        self.store = SessionStore(database, config, clock=clock)
        self.counters: Counter[str] = Counter()
        self.roster = FakeRoster(agent)
        self.namer = Namer(database, Aside(self.roster, clock, Ids()), config, clock, self.counters)

    async def session(self) -> str:
        entry = await self.store.get_or_create_session(ALICE)
        await self.store.append_turn(entry.session_id, SAID)
        return entry.session_id

    async def title(self, session_id: str) -> str | None:
        return (await self.store.get_session(session_id)).title


@asynccontextmanager
async def room(folder: Path, *scripts: Script, titles: str = "agent") -> AsyncIterator[Room]:
    config = configure(sessions={"titles": titles})
    async with Database.open(folder / "gateway.db", synchronous="normal", reserve_bytes=0) as database:
        yield Room(database, FakeAgent(*scripts), config)


async def test_the_agent_names_a_session_and_that_is_counted(tmp_path: Path) -> None:
    async with room(tmp_path, names("**Way to the harbour.**")) as it:
        session_id = await it.session()
        assert await it.title(session_id) == "Where is the harbour?"
        assert await it.namer.name(session_id, ALICE, "fake", SAID) == "Way to the harbour"
        assert await it.title(session_id) == "Way to the harbour"
        entry = await it.store.get_session(session_id)
        assert (entry.input_tokens, entry.output_tokens, entry.message_count) == (7, 3, 2)


async def test_a_session_is_named_once_and_a_persons_name_stays(tmp_path: Path) -> None:
    async with room(tmp_path, names("First"), names("Second")) as it:
        session_id = await it.session()
        await it.namer.name(session_id, ALICE, "fake", SAID)
        assert await it.namer.name(session_id, ALICE, "fake", SAID) is None
        assert await it.title(session_id) == "First"


async def test_a_name_that_a_person_gives_meanwhile_stays(tmp_path: Path) -> None:
    async with room(tmp_path) as it:
        session_id = await it.session()

        async def script(_turn: AgentTurn) -> AsyncIterator[AgentEvent]:
            sql = "UPDATE sessions SET title = 'Mine', title_by = 'person'"
            await it.database.write(lambda connection: connection.execute(sql).rowcount)
            yield Text("The agent's")
            yield Done()

        it.namer._aside._agents.agent.scripts.append(script)  # type: ignore[attr-defined]
        await it.namer.name(session_id, ALICE, "fake", SAID)
        assert await it.title(session_id) == "Mine"


async def test_nobody_is_asked_for_the_name_of_a_session_that_was_put_away(tmp_path: Path) -> None:
    async with room(tmp_path, names("Named")) as it:
        session_id = await it.session()
        sql = "UPDATE sessions SET archived = 1"
        await it.database.write(lambda connection: connection.execute(sql).rowcount)
        assert await it.namer.name(session_id, ALICE, "fake", SAID) is None
        assert await it.title(session_id) == "Where is the harbour?"


@pytest.mark.parametrize("script", [fails(AgentError("away")), fails(ValueError("bug")), names(REQUEST), names("")])
async def test_without_a_name_the_first_words_stay(tmp_path: Path, script: Script) -> None:
    async with room(tmp_path, script) as it:
        session_id = await it.session()
        assert await it.namer.name(session_id, ALICE, "fake", SAID) is None
        assert await it.title(session_id) == "Where is the harbour?"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Tides", "Tides"),
        ('"Tides and ships."\nThat fits because …', "Tides and ships"),
        ("\n\n# Tides  and\tships", "Tides and ships"),
        ("…\n---\nShips", "Ships"),
        ("x" * 200, "x" * 64),
        ("„Gezeiten“", "Gezeiten"),
        ("-- ..", None),
        ("a\x00b\ud800", "a�b�"),
    ],
)
def test_a_name_is_one_bare_line(text: str, name: str | None) -> None:
    assert name_from(text) == name


async def test_an_agent_that_gives_itself_up_ends_no_naming(tmp_path: Path) -> None:
    async with room(tmp_path, fails(asyncio.CancelledError()), names("Named")) as it:
        session_id = await it.session()
        running = asyncio.create_task(it.namer.run())
        for _ in range(2):
            it.namer._offer(_Unnamed(session_id, ALICE, "fake", SAID))
        async with asyncio.timeout(5):
            while await it.title(session_id) != "Named":
                assert not running.done()
                await asyncio.sleep(0.001)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_an_agent_that_does_not_end_keeps_no_naming_from_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.naming.AGENT_CANCEL_GRACE_SECONDS", 0.01)
    deaf = Pause(deaf=True)
    async with room(tmp_path, deaf) as it:
        running = asyncio.create_task(it.namer.run())
        await asyncio.sleep(0)
        it.namer._offer(_Unnamed(await it.session(), ALICE, "fake", SAID))
        await asyncio.wait_for(deaf.reached.wait(), 5)
        running.cancel()
        done, _ = await asyncio.wait({running}, timeout=2)
        deaf.go.set()
        assert done
        await deaf.ended.wait()


@pytest.mark.parametrize("titles", ["agent", "first_message"])
async def test_the_end_of_a_turn_asks_for_a_name_where_that_is_set_up(tmp_path: Path, titles: str) -> None:
    from datetime import UTC, datetime
    from types import SimpleNamespace
    from typing import Any

    from gateway.ports import InboundState

    async with room(tmp_path, names("Named"), titles=titles) as it:
        session_id = await it.session()
        running = asyncio.create_task(it.namer.run())
        await asyncio.sleep(0)
        ended: Any = SimpleNamespace(
            session_id=session_id,
            state=InboundState.ANSWERED,
            reason=None,
            messages=SAID,
            inbound=[SimpleNamespace(source=ALICE)],
            agent="of the rule",
        )
        await it.database.write(lambda connection: it.namer.note(connection, ended, datetime.now(UTC)))
        if titles == "agent":
            async with asyncio.timeout(5):
                while await it.title(session_id) != "Named":
                    await asyncio.sleep(0)
            assert it.roster.used == ["of the rule"], "nobody else is told what was said"
        else:
            await it.database.write(lambda connection: connection.execute("SELECT 1").fetchone())
            assert it.namer._waiting.empty()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
