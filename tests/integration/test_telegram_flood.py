"""Fifty chats at once, and a server that enforces Telegram's documented limits."""

import asyncio
import sys
import time
from dataclasses import replace
from typing import Final

import pytest

from adapters.base import AdapterHost
from adapters.telegram.adapter import TelegramAdapter
from adapters.testing.conformance import Place, PlaceKind
from adapters.testing.conformance.trial import Trial
from adapters.testing.telegram import Fault, FloodLimits, Message
from config import PlatformConfig
from tests.support.telegram import TIMING
from tests.support.telegram_harness import TelegramHarness

PRIVATE: Final = 25
GROUPS: Final = 25
PIECES: Final = 60
PAUSE: Final = 0.1
"""Seconds between two pieces of an answer."""

LATEST: Final = 6.0
"""Seconds after an answer's end at which people have it: fifty messages at thirty a second, one second that a chat
rests after its last edit, two that the server once asks for, and a busy machine."""


class LimitedTelegram(TelegramAdapter):
    """With the limits that it has in earnest."""

    def __init__(self, config: PlatformConfig, host: AdapterHost) -> None:
        super().__init__(config, host, timing=replace(TIMING, answer=10.0))


def answer(number: int) -> str:
    return "".join(f"Word {piece} of answer {number}. " for piece in range(PIECES)).strip()


@pytest.mark.slow
async def test_telegram_flood(capsys: pytest.CaptureFixture[str]) -> None:
    harness = TelegramHarness(LimitedTelegram, limits=FloodLimits(), friends=PRIVATE + 1)
    async with Trial(harness) as trial:
        places = [harness.place(PlaceKind.DM) for _ in range(PRIVATE)]
        places += [harness.place(PlaceKind.GROUP) for _ in range(GROUPS)]
        await trial.start()
        await trial.connected()
        refused = [places[1], places[-1]]
        for place in refused:
            harness.server.inject(Fault.flood(2), "sendMessage", "editMessageText", chat=place.handle.chat, skip=1)
        ended = await tell_all(trial, places)
        for number, place in enumerate(places):
            await trial.shows(place, answer(number))
        await trial.idle()
        late = sorted(final_at(harness, place) - ended[number] for number, place in enumerate(places))
        edits = len(harness.server.requests.of("editMessageText"))
        drafts = len(harness.server.requests.of("sendMessageDraft"))
        refusals = sum(request.status == 429 for request in harness.server.requests)
        await trial.check()
    with capsys.disabled():
        print(
            f"\nflood: finals {late[len(late) // 2]:.2f} s after the end of their answers (median), {late[-1]:.2f} s at"
            f" the latest; {edits} edits, {drafts} drafts; {refusals} refusals",
            file=sys.stderr,
        )
    assert harness.server.violations == []
    assert late[-1] < LATEST
    assert 0 < edits + drafts < (PRIVATE + GROUPS) * PIECES / 2


async def tell_all(trial: Trial, places: list[Place]) -> list[float]:
    """Let all answers be written at the same time; when each was complete, in seconds since 1970."""
    gates = [asyncio.Event() for _ in range(PIECES)]
    for number, place in enumerate(places):
        words = answer(number).split(". ")
        steps: list[str | asyncio.Event] = []
        for word, gate in zip(words, gates, strict=True):
            steps += [gate, word if word is words[-1] else f"{word}. "]
        trial.agent.on(f"question {number}.", *steps)
        trial.harness.write(place, f"question {number}.")
    await trial.until(lambda: len(trial.agent.heard) == len(places), "all are being answered")
    for gate in gates:
        await asyncio.sleep(PAUSE)
        gate.set()
    return [time.time()] * len(places)


def final_at(harness: TelegramHarness, place: Place) -> float:
    """When the last text of a place came to stand there."""
    ours: list[Message] = [m for m in place.handle.chat.messages if m.sender.id == harness.server.bot.id]
    return max(version.at for message in ours for version in message.versions)
