"""People: what they write, change, delete and think of a message, and what they do with an app."""

from adapters.testing.slack.account_api import reaction_event
from adapters.testing.slack.accounts import Bot, Json, Profile
from adapters.testing.slack.channel import AssistantThread, Channel, ChannelKind
from adapters.testing.slack.files import StoredFile, Upload
from adapters.testing.slack.interactions import Interaction, Interactions
from adapters.testing.slack.message import Content, Message
from adapters.testing.slack.text import MAX_TEXT, typed
from adapters.testing.slack.world import World


class Person:
    """A person with the official app; or another bot, whose messages are a bot's. Every act reaches the apps that may
    know of it at once.

    In a text `@name` of a user, `@channel`, `@here`, `@everyone`, `#channel` and addresses become what they are when
    they are typed. What no app lets a person do raises ValueError.
    """

    def __init__(self, world: World, profile: Profile, interactions: Interactions) -> None:
        self.profile = profile
        self._world = world
        self._interactions = interactions

    @property
    def id(self) -> str:
        """The user's id."""
        return self.profile.id

    @property
    def name(self) -> str:
        """The name that others see."""
        return self.profile.name

    def writes(
        self,
        channel: Channel,
        text: str,
        *,
        thread: Message | None = None,
        broadcast: bool = False,
        legacy: bool = False,
    ) -> Message:
        """Write a message, or a reply in the thread of `thread`, which `broadcast` shows in the channel too.

        `legacy`: as an old integration of a bot, whose messages have the subtype `bot_message` and no user.
        """
        if not text.strip():
            raise ValueError("an app sends no empty message")
        content = Content(self._typed(text))
        if len(content.text) > MAX_TEXT:
            raise ValueError(f"an app makes a file of a text over {MAX_TEXT} characters")
        return self._post(channel, content, thread, broadcast, "bot_message" if legacy else None)

    def uploads(self, channel: Channel, *files: Upload, text: str = "", thread: Message | None = None) -> Message:
        """Send files, with a text."""
        stored = [self._stored(file) for file in files]
        content = Content(self._typed(text), files=tuple(stored))
        message = self._post(channel, content, thread, broadcast=False, subtype="file_share")
        for bot in self._world.bots_in(channel):
            for each in stored:
                self._world.emit(bot, "file_shared", self._file_event(each, channel))
        return message

    def edits(self, message: Message, text: str) -> None:
        """Change the text of a message of one's own."""
        if message.sender is not self.profile:
            raise ValueError("people edit their own messages only")
        old = message.content
        self._world.revise(message, Content(self._typed(text), attachments=old.attachments, files=old.files))

    def deletes(self, message: Message) -> None:
        """Delete a message of one's own."""
        if message.sender is not self.profile:
            raise ValueError("people delete their own messages only")
        self._world.delete(message)

    def reacts(self, message: Message, *names: str) -> None:
        """React with these emoji, named without colons, instead of those before; with none, take all back."""
        before = [name for name, users in message.reactions.items() if self.id in users]
        for name in before:
            if name not in names:
                message.reactions[name].remove(self.id)
                self._tell_reaction(message, name, added=False)
        for name in names:
            if name not in before:
                message.reactions.setdefault(name, []).append(self.id)
                self._tell_reaction(message, name, added=True)
        for name in [name for name, users in message.reactions.items() if not users]:
            del message.reactions[name]
        self._world.changes.note()

    def presses(self, message: Message, wanted: str) -> Interaction:
        """Press the button with this `action_id` or value."""
        return self._interactions.action(self.profile, message, wanted)

    def selects(self, message: Message, action_id: str, value: str) -> Interaction:
        """Select the option of this value."""
        return self._interactions.action(self.profile, message, action_id, value)

    def commands(self, channel: Channel, command: str, text: str = "") -> Interaction:
        """Use a slash command; threads have none."""
        self._check_member(channel)
        return self._interactions.command(self.profile, channel, command, text)

    def opens_assistant(self, bot: Bot, *, viewing: Channel | None = None) -> AssistantThread:
        """Open an app's pane, beside a channel: a new thread begins in the direct messages with it
        (https://docs.slack.dev/reference/events/assistant_thread_started)."""
        channel = self._world.conversation(self.profile.team, [bot.profile, self.profile])
        root = self._world.post(channel, bot.profile, Content("New Assistant Thread"), subtype="assistant_app_thread")
        pane = AssistantThread(root, self.profile, viewing)
        channel.panes.append(pane)
        self._tell_pane("assistant_thread_started", bot, pane)
        return pane

    def views(self, pane: AssistantThread, channel: Channel) -> None:
        """Look at another channel while the pane is open."""
        pane.context = channel
        bot = next(bot for bot in self._world.bots.values() if bot.profile is pane.root.sender)
        self._tell_pane("assistant_thread_context_changed", bot, pane)

    def opens_home(self, bot: Bot, tab: str = "messages") -> Channel:
        """Open an app's home, or its direct messages (https://docs.slack.dev/reference/events/app_home_opened)."""
        channel = self._world.conversation(self.profile.team, [bot.profile, self.profile])
        event = {"type": "app_home_opened", "user": self.id, "channel": channel.id, "tab": tab}
        self._world.emit(bot, "app_home_opened", event | {"event_ts": self._world.event_ts()})
        return channel

    def invites(self, channel: Channel, *newcomers: "Person | Bot") -> None:
        """Bring people or bots into a channel."""
        self._check_member(channel)
        for newcomer in newcomers:
            channel.members[newcomer.id] = newcomer.profile
            self._tell_member("member_joined_channel", channel, newcomer.id)

    def removes(self, channel: Channel, member: "Person | Bot") -> None:
        """Put somebody out of a channel."""
        self._check_member(channel)
        self._tell_member("member_left_channel", channel, member.id)
        del channel.members[member.id]

    def _post(
        self, channel: Channel, content: Content, thread: Message | None, broadcast: bool, subtype: str | None
    ) -> Message:
        self._check_member(channel)
        if channel.archived:
            raise ValueError("the channel is archived")
        thread_ts = None if thread is None else thread.thread_ts or thread.ts
        return self._world.post(
            channel, self.profile, content, thread_ts=thread_ts, broadcast=broadcast, subtype=subtype
        )

    def _typed(self, text: str) -> str:
        profiles = self._world.profiles.values()
        users = {profile.name: profile.id for profile in profiles if profile.team is self.profile.team}
        known = self._world.channels.values()
        return typed(text, users, {each.name: each.id for each in known if each.team is self.profile.team})

    def _stored(self, file: Upload) -> StoredFile:
        length = len(file.data) if file.size is None else file.size
        stored = self._world.files.announce(self.profile, file.name, length, self._world.clock(), file.mime)
        stored.data, stored.completed, stored.foreign = file.data, True, file.foreign
        return stored

    def _file_event(self, stored: StoredFile, channel: Channel) -> Json:
        event = {"type": "file_shared", "file_id": stored.id, "user_id": self.id, "file": {"id": stored.id}}
        return event | {"channel_id": channel.id, "event_ts": self._world.event_ts()}

    def _check_member(self, channel: Channel) -> None:
        if self.id not in channel.members:
            raise ValueError(f"{self.name} is not in the conversation")

    def _tell_reaction(self, message: Message, name: str, *, added: bool) -> None:
        event = reaction_event(message, self.id, name, self._world.event_ts(), added=added)
        for bot in self._world.bots_in(message.channel):
            self._world.emit(bot, str(event["type"]), event)

    def _tell_pane(self, kind: str, bot: Bot, pane: AssistantThread) -> None:
        context: Json = {"force_search": False}
        if pane.context is not None:
            context |= {"channel_id": pane.context.id, "team_id": pane.context.team.id, "enterprise_id": None}
        about = {"user_id": self.id, "context": context}
        about |= {"channel_id": pane.root.channel.id, "thread_ts": pane.root.ts}
        event = {"type": kind, "assistant_thread": about, "event_ts": self._world.event_ts()}
        self._world.emit(bot, kind, event)

    def _tell_member(self, kind: str, channel: Channel, user: str) -> None:
        event = {
            "type": kind,
            "user": user,
            "channel": channel.id,
            "channel_type": "C" if channel.kind is ChannelKind.PUBLIC else "G",
            "team": channel.team.id,
            "inviter": self.id,
            "event_ts": self._world.event_ts(),
        }
        for bot in self._world.bots_in(channel):
            self._world.emit(bot, kind, event)
