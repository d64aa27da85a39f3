"""Answers as chat completions: whole, and piece by piece.

https://platform.openai.com/docs/api-reference/chat/object and /chat/streaming.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.api.errors import ApiError
from gateway.api.ledger import Answer, Asked


def completion(asked: Asked, answer: Answer) -> dict[str, Any]:
    """The whole answer."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.text or None, "refusal": None}
    if answer.calls:
        message["tool_calls"] = _calls(answer)
    elif not answer.text:
        message["content"] = ""
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(answer)}
    return {
        "id": asked.id,
        "object": "chat.completion",
        "created": int(asked.created_at.timestamp()),
        "model": asked.fields["model"],
        "choices": [choice],
        "usage": usage(answer),
        "hermes": about(answer),
    }


def usage(answer: Answer) -> dict[str, Any]:
    """What it took; noughts where that is not known."""
    took = answer.usage or {}
    prompt, output = took.get("input", 0), took.get("output", 0)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": took.get("cached", 0)},
    }


def about(answer: Answer) -> dict[str, Any]:
    """What the gateway says of an answer besides what the interface has a place for."""
    return {
        "session_id": answer.session_id,
        "turn_id": answer.turn_id,
        "stopped": answer.stopped,
        "notices": list(answer.notices),
    }


class ChatStream:
    """The events of one streamed chat completion."""

    def __init__(self, asked: Asked, *, include_usage: bool) -> None:
        self._asked = asked
        self._include_usage = include_usage

    def begin(self) -> Iterator[Mapping[str, Any]]:
        """Before there is any text."""
        yield self._chunk({"role": "assistant", "content": "", "refusal": None})

    def text(self, piece: str) -> Iterator[Mapping[str, Any]]:
        """A piece of the answer."""
        yield self._chunk({"content": piece})

    def end(self, answer: Answer, sent: str) -> Iterator[Mapping[str, Any]]:
        """What is left once all of the text has been sent."""
        del sent
        for number, call in enumerate(_calls(answer)):
            yield self._chunk({"tool_calls": [{"index": number, **call}]})
        yield {**self._chunk({}, _finish(answer)), "hermes": about(answer)}
        if self._include_usage:
            yield {**self._head(), "choices": [], "usage": usage(answer)}

    def failed(self, error: ApiError) -> Iterator[Mapping[str, Any]]:
        """In place of what is left, where there is no answer to be had."""
        yield error.body()

    def _chunk(self, delta: Mapping[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": dict(delta), "logprobs": None, "finish_reason": finish}
        chunk = {**self._head(), "choices": [choice]}
        return {**chunk, "usage": None} if self._include_usage else chunk

    def _head(self) -> dict[str, Any]:
        return {
            "id": self._asked.id,
            "object": "chat.completion.chunk",
            "created": int(self._asked.created_at.timestamp()),
            "model": self._asked.fields["model"],
        }


def _finish(answer: Answer) -> str:
    return "tool_calls" if answer.calls else answer.cut or "stop"


def _calls(answer: Answer) -> list[dict[str, Any]]:
    return [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in answer.calls
    ]
