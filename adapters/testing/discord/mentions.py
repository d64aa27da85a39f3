"""Who a text calls, after the wish of its sender and the sender's permissions.

https://docs.discord.com/developers/resources/message#allowed-mentions-object
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from adapters.testing.discord.accounts import Json, User
from adapters.testing.discord.channel import Channel
from adapters.testing.discord.errors import invalid_form
from adapters.testing.discord.message import Mentions, Message
from adapters.testing.discord.permissions import Permission
from adapters.testing.discord.requests import snowflake
from adapters.testing.discord.shapes import mapping, sequence

TYPES: Final = ("users", "roles", "everyone")
MAX_IDS: Final = 100
USER: Final = re.compile(r"<@!?(\d+)>")
ROLE: Final = re.compile(r"<@&(\d+)>")
EVERYONE: Final = re.compile(r"@(everyone|here)")
CODE: Final = re.compile(r"```.*?```|``.*?``|`[^`\n]*`", re.DOTALL)
"""Markup in code is text."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """What may call somebody. `users` and `roles` None means any."""

    users: frozenset[int] | None = None
    roles: frozenset[int] | None = None
    everyone: bool = True
    answered: bool = True
    """Whether the author of the message that is answered is called."""


PEOPLE: Final = Allowed()
"""What a person's app lets through."""
INTERACTIONS: Final = Allowed(roles=frozenset(), everyone=False, answered=False)
"""The default for answers to interactions."""


def read_allowed(body: Json, default: Allowed) -> Allowed:
    """`allowed_mentions` of a request. Raises `ApiError`."""
    if body.get("allowed_mentions") is None:
        return default
    value = mapping("allowed_mentions", body["allowed_mentions"])
    parsed = sequence("allowed_mentions.parse", value.get("parse"))
    for name in parsed:
        if name not in TYPES:
            raise invalid_form(
                "allowed_mentions.parse.0", "BASE_TYPE_CHOICES", f"Value must be one of {{{', '.join(TYPES)}}}."
            )
        if name != "everyone" and value.get(name):
            raise invalid_form(
                "allowed_mentions", "MESSAGE_ALLOWED_MENTIONS_PARSE_EXCLUSIVE", f"parse:[{name!r}] and {name}: [ids]"
            )
    return Allowed(
        users=None if "users" in parsed else _ids(value, "users"),
        roles=None if "roles" in parsed else _ids(value, "roles"),
        everyone="everyone" in parsed,
        answered=bool(value.get("replied_user")),
    )


def _ids(value: Json, name: str) -> frozenset[int]:
    ids = sequence(f"allowed_mentions.{name}", value.get(name))
    if len(ids) > MAX_IDS:
        raise invalid_form(f"allowed_mentions.{name}", "BASE_TYPE_MAX_LENGTH", f"Must be {MAX_IDS} or fewer in length.")
    return frozenset(snowflake(f"allowed_mentions.{name}", each) for each in ids)


def find(
    text: str, channel: Channel, author: User, users: Mapping[int, User], allowed: Allowed, answered: Message | None
) -> Mentions:
    """Who this text calls."""
    bare = CODE.sub("", text)
    called: dict[int, User] = {}
    if answered is not None and allowed.answered and answered.author.id in users:
        called[answered.author.id] = answered.author
    for number in map(int, USER.findall(bare)):
        if number in users and (allowed.users is None or number in allowed.users):
            called[number] = users[number]
    guild = channel.guild
    if guild is None:
        return Mentions(tuple(called.values()))
    roles = [
        number
        for number in dict.fromkeys(map(int, ROLE.findall(bare)))
        if number in guild.roles and (allowed.roles is None or number in allowed.roles)
    ]
    may_call_all = Permission.MENTION_EVERYONE in channel.permissions(author.id)
    everyone = allowed.everyone and may_call_all and EVERYONE.search(bare) is not None
    return Mentions(tuple(called.values()), tuple(roles), everyone)
