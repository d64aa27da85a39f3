"""What the tests of agents share: turns that note what was done in them, and agents at a scripted server."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from config import AgentConfig, Home, ModelAgentConfig
from gateway.agents import create_agent
from gateway.clock import SystemClock
from gateway.ports import Agent, AgentEvent, AgentTurn, Call, Message, Text, Tool, ToolContext
from gateway.source import SessionSource

EventT = TypeVar("EventT", bound=AgentEvent)


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def assistant(text: str, *calls: tuple[str, str, str], **more: Any) -> Message:
    """A message of the assistant; each call is id, name, arguments."""
    row: dict[str, Any] = {"role": "assistant", "content": text, **more}
    if calls:
        row["tool_calls"] = [
            {"id": call, "type": "function", "function": {"name": name, "arguments": arguments}}
            for call, name, arguments in calls
        ]
    return row


def result(call_id: str, name: str, content: str) -> Message:
    return {"role": "tool", "content": content, "tool_call_id": call_id, "tool_name": name}


async def _unused(arguments: Mapping[str, Any], context: ToolContext) -> str:
    raise AssertionError("an agent runs tools through the turn")


CLOCK = Tool("clock", "Tells the time.", {"type": "object", "properties": {"zone": {"type": "string"}}}, _unused)


@dataclass
class Desk:
    """Makes turns, and notes the calls that an agent runs in them."""

    results: Callable[[Call], str] = lambda call: f"result of {call.name}"
    steering: list[Sequence[Message]] = field(default_factory=list)
    ran: list[Call] = field(default_factory=list)
    log: list[object] = field(default_factory=list)

    async def run_tool(self, call: Call) -> str:
        self.ran.append(call)
        self.log.append(("run", call.id))
        return self.results(call)

    async def take_steering(self) -> Sequence[Message]:
        self.log.append("steering")
        return self.steering.pop(0) if self.steering else ()

    def turn(
        self,
        *inputs: str,
        history: Sequence[Message] = (),
        resumed: Sequence[Message] = (),
        tools: Sequence[Tool] = (),
        system_prompt: str = "Be kind.",
        session_id: str = "s1",
        aside: bool = False,
    ) -> AgentTurn:
        return AgentTurn(
            turn_id="t1",
            session_id=session_id,
            source=SessionSource.local_cli(),
            system_prompt=system_prompt,
            history=history,
            inputs=[user(text) for text in inputs],
            resumed=resumed,
            tools=tools,
            run_tool=self.run_tool,
            take_steering=self.take_steering,
            aside=aside,
        )

    async def events(self, agent: Agent, turn: AgentTurn) -> list[AgentEvent]:
        """All events of a turn, in order; what the turn was asked to do meanwhile is in `log`."""
        events = []
        async for event in agent.run(turn):
            events.append(event)
            self.log.append(event)
        return events


def only(events: Sequence[AgentEvent], kind: type[EventT]) -> list[EventT]:
    return [event for event in events if isinstance(event, kind)]


def text_of(events: Sequence[AgentEvent]) -> str:
    return "".join(event.delta for event in only(events, Text))


def model_config(base_url: str, **more: Any) -> ModelAgentConfig:
    return ModelAgentConfig.model_validate({"model": "openai:scripted", "base_url": base_url, **more})


@asynccontextmanager
async def started(config: AgentConfig, home: Path, name: str = "assistant") -> AsyncIterator[Agent]:
    agent = create_agent(name, config, Home(home), SystemClock())
    await agent.start()
    try:
        yield agent
    finally:
        await agent.close()
