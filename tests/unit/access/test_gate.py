"""Strangers stay out: who reaches the agent, by the configuration alone."""

from typing import Any

import pytest

from config import GatewayConfig, Platform
from gateway.access import Verdict, decide
from gateway.ports import InboundMessage
from gateway.source import SessionSource


def message(user_id: str | None, *, addressed: bool = True, alt: str | None = None) -> InboundMessage:
    source = SessionSource(Platform.TELEGRAM, chat_id="1", user_id=user_id, user_id_alt=alt)
    return InboundMessage(source, "m", "hello", addressed=addressed)


def allowed(*people: str, platform: tuple[str, ...] = ()) -> GatewayConfig:
    section: dict[str, Any] = {"allowed_users": people}
    if platform:
        section["platforms"] = {"telegram": {"token": "t", "allowed_users": platform}}
    return GatewayConfig.model_validate(section)


@pytest.mark.parametrize(
    ("config", "asked", "operator", "verdict"),
    [
        (allowed(), message("7"), False, Verdict.IGNORE),
        (allowed(), message("7"), True, Verdict.ALLOW),
        (allowed("7"), message("7"), False, Verdict.ALLOW),
        (allowed("7"), message("77"), False, Verdict.IGNORE),
        (allowed("telegram:7"), message("7"), False, Verdict.ALLOW),
        (allowed("slack:7"), message("7"), False, Verdict.IGNORE),
        (allowed("lasting"), message("7", alt="lasting"), False, Verdict.ALLOW),
        (allowed("*"), message("anyone"), False, Verdict.ALLOW),
        (allowed("*"), message(None), False, Verdict.ALLOW),
        (allowed("7"), message(None), False, Verdict.IGNORE),
        (allowed(platform=("7",)), message("7"), False, Verdict.ALLOW),
        (allowed(platform=("8",)), message("7"), False, Verdict.IGNORE),
        (allowed("*"), message("7", addressed=False), False, Verdict.IGNORE),
        (allowed("*"), message("7", addressed=False), True, Verdict.IGNORE),
    ],
)
def test_who_reaches_the_agent(config: GatewayConfig, asked: InboundMessage, operator: bool, verdict: Verdict) -> None:
    decision = decide(asked, config, operator=operator)
    assert decision.verdict is verdict
    assert decision.allowed == (verdict is Verdict.ALLOW)
    assert decision.reason
