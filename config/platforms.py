"""Owns the sections of the platforms."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from config.access import NamedId, Policy
from config.fields import BaseUrl, HttpUrl, Id, PathText, Section, WebSocketUrl, collect_options, suggestion
from config.platform import ADAPTER_GROUP, installed_names, known_platforms

_SECRET_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{1,256}")
"""What Telegram takes for one (https://core.telegram.org/bots/api#setwebhook)."""


class HomeChannel(Section):
    """Where a platform's unprompted messages go."""

    chat_id: Id = Field(description="Id of the chat, as the platform writes it.")
    name: str | None = Field(default=None, description="Name that people know the chat by.")
    thread_id: Id | None = Field(default=None, description="Id of the thread or topic inside the chat.")


class PlatformConfig(Section):
    """What every platform's section can hold."""

    unused: ClassVar[Mapping[str, str]] = {}
    """Keys of this base that a platform has no use for, with what to write instead."""

    core_keys: ClassVar[frozenset[str]] = frozenset(
        {
            "allowed_users",
            "allowed_roles",
            "allowed_chats",
            "allowed_teams",
            "allowed_bots",
            "dm_policy",
            "group_policy",
            "home_channel",
        }
    )
    """Keys that the core reads, each time anew. No adapter reads them: it is not restarted when one changes."""

    enabled: bool | None = Field(
        default=None,
        description="Connect to this platform; where it is not set, the section's presence switches it on.",
    )
    token: SecretStr | None = Field(default=None, description="The bot's token.")
    token_file: PathText | None = Field(default=None, description="File that holds the token.")
    api_base_url: HttpUrl | None = Field(
        default=None,
        description="Address of the platform's API, for a server of your own or a proxy.",
    )
    allowed_users: tuple[Id, ...] = Field(
        default=(),
        description="Ids of the people who may talk to the agent here, besides those who were paired.",
    )
    allowed_roles: tuple[NamedId, ...] = Field(
        default=(), description="Ids of the platform's own roles whose members may talk to the agent here."
    )
    allowed_chats: tuple[NamedId, ...] = Field(
        default=(), description="Ids of the chats in which everybody may talk to the agent, as a guest."
    )
    allowed_teams: tuple[NamedId, ...] = Field(
        default=(),
        description="Ids of the workspaces or servers in which everybody may talk to the agent, as a guest.",
    )
    allowed_bots: tuple[NamedId, ...] = Field(
        default=(), description="Ids of the bots that are answered; all others are ignored."
    )
    dm_policy: Policy | None = Field(
        default=None, description="Who is answered in direct messages here; not set: as access.dm says."
    )
    group_policy: Policy | None = Field(
        default=None, description="Who is answered in groups, channels and threads here; not set: as access.group says."
    )
    home_channel: HomeChannel | None = Field(
        default=None, description="Chat for messages that nobody asked for, such as notices."
    )

    @field_validator("token", "token_file", "api_base_url", mode="before")
    @classmethod
    def _refuse_unused(cls, value: object, info: ValidationInfo) -> object:
        instead = cls.unused.get(info.field_name or "")
        if value is not None and instead is not None:
            raise PydanticCustomError("unused_key", "has no meaning here: {hint}", {"hint": instead})
        return value

    @classmethod
    def required(cls, section: Mapping[str, object]) -> tuple[str, ...]:
        """Return the secrets without which the platform cannot be reached, given the rest of its section."""
        del section
        return ()


class LocalConfig(PlatformConfig):
    """The terminal, always on."""

    unused: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("token", "token_file", "api_base_url"), "the terminal needs no account"
    )

    enabled: Literal[True] | None = Field(default=None, description="The terminal is always on.")


class TelegramConfig(PlatformConfig):
    """A Telegram bot."""

    token: SecretStr | None = Field(default=None, description="The bot's token, from @BotFather.")
    api_base_url: BaseUrl = Field(
        default="https://api.telegram.org",
        description="Address of the Bot API, for calls and file downloads alike.",
    )
    mode: Literal["polling", "webhook"] = Field(
        default="polling",
        description="How updates arrive: the gateway asks for them (polling), or Telegram posts them to its HTTP"
        " listener (webhook).",
    )
    webhook_url: HttpUrl | None = Field(
        default=None,
        description="Address at which Telegram reaches /platforms/telegram/ of the HTTP listener; for mode webhook.",
    )
    secret_token: SecretStr | None = Field(
        default=None,
        description="Proves a post to be Telegram's: 1 to 256 letters, digits, _ and - that you make up; for mode"
        " webhook.",
    )
    secret_token_file: PathText | None = Field(default=None, description="File that holds the secret token.")
    require_mention: bool = Field(
        default=True,
        description="In groups and channels, answer only what mentions the bot, replies to it, or is a command.",
    )
    link_previews: bool = Field(default=False, description="Show previews of the links in an answer.")
    max_messages: int = Field(
        default=4, ge=1, le=20, description="Messages that an answer may take; one that is longer comes as a file too."
    )

    @field_validator("secret_token")
    @classmethod
    def _check_secret_token(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _SECRET_TOKEN.fullmatch(value.get_secret_value()):
            raise PydanticCustomError("secret_token", "must be 1 to 256 letters, digits, _ and -")
        return value

    @classmethod
    def required(cls, section: Mapping[str, object]) -> tuple[str, ...]:
        """Return the keys without which Telegram cannot be reached in the mode that is set."""
        return ("token", "webhook_url", "secret_token") if section.get("mode") == "webhook" else ("token",)


class DiscordConfig(PlatformConfig):
    """A Discord bot."""

    token: SecretStr | None = Field(default=None, description="The bot's token, from the developer portal.")
    api_base_url: BaseUrl = Field(
        default="https://discord.com/api/v10", description="Address of the REST API, with its version."
    )
    gateway_url: WebSocketUrl = Field(default="wss://gateway.discord.gg", description="Address of the event gateway.")
    threads: Literal["off", "auto"] = Field(
        default="off",
        description="Where a mention in a channel is answered: in the channel (off), or in a thread opened"
        " for it (auto).",
    )
    require_mention: bool = Field(
        default=True,
        description="In servers, answer only mentions, replies, commands, and what is in the bot's own threads.",
    )
    free_channels: tuple[Id, ...] = Field(
        default=(),
        description="Ids of channels, threads and categories in which nobody has to mention the bot.",
    )
    allow_mentions: bool = Field(
        default=False, description="Let an answer notify the people whom it names as <@ID>; never everyone, nor roles."
    )
    reactions: bool = Field(
        default=False,
        description="Mark a message with 👀 from when it is taken in until its answer begins.",
    )
    command_guilds: tuple[Id, ...] = Field(
        default=(),
        description="Ids of servers that get commands of their own; others then get none in their menu.",
    )
    max_messages: int = Field(
        default=4, ge=1, le=20, description="Messages that an answer may take; one that is longer comes as a file too."
    )

    @classmethod
    def required(cls, section: Mapping[str, object]) -> tuple[str, ...]:
        """Return the secrets without which Discord cannot be reached."""
        del section
        return ("token",)


class SlackConfig(PlatformConfig):
    """A Slack app."""

    unused: ClassVar[Mapping[str, str]] = {
        "token": "write bot_token (xoxb-…) and app_token (xapp-…)",
        "token_file": "write bot_token_file and app_token_file",
    }

    bot_token: SecretStr | None = Field(default=None, description="The bot's token (xoxb-…).")
    bot_token_file: PathText | None = Field(default=None, description="File that holds the bot's token.")
    workspaces: tuple[SecretStr, ...] = Field(
        default=(), description="The app's bot tokens (xoxb-…) in further workspaces."
    )
    app_token: SecretStr | None = Field(
        default=None, description="The app-level token (xapp-…) with connections:write; for mode socket."
    )
    app_token_file: PathText | None = Field(default=None, description="File that holds the app-level token.")
    signing_secret: SecretStr | None = Field(
        default=None,
        description="The app's signing secret, which proves a request to be Slack's; for mode http.",
    )
    signing_secret_file: PathText | None = Field(default=None, description="File that holds the app's signing secret.")
    mode: Literal["socket", "http"] = Field(
        default="socket",
        description="How events arrive: over a connection that the gateway opens (socket), or as requests to"
        " its HTTP listener (http).",
    )
    api_base_url: BaseUrl = Field(default="https://slack.com/api/", description="Address of the Web API.")
    require_mention: bool = Field(
        default=True,
        description="In channels, answer only what mentions the bot, replies to it, is a command, or is written in a"
        " thread that the bot was called into.",
    )
    free_channels: tuple[Id, ...] = Field(
        default=(), description="Ids of channels in which nobody has to mention the bot."
    )
    follow_threads: bool = Field(
        default=True, description="In a thread that the bot was called into, answer what follows without a mention."
    )
    allow_mentions: bool = Field(
        default=False, description="Let an answer notify the people whom it names as <@ID>; never a channel or a group."
    )
    link_previews: bool = Field(default=False, description="Show previews of the links in an answer.")
    max_messages: int = Field(
        default=4, ge=1, le=20, description="Messages that an answer may take; one that is longer comes as a file too."
    )
    streaming: bool = Field(
        default=True,
        description="In threads of direct messages, let answers grow by Slack's own streaming; everywhere else, and"
        " where a workspace does not have it, they grow by edits.",
    )
    reactions: bool = Field(
        default=False,
        description="Mark a message with 👀 from when it is taken in until its answer comes; needs reactions:write.",
    )
    suggested_prompts: tuple[str, ...] = Field(
        default=("What can you do?", "Help me write a message", "Explain something to me"),
        max_length=4,
        description="Prompts that are suggested to whoever opens the bot's pane; Slack shows four at most.",
    )

    @classmethod
    def required(cls, section: Mapping[str, object]) -> tuple[str, ...]:
        """Return the secrets without which Slack cannot be reached in the mode that is set."""
        return ("bot_token", "signing_secret" if section.get("mode") == "http" else "app_token")


class PluginPlatformConfig(PlatformConfig):
    """A platform whose adapter comes from another package: keys of its own are kept as they are."""

    options: Mapping[str, Any] = Field(
        default_factory=dict, repr=False, description="Keys that the adapter itself defines."
    )

    @model_validator(mode="before")
    @classmethod
    def _keep_own_keys(cls, data: object) -> object:
        return collect_options(cls, data)


_PLATFORM_MODELS: Final[Mapping[str, type[PlatformConfig]]] = {
    "local": LocalConfig,
    "telegram": TelegramConfig,
    "discord": DiscordConfig,
    "slack": SlackConfig,
}


def platform_model(name: str) -> type[PlatformConfig]:
    """Return the model of a platform's section."""
    if name in _PLATFORM_MODELS:
        return _PLATFORM_MODELS[name]
    return PluginPlatformConfig if name in installed_names(ADAPTER_GROUP) else PlatformConfig


def section_model(name: object) -> type[PlatformConfig]:
    """Return the model of the section `name`; an unknown one is a pydantic error with the nearest name."""
    known = known_platforms()
    if not isinstance(name, str) or name not in known:
        raise PydanticCustomError("platform", "unknown platform: {hint}", {"hint": suggestion(str(name), known)})
    return platform_model(name)
