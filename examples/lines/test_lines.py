"""Lines passes the conformance suite. Run it with `pytest` in this folder once both packages are installed."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from lines_server import LinesServer

from adapters.testing.conformance import (
    Ability,
    AdapterConformance,
    Fault,
    Harness,
    Passing,
    Place,
    PlaceKind,
    Shown,
)

MARK = "(Perhaps a repeat) "
ON_POSTS = {
    Fault.RATE_LIMIT: "slow down",
    Fault.ERROR_BEFORE: "lost",
    Fault.ERROR_AFTER: "failed",
    Fault.NO_ANSWER: "silent",
    Fault.DROPPED: "dropped",
    Fault.SLOW_BODY: "slow",
}
ON_EVENTS = {Fault.HALF_OPEN: "deaf", Fault.DUPLICATE_UPDATE: "twice", Fault.REORDERED_UPDATES: "reordered"}


class LinesHarness(Harness):
    """A server of Lines. A place is a room, and a thread in it, and a person."""

    name = "lines"
    supports = frozenset(
        {
            Ability.GROUPS,
            Ability.THREADS,
            Ability.STRANGERS,
            Ability.EDITS,
            Ability.TYPING,
            Ability.STREAMING,
            Ability.SHRINKING,
            Ability.PARTS,
            Ability.BACKLOG,
            Ability.OUTAGES,
            Ability.ACCOUNTS,
        }
    )
    faults = frozenset({*ON_POSTS, *ON_EVENTS})

    def __init__(self) -> None:
        self._server = LinesServer("a-secret-of-lines-1")
        self._rooms = itertools.count(1)
        self._tokens = itertools.count(2)
        self.secrets = [self._server.token]

    async def start(self, home: Path) -> None:
        del home
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop()

    def section(self) -> Mapping[str, Any]:
        return {
            "token": self._server.token,
            "allowed_users": ["ann"],
            "port": self._server.port,
            "patience_seconds": 0.5,
        }

    def place(self, kind: PlaceKind, *, stranger: bool = False) -> Place:
        thread = f"t{next(self._rooms)}" if kind is PlaceKind.THREAD else None
        room = "hall" if thread else f"r{next(self._rooms)}"
        return Place(kind, (room, thread, "mallory" if stranger else "ann"))

    def write(self, place: Place, text: str) -> dict[str, Any]:
        room, thread, user = place.handle
        return self._server.write(room, text, user=user, group=place.kind is not PlaceKind.DM, thread=thread)

    def edit(self, place: Place, message: dict[str, Any], text: str) -> None:
        del place
        self._server.change(message, text)

    def shown(self, place: Place) -> Sequence[Shown]:
        room, thread, _ = place.handle
        return [
            Shown(
                post.id,
                tuple(text.removeprefix(MARK) for text in post.texts),
                gone=post.gone,
                marked=post.texts[-1].startswith(MARK),
            )
            for post in self._server.posts
            if (post.room, post.thread) == (room, thread)
        ]

    def passing(self, place: Place) -> Passing:
        return Passing(typing=self._server.typing.count(place.handle[:2]))

    def inject(self, fault: Fault, place: Place) -> None:
        del place
        if fault in ON_POSTS:
            self._server.trouble.posts.append(ON_POSTS[fault])
        else:
            self._server.trouble.events.append(ON_EVENTS[fault])

    def revoke(self) -> None:
        self._server.renew(f"a-secret-of-lines-{next(self._tokens)}")
        self.secrets = [*self.secrets, self._server.token]

    def logins(self) -> int:
        return self._server.denied


class TestLines(AdapterConformance):
    """Every promise."""

    @pytest.fixture
    def harness(self) -> Harness:
        return LinesHarness()
