"""The network behind the server: its bots, people, chats and files, and who is told what."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from adapters.testing.changes import Changes
from adapters.testing.telegram.accounts import Bot, Json, Profile
from adapters.testing.telegram.chat import GENERAL_TOPIC, Chat, ChatKind, Standing, Topic
from adapters.testing.telegram.errors import bad_request
from adapters.testing.telegram.files import FileStore
from adapters.testing.telegram.message import SHARED, Content, Message, Version
from adapters.testing.telegram.text import boundaries
from adapters.testing.telegram.updates import UpdateQueue
from adapters.testing.telegram.view import message_object
from adapters.testing.telegram.webhook import Webhooks

FIRST_UPDATE = 500_000_000
FIRST_PERSON = 1_000_001
FIRST_GROUP = -4_000_001
FIRST_SUPERGROUP = -1_002_000_000_001
"""Ids of accounts are positive, of groups negative, of supergroups and channels below -10^12
(https://core.telegram.org/api/bots/ids)."""

FORWARDER = Profile(777000, "Telegram")
"""Who copies a channel's posts into its group (https://core.telegram.org/bots/api#message, `sender_chat`)."""


@dataclass(frozen=True, slots=True)
class Callback:
    """A button that a person pressed; the bot may answer once."""

    id: str
    message: Message
    bot: Bot


class World:
    """All state of the server. `clock` gives seconds since 1970."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.changes = Changes()
        self.files = FileStore()
        self.webhooks = Webhooks()
        self.bots: dict[str, Bot] = {}
        """By token."""
        self.queues: dict[int, UpdateQueue] = {}
        """By the bot's id."""
        self.chats: dict[int, Chat] = {}
        """Groups, supergroups and channels, by id."""
        self.logged_out: set[int] = set()
        """Bots that have left this server by logOut."""
        self.private: dict[tuple[int, int], Chat] = {}
        """Conversations by the ids of bot and person."""
        self.callbacks: dict[str, Callback] = {}
        self.callback_answers: dict[str, Json] = {}
        """What the person saw after pressing a button, by the callback's id."""
        self.commands: dict[tuple[int, str, str], list[Json]] = {}
        """Menus of commands by bot, scope and language."""
        self._numbers: dict[int, int] = {}
        self._serials: dict[str, int] = {}

    def serial(self, name: str, first: int = 1) -> int:
        """The next number of a sequence."""
        self._serials[name] = self._serials.get(name, first - 1) + 1
        return self._serials[name]

    def add_bot(self, bot: Bot) -> None:
        """A bot that BotFather has made."""
        self.bots[bot.token] = bot
        self.queues[bot.id] = UpdateQueue(FIRST_UPDATE + bot.id % 1000 * 1000, self.clock, self.changes.note)

    def new_chat(
        self,
        kind: ChatKind,
        title: str,
        people: Iterable[Profile],
        bots: Mapping[int, Standing],
        *,
        forum: bool = False,
    ) -> Chat:
        """A group, supergroup or channel; nobody is told."""
        number = self.serial("chat", 0)
        chat_id = FIRST_GROUP - number if kind is ChatKind.GROUP else FIRST_SUPERGROUP - number
        members = {person.id: person for person in people}
        owner = next(iter(members.values()), None)
        chat = Chat(chat_id, kind, title, forum=forum, owner=owner, members=members, bots=dict(bots))
        self.chats[chat_id] = chat
        if forum:
            self._numbers[chat_id] = GENERAL_TOPIC
        return chat

    def private_chat(self, bot: Bot, person: Profile) -> Chat:
        """The conversation of a person with a bot, which the person has begun."""
        key = (bot.id, person.id)
        if key not in self.private:
            members = {person.id: person}
            self.private[key] = Chat(
                person.id,
                ChatKind.PRIVATE,
                owner=person,
                members=members,
                bots={bot.id: "member"},
                username=person.username,
            )
        return self.private[key]

    def chat_of(self, bot: Bot, chat_id: str | None) -> Chat:
        """The chat that a bot names, if it knows it. Raises `ApiError`."""
        if not chat_id:
            raise bad_request("chat_id is empty")
        if chat_id.startswith("@"):
            named = (chat for chat in self.chats.values() if chat.username == chat_id[1:])
            chat = next(named, None)
        else:
            try:
                number = int(chat_id)
            except ValueError:
                raise bad_request("chat not found") from None
            chat = self.chats.get(number) or self.private.get((bot.id, number))
        if chat is None:
            raise bad_request("chat not found")
        return chat

    def post(
        self,
        chat: Chat,
        sender: Profile,
        content: Content,
        *,
        thread: int | None = None,
        reply_to: Message | None = None,
        quote: Json | None = None,
        album: str | None = None,
        opens_topic: bool = False,
    ) -> Message:
        """Put a message into a chat and tell the bots that may know of it; it may be the root of a new topic."""
        version = Version(content, self.clock())
        message = Message(chat, sender, self._new_numbers(chat), [version], thread, reply_to, quote, album)
        if thread is None and reply_to is not None:
            message.thread = reply_to.thread
            if chat.kind is ChatKind.SUPERGROUP and not chat.forum and reply_to.thread is None:
                message.thread = reply_to.id
        if opens_topic:
            message.thread = message.id
            chat.topics[message.id] = Topic(message.id, (content.service or {})["forum_topic_created"]["name"], message)
        chat.messages.append(message)
        if chat.kind is ChatKind.CHANNEL and chat.linked is not None:
            self._copy(message, chat.linked)
        if sender.is_bot and chat.draft is not None and chat.draft.thread == message.thread:
            chat.draft = None
        self.tell_message("channel_post" if chat.kind is ChatKind.CHANNEL else "message", message)
        return message

    def _copy(self, post: Message, group: Chat) -> None:
        """A channel's post stands in its group too, where comments answer it
        (https://core.telegram.org/api/discussion)."""
        version = Version(post.content, self.clock())
        copied = Message(group, FORWARDER, self._new_numbers(group), [version], post=post)
        group.messages.append(copied)
        self.tell_message("message", copied)

    def revise(self, message: Message, content: Content) -> None:
        """Edit a message and tell the bots that may know of it."""
        message.versions.append(Version(content, self.clock()))
        kind = "edited_channel_post" if message.chat.kind is ChatKind.CHANNEL else "edited_message"
        self.tell_message(kind, message)

    def tell_message(self, kind: str, message: Message) -> None:
        """An update for each bot in the chat that did not write the message and may read it."""
        if not message.sender.is_bot:
            for bot in self.bots_in(message.chat):
                if self._may_read(bot, message):
                    self.queues[bot.id].push(kind, message_object(message, bot.id))
        self.changes.note()

    def bots_in(self, chat: Chat) -> list[Bot]:
        """The bots that are in a chat and hear from it."""
        if chat.blocked or chat.upgraded_to is not None:
            return []
        present = {bot_id for bot_id, standing in chat.bots.items() if standing in {"member", "administrator"}}
        return [bot for bot in self.bots.values() if bot.id in present]

    @staticmethod
    def _may_read(bot: Bot, message: Message) -> bool:
        """Privacy mode (https://core.telegram.org/bots/features#privacy-mode)."""
        chat, content = message.chat, message.content
        if bot.reads_all or chat.kind in {ChatKind.PRIVATE, ChatKind.CHANNEL} or chat.bots[bot.id] == "administrator":
            return True
        answered = message.reply_to
        if content.service is not None or (answered is not None and answered.sender.id == bot.id):
            return True
        return any(_is_for(bot, word, chat) for word in addressed(content))

    def _new_numbers(self, chat: Chat) -> dict[int, int]:
        """Private chats and basic groups take the next number of each account that sees them
        (https://core.telegram.org/constructor/message)."""
        if chat.shares_numbers:
            return {SHARED: self._number(chat.id)}
        present = [bot_id for bot_id, standing in chat.bots.items() if standing in {"member", "administrator"}]
        return {bot_id: self._number(bot_id) for bot_id in present} or {SHARED: self._number(chat.id)}

    def _number(self, box: int) -> int:
        self._numbers[box] = self._numbers.get(box, 0) + 1
        return self._numbers[box]


def addressed(content: Content) -> list[str]:
    """The commands and mentions in a text, as they are written."""
    index = boundaries(content.text)
    return [
        content.text[index[each["offset"]] : index[each["offset"] + each["length"]]]
        for each in content.entities
        if each["type"] in {"bot_command", "mention"}
    ]


def _is_for(bot: Bot, word: str, chat: Chat) -> bool:
    """A command without a name is for the bot that wrote here last."""
    name = word.partition("@")[2]
    if name:
        return name.lower() == bot.username.lower()
    last = next((each.sender.id for each in reversed(chat.messages) if each.sender.is_bot), None)
    return last in {None, bot.id}
