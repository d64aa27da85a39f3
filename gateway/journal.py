"""What an open turn has done so far: kept in memory for the turn, and on disk for the turn's next life."""

import json
import math
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Self

from gateway.ports import AgentEvent, Call, Message, Notice, Text, ToolCalls, ToolResult, ToolStarted, Usage
from gateway.storage import queries
from gateway.storage.codec import clean_text, dump

BETWEEN_STEPS: Final = "\n\n"
"""What stands between the texts of two model steps in the reply that people see."""

MOST_TOKENS: Final = 10**12
"""Tokens that one request may have taken: far more than any does, and few enough for all sums of them."""


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the journal: `calls`, `started`, `result` or `steer`, with the usage up to there; or `stop`."""

    kind: str
    data: Mapping[str, Any]


def stop_step(reason: str) -> Step:
    """The step that a person makes who stops the turn."""
    return Step("stop", {"reason": reason})


def add_step(connection: sqlite3.Connection, turn_id: str, step: Step) -> None:
    """Journal a step, as part of a job of the writer."""
    connection.execute(queries.ADD_STEP, (turn_id, step.kind, dump(step.data)))


def steps_from_rows(rows: Iterable[sqlite3.Row]) -> list[Step]:
    """The journal of a turn."""
    return [Step(row["kind"], json.loads(row["data"])) for row in rows]


@dataclass(slots=True)
class Progress:
    """A turn's messages, usage and visible text, grown event by event.

    `begun` are the calls that have been begun so far, `results` those whose result is known; `stop_reason` is set once
    a person has stopped it.
    """

    messages: list[Message] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    notices: list[str] = field(default_factory=list)
    begun: set[str] = field(default_factory=set)
    results: dict[str, str] = field(default_factory=dict)
    absorbed: set[int] = field(default_factory=set)
    step_text: str = ""
    stop_reason: str | None = None

    @classmethod
    def replay(cls, steps: Sequence[Step]) -> Self:
        """The progress that a journal tells of."""
        progress = cls()
        for step in steps:
            progress.take(step)
            if "usage" in step.data:
                progress.usage = Usage(**step.data["usage"])
        return progress

    @property
    def visible_text(self) -> str:
        """What people see of the reply so far."""
        if not self.messages:
            return clean_text(self.step_text) if self.step_text.strip() else ""
        said = [message["content"] for message in self.messages if message["role"] == "assistant"]
        return clean_text(BETWEEN_STEPS.join(text for text in (*said, self.step_text) if text.strip()))

    def note(self, event: AgentEvent) -> Step | None:
        """Grow by an event, or give the step that it makes: that is to be journalled first, and then taken."""
        match event:
            case Text(delta):
                self.step_text += delta
            case Usage():
                self.usage = _sum(self.usage, storable(event))
            case Notice(text):
                if text not in self.notices:
                    self.notices.append(text)
            case ToolCalls(text, calls):
                return self._step("calls", {"text": text, "calls": [asdict(call) for call in calls]})
            case ToolStarted(call_id):
                return self.started(call_id)
            case ToolResult():
                return self._step("result", asdict(event))
            case _:
                pass
        return None

    def started(self, call_id: str) -> Step:
        """The step that a call which is about to run makes."""
        return self._step("started", {"call_id": call_id})

    def steered(self, inbound_ids: Sequence[int], messages: Sequence[Message]) -> Step:
        """The step that messages make which came in meanwhile."""
        return self._step("steer", {"inbound": list(inbound_ids), "messages": list(messages)})

    def take(self, step: Step) -> None:
        """Grow by a step that is in the journal."""
        data = step.data
        if step.kind == "calls":
            calls = [_call_form(Call(**call)) for call in data["calls"]]
            self.messages.append({"role": "assistant", "content": data["text"], "tool_calls": calls})
            self.step_text = ""
        elif step.kind == "started":
            self.begun.add(data["call_id"])
        elif step.kind == "result":
            self.results[data["call_id"]] = data["content"]
            self.messages.append(
                {
                    "role": "tool",
                    "content": data["content"],
                    "tool_call_id": data["call_id"],
                    "tool_name": data["name"],
                }
            )
        elif step.kind == "steer":
            self.absorbed.update(data["inbound"])
            self.messages.extend(data["messages"])
        elif step.kind == "stop":
            self.stop_reason = data["reason"]

    def recall(self, seen: str, known: str | None = None) -> None:
        """People have seen this much of the reply: what goes beyond the known steps becomes the partial last one.

        `known` is what people see of the known steps, where that is not all of their text.
        """
        known = self.visible_text if known is None else known
        if len(seen) > len(known) and seen.startswith(known):
            self.step_text += seen[len(known) :].removeprefix(BETWEEN_STEPS if not self.step_text else "")

    def final_messages(self, *, partial: bool) -> list[Message]:
        """All that the turn adds to the transcript after its inputs. `partial`: the answer was cut short."""
        if not self.step_text.strip():
            return list(self.messages)
        last: dict[str, Any] = {"role": "assistant", "content": self.step_text}
        if partial:
            last["partial"] = True
        return [*self.messages, last]

    def _step(self, kind: str, data: Mapping[str, Any]) -> Step:
        return Step(kind, {**data, "usage": asdict(self.usage)})


def storable(usage: Usage) -> Usage:
    """What a server says that a request took, as far as it can be: what it makes up costs nobody their answer."""
    cost, prompt = usage.cost_usd, usage.last_prompt_tokens
    return Usage(
        input_tokens=_count(usage.input_tokens),
        output_tokens=_count(usage.output_tokens),
        cache_read_tokens=_count(usage.cache_read_tokens),
        cache_write_tokens=_count(usage.cache_write_tokens),
        last_prompt_tokens=None if prompt is None else _count(prompt),
        model=None if usage.model is None else clean_text(usage.model),
        cost_usd=cost if cost is not None and math.isfinite(cost) else None,
        cost_status=usage.cost_status,
    )


def _count(tokens: int) -> int:
    return min(max(tokens, 0), MOST_TOKENS)


def _call_form(call: Call) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _sum(one: Usage, other: Usage) -> Usage:
    cost = one.cost_usd if other.cost_usd is None else (one.cost_usd or 0.0) + other.cost_usd
    return Usage(
        input_tokens=one.input_tokens + other.input_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
        cache_read_tokens=one.cache_read_tokens + other.cache_read_tokens,
        cache_write_tokens=one.cache_write_tokens + other.cache_write_tokens,
        last_prompt_tokens=one.last_prompt_tokens if other.last_prompt_tokens is None else other.last_prompt_tokens,
        model=other.model or one.model,
        cost_usd=cost,
        cost_status=other.cost_status or one.cost_status,
    )
