"""Owns the sections of the agents."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_core import PydanticCustomError

from config.fields import BaseUrl, Float, Int, PathText, Section, collect_options, suggestion
from config.platform import AGENT_GROUP, installed_names

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class AgentConfig(Section):
    """What every agent has: the type that decides which other keys apply."""

    type: str = Field(description="Kind of agent: echo, local, model, or one of an installed package.")


class EchoAgentConfig(AgentConfig):
    """An agent that answers with what it was told; for trying out a set-up."""

    type: Literal["echo"] = Field(default="echo", description="Answers with what it was told.")
    delay_ms: Int = Field(default=0, ge=0, description="Milliseconds between two words of the answer.")


class LocalAgentConfig(AgentConfig):
    """A small language model on this machine, in a process of its own."""

    type: Literal["local"] = Field(default="local", description="A small language model on this machine.")
    system_prompt: str | None = Field(default=None, description="Instructions that every conversation starts with.")
    timeout: Float = Field(default=600.0, gt=0, description="Seconds without progress after which a turn is given up.")
    context_tokens: Int = Field(
        default=4096, ge=256, description="The model's window in tokens; older turns are trimmed to fit."
    )
    max_output_tokens: Int = Field(default=512, ge=1, description="Longest answer, in tokens.")


class ModelAgentConfig(AgentConfig):
    """A language model of any provider or OpenAI-compatible server."""

    type: Literal["model"] = Field(
        default="model", description="A language model of a provider or a server of your own."
    )
    model: str = Field(
        pattern=r"^[A-Za-z][A-Za-z0-9_.-]*:\S.*$",
        description="Provider and model, as in openai:gpt-5-mini.",
    )
    base_url: BaseUrl | None = Field(
        default=None,
        description="Address of an OpenAI-compatible server to use instead of the provider's own.",
    )
    api_key: SecretStr | None = Field(
        default=None,
        description="The provider's key. Without it, the provider's customary environment variable is read.",
    )
    api_key_file: PathText | None = Field(default=None, description="File that holds the provider's key.")
    system_prompt: str | None = Field(default=None, description="Instructions that every conversation starts with.")
    timeout: Float = Field(default=600.0, gt=0, description="Seconds without progress after which a turn is given up.")
    context_tokens: Int | None = Field(
        default=None,
        ge=256,
        description="The model's window in tokens; older turns are trimmed to fit. Not set: when the server refuses.",
    )
    max_output_tokens: Int | None = Field(
        default=None, ge=1, description="Longest answer, in tokens. Without it the provider decides."
    )
    temperature: Float | None = Field(
        default=None,
        ge=0,
        le=2,
        description="How freely the model chooses its words, 0 to 2. Without it the provider decides.",
    )
    max_tool_rounds: Int = Field(
        default=20,
        ge=0,
        description="How many times in one turn the model may call tools before it must answer; 0 gives it none.",
    )
    images: Literal["auto", True, False] = Field(
        default="auto",
        description="Whether the model is shown images that people send: yes (true), no (false), or unless its server"
        " refuses them (auto).",
    )


class PluginAgentConfig(AgentConfig):
    """An agent that comes from another package: keys of its own are kept as they are."""

    options: Mapping[str, Any] = Field(
        default_factory=dict, repr=False, description="Keys that the agent itself defines."
    )

    @model_validator(mode="before")
    @classmethod
    def _keep_own_keys(cls, data: object) -> object:
        return collect_options(cls, data)

    @field_validator("type")
    @classmethod
    def _installed(cls, value: str) -> str:
        known = known_agent_types()
        if value not in known:
            raise PydanticCustomError("agent_type", "unknown agent type: {hint}", {"hint": suggestion(value, known)})
        return value


_AGENT_MODELS: Final[Mapping[str, type[AgentConfig]]] = {
    "echo": EchoAgentConfig,
    "local": LocalAgentConfig,
    "model": ModelAgentConfig,
}

IMPLICIT_AGENTS: Final[tuple[str, ...]] = ("echo", "local")
"""Agent names that need no definition: their type, with its defaults."""


def known_agent_types() -> tuple[str, ...]:
    """Return every valid agent type: the built-in ones, then those of installed packages."""
    return (*_AGENT_MODELS, *(name for name in installed_names(AGENT_GROUP) if name not in _AGENT_MODELS))


def agent_model(kind: object) -> type[AgentConfig]:
    """Return the model of an agent's section by its `type`; one that reports the fault if it is unknown."""
    return _AGENT_MODELS.get(kind, PluginAgentConfig) if isinstance(kind, str) else PluginAgentConfig


def agent_section_model(name: object, section: Mapping[str, Any]) -> type[AgentConfig]:
    """Return the model of the agent `name`; a name that no key can have is a pydantic error."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        hint = "use letters, digits, - and _"
        raise PydanticCustomError("agent_name", "is not a name that can be used: {hint}", {"hint": hint})
    return agent_model(section.get("type"))
