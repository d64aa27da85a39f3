"""Anything may happen in any order: the accounts close. Each accepted message ends once, is answered once, in order."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config import GatewayConfig, Platform
from gateway.ports import (
    AgentError,
    AgentEvent,
    AgentTurn,
    Capabilities,
    Done,
    NotConnectedError,
    OutcomeUnknownError,
    RetryLaterError,
    StorageBusyError,
    Text,
)
from gateway.source import SessionSource
from gateway.storage.errors import StorageError
from tests.support.fakes import Core, FakeAdapter, FakeAgent, Fault, ManualClock, configure, core

PEOPLE = tuple(SessionSource(Platform.TELEGRAM, chat_id=str(number), user_id=str(number)) for number in range(3))
SEND_FAULTS: tuple[Fault, ...] = (
    Fault(RetryLaterError("flood", 0.0)),
    Fault(RetryLaterError("not now")),
    Fault(NotConnectedError("gone")),
    Fault(OutcomeUnknownError("?")),
    Fault(OutcomeUnknownError("?"), shown=True),
    Fault(RuntimeError("a mistake"), shown=True),
)


@dataclass(frozen=True)
class Say:
    """Someone writes; `again`: the platform delivers it twice."""

    person: int
    again: bool = False


@dataclass(frozen=True)
class Break:
    """Something fails the next time."""

    what: Literal["send", "edit", "find", "write", "agent"]
    how: int = 0


@dataclass(frozen=True)
class Restart:
    """The process ends, in good order or not, and the next one begins on the same database."""

    orderly: bool


@dataclass(frozen=True)
class Rest:
    """Time for what runs to go on, a little or to its end."""

    rounds: int


Event: TypeAlias = Say | Break | Restart | Rest
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(Say, st.integers(0, 2), st.booleans()),
    st.builds(Break, st.sampled_from(["send", "edit", "find", "write", "agent"]), st.integers(0, 5)),
    st.builds(Restart, st.booleans()),
    st.builds(Rest, st.sampled_from([1, 3, 10, 50])),
)


class Unsteady(FakeAgent):
    """Answers word by word, with a pause in between, unless it is to fail."""

    failures = 0

    def run(self, turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        self.turns.append(turn)
        return self._answer(turn)

    async def _answer(self, turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        asked = " + ".join(str(message["content"]) for message in turn.inputs)
        yield Text("re: ")
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise AgentError("busy", retryable=True)
        yield Text(asked)
        yield Done()


class Story:
    """One run: what was written, and the core that lives and dies meanwhile."""

    def __init__(self, folder: Path, config: GatewayConfig, capabilities: Capabilities) -> None:
        self._folder, self._config = folder, config
        self.adapter, self.agent, self._clock = FakeAdapter(capabilities), Unsteady(), ManualClock()
        self.written: list[tuple[int, str]] = []
        self._stack = AsyncExitStack()
        self.gateway: Core

    async def begin(self) -> None:
        self._stack = AsyncExitStack()
        life = core(self._folder, self.agent, self.adapter, config=self._config, clock=self._clock)
        self.gateway = await self._stack.enter_async_context(life)

    async def end(self, *, orderly: bool) -> None:
        await (self.gateway.stop() if orderly else self.gateway.die())
        await self._stack.aclose()

    async def play(self, event: Event) -> None:
        match event:
            case Say(person, again):
                text = f"{len(self.written)}"
                for _ in range(1 + again):
                    await self._write(person, text)
            case Break("agent"):
                self.agent.failures += 1
            case Break("write", how):
                self.gateway.database.fail(*[None] * how, (StorageError, StorageBusyError)[how % 2]("not now"))
            case Break("send", how) | Break("edit", how) | Break("find", how):
                assert event.what != "write"
                assert event.what != "agent"
                self.adapter.faults[event.what].append(SEND_FAULTS[how])
            case Restart(orderly):
                await self.end(orderly=orderly)
                await self.begin()
            case Rest(rounds):
                for _ in range(rounds):
                    await asyncio.sleep(0)

    async def _write(self, person: int, text: str) -> None:
        """A platform sends a message again until it is told that we have it."""
        while True:
            try:
                await self.gateway.say(text, source=PEOPLE[person])
            except (StorageError, StorageBusyError):
                continue
            if (person, text) not in self.written:
                self.written.append((person, text))
            return

    async def finish(self) -> None:
        """The faults are over, and everything comes to its end."""
        for faults in self.adapter.faults.values():
            faults.clear()
        self.agent.failures = 0
        self.gateway.database.faults.clear()
        for _ in range(2):
            await self.gateway.settled()
            self.gateway.outbox.wake(Platform.TELEGRAM, "default")

    async def check(self) -> None:
        gateway = self.gateway
        ends = await gateway.ends()
        assert ends == {text: ends[text] for _, text in self.written}
        assert set(ends.values()) <= {"answered", "merged", "dead"}
        assert not await gateway.rows("SELECT * FROM turns WHERE state <> 'done'")
        assert not await gateway.rows("SELECT * FROM turn_steps")
        assert not await gateway.rows("SELECT * FROM outbox WHERE final = 0 OR state <> 'sent'")
        for person in range(len(PEOPLE)):
            await self._check_person(person, ends)
        assert not gateway.lanes._lanes
        assert not gateway.outbox._chats
        assert not gateway.outbox._courier._unrecorded

    async def _check_person(self, person: int, ends: dict[str, str]) -> None:
        mine = [text for author, text in self.written if author == person]
        chat = PEOPLE[person].chat_id
        shown = [delivery for delivery in self.adapter.screen.values() if delivery.target.chat_id == chat]
        once = {delivery.id for delivery in shown}
        unmarked = [delivery.id for delivery in shown if not delivery.repeated]
        assert len(unmarked) == len(set(unmarked)), "shown twice without a mark"
        answered = {message for delivery in shown for message in delivery.answers}
        assert answered == set(mine), "each has a last delivery on the screen"
        rows = await self.gateway.rows("SELECT id, text, answers FROM outbox WHERE chat = ? ORDER BY id", chat)
        assert {row["id"] for row in rows} == once
        said = [row["content"] for row in await self._transcript(person) if row["role"] == "user"]
        assert [text for text in said if ends[text] != "dead"] == [text for text in mine if ends[text] != "dead"]
        replies = [row["content"] for row in await self._transcript(person) if row["role"] == "assistant"]
        finished = [text for text in mine if ends[text] == "answered" and await self.gateway.reason(text) is None]
        assert [reply for reply in replies if reply != "re: "] == [f"re: {text}" for text in finished]

    async def _transcript(self, person: int) -> list[dict[str, str]]:
        entry = await self.gateway.store.get_or_create_session(PEOPLE[person])
        return await self.gateway.store.load_transcript(entry.session_id)


@pytest.mark.parametrize("busy", ["queue", "interrupt", "steer"])
@settings(max_examples=25, deadline=None)
@given(
    events=st.lists(EVENTS, max_size=25),
    edit=st.booleans(),
    find=st.booleans(),
    places=st.sampled_from([1, 64]),
)
def test_the_accounts_close(busy: str, events: list[Event], edit: bool, find: bool, places: int) -> None:
    async def run(folder: Path) -> None:
        config = configure(
            busy=busy, turns={"attempts": 9, "max_concurrent": places}, delivery={"attempts": 99, "retry_seconds": 0.0}
        )
        story = Story(folder, config, Capabilities(edit=edit, find=find, edit_interval=0.0))
        await story.begin()
        for event in events:
            await story.play(event)
        await story.finish()
        await story.check()
        await story.end(orderly=True)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder)))
