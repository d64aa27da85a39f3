"""Accounts: the users of the network, and the bots that an application has."""

from dataclasses import dataclass
from typing import Any, TypeAlias

from adapters.testing.discord.intents import APPLICATION_FLAGS, Intents

Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who can write."""

    id: int
    name: str
    """The unique username."""
    is_bot: bool = False
    display_name: str | None = None
    is_webhook: bool = False

    @property
    def mention(self) -> str:
        """The markup that mentions them."""
        return f"<@{self.id}>"

    def object(self) -> Json:
        """The user object (https://docs.discord.com/developers/resources/user#user-object)."""
        body: Json = {
            "id": str(self.id),
            "username": self.name,
            "discriminator": "0000" if self.is_bot else "0",
            "global_name": self.display_name,
            "avatar": None,
            "public_flags": 0,
        }
        return body | ({"bot": True} if self.is_bot else {})


@dataclass(slots=True, eq=False)
class Bot:
    """A bot user with its application, whose id is the same."""

    user: User
    token: str
    privileged: Intents
    """The privileged intents that are switched on in the application's settings."""

    @property
    def id(self) -> int:
        """The id of the user and of the application."""
        return self.user.id

    @property
    def mention(self) -> str:
        """The markup that mentions it."""
        return self.user.mention

    @property
    def flags(self) -> int:
        """The application's flags."""
        return sum(flag for intent, flag in APPLICATION_FLAGS.items() if intent in self.privileged)
