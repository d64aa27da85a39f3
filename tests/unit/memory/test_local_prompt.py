"""The small local model has a prompt of its own; it is given what is remembered too, as much as it can take."""

from dataclasses import replace
from pathlib import Path

from config import Home, LocalAgentConfig
from gateway.agents.local import RECALLED_CHARS, SYSTEM_PROMPT, LocalAgent
from gateway.clock import SystemClock
from gateway.ports import AgentEnvironment
from tests.unit.agents.support import Desk


def test_what_is_remembered_is_a_part_of_its_prompt(tmp_path: Path) -> None:
    agent = LocalAgent(LocalAgentConfig(), AgentEnvironment("local", Home(tmp_path), SystemClock()))
    turn = Desk().turn("hello", system_prompt="of the gateway")
    assert agent._simplified(turn).system_prompt == SYSTEM_PROMPT
    assert agent._simplified(replace(turn, recalled="> known")).system_prompt == f"{SYSTEM_PROMPT}\n\n> known"
    long = agent._simplified(replace(turn, recalled="x" * 9999)).system_prompt
    assert len(long) == len(SYSTEM_PROMPT) + 2 + RECALLED_CHARS
