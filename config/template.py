"""Owns the commented file that `config init` writes, made from what the models say of themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from textwrap import wrap
from typing import Any, Final

from pydantic.fields import FieldInfo

from config.agents import agent_model
from config.models import GatewayConfig
from config.platforms import platform_model
from config.schema import FILE_SUFFIX, Shape, fields_of, in_words, shape_of
from config.show import in_yaml

_WIDTH: Final = 96

_HEAD: Final = """\
# The configuration of Hermes Gateway.
#
# Each key is shown with its default: remove the # before it and write what you want. A line that ends
# in "# example" has no default; what it shows is only an example.
#
# ${NAME} and ${NAME:-default} are replaced from the environment. For each secret there is a key that
# ends in _file instead, such as token_file, which names a file that holds it. Any key can be set in
# the environment too, such as HERMES_GATEWAY__HTTP__PORT=9000.
#
# Check this file with: hermes-gateway config check
"""

_EXAMPLES: Final[Mapping[str, str]] = {
    "agent": "assistant",
    "owners": '["telegram:123456789"]',
    "allowed_users": '["123456789"]',
    "access.admins": '["telegram:987654321"]',
    "access.roles": "{guest: {tools: []}}",
    "access.rules": '{kitchen: {chats: ["-1001234567890"], agent: small}}',
    "sessions.reset_by_type": "{group: {mode: idle, idle_minutes: 120}}",
    "sessions.reset_by_platform": "{discord: {mode: none}}",
    "http.api_key": "${HERMES_GATEWAY_API_KEY}",
    "media.roots": "[/srv/files]",
    "media.transcriber.model": "whisper-1",
    "media.transcriber.api_key": "${OPENAI_API_KEY}",
    "media.transcriber.language": "de",
    "agents.assistant.model": "openai:gpt-5-mini",
    "agents.assistant.base_url": "http://127.0.0.1:8080/v1",
    "agents.assistant.api_key": "${OPENAI_API_KEY}",
    "agents.assistant.system_prompt": "You are a helpful assistant.",
    "agents.assistant.context_tokens": "128000",
    "agents.assistant.max_output_tokens": "4096",
    "agents.assistant.temperature": "0.7",
    "agents.small.system_prompt": "You are a helpful assistant.",
    "platforms.telegram.enabled": "true",
    "platforms.telegram.token": "${TELEGRAM_BOT_TOKEN}",
    "platforms.telegram.allowed_users": '["123456789"]',
    "platforms.telegram.dm_policy": "pair",
    "platforms.telegram.group_policy": "allowlist",
    "platforms.telegram.home_channel": '{chat_id: "-1001234567890", name: Family}',
    "platforms.discord.enabled": "true",
    "platforms.discord.token": "${DISCORD_BOT_TOKEN}",
    "platforms.discord.allowed_users": '["123456789012345678"]',
    "platforms.discord.dm_policy": "pair",
    "platforms.discord.group_policy": "allowlist",
    "platforms.discord.home_channel": '{chat_id: "123456789012345678", name: general}',
    "platforms.slack.enabled": "true",
    "platforms.slack.bot_token": "${SLACK_BOT_TOKEN}",
    "platforms.slack.app_token": "${SLACK_APP_TOKEN}",
    "platforms.slack.signing_secret": "${SLACK_SIGNING_SECRET}",
    "platforms.slack.allowed_users": "[U0123456789]",
    "platforms.slack.dm_policy": "pair",
    "platforms.slack.group_policy": "allowlist",
    "platforms.slack.home_channel": "{chat_id: C0123456789, name: general}",
}

_SAMPLES: Final[Mapping[str, Mapping[str, Any]]] = {
    "agents": {
        "assistant": agent_model("model"),
        "small": agent_model("local"),
        "parrot": agent_model("echo"),
    },
    "platforms": {name: platform_model(name) for name in ("telegram", "discord", "slack")},
}
"""Sections whose names the operator chooses, with those that the file shows."""


def render_template() -> str:
    """Return the commented default file.

    Read as it is, it holds the defaults. Prose starts with `# `, a key that can be uncommented with `#`.
    """
    return "\n".join([_HEAD.rstrip(), *_section(GatewayConfig, ())]) + "\n"


def _section(model: Any, path: tuple[str, ...], *, sample: bool = False) -> Iterator[str]:  # noqa: ANN401
    for name, info in fields_of(model).items():
        if name.endswith(FILE_SUFFIX):
            continue
        below = (*path, name)
        shape = shape_of(info.annotation, info, name)
        if not sample or len(path) < 2:
            yield ""
        if not path and name in _SAMPLES:
            yield from _samples(name, shape)
        elif shape.is_section and info.default_factory is not None:
            yield from _prose(shape.description, len(path))
            yield f"{_indent(path)}{name}:"
            yield from _section(shape.type, below)
        else:
            yield from _prose(_meaning(shape), len(path))
            yield _setting(below, info, sample=sample)


def _samples(name: str, shape: Shape) -> Iterator[str]:
    yield from _prose(shape.description, 0)
    yield f"{name}:"
    for sample, model in _SAMPLES[name].items():
        yield ""
        yield from _prose((model.__doc__ or "").strip(), 1)
        yield f"  #{sample}:  # example"
        yield from _section(model, (name, sample), sample=True)


def _meaning(shape: Shape) -> str:
    """Return the description, with the choices where there are some that it does not name."""
    words = in_words(shape)
    named = not words.startswith("one of ") or all(f"({choice})" in shape.description for choice in shape.args)
    return shape.description if named else f"{shape.description} {words[0].upper()}{words[1:]}."


def _setting(path: tuple[str, ...], info: FieldInfo, *, sample: bool) -> str:
    key = ".".join(path)
    start = f"{_indent(path[:-1])}#{path[-1]}:"
    if key in _EXAMPLES:
        return f"{start} {_EXAMPLES[key]}  # example"
    default = info.get_default(call_default_factory=True, validated_data={})
    value = "" if default is None else f" {in_yaml(default)}"
    return f"{start}{value}{'  # example' if sample else ''}"


def _prose(text: str, depth: int) -> Iterator[str]:
    indent = "  " * depth
    yield from wrap(text, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")


def _indent(path: tuple[str, ...]) -> str:
    return "  " * len(path)
