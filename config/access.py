"""Owns the sections that say who may talk to the agent, what each role may do, and how much."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from config.fields import Id, Int, Section, suggestion
from config.platform import Platform, known_platforms

Policy = Literal["open", "allowlist", "pair", "closed"]
RoleName = Literal["admin", "user", "guest"]

ANYONE: Final = "*"
"""In a list of people: whoever writes. It has to be written out."""


def _check_person(value: str) -> str:
    """Refuse an id without its platform: the same id is somebody else's elsewhere."""
    platform, colon, person = value.partition(":")
    if not colon or not person or person == ANYONE:
        hint = "write platform:id, as in telegram:123456789"
        raise PydanticCustomError("person", "is not one person on one platform: {hint}", {"hint": hint})
    known = known_platforms()
    if platform not in known:
        raise PydanticCustomError("person", "unknown platform: {hint}", {"hint": suggestion(platform, known)})
    return value


def _check_named(value: str) -> str:
    """Refuse the wildcard where single things are to be named."""
    if value == ANYONE:
        hint = "write ids; everybody is let in by a policy: open"
        raise PydanticCustomError("wildcard", "is not one id: {hint}", {"hint": hint})
    return value


PersonId = Annotated[Id, AfterValidator(_check_person)]
NamedId = Annotated[Id, AfterValidator(_check_named)]


class RoleConfig(Section):
    """What people of one role get."""

    agent: str | None = Field(
        default=None, min_length=1, description="Agent that answers them; not set: the one that answers everybody."
    )
    tools: tuple[str, ...] | None = Field(
        default=None, description="Names of the tools that their agent may use; not set: all, an empty list: none."
    )
    commands: tuple[str, ...] | None = Field(
        default=None,
        description="Names of the commands that they may use, of those for their role; not set: all, an empty list:"
        " none.",
    )


class RuleConfig(RoleConfig):
    """What people get in some places. All that is set has to fit: a rule without any is for everybody but owners."""

    roles: tuple[RoleName, ...] = Field(default=(), description="Roles that it is for; none stands for all of these.")
    platforms: tuple[Platform, ...] = Field(default=(), description="Platforms that it is for; none stands for all.")
    chats: tuple[NamedId, ...] = Field(default=(), description="Ids of the chats that it is for; none stands for all.")


class AccessConfig(Section):
    """Who may talk to the agent. People are let in by the lists here and on each platform, or by being paired."""

    dm: Policy = Field(
        default="pair",
        description="Direct messages: everybody is answered (open), those in a list or paired (allowlist), the same"
        " and strangers get a code that you can approve (pair), or owners alone (closed).",
    )
    group: Policy = Field(
        default="allowlist",
        description="Groups, channels and threads: the same; with pair, strangers are told there to write a direct"
        " message first.",
    )
    admins: tuple[PersonId, ...] = Field(
        default=(), description="People who may let others in, as platform:id, besides those who were made admins."
    )
    roles: Mapping[RoleName, RoleConfig] = Field(
        default_factory=dict,
        description="What admins, users and guests get. Users are in a list of people or roles, or paired; guests are"
        " let in by a chat, a team, or a policy: open.",
    )
    rules: Mapping[str, RuleConfig] = Field(
        default_factory=dict,
        description="What people get by platform and chat, each rule under a name of yours. For the agent, the tools"
        " and the commands each, the first rule counts that fits and says something of them, then roles.",
    )
    max_pending: Int = Field(
        default=10, ge=1, le=1_000, description="Strangers of one platform whose codes may wait for approval at once."
    )
    bot_replies: Int = Field(
        default=5,
        ge=1,
        description="Messages of bots in a row that are answered in one chat; then a person has to write first.",
    )


class LimitsConfig(Section):
    """How much one person, and one chat, may ask for. Owners have no limits; 0 is no limit."""

    messages_per_minute: Int = Field(default=20, ge=0, description="Messages of one person in a minute.")
    chat_messages_per_minute: Int = Field(default=60, ge=0, description="Messages in one chat in a minute.")
    turns_at_once: Int = Field(
        default=4, ge=0, description="Turns of one person that run at once; their further ones wait."
    )
    tokens_per_day: Int = Field(
        default=0, ge=0, description="Tokens that the turns of one person may take in a day of the time zone."
    )
    chat_tokens_per_day: Int = Field(
        default=0, ge=0, description="Tokens that the turns of one chat may take in a day of the time zone."
    )
