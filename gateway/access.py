"""Who may talk to the agent: a pure decision from the message and the configuration. Closed by default."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from config import GatewayConfig
from gateway.ports import InboundMessage
from gateway.source import SessionSource

ANYONE = "*"
"""In an allowlist: whoever writes. It has to be written out."""


class Verdict(StrEnum):
    """What to do with a message."""

    ALLOW = "allow"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict and its reason, in words for the operator."""

    verdict: Verdict
    reason: str

    @property
    def allowed(self) -> bool:
        """Whether the message goes on."""
        return self.verdict is Verdict.ALLOW


def decide(message: InboundMessage, config: GatewayConfig, *, operator: bool) -> Decision:
    """Whether this message reaches the agent. `operator`: its platform is in the hands of the owner alone."""
    if not message.addressed:
        return Decision(Verdict.IGNORE, "not addressed to us")
    if operator:
        return Decision(Verdict.ALLOW, "the owner, at this machine")
    source = message.source
    section = config.platforms.get(source.platform)
    if section is not None and _listed(source, section.allowed_users):
        return Decision(Verdict.ALLOW, f"in platforms.{source.platform}.allowed_users")
    if _listed(source, config.allowed_users, platform=str(source.platform)):
        return Decision(Verdict.ALLOW, "in allowed_users")
    return Decision(Verdict.IGNORE, "not in allowed_users")


def _listed(source: SessionSource, allowed: Iterable[str], platform: str | None = None) -> bool:
    """Whether one of the person's ids is listed exactly; in the global list also as `platform:id`."""
    people = {person for person in (source.user_id, source.user_id_alt) if person}
    if platform is not None:
        people |= {f"{platform}:{person}" for person in people}
    return any(entry == ANYONE or entry in people for entry in allowed)
