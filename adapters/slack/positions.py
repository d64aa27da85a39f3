"""How far each conversation has been read, and which threads are ours."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from adapters.base import Cursor
from adapters.slack.constants import KNOWN_THREADS
from adapters.slack.normalise import Written

CHANNEL: Final = "channel:"
"""Before a conversation's id: the name of the position in it."""


@dataclass(slots=True)
class Position:
    """`top` is the newest message outside of threads that was taken in; `threads` the newest one in each thread that we
    are in, by the thread's first message."""

    top: str = ""
    threads: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, value: str) -> Self:
        """Read what `dump` wrote; what cannot be read is no position."""
        try:
            data = json.loads(value)
            threads = {str(root): str(ts) for root, ts in dict(data["threads"]).items()}
            return cls(str(data["top"]), threads)
        except (ValueError, TypeError, KeyError):
            return cls()

    def dump(self) -> str:
        """The position as text."""
        return json.dumps({"top": self.top, "threads": self.threads}, separators=(",", ":"))

    @property
    def newest(self) -> str:
        """The newest message that was taken in."""
        return max((self.top, *self.threads.values()), key=micros)

    def copy(self) -> "Position":
        """The position as it is now."""
        return Position(self.top, dict(self.threads))

    def note(self, written: Written, *, ours: bool) -> None:
        """A message was taken in; `ours`: it is meant for us, so its thread is ours from now on."""
        if written.thread is None or not self.top:
            self.top = later(self.top, written.ts)
        if ours and written.place is not None:
            self.threads[written.place] = later(self.threads.get(written.place, ""), written.ts)
            while len(self.threads) > KNOWN_THREADS:
                del self.threads[min(self.threads, key=lambda root: micros(self.threads[root]))]


def micros(ts: str) -> int:
    """A `ts` as a number that can be compared; 0 for what is none."""
    seconds, _, rest = ts.partition(".")
    try:
        return int(seconds) * 1_000_000 + int(f"{rest:0<6}"[:6])
    except ValueError:
        return 0


def later(one: str, other: str) -> str:
    """The newer of two messages."""
    return max(one, other, key=micros)


class Positions:
    """The positions of one account. While one is frozen, it goes on in memory alone.

    Their names have `prefix` before the conversation's id; those of `stored` with another one are of another account.
    """

    def __init__(self, stored: Mapping[str, str], prefix: str = "") -> None:
        self._name = f"{CHANNEL}{prefix}"
        self._by_channel = {
            name.removeprefix(self._name): Position.load(value)
            for name, value in stored.items()
            if name.startswith(self._name) and "/" not in name.removeprefix(self._name)
        }
        self._frozen: set[str] = set()

    def newest(self, channel: str) -> str:
        """The newest message in a conversation that was taken in; empty where there is none."""
        position = self._by_channel.get(channel)
        return "" if position is None else position.newest

    def knows(self, channel: str) -> bool:
        """Whether anything came from a conversation."""
        return channel in self._by_channel

    def meet(self, channel: str) -> Cursor | None:
        """Know a conversation from now on, though no message came from it; the position to commit, if that is new."""
        return self._cursor(channel) if channel and channel not in self._by_channel else None

    def snapshot(self) -> dict[str, Position]:
        """Every position as it is now, those first in which somebody wrote last."""
        positions = sorted(self._by_channel.items(), key=lambda item: micros(item[1].newest), reverse=True)
        return {channel: position.copy() for channel, position in positions}

    def freeze(self, channel: str) -> None:
        """Commit no further position, until `thaw`: there may be messages before it that were missed."""
        self._frozen.add(channel)

    def thaw(self, channel: str) -> Cursor:
        """Nothing is missing any more; the position to commit."""
        self._frozen.discard(channel)
        return self._cursor(channel)

    def is_ours(self, channel: str, thread: str | None) -> bool:
        """Whether we are in a thread."""
        position = self._by_channel.get(channel)
        return thread is not None and position is not None and thread in position.threads

    def note(self, written: Written, *, ours: bool) -> Cursor | None:
        """A message is about to be taken in; the position to commit with it."""
        self._by_channel.setdefault(written.channel, Position()).note(written, ours=ours)
        return None if written.channel in self._frozen else self._cursor(written.channel)

    def _cursor(self, channel: str) -> Cursor:
        return Cursor(f"{self._name}{channel}", self._by_channel.setdefault(channel, Position()).dump())
