"""The decision about a message: pure, from a few facts, with its reason. What is not let in by a rule is kept out."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final

from config.access import Policy


class Verdict(StrEnum):
    """What to do with a message."""

    ALLOW = "allow"
    PAIR = "pair"
    """A stranger gets a code that the operator can approve; nothing of the message is kept."""
    REFUSE = "refuse"
    """The sender is told why."""
    IGNORE = "ignore"


class Role(IntEnum):
    """What somebody may do; each may what the ones before it may."""

    GUEST = 1
    USER = 2
    ADMIN = 3
    OWNER = 4

    @property
    def word(self) -> str:
        """Its name, as in the configuration."""
        return self.name.lower()

    @classmethod
    def named(cls, word: str) -> "Role":
        """The role of this name. Raises ValueError."""
        try:
            return cls[word.upper()]
        except KeyError:
            known = ", ".join(role.word for role in cls)
            raise ValueError(f"{word!r} is no role; there are {known}") from None


class Place(StrEnum):
    """What a message was written in."""

    DM = "dm"
    GROUP = "group"


class Membership(StrEnum):
    """By what a sender is let in: the strongest of all that hold."""

    OPERATOR = "operator"
    """Whoever writes there holds the machine: the terminal on it."""
    OWNER = "owner"
    ADMIN = "admin"
    PAIRED_ADMIN = "paired admin"
    LISTED = "listed"
    PAIRED = "paired"
    ROLE = "role"
    BOT = "bot"
    """A bot that is listed."""
    PAIRED_GUEST = "paired guest"
    CHAT = "chat"
    TEAM = "team"
    ANYONE = "anyone"
    UNKNOWN = "unknown"


ROLES: Final[Mapping[Membership, Role | None]] = {
    Membership.OPERATOR: Role.OWNER,
    Membership.OWNER: Role.OWNER,
    Membership.ADMIN: Role.ADMIN,
    Membership.PAIRED_ADMIN: Role.ADMIN,
    Membership.LISTED: Role.USER,
    Membership.PAIRED: Role.USER,
    Membership.ROLE: Role.USER,
    Membership.BOT: Role.GUEST,
    Membership.PAIRED_GUEST: Role.GUEST,
    Membership.CHAT: Role.GUEST,
    Membership.TEAM: Role.GUEST,
    Membership.ANYONE: Role.GUEST,
    Membership.UNKNOWN: None,
}
"""What each makes of a sender. Who is named, one by one, is a user; who is only let in with others is a guest."""

_LET_IN: Final[Mapping[Membership, str]] = {
    Membership.OPERATOR: "the owner, at this machine",
    Membership.OWNER: "in owners",
    Membership.ADMIN: "in access.admins",
    Membership.PAIRED_ADMIN: "paired, and made an admin",
    Membership.LISTED: "in allowed_users",
    Membership.PAIRED: "paired",
    Membership.ROLE: "in allowed_roles",
    Membership.BOT: "in allowed_bots",
    Membership.PAIRED_GUEST: "paired, as a guest",
    Membership.CHAT: "in allowed_chats",
    Membership.TEAM: "in allowed_teams",
    Membership.ANYONE: "anyone is, by allowed_users",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a decision is made from.

    `known_by_id`: the platform says who wrote it. `needs` is the least role for the command that the message is, None
    for one that is for the agent.
    """

    place: Place
    membership: Membership
    policy: Policy
    addressed: bool = True
    bot: bool = False
    known_by_id: bool = True
    needs: Role | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict, its reason in words for the operator, and the role of who is let in."""

    verdict: Verdict
    reason: str
    role: Role | None = None

    @property
    def allowed(self) -> bool:
        """Whether the message goes on."""
        return self.verdict is Verdict.ALLOW


def role_of(membership: Membership, policy: Policy) -> Role | None:
    """The role of a sender where this policy holds; None for one who is not let in."""
    role = ROLES[membership]
    if policy == "closed":
        return role if role is Role.OWNER else None
    if role is None and policy == "open":
        return Role.GUEST
    return role


def decide(facts: Facts) -> Decision:
    """Whether a message reaches the agent, or a command is carried out."""
    if not facts.addressed:
        return Decision(Verdict.IGNORE, "not addressed to us")
    if facts.bot and facts.membership not in (Membership.BOT, Membership.OPERATOR):
        return Decision(Verdict.IGNORE, "a bot, and not in allowed_bots")
    role = role_of(facts.membership, facts.policy)
    if role is None:
        return _kept_out(facts)
    if facts.needs is not None and role < facts.needs:
        return Decision(Verdict.REFUSE, f"the command is for {facts.needs.word}s, this is a {role.word}", role)
    return Decision(Verdict.ALLOW, _LET_IN.get(facts.membership, f"anyone is, by the policy for {facts.place}s"), role)


def _kept_out(facts: Facts) -> Decision:
    if facts.policy == "closed":
        return Decision(Verdict.IGNORE, f"{facts.place}s are closed but for owners")
    if facts.policy != "pair":
        return Decision(Verdict.IGNORE, "not in allowed_users")
    if facts.place is Place.GROUP:
        return Decision(Verdict.REFUSE, "not in allowed_users; to be paired in a direct message")
    if not facts.known_by_id:
        return Decision(Verdict.IGNORE, "not in allowed_users, and without an id to be paired by")
    return Decision(Verdict.PAIR, "not in allowed_users; asked to be paired")
