"""The models: defaults, limits, what is derived from them, and that secrets stay in them."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from config import (
    ADAPTER_GROUP,
    AGENT_GROUP,
    DiscordConfig,
    EchoAgentConfig,
    GatewayConfig,
    HomeChannel,
    LocalAgentConfig,
    ModelAgentConfig,
    Platform,
    PlatformConfig,
    PluginAgentConfig,
    PluginPlatformConfig,
    SessionResetPolicy,
    SlackConfig,
    TelegramConfig,
)

VECTORS = Path(__file__).parents[2] / "vectors" / "reset_policy_priority.json"
SECRET = "s3cret-value"


def made(**data: object) -> GatewayConfig:
    return GatewayConfig.model_validate(data)


def test_defaults_need_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HERMES_GATEWAY_HOME", str(tmp_path))
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", SECRET)
    monkeypatch.setenv("HERMES_GATEWAY__HTTP__PORT", "1")
    (tmp_path / "gateway.yaml").write_text("busy: steer\n")
    config = GatewayConfig()
    assert (config.busy, config.http.port, dict(config.platforms)) == ("queue", 8642, {})
    assert config.agent is None
    assert config.sessions.reset == SessionResetPolicy("idle", 4, 1440)
    assert config.http.host == "127.0.0.1"
    assert str(config.zone) == "UTC"


def test_is_frozen() -> None:
    with pytest.raises(ValidationError):
        GatewayConfig().busy = "steer"
    with pytest.raises(AttributeError):
        SessionResetPolicy().mode = "none"  # type: ignore[misc]


# --- reset policies


def test_reset_policy_takes_positions_and_names() -> None:
    assert SessionResetPolicy() == SessionResetPolicy(mode="idle", at_hour=4, idle_minutes=1440)
    assert SessionResetPolicy("daily", 0) == SessionResetPolicy(mode="daily", at_hour=0)


@pytest.mark.parametrize(
    "values",
    [
        {"mode": "weekly"},
        {"at_hour": 24},
        {"at_hour": -1},
        {"at_hour": True},
        {"at_hour": 4.5},
        {"idle_minutes": -1},
        {"idle_minutes": 0.5},
        {"unknown": 1},
    ],
)
def test_reset_policy_refuses(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SessionResetPolicy(**values)


def test_partial_override_inherits_the_defaults_of_the_class() -> None:
    config = made(sessions={"reset": {"mode": "both", "at_hour": 7}, "reset_by_type": {"group": {"idle_minutes": 5}}})
    assert config.get_reset_policy(None, "group") == SessionResetPolicy("idle", 4, 5)


def _policy(text: str) -> dict[str, object]:
    mode, _, number = text.partition("/")
    key = {"idle": "idle_minutes", "daily": "at_hour"}.get(mode)
    return {"mode": mode} | ({key: int(number)} if key else {})


def _sessions(text: str) -> dict[str, Any]:
    sessions: dict[str, Any] = {}
    for part in text.split("; "):
        place, _, policy = part.partition("=")
        if place == "default":
            sessions["reset"] = _policy(policy)
        else:
            table, _, name = place.partition(".")
            sessions.setdefault(f"reset_{table}", {})[name] = _policy(policy)
    return sessions


@pytest.mark.parametrize(
    "case",
    [case for case in json.loads(VECTORS.read_text(encoding="utf-8"))["cases"] if case["mark"] != "drop"],
    ids=lambda case: case["id"],
)
def test_reset_policy_priority(case: dict[str, Any]) -> None:
    given = case["input"]
    config = made(sessions=_sessions(given["config"]))
    assert config.get_reset_policy(given["platform"], given["session_type"]).mode == case["expected"]


def test_reset_policy_of_a_platform_value_and_of_unknown_types() -> None:
    config = made(sessions={"reset_by_platform": {"discord": {"mode": "none"}}})
    assert config.get_reset_policy(Platform.DISCORD, "dm").mode == "none"
    assert config.get_reset_policy("discord").mode == "none"
    assert config.get_reset_policy("telegram", "other").mode == "idle"
    assert config.get_reset_policy().mode == "idle"


# --- platforms


def test_each_platform_has_its_own_model() -> None:
    config = made(platforms={name: {} for name in ("telegram", "discord", "slack", "irc")})
    kinds = {str(name): type(section) for name, section in config.platforms.items()}
    assert kinds == {
        "telegram": TelegramConfig,
        "discord": DiscordConfig,
        "slack": SlackConfig,
        "irc": PlatformConfig,
    }


def test_section_switches_on_unless_it_says_no() -> None:
    config = made(platforms={"telegram": None, "discord": {"enabled": False}, "slack": {"enabled": True}})
    assert config.enabled_platforms == ("local", "telegram", "slack")
    assert config.platform("telegram").enabled is True
    assert config.platform("discord").enabled is False
    assert config.platform("matrix").enabled is False
    assert config.platform("local").enabled is True
    assert isinstance(config.platform(Platform.DISCORD), DiscordConfig)


def test_platform_of_an_unknown_name_is_an_error() -> None:
    with pytest.raises(ValueError, match="did you mean 'slack'"):
        GatewayConfig().platform("slak")


def test_ready_made_sections_are_kept() -> None:
    section = TelegramConfig(token=SecretStr(SECRET), home_channel=HomeChannel(chat_id="7"))
    assert GatewayConfig(platforms={Platform.TELEGRAM: section}).platforms[Platform.TELEGRAM] is section


def test_ids_may_be_written_as_numbers() -> None:
    section = made(platforms={"telegram": {"allowed_users": [12], "home_channel": {"chat_id": -100}}})
    telegram = section.platform("telegram")
    assert telegram.allowed_users == ("12",)
    assert telegram.home_channel == HomeChannel(chat_id="-100")


@pytest.mark.parametrize(
    ("section", "fault"),
    [
        ({"slack": {"token": SECRET}}, "write bot_token"),
        ({"local": {"enabled": False}}, "True"),
        ({"local": {"token": SECRET}}, "no account"),
        ({"telegram": {"api_base_url": "ftp://x"}}, "https://"),
        ({"telegram": {"api_base_url": "https://u:p@x"}}, "without a user"),
        ({"telegram": {"api_base_url": "https://x:port"}}, "web address"),
        ({"discord": {"gateway_url": "https://x"}}, "wss://"),
        ({"irc": {"nick": "x"}}, "Extra inputs"),
        ({"telegarm": {}}, "did you mean 'telegram'"),
        ({"telegram": 5}, "section"),
    ],
)
def test_platform_section_refuses(section: object, fault: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(fault)) as caught:
        made(platforms=section)
    assert SECRET not in str(caught.value)


def test_adapter_of_another_package_defines_keys(install: Callable[[str, str], None]) -> None:
    install(ADAPTER_GROUP, "zulip")
    install(ADAPTER_GROUP, "matrix")
    config = made(
        platforms={"zulip": {"site": "x", "token": SECRET, "password": SECRET}, "matrix": {"options": {"a": 1}, "b": 2}}
    )
    zulip, matrix = config.platform("zulip"), config.platform("matrix")
    assert isinstance(zulip, PluginPlatformConfig)
    assert dict(zulip.options) == {"site": "x", "password": SECRET}
    assert zulip.token == SecretStr(SECRET)
    assert isinstance(matrix, PluginPlatformConfig)
    assert dict(matrix.options) == {"a": 1, "b": 2}
    assert SECRET not in repr(config)


# --- agents


def test_agent_models_by_type(install: Callable[[str, str], None]) -> None:
    install(AGENT_GROUP, "oracle")
    agents = made(
        agents={
            "a": {"type": "echo", "delay_ms": 5},
            "b": {"type": "local"},
            "c": {"type": "model", "model": "openai:gpt-5-mini"},
            "d": {"type": "oracle", "depth": 3},
        }
    ).agents
    assert agents["a"] == EchoAgentConfig(delay_ms=5)
    assert agents["b"] == LocalAgentConfig(context_tokens=4096, max_output_tokens=512, timeout=600.0)
    assert isinstance(agents["c"], ModelAgentConfig)
    assert agents["d"] == PluginAgentConfig(type="oracle", options={"depth": 3})


@pytest.mark.parametrize(
    ("agent", "fault"),
    [
        ({}, "required"),
        ({"type": "modle"}, "did you mean 'model'"),
        ({"type": "model"}, "required"),
        ({"type": "model", "model": "gpt-5"}, "pattern"),
        ({"type": "model", "model": "openai:x", "temperature": 3}, "less than or equal to 2"),
        ({"type": "echo", "depth": 1}, "Extra inputs"),
    ],
)
def test_agent_refuses(agent: object, fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        made(agents={"a": agent})


@pytest.mark.parametrize("name", ["", "a b", "-a", "a.b", "ä"])
def test_agent_name_is_a_plain_word(name: str) -> None:
    with pytest.raises(ValidationError, match="letters, digits"):
        made(agents={name: {"type": "echo"}})


def test_echo_and_local_need_no_definition() -> None:
    assert made(agent="echo").agent_config("echo") == EchoAgentConfig()
    assert made(agent="local").agent_config("local") == LocalAgentConfig()
    own = made(agents={"echo": {"type": "echo", "delay_ms": 9}}).agent_config("echo")
    assert own == EchoAgentConfig(delay_ms=9)
    with pytest.raises(KeyError):
        GatewayConfig().agent_config("model")


def test_agent_must_be_defined() -> None:
    with pytest.raises(ValidationError, match="did you mean 'assistant'"):
        made(agent="asistant", agents={"assistant": {"type": "echo"}})


# --- single values


@pytest.mark.parametrize(
    "data",
    [
        {"timezone": "Europe/Berln"},
        {"timezone": "America"},
        {"timezone": "../etc/passwd"},
        {"timezone": "\0"},
        {"http": {"port": 65536}},
        {"http": {"port": True}},
        {"http": {"host": ""}},
        {"turns": {"attempts": 0}},
        {"drain_seconds": float("nan")},
        {"drain_seconds": float("inf")},
        {"storage": {"synchronous": "off"}},
        {"sessions": {"reset_by_type": {"groop": {}}}},
        {"unknown": 1},
    ],
)
def test_refuses(data: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        GatewayConfig.model_validate(data)


def test_secrets_are_in_no_text() -> None:
    config = made(
        http={"api_key": SECRET},
        agents={"a": {"type": "model", "model": "x:y", "api_key": SECRET}},
        platforms={
            "telegram": {"token": SECRET},
            "slack": {"bot_token": SECRET, "app_token": SECRET, "signing_secret": SECRET},
        },
    )
    for text in (repr(config), str(config), str(config.model_dump()), config.model_dump_json()):
        assert SECRET not in text
    slack = config.platform("slack")
    assert isinstance(slack, SlackConfig)
    assert slack.signing_secret is not None
    assert slack.signing_secret.get_secret_value() == SECRET
