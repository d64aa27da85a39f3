"""What goes out: deliveries, the messages that they become, and how sending them can end."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal, Protocol, TypeAlias

from config import Platform
from gateway.ports.inbound import MediaKind
from gateway.values import value


@value
class Target:
    """A place that a message can be sent to."""

    platform: Platform
    chat_id: str
    thread_id: str | None = None
    account: str = "default"


DeliveryKind: TypeAlias = Literal["reply", "notice", "error", "file"]


@dataclass(frozen=True, slots=True)
class Button:
    """Something to press below a message. Pressing it is the same as writing `command`, by whoever presses it."""

    label: str
    command: str


@dataclass(frozen=True, slots=True)
class OutgoingFile:
    """A file to be sent. `path` lies in an allowed folder, links resolved; `name` is what people see."""

    kind: MediaKind
    path: str
    name: str
    media_type: str
    caption: str = ""


@value
class Composed:
    """The messages that a text becomes on a platform.

    What a part is only its adapter knows; two that are equal look the same. The first `settled` parts stay as they
    are however the text goes on.
    """

    parts: tuple[Any, ...]
    settled: int = 0


class Composer(Protocol):
    """Makes the messages of one text. It lives as long as the text grows, and may remember what is settled."""

    def update(self, text: str, *, final: bool, shown: int) -> Composed:
        """The messages for the whole text so far, which is Markdown. Only computes; may run on another thread.

        There is at least one part if the text has anything to show. `shown` is how many messages there are already:
        where a text is so long that it becomes a file, those stay.
        """


@value
class WholeText:
    """The composer of a platform without limits: one message, which is the Markdown itself."""

    def update(self, text: str, *, final: bool, shown: int) -> Composed:
        """One part."""
        return Composed((text,))


@value
class Delivery:
    """One outgoing message as its adapter gets it: one part of what a text becomes, or a file.

    `content` is what to show: a part as the adapter's own composer made it, or the `OutgoingFile`. `part` is its
    number, from 0. `text` is Markdown, and always the whole text so far. `final` is False while the reply still grows.
    `message_id` is the platform's id of this part once it has been sent. `answers` holds the platform ids of the
    inbound messages that this delivery ends. `repeated` asks for a visible mark: the message may have been
    seen before an interruption. `buttons`, in rows, stand below the last part; they are set on that part alone.

    For `Adapter.find` alone: `before` holds the ids of messages in the chat that were there when the send began,
    `others` those of messages that came in or were sent since, and `later` those of them that came so long after that
    whatever the call did was done before. All are recent, and as much as is known; none of them is this delivery.
    """

    id: int
    target: Target
    kind: DeliveryKind
    text: str
    final: bool = True
    message_id: str | None = None
    answers: tuple[str, ...] = ()
    repeated: bool = False
    session_id: str | None = None
    turn_id: str | None = None
    content: Any = None
    part: int = 0
    before: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    buttons: tuple[tuple[Button, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """The delivery was seen: the platform has it under this id."""

    message_id: str


class SearchOutcome(StrEnum):
    """What else a search for a delivery can come to."""

    ABSENT = "absent"
    UNKNOWN = "unknown"


class DeliveryError(Exception):
    """A delivery did not go through. The subclass says what is known about it."""


class NotConnectedError(DeliveryError):
    """There is no connection to send on; nothing left this process. Tried again once connected."""


LONGEST_WAIT_SECONDS: Final = 1e9
"""30 years: what a platform asks for beyond that is no time that a calendar holds."""


class RetryLaterError(DeliveryError):
    """The platform refused for now; nothing was shown."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = None if retry_after is None else min(max(0.0, retry_after), LONGEST_WAIT_SECONDS)
        """Seconds that the platform asks us to wait, where it says so."""


class OutcomeUnknownError(DeliveryError):
    """The call ended without an answer: nobody knows whether the message was shown."""


class UndeliverableError(DeliveryError):
    """The platform refuses this message for good (blocked, chat gone, no permission)."""


class ChatMovedError(DeliveryError):
    """The chat has another id from now on; nothing was shown. `host.move_chat` has been told."""


@dataclass(frozen=True, slots=True)
class Rate:
    """So many messages, edits included, in any span of so many seconds."""

    messages: int
    seconds: float
