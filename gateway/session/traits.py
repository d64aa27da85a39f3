"""What a platform tells the model about itself, and whether its ids may be hidden: declared, or known facts.

An adapter declares these facts in its capabilities. The table here holds those of the built-in platforms, for
when no adapter has declared any: a home channel on a platform that is switched off, a test, a tool. It is
data; nothing else in the core knows a platform by its name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Protocol

from config import Platform


class Traits(Protocol):
    """Anything that says this about a platform; an adapter's capabilities do."""

    @property
    def note(self) -> str | None:
        """A sentence for the model about how the platform behaves."""

    @property
    def redactable_ids(self) -> bool:
        """Whether ids may be hidden from the model."""


@dataclass(frozen=True, slots=True)
class PlatformTraits:
    """What a platform tells the model about itself, and whether its ids may be hidden from it.

    Ids of a platform that says nothing may be hidden. They may not be where the model needs them to mention
    people.
    """

    note: str | None = None
    redactable_ids: bool = True


NO_TRAITS: Final[Mapping[str, Traits]] = MappingProxyType({})
"""The traits that are declared where none are."""

_PLATFORM_ACTIONS: Final = (
    "You can write here and read what is written to you. You cannot search the history, pin messages, "
    "or manage channels, roles or members unless a tool of yours does it: do not promise to."
)

BUILT_IN_TRAITS: Final[Mapping[str, PlatformTraits]] = MappingProxyType(
    {
        "local": PlatformTraits(redactable_ids=False),
        "telegram": PlatformTraits(),
        "whatsapp": PlatformTraits(),
        "signal": PlatformTraits(),
        "email": PlatformTraits(),
        "discord": PlatformTraits(
            note=f"You are in Discord; <@ID> mentions the person with that id. {_PLATFORM_ACTIONS}",
            redactable_ids=False,
        ),
        "slack": PlatformTraits(
            note=f"You are in Slack; <@ID> mentions the person with that id. {_PLATFORM_ACTIONS}",
            redactable_ids=False,
        ),
        "matrix": PlatformTraits(redactable_ids=False),
        "mattermost": PlatformTraits(redactable_ids=False),
        "irc": PlatformTraits(redactable_ids=False),
        "webhook": PlatformTraits(redactable_ids=False),
        "api_server": PlatformTraits(redactable_ids=False),
    }
)
"""Platform facts, used when an adapter declares none."""


def traits_of(platform: Platform, declared: Mapping[str, Traits] = NO_TRAITS) -> Traits:
    """A platform's traits: as declared, else as known; else it has no note, and its ids may be hidden."""
    return declared.get(platform) or BUILT_IN_TRAITS.get(platform) or PlatformTraits()
