"""The local agent with its real model: a child process that serves, dies with its parent, and comes back."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from config import Home, LocalAgentConfig
from gateway.agents.local import LocalAgent
from gateway.clock import SystemClock
from gateway.ports import AgentEnvironment, AgentError, Done, Message, Notice, Text, Usage
from tests.unit.agents.support import Desk, assistant, only, text_of, user

pytestmark = [
    pytest.mark.model,
    pytest.mark.asyncio(loop_scope="module"),
]

ROOT = Path(__file__).resolve().parents[2]

PARENT = """
import asyncio, sys
from pathlib import Path
from config import Home, LocalAgentConfig
from gateway.agents import create_agent
from gateway.clock import SystemClock

async def main() -> None:
    agent = create_agent("local", LocalAgentConfig(), Home(Path(sys.argv[1])), SystemClock())
    await agent.start()
    print(agent.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def make(home: Path, context_tokens: int = 4096) -> LocalAgent:
    config = LocalAgentConfig(context_tokens=context_tokens)
    return LocalAgent(config, AgentEnvironment("local", Home(home), SystemClock()))


async def kill_in_mid_answer(agent: LocalAgent, pid: int) -> None:
    turn = Desk().turn("Tell me a very long story about a ship.")
    async for event in agent.run(turn):
        if isinstance(event, Text) and alive(pid):
            os.kill(pid, signal.SIGKILL)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def agent(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalAgent]:
    agent = make(tmp_path_factory.mktemp("home"))
    await agent.start()
    yield agent
    await agent.close()


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended but was not waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


async def ended(pid: int, within: float = 10.0) -> bool:
    until = time.monotonic() + within
    while alive(pid):
        if time.monotonic() > until:
            return False
        await asyncio.sleep(0.05)
    return True


async def test_it_streams_and_remembers(agent: LocalAgent) -> None:
    desk = Desk()
    first = await desk.events(agent, desk.turn("My cat is called Felix. Say hello to him."))
    assert len(only(first, Text)) > 3
    assert isinstance(first[-1], Done)
    (usage,) = only(first, Usage)
    assert usage.model == "SmolLM2-135M-Instruct"
    assert usage.cost_usd == 0.0
    history = [user("My cat is called Felix. Say hello to him."), assistant(text_of(first))]
    second = await desk.events(agent, desk.turn("What is my cat called?", history=history))
    (later,) = only(second, Usage)
    # The second prompt holds the whole first turn, and the server knows its beginning again.
    assert later.last_prompt_tokens is not None
    assert later.last_prompt_tokens > usage.input_tokens + usage.output_tokens
    assert later.cache_read_tokens > usage.input_tokens // 2
    assert text_of(second).strip()


async def test_two_conversations_are_answered_at_once(agent: LocalAgent) -> None:
    desk = Desk()
    both = await asyncio.gather(
        desk.events(agent, desk.turn("Name a colour.", session_id="1")),
        desk.events(agent, desk.turn("Name an animal.", session_id="2")),
    )
    assert all(text_of(events).strip() for events in both)


async def test_a_process_that_was_killed_is_started_again(agent: LocalAgent) -> None:
    pid = agent.pid
    assert pid is not None
    desk = Desk()
    with pytest.raises(AgentError) as raised:
        await kill_in_mid_answer(agent, pid)
    assert raised.value.retryable
    assert "stopped" in str(raised.value)
    events = await desk.events(agent, desk.turn("Hello?"))
    assert text_of(events).strip()
    assert agent.pid not in (None, pid)


async def test_a_small_context_stays_usable_and_closing_ends_the_process(tmp_path: Path) -> None:
    agent = make(tmp_path, context_tokens=1024)
    await agent.start()
    pid = agent.pid
    assert pid is not None
    history: list[Message] = []
    for number in range(30):
        history += [user(f"Fact {number}: {'the sky is blue and ' * 10}"), assistant("I see. " * 10)]
    desk = Desk()
    events = await desk.events(agent, desk.turn("Say hello.", history=history, system_prompt="Rule. " * 20_000))
    (usage,) = only(events, Usage)
    assert 200 < usage.input_tokens < 1024
    assert "no longer sees" in only(events, Notice)[0].text
    assert text_of(events).strip()
    await agent.close()
    assert not alive(pid)
    await agent.close()


async def test_it_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, str(tmp_path), stdout=subprocess.PIPE, cwd=ROOT
    )
    try:
        assert parent.stdout is not None
        pid = int(await parent.stdout.readline())
        assert alive(pid)
        parent.kill()
        await parent.wait()
        assert await ended(pid)
    finally:
        with contextlib.suppress(ProcessLookupError):
            parent.kill()
