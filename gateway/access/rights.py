"""What somebody who is let in gets, by their role as things stand, and by where they write: which agent, which tools,
which commands, how many turns at once."""

from collections.abc import Collection, Iterator

from config import GatewayConfig, LiveConfig, RoleConfig, RuleConfig
from gateway.access.decision import Role
from gateway.access.gate import Gate
from gateway.access.people import person_of
from gateway.inbound import InboundRecord


class Rights:
    """Reads `access.rules`, `access.roles` and `limits` for who wrote a message."""

    def __init__(self, config: GatewayConfig | LiveConfig, gate: Gate | None = None) -> None:
        self._config = LiveConfig.of(config)
        self._gate = gate or Gate(self._config)

    def agent(self, record: InboundRecord) -> str | None:
        """The agent that answers them, whatever was chosen; None if the configuration does not say."""
        return next((said.agent for said in self._of(record) if said.agent is not None), None)

    def may_use(self, record: InboundRecord, tool: str) -> bool:
        """Whether their agent may use a tool."""
        tools = self.tools(record)
        return tools is None or tool in tools

    def tools(self, record: InboundRecord) -> Collection[str] | None:
        """The names of the tools that their agent may use; None for all."""
        return next((said.tools for said in self._of(record) if said.tools is not None), None)

    def may_run(self, record: InboundRecord, command: str) -> bool:
        """Whether they may use a command, if it is one for their role."""
        commands = next((said.commands for said in self._of(record) if said.commands is not None), None)
        return commands is None or command in commands

    def holder(self, record: InboundRecord) -> str | None:
        """In whose name the turn of a message takes its place among `limits.turns_at_once`; None for no limit, and for
        what another turn of theirs has asked for."""
        person = person_of(record.source)
        if person is None or record.extra.relay is not None:
            return None
        if not self.turns_at_once or self._gate.role(record) is Role.OWNER:
            return None
        return f"{record.source.platform}:{person}"

    @property
    def turns_at_once(self) -> int:
        """How many turns of one person run at once; 0 is no limit."""
        return self._config.current.limits.turns_at_once

    def _of(self, record: InboundRecord) -> Iterator[RoleConfig]:
        """What is said of them, the first thing first. Whoever is let in no more gets what a guest gets, for as long as
        it takes to stop what runs."""
        access = self._config.current.access
        if not (access.rules or access.roles):
            return
        role = (self._gate.role(record) or Role.GUEST).word
        yield from (rule for rule in access.rules.values() if _fits(rule, record, role))
        yield from (section for name, section in access.roles.items() if name == role)


def _fits(rule: RuleConfig, record: InboundRecord, role: str) -> bool:
    """Whether a rule is for a message. None is for owners."""
    source = record.source
    return (
        role != Role.OWNER.word
        and (not rule.roles or role in rule.roles)
        and (not rule.platforms or source.platform in rule.platforms)
        and (not rule.chats or source.chat_id in rule.chats)
    )
