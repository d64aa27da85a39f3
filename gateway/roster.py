"""The roster of agents: which one answers, each started once, when it is first needed, and anew when it changes."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType

from config import AgentConfig, GatewayConfig, Home, LiveConfig
from gateway.agents import create_agent, local_available
from gateway.constants import AGENT_CLOSE_SECONDS, AGENT_START_SECONDS
from gateway.ports import Agent, AgentError, Clock, McpServer

log = logging.getLogger(__name__)

DEFAULT_TIMEOUT_SECONDS = 600.0
"""Without a `timeout` of the agent's own: the default of those that have one."""


@dataclass(slots=True, eq=False)
class _Running:
    """An agent that was started, by which section (None: it was given), and in how many turns it is used."""

    name: str
    agent: Agent
    section: AgentConfig | None
    users: int = 0


@dataclass(frozen=True, slots=True)
class AgentChange:
    """Agents that were started for a configuration that is not in force yet. It is taken over, or discarded."""

    config: GatewayConfig
    started: Mapping[str, _Running] = field(default_factory=dict)


class AgentRefusedError(Exception):
    """An agent of a new configuration cannot be built or started; nothing of it was kept."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"agents.{name}: {reason}")
        self.name = name
        self.reason = reason


class AgentRoster:
    """Builds and starts agents by the configuration; `given` are agents that exist already, by name."""

    def __init__(
        self, config: GatewayConfig | LiveConfig, home: Home, clock: Clock, given: Mapping[str, Agent] | None = None
    ) -> None:
        self._config = LiveConfig.of(config)
        self._home = home
        self._clock = clock
        self._given = dict(given or {})
        self._started: dict[str, _Running] = {}
        self._starting: dict[str, asyncio.Lock] = {}
        self._retired: set[_Running] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._mcp: Callable[[str], McpServer | None] = lambda _turn_id: None

    def lend(self, mcp: Callable[[str], McpServer | None]) -> None:
        """Let agents have the session tools for their turns."""
        self._mcp = mcp

    @property
    def default(self) -> str:
        """The name of the agent that answers where nothing else is said."""
        return self._default_of(self._config.current)

    @property
    def names(self) -> list[str]:
        """The agents that can be chosen."""
        return list(dict.fromkeys((*self._given, *self._config.current.agents, self.default)))

    @property
    def trouble(self) -> str | None:
        """Why the default agent cannot answer, None if it can. It is tried again with the next message."""
        if self.default in self._started:
            return None
        return f"the agent {self.default} is not started: the log and `hermes-gateway doctor` say why"

    def model(self, name: str) -> str | None:
        """The model behind an agent, where the configuration names one."""
        return getattr(self._section(self._config.current, name), "model", None)

    async def get(self, name: str) -> tuple[str, Agent]:
        """The agent of this name, or, if the configuration has it no more, the default one. Raises `AgentError`.

        Nothing keeps it from being closed by a change of the configuration; see `use`.
        """
        running = await self._running(name)
        return running.name, running.agent

    def use(self, name: str) -> "_InUse":
        """The same, for as long as the context lasts: an agent that is replaced meanwhile is closed after it."""
        return _InUse(self, name)

    async def take(self, name: str) -> "_Running":
        """An agent that is in use until it is given back."""
        running = await self._running(name)
        running.users += 1
        return running

    def give_back(self, running: "_Running") -> None:
        """An agent that was taken is in use no more."""
        running.users -= 1
        self._close_if_done(running)

    def timeout(self, name: str) -> float:
        """Seconds without progress after which this agent's turn is given up."""
        section = self._section(self._config.current, name)
        return float(getattr(section, "timeout", DEFAULT_TIMEOUT_SECONDS))

    @property
    def banner(self) -> tuple[str, ...]:
        """Which agent answers, and how to get a better one."""
        name = self.default
        section = self._section(self._config.current, name)
        kind = "given" if section is None else section.type
        if kind == "echo":
            return (
                "Agent: echo. It repeats what you write.",
                "For one that thinks: `hermes-gateway config init`, then set `agents` in the file it names.",
            )
        if kind == "local":
            return (
                "Agent: local, a small model on this machine (SmolLM2, 135M). It shows that it works, no more.",
                "For a better one: `hermes-gateway config init`, then set `agents` in the file it names.",
            )
        model = getattr(section, "model", "")
        return (f"Agent: {name}" + (f" ({model})" if model else ""),)

    async def close(self) -> None:
        """Close every agent that was started, also those that are still in use."""
        running = [*self._started.values(), *self._retired]
        self._started.clear()
        self._retired.clear()
        await asyncio.gather(*(self._close(each.name, each.agent) for each in running))
        if self._closing:
            await asyncio.wait(self._closing)

    # --- a change of the configuration -----------------------------------------------------------------------

    async def prepare(self, config: GatewayConfig) -> AgentChange:
        """Start what a new configuration changes: agents that are new or other than before, and a new default one.

        Nothing that runs is touched. Raises `AgentRefusedError`.
        """
        started: dict[str, _Running] = {}
        try:
            for name in self._to_start(config):
                started[name] = await self._start_for(config, name)
        except BaseException:
            await self.discard(AgentChange(config, started))
            raise
        return AgentChange(config, started)

    def take_over(self, change: AgentChange) -> None:
        """Replace the agents that a configuration changes, in the moment in which it comes into force.

        Turns that run keep the agent that they have; it is closed when the last of them is over.
        """
        for name, running in list(self._started.items()):
            if running.section is not None and running.section != self._section(change.config, name):
                self._retire(name)
        for name, running in change.started.items():
            if name in self._started:
                self._retire(name)
            self._started[name] = running

    async def discard(self, change: AgentChange) -> None:
        """Close what was started for a configuration that does not come into force."""
        for name, running in change.started.items():
            await self._close(name, running.agent)

    def _to_start(self, config: GatewayConfig) -> list[str]:
        before, default = self._config.current, self._default_of(config)
        is_new = default != self.default and default not in self._started
        return [
            name
            for name in dict.fromkeys((*config.agents, default))
            if name not in self._given
            and (self._section(before, name) != self._section(config, name) or (is_new and name == default))
        ]

    async def _start_for(self, config: GatewayConfig, name: str) -> _Running:
        try:
            return await self._start(name, self._section(config, name))
        except AgentError as error:
            raise AgentRefusedError(name, str(error)) from error
        except Exception as error:
            log.exception("the agent %s of the new configuration cannot be started", name)
            raise AgentRefusedError(name, f"{type(error).__name__}: {error}") from error

    def _retire(self, name: str) -> None:
        running = self._started.pop(name)
        self._retired.add(running)
        self._close_if_done(running)

    def _close_if_done(self, running: _Running) -> None:
        if running in self._retired and not running.users:
            self._retired.discard(running)
            task = asyncio.create_task(self._close(running.name, running.agent), name=f"close agent {running.name}")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    # --- starting --------------------------------------------------------------------------------------------

    async def _running(self, name: str) -> _Running:
        if not self._is_known(name):
            log.warning("there is no agent %r any more; %s takes its turn", name, self.default)
            name = self.default
        if name not in self._started:
            # One agent that takes long to start keeps no other one waiting.
            async with self._starting.setdefault(name, asyncio.Lock()):
                if name not in self._started:
                    running = await self._start(name, self._section(self._config.current, name))
                    if name not in self._started and running.section == self._section(self._config.current, name):
                        self._started[name] = running
                    else:
                        # The configuration changed while it was starting.
                        await self._close(name, running.agent)
        return self._started.get(name) or await self._running(name)

    async def _close(self, name: str, agent: Agent) -> None:
        try:
            async with asyncio.timeout(AGENT_CLOSE_SECONDS):
                await agent.close()
        except Exception:
            log.exception("the agent %s did not close cleanly", name)

    def _default_of(self, config: GatewayConfig) -> str:
        if config.agent is not None:
            return config.agent
        names = [*self._given, *config.agents]
        if names:
            return names[0]
        return "local" if local_available() else "echo"

    def _is_known(self, name: str) -> bool:
        return name in self._given or self._section(self._config.current, name) is not None

    def _section(self, config: GatewayConfig, name: str) -> AgentConfig | None:
        """What the configuration says of an agent; None for one that was given, or that it does not have."""
        if name in self._given:
            return None
        try:
            return config.agent_config(name)
        except KeyError:
            return None

    async def _start(self, name: str, section: AgentConfig | None) -> _Running:
        agent = self._given.get(name)
        if agent is None:
            if section is None:
                raise AgentError(f"there is no agent {name!r} in the configuration; add it to agents")
            agent = create_agent(name, section, self._home, self._clock, mcp=self._mcp)
        try:
            await self._get_ready(agent)
        except BaseException:
            # Half started, or cancelled in the middle: what it took so far is released.
            await self._close(name, agent)
            raise
        return _Running(name, agent, section)

    async def _get_ready(self, agent: Agent) -> None:
        """Start an agent, which others wait for: the start of the gateway, a reload. Raises what that raises."""
        try:
            async with asyncio.timeout(AGENT_START_SECONDS) as limit:
                await agent.start()
        except TimeoutError as error:
            if not limit.expired():
                raise
            words = f"the agent was not ready within {AGENT_START_SECONDS:g} seconds"
            raise AgentError(words, retryable=True) from error


class _InUse:
    """An agent while somebody uses it, with its name. Use as an async context manager."""

    def __init__(self, roster: AgentRoster, name: str) -> None:
        self._roster = roster
        self._name = name
        self._running: _Running | None = None

    async def __aenter__(self) -> tuple[str, Agent]:
        self._running = running = await self._roster.take(self._name)
        return running.name, running.agent

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._running is not None:
            self._roster.give_back(self._running)
