"""From a message, the configuration and who was paired to the facts of a decision."""

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from typing import Final

from config import ANYONE, GatewayConfig, LiveConfig
from config.access import Policy
from config.platforms import PlatformConfig
from gateway.access.decision import Decision, Facts, Membership, Place, Role, decide
from gateway.access.people import People, ids_of, person_of
from gateway.inbound import InboundRecord
from gateway.ports import InboundMessage
from gateway.source import SessionSource
from gateway.storage.errors import StorageError

MAX_DECIDED: Final = 1_000
"""Decisions that are remembered, the latest: a message needs the same one several times on its way."""

_PAIRED: dict[Role, Membership] = {
    Role.ADMIN: Membership.PAIRED_ADMIN,
    Role.USER: Membership.PAIRED,
    Role.GUEST: Membership.PAIRED_GUEST,
}


@dataclass(frozen=True, slots=True)
class Sender:
    """Who wrote a message, and where. `operator`: the platform is in the hands of the machine's owner alone."""

    source: SessionSource
    roles: tuple[str, ...] = ()
    team: str | None = None
    bot: bool = False
    addressed: bool = True
    operator: bool = False

    @classmethod
    def of_message(cls, message: InboundMessage, *, operator: bool) -> "Sender":
        """As its adapter says."""
        return cls(message.source, message.roles, message.team, message.from_bot, message.addressed, operator)

    @classmethod
    def of_record(cls, record: InboundRecord) -> "Sender":
        """As it was when the message came in."""
        extra = record.extra
        operator = extra.operator or record.source.is_local
        return cls(record.source, extra.roles, extra.team, extra.from_bot, operator=operator)

    @property
    def place(self) -> Place:
        """What it was written in."""
        return Place.DM if self.source.chat_type == "dm" else Place.GROUP


class Gate:
    """Decides by the configuration in force and by who was paired."""

    def __init__(self, config: GatewayConfig | LiveConfig, people: People | None = None) -> None:
        self._config = LiveConfig.of(config)
        self._people = People() if people is None else people
        self._listeners: list[Callable[[], object]] = []
        self._decided: dict[tuple[Sender, Role | None], Decision] = {}
        self._decided_by: tuple[GatewayConfig, int] = (self._config.current, self._people.version)
        self._config.listen(self.changed)

    def listen(self, listener: Callable[[], object]) -> None:
        """Have this called each time that somebody may be let in no more, or as something else."""
        self._listeners.append(listener)

    def changed(self) -> None:
        """Who is let in has changed."""
        for listener in self._listeners:
            listener()

    def decide(self, sender: Sender, needs: Role | None = None) -> Decision:
        """Whether a message of this sender goes on, as a command for the role that it needs or for the agent."""
        config, version = self._config.current, self._people.version
        if self._decided_by[0] is not config or self._decided_by[1] != version:
            self._decided.clear()
            self._decided_by = (config, version)
        decision = self._decided.get((sender, needs))
        if decision is None:
            decision = decide(facts_of(sender, config, self._people.role(sender.source), needs))
            self._decided[sender, needs] = decision
            if len(self._decided) > MAX_DECIDED:
                del self._decided[next(iter(self._decided))]
        return decision

    def check(self, sender: Sender, decision: Decision) -> None:
        """Raises `StorageError` where somebody may have been let in after all, since that could not be looked up."""
        if decision.role is None and not self._people.complete and sender.addressed and ids_of(sender.source):
            raise StorageError("who was let in cannot be looked up while the database is out of use")

    def bars(self, sender: Sender) -> bool:
        """Whether somebody is not let in, for sure. A platform that is switched off says nothing of its people."""
        if not self._config.current.is_on(sender.source.platform):
            return False
        decision = self.decide(sender)
        return not decision.allowed and (decision.role is not None or self._people.complete)

    def role(self, record: InboundRecord) -> Role | None:
        """The role of who wrote a message, as things stand now; None for one who is not let in any more."""
        return self.decide(Sender.of_record(record)).role


def facts_of(sender: Sender, config: GatewayConfig, paired: Role | None, needs: Role | None = None) -> Facts:
    """What the decision about a sender is made from. `paired`: as what they were let in by pairing."""
    section = config.platforms.get(sender.source.platform)
    return Facts(
        place=sender.place,
        membership=_membership(sender, config, section, paired),
        policy=_policy(sender.place, config, section),
        addressed=sender.addressed,
        bot=sender.bot,
        known_by_id=person_of(sender.source) is not None,
        needs=needs,
    )


def _policy(place: Place, config: GatewayConfig, section: PlatformConfig | None) -> Policy:
    if place is Place.DM:
        return (section.dm_policy if section is not None else None) or config.access.dm
    return (section.group_policy if section is not None else None) or config.access.group


def _membership(
    sender: Sender, config: GatewayConfig, section: PlatformConfig | None, paired: Role | None
) -> Membership:
    if sender.operator:
        return Membership.OPERATOR
    people = ids_of(sender.source)
    named = tuple(f"{sender.source.platform}:{person}" for person in people)
    if sender.bot:
        return Membership.BOT if section is not None and _any(people, section.allowed_bots) else Membership.UNKNOWN
    if _any(named, config.owners):
        return Membership.OWNER
    if _any(named, config.access.admins):
        return Membership.ADMIN
    listed = (*config.allowed_users, *(section.allowed_users if section is not None else ()))
    found: list[Membership] = []
    if _any(named, config.allowed_users) or _any(people, listed):
        found.append(Membership.LISTED)
    if paired is not None:
        found.append(_PAIRED.get(paired, Membership.PAIRED_ADMIN))
    if section is not None:
        found += _by_place(sender, section)
    if ANYONE in listed:
        found.append(Membership.ANYONE)
    return min(found, key=_ORDER.index, default=Membership.UNKNOWN)


def _by_place(sender: Sender, section: PlatformConfig) -> Iterable[Membership]:
    """By what somebody is let in with others."""
    if _any(sender.roles, section.allowed_roles):
        yield Membership.ROLE
    if sender.source.chat_id is not None and sender.source.chat_id in section.allowed_chats:
        yield Membership.CHAT
    if sender.team is not None and sender.team in section.allowed_teams:
        yield Membership.TEAM


def _any(ids: Iterable[str], allowed: Container[str]) -> bool:
    return any(entry != ANYONE and entry in allowed for entry in ids)


_ORDER = tuple(Membership)
"""The strongest first."""
