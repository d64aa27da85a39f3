"""Owns `GatewayConfig`, everything that an operator can set, and the sections that are its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, Field, SecretStr, SerializeAsAny, field_validator, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from config.access import AccessConfig, LimitsConfig, PersonId, RoleConfig
from config.agents import IMPLICIT_AGENTS, AgentConfig, agent_model, agent_section_model
from config.fields import STRICT, BaseUrl, Float, Id, Int, PathText, Section, choose_sections, suggestion
from config.memory import MemoryConfig
from config.platform import Platform, nearest
from config.platforms import PlatformConfig, platform_model, section_model
from config.tools import ToolsConfig
from config.webhooks import WebhookConfig, WebhookName

ResetMode = Literal["none", "idle", "daily", "both"]
SessionType = Literal["dm", "group", "channel", "thread"]
HostName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,253}$")]

UNDEFINED_AGENT: Final = "undefined_agent"
"""Type of the fault that `agent` names no agent; it is reported for the configuration as a whole."""


@dataclass(frozen=True, config=STRICT)
class SessionResetPolicy:
    """When a session ends by itself and the next message begins a new one in the same slot.

    Raises:
        pydantic.ValidationError: a value is out of its range, or a key is unknown.
    """

    mode: Annotated[
        ResetMode,
        Field(
            description="When a session ends by itself: never (none), after a pause (idle), every day"
            " (daily), or whichever comes first (both)."
        ),
    ] = "idle"
    at_hour: Annotated[
        Int,
        Field(
            ge=0,
            le=23,
            description="Hour of the daily reset, 0 to 23, in the configured time zone; for daily and both.",
        ),
    ] = 4
    idle_minutes: Annotated[
        Int,
        Field(
            ge=0,
            description="Minutes without a message after which a session ends; for idle and both.",
        ),
    ] = 1440


class SessionsConfig(Section):
    """When sessions end, and who shares one."""

    reset: SessionResetPolicy = Field(
        default_factory=SessionResetPolicy, description="The reset policy where no more specific one is set."
    )
    reset_by_type: Mapping[SessionType, SessionResetPolicy] = Field(
        default_factory=dict,
        description="Reset policies by kind of chat: dm, group, channel or thread. What one leaves out has"
        " its default.",
    )
    reset_by_platform: Mapping[Platform, SessionResetPolicy] = Field(
        default_factory=dict,
        description="Reset policies by platform; they come before those by kind of chat. What one leaves out"
        " has its default.",
    )
    group_sessions_per_user: bool = Field(
        default=True, description="People in one group have sessions of their own; false: all share one."
    )
    thread_sessions_per_user: bool = Field(
        default=True, description="People in one thread have sessions of their own; false: all share one."
    )
    titles: Literal["first_message", "agent"] = Field(
        default="first_message",
        description="What names a session until a person does: its first message, or its agent, who is asked for a name"
        " after the first answer.",
    )
    expiry_check_seconds: Float = Field(
        default=60.0, gt=0, description="Seconds between two searches for sessions whose time is over."
    )


class StorageConfig(Section):
    """How conversations are kept."""

    synchronous: Literal["full", "normal"] = Field(
        default="full",
        description="What SQLite waits for: every commit is on disk (full), or the last ones may be lost if"
        " the machine loses power (normal).",
    )
    jsonl_mirror: bool = Field(
        default=False, description="Keep a copy of each session as a JSONL file beside the database."
    )
    retention_days: Int = Field(
        default=0, ge=0, description="Days after which an ended session is deleted; 0 keeps for ever."
    )
    reserve_kb: Int = Field(
        default=1024,
        ge=0,
        le=1_048_576,
        description="Kilobytes of the disk that are kept free for when it is full, so that what people write can"
        " still be stored for a while; 0 keeps none.",
    )


class HttpConfig(Section):
    """The HTTP listener: health, metrics, the OpenAI-compatible API, webhooks."""

    enabled: bool = Field(default=True, description="Listen for HTTP requests.")
    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="Address to listen on; only this machine reaches the default.",
    )
    port: Int = Field(default=8642, ge=0, le=65535, description="Port to listen on; 0 takes any free one.")
    api_key: SecretStr | None = Field(
        default=None,
        description="Key that requests must carry, but for health and webhooks; not set: they are refused.",
    )
    api_key_file: PathText | None = Field(default=None, description="File that holds the key.")
    allowed_hosts: tuple[HostName, ...] = Field(
        default=(),
        description="Names, without a port, by which programs may address the listener besides localhost and its IP"
        " addresses.",
    )
    answer_seconds: Float = Field(
        default=600.0, gt=0, description="Seconds that a request waits for its answer, which is made all the same."
    )
    max_waiting: Int = Field(
        default=1_000, ge=1, description="Requests that may wait for an answer at once; more are told to try later."
    )


class InboxConfig(Section):
    """What is taken in, and how much may wait."""

    max_message_chars: Int = Field(
        default=200_000,
        ge=1,
        description="Longest message that is taken, in characters; longer ones are refused.",
    )
    expire_hours: Float = Field(
        default=24.0,
        ge=0,
        description="Hours after which a message that still waits is no longer answered; 0 is never.",
    )
    coalesce_seconds: Float = Field(
        default=0.0,
        ge=0,
        description="Seconds to wait for more messages before a turn starts, to answer them together; 0 does not wait.",
    )
    max_queued_per_session: Int = Field(
        default=100, ge=1, description="Messages that may wait in one session; more are refused."
    )


class TurnsConfig(Section):
    """How often a failing agent is asked again."""

    attempts: Int = Field(default=3, ge=1, description="How often a turn is tried before it counts as failed.")
    retry_seconds: Float = Field(
        default=2.0, ge=0, description="Seconds before the second attempt; doubles with each further one."
    )
    retry_max_seconds: Float = Field(default=300.0, ge=0, description="Longest wait between two attempts, in seconds.")
    max_concurrent: Int = Field(
        default=64, ge=1, description="Turns of one agent that may run at once, over all sessions."
    )


class DeliveryConfig(Section):
    """How often a failing delivery is sent again."""

    attempts: Int = Field(
        default=12,
        ge=1,
        description="How often a delivery is tried, while its platform works, before it is set aside as dead.",
    )
    expire_hours: Float = Field(
        default=24.0,
        ge=0,
        description="Hours that a delivery waits at least for a platform that has trouble, before it is set aside.",
    )
    retry_seconds: Float = Field(
        default=1.0, ge=0, description="Seconds before the second attempt; doubles with each further one."
    )
    retry_max_seconds: Float = Field(default=300.0, ge=0, description="Longest wait between two attempts, in seconds.")


class TranscriberConfig(Section):
    """What writes down voice messages and audio for the agent: a server that speaks OpenAI's transcriptions."""

    model: str | None = Field(
        default=None,
        min_length=1,
        description="Model that writes down what is said, as in whisper-1; not set: voice messages are only named.",
    )
    base_url: BaseUrl = Field(
        default="https://api.openai.com/v1",
        description="Address of the server; `/audio/transcriptions` is added to it.",
    )
    api_key: SecretStr | None = Field(default=None, description="The server's key.")
    api_key_file: PathText | None = Field(default=None, description="File that holds the server's key.")
    language: str | None = Field(
        default=None, min_length=2, description="Language that is spoken, as in de; not set: the server finds out."
    )
    timeout: Float = Field(default=120.0, gt=0, description="Seconds that the server may take for one file.")


class MediaConfig(Section):
    """Files that people send, and those that an agent may send."""

    roots: tuple[PathText, ...] = Field(
        default=(),
        description="Folders that files may be sent from, after links are resolved. Without any, the home"
        " folder's media/.",
    )
    max_download_mb: Int = Field(
        default=20,
        ge=0,
        le=2_000,
        description="Megabytes that a file which somebody sends may have; larger ones are only named to the agent.",
    )
    max_upload_mb: Int = Field(
        default=50, ge=1, le=2_000, description="Megabytes that a file which the agent sends may have."
    )
    max_text_kb: Int = Field(
        default=64,
        ge=0,
        le=1_024,
        description="Kilobytes of text files that one message may put before the agent; larger ones are only named.",
    )
    retention_days: Int = Field(
        default=30,
        ge=0,
        description="Days after which a file that came in is deleted; 0 keeps it as long as its session.",
    )
    transcriber: TranscriberConfig = Field(
        default_factory=TranscriberConfig,
        description="What writes down voice messages and audio for the agent.",
    )


class LoggingConfig(Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least important lines that are still written."
    )
    format: Literal["text", "json"] = Field(
        default="text", description="Lines for people (text), or one JSON object a line (json)."
    )
    file: bool = Field(default=True, description="Write to the home folder's logs/ too, not only to the terminal.")


def _check_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        close = nearest(value, tuple(sorted(available_timezones())))
        hint = f"did you mean {close!r}?" if close else "write a name such as Europe/Berlin or UTC"
        raise PydanticCustomError("timezone", "unknown time zone: {hint}", {"hint": hint}) from None
    return value


class GatewayConfig(Section):
    """Everything that an operator can set; `GatewayConfig()` is all defaults and reads nothing.

    Raises:
        pydantic.ValidationError: a key is unknown or a value is not valid. `load_config` turns
            that into a `ConfigError` with file, line and advice.
    """

    timezone: Annotated[str, AfterValidator(_check_zone)] = Field(
        default="UTC",
        description="IANA time zone, as in Europe/Berlin, of daily resets and of the agent's clock.",
    )
    agent: str | None = Field(
        default=None,
        description="Name of the agent that answers; not set: local if its packages are there, else echo.",
    )
    agents: Mapping[str, SerializeAsAny[AgentConfig]] = Field(default_factory=dict, description="Agents by name.")
    sessions: SessionsConfig = Field(
        default_factory=SessionsConfig, description="When sessions end, and who shares one."
    )
    busy: Literal["queue", "steer", "interrupt"] = Field(
        default="queue",
        description="What a message does while a turn runs: wait its turn (queue), join the running turn"
        " (steer), or stop it (interrupt).",
    )
    owners: tuple[PersonId, ...] = Field(
        default=(),
        description="People who may do everything, as platform:id, as in telegram:123456789; the terminal on this"
        " machine always may.",
    )
    allowed_users: tuple[Id, ...] = Field(
        default=(),
        description="Ids of people who may talk to the agent on every platform; others must be paired.",
    )
    access: AccessConfig = Field(
        default_factory=AccessConfig, description="Who may talk to the agent, and what each role gets."
    )
    limits: LimitsConfig = Field(
        default_factory=LimitsConfig, description="How much one person, and one chat, may ask for."
    )
    platforms: Mapping[Platform, SerializeAsAny[PlatformConfig]] = Field(
        default_factory=dict, description="Platforms by name."
    )
    storage: StorageConfig = Field(default_factory=StorageConfig, description="How conversations are kept.")
    http: HttpConfig = Field(default_factory=HttpConfig, description="The HTTP listener.")
    inbox: InboxConfig = Field(default_factory=InboxConfig, description="What is taken in, and how much may wait.")
    turns: TurnsConfig = Field(default_factory=TurnsConfig, description="How often a failing agent is asked again.")
    delivery: DeliveryConfig = Field(
        default_factory=DeliveryConfig, description="How often a failing delivery is sent again."
    )
    media: MediaConfig = Field(
        default_factory=MediaConfig, description="Files that people send, and those that an agent may send."
    )
    memory: MemoryConfig = Field(
        default_factory=MemoryConfig, description="What is remembered from one conversation to the next."
    )
    tools: ToolsConfig = Field(
        default_factory=ToolsConfig, description="What agents may do with the sessions of whom they work for."
    )
    webhooks: Mapping[WebhookName, WebhookConfig] = Field(
        default_factory=dict, description="What is posted to /webhooks/<name> of the HTTP listener, by that name."
    )
    logging: LoggingConfig = Field(default_factory=LoggingConfig, description="What is logged, and how.")
    drain_seconds: Float = Field(
        default=30.0,
        ge=0,
        description="Seconds that running turns have to finish when the gateway is told to stop.",
    )
    redact_pii: bool = Field(
        default=False,
        description="Hide people's ids and phone numbers from the model, where the platform allows it.",
    )

    @field_validator("platforms", mode="before")
    @classmethod
    def _choose_platform_models(cls, value: object) -> object:
        return choose_sections(value, PlatformConfig, lambda name, _section: section_model(name))

    @field_validator("agents", mode="before")
    @classmethod
    def _choose_agent_models(cls, value: object) -> object:
        return choose_sections(value, AgentConfig, agent_section_model)

    @model_validator(mode="after")
    def _agent_is_defined(self) -> Self:
        known = (*self.agents, *IMPLICIT_AGENTS)
        if self.agent is not None and self.agent not in known:
            hint = suggestion(self.agent, known)
            raise PydanticCustomError(UNDEFINED_AGENT, "no agent is defined as agent: {hint}", {"hint": hint})
        return self

    @model_validator(mode="after")
    def _agents_that_are_named_are_defined(self) -> Self:
        known = (*self.agents, *IMPLICIT_AGENTS)
        sections: list[tuple[str, RoleConfig]] = [(f"roles.{role}", each) for role, each in self.access.roles.items()]
        sections += [(f"rules.{name}", each) for name, each in self.access.rules.items()]
        for where, section in sections:
            if section.agent is not None and section.agent not in known:
                hint = {"where": where, "hint": suggestion(section.agent, known)}
                raise PydanticCustomError("undefined_agent_of_role", "access.{where}.agent: {hint}", hint)
        for name, hook in self.webhooks.items():
            if hook.agent is not None and hook.agent not in known:
                hint = {"where": name, "hint": suggestion(hook.agent, known)}
                words = "webhooks.{where}.agent names no agent: {hint}"
                raise PydanticCustomError("undefined_agent_of_webhook", words, hint)
        return self

    @property
    def zone(self) -> ZoneInfo:
        """The configured time zone."""
        return ZoneInfo(self.timezone)

    @property
    def enabled_platforms(self) -> tuple[Platform, ...]:
        """The platforms that are switched on, the terminal first."""
        others = (name for name in self.platforms if name != Platform.LOCAL and self._is_enabled(name))
        return (Platform.LOCAL, *others)

    def is_on(self, name: Platform) -> bool:
        """Return whether messages of a platform are taken; those of programs come over the HTTP listener."""
        programs = name == Platform.API_SERVER or (name == Platform.WEBHOOK and bool(self.webhooks))
        return self._is_enabled(name) or (programs and self.http.enabled)

    def platform(self, name: Platform | str) -> PlatformConfig:
        """Return the section of a platform, or its defaults; `enabled` is decided in it.

        Raises:
            ValueError: no such platform is known.
        """
        key = Platform(name)
        section = self.platforms.get(key) or platform_model(key)()
        return section.model_copy(update={"enabled": self._is_enabled(key)})

    def agent_config(self, name: str) -> AgentConfig:
        """Return the agent defined under `name`; `echo` and `local` need no definition.

        Raises:
            KeyError: no agent has that name.
        """
        if name in self.agents:
            return self.agents[name]
        if name in IMPLICIT_AGENTS:
            return agent_model(name).model_validate({"type": name})
        raise KeyError(name)

    def get_reset_policy(
        self, platform: Platform | str | None = None, session_type: str | None = None
    ) -> SessionResetPolicy:
        """Return the reset policy that holds: the platform's, else the chat type's, else the default."""
        sessions = self.sessions
        for policies, wanted in (
            (sessions.reset_by_platform, platform),
            (sessions.reset_by_type, session_type),
        ):
            for name, policy in policies.items():
                if name == wanted:
                    return policy
        return sessions.reset

    def _is_enabled(self, name: Platform) -> bool:
        if name == Platform.LOCAL:
            return True
        section = self.platforms.get(name)
        return section is not None and section.enabled is not False
