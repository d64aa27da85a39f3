"""The terminal's questions beside the chat: completion, the list of sessions, the status line."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from adapters.local.completion import CommandCompleter, printable
from adapters.local.picker import described, fitted
from adapters.local.protocol import Ask, Frame, Told, read_client_frame, read_gateway_frame
from adapters.local.questions import MOST_OPEN, Questions
from adapters.local.statusline import StatusLine
from gateway.ports import Overview, SessionLine, Suggestion


def test_questions_and_answers_go_over_the_wire() -> None:
    asked = Ask(id="q1", about="words", text="/resume x")
    assert read_client_frame(asked.wire()) == asked
    told = Told(
        id="q1",
        words=(Suggestion("s1", 1, "Trip", "2 messages"),),
        sessions=(SessionLine("s1", "Trip", "2 messages", True, "…match…"),),
        state=Overview("a", "idle", "m", "s1", "Trip", 5),
    )
    assert read_gateway_frame(told.wire()) == told


async def test_each_answer_reaches_who_asked() -> None:
    sent: list[Frame] = []

    async def send(frame: Frame) -> None:
        sent.append(frame)

    questions = Questions(send)
    first, second = asyncio.create_task(questions.ask("state")), asyncio.create_task(questions.ask("words", "/"))
    while len(sent) < 2:
        await asyncio.sleep(0)
    one, two = sent
    assert isinstance(one, Ask)
    assert isinstance(two, Ask)
    questions.take(Told(id=two.id, words=(Suggestion("/new", 1, "/new"),)))
    questions.take(Told(id=one.id))
    questions.take(Told(id="unknown"))
    answered = await second
    assert answered is not None
    assert answered.words[0].text == "/new"
    assert (await first) == Told(id=one.id)


async def test_nobody_waits_for_a_gateway_that_is_gone() -> None:
    async def gone(_frame: Frame) -> None:
        raise ConnectionResetError

    assert await Questions(gone).ask("state") is None


async def test_not_more_is_asked_than_is_answered() -> None:
    sent: list[Frame] = []

    async def send(frame: Frame) -> None:
        sent.append(frame)

    questions = Questions(send)
    waiting = [asyncio.create_task(questions.ask("words", "/")) for _ in range(MOST_OPEN)]
    while len(sent) < MOST_OPEN:
        await asyncio.sleep(0)
    assert await questions.ask("words", "/") is None
    for task in waiting:
        task.cancel()


async def completions(completer: CommandCompleter, typed: str) -> list[str]:
    event = CompleteEvent(text_inserted=True)
    return [each.text async for each in completer.get_completions_async(Document(typed), event)]


async def test_completion_asks_the_gateway_and_does_without_it() -> None:
    async def suggest(typed: str) -> Sequence[Suggestion]:
        return [Suggestion("s1", 3, "Tr\x1b[31mip", "2\nmessages")] if typed == "/resume tri" else ()

    completer = CommandCompleter(suggest)
    completer.commands = [("new", "Begin anew"), ("stop", "Stop")]
    assert await completions(completer, "/resume tri") == ["s1"]
    assert await completions(completer, "/n") == ["/new"]
    assert await completions(completer, "hello") == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\x1b[31mb\u202ec", "a[31mbc"), ("a\nb", "a b"), ("日本", "日本")],
)
def test_nothing_from_outside_moves_the_cursor(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_a_line_of_the_list_fits_its_window() -> None:
    line = SessionLine("s", "日本の旅", "2 messages", here=True, match="a\nb")
    assert described(line) == "日本の旅 (you are here, 2 messages): a b"
    assert fitted("日本の旅", 5) == "日…"
    assert fitted("abc", 3) == "abc"


async def test_the_status_line_follows_what_happens() -> None:
    states = [Overview("a", "idle"), Overview("assistant", "answering, 1 waiting", "m", "s", "Trip " * 20, 12_345)]
    changed: list[Any] = []

    async def ask() -> Overview | None:
        return states.pop(0) if states else None

    line = StatusLine(ask, lambda: False, lambda: changed.append(1), lambda: 100)
    assert line.text(100) == ""
    running = asyncio.create_task(line.run())
    async with asyncio.timeout(5):
        while not changed:
            await asyncio.sleep(0)
        assert line.text(100) == "a · no session yet · 0 tokens · idle"
        line.wake()
        while len(changed) < 2:
            await asyncio.sleep(0.01)
    told = line.text(100)
    assert told.startswith("assistant (m) · Trip Trip")
    assert told.endswith("… · 12,345 tokens · answering, 1 waiting")
    assert len(line.text(20)) == 20
    running.cancel()
