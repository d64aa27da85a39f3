"""The agent that the suite runs behind the gateway: it answers what it is told to, and remembers what it was asked."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from gateway.ports import AgentCapabilities, AgentError, AgentEvent, AgentTurn, Done, Text
from gateway.source import SessionSource

Step: TypeAlias = str | asyncio.Event | AgentError
"""What an answer is made of: a piece of its text, something to wait for, or a failure of this run."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One run of the agent. `inputs` are the messages to be answered, `everything` also holds what went before."""

    session_id: str
    source: SessionSource
    inputs: str
    everything: str


class ScriptedAgent:
    """Answers a message that it has a script for by that script, and any other with what was written."""

    capabilities = AgentCapabilities(resumable=True)

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        """Every run, in order."""
        self._scripts: dict[str, list[tuple[Step, ...]]] = {}

    def on(self, text: str, *steps: Step) -> None:
        """Answer messages with this text so; a further script for the text is for the run after the one before."""
        self._scripts.setdefault(text, []).append(steps)

    def runs(self, text: str) -> int:
        """How often a message with this text was to be answered."""
        return sum(text in heard.inputs for heard in self.heard)

    async def start(self) -> None:
        """Nothing to get ready."""

    async def close(self) -> None:
        """Nothing to release."""

    async def run(self, turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        """Answer one turn."""
        texts = [flatten(message.get("content")) for message in turn.inputs]
        inputs = "\n".join(texts)
        everything = "\n".join(flatten(message.get("content")) for message in (*turn.history, *turn.inputs))
        self.heard.append(Heard(turn.session_id, turn.source, inputs, f"{turn.system_prompt}\n{everything}"))
        for step in self._script(inputs):
            if isinstance(step, AgentError):
                raise step
            if isinstance(step, asyncio.Event):
                await step.wait()
            else:
                yield Text(step)
        yield Done()

    def _script(self, inputs: str) -> tuple[Step, ...]:
        for text, scripts in self._scripts.items():
            if text in inputs:
                return scripts.pop(0) if len(scripts) > 1 else scripts[0]
        return (answer_to(inputs),)


def answer_to(text: str) -> str:
    """The answer to a message without a script."""
    return f"You wrote: {text}"


def flatten(content: Any) -> str:  # noqa: ANN401 - content is text, or parts of any form
    """The texts in a message's content."""
    match content:
        case None:
            return ""
        case str():
            return content
        case list() | tuple():
            return "\n".join(flatten(part) for part in content)
        case Mapping() if "text" in content:
            return str(content["text"])
    return json.dumps(content, ensure_ascii=False, default=repr)
