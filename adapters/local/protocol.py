"""The frames between a terminal client and the gateway: their fields, their limits, and how they are read.

A client opens with `Hello`; the gateway answers with `Welcome`, and the client leaves if the versions differ.
After that a client sends `Message`, `Ask`, `Ack`, `Held` and `Bye`; the gateway sends `MessageAccepted`,
`MessageRefused`, `MessageBusy`, `Told`, `Show`, `Grow`, `Peers` and `Problem`. An object of an unknown `op` is an
error for the gateway and nothing for a client.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from gateway.ports import DeliveryKind, InboundState, Overview, SessionLine, Suggestion

SERVICE: Final = "chat"
"""The service that a client of the gateway's socket names in its first frame."""

MAX_TEXT_BYTES: Final = 512 * 1024
"""The longest message in UTF-8: more than the context of most models, and even when every character is
escaped still below the longest frame."""

MAX_ASKED_CHARACTERS: Final = 1_000
"""The longest text of a question: of the line that is typed, commands have far fewer."""

MAX_ID_CHARACTERS: Final = 128
"""The longest id that a client may make for a message or for itself."""

MAX_PIECE_CHARACTERS: Final = 500_000
"""The longest text in one frame to a client. A character takes at most 12 bytes in JSON (an escaped surrogate
pair), so a frame stays below the longest one; a longer text follows in pieces."""

REMEMBERED_DELIVERIES: Final = 1000
"""How many of the deliveries that it showed a client tells the gateway about when it attaches."""

ACKNOWLEDGE_SECONDS: Final = 10.0
"""How long a client may keep silent over a delivery before it is dropped and the outcome counts as unknown."""

HELD_SECONDS: Final = 3.0
"""How often a client that is still busy showing a delivery (its reader pages slowly) says so; well below
`ACKNOWLEDGE_SECONDS`."""

_MAX_DELIVERY_ID: Final = 2**63 - 1
_MAX_PEERS: Final = 256

DeliveryId: TypeAlias = Annotated[int, Field(ge=0, le=_MAX_DELIVERY_ID)]
ClientId: TypeAlias = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARACTERS, pattern=r"^[!-~]+$")]
DeliveryIds: TypeAlias = Annotated[tuple[DeliveryId, ...], Field(strict=False, max_length=REMEMBERED_DELIVERIES)]
ClientIds: TypeAlias = Annotated[tuple[ClientId, ...], Field(strict=False, max_length=_MAX_PEERS)]
Texts: TypeAlias = Annotated[tuple[str, ...], Field(strict=False)]


class ProtocolError(Exception):
    """A frame was not one of this protocol. `str()` says in plain words what is wrong with it."""


class Frame(BaseModel):
    """What all frames share: they are immutable, and types are taken as they come."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    def wire(self) -> dict[str, Any]:
        """The frame as a JSON object."""
        return self.model_dump(mode="json")


# --- from the client -----------------------------------------------------------------------------------


class Hello(Frame):
    """The first frame. `client` names the process for as long as it lives.

    `shown` holds the newest deliveries that it has on its screen, `growing` those of them that were not
    complete when it lost its connection, `peers` the clients that were attached then, itself included; `asked`
    the messages that it has no answer to.
    """

    op: Literal["hello"] = "hello"
    service: Literal["chat"] = "chat"
    version: str
    client: ClientId
    shown: DeliveryIds = ()
    growing: DeliveryIds = ()
    peers: ClientIds = ()
    asked: ClientIds = ()


class Message(Frame):
    """What the person wrote. The client makes the id; a message sent again keeps it."""

    op: Literal["message"] = "message"
    id: ClientId
    text: str


class Ask(Frame):
    """A question beside the chat: what a text can become, which sessions there are (with a text: where it is), or how
    the conversation stands. Nothing becomes of it but a `Told` of the same id; one of many may go without."""

    op: Literal["ask"] = "ask"
    id: ClientId
    about: Literal["words", "sessions", "state"]
    text: Annotated[str, Field(max_length=MAX_ASKED_CHARACTERS)] = ""


class Ack(Frame):
    """The delivery is on the screen: all of it, if `final`."""

    op: Literal["ack"] = "ack"
    id: DeliveryId
    final: bool


class Held(Frame):
    """The delivery has arrived and is being shown; that takes longer than usual."""

    op: Literal["held"] = "held"
    id: DeliveryId


class Bye(Frame):
    """The client leaves, and shows nothing more."""

    op: Literal["bye"] = "bye"


ClientFrame: TypeAlias = Annotated[Message | Ask | Ack | Held | Bye, Field(discriminator="op")]

# --- from the gateway ----------------------------------------------------------------------------------


class Welcome(Frame):
    """The answer to `Hello`. `commands` holds name and help of each command, `banner` lines for the person."""

    op: Literal["welcome"] = "welcome"
    version: str
    banner: Texts = ()
    commands: Annotated[tuple[Annotated[tuple[str, str], Field(strict=False)], ...], Field(strict=False)] = ()
    peers: ClientIds = ()


class Peers(Frame):
    """The clients that may have been shown something: all that are attached, and some that have left."""

    op: Literal["peers"] = "peers"
    clients: ClientIds


class MessageAccepted(Frame):
    """The message is durable. `state` is where it stands. That can be an end: for a duplicate, or for a message that
    the gateway refused, which a delivery of its own tells the person."""

    op: Literal["accepted"] = "accepted"
    id: str
    state: Annotated[InboundState, Field(strict=False)]
    duplicate: bool = False


class MessageRefused(Frame):
    """The frame holds nothing that could be stored; it was not taken and never will be. Nothing else tells so."""

    op: Literal["refused"] = "refused"
    id: str
    reason: str


class MessageBusy(Frame):
    """The message could not be stored now; it should be sent again, with the same id."""

    op: Literal["busy"] = "busy"
    id: str
    reason: str


class Told(Frame):
    """The answer to `Ask`; what was not asked for is empty."""

    model_config = ConfigDict(frozen=True, strict=False, extra="ignore")  # read strictly, a record is no mapping

    op: Literal["told"] = "told"
    id: str
    words: tuple[Suggestion, ...] = ()
    sessions: tuple[SessionLine, ...] = ()
    state: Overview | None = None


class Show(Frame):
    """A delivery with its whole text so far; it replaces what the client has under this id."""

    op: Literal["show"] = "show"
    id: DeliveryId
    kind: DeliveryKind
    text: str
    final: bool
    ack: bool
    answers: Texts = ()
    repeated: bool = False
    session_id: str | None = None
    turn_id: str | None = None


class Grow(Frame):
    """What has been added to the text of a delivery that the client has."""

    op: Literal["grow"] = "grow"
    id: DeliveryId
    text: str
    final: bool
    ack: bool
    answers: Texts = ()
    repeated: bool = False


class Problem(Frame):
    """A frame could not be used, or the client cannot be served; the reason in plain words."""

    op: Literal["error"] = "error"
    text: str


GatewayFrame: TypeAlias = Annotated[
    Welcome | Peers | MessageAccepted | MessageRefused | MessageBusy | Told | Show | Grow | Problem,
    Field(discriminator="op"),
]

# --- reading -------------------------------------------------------------------------------------------

_CLIENT_FRAME: Final[TypeAdapter[Message | Ask | Ack | Held | Bye]] = TypeAdapter(ClientFrame)
_GATEWAY_FRAME: Final[
    TypeAdapter[Welcome | Peers | MessageAccepted | MessageRefused | MessageBusy | Told | Show | Grow | Problem]
] = TypeAdapter(GatewayFrame)


def read_hello(frame: Mapping[str, Any]) -> Hello:
    """A client's first frame. Raises `ProtocolError`."""
    try:
        return Hello.model_validate(frame)
    except ValidationError as error:
        raise ProtocolError(_explain(error)) from error


def read_client_frame(frame: Mapping[str, Any]) -> Message | Ask | Ack | Held | Bye:
    """A frame from an attached client. Raises `ProtocolError`."""
    try:
        return _CLIENT_FRAME.validate_python(frame)
    except ValidationError as error:
        raise ProtocolError(_explain(error)) from error


def read_gateway_frame(
    frame: Mapping[str, Any],
) -> Welcome | Peers | MessageAccepted | MessageRefused | MessageBusy | Told | Show | Grow | Problem:
    """A frame from the gateway. Raises `ProtocolError`."""
    try:
        return _GATEWAY_FRAME.validate_python(frame)
    except ValidationError as error:
        raise ProtocolError(_explain(error)) from error


def message_id_of(frame: Mapping[str, Any]) -> str | None:
    """The id of a message frame that is otherwise unusable, so that the message can be refused by name."""
    if frame.get("op") != "message":
        return None
    try:
        return Message.model_validate({"id": frame.get("id"), "text": ""}).id
    except ValidationError:
        return None


def text_problem(text: str) -> str | None:
    """Why this cannot be a message, in plain words; None if it can."""
    if not text.strip():
        return "the message is empty"
    if "\0" in text:
        return "the message holds a NUL character, which cannot be stored"
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        return "the message holds a lone surrogate, which is not valid Unicode text"
    if size > MAX_TEXT_BYTES:
        return f"the message has {size:,} bytes and the longest permitted one {MAX_TEXT_BYTES:,}; send it in parts"
    return None


def _explain(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    kind, context = first["type"], first.get("ctx", {})
    if kind == "union_tag_not_found":
        return 'a frame needs an "op"'
    if kind == "union_tag_invalid":
        return f'unknown "op"; it must be one of {context.get("expected_tags")}'
    field = ".".join(str(part) for part in first["loc"] if part not in _OPS)
    if kind == "string_unicode":
        return f'"{field}" holds a lone surrogate, which is not valid Unicode text'
    if kind == "missing":
        return f'"{field}" is missing'
    return f'"{field}": {first["msg"].replace("Input should", "it should")}'


_FROM_CLIENTS: Final = frozenset({"message", "ask", "ack", "held", "bye"})
_FROM_THE_GATEWAY: Final = frozenset(
    {"welcome", "peers", "accepted", "refused", "busy", "told", "show", "grow", "error"}
)
_OPS: Final = _FROM_CLIENTS | _FROM_THE_GATEWAY
