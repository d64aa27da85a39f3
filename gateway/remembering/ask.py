"""Asks the model that answered in a conversation what of it is worth remembering."""

from collections import Counter

from config import LiveConfig
from gateway.aside import Aside
from gateway.ids import Ids
from gateway.ports import Clock, MemorySegment
from gateway.source import SessionSource
from gateway.turn import Roster


class ModelAsker:
    """Asks agents that can be asked, if the configuration lets it."""

    def __init__(self, roster: Roster, config: LiveConfig, counters: Counter[str], clock: Clock) -> None:
        self._roster = roster
        self._config = config
        self._counters = counters
        self._aside = Aside(roster, clock, Ids())

    async def ask(self, segment: MemorySegment, instructions: str, text: str) -> str | None:
        """What the agent of a segment answers; None if it is not to be asked. Raises `AgentError`."""
        if not self._config.current.memory.ask_model:
            return None
        async with self._roster.use(segment.agent) as (name, agent):
            if not agent.capabilities.summaries:
                return None
            said = await self._aside.ask(name, SessionSource.local_cli(), (), text, instructions)
        self._counters["memory.input_tokens"] += said.usage.input_tokens + said.usage.cache_read_tokens
        self._counters["memory.output_tokens"] += said.usage.output_tokens
        return said.text
