"""Accounts: what one user of the network knows of another, and what a bot is."""

from dataclasses import dataclass
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]
"""One object of the Bot API."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One account, a person's or a bot's (https://core.telegram.org/bots/api#user)."""

    id: int
    first_name: str
    is_bot: bool = False
    last_name: str | None = None
    username: str | None = None
    language_code: str | None = None

    def user(self) -> Json:
        """The `User` object."""
        user: Json = {"id": self.id, "is_bot": self.is_bot, "first_name": self.first_name}
        for name in ("last_name", "username", "language_code"):
            value = getattr(self, name)
            if value is not None:
                user[name] = value
        return user


@dataclass(frozen=True, slots=True)
class Bot:
    """A bot and how its owner has set it up.

    With `reads_all` False it is in privacy mode: in groups it gets only what is meant for it
    (https://core.telegram.org/bots/features#privacy-mode).
    """

    profile: Profile
    token: str
    reads_all: bool = False
    topics: bool = False
    """Whether private chats with it are divided into topics."""

    @property
    def id(self) -> int:
        """The account's id, which is also the first part of the token."""
        return self.profile.id

    @property
    def username(self) -> str:
        """The name that people mention it by, without `@`."""
        return self.profile.username or ""

    def me(self) -> Json:
        """The answer of getMe, which alone has the `can_…` flags."""
        return self.profile.user() | {
            "can_join_groups": True,
            "can_read_all_group_messages": self.reads_all,
            "supports_inline_queries": False,
            "can_connect_to_business": False,
            "has_main_web_app": False,
            "has_topics_enabled": self.topics,
            "allows_users_to_create_topics": self.topics,
        }
