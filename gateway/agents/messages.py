"""Turns a transcript's messages into those of pydantic-ai, and back; repairs what a provider would refuse."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    ModelResponsePart,
    SystemPromptPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserContent,
    UserPromptPart,
    repair_messages,
)

from gateway.agents.images import Image, is_image, row_of, to_image
from gateway.ports import Call, Message
from gateway.session.text import flatten_text
from gateway.storage.codec import clean_text

PartT = TypeVar("PartT", ModelRequestPart, ModelResponsePart)

_SENT_FIELDS: Final = ("content", "args", "tool_name", "tool_call_id")
"""What holds the texts of a message's parts."""

CUT_OFF: Final = "[The answer was cut off here.]"
"""Stands after an answer that ended before it was complete."""

GO_ON: Final = (
    "[Your answer was interrupted here. Go on exactly where it stops; repeat nothing of it, and do not mention this.]"
)
"""Asks for the rest of an answer; not every provider goes on after a message of the assistant by itself."""

BEGINNING: Final = "[The conversation begins with a message of yours.]"
"""Stands before a history that begins with the assistant, which several providers refuse."""

NO_TEXT: Final = "[A message without text.]"

NO_NAME: Final = "unnamed"
"""What a tool is called that has no name."""

_NOT_IN_A_NAME: Final = re.compile(r"[^A-Za-z0-9_-]")
_NAME_LENGTH: Final = 64
"""What OpenAI, Anthropic and Bedrock take for a tool's name, also in what was said before."""


def to_model_messages(rows: Sequence[Message]) -> list[ModelMessage]:
    """The messages of a transcript as pydantic-ai has them; roles other than the four known are left out."""
    messages: list[ModelMessage] = []
    open_calls: list[tuple[str, str]] = []
    for row in rows:
        match row.get("role"):
            case "user":
                messages.append(ModelRequest(parts=[_user_part(row)]))
            case "system":
                messages.extend(_system(row))
            case "assistant":
                parts = _assistant_parts(row)
                open_calls = [(part.tool_call_id, part.tool_name) for part in parts if isinstance(part, ToolCallPart)]
                if parts:
                    messages.append(ModelResponse(parts=parts))
            case "tool":
                result = _result_part(row, open_calls)
                if result is not None:
                    messages.append(ModelRequest(parts=[result]))
            case _:
                continue
    return messages


def to_rows(messages: Iterable[ModelMessage]) -> list[dict[str, Any]]:
    """Messages of pydantic-ai as a transcript has them; what a transcript has no place for is left out."""
    rows: list[dict[str, Any]] = []
    for message in messages:
        if isinstance(message, ModelResponse):
            rows.append(_assistant_row(message))
            continue
        for part in message.parts:
            if isinstance(part, ToolReturnPart):
                rows.append(
                    {
                        "role": "tool",
                        "content": part.model_response_str(),
                        "tool_call_id": part.tool_call_id,
                        "tool_name": part.tool_name,
                    }
                )
            elif isinstance(part, UserPromptPart | SystemPromptPart):
                role = "user" if isinstance(part, UserPromptPart) else "system"
                rows.append({"role": role, "content": _prompt_content(part)})
    return rows


def repaired(messages: Sequence[ModelMessage]) -> list[ModelMessage]:
    """A history that every provider takes.

    Calls and results are paired, neighbours of one role are one message, the first message and the last one
    are not the assistant's.
    """
    history = [joined(message) for message in repair_messages(messages)]
    if history and isinstance(history[0], ModelResponse):
        history.insert(0, _note(BEGINNING))
    if not history or isinstance(history[-1], ModelResponse):
        history.append(_note(GO_ON if history else NO_TEXT))
    return history


def user_request(rows: Sequence[Message]) -> list[ModelMessage]:
    """Messages that came in while the model worked, as one request; none if there are none."""
    return [ModelRequest(parts=[_user_part(row) for row in rows])] if rows else []


def step_text(response: ModelResponse) -> str:
    """What the model said in one step."""
    return "".join(part.content for part in response.parts if isinstance(part, TextPart))


def step_calls(response: ModelResponse) -> tuple[Call, ...]:
    """The tools that the model asked for in one step."""
    return tuple(
        Call(part.tool_call_id, part.tool_name, _arguments_text(part))
        for part in response.parts
        if isinstance(part, ToolCallPart)
    )


def with_unique_ids(response: ModelResponse, used: set[str]) -> ModelResponse:
    """The same step, with each call under an id that this turn has not used; `used` takes the ids in.

    Some servers number the calls of each step from nought, but an id names one call of a turn.
    """
    parts: list[ModelResponsePart] = []
    for part in response.parts:
        if isinstance(part, ToolCallPart):
            unique, number = part.tool_call_id, 1
            while unique in used:
                number += 1
                unique = f"{part.tool_call_id}_{number}"
            used.add(unique)
            part = part if unique == part.tool_call_id else replace(part, tool_call_id=unique)
        parts.append(part)
    return replace(response, parts=parts)


def unanswered_calls(rows: Sequence[Message]) -> tuple[Call, ...]:
    """The calls of the last step of a transcript that have no result yet."""
    last = next((i for i in range(len(rows) - 1, -1, -1) if rows[i].get("role") == "assistant"), None)
    if last is None:
        return ()
    results = to_model_messages(rows[last:])
    answered = {
        part.tool_call_id
        for message in results
        if isinstance(message, ModelRequest)
        for part in message.parts
        if isinstance(part, ToolReturnPart)
    }
    step = results[0] if results and isinstance(results[0], ModelResponse) else None
    return tuple(call for call in step_calls(step) if call.id not in answered) if step else ()


def joined(message: ModelMessage) -> ModelMessage:
    """The message with neighbouring texts made one: some models' chat templates want roles to alternate."""
    if isinstance(message, ModelResponse):
        told = message.model_name is None  # one that a model has just made stays as the provider sent it
        return replace(message, parts=_join_texts(message.parts)) if told else message
    return replace(message, parts=_join_prompts(message.parts))


def sendable(message: ModelMessage, tools: Container[str] = ()) -> ModelMessage:
    """The message as a request has it: `joined`, without halves of surrogate pairs, and with names of tools that every
    provider takes, unless they are those of `tools`. Models do write both, and no request can carry them."""
    whole = joined(message)
    if isinstance(whole, ModelResponse):
        return replace(whole, parts=[_sendable_part(part, tools) for part in whole.parts])
    return replace(whole, parts=[_sendable_part(part, tools) for part in whole.parts])


def _sendable_part(part: PartT, tools: Container[str]) -> PartT:
    found = {name: getattr(part, name) for name in _SENT_FIELDS if hasattr(part, name)}
    clean = {name: _sendable(value) for name, value in found.items()}
    if (tool := clean.get("tool_name")) is not None and tool not in tools:
        clean["tool_name"] = _NOT_IN_A_NAME.sub("_", tool)[:_NAME_LENGTH] or NO_NAME
    changed = {name: value for name, value in clean.items() if value != found[name]}
    return replace(part, **changed) if changed else part


def _sendable(value: Any) -> Any:  # noqa: ANN401 - whatever a part holds
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list):
        return [_sendable(each) for each in value]
    if isinstance(value, dict):
        return {_sendable(name): _sendable(each) for name, each in value.items()}
    return value


def _note(text: str) -> ModelRequest:
    return ModelRequest(parts=[UserPromptPart(content=text)])


def _user_part(row: Message) -> UserPromptPart:
    content = row.get("content")
    text = flatten_text(content)
    text = text if text.strip() else NO_TEXT
    images = [to_image(part) for part in content if is_image(part)] if isinstance(content, list | tuple) else []
    return UserPromptPart(content=[text, *images] if images else text)


def _system(row: Message) -> list[ModelMessage]:
    text = flatten_text(row.get("content"))
    return [ModelRequest(parts=[SystemPromptPart(content=text)])] if text.strip() else []


def _assistant_parts(row: Message) -> list[ModelResponsePart]:
    text = flatten_text(row.get("content"))
    if row.get("partial") and text.strip():
        text = f"{text}\n\n{CUT_OFF}"
    parts: list[ModelResponsePart] = [TextPart(content=text)] if text.strip() else []
    calls = row.get("tool_calls")
    for number, call in enumerate(calls if isinstance(calls, list | tuple) else ()):
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or not function.get("name"):
            continue
        arguments = function.get("arguments")
        parts.append(
            ToolCallPart(
                tool_name=str(function["name"]),
                args=dict(arguments) if isinstance(arguments, Mapping) else str(arguments or "{}"),
                tool_call_id=str(call.get("id") or f"call_{number}"),
            )
        )
    return parts


def _result_part(row: Message, open_calls: list[tuple[str, str]]) -> ToolReturnPart | None:
    """The result of one of the calls of the step before it; None if it answers none of them."""
    wanted = row.get("tool_call_id")
    found = next(((call_id, name) for call_id, name in open_calls if wanted is None or call_id == str(wanted)), None)
    if found is None:
        return None
    open_calls.remove(found)
    call_id, name = found
    return ToolReturnPart(tool_name=name, content=flatten_text(row.get("content")), tool_call_id=call_id)


def _assistant_row(response: ModelResponse) -> dict[str, Any]:
    row: dict[str, Any] = {"role": "assistant", "content": step_text(response)}
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in step_calls(response)
    ]
    return row | {"tool_calls": calls} if calls else row


def _arguments_text(part: ToolCallPart) -> str:
    """The arguments as the model wrote them, so that a tool's error can show what was wrong with them."""
    return part.args if isinstance(part.args, str) and part.args else part.args_as_json_str()


def _prompt_content(part: UserPromptPart | SystemPromptPart) -> str | list[Mapping[str, Any]]:
    if isinstance(part.content, str):
        return part.content
    return [row_of(each) if isinstance(each, Image) else {"type": "text", "text": str(each)} for each in part.content]


def _join_texts(parts: Sequence[ModelResponsePart]) -> list[ModelResponsePart]:
    joined: list[ModelResponsePart] = []
    for part in parts:
        last = joined[-1] if joined else None
        if isinstance(part, TextPart) and isinstance(last, TextPart):
            joined[-1] = replace(last, content=f"{last.content}\n\n{part.content}")
        else:
            joined.append(part)
    return joined


def _join_prompts(parts: Sequence[ModelRequestPart]) -> list[ModelRequestPart]:
    joined: list[ModelRequestPart] = []
    for part in parts:
        last = joined[-1] if joined else None
        if isinstance(part, UserPromptPart) and isinstance(last, UserPromptPart):
            joined[-1] = replace(last, content=_join_contents(last.content, part.content))
        else:
            joined.append(part)
    return joined


def _join_contents(first: str | Sequence[UserContent], second: str | Sequence[UserContent]) -> str | list[UserContent]:
    if isinstance(first, str) and isinstance(second, str):
        return f"{first}\n\n{second}"
    joined: list[UserContent] = []
    for each in (*_contents(first), *_contents(second)):
        last = joined[-1] if joined else None
        if isinstance(each, str) and isinstance(last, str):
            joined[-1] = f"{last}\n\n{each}"
        else:
            joined.append(each)
    return joined


def _contents(content: str | Sequence[UserContent]) -> Sequence[UserContent]:
    return (content,) if isinstance(content, str) else content
