"""The roster of agents: which one answers, each started once, when it is first needed."""

import asyncio
import logging
from collections.abc import Mapping

from config import GatewayConfig, Home
from gateway.agents import create_agent, local_available
from gateway.ports import Agent, Clock

log = logging.getLogger(__name__)

DEFAULT_TIMEOUT_SECONDS = 600.0
"""Without a `timeout` of the agent's own: the default of those that have one."""


class AgentRoster:
    """Builds and starts agents by the configuration; `given` are agents that exist already, by name."""

    def __init__(
        self, config: GatewayConfig, home: Home, clock: Clock, given: Mapping[str, Agent] | None = None
    ) -> None:
        self._config = config
        self._home = home
        self._clock = clock
        self._given = dict(given or {})
        self._started: dict[str, Agent] = {}
        self._starting: dict[str, asyncio.Lock] = {}
        self._default = self._choose()

    @property
    def default(self) -> str:
        """The name of the agent that answers where nothing else is said."""
        return self._default

    async def get(self, name: str) -> tuple[str, Agent]:
        """The agent of this name, or, if the configuration has it no more, the default one. Raises `AgentError`."""
        if not self._is_known(name):
            log.warning("there is no agent %r any more; %s takes its turn", name, self._default)
            name = self._default
        if name not in self._started:
            # One agent that takes long to start keeps no other one waiting.
            async with self._starting.setdefault(name, asyncio.Lock()):
                if name not in self._started:
                    self._started[name] = await self._start(name)
        return name, self._started[name]

    def timeout(self, name: str) -> float:
        """Seconds without progress after which this agent's turn is given up."""
        if name in self._given or not self._is_known(name):
            return DEFAULT_TIMEOUT_SECONDS
        return float(getattr(self._config.agent_config(name), "timeout", DEFAULT_TIMEOUT_SECONDS))

    @property
    def banner(self) -> tuple[str, ...]:
        """Which agent answers, and how to get a better one."""
        name = self._default
        kind = "given" if name in self._given else self._config.agent_config(name).type
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
        model = getattr(self._config.agent_config(name), "model", "") if kind != "given" else ""
        return (f"Agent: {name}" + (f" ({model})" if model else ""),)

    async def close(self) -> None:
        """Close every agent that was started."""
        for name, agent in self._started.items():
            await self._close(name, agent)
        self._started.clear()

    async def _close(self, name: str, agent: Agent) -> None:
        try:
            await agent.close()
        except Exception:
            log.exception("the agent %s did not close cleanly", name)

    def _choose(self) -> str:
        if self._config.agent is not None:
            return self._config.agent
        names = [*self._given, *self._config.agents]
        if names:
            return names[0]
        return "local" if local_available() else "echo"

    def _is_known(self, name: str) -> bool:
        if name in self._given:
            return True
        try:
            self._config.agent_config(name)
        except KeyError:
            return False
        return True

    async def _start(self, name: str) -> Agent:
        agent = self._given.get(name)
        if agent is None:
            agent = create_agent(name, self._config.agent_config(name), self._home, self._clock)
        try:
            await agent.start()
        except BaseException:
            # Half started, or cancelled in the middle: what it took so far is released.
            await self._close(name, agent)
            raise
        return agent
