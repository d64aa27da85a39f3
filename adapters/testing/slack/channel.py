"""A conversation: who is in it, and everything that was ever written there."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from adapters.testing.slack.accounts import Json, Profile, Team
from adapters.testing.slack.message import Content, Message

MICROS: Final = 1_000_000
TS_DIGITS: Final = 6


class ChannelKind(Enum):
    """Kinds of conversations: the `channel_type` of events (https://docs.slack.dev/reference/events/message)."""

    PUBLIC = "channel"
    PRIVATE = "group"
    DIRECT = "im"
    GROUP = "mpim"

    @property
    def scope(self) -> str:
        """The first part of the scopes that are about such conversations."""
        return {"channel": "channels", "group": "groups"}.get(self.value, self.value)


@dataclass(slots=True)
class Status:
    """What an app said it was doing in a thread (https://docs.slack.dev/reference/methods/assistant.threads.setStatus).

    It goes away when the app writes there, when it is set to nothing, or two minutes later.
    """

    thread_ts: str
    text: str
    loading: tuple[str, ...]
    at: float
    cleared_at: float | None = None


@dataclass(frozen=True, slots=True)
class Ephemeral:
    """A message that only one user sees, and only for now."""

    ts: str
    user: str
    sender: Profile
    content: Content
    at: float
    thread_ts: str | None = None


@dataclass(slots=True, eq=False)
class AssistantThread:
    """A chat in an app's pane (https://docs.slack.dev/ai/developing-ai-apps)."""

    root: Message
    person: Profile
    context: "Channel | None" = None
    """The channel that the person looks at."""
    title: str | None = None
    prompts: list[Json] = field(default_factory=list)
    """The suggested prompts, the newest set."""
    prompts_title: str | None = None


@dataclass(slots=True, eq=False)
class Channel:
    """One conversation. `messages` is everything ever written, what was deleted too."""

    id: str
    kind: ChannelKind
    team: Team
    name: str
    names: Callable[[str], str]
    """What the id of a user or channel is shown as."""
    members: dict[str, Profile] = field(default_factory=dict)
    creator: str = ""
    created: int = 0
    archived: bool = False
    messages: list[Message] = field(default_factory=list)
    ephemerals: list[Ephemeral] = field(default_factory=list)
    statuses: list[Status] = field(default_factory=list)
    """Every status that was ever set, oldest first."""
    panes: list[AssistantThread] = field(default_factory=list)
    _last: int = 0
    _by_ts: dict[str, Message] = field(default_factory=dict)
    _threads: dict[str, list[Message]] = field(default_factory=dict)

    def add(self, message: Message) -> None:
        """Take a message, which is newer than all others."""
        self.messages.append(message)
        self._by_ts[message.ts] = message
        if message.thread_ts is not None:
            self._threads.setdefault(message.thread_ts, []).append(message)

    def new_ts(self, now: float) -> str:
        """The next `ts`: the time, or a microsecond after the last one."""
        self._last = max(self._last + 1, int(now * MICROS))
        return f"{self._last // MICROS}.{self._last % MICROS:06d}"

    def find(self, ts: str | None) -> Message | None:
        """The message of a `ts`, if it is still there in some form."""
        message = self._by_ts.get(ts or "")
        if message is None or (message.deleted_at is not None and not message.tombstone):
            return None
        return message

    def root(self, ts: str | None) -> Message | None:
        """The first message of the thread that a message is in or may begin."""
        message = self.find(ts)
        return message if message is None or message.thread_ts is None else self.find(message.thread_ts)

    def replies(self, root: Message) -> list[Message]:
        """The replies in a thread that are there now, oldest first."""
        return [each for each in self._threads.get(root.ts, ()) if each.deleted_at is None]

    def present(self) -> Iterator[Message]:
        """The messages that are there now, those in threads too, oldest first."""
        return (each for each in self.messages if each.deleted_at is None or each.tombstone)

    def pane(self, thread_ts: str | None) -> AssistantThread | None:
        """The pane's thread that begins with this message."""
        return next((pane for pane in self.panes if pane.root.ts == thread_ts), None)

    def status(self, thread_ts: str, now: float, life: float) -> Status | None:
        """What people see an app do in a thread at a time."""
        for status in reversed(self.statuses):
            if status.thread_ts == thread_ts:
                return status if status.text and status.cleared_at is None and now - status.at < life else None
        return None

    def clear_status(self, thread_ts: str | None, now: float) -> None:
        """Take the status away."""
        for status in self.statuses:
            if status.thread_ts == thread_ts and status.cleared_at is None:
                status.cleared_at = now


def micros(ts: str) -> int:
    """A `ts` as a number that can be compared. Raises ValueError for what is none."""
    seconds, _, rest = ts.partition(".")
    return int(seconds) * MICROS + int((rest + "0" * TS_DIGITS)[:TS_DIGITS])
