"""The network behind the server: what is written, reacted to and opened in it, and who is told."""

from collections.abc import Iterable

from adapters.testing.discord.accounts import Bot, Json, User
from adapters.testing.discord.channel import Channel, ChannelType, ThreadState, Typing
from adapters.testing.discord.guilds import Guilds
from adapters.testing.discord.intents import Intents
from adapters.testing.discord.message import Content, Message, MessageType, Version
from adapters.testing.discord.sessions import Session
from adapters.testing.discord.view import channel_object, emoji_object, member_object, partial_member, thread_member


class World(Guilds):
    """Messages, reactions and threads, on the ground of guilds."""

    def post(
        self,
        channel: Channel,
        author: User,
        content: Content,
        *,
        type_: MessageType = MessageType.DEFAULT,
        reply_to: Message | None = None,
        nonce: str | int | None = None,
        id_: int | None = None,
        interaction: Json | None = None,
        ephemeral_for: int | None = None,
        thread: Channel | None = None,
    ) -> Message:
        """Put a message into a channel and tell the bots that may know of it."""
        number = self.ids.next() if id_ is None else id_
        version = Version(content, self.clock())
        if reply_to is not None and type_ is MessageType.DEFAULT:
            type_ = MessageType.REPLY
        message = Message(number, channel, author, [version], type_, reply_to, nonce, thread)
        message.interaction, message.ephemeral_for = interaction, ephemeral_for
        if channel.thread is not None and ephemeral_for is None:
            self._wake(channel, author, counts=message.id != channel.id)
        channel.messages.append(message)
        self.tell_message("MESSAGE_CREATE", message)
        return message

    def revise(self, message: Message, content: Content) -> None:
        """Change what a message shows, and tell the bots that may know of it."""
        message.versions.append(Version(content, self.clock()))
        self.tell_message("MESSAGE_UPDATE", message)

    def delete(self, message: Message) -> None:
        """Delete a message for everyone."""
        message.deleted_at = self.clock()
        body = {"id": str(message.id), "channel_id": str(message.channel.id)} | _guild_id(message.channel)
        if message.ephemeral_for is None:
            self.tell_channel(message.channel, "MESSAGE_DELETE", lambda _, __: body)
        self.changes.note()

    def react(self, message: Message, user: User, emoji: str, *, add: bool) -> None:
        """Put a reaction on a message, or take it back; nothing happens if it is so already."""
        users = message.reactions.setdefault(emoji, [])
        if (user in users) is not add:
            if add:
                users.append(user)
            else:
                users.remove(user)
            self._tell_reaction(message, user, emoji, add=add)
        if not users:
            del message.reactions[emoji]

    def types(self, channel: Channel, user: User) -> None:
        """Show somebody as typing."""
        channel.typing.append(Typing(user, self.clock()))
        body: Json = {"channel_id": str(channel.id), "user_id": str(user.id), "timestamp": int(self.clock())}
        body |= _guild_id(channel)
        if channel.guild is not None:
            body["member"] = member_object(channel.guild.members[user.id])
        self.tell_channel(channel, "TYPING_START", lambda _, __: body, but=user.id)

    def join_thread(self, thread: Channel, user: User) -> None:
        """Make somebody a member of a thread; bots are told of themselves, or of everyone with the members' intent."""
        assert thread.thread is not None
        if user.id not in thread.thread.members:
            thread.thread.members[user.id] = self.clock()
            bot = self.bots.get(user.id)
            if bot is not None and thread.type is ChannelType.PRIVATE_THREAD:
                body = channel_object(thread) | {"member": thread_member(thread, user.id)}
                self.tell(bot, "THREAD_CREATE", lambda _, __: body, in_guild=True)
            self._tell_thread_member(thread, user, added=True)

    def leave_thread(self, thread: Channel, user: User) -> None:
        """Take somebody out of a thread."""
        assert thread.thread is not None
        if user.id in thread.thread.members:
            self._tell_thread_member(thread, user, added=False)
            del thread.thread.members[user.id]

    def open_thread(
        self,
        parent: Channel,
        owner: User,
        name: str,
        type_: ChannelType,
        *,
        source: Message | None = None,
        minutes: int = 4320,
        tags: Iterable[int] = (),
    ) -> Channel:
        """Open a thread, from a message if there is a `source`, whose id it takes; its owner is its first member."""
        guild = parent.guild
        assert guild is not None
        number = self.ids.next() if source is None else source.id
        now = self.clock()
        state = ThreadState(owner.id, now, auto_archive_minutes=minutes, members={owner.id: now}, tags=list(tags))
        thread = Channel(number, type_, name, guild, parent, thread=state)
        guild.threads[thread.id] = self.channels[thread.id] = thread
        self.tell_channel(thread, "THREAD_CREATE", lambda _, bot: self._new_thread(thread, bot))
        if source is not None:
            source.thread = thread
            self.tell_message("MESSAGE_UPDATE", source)
            self.post(thread, owner, Content(), type_=MessageType.THREAD_STARTER_MESSAGE, reply_to=source)
        elif parent.type is not ChannelType.GUILD_FORUM and type_ is not ChannelType.PRIVATE_THREAD:
            self.post(parent, owner, Content(text=name), type_=MessageType.THREAD_CREATED, thread=thread)
        return thread

    def set_archived(self, thread: Channel, archived: bool) -> None:
        """Archive a thread, or open it again."""
        assert thread.thread is not None
        thread.thread.archived = archived
        thread.thread.archived_at = self.clock()
        self.channel_changed(thread)

    def _wake(self, thread: Channel, author: User, *, counts: bool) -> None:
        """What a message does to its thread: it counts, its author joins, and an archive opens again."""
        assert thread.thread is not None
        thread.thread.sent += counts
        if thread.thread.archived:
            self.set_archived(thread, archived=False)
        if not author.is_webhook:
            self.join_thread(thread, author)

    @staticmethod
    def _new_thread(thread: Channel, bot: Bot) -> Json:
        assert thread.thread is not None
        joined = {"member": thread_member(thread, bot.id)} if bot.id in thread.thread.members else {}
        return channel_object(thread) | {"newly_created": True} | joined

    def _tell_thread_member(self, thread: Channel, user: User, *, added: bool) -> None:
        state, guild = thread.thread, thread.guild
        assert state is not None
        assert guild is not None
        base: Json = {"id": str(thread.id), "guild_id": str(guild.id), "member_count": len(state.members)}
        if added:
            body = base | {"added_members": [thread_member(thread, user.id)]}
        else:
            body = base | {"removed_member_ids": [str(user.id)]}

        def build(session: Session, bot: Bot) -> Json | None:
            return body if bot.id == user.id or Intents.GUILD_MEMBERS in session.intents else None

        self.tell_channel(thread, "THREAD_MEMBERS_UPDATE", build)

    def _tell_reaction(self, message: Message, user: User, emoji: str, *, add: bool) -> None:
        channel = message.channel
        body: Json = {
            "user_id": str(user.id),
            "channel_id": str(channel.id),
            "message_id": str(message.id),
            "emoji": emoji_object(emoji),
            "burst": False,
            "type": 0,
        } | _guild_id(channel)
        if add:
            body["message_author_id"] = str(message.author.id)
            if channel.guild is not None and user.id in channel.guild.members:
                member = channel.guild.members[user.id]
                body["member"] = partial_member(member) | {"user": user.object()}
        event = "MESSAGE_REACTION_ADD" if add else "MESSAGE_REACTION_REMOVE"
        self.tell_channel(channel, event, lambda _, __: body)
        self.changes.note()


def _guild_id(channel: Channel) -> Json:
    return {} if channel.guild is None else {"guild_id": str(channel.guild.id)}
