"""A daemon on a platform that is killed again and again, people who write on meanwhile, and a count at the server."""

import asyncio
import itertools
import math
import random
import re
import signal
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self

from adapters.testing.faults import Gate
from config import Home
from tests.support.crash_agent import PARAGRAPHS
from tests.support.daemon_child import ChildOptions
from tests.support.daemon_launcher import DaemonLauncher, DaemonProcess

PLANS: Final = ("say", "tools", "long", "flaky", "chain", "draft", "say", "long", "flaky-tools")
"""What people write, over and over."""

MARK: Final = "(sent again after an interruption"
"""In the first line of a message that may be a repeat."""

AT_ONCE: Final = 2
"""Messages without an answer that a person leaves in a chat at any time."""

PATIENCE: Final = 30.0
"""Seconds that anything awaited may take; the machine may be busy. At the end, so long after the last answer."""

LABEL: Final = re.compile(r"\bm\d+\b")


class Message(Protocol):
    """A message as its server has it; times in seconds since 1970."""

    @property
    def text(self) -> str:
        """What it says now."""

    @property
    def texts(self) -> Sequence[str]:
        """Everything that it has said."""

    @property
    def sent_at(self) -> float:
        """When it came to be there."""

    @property
    def deleted_at(self) -> float | None:
        """When it was taken away."""


@dataclass(slots=True)
class Talk:
    """One place where one person writes: how, what the bot ever sent there, and what was written, in order."""

    name: str
    write: Callable[[str], object]
    ours: Callable[[], Sequence[Message]]
    labels: list[str] = field(default_factory=list)
    plans: dict[str, str] = field(default_factory=dict)


class PlatformRig(ABC):
    """One home over many lives of its daemon. Use as an async context manager; `finish` gives the verdict.

    `sending` is what the server calls sending a message.
    """

    sending: str

    def __init__(self, launcher: DaemonLauncher, home: Home, chance: random.Random, talks: Sequence[Talk]) -> None:
        self._launcher = launcher
        self._home = home
        self._chance = chance
        self._daemon: DaemonProcess | None = None
        self._numbers = itertools.count(1)
        self._plans = itertools.cycle(PLANS)
        self._talks = list(talks)
        self._writing: asyncio.Task[None] | None = None
        self._killed_at: list[float] = []
        self._late = 0.0
        self.kills: Counter[str] = Counter()

    @abstractmethod
    def options(self) -> ChildOptions:
        """How to run the daemon."""

    @abstractmethod
    def gate(self, call: str, skip: int) -> Gate[Any]:
        """A gate between accepting and answering such a call."""

    @abstractmethod
    def clear(self) -> None:
        """Let nothing go wrong any more."""

    @abstractmethod
    def complaints(self) -> Sequence[str]:
        """What the server has to say at the end."""

    def about(self, message: Any) -> str:
        """A message, for a complaint."""
        return str(message.id)

    def searches(self, talk: Talk) -> str:
        """How messages were looked for in a place, for a complaint."""
        return f"in {talk.name}"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.be_quiet()
        if self._daemon is not None:
            self._daemon.signal(signal.SIGKILL)
            await self._daemon.ended()

    # --- people --------------------------------------------------------------------------------------------

    def write_on(self) -> None:
        """Keep writing, whether the daemon is there or not, until `be_quiet`."""
        self._writing = asyncio.create_task(self._write())

    def be_quiet(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None

    async def _write(self) -> None:
        while True:
            for talk in self._talks:
                if len(self._unanswered(talk)) < AT_ONCE:
                    label = f"m{next(self._numbers)}"
                    talk.labels.append(label)
                    plan = talk.plans[label] = next(self._plans)
                    talk.write(f"{label} {plan}")
            pause, begun = self._chance.uniform(0.01, 0.05), time.monotonic()
            await asyncio.sleep(pause)
            self._late = max(self._late, time.monotonic() - begun - pause)

    def _unanswered(self, talk: Talk) -> list[str]:
        answered = {label for message in talk.ours() for label in answers(message)}
        return [label for label in talk.labels if label not in answered]

    # --- the daemon ----------------------------------------------------------------------------------------

    def start(self) -> DaemonProcess:
        """Start the daemon."""
        self._daemon = daemon = self._launcher.start(self.options())
        return daemon

    @property
    def log(self) -> Path:
        """The daemon's log."""
        return self._home.path / "daemon.log"

    async def dies_after(self, seconds: float) -> None:
        """Start the daemon and kill it that long after its process began, wherever it is then."""
        self.start()
        await asyncio.sleep(seconds)
        await self._kill("random")

    async def dies_in_a_call(self, call: str, skip: int) -> None:
        """Start the daemon, and kill it once the server has done what such a call asks for, and not yet said so."""
        gate = self.gate(call, skip)
        self.start()
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE / 6):
                await gate.reached.wait()
        reached = gate.reached.is_set()
        await self._kill(call if reached else "random")
        gate.open()
        self.clear()

    async def _kill(self, where: str) -> None:
        assert self._daemon is not None
        self._daemon.signal(signal.SIGKILL)
        code = await self._daemon.ended()
        assert code == -signal.SIGKILL, f"the daemon ended with {code}; {self._tail()}"
        self._killed_at.append(time.time())
        self.kills[where] += 1

    async def stop(self) -> None:
        """Stop the daemon in good order."""
        assert self._daemon is not None
        assert await self._daemon.ready(), f"the daemon did not start; {self._tail()}"
        self._daemon.signal(signal.SIGTERM)
        code = await self._daemon.ended()
        assert code == 0, f"the daemon ended with {code}; {self._tail()}"

    # --- the verdict ---------------------------------------------------------------------------------------

    async def finish(self) -> None:
        """Let everything come to its end, stop the daemon in good order, and check what the server has counted."""
        self.be_quiet()
        self.start()
        left, deadline = math.inf, 0.0
        while lost := [label for talk in self._talks for label in self._unanswered(talk)]:
            if len(lost) < left:
                left, deadline = len(lost), time.monotonic() + PATIENCE
            assert time.monotonic() < deadline, f"{lost} have no answer; {self._tail()}"
            await asyncio.sleep(0.02)
        await self.stop()
        wrong = [complaint for talk in self._talks for complaint in self._wrong_in(talk)]
        wrong += self.complaints()
        wrong += [f"log: {line}" for line in self._lines() if " ERROR " in line or "Traceback" in line]
        assert not wrong, "\n".join([*wrong, f"kills: {dict(self.kills)}", self._lateness()])

    def _wrong_in(self, talk: Talk) -> Iterator[str]:
        ours = talk.ours()
        for label in talk.labels:
            copies = [message for message in ours if label in about(message)]
            standing = [message for message in copies if message.deleted_at is None]
            seen = {said for message in standing for said in sentences(message, label)}
            plain = Counter(said for message in copies if not is_marked(message) for said in sentences(message, label))
            if lost := [said for said in whole(label, talk.plans[label]) if said not in seen]:
                yield f"lost: {len(lost)} sentences of {label} in {talk.name}, the first {lost[0]!r}"
            if repeated := [said for said, times in plain.items() if times > 1]:
                ids = [self.about(message) for message in copies]
                yield f"repeated: {repeated[:3]} in {talk.name}, in {ids}, without a mark; {self.searches(talk)}"
            yield from self._unfounded(repeats_in(copies, label))
        last = {label: number for number, message in enumerate(ours) for label in answers(message)}
        places = [last.get(label, -1) for label in talk.labels]
        if places != sorted(places):
            yield f"order: {talk.labels} were answered as {places}"

    def _unfounded(self, repeats: Iterable[tuple[Message, Message | None]]) -> Iterator[str]:
        """A mark is right only where a kill lies between the message and the one that it may repeat."""
        for message, before in repeats:
            since = 0.0 if before is None else before.sent_at
            if not any(since <= killed <= message.sent_at for killed in self._killed_at):
                yield f"marked: {message.text[:80]!r} says that it may be a repeat, and there was no kill before it"

    def summary(self) -> str:
        """One line for people."""
        kills = ", ".join(f"{where} {number}" for where, number in sorted(self.kills.items()))
        within = self.kills[self.sending]
        written = sum(len(talk.labels) for talk in self._talks)
        marks = [seen for talk in self._talks for seen in self._marks(talk)]
        share, seen = len(marks) / max(self.kills.total(), 1), sum(marks) / max(within, 1)
        return (
            f"{self.kills.total()} kills ({kills}); {written} messages; {len(marks)} marked repeats ({share:.0%} of the"
            f" kills), {sum(marks)} of them of what had been seen ({seen:.0%} of the kills in a send that was accepted)"
            f"; {self._lateness()}"
        )

    def _lateness(self) -> str:
        """How busy the machine was: the server is in this process, so it was as late as that too."""
        return f"this process itself was up to {self._late:.1f} s late"

    def _marks(self, talk: Talk) -> Iterator[bool]:
        """Of each message that says that it may be a repeat, whether it is one."""
        ours = talk.ours()
        for label in talk.labels:
            copies = [message for message in ours if label in about(message)]
            yield from (before is not None for _message, before in repeats_in(copies, label))

    def _tail(self) -> str:
        return "the end of its log:\n" + "\n".join(self._lines()[-40:])

    def _lines(self) -> list[str]:
        return self.log.read_text(errors="replace").splitlines() if self.log.exists() else []


def is_marked(message: Message) -> bool:
    """Whether a message says that it may be a repeat."""
    return MARK in message.text.partition("\n")[0]


def sentences(message: Message, label: str) -> list[str]:
    """What a message says now of an answer, sentence by sentence."""
    return re.findall(rf"That was {label}\.|Line \d+ of {label} is as long as this", message.text)


def whole(label: str, plan: str) -> list[str]:
    """All sentences of an answer."""
    lines = [f"Line {number} of {label} is as long as this" for number in range(PARAGRAPHS)] if plan == "long" else []
    return [*lines, f"That was {label}."]


def repeats_in(copies: Sequence[Message], label: str) -> Iterator[tuple[Message, Message | None]]:
    """Each message of an answer that says that it may be a repeat, and the one before that says some of the same."""
    for number, message in enumerate(copies):
        if is_marked(message):
            said = set(sentences(message, label)) or about(message)
            earlier = (each for each in copies[:number] if said & (set(sentences(each, label)) or about(each)))
            yield message, max(earlier, key=lambda each: each.sent_at, default=None)


def about(message: Message) -> set[str]:
    """The labels that a message ever had in it."""
    return {label for text in message.texts for label in LABEL.findall(text)}


def answers(message: Message) -> set[str]:
    """The labels that a message answers to the end."""
    return set(re.findall(r"That was (m\d+)\.", message.text))
