"""What an adapter remembers while it runs, and may forget."""

from collections import OrderedDict
from typing import Final, TypeVar

K = TypeVar("K")
V = TypeVar("V")

REMEMBERED: Final = 1_000
"""Entries of one memory."""


class Memory(OrderedDict[K, V]):
    """A dictionary that forgets the oldest of more than `REMEMBERED` entries."""

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        while len(self) > REMEMBERED:
            self.popitem(last=False)
