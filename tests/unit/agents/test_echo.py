"""The agent that answers with what it was told."""

from dataclasses import replace
from pathlib import Path

import pytest

from config import EchoAgentConfig
from gateway.ports import Done, Text, Usage
from tests.unit.agents.support import Desk, assistant, only, started, text_of, user


@pytest.mark.parametrize("text", ["hello there, world", "  two\n\nlines\there ", "one", "ünï çøde 😀 x"])
async def test_it_says_word_by_word_exactly_what_it_was_told(text: str, tmp_path: Path) -> None:
    desk = Desk()
    async with started(EchoAgentConfig(), tmp_path) as agent:
        events = await desk.events(agent, desk.turn(text))
    assert text_of(events) == text
    words = len(text.split())
    assert len(only(events, Text)) == words
    assert only(events, Usage) == [Usage(words, words, 0, 0, words, "echo", 0.0, "estimated")]
    assert events[-1] == Done()


async def test_several_inputs_are_answered_together(tmp_path: Path) -> None:
    desk = Desk()
    async with started(EchoAgentConfig(), tmp_path) as agent:
        events = await desk.events(agent, desk.turn("first", "second one", history=[user("old")]))
    assert text_of(events) == "first\nsecond one"


async def test_a_list_of_parts_counts_by_its_texts(tmp_path: Path) -> None:
    desk = Desk()
    turn = desk.turn()
    parts = [{"type": "text", "text": "look"}, {"type": "image_url"}, {"type": "text", "text": "here"}]
    turn = replace(turn, inputs=[{"role": "user", "content": parts}])
    async with started(EchoAgentConfig(), tmp_path) as agent:
        assert text_of(await desk.events(agent, turn)) == "look here"


async def test_it_goes_on_after_what_it_had_said(tmp_path: Path) -> None:
    desk = Desk()
    async with started(EchoAgentConfig(), tmp_path) as agent:
        events = await desk.events(agent, desk.turn("one two three", resumed=[assistant("one two")]))
    assert text_of(events) == " three"


async def test_nothing_is_answered_with_nothing(tmp_path: Path) -> None:
    desk = Desk()
    async with started(EchoAgentConfig(), tmp_path) as agent:
        events = await desk.events(agent, desk.turn(""))
    assert [type(event) for event in events] == [Usage, Done]
