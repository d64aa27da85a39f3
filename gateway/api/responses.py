"""Answers as responses: whole, and as the events of a stream.

https://platform.openai.com/docs/api-reference/responses/object and /responses-streaming.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from gateway.api.chat import about
from gateway.api.errors import ApiError
from gateway.api.ledger import RESPONSE_PREFIX, Answer, Asked

MESSAGE_PREFIX: Final = "msg_"
CALL_PREFIX: Final = "fc_"
"""What ids of items begin with; the rest of that of their response follows, which `response_of` reads."""


def response_of(item_id: str) -> str | None:
    """The id of the response that an item is of; None for what is no id of one."""
    for prefix in (MESSAGE_PREFIX, CALL_PREFIX):
        if item_id.startswith(prefix):
            return f"{RESPONSE_PREFIX}{item_id.removeprefix(prefix).partition('_')[0]}"
    return None


def response(asked: Asked, answer: Answer | None, *, status: str | None = None) -> dict[str, Any]:
    """The whole response; without an answer it is under way."""
    if answer is None:
        return _response(asked, status or "in_progress", [], None, None)
    if answer.error is not None:
        return _response(asked, "failed", _output(asked, answer, "incomplete"), answer, answer.error)
    if _why_incomplete(answer) is not None:
        return _response(asked, "incomplete", _output(asked, answer, "incomplete"), answer, None)
    return _response(asked, "completed", _output(asked, answer, "completed"), answer, None)


def _response(
    asked: Asked, status: str, output: list[dict[str, Any]], answer: Answer | None, error: str | None
) -> dict[str, Any]:
    fields, why = asked.fields, None if answer is None else _why_incomplete(answer)
    return {
        "id": asked.id,
        "object": "response",
        "created_at": int(asked.created_at.timestamp()),
        "status": status,
        "error": None if error is None else {"code": "server_error", "message": error},
        "incomplete_details": {"reason": why} if why is not None and status == "incomplete" else None,
        "instructions": fields.get("instructions"),
        "model": fields["model"],
        "output": output,
        "parallel_tool_calls": True,
        "previous_response_id": fields.get("previous_response_id"),
        "conversation": fields.get("conversation"),
        "store": True,
        "text": {"format": {"type": "text"}},
        "tool_choice": fields.get("tool_choice", "auto"),
        "tools": fields.get("tools", []),
        "metadata": fields.get("metadata", {}),
        "usage": None if answer is None else _usage(answer),
        "hermes": None if answer is None else about(answer),
    }


class ResponseStream:
    """The events of one streamed response. Each has its number, from 0."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._number = 0
        self._speaking = False

    def begin(self) -> Iterator[Mapping[str, Any]]:
        """Before there is any text."""
        yield self._event("response.created", response=response(self._asked, None))
        yield self._event("response.in_progress", response=response(self._asked, None))

    def text(self, piece: str) -> Iterator[Mapping[str, Any]]:
        """A piece of the answer."""
        if not self._speaking:
            self._speaking = True
            item = _message(self._asked, None, "in_progress")
            yield self._event("response.output_item.added", output_index=0, item=item)
            yield self._event("response.content_part.added", **self._place(), part=_part(""))
        yield self._event("response.output_text.delta", **self._place(), delta=piece, logprobs=[])

    def end(self, answer: Answer, sent: str) -> Iterator[Mapping[str, Any]]:
        """What is left once all of the text has been sent."""
        if self._speaking:
            yield self._event("response.output_text.done", **self._place(), text=sent, logprobs=[])
            yield self._event("response.content_part.done", **self._place(), part=_part(sent))
            cut = _why_incomplete(answer) is not None or answer.error is not None
            item = _message(self._asked, sent, "incomplete" if cut else "completed")
            yield self._event("response.output_item.done", output_index=0, item=item)
        for number, item in enumerate(_function_calls(self._asked, answer), start=int(self._speaking)):
            yield from self._call(number, item)
        whole = response(self._asked, answer)
        yield self._event(f"response.{whole['status']}", response=whole)

    def failed(self, error: ApiError) -> Iterator[Mapping[str, Any]]:
        """In place of what is left, where there is no answer to be had."""
        yield self._event("error", code=error.code, message=str(error), param=error.param)

    def _call(self, number: int, item: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        begun = {**item, "arguments": "", "status": "in_progress"}
        place = {"item_id": item["id"], "output_index": number}
        yield self._event("response.output_item.added", output_index=number, item=begun)
        yield self._event("response.function_call_arguments.delta", **place, delta=item["arguments"])
        said = {"name": item["name"], "arguments": item["arguments"]}
        yield self._event("response.function_call_arguments.done", **place, **said)
        yield self._event("response.output_item.done", output_index=number, item=item)

    def _place(self) -> dict[str, Any]:
        return {"item_id": _message_id(self._asked), "output_index": 0, "content_index": 0}

    def _event(self, kind: str, **fields: object) -> dict[str, Any]:
        event = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return event


def _output(asked: Asked, answer: Answer, status: str) -> list[dict[str, Any]]:
    said = [_message(asked, answer.text, status)] if answer.text or not (answer.calls or answer.error) else []
    return [*said, *_function_calls(asked, answer)]


def _why_incomplete(answer: Answer) -> str | None:
    """Why an answer is less than it was to be, in OpenAI's words where it has some; None for a whole one."""
    if answer.stopped:
        return "stopped"
    return "max_output_tokens" if answer.cut == "length" else answer.cut


def _message_id(asked: Asked) -> str:
    return f"{MESSAGE_PREFIX}{asked.id.removeprefix(RESPONSE_PREFIX)}"


def _message(asked: Asked, text: str | None, status: str) -> dict[str, Any]:
    content = [] if text is None else [_part(text)]
    return {
        "id": _message_id(asked),
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": content,
    }


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _function_calls(asked: Asked, answer: Answer) -> list[dict[str, Any]]:
    """Each under an id that tells of which response it is: the ids that models give to calls come again."""
    return [
        {
            "id": f"{CALL_PREFIX}{asked.id.removeprefix(RESPONSE_PREFIX)}_{number}",
            "type": "function_call",
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments,
            "status": "completed",
        }
        for number, call in enumerate(answer.calls)
    ]


def _usage(answer: Answer) -> dict[str, Any]:
    took = answer.usage or {}
    prompt, output = took.get("input", 0), took.get("output", 0)
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": took.get("cached", 0), "cache_write_tokens": 0},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt + output,
    }
