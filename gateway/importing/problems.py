"""What of a foreign home could not be taken in: named, so that its owner can look."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """A piece that is damaged or cannot be used: which file or session, and what about it."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"
