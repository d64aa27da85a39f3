"""Asks an agent something beside a conversation: for a summary, or for a name. No tools, and nothing of it is kept."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, fields, replace
from typing import Final, Protocol

from gateway.constants import MAX_ANSWER_CHARS
from gateway.ids import Ids
from gateway.journal import storable
from gateway.ports import Agent, AgentError, AgentEvent, AgentTurn, Call, Clock, Done, Message, Notice, Text, Usage
from gateway.source import SessionSource

log = logging.getLogger(__name__)

REPEATS: Final = "this agent repeats what it is told, and can do no more"

CUT_OFF: Final[Mapping[str, str]] = {
    "length": "it is longer than the model may answer",
    "content_filter": "the model's provider let no more of it through",
    "error": "the model failed in the middle of it",
    "tool_calls": "the agent called a tool instead of going on",
    "max_tool_rounds": "the agent called tools instead of going on",
}
"""Reasons for which an answer ends before it is complete, in words."""

_ADDED: Final = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")


class AgentSource(Protocol):
    """Where agents come from."""

    def use(self, name: str) -> AbstractAsyncContextManager[tuple[str, Agent]]:
        """The agent of this name, started; with its name. Raises `AgentError`."""

    def timeout(self, name: str) -> float:
        """Seconds without progress after which this agent is given up."""


@dataclass(frozen=True, slots=True)
class Said:
    """What an agent said aside, what that took, and whether it saw all that it was given. `cut_off` is why it did not
    say all that it would have; empty if it did."""

    text: str
    usage: Usage
    saw_all: bool = True
    cut_off: str = ""

    @property
    def charge(self) -> Usage:
        """What is counted in a session for it: the size of this prompt, and its model, say nothing of the session's."""
        return replace(self.usage, last_prompt_tokens=None, model=None)


class Aside:
    """Asks agents. Every question is one turn of its own, of no session."""

    def __init__(self, agents: AgentSource, clock: Clock, ids: Ids) -> None:
        self._agents = agents
        self._clock = clock
        self._ids = ids

    async def ask(
        self, agent: str, source: SessionSource, history: Sequence[Message], request: str, prompt: str
    ) -> Said:
        """What the agent says to a request after this history. Raises `AgentError`, also for no answer at all."""
        turn_id = self._ids.turn()
        turn = AgentTurn(
            turn_id=turn_id,
            session_id=turn_id,
            source=source,
            system_prompt=prompt,
            history=tuple(history),
            inputs=({"role": "user", "content": request},),
            resumed=(),
            tools=(),
            run_tool=_no_tool,
            take_steering=_nobody,
            aside=True,
        )
        async with self._agents.use(agent) as (name, asked):
            try:
                said = await self._collect(asked, turn, self._agents.timeout(name))
            except AgentError:
                raise
            except Exception as error:
                log.exception("the agent %s failed unexpectedly", name)
                raise AgentError(f"the agent failed unexpectedly ({type(error).__name__})") from error
        if said.text == request.strip():
            raise AgentError(REPEATS)
        if not said.text:
            raise AgentError("the agent gave no answer")
        return said

    async def _collect(self, agent: Agent, turn: AgentTurn, limit: float) -> Said:
        pieces: list[str] = []
        usage, saw_all, length = Usage(), True, 0
        async with contextlib.aclosing(_patient(agent.run(turn), limit)) as events:
            async for event in events:
                if isinstance(event, Text):
                    pieces.append(event.delta)
                    length += len(event.delta)
                    if length > MAX_ANSWER_CHARS:
                        raise AgentError(f"the answer grew beyond {MAX_ANSWER_CHARS:,} characters")
                elif isinstance(event, Usage):
                    usage = added(usage, storable(event))
                elif isinstance(event, Notice):
                    saw_all = saw_all and not event.trimmed
                elif isinstance(event, Done):
                    cut_off = CUT_OFF.get(event.reason, "")
                    return Said("".join(pieces).strip(), usage, saw_all, cut_off)
        raise AgentError("the agent ended before its answer was complete", retryable=True)


def added(one: Usage, other: Usage) -> Usage:
    """What two requests took together; what describes the latest is the other's."""
    sums = {name: getattr(one, name) + getattr(other, name) for name in _ADDED}
    costs = [usage.cost_usd for usage in (one, other) if usage.cost_usd is not None]
    rest = {
        each.name: getattr(other, each.name) if getattr(other, each.name) is not None else getattr(one, each.name)
        for each in fields(Usage)
        if each.name not in (*_ADDED, "cost_usd")
    }
    return Usage(**sums, **rest, cost_usd=sum(costs) if costs else None)


async def _patient(events: AsyncIterator[AgentEvent], limit: float) -> AsyncGenerator[AgentEvent, None]:
    """The events, as long as each comes within so many seconds. Raises `AgentError`."""
    try:
        while True:
            try:
                async with asyncio.timeout(limit):
                    event = await anext(events)
            except StopAsyncIteration:
                return
            except TimeoutError as error:
                raise AgentError(f"the agent made no progress for {limit:g} seconds", retryable=True) from error
            yield event
    finally:
        close = getattr(events, "aclose", None)
        if close is not None:
            await close()


async def _no_tool(call: Call) -> str:
    return f"Error: there is no tool named {call.name!r}."


async def _nobody() -> Sequence[Message]:
    return ()
