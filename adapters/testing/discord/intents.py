"""Gateway intents: which events a connection gets, and what is withheld from it.

https://docs.discord.com/developers/events/gateway#gateway-intents
"""

from enum import IntFlag
from typing import Final


class Intents(IntFlag):
    """Groups of events."""

    GUILDS = 1 << 0
    GUILD_MEMBERS = 1 << 1
    GUILD_MODERATION = 1 << 2
    GUILD_EXPRESSIONS = 1 << 3
    GUILD_INTEGRATIONS = 1 << 4
    GUILD_WEBHOOKS = 1 << 5
    GUILD_INVITES = 1 << 6
    GUILD_VOICE_STATES = 1 << 7
    GUILD_PRESENCES = 1 << 8
    GUILD_MESSAGES = 1 << 9
    GUILD_MESSAGE_REACTIONS = 1 << 10
    GUILD_MESSAGE_TYPING = 1 << 11
    DIRECT_MESSAGES = 1 << 12
    DIRECT_MESSAGE_REACTIONS = 1 << 13
    DIRECT_MESSAGE_TYPING = 1 << 14
    MESSAGE_CONTENT = 1 << 15
    GUILD_SCHEDULED_EVENTS = 1 << 16
    AUTO_MODERATION_CONFIGURATION = 1 << 20
    AUTO_MODERATION_EXECUTION = 1 << 21
    GUILD_MESSAGE_POLLS = 1 << 24
    DIRECT_MESSAGE_POLLS = 1 << 25


NONE = Intents(0)
ALL = Intents(sum(Intents))
PRIVILEGED: Final = Intents.GUILD_PRESENCES | Intents.GUILD_MEMBERS | Intents.MESSAGE_CONTENT
"""They are switched on in the application's settings before a connection may ask for them."""

APPLICATION_FLAGS: Final = {
    Intents.GUILD_PRESENCES: 1 << 13,
    Intents.GUILD_MEMBERS: 1 << 15,
    Intents.MESSAGE_CONTENT: 1 << 19,
}
"""How an application that is not verified shows what is switched on
(https://docs.discord.com/developers/resources/application#application-object-application-flags)."""

_MESSAGES = (Intents.GUILD_MESSAGES, Intents.DIRECT_MESSAGES)
_REACTIONS = (Intents.GUILD_MESSAGE_REACTIONS, Intents.DIRECT_MESSAGE_REACTIONS)
_NEEDED: Final = {
    "MESSAGE_CREATE": _MESSAGES,
    "MESSAGE_UPDATE": _MESSAGES,
    "MESSAGE_DELETE": _MESSAGES,
    "MESSAGE_REACTION_ADD": _REACTIONS,
    "MESSAGE_REACTION_REMOVE": _REACTIONS,
    "TYPING_START": (Intents.GUILD_MESSAGE_TYPING, Intents.DIRECT_MESSAGE_TYPING),
    "GUILD_MEMBER_ADD": (Intents.GUILD_MEMBERS, NONE),
    "GUILD_MEMBER_REMOVE": (Intents.GUILD_MEMBERS, NONE),
}
_GUILDS: Final = ("GUILD_", "CHANNEL_", "THREAD_")


def needed(event: str, *, in_guild: bool) -> Intents:
    """The intent that an event needs; `NONE` for one that everybody gets."""
    if event in _NEEDED:
        return _NEEDED[event][0 if in_guild else 1]
    return Intents.GUILDS if event.startswith(_GUILDS) and event != "GUILD_MEMBERS_CHUNK" else NONE
