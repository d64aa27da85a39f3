"""An agent that does what a message tells it to, tools whose every run leaves a trace, and what must come of both.

A message is `LABEL PLAN`. What the plan is not known of is said back.
"""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gateway.ports import (
    AgentCapabilities,
    AgentError,
    AgentEvent,
    AgentTurn,
    Call,
    Done,
    Text,
    Tool,
    ToolCalls,
    ToolContext,
    ToolResult,
    ToolStarted,
    Usage,
)
from gateway.turns import OUTCOME_UNKNOWN
from tests.support.injection import unfailing_write, until_done

AGENT_NAME: Final = "scripted"
COUNT: Final = "count"
"""The tool that must not run twice."""
NOTE: Final = "note"
"""The tool that may."""
PARAGRAPHS: Final = 180
"""Of a long answer."""
INPUT_TOKENS: Final = 7
OUTPUT_TOKENS: Final = 3
"""What each step of the script takes."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a message makes the agent do. `rounds` holds the tools that each step asks for before the last step.

    `flaky`: its first attempt in a process fails in a way that passes. `drafts`: each run words it anew.
    `silent`: there is no text. `long`: much stands before the end, a paragraph at a time.
    """

    rounds: tuple[tuple[str, ...], ...] = ()
    flaky: bool = False
    drafts: bool = False
    silent: bool = False
    long: bool = False

    @property
    def steps(self) -> int:
        return len(self.rounds) + 1


PLANS: Final[Mapping[str, Plan]] = {
    "say": Plan(),
    "tools": Plan(rounds=((COUNT, NOTE),)),
    "chain": Plan(rounds=((COUNT,), (NOTE, COUNT, COUNT))),
    "flaky": Plan(flaky=True),
    "flaky-tools": Plan(rounds=((COUNT,),), flaky=True),
    "draft": Plan(drafts=True),
    "silent": Plan(silent=True),
    "long": Plan(long=True),
}


def parse(text: str) -> tuple[str, Plan] | None:
    """Label and plan of a message; None if it is not one of the script's."""
    label, _, name = text.partition(" ")
    return (label, PLANS[name]) if name in PLANS else None


def call_ids(label: str, number: int, names: Sequence[str]) -> tuple[str, ...]:
    """The ids of the calls that step `number` asks for."""
    return tuple(f"{label}.{number}.{position}.{name}" for position, name in enumerate(names))


def opening(label: str, number: int) -> str:
    """What a step says before its tools run."""
    return f"Looking into {label}, part {number}."


def closing(label: str, results: Sequence[str], steered: Sequence[str] = ()) -> str:
    """What the last step says."""
    outcomes = ["unknown" if result == OUTCOME_UNKNOWN else result for result in results]
    told = f" Results: {', '.join(outcomes)}." if outcomes else ""
    also = f" You also said: {'; '.join(steered)}." if steered else ""
    return f"That was {label}.{told}{also}"


def paragraphs(label: str) -> tuple[str, ...]:
    """What a long answer says before its end: more than two messages of any platform hold."""
    return tuple(f"Line {number} of {label} is as long as this, and says nothing." for number in range(PARAGRAPHS))


class ScriptedAgent:
    """Answers by script. What it does depends on the turn alone, so a turn that is resumed comes to the same end."""

    def __init__(self, pause: float, *, steering: bool = False) -> None:
        self.capabilities = AgentCapabilities(resumable=True, steering=steering)
        self._pause = pause
        self._failed: set[str] = set()
        self._drafts = itertools.count(1)

    async def start(self) -> None:
        """Nothing to get ready."""

    async def close(self) -> None:
        """Nothing to release."""

    async def run(self, turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        text = str(turn.inputs[0]["content"])
        parsed = parse(text)
        if parsed is None:
            yield Text(text)
            yield Done()
            return
        label, plan = parsed
        messages = list(turn.resumed)
        asked = [message for message in messages if message.get("tool_calls")]
        async for event in self._finish_calls(turn, messages):
            yield event
        for number in range(len(asked), len(plan.rounds)):
            async for event in self._say(opening(label, number)):
                yield event
            calls = _calls(label, number, plan.rounds[number])
            yield Usage(INPUT_TOKENS, OUTPUT_TOKENS)
            yield ToolCalls(opening(label, number), calls)
            messages.append({"role": "assistant", "tool_calls": [{"id": c.id, "name": c.name} for c in calls]})
            async for event in self._finish_calls(turn, messages):
                yield event
        if plan.flaky and label not in self._failed:
            self._failed.add(label)
            yield Text("This is not going to ")
            raise AgentError("the script says that it is busy", retryable=True)
        results = [str(message["content"]) for message in messages if message["role"] == "tool"]
        steered = [str(message["content"]) for message in messages if message["role"] == "user"]
        said = closing(label, results, steered)
        if plan.drafts:
            said = f"Draft {os.getpid()}/{next(self._drafts)}. {said}"
        for paragraph in paragraphs(label) if plan.long else ():
            await asyncio.sleep(self._pause)
            yield Text(f"{paragraph}\n\n")
        async for event in self._say("" if plan.silent else said):
            yield event
        yield Usage(INPUT_TOKENS, OUTPUT_TOKENS)
        yield Done()

    async def _say(self, text: str) -> AsyncIterator[AgentEvent]:
        for piece in text.replace(" ", " \n").split("\n"):
            await asyncio.sleep(self._pause)
            if piece:
                yield Text(piece)

    async def _finish_calls(self, turn: AgentTurn, messages: list[Mapping[str, Any]]) -> AsyncIterator[AgentEvent]:
        """Run what the last step asked for and has no result yet; then take in what was said meanwhile."""
        known = {message["tool_call_id"] for message in messages if message["role"] == "tool"}
        asked = [call for message in messages for call in message.get("tool_calls") or ()]
        for call_id in [call["id"] for call in asked if call["id"] not in known]:
            name = call_id.rpartition(".")[2]
            await asyncio.sleep(self._pause)
            yield ToolStarted(call_id)
            content = await turn.run_tool(Call(call_id, name, "{}"))
            yield ToolResult(call_id, name, content)
            messages.append({"role": "tool", "tool_call_id": call_id, "content": content})
        if self.capabilities.steering:
            messages.extend(await turn.take_steering())


def _calls(label: str, number: int, names: Sequence[str]) -> tuple[Call, ...]:
    return tuple(Call(call_id, name, "{}") for call_id, name in zip(call_ids(label, number, names), names, strict=True))


def tools(trace: Path) -> tuple[Tool, ...]:
    """Two tools, of which only one may run again. Each run is a line of `trace` that no kill takes back."""

    async def leave_trace(_arguments: Mapping[str, Any], context: ToolContext) -> str:
        descriptor = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            unfailing_write(descriptor, f"{context.call_id}\n".encode())
            until_done(lambda: os.fsync(descriptor))
        finally:
            os.close(descriptor)
        return f"ran {context.call_id}"

    parameters = {"type": "object", "properties": {}}
    return (
        Tool(COUNT, "Counts something, once.", parameters, leave_trace),
        Tool(NOTE, "Notes something.", parameters, leave_trace, idempotent=True),
    )
