"""One message as people see it, with everything it has been before."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from adapters.testing.slack.accounts import Json, Profile
from adapters.testing.slack.blocks import block_mentions, elements, shown_blocks
from adapters.testing.slack.text import ADVISED_TEXT, displayed, mentions

if TYPE_CHECKING:
    from adapters.testing.slack.channel import Channel
    from adapters.testing.slack.files import StoredFile


@dataclass(frozen=True, slots=True)
class Content:
    """What a message holds. Where there are `blocks` or `markdown`, people see those, and `text` in notifications."""

    text: str = ""
    blocks: tuple[Json, ...] = ()
    markdown: str | None = None
    """Text in standard Markdown, of `markdown_text` or a stream."""
    attachments: tuple[Json, ...] = ()
    files: "tuple[StoredFile, ...]" = ()
    metadata: Json | None = None

    @property
    def empty(self) -> bool:
        """Whether there is nothing to see."""
        return not (self.text.strip() or self.markdown or self.blocks or self.attachments or self.files)

    def shown(self, names: Callable[[str], str]) -> str:
        """The text that people read; `names` gives what the id of a user or channel is shown as."""
        parts = [] if self.markdown is None else [self.markdown]
        parts += [shown_blocks(self.blocks, names)] if self.blocks else []
        return "\n".join(parts) if parts else displayed(self.text, names)

    def notified(self) -> tuple[str, ...]:
        """Whom it calls: ids of users and user groups, `channel`, `here`, `everyone`; each once."""
        found = [*mentions(self.text), *mentions(self.markdown or ""), *block_mentions(self.blocks)]
        return tuple(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class Version:
    """What a message held from `at` on (seconds since 1970); `edited`: it is marked as edited since."""

    content: Content
    at: float
    edited: bool = False


@dataclass(slots=True)
class Stream:
    """A message that is being written piece by piece (https://docs.slack.dev/reference/methods/chat.startStream)."""

    started: float
    """Seconds of the monotonic clock."""
    mode: str | None
    """`chunks` or `markdown_text`: all pieces come the same way; None before the first."""
    chunks: list[Json] = field(default_factory=list)
    """Tasks and plans that came, in order."""
    stopped: bool = False


@dataclass(slots=True, eq=False)
class Message:
    """One message of a channel; the newest of its `versions` is what people see."""

    channel: "Channel"
    ts: str
    """Its id, unique in the channel: seconds since 1970 with six digits behind the point."""
    sender: Profile
    versions: list[Version]
    thread_ts: str | None = None
    """The `ts` of the thread's first message; None outside of threads, and for that message itself."""
    broadcast: bool = False
    """Whether a reply is shown in the channel too."""
    subtype: str | None = None
    takes_replies: bool = True
    """False for what Slack itself says in a channel."""
    client_msg_id: str | None = None
    username: str | None = None
    deleted_at: float | None = None
    tombstone: bool = False
    """Deleted, but still there as a placeholder, because it has replies."""
    reactions: dict[str, list[str]] = field(default_factory=dict)
    """Ids of users who reacted, by the emoji's name."""
    stream: Stream | None = None

    @property
    def content(self) -> Content:
        """What it holds now."""
        return self.versions[-1].content

    @property
    def text(self) -> str:
        """The text that people read in it now."""
        return self.content.shown(self.channel.names)

    @property
    def texts(self) -> tuple[str, ...]:
        """Every text that people have read in it, oldest first."""
        return tuple(version.content.shown(self.channel.names) for version in self.versions)

    @property
    def notified(self) -> tuple[str, ...]:
        """Whom any of its versions called: ids of users and user groups, `channel`, `here`, `everyone`."""
        return tuple(dict.fromkeys(each for version in self.versions for each in version.content.notified()))

    @property
    def sent_at(self) -> float:
        """Seconds since 1970."""
        return self.versions[0].at

    @property
    def streaming(self) -> bool:
        """Whether more of it may come."""
        return self.stream is not None and not self.stream.stopped

    @property
    def buttons(self) -> tuple[Json, ...]:
        """What a person can press or select in it, as the app sent it."""
        return tuple(element for _, element in elements(self.content.blocks))

    @property
    def over_advice(self) -> bool:
        """Whether its text is longer than Slack advises, and so may be split in the middle."""
        return not self.content.blocks and len(self.content.text) > ADVISED_TEXT
