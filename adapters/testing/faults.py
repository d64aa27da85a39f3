"""Faults on demand, for every loopback server: what goes wrong with which requests, and how often."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Generic, TypeVar

R = TypeVar("R")
"""A request, as the server has it."""

Hook = Callable[[Any], Awaitable[None]]
"""Gets the request."""


class FaultKind(Enum):
    """What goes wrong."""

    FLOOD = auto()
    ERROR = auto()
    DROP = auto()
    RESET = auto()
    SILENCE = auto()
    SLOW = auto()
    HOOK = auto()


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong with a request. Built by the functions below.

    `accepted`: it comes after the server has done what was asked for; otherwise nothing is done.
    """

    kind: FaultKind
    accepted: bool = False
    status: int = 500
    description: str = "Internal Server Error"
    seconds: float = 0.0
    everywhere: bool = False
    hook: Hook | None = None

    @classmethod
    def flood(cls, retry_after: float = 1, *, everywhere: bool = False) -> "Fault":
        """429; until `retry_after` seconds have passed, every further request of the same limit gets it too.

        Platforms that take whole seconds drop the fraction. `everywhere`: it is the account's limit for all requests
        together, where the platform has one that it tells apart.
        """
        return cls(FaultKind.FLOOD, seconds=retry_after, everywhere=everywhere)

    @classmethod
    def error(cls, status: int = 500, description: str = "Internal Server Error", *, accepted: bool = False) -> "Fault":
        """An answer with this status."""
        return cls(FaultKind.ERROR, accepted=accepted, status=status, description=description)

    @classmethod
    def drop(cls, *, accepted: bool = True) -> "Fault":
        """The connection is closed without an answer."""
        return cls(FaultKind.DROP, accepted=accepted)

    @classmethod
    def reset(cls, *, accepted: bool = False) -> "Fault":
        """The connection is reset (TCP RST)."""
        return cls(FaultKind.RESET, accepted=accepted)

    @classmethod
    def silence(cls, *, accepted: bool = False) -> "Fault":
        """The connection stays open, and no answer ever comes: the other end is gone without a word."""
        return cls(FaultKind.SILENCE, accepted=accepted)

    @classmethod
    def slow(cls, seconds: float) -> "Fault":
        """The answer's body comes a few bytes at a time, over so many seconds."""
        return cls(FaultKind.SLOW, accepted=True, seconds=seconds)

    @classmethod
    def call(cls, hook: Hook, *, accepted: bool = True) -> "Fault":
        """The hook runs between accepting and answering (or before accepting)."""
        return cls(FaultKind.HOOK, accepted=accepted, hook=hook)


@dataclass(slots=True)
class FaultRule(Generic[R]):
    """Which requests a fault strikes. `times` None means all of them; `skip` lets so many pass first."""

    fault: Fault
    matches: Callable[[R], bool]
    """Whether a request is one of those."""
    times: int | None = 1
    skip: int = 0
    struck: int = 0
    """How often it has struck."""

    def cancel(self) -> None:
        """Let it strike no more."""
        self.times = self.struck


class Faults(Generic[R]):
    """All rules in force."""

    def __init__(self) -> None:
        self._rules: list[FaultRule[R]] = []

    def add(self, rule: FaultRule[R]) -> FaultRule[R]:
        """Put a rule in force, after those that are."""
        self._rules.append(rule)
        return rule

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        self._rules.clear()

    def take(self, request: R) -> list[Fault]:
        """What goes wrong with this request: at most one fault of a kind, the oldest rule first."""
        taken: dict[FaultKind, Fault] = {}
        for rule in self._rules:
            if rule.fault.kind in taken or not rule.matches(request):
                continue
            if rule.times is not None and rule.struck >= rule.times:
                continue
            if rule.skip > 0:
                rule.skip -= 1
                continue
            rule.struck += 1
            taken[rule.fault.kind] = rule.fault
        return list(taken.values())


class Gate(Generic[R]):
    """Holds requests back between accepting and answering, until it is opened.

    A test waits for `reached`, kills its client, and opens the gate.
    """

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._opened = asyncio.Event()
        self.held: list[R] = []
        """The requests that have come to the gate."""

    def open(self) -> None:
        """Let them go on; those that come later pass."""
        self._opened.set()

    async def hold(self, request: R) -> None:
        """The hook."""
        self.held.append(request)
        self.reached.set()
        await self._opened.wait()
