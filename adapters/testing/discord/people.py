"""People: what they write, send, edit, delete and think of a message. Other bots and webhooks write too."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from adapters.testing.discord.accounts import User
from adapters.testing.discord.belonging import Belonging
from adapters.testing.discord.channel import WRITABLE, Channel, ChannelType
from adapters.testing.discord.composing import MAX_TEXT
from adapters.testing.discord.files import MAX_ATTACHMENTS, File
from adapters.testing.discord.mentions import PEOPLE, find
from adapters.testing.discord.message import NO_FLAGS, Content, Message, MessageFlags
from adapters.testing.discord.permissions import Permission
from adapters.testing.discord.world import World

PASTED: Final = "message.txt"
"""The file that the app makes of a text that is too long."""


class Person(Belonging):
    """A person with the official app, or another bot. Every act reaches the bots that may know of it at once.

    What no app lets a person do raises ValueError.
    """

    def writes(self, channel: Channel, text: str, *, reply_to: Message | None = None, ping: bool = True) -> Message:
        """Write a message; `ping`: the author of the message that is answered is called."""
        if not text.strip():
            raise ValueError("an app sends no empty message")
        return self._post(channel, text, (), reply_to, ping=ping)

    def pastes(self, channel: Channel, text: str) -> Message:
        """Paste a text of any length: the app makes a file of one that is too long."""
        if len(text) <= MAX_TEXT:
            return self.writes(channel, text)
        return self.sends(channel, File(PASTED, text.encode(), "text/plain; charset=utf-8"))

    def sends(self, channel: Channel, *files: File, text: str = "", reply_to: Message | None = None) -> Message:
        """Send files, with a text if there is one."""
        if not 1 <= len(files) <= MAX_ATTACHMENTS:
            raise ValueError(f"an app sends up to {MAX_ATTACHMENTS} files at once")
        return self._post(channel, text, files, reply_to, ping=True)

    def speaks(self, channel: Channel, data: bytes = b"OggS", *, seconds: float = 2.5) -> Message:
        """Send a voice message (https://docs.discord.com/developers/resources/message#voice-messages)."""
        file = File("voice-message.ogg", data, "audio/ogg", seconds=seconds)
        return self._post(channel, "", [file], None, ping=True, flags=MessageFlags.IS_VOICE_MESSAGE)

    def opens_thread(self, place: Message | Channel, name: str, *, private: bool = False) -> Channel:
        """Open a thread from a message, or in a channel."""
        channel = place.channel if isinstance(place, Message) else place
        self._see(channel)
        if channel.type not in {ChannelType.GUILD_TEXT, ChannelType.GUILD_ANNOUNCEMENT}:
            raise ValueError("threads are opened in text channels")
        source = place if isinstance(place, Message) else None
        if source is not None and (source.thread is not None or private):
            raise ValueError("a message has one thread, which is public")
        kind = ChannelType.PRIVATE_THREAD if private else ChannelType.PUBLIC_THREAD
        return self._world.open_thread(channel, self.user, name, kind, source=source)

    def posts(self, forum: Channel, title: str, text: str, *files: File) -> Channel:
        """Open a post in a forum; its first message has the thread's id."""
        self._see(forum)
        if forum.type is not ChannelType.GUILD_FORUM:
            raise ValueError("posts are for forums")
        thread = self._world.open_thread(forum, self.user, title, ChannelType.PUBLIC_THREAD)
        self._world.post(thread, self.user, self._content(thread, text, files, None, ping=True), id_=thread.id)
        return thread

    def edits(self, message: Message, text: str) -> None:
        """Change the text of a message of one's own."""
        if message.author.id != self.id:
            raise ValueError("people edit their own messages only")
        if MessageFlags.IS_VOICE_MESSAGE in message.flags:
            raise ValueError("nobody edits a voice message")
        mentions = find(text, message.channel, self.user, self._world.users, PEOPLE, message.reply_to)
        self._world.revise(message, replace(message.content, text=text.strip(), mentions=mentions))

    def deletes(self, message: Message) -> None:
        """Delete a message of one's own for everyone."""
        if message.author.id != self.id:
            raise ValueError("people delete their own messages only")
        self._world.delete(message)

    def reacts(self, message: Message, emoji: str) -> None:
        """React to a message."""
        self._see(message.channel)
        self._world.react(message, self.user, emoji, add=True)

    def takes_back(self, message: Message, emoji: str) -> None:
        """Take a reaction back."""
        self._world.react(message, self.user, emoji, add=False)

    def types(self, channel: Channel) -> None:
        """Be shown as typing."""
        self._see(channel)
        self._world.types(channel, self.user)

    def _post(
        self,
        channel: Channel,
        text: str,
        files: Sequence[File],
        reply_to: Message | None,
        *,
        ping: bool,
        flags: MessageFlags = NO_FLAGS,
    ) -> Message:
        self._see(channel)
        if channel.type not in WRITABLE:
            raise ValueError("nobody writes there: open a post, or a thread")
        if Permission.SEND_MESSAGES not in channel.permissions(self.id):
            raise ValueError(f"{self.name} may not write here")
        content = self._content(channel, text, files, reply_to, ping=ping)
        return self._world.post(channel, self.user, replace(content, flags=flags), reply_to=reply_to)

    def _content(
        self, channel: Channel, text: str, files: Sequence[File], reply_to: Message | None, *, ping: bool
    ) -> Content:
        text = text.strip()
        if len(text) > MAX_TEXT:
            raise ValueError(f"an app sends at most {MAX_TEXT} characters: use pastes()")
        allowed = replace(PEOPLE, answered=ping)
        mentions = find(text, channel, self.user, self._world.users, allowed, reply_to)
        attachments = tuple(self._world.attachment(channel, file) for file in files)
        return Content(text, attachments=attachments, mentions=mentions)


class Webhook:
    """An incoming webhook of a channel: it writes under a name of its own, and is a member of nothing."""

    def __init__(self, world: World, channel: Channel, name: str) -> None:
        self._world = world
        self._channel = channel
        self.user = User(world.ids.next(), name, is_bot=True, is_webhook=True)

    def writes(self, text: str) -> Message:
        """Write a message."""
        mentions = find(text, self._channel, self.user, self._world.users, PEOPLE, None)
        return self._world.post(self._channel, self.user, Content(text, mentions=mentions))
