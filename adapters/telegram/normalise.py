"""An update as the core has it: a message, a change of one, a chat that moved, a button that was pressed, or nothing.

Pure but for what it remembers of albums and topics: it makes no call.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from telegram import CallbackQuery, Chat, ChatMemberUpdated, Message, Update, User

from adapters.base import InboundMessage, Quote, SessionSource, in_brackets
from adapters.memory import Memory
from adapters.telegram.content import attachments_in, is_service, kind_of, origin_of, words_for
from adapters.telegram.wording import Account, Wording
from config import Platform

GENERAL: Final = "1"
"""The General topic of a forum; its messages come, and go, without `message_thread_id`."""

BELOW: Final = "below-"
"""How the place of an answer begins that stays with a message by answering it; the message's id follows."""

DIRECT: Final = "direct-"
"""How a topic of a channel's direct messages begins, which is somebody's conversation with the channel; its id follows
(https://core.telegram.org/bots/api#directmessagestopic)."""

TOO_OLD: Final = "This button is too old. Write {} instead."

KINDS: Final = (
    "message",
    "edited_message",
    "channel_post",
    "edited_channel_post",
    "callback_query",
    "my_chat_member",
)
"""The updates that are asked for (https://core.telegram.org/bots/api#update)."""


@dataclass(frozen=True, slots=True)
class Accept:
    """A message to be answered, or one that reached us though it is not for us."""

    message: InboundMessage


@dataclass(frozen=True, slots=True)
class Amend:
    """A message whose sender has changed it."""

    message: InboundMessage


@dataclass(frozen=True, slots=True)
class Move:
    """A group that became a supergroup."""

    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Press:
    """A button that was pressed; the platform waits for word that it was. None: it does nothing, `words` say why.

    `by` is who pressed it, where the message is not theirs: in a channel it is the channel's, and anybody who reads
    along can press.
    """

    callback_id: str
    message: InboundMessage | None
    words: str | None = None
    by: SessionSource | None = None


@dataclass(frozen=True, slots=True)
class Ignore:
    """Nothing to do, and why."""

    reason: str


Action: TypeAlias = Accept | Amend | Move | Press | Ignore


class Normaliser:
    """Reads the updates of one account, in their order.

    With `require_mention` False what is said in groups and channels is for us without our being named.
    """

    def __init__(self, account: Account, *, require_mention: bool) -> None:
        self._account = account
        self._require_mention = require_mention
        self._albums: Memory[tuple[int, str], bool] = Memory()
        self._topics: Memory[tuple[int, int], str] = Memory()
        self._posts: Memory[tuple[int, int], bool] = Memory()
        """Whether a message that begins a chain of replies is a channel's post, by chat and id."""

    def action(self, update: Update, raw: Mapping[str, Any]) -> Action:
        """What to do about an update; `raw` is the same as it came."""
        update_id = str(update.update_id)
        for kind in ("message", "channel_post", "edited_message", "edited_channel_post"):
            message: Message | None = getattr(update, kind)
            if message is not None:
                action = self._message(message, raw[kind], update_id)
                return _amended(message, action) if kind.startswith("edited") else action
        if update.callback_query is not None:
            return self._press(update.callback_query, update_id)
        if update.my_chat_member is not None:
            return Ignore(_standing(update.my_chat_member))
        return Ignore("an update of a kind that is not asked for")

    # --- messages --------------------------------------------------------------------------------------------

    def _message(self, message: Message, raw: Mapping[str, Any], update_id: str) -> Action:
        if message.migrate_to_chat_id is not None:
            return Move(str(message.chat.id), str(message.migrate_to_chat_id))
        if message.migrate_from_chat_id is not None:
            return Move(str(message.migrate_from_chat_id), str(message.chat.id))
        self._note_topic(message)
        self._note_root(message)
        if is_service(raw):
            return Ignore("it only tells what happened in the chat")
        if (why := self._not_from_people(message)) is not None:
            return Ignore(why)
        text, entities = (
            (message.text, message.entities) if message.text else (message.caption, message.caption_entities)
        )
        wording = Wording(text or "", entities, self._account)
        if wording.is_for_another_bot and message.chat.type != Chat.PRIVATE:
            return Ignore("a command for another bot")
        return Accept(
            InboundMessage(
                source=self._source(message),
                message_id=str(message.message_id),
                text=_text(message, raw, wording),
                addressed=self._addressed(message, wording),
                sent_at=message.date,
                group_id=message.media_group_id,
                attachments=attachments_in(message),
                quote=self._quote(message, raw),
                update_id=update_id,
                reply_thread=self._below(message),
                from_bot=_is_bots(message),
            )
        )

    def _not_from_people(self, message: Message) -> str | None:
        """Why a message is not one that a person wrote here."""
        if message.is_automatic_forward:
            return "a channel's post, copied into its group"
        sender = message.from_user
        if sender is not None and sender.id == self._account.id:
            return "our own message"
        if message.via_bot is not None and message.via_bot.id == self._account.id:
            return "our own message"
        if message.sender_chat is None and sender is None:
            return "it does not say who wrote it"
        return None

    def _addressed(self, message: Message, wording: Wording) -> bool:
        if message.chat.type == Chat.PRIVATE or not self._require_mention:
            return True
        answered = message.reply_to_message
        answers_us = answered is not None and self._is_ours(answered) and not _is_root(message, answered)
        addressed = answers_us or wording.mentions_us or wording.command() is not None
        if message.media_group_id is None:
            return addressed
        album = (message.chat.id, message.media_group_id)
        self._albums[album] = addressed or self._albums.get(album, False)
        return self._albums[album]

    def _is_ours(self, message: Message) -> bool:
        return message.from_user is not None and message.from_user.id == self._account.id

    def _source(self, message: Message) -> SessionSource:
        chat = message.chat
        user_id, user_name = _author(message)
        thread = _thread(message)
        return SessionSource(
            platform=Platform.TELEGRAM,
            chat_id=str(chat.id),
            chat_name=chat.effective_name,
            chat_type=_chat_type(chat),
            user_id=user_id,
            user_name=user_name,
            thread_id=thread,
            chat_topic=self._topic(chat, thread),
        )

    def _topic(self, chat: Chat, thread: str | None) -> str | None:
        """The name of a topic, where it is known."""
        return self._topics.get((chat.id, int(thread))) if thread is not None and thread.isdigit() else None

    def _note_topic(self, message: Message) -> None:
        """Topics are named only where they are made or renamed, and by the message that everything in them answers."""
        thread = message.message_thread_id
        if thread is None:
            return
        root = message.reply_to_message
        made = message.forum_topic_created or (root.forum_topic_created if root is not None else None)
        renamed = message.forum_topic_edited
        name = renamed.name if renamed is not None else None
        if name:
            self._topics[message.chat.id, thread] = name
        elif made is not None and (message.chat.id, thread) not in self._topics:
            self._topics[message.chat.id, thread] = made.name

    def _note_root(self, message: Message) -> None:
        """What begins a chain of replies has no thread itself, and is what its first replies answer."""
        root = message if message.message_thread_id is None else message.reply_to_message
        if root is not None and message.message_thread_id in (None, root.message_id):
            self._posts[message.chat.id, root.message_id] = bool(root.is_automatic_forward)

    def _below(self, message: Message) -> str | None:
        """Where the answer to a comment goes. Comments below a channel's post are a chain of replies in its group, and
        what is to be among them answers one of them: to name the thread is for topics
        (https://github.com/tdlib/telegram-bot-api/issues/447). What a chain began with that is not known is taken for a
        post, so that no part of an answer is elsewhere."""
        thread = message.message_thread_id
        if thread is None or message.chat.type != Chat.SUPERGROUP or _thread(message) is not None:
            return None
        return f"{BELOW}{message.message_id}" if self._posts.get((message.chat.id, thread), True) else None

    def _quote(self, message: Message, raw: Mapping[str, Any]) -> Quote | None:
        part = message.quote.text if message.quote is not None else None
        answered = message.reply_to_message
        if answered is not None and not _is_root(message, answered):
            text = part or answered.text or answered.caption or kind_of(raw["reply_to_message"])
            author = answered.sender_chat.effective_name if answered.sender_chat else None
            if answered.from_user is not None and author is None:
                author = answered.from_user.full_name
            return Quote(text, author, ours=self._is_ours(answered), message_id=str(answered.message_id))
        if message.external_reply is not None:
            external = message.external_reply
            message_id = None if external.message_id is None else str(external.message_id)
            return Quote(part or kind_of(raw["external_reply"]), origin_of(external), message_id=message_id)
        return None

    # --- buttons ---------------------------------------------------------------------------------------------

    def _press(self, query: CallbackQuery, update_id: str) -> Press:
        """Pressing a button is writing its command, by whoever presses it; in a channel, as the channel."""
        if query.message is None or not query.data or not query.data.startswith("/"):
            return Press(query.id, None)
        chat = query.message.chat
        if not query.message.is_accessible and self._has_topics(chat):
            # Which of them it is in is not told, and the command is for the conversation in that one.
            return Press(query.id, None, TOO_OLD.format(query.data))
        seen = query.message if isinstance(query.message, Message) else None
        thread, below = (None, None) if seen is None else (_thread(seen), self._below(seen))
        source = SessionSource(
            platform=Platform.TELEGRAM,
            chat_id=str(chat.id),
            chat_name=chat.effective_name,
            chat_type=_chat_type(chat),
            user_id=None if chat.type == Chat.CHANNEL else str(query.from_user.id),
            user_name=None if chat.type == Chat.CHANNEL else query.from_user.full_name,
            thread_id=thread,
            chat_topic=self._topic(chat, thread),
        )
        message = InboundMessage(source, f"press:{query.id}", query.data, update_id=update_id, reply_thread=below)
        return Press(query.id, message, by=_person(query.from_user) if chat.type == Chat.CHANNEL else None)

    def _has_topics(self, chat: Chat) -> bool:
        return self._account.topics if chat.type == Chat.PRIVATE else bool(chat.is_forum or chat.is_direct_messages)


def _amended(message: Message, action: Action) -> Action:
    """A live location changes every few seconds without anybody's writing."""
    if not isinstance(action, Accept):
        return action
    return Ignore("a place that moves") if message.location is not None else Amend(action.message)


def _text(message: Message, raw: Mapping[str, Any], wording: Wording) -> str:
    text = wording.plain() or (message.text or message.caption or "")
    lines = [text, *words_for(message, raw)] if text else words_for(message, raw)
    if (origin := origin_of(message)) is not None:
        lines.insert(0, f"[forwarded from {in_brackets(origin)}]")
    return "\n".join(lines)


def _author(message: Message) -> tuple[str | None, str | None]:
    """Who wrote it. Groups and channels write in a group too: anonymous administrators, and owners of channels."""
    if message.chat.type == Chat.CHANNEL:
        return None, None
    if message.sender_chat is not None:
        return str(message.sender_chat.id), message.sender_chat.effective_name
    assert message.from_user is not None
    return str(message.from_user.id), message.from_user.full_name


def _person(user: User) -> SessionSource:
    """Somebody by themselves, wherever they are met."""
    return SessionSource(
        platform=Platform.TELEGRAM,
        chat_id=str(user.id),
        chat_type="dm",
        user_id=str(user.id),
        user_name=user.full_name,
    )


def _is_bots(message: Message) -> bool:
    """Whether another bot wrote it. Who writes in the name of a chat is shown as one of Telegram's own bots."""
    return message.sender_chat is None and message.from_user is not None and message.from_user.is_bot


def _chat_type(chat: Chat) -> str:
    if chat.type == Chat.PRIVATE:
        return "dm"
    return "channel" if chat.type == Chat.CHANNEL else "group"


def _thread(message: Message) -> str | None:
    """The topic. Elsewhere a supergroup gives a number to a chain of replies, which is none."""
    if message.direct_messages_topic is not None:
        return f"{DIRECT}{message.direct_messages_topic.topic_id}"
    if message.is_topic_message and message.message_thread_id is not None:
        return str(message.message_thread_id)
    return _general(message.chat)


def _general(chat: Chat) -> str | None:
    """What has no topic in a forum is in its General topic."""
    return GENERAL if chat.is_forum and chat.type != Chat.PRIVATE else None


def _is_root(message: Message, answered: Message) -> bool:
    """Whether the answered message is only the one that made the topic, which everything in it answers."""
    return bool(message.is_topic_message) and (
        answered.forum_topic_created is not None or answered.message_id == message.message_thread_id
    )


def _standing(change: ChatMemberUpdated) -> str:
    return f"the bot is {change.new_chat_member.status} in chat {change.chat.id} from now on"
