"""Owns `Platform`, the checked name of a messaging platform."""

from __future__ import annotations

from difflib import get_close_matches
from functools import cache
from importlib.metadata import entry_points
from typing import ClassVar, Final

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

ADAPTER_GROUP: Final = "hermes_gateway.adapters"
"""Entry-point group in which installed packages announce an adapter under its platform's name."""

AGENT_GROUP: Final = "hermes_gateway.agents"
"""Entry-point group in which installed packages announce an agent under its type's name."""

BUILT_IN_PLATFORMS: Final[tuple[str, ...]] = (
    "local",
    "telegram",
    "discord",
    "slack",
    "whatsapp",
    "signal",
    "matrix",
    "email",
    "irc",
    "mattermost",
    "webhook",
    "api_server",
)
"""Names that are valid whether or not an adapter for them is installed."""


@cache
def installed_names(group: str) -> tuple[str, ...]:
    """Return the sorted names that installed packages announce in an entry-point `group`.

    The answer is kept for the life of the process: what is installed is read once.
    """
    return tuple(sorted({entry.name for entry in entry_points(group=group)}))


def known_platforms() -> tuple[str, ...]:
    """Return every valid platform name: the built-in ones, then those of installed adapters."""
    added = (name for name in installed_names(ADAPTER_GROUP) if name not in BUILT_IN_PLATFORMS)
    return (*BUILT_IN_PLATFORMS, *added)


def nearest(name: str, known: tuple[str, ...]) -> str | None:
    """Return the entry of `known` that most resembles `name`, or None if none does."""
    folded = {candidate.casefold(): candidate for candidate in known}
    close = get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else None


class Platform(str):
    """The name of a messaging platform, checked when it is made.

    Equal to, and hashed like, the plain string. `Platform("telegram")` and `Platform.TELEGRAM`
    are the same value.

    Raises:
        ValueError: the name is neither built in nor that of an installed adapter; the message
            names the nearest known one.
    """

    __slots__ = ()

    LOCAL: ClassVar[Platform]
    TELEGRAM: ClassVar[Platform]
    DISCORD: ClassVar[Platform]
    SLACK: ClassVar[Platform]
    WHATSAPP: ClassVar[Platform]
    SIGNAL: ClassVar[Platform]
    MATRIX: ClassVar[Platform]
    EMAIL: ClassVar[Platform]
    IRC: ClassVar[Platform]
    MATTERMOST: ClassVar[Platform]
    WEBHOOK: ClassVar[Platform]
    API_SERVER: ClassVar[Platform]

    def __new__(cls, name: str) -> Platform:
        """Check `name` and return it as a platform."""
        if isinstance(name, cls):
            return name
        if not isinstance(name, str):
            raise ValueError(f"a platform's name is text, not {type(name).__name__}")  # noqa: TRY004
        if name not in BUILT_IN_PLATFORMS and name not in installed_names(ADAPTER_GROUP):
            raise ValueError(_unknown(name))
        return super().__new__(cls, name)

    @property
    def value(self) -> str:
        """The name as a plain string."""
        return str(self)

    def __repr__(self) -> str:
        return f"Platform({str(self)!r})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validate from text, serialise to text."""
        return core_schema.no_info_after_validator_function(
            cls,
            core_schema.str_schema(),
            serialization=core_schema.to_string_ser_schema(),
        )


def _unknown(name: str) -> str:
    known = known_platforms()
    close = nearest(name, known)
    hint = f"did you mean {close!r}?" if close else f"known are {', '.join(known)}"
    return f"unknown platform {name[:80]!r}: {hint}"


for _name in BUILT_IN_PLATFORMS:
    setattr(Platform, _name.upper(), Platform(_name))
del _name
