"""Owns what the doctor says: findings, their levels, and how sizes read."""

import shlex
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what was found, and, where it is not well, what to do."""

    level: Level
    subject: str
    what: str
    advice: str = ""

    def to_dict(self) -> dict[str, str]:
        """Plain data."""
        return {"level": self.level.value, "subject": self.subject, "what": self.what, "advice": self.advice}


def ok(subject: str, what: str) -> Finding:
    """All is well."""
    return Finding(Level.OK, subject, what)


def warning(subject: str, what: str, advice: str) -> Finding:
    """It works, and may not be what is wanted."""
    return Finding(Level.WARNING, subject, what, advice)


def error(subject: str, what: str, advice: str) -> Finding:
    """It does not work."""
    return Finding(Level.ERROR, subject, what, advice)


def typed(path: Path | str) -> str:
    """A path as a shell takes it, for a command that people copy."""
    return shlex.quote(str(path))


def size_text(size: float) -> str:
    """Bytes, as people read them."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
