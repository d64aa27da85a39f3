"""People: what they write, send, edit, press and think of a message."""

from collections.abc import Sequence

from adapters.testing.telegram.accounts import Json
from adapters.testing.telegram.chat import Chat, Topic
from adapters.testing.telegram.files import Media, media_object
from adapters.testing.telegram.membership import Member
from adapters.testing.telegram.message import Content, Message
from adapters.testing.telegram.text import MAX_TEXT, check_entities, trimmed, utf16_length, with_found
from adapters.testing.telegram.view import message_object
from adapters.testing.telegram.world import Callback

FIRST_ALBUM = 14_000_000_000


class Person(Member):
    """A person with the official app. Every act reaches the bots that may know of it at once.

    What no app lets a person do raises ValueError.
    """

    @property
    def id(self) -> int:
        """The account's id; also the id of the private chat as a bot sees it."""
        return self.profile.id

    @property
    def name(self) -> str:
        """The first name."""
        return self.profile.first_name

    def writes(
        self,
        chat: Chat,
        text: str,
        *,
        entities: Sequence[Json] = (),
        reply_to: Message | None = None,
        quote: str | None = None,
        topic: Topic | None = None,
    ) -> Message:
        """Write a message, or a post in a channel; `quote` is a part of the message that is answered."""
        content = _content(text, entities)
        if not content.text:
            raise ValueError("an app sends no empty message")
        if utf16_length(content.text) > MAX_TEXT:
            raise ValueError(f"an app splits a text at {MAX_TEXT} UTF-16 units: use pastes()")
        return self._post(chat, content, reply_to, quote, topic)

    def pastes(self, chat: Chat, text: str, *, topic: Topic | None = None) -> list[Message]:
        """Write a text of any length; the app splits it."""
        pieces = [""]
        for character in text:
            if utf16_length(pieces[-1]) + utf16_length(character) > MAX_TEXT:
                pieces.append("")
            pieces[-1] += character
        return [self.writes(chat, piece, topic=topic) for piece in pieces if piece.strip()]

    def sends(
        self,
        chat: Chat,
        media: Media,
        caption: str = "",
        *,
        reply_to: Message | None = None,
        topic: Topic | None = None,
    ) -> Message:
        """Send a file, a photo, a voice message, a sticker …"""
        return self._post(chat, self._captioned(media, caption), reply_to, None, topic)

    def sends_album(self, chat: Chat, *media: Media, caption: str = "", topic: Topic | None = None) -> list[Message]:
        """Send several files at once: a message each, joined by `media_group_id`; the first has the caption."""
        album = str(self._world.serial("people's album", FIRST_ALBUM))
        contents = [self._captioned(each, "" if index else caption) for index, each in enumerate(media)]
        return [self._post(chat, content, None, None, topic, album) for content in contents]

    def sends_location(self, chat: Chat, latitude: float, longitude: float) -> Message:
        """Send a place."""
        location = {"latitude": latitude, "longitude": longitude}
        return self._post(chat, Content(media={"location": location}), None, None, None)

    def edits(self, message: Message, text: str, *, entities: Sequence[Json] = ()) -> None:
        """Change the text or caption of a message of one's own."""
        if message.sender.id != self.id:
            raise ValueError("people edit their own messages only")
        changed = _content(text, entities)
        old = message.content
        self._world.revise(message, Content(changed.text, changed.entities, old.media, old.markup, old.preview))

    def deletes(self, message: Message) -> None:
        """Delete a message for everyone; bots are not told."""
        message.deleted_at = self._world.clock()
        self._world.changes.note()

    def presses(self, message: Message, data: str) -> Callback:
        """Press the inline button with this `callback_data`."""
        rows = (message.content.markup or {}).get("inline_keyboard", [])
        if data not in [button.get("callback_data") for row in rows for button in row]:
            raise ValueError(f"the message has no button with the data {data!r}")
        bot = next(bot for bot in self._world.bots.values() if bot.id == message.sender.id)
        callback = Callback(str(self._world.serial("callback", 4_000_000_000_000)), message, bot)
        self._world.callbacks[callback.id] = callback
        query = {
            "id": callback.id,
            "from": self.profile.user(),
            "message": message_object(message, bot.id),
            "chat_instance": str(message.chat.id * 7),
            "data": data,
        }
        self._world.queues[bot.id].push("callback_query", query)
        return callback

    def reacts(self, message: Message, *emoji: str) -> None:
        """React with these emoji, instead of those before; with none, take the reaction back.

        Bots hear of it in private chats, and in groups that they administer.
        """
        before = message.reactions.get(self.id, ())
        message.reactions[self.id] = emoji
        for bot in self._world.bots_in(message.chat):
            if message.chat.is_private or message.chat.bots[bot.id] == "administrator":
                update = {
                    "chat": message.chat.object(),
                    "message_id": message.number(bot.id),
                    "user": self.profile.user(),
                    "date": int(self._world.clock()),
                    "old_reaction": [{"type": "emoji", "emoji": each} for each in before],
                    "new_reaction": [{"type": "emoji", "emoji": each} for each in emoji],
                }
                self._world.queues[bot.id].push("message_reaction", update)
        self._world.changes.note()

    def _captioned(self, media: Media, caption: str) -> Content:
        stored = media_object(self._world.files.add(media))
        text = _content(caption, ())
        return Content(text.text, text.entities, stored)

    def _post(
        self,
        chat: Chat,
        content: Content,
        reply_to: Message | None,
        quote: str | None,
        topic: Topic | None,
        album: str | None = None,
    ) -> Message:
        if self.id not in chat.members:
            raise ValueError(f"{self.name} is not in the chat")
        if chat.upgraded_to is not None:
            raise ValueError("the group has become a supergroup: nobody can write in it")
        thread = None if topic is None else topic.id
        if chat.direct:
            chat.topics.setdefault(self.id, Topic(self.id, self.name))
            thread = self.id
        return self._world.post(
            chat, self.profile, content, thread=thread, reply_to=reply_to, quote=_quote(reply_to, quote), album=album
        )


def _content(text: str, entities: Sequence[Json]) -> Content:
    checked, _ = check_entities(text, list(entities))
    body, kept = trimmed(text, checked)
    return Content(body, with_found(body, kept))


def _quote(message: Message | None, quote: str | None) -> Json | None:
    if quote is None:
        return None
    if message is None or quote not in message.text:
        raise ValueError("a quote is a part of the message that is answered")
    return {"text": quote, "position": utf16_length(message.text[: message.text.index(quote)]), "is_manual": True}
