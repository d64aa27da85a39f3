"""What programs may send: the shapes of OpenAI's chat completions and responses, as far as they mean something here.

What the interface of OpenAI has besides (https://platform.openai.com/docs/api-reference) is taken and left unread, as
its servers do with fields that a model does not have: the agent's own configuration says how a model is asked.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

MAX_MESSAGES: Final = 2_000
"""Messages of one request: longer conversations belong into a session."""

MAX_TOOLS: Final = 128
"""What OpenAI takes (https://platform.openai.com/docs/api-reference/chat/create)."""

ToolName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
Identifier = Annotated[str, Field(min_length=1, max_length=256)]
ConversationName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:@+=-]{1,128}$")]


class Shape(BaseModel):
    """Read strictly: a number is no text. What is not named is left alone."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)


class Part(Shape):
    """A part of a content."""

    type: Literal["text", "input_text", "output_text", "refusal"]
    text: str | None = None
    refusal: str | None = None


class FunctionCall(Shape):
    """What an assistant asked of a tool; the arguments are a JSON text."""

    name: ToolName
    arguments: str


class ToolCall(Shape):
    """One call of a tool, as an assistant made it."""

    id: Identifier
    type: Literal["function"] = "function"
    function: FunctionCall


class ChatMessage(Shape):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Part] | None = None
    tool_calls: list[ToolCall] | None = Field(default=None, max_length=MAX_TOOLS)
    tool_call_id: Identifier | None = None


class Function(Shape):
    """A tool: its name, what it does, and a JSON schema of what it takes."""

    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None


class ChatTool(Shape):
    """A tool that the program runs."""

    type: Literal["function"]
    function: Function


class StreamOptions(Shape):
    """What a stream has besides the answer."""

    include_usage: bool | None = None


class TextFormat(Shape):
    """The form of an answer; the agent writes text."""

    type: Literal["text"]


ToolChoice = Literal["auto", "none"]


class ChatRequest(Shape):
    """`POST /v1/chat/completions`."""

    model: Identifier
    messages: list[ChatMessage] = Field(min_length=1, max_length=MAX_MESSAGES)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: list[ChatTool] | None = Field(default=None, max_length=MAX_TOOLS)
    tool_choice: ToolChoice | None = None
    n: Annotated[int, Field(ge=1, le=1)] | None = None
    response_format: TextFormat | None = None
    logprobs: Literal[False] | None = None


class ResponseTool(Shape):
    """A tool that the program runs, as responses have it."""

    type: Literal["function"]
    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None


class InputMessage(Shape):
    """A message in the input."""

    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part]


class InputCall(Shape):
    """A call of a tool that an earlier answer made."""

    type: Literal["function_call"]
    call_id: Identifier
    name: ToolName
    arguments: str


class InputResult(Shape):
    """What a tool of the program came to."""

    type: Literal["function_call_output"]
    call_id: Identifier
    output: str | list[Part]


class InputReasoning(Shape):
    """Reasoning of an earlier answer; it is not needed."""

    type: Literal["reasoning"]


class InputReference(Shape):
    """An item of an earlier answer, by its id: what programs send in its place, since answers are stored
    (https://platform.openai.com/docs/api-reference/responses/create#responses_create-input)."""

    type: Literal["item_reference"]
    id: Identifier


InputItem = InputMessage | InputCall | InputResult | InputReasoning | InputReference

_ITEMS: Final = {
    "message": "InputMessage",
    "function_call": "InputCall",
    "function_call_output": "InputResult",
    "reasoning": "InputReasoning",
    "item_reference": "InputReference",
}


def _item_of(value: object) -> str | None:
    """Which shape an item has, by its type; a message need not say that it is one."""
    kind = value.get("type", "message") if isinstance(value, Mapping) else getattr(value, "type", None)
    return _ITEMS.get(kind) if isinstance(kind, str) else None


TypedItem = Annotated[
    Annotated[InputMessage, Tag("InputMessage")]
    | Annotated[InputCall, Tag("InputCall")]
    | Annotated[InputResult, Tag("InputResult")]
    | Annotated[InputReasoning, Tag("InputReasoning")]
    | Annotated[InputReference, Tag("InputReference")],
    Discriminator(
        _item_of,
        custom_error_type="item_type",
        custom_error_message=f"Input should be an item whose type is one of {', '.join(_ITEMS)}",
    ),
]
"""An item, read as what its type says that it is: so what is wrong with it is told of its own fields."""


class ConversationRef(Shape):
    """A conversation by its name."""

    id: ConversationName


class TextOptions(Shape):
    """The form of an answer."""

    format: TextFormat | None = None


class ResponseRequest(Shape):
    """`POST /v1/responses`."""

    model: Identifier
    input: str | Annotated[list[TypedItem], Field(min_length=1, max_length=MAX_MESSAGES)]
    instructions: str | None = None
    stream: bool | None = None
    previous_response_id: Identifier | None = None
    conversation: ConversationName | ConversationRef | None = None
    tools: list[ResponseTool] | None = Field(default=None, max_length=MAX_TOOLS)
    tool_choice: ToolChoice | None = None
    text: TextOptions | None = None
    background: Literal[False] | None = None
    metadata: dict[str, str] | None = None


class SendRequest(Shape):
    """`POST /api/send`: a text, and the chat that it goes to, as platform:chat[:thread], or a platform that has a home
    channel."""

    target: Annotated[str, Field(min_length=1, max_length=200)]
    text: Annotated[str, Field(min_length=1, max_length=100_000)]
