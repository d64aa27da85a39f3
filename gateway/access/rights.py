"""What somebody who is let in gets, by their role as things stand: which agent, which tools, how many turns at once."""

from config import GatewayConfig, LiveConfig, RoleConfig
from gateway.access.decision import Role
from gateway.access.gate import Gate
from gateway.access.people import person_of
from gateway.inbound import InboundRecord

NOTHING_SAID = RoleConfig()


class Rights:
    """Reads `access.roles` and `limits` for who wrote a message."""

    def __init__(self, config: GatewayConfig | LiveConfig, gate: Gate | None = None) -> None:
        self._config = LiveConfig.of(config)
        self._gate = gate or Gate(self._config)

    def agent(self, record: InboundRecord) -> str | None:
        """The agent that answers them, whatever was chosen; None if the configuration does not say."""
        return self._of(record).agent

    def may_use(self, record: InboundRecord, tool: str) -> bool:
        """Whether their agent may use a tool."""
        tools = self._of(record).tools
        return tools is None or tool in tools

    def holder(self, record: InboundRecord) -> str | None:
        """In whose name the turn of a message takes its place among `limits.turns_at_once`; None for no limit."""
        person = person_of(record.source)
        if person is None or not self.turns_at_once or self._gate.role(record) is Role.OWNER:
            return None
        return f"{record.source.platform}:{person}"

    @property
    def turns_at_once(self) -> int:
        """How many turns of one person run at once; 0 is no limit."""
        return self._config.current.limits.turns_at_once

    def _of(self, record: InboundRecord) -> RoleConfig:
        """Whoever is let in no more gets what a guest gets, for as long as it takes to stop what runs."""
        if not (roles := self._config.current.access.roles):
            return NOTHING_SAID
        role = self._gate.role(record) or Role.GUEST
        for name, section in roles.items():
            if name == role.word:
                return section
        return NOTHING_SAID
