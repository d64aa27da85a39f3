"""Loading: which file, which source comes first, what the environment and references mean, and the origins."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from config import (
    ADAPTER_GROUP,
    ConfigError,
    DiscordConfig,
    GatewayConfig,
    ModelAgentConfig,
    PluginPlatformConfig,
    SessionResetPolicy,
    SlackConfig,
    load_config,
    load_settings,
)
from config.environment import CUSTOMARY
from tests.unit.config.support import Sandbox

PUBLIC_EXAMPLE = """\
timezone: Europe/Berlin
agent: assistant
agents:
  assistant:
    type: model
    model: openai:gpt-5-mini
    base_url: http://127.0.0.1:8080/v1
    api_key: ${OPENAI_API_KEY}
    system_prompt: You are …
    timeout: 600
sessions:
  reset: {mode: idle, idle_minutes: 1440, at_hour: 4}
  reset_by_type: {group: {mode: idle, idle_minutes: 120}}
  reset_by_platform: {discord: {mode: none}}
busy: queue
platforms:
  telegram: {token: t, api_base_url: https://api.telegram.org, home_channel: {chat_id: "-1", name: Home}}
  discord:  {token: d, api_base_url: https://discord.com/api/v10, gateway_url: wss://gateway.discord.gg}
  slack:    {bot_token: b, app_token: a, api_base_url: https://slack.com/api/, allowed_users: []}
storage: {synchronous: full, jsonl_mirror: false, retention_days: 0}
http: {enabled: true, host: 127.0.0.1, port: 8642, api_key: ${HERMES_GATEWAY_API_KEY}}
"""


def token(config: GatewayConfig, platform: str) -> str | None:
    secret = config.platform(platform).token
    return secret.get_secret_value() if secret else None


# --- which file


def test_every_file_that_decides_is_named_whether_or_not_it_is_there(tmp_path: Path) -> None:
    environ, file = {"HERMES_GATEWAY_HOME": str(tmp_path)}, tmp_path / "gateway.yaml"
    assert load_settings(environ=environ).files == (file,)
    file.write_text("platforms: {telegram: {token_file: token}}\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(environ=environ)
    assert caught.value.files == (file, tmp_path / "token")
    (tmp_path / "token").write_text("t")
    assert load_settings(environ=environ).files == (file, tmp_path / "token")
    with pytest.raises(ConfigError) as caught:
        load_settings(tmp_path / "other.yaml", environ=environ)
    assert caught.value.files == (tmp_path / "other.yaml",)


def test_without_a_file_all_is_default(tmp_path: Path) -> None:
    settings = load_settings(environ={"HERMES_GATEWAY_HOME": str(tmp_path)})
    assert settings.config == GatewayConfig()
    assert settings.path is None
    assert set(settings.origin.values()) == {"default"}


def test_file_of_the_home_is_read(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text("busy: steer\n")
    settings = load_settings(environ={"HERMES_GATEWAY_HOME": str(tmp_path)})
    assert settings.config.busy == "steer"
    assert settings.path == tmp_path / "gateway.yaml"


def test_process_environment_is_read_if_none_is_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HERMES_GATEWAY_HOME", str(tmp_path))
    monkeypatch.setenv("HERMES_GATEWAY__BUSY", "interrupt")
    assert load_config().busy == "interrupt"


def test_named_file_comes_before_that_of_the_home(sandbox: Sandbox, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "gateway.yaml").write_text("busy: steer\n")
    sandbox.file.write_text("redact_pii: true\n")
    config = load_config(sandbox.file, environ={"HERMES_GATEWAY_HOME": str(home)})
    assert (config.busy, config.redact_pii) == ("queue", True)
    assert load_config(str(sandbox.file), environ={}).redact_pii


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n", "null\n", "http:\nplatforms:\nagents:\nagent:\n"])
def test_file_without_values_is_all_defaults(sandbox: Sandbox, text: str) -> None:
    assert sandbox.load(text) == GatewayConfig()


def test_byte_order_mark_is_no_part_of_the_file(sandbox: Sandbox) -> None:
    assert sandbox.load("\ufeffbusy: steer\n").busy == "steer"


def test_public_example_loads(sandbox: Sandbox) -> None:
    config = sandbox.load(PUBLIC_EXAMPLE, {"OPENAI_API_KEY": "k"})
    assert config.enabled_platforms == ("local", "telegram", "discord", "slack")
    assistant = config.agent_config("assistant")
    assert isinstance(assistant, ModelAgentConfig)
    assert assistant.api_key == SecretStr("k")
    assert config.http.api_key is None
    assert config.get_reset_policy("telegram", "group") == SessionResetPolicy("idle", 4, 120)
    assert config.get_reset_policy("discord", "group").mode == "none"


# --- which source comes first


def test_precedence(sandbox: Sandbox) -> None:
    text = "http: {port: 1, host: file}\nbusy: steer\nlogging: {level: error}\n"
    environ = {"HERMES_GATEWAY__HTTP__PORT": "2", "HERMES_GATEWAY__BUSY": "interrupt"}
    settings = sandbox.settings(text, environ, {"http.port": 3, "http.host": None})
    config = settings.config
    assert (config.http.port, config.http.host, config.busy, config.logging.level) == (3, "file", "interrupt", "error")
    assert settings.origin["http.port"] == "command line"
    assert settings.origin["http.host"] == f"{sandbox.file}:1"
    assert settings.origin["busy"] == "environment HERMES_GATEWAY__BUSY"
    assert settings.origin["logging.level"] == f"{sandbox.file}:3"
    assert settings.origin["logging.format"] == "default"


def test_exact_name_comes_before_the_customary_one(sandbox: Sandbox) -> None:
    environ = {"TELEGRAM_BOT_TOKEN": "short", "HERMES_GATEWAY__PLATFORMS__TELEGRAM__TOKEN": "exact"}
    assert token(sandbox.load("", environ), "telegram") == "exact"


def test_sources_join_in_one_section(sandbox: Sandbox) -> None:
    text = "platforms: {telegram: {allowed_users: [a]}}\n"
    config = sandbox.load(text, {"TELEGRAM_BOT_TOKEN": "t"}, {"platforms.telegram.api_base_url": "http://x"})
    telegram = config.platform("telegram")
    assert (telegram.allowed_users, token(config, "telegram"), telegram.api_base_url) == (("a",), "t", "http://x")


def test_higher_source_replaces_a_list(sandbox: Sandbox) -> None:
    environ = {"HERMES_GATEWAY__ALLOWED_USERS": "c"}
    assert sandbox.load("allowed_users: [a, b]\n", environ).allowed_users == ("c",)


def test_higher_source_hides_a_reference_that_is_not_set(sandbox: Sandbox) -> None:
    assert sandbox.load("busy: ${NOT_SET}\n", {"HERMES_GATEWAY__BUSY": "steer"}).busy == "steer"


# --- the environment


@pytest.mark.parametrize(
    ("name", "text", "key", "value"),
    [
        ("HTTP__PORT", "9000", "http.port", 9000),
        ("HTTP__ENABLED", "false", "http.enabled", False),
        ("TURNS__RETRY_SECONDS", "0.5", "turns.retry_seconds", 0.5),
        ("ALLOWED_USERS", "1, b ,", "allowed_users", ("1", "b")),
        ("ALLOWED_USERS", '["1", 2]', "allowed_users", ("1", "2")),
        ("SESSIONS__RESET__MODE", "none", "sessions.reset.mode", "none"),
        ("SESSIONS__RESET", '{"mode": "daily"}', "sessions.reset.mode", "daily"),
        ("SESSIONS__RESET_BY_TYPE__GROUP__MODE", "none", "sessions.reset_by_type.group.mode", "none"),
        ("TIMEZONE", "Europe/Berlin", "timezone", "Europe/Berlin"),
        ("AGENT", "echo", "agent", "echo"),
        ("HTTP__PORT", "  ", "http.port", 8642),
        ("http__port", "9000", "http.port", 9000),
    ],
)
def test_any_key_from_the_environment(sandbox: Sandbox, name: str, text: str, key: str, value: object) -> None:
    found: Any = sandbox.load("", {f"HERMES_GATEWAY__{name}": text})
    for part in key.split("."):
        found = found[part] if isinstance(found, dict) else getattr(found, part)
    assert found == value


def test_agent_from_the_environment_alone(sandbox: Sandbox) -> None:
    prefix = "HERMES_GATEWAY__AGENTS__ASSISTANT__"
    environ = {f"{prefix}MODEL": "openai:x", f"{prefix}TYPE": "model", f"{prefix}API_KEY": "[: a"}
    agent = sandbox.load("", environ).agents["assistant"]
    assert isinstance(agent, ModelAgentConfig)
    assert (agent.model, agent.api_key) == ("openai:x", SecretStr("[: a"))


def test_names_of_agents_are_found_whatever_their_case(sandbox: Sandbox) -> None:
    text = "agents: {My-Agent: {type: echo}}\n"
    config = sandbox.load(text, {"HERMES_GATEWAY__AGENTS__MY_AGENT__DELAY_MS": "7"})
    assert config.agents["My-Agent"].model_dump() == {"type": "echo", "delay_ms": 7}


def test_secret_from_the_environment_is_taken_letter_by_letter(sandbox: Sandbox) -> None:
    for secret in ("123", "a: b", "[x", "#y", "0x10", "true", "${X}"):
        environ = {"HERMES_GATEWAY__PLATFORMS__TELEGRAM__TOKEN": secret}
        assert token(sandbox.load("", environ), "telegram") == secret


def test_customary_names_set_their_keys_and_switch_on(sandbox: Sandbox) -> None:
    values = {name: f"value-of-{name}" for name in CUSTOMARY}
    values |= {name: "http://127.0.0.1:1" for name in CUSTOMARY if name.endswith("API_BASE_URL")}
    values |= {"DISCORD_GATEWAY_URL": "ws://127.0.0.1:2", "SLACK_ALLOWED_USERS": "U1,U2"}
    settings = sandbox.settings("", values)
    config = settings.config
    assert config.enabled_platforms == ("local", "telegram", "discord", "slack")
    slack, discord = config.platform("slack"), config.platform("discord")
    assert isinstance(slack, SlackConfig)
    assert slack.app_token == SecretStr("value-of-SLACK_APP_TOKEN")
    assert slack.signing_secret == SecretStr("value-of-SLACK_SIGNING_SECRET")
    assert slack.allowed_users == ("U1", "U2")
    assert isinstance(discord, DiscordConfig)
    assert discord.gateway_url == "ws://127.0.0.1:2"
    assert config.http.api_key == SecretStr("value-of-HERMES_GATEWAY_API_KEY")
    for name, path in CUSTOMARY.items():
        assert settings.origin[".".join(path)] == f"environment {name}"


def test_customary_address_alone_switches_nothing_on(sandbox: Sandbox) -> None:
    environ = {"TELEGRAM_API_BASE_URL": "http://x", "TELEGRAM_ALLOWED_USERS": "1"}
    assert sandbox.load("", environ).enabled_platforms == ("local",)
    config = sandbox.load("platforms: {telegram: {token: t}}\n", environ)
    assert config.platform("telegram").allowed_users == ("1",)


def test_section_that_says_no_stays_off(sandbox: Sandbox) -> None:
    config = sandbox.load("platforms: {telegram: {enabled: false}}\n", {"TELEGRAM_BOT_TOKEN": "t"})
    assert config.enabled_platforms == ("local",)
    config = sandbox.load("", {"TELEGRAM_BOT_TOKEN": "t", "HERMES_GATEWAY__PLATFORMS__TELEGRAM__ENABLED": "false"})
    assert config.enabled_platforms == ("local",)


def test_disabled_platform_needs_no_token_and_no_variables(sandbox: Sandbox) -> None:
    text = "platforms: {slack: {enabled: false, bot_token_file: /none, api_base_url: ${NOT_SET}}}\n"
    assert sandbox.load(text).enabled_platforms == ("local",)


def test_key_of_another_packages_adapter_from_the_environment(
    sandbox: Sandbox, install: Callable[[str, str], None]
) -> None:
    install(ADAPTER_GROUP, "zulip")
    environ = {
        "HERMES_GATEWAY__PLATFORMS__ZULIP__SITE": "https://x",
        "HERMES_GATEWAY__PLATFORMS__ZULIP__DEPTH": "3",
        "HERMES_GATEWAY__PLATFORMS__ZULIP__PASSWORD": "0123",
    }
    zulip = sandbox.load("", environ).platform("zulip")
    assert isinstance(zulip, PluginPlatformConfig)
    assert dict(zulip.options) == {"site": "https://x", "depth": 3, "password": "0123"}


# --- the command line


def test_overrides_are_text_or_values(sandbox: Sandbox, tmp_path: Path) -> None:
    config = sandbox.load(
        "",
        overrides={
            "http.port": "9000",
            "http.api_key": SecretStr("k"),
            "allowed_users": ["a", "b"],
            "media.roots": [str(tmp_path)],
            "sessions.reset_by_type": {"dm": {"mode": "none"}},
            "logging.file": False,
            "http.host": "::1",
        },
    )
    assert (config.http.port, config.http.host, config.http.api_key) == (9000, "::1", SecretStr("k"))
    assert config.allowed_users == ("a", "b")
    assert config.media.roots == (str(tmp_path),)
    assert config.get_reset_policy(None, "dm").mode == "none"
    assert config.logging.file is False


# --- text and types of the file


def test_text_is_taken_as_it_is_written(sandbox: Sandbox) -> None:
    config = sandbox.load(
        "allowed_users: [0123, 1712345678.000100, 1_000, yes]\n"
        "platforms: {discord: {token: 0x1F, threads: off}, telegram: {token: 123456789}}\n"
    )
    assert config.allowed_users == ("0123", "1712345678.000100", "1_000", "yes")
    assert token(config, "discord") == "0x1F"
    assert token(config, "telegram") == "123456789"
    discord = config.platform("discord")
    assert isinstance(discord, DiscordConfig)
    assert discord.threads == "off"


def test_anchors_aliases_and_merge_keys(sandbox: Sandbox) -> None:
    text = (
        "agents:\n  one: &base {type: echo, delay_ms: 1}\n  two: {<<: *base, delay_ms: 2}\n"
        "  three: {<<: [*base]}\nsessions: {reset: &r {mode: none}, reset_by_type: {dm: *r}}\n"
    )
    config = sandbox.load(text)
    delays = {name: agent.model_dump()["delay_ms"] for name, agent in config.agents.items()}
    assert delays == {"one": 1, "two": 2, "three": 1}
    assert config.get_reset_policy(None, "dm").mode == "none"


# --- references


@pytest.mark.parametrize(
    ("text", "environ", "expected"),
    [
        ("${PROMPT}", {"PROMPT": "hi: #there"}, "hi: #there"),
        ("'${PROMPT}'", {"PROMPT": "x"}, "x"),
        ("Say ${PROMPT}, then ${OTHER:-b}!", {"PROMPT": "a"}, "Say a, then b!"),
        ("${PROMPT:-a, b: #c [d]}", {}, "a, b: #c [d]"),
        ("${PROMPT:-d}", {"PROMPT": ""}, "d"),
        ("x${PROMPT:-}y", {}, "xy"),
        ("$${PROMPT} costs $$5 or $6", {"PROMPT": "no"}, "${PROMPT} costs $5 or $6"),
        ("${PROMPT}", {"PROMPT": "${OTHER}", "OTHER": "no"}, "${OTHER}"),
        ("${PROMPT}", {"PROMPT": "12"}, "12"),
        ("|\n      one ${PROMPT}\n      two\n", {"PROMPT": "x"}, "one x\ntwo\n"),
    ],
)
def test_reference(sandbox: Sandbox, text: str, environ: dict[str, str], expected: str) -> None:
    config = sandbox.load(f"agents:\n  a:\n    type: local\n    system_prompt: {text}\n", environ)
    assert config.agents["a"].model_dump()["system_prompt"] == expected


def test_reference_stands_in_a_flow_mapping(sandbox: Sandbox) -> None:
    config = sandbox.load("http: {port: ${PORT}, host: ${HOST:-::1}, enabled: ${ON:-false}}\n", {"PORT": "7"})
    assert (config.http.port, config.http.host, config.http.enabled) == (7, "::1", False)


def test_single_reference_has_the_type_of_what_it_stands_for(sandbox: Sandbox) -> None:
    text = "redact_pii: ${ON}\nhttp: {port: '${PORT}'}\nplatforms: {telegram: {token: ${TOKEN}}}\n"
    config = sandbox.load(text, {"ON": "true", "PORT": "80", "TOKEN": "0123"})
    assert (config.redact_pii, config.http.port, token(config, "telegram")) == (True, 80, "0123")


def test_unset_reference_to_a_secret_means_none(sandbox: Sandbox) -> None:
    config = sandbox.load(
        "http: {api_key: ${NOT_SET}}\nagents: {a: {type: model, model: 'x:y', api_key: '${NOT_SET}'}}\n"
    )
    assert config.http.api_key is None
    assert config.agents["a"].model_dump()["api_key"] is None
    assert sandbox.load("http: {api_key: ${EMPTY}}\n", {"EMPTY": ""}).http.api_key is None


def test_letters_that_hide_references_may_stand_in_the_file(sandbox: Sandbox) -> None:
    text = "agents: {a: {type: local, system_prompt: '\U0010007b \ue07b'}}\n"
    assert sandbox.load(text).agents["a"].model_dump()["system_prompt"] == "\U0010007b \ue07b"


# --- files of secrets


def test_secret_from_a_file_beside_the_configuration(sandbox: Sandbox) -> None:
    (sandbox.folder / "token").write_text("\n  secret \n")
    settings = sandbox.settings("platforms:\n  telegram:\n    token_file: token\n")
    assert token(settings.config, "telegram") == "secret"
    assert settings.origin["platforms.telegram.token"] == f"{sandbox.file}:3"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("http: {api_key_file: KEY}", "http.api_key"),
        ("agents: {a: {type: model, model: 'x:y', api_key_file: KEY}}", "agents.a.api_key"),
        ("platforms: {slack: {app_token: a, bot_token_file: KEY}}", "platforms.slack.bot_token"),
        ("platforms: {slack: {app_token_file: KEY, bot_token: b}}", "platforms.slack.app_token"),
        (
            "platforms: {slack: {mode: http, bot_token: b, signing_secret_file: KEY}}",
            "platforms.slack.signing_secret",
        ),
    ],
)
def test_every_secret_may_be_in_a_file(sandbox: Sandbox, text: str, key: str) -> None:
    (sandbox.folder / "key").write_text("secret")
    found: Any = sandbox.load(text.replace("KEY", str(sandbox.folder / "key")))
    for part in key.split("."):
        found = found[part] if isinstance(found, dict) else getattr(found, part)
    assert found.get_secret_value() == "secret"


def test_higher_source_decides_between_secret_and_file(sandbox: Sandbox) -> None:
    (sandbox.folder / "token").write_text("from file")
    named = str(sandbox.folder / "token")
    config = sandbox.load("platforms: {telegram: {token_file: token}}\n", {"TELEGRAM_BOT_TOKEN": "env"})
    assert token(config, "telegram") == "env"
    variable = "HERMES_GATEWAY__PLATFORMS__TELEGRAM__TOKEN_FILE"
    assert token(sandbox.load("platforms: {telegram: {token: yaml}}\n", {variable: named}), "telegram") == "from file"


def test_error_lists_every_problem(sandbox: Sandbox) -> None:
    sandbox.file.write_text("busy: x\nhttp: {port: x}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(sandbox.file, environ={"HERMES_GATEWAY__X": "1"}, overrides={"y": 1})
    places = [problem.place for problem in caught.value.problems]
    assert places == [
        f"{sandbox.file}:1",
        f"{sandbox.file}:2",
        "command line",
        "environment HERMES_GATEWAY__X",
    ]
    assert str(caught.value).count("\n") == 3
