"""One chat: who is in it, its topics, what was written, drafted and done there."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, TypeAlias

from adapters.testing.telegram.accounts import Json, Profile
from adapters.testing.telegram.errors import ApiError, bad_request, forbidden
from adapters.testing.telegram.message import Message

GENERAL_TOPIC = 1
"""The id of a forum's General topic; its messages carry no `message_thread_id`, and none may be sent with it."""

Standing: TypeAlias = Literal["member", "administrator", "left", "kicked"]


class ChatKind(StrEnum):
    """`Chat.type` of the Bot API."""

    PRIVATE = "private"
    GROUP = "group"
    SUPERGROUP = "supergroup"
    CHANNEL = "channel"


@dataclass(slots=True)
class Topic:
    """One topic of a forum, or of a private chat. `id` is the id of the message that made it."""

    id: int
    name: str
    root: Message | None = None
    closed: bool = False


@dataclass(frozen=True, slots=True)
class Draft:
    """A preview that a bot showed; it vanishes when a message is sent, or by itself after 30 seconds."""

    id: int
    text: str
    at: float
    thread: int | None = None


@dataclass(frozen=True, slots=True)
class Action:
    """A bot was shown to be busy (`typing`, `upload_photo`, …) from `at`, for 5 seconds at most."""

    name: str
    at: float
    thread: int | None = None


@dataclass(slots=True, eq=False)
class Chat:
    """A chat. A private one is that of one person and one bot; both see it under the other's id."""

    id: int
    kind: ChatKind
    title: str = ""
    username: str | None = None
    forum: bool = False
    direct: bool = False
    """It holds the direct messages of a channel, a topic for each person who wrote some."""
    owner: Profile | None = None
    """The person of a private chat; who made any other."""
    members: dict[int, Profile] = field(default_factory=dict)
    """The people in it, by id."""
    bots: dict[int, Standing] = field(default_factory=dict)
    """How each bot that ever was in it stands, by the bot's id."""
    topics: dict[int, Topic] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)
    """All that was ever sent here, oldest first, deleted messages too."""
    drafts: list[Draft] = field(default_factory=list)
    draft: Draft | None = None
    """The draft that is on the screen: a send to the chat ends it."""
    actions: list[Action] = field(default_factory=list)
    blocked: bool = False
    """In a private chat: the person has blocked the bot."""
    linked: "Chat | None" = None
    """The discussion group of a channel, and the channel of such a group."""
    upgraded_to: int | None = None
    """The supergroup that this group became."""

    @property
    def is_private(self) -> bool:
        """Whether this is a conversation of one person with one bot."""
        return self.kind is ChatKind.PRIVATE

    @property
    def shares_numbers(self) -> bool:
        """Whether every account sees the same message ids (https://core.telegram.org/api/channel)."""
        return self.kind in {ChatKind.SUPERGROUP, ChatKind.CHANNEL}

    def object(self) -> Json:
        """The `Chat` object, as it stands in messages."""
        chat: Json = {"id": self.id, "type": self.kind.value}
        if self.is_private and self.owner is not None:
            chat |= {name: value for name, value in self.owner.user().items() if name not in {"is_bot", "id"}}
            chat.pop("language_code", None)
        else:
            chat["title"] = self.title
        if self.username:
            chat["username"] = self.username
        return chat | ({"is_forum": True} if self.forum else {}) | ({"is_direct_messages": True} if self.direct else {})

    def find(self, account: int, number: int) -> Message | None:
        """The message that an account sees under a number; None if there is none (any more)."""
        for message in reversed(self.messages):
            if message.deleted_at is None and message.number(account) == number:
                return message
        return None

    def refuse_stranger(self, bot: int) -> None:
        """Raises `ApiError` unless the bot may act here."""
        if self.upgraded_to is not None:
            raise bad_request("group chat was upgraded to a supergroup chat", migrate_to_chat_id=self.upgraded_to)
        if self.is_private:
            if self.blocked:
                raise forbidden("bot was blocked by the user")
            return
        standing = self.bots.get(bot)
        if standing not in {"member", "administrator"}:
            raise self._exclusion(standing)
        if self.kind is ChatKind.CHANNEL and standing != "administrator":
            raise bad_request("need administrator rights in the channel chat")

    def _exclusion(self, standing: Standing | None) -> ApiError:
        if standing is None and self.kind is ChatKind.GROUP:
            return bad_request("chat not found")
        verb = "was kicked from" if standing == "kicked" else "is not a member of"
        return forbidden(f"bot {verb} the {self.kind} chat")
