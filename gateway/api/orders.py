"""From what a program sends to the message that goes in."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar

from pydantic import ValidationError

from gateway.api.errors import ApiError
from gateway.api.wire import (
    ChatMessage,
    ChatRequest,
    ConversationRef,
    InputCall,
    InputItem,
    InputMessage,
    InputResult,
    Part,
    ResponseRequest,
    Shape,
)
from gateway.ports import Brought, ClientTool, Message

RESULTS: Final = "(results of tools)"
"""Stands for the text of a message that has none: a program hands over what its tools came to."""

_S = TypeVar("_S", bound=Shape)


@dataclass(frozen=True, slots=True)
class Order:
    """A request that has been read.

    `text` is what is said last. `conversation` names the session that it belongs to, `previous` the response that it
    goes on from; with neither it stands for itself. `fields` is what the answer repeats.
    """

    kind: Literal["chat", "response"]
    model: str
    text: str
    rows: Sequence[Message]
    instructions: str | None
    tools: tuple[ClientTool, ...]
    stream: bool
    conversation: str | None = None
    previous: str | None = None
    include_usage: bool = False
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def bound(self) -> bool:
        """Whether it goes on with a conversation that the gateway keeps."""
        return self.conversation is not None or self.previous is not None

    @property
    def literal(self) -> bool:
        """Whether a slash before its text is a part of that: commands are for a conversation that the gateway keeps."""
        return not (self.bound and self._is_one_text)

    @property
    def _is_one_text(self) -> bool:
        return len(self.rows) == 1 and self.rows[0]["role"] == "user"

    @property
    def inbound_text(self) -> str:
        """The text as it goes in."""
        return f"/{self.text}" if self.literal and _has_slash(self.text) else self.text

    def brought(self) -> Brought:
        """What goes in besides the text."""
        told = self._is_one_text and not (self.literal and _has_slash(self.text))
        return Brought(() if told else tuple(self.rows), self.instructions, self.tools, self.model)


def _has_slash(text: str) -> bool:
    return text.lstrip().startswith("/")


def read_shape(shape: type[_S], body: Mapping[str, Any]) -> _S:
    """Read a body. Raises `ApiError`, which names the first field that is wrong."""
    try:
        return shape.model_validate(body)
    except ValidationError as error:
        # Of a field that can have several shapes each one complains; the deepest complaint is the nearest one, and that
        # something is no text says less than what is wrong with the list that it is.
        first = max(error.errors(include_url=False, include_input=False, include_context=False), key=_nearness)
        where = ".".join(str(part) for part in first["loc"] if not _is_shape(part))
        raise ApiError(400, f"{where}: {first['msg']}", code="invalid_value", param=where or None) from error
    except RecursionError as error:
        raise ApiError(400, "the body is nested too deeply", code="invalid_value") from error


def chat_order(request: ChatRequest, conversation: str | None) -> Order:
    """What a chat completion asks for. Raises `ApiError`."""
    rows = _chat_rows(request.messages)
    if conversation is None:
        _check_results(rows, "messages")
    tools = (
        ()
        if request.tool_choice == "none"
        else tuple(
            _tool(tool.function.name, tool.function.description, tool.function.parameters)
            for tool in request.tools or ()
        )
    )
    instructions = [_text(message.content) for message in request.messages if message.role in ("system", "developer")]
    return Order(
        kind="chat",
        model=request.model,
        text=_last_text(rows, "messages"),
        rows=_joined(_newest(rows)) if conversation is not None else rows,
        instructions="\n\n".join(filter(str.strip, instructions)) or None,
        tools=_distinct(tools),
        stream=bool(request.stream),
        conversation=conversation,
        include_usage=bool(request.stream_options and request.stream_options.include_usage),
    )


def response_order(request: ResponseRequest, conversation: str | None) -> Order:
    """What a response is asked for. `conversation` is what a header names. Raises `ApiError`."""
    named = request.conversation.id if isinstance(request.conversation, ConversationRef) else request.conversation
    conversation = named or conversation
    if conversation is not None and request.previous_response_id is not None:
        words = "conversation and previous_response_id cannot both be given"
        raise ApiError(400, words, code="invalid_value", param="previous_response_id")
    items: Sequence[InputItem] = (
        [InputMessage(role="user", content=request.input)] if isinstance(request.input, str) else request.input
    )
    rows, said = _input_rows(items)
    bound = conversation is not None or request.previous_response_id is not None
    if not bound:
        _check_results(rows, "input")
    instructions = [request.instructions or "", *said]
    tools = (
        ()
        if request.tool_choice == "none"
        else tuple(_tool(tool.name, tool.description, tool.parameters) for tool in request.tools or ())
    )
    return Order(
        kind="response",
        model=request.model,
        text=_last_text(rows, "input"),
        rows=_joined(_newest(rows)) if bound else rows,
        instructions="\n\n".join(filter(str.strip, instructions)) or None,
        tools=_distinct(tools),
        stream=bool(request.stream),
        conversation=conversation,
        previous=request.previous_response_id,
        fields={
            "instructions": request.instructions,
            "metadata": request.metadata or {},
            "previous_response_id": request.previous_response_id,
            "conversation": {"id": conversation} if conversation is not None else None,
            "tools": [tool.model_dump() for tool in request.tools or ()],
            "tool_choice": request.tool_choice or "auto",
        },
    )


def _chat_rows(messages: Sequence[ChatMessage]) -> list[Message]:
    rows: list[Message] = []
    for number, message in enumerate(messages):
        text = _text(message.content)
        if message.role == "user":
            rows.append({"role": "user", "content": text})
        elif message.role == "assistant":
            calls = [_call(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or ()]
            if text.strip() or calls:
                rows.append({"role": "assistant", "content": text} | ({"tool_calls": calls} if calls else {}))
        elif message.role == "tool":
            if message.tool_call_id is None:
                where = f"messages.{number}.tool_call_id"
                raise ApiError(
                    400, f"{where}: a result names the call that it is of", code="invalid_value", param=where
                )
            rows.append(_result(message.tool_call_id, text, rows))
    return rows


def _input_rows(items: Iterable[InputItem]) -> tuple[list[Message], list[str]]:
    """The rows of a transcript, and what stands with the instructions."""
    rows: list[Message] = []
    said: list[str] = []
    for item in items:
        if isinstance(item, InputMessage):
            text = _text(item.content)
            if item.role in ("system", "developer"):
                said.append(text)
            elif item.role == "user" or text.strip():
                rows.append({"role": item.role, "content": text})
        elif isinstance(item, InputCall):
            call = _call(item.call_id, item.name, item.arguments)
            last = rows[-1] if rows else None
            if last is not None and last["role"] == "assistant":
                rows[-1] = {**last, "tool_calls": [*last.get("tool_calls", ()), call]}
            else:
                rows.append({"role": "assistant", "content": "", "tool_calls": [call]})
        elif isinstance(item, InputResult):
            rows.append(_result(item.call_id, _text(item.output), rows))
    return rows, said


def _last_text(rows: Sequence[Message], param: str) -> str:
    """What the message says. Raises `ApiError` where there is nothing to answer."""
    last = rows[-1] if rows else None
    if last is None or last["role"] == "assistant":
        raise ApiError(
            400, f"{param}: the last message must be a user's or a tool's", code="invalid_value", param=param
        )
    if last["role"] == "tool":
        return RESULTS
    text = str(_joined(_newest(rows))[-1]["content"])
    if not text.strip():
        raise ApiError(400, f"{param}: the last message has no text", code="invalid_value", param=param)
    return text


def _check_results(rows: Sequence[Message], param: str) -> None:
    """Of a conversation that is here as a whole: no provider takes a result without the call that it is of, so what is
    to be answered would be left out. Raises `ApiError`."""
    for row in _newest(rows):
        if row["role"] == "tool" and "tool_name" not in row:
            words = (
                f"{param}: the result of {row['tool_call_id']} stands without the call that it is of: send that, too"
            )
            raise ApiError(400, words, code="invalid_value", param=param)


def _newest(rows: Sequence[Message]) -> list[Message]:
    """What came after the assistant spoke last: the rest is in the session already."""
    spoke = max((number for number, row in enumerate(rows) if row["role"] == "assistant"), default=-1)
    return list(rows[spoke + 1 :])


def _joined(rows: Sequence[Message]) -> list[Message]:
    """The rows, with neighbouring ones of a user made one."""
    joined: list[Message] = []
    for row in rows:
        if joined and row["role"] == joined[-1]["role"] == "user":
            joined[-1] = {"role": "user", "content": f"{joined[-1]['content']}\n\n{row['content']}"}
        else:
            joined.append(row)
    return joined


def _result(call_id: str, content: str, rows: Sequence[Message]) -> Message:
    """The result of a call; its tool's name is known where the call is among the messages."""
    calls = (call for row in rows for call in row.get("tool_calls", ()))
    name = next((call["function"]["name"] for call in calls if call["id"] == call_id), None)
    row = {"role": "tool", "content": content, "tool_call_id": call_id}
    return row if name is None else {**row, "tool_name": name}


def _call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _tool(name: str, description: str | None, parameters: Mapping[str, Any] | None) -> ClientTool:
    return ClientTool(name, description or "", parameters or {"type": "object", "properties": {}})


def _distinct(tools: tuple[ClientTool, ...]) -> tuple[ClientTool, ...]:
    """Raises `ApiError` where two have one name."""
    names = [tool.name for tool in tools]
    if len(set(names)) < len(names):
        raise ApiError(400, "tools: two of them have the same name", code="invalid_value", param="tools")
    return tools


def _text(content: str | Sequence[Part] | None) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(part.text or part.refusal or "" for part in content)


def _nearness(error: Mapping[str, Any]) -> tuple[int, bool]:
    return len(error["loc"]), error["type"] != "string_type"


def _is_shape(part: object) -> bool:
    """Whether a step of a path names one of several shapes, rather than a field."""
    return isinstance(part, str) and (part[:1].isupper() or part in ("str", "list[Part]") or "[" in part)


def fingerprint(body: Mapping[str, Any], conversation: str | None) -> str:
    """What tells two requests apart that have one Idempotency-Key."""
    text = json.dumps([body, conversation], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
