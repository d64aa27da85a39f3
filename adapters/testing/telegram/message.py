"""One message as people see it, with everything it has been before."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from adapters.testing.telegram.accounts import Json, Profile

if TYPE_CHECKING:
    from adapters.testing.telegram.chat import Chat

SHARED = 0
"""The key of a message id that is the same for every account."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a message shows. `text` is the caption where there is `media`, whose one key is the kind."""

    text: str = ""
    entities: tuple[Json, ...] = ()
    media: Json | None = None
    markup: Json | None = None
    preview: Json | None = None
    service: Json | None = None
    """The fields of a service message (people who joined, a topic that was made)."""

    @property
    def kind(self) -> str:
        """`text`, `service`, or the kind of the media."""
        if self.service is not None:
            return "service"
        return "text" if self.media is None else next(iter(self.media))


@dataclass(frozen=True, slots=True)
class Version:
    """What a message showed from `at` on (seconds since 1970)."""

    content: Content
    at: float


@dataclass(slots=True, eq=False)
class Message:
    """One message of a chat; the newest of its `versions` is what people see."""

    chat: "Chat"
    sender: Profile
    """Who wrote it; a channel's posts do not show it."""
    numbers: dict[int, int]
    """The message's id, by the account that looks; under `SHARED` where all see the same."""
    versions: list[Version]
    thread: int | None = None
    reply_to: "Message | None" = None
    quote: Json | None = None
    album: str | None = None
    post: "Message | None" = None
    """The channel's post that this is the copy of, in the channel's group."""
    deleted_at: float | None = None
    reactions: dict[int, tuple[str, ...]] = field(default_factory=dict)
    """Emoji by the id of who reacted."""

    @property
    def content(self) -> Content:
        """What it shows now."""
        return self.versions[-1].content

    @property
    def text(self) -> str:
        """The text or caption that it shows now."""
        return self.content.text

    @property
    def texts(self) -> tuple[str, ...]:
        """Every text that it has shown, oldest first."""
        return tuple(version.content.text for version in self.versions)

    @property
    def sent_at(self) -> float:
        """Seconds since 1970."""
        return self.versions[0].at

    @property
    def id(self) -> int:
        """The message's id; where accounts see different ones, the first bot's."""
        return next(iter(self.numbers.values()))

    def number(self, account: int) -> int | None:
        """The id under which an account sees the message; None if it does not."""
        return self.numbers.get(account, self.numbers.get(SHARED))
