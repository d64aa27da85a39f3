"""The workspaces behind the server: their users, conversations, files and apps."""

from collections.abc import Callable, Iterable

from adapters.testing.changes import Changes
from adapters.testing.slack.accounts import App, Bot, Json, Profile, Team
from adapters.testing.slack.channel import Channel, ChannelKind
from adapters.testing.slack.delivery import DeliveryRules, EnvelopeKind, Feed
from adapters.testing.slack.errors import ApiError
from adapters.testing.slack.files import FileStore, told_object
from adapters.testing.slack.message import Content, Message, Version
from adapters.testing.slack.text import MAX_TEXT
from adapters.testing.slack.view import message_object

EVENT_SCOPES = {
    "app_mention": "app_mentions:read",
    "assistant_thread_context_changed": "assistant:write",
    "assistant_thread_started": "assistant:write",
    "channel_archive": "channels:read",
    "channel_rename": "channels:read",
    "channel_unarchive": "channels:read",
    "file_shared": "files:read",
    "member_joined_channel": "channels:read",
    "member_left_channel": "channels:read",
    "message.channels": "channels:history",
    "message.groups": "groups:history",
    "message.im": "im:history",
    "message.mpim": "mpim:history",
    "reaction_added": "reactions:read",
    "reaction_removed": "reactions:read",
}
"""What an app has to be granted for an event, which it otherwise does not get
(https://docs.slack.dev/reference/events)."""


class World:
    """All state of the server. `clock` gives seconds since 1970, `monotonic` those by which waits are measured."""

    def __init__(
        self,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        rules: DeliveryRules,
        note: Callable[[str], None],
    ) -> None:
        self.clock = clock
        self.monotonic = monotonic
        self.note = note
        self.changes = Changes()
        self.files = FileStore()
        self.base_url = ""
        self.teams: dict[str, Team] = {}
        self.apps: dict[str, App] = {}
        """By app-level token."""
        self.bots: dict[str, Bot] = {}
        """By token."""
        self.feeds: dict[str, Feed] = {}
        """By the app's id."""
        self.profiles: dict[str, Profile] = {}
        self.channels: dict[str, Channel] = {}
        self.views: dict[str, Json] = {}
        """Windows and home tabs that apps have shown, by id."""
        self.triggers: dict[str, float] = {}
        """Until when a `trigger_id` is good, in seconds of the monotonic clock."""
        self._rules = rules
        self._serials: dict[str, int] = {}

    def serial(self, name: str) -> int:
        """The next number of a sequence, from 1."""
        self._serials[name] = self._serials.get(name, 0) + 1
        return self._serials[name]

    def add_app(self, app: App) -> None:
        """An app that somebody has made."""
        self.apps[app.token] = app
        self.feeds[app.id] = Feed(app, self._rules, self.clock, self.monotonic, self.note, self.changes.note)

    def name_of(self, thing: str) -> str:
        """What the id of a user or a channel is shown as; an unknown one as itself."""
        if thing in self.profiles:
            return self.profiles[thing].name
        return self.channels[thing].name if thing in self.channels else thing

    def new_channel(self, kind: ChannelKind, team: Team, name: str, members: Iterable[Profile]) -> Channel:
        """A conversation; nobody is told."""
        letter = "D" if kind is ChannelKind.DIRECT else "C"
        present = {each.id: each for each in members}
        channel = Channel(f"{letter}{self.serial(letter):08d}", kind, team, name, self.name_of, present)
        channel.creator = next(iter(present), "")
        channel.created = int(self.clock())
        self.channels[channel.id] = channel
        return channel

    def conversation(self, team: Team, members: Iterable[Profile]) -> Channel:
        """The direct message of these users, or their group message; it is made if it is not there."""
        people = list(members)
        wanted = {each.id for each in people}
        for channel in self.channels.values():
            if channel.kind in {ChannelKind.DIRECT, ChannelKind.GROUP} and set(channel.members) == wanted:
                return channel
        kind = ChannelKind.DIRECT if len(people) == len(("one", "other")) else ChannelKind.GROUP
        name = "" if kind is ChannelKind.DIRECT else "mpdm-" + "--".join(each.name.lower() for each in people)
        return self.new_channel(kind, team, name, people)

    def known_channel(self, bot: Bot, channel_id: object) -> Channel:
        """The conversation that a bot names, if it may know of it. Raises `ApiError`."""
        channel = self.channels.get(str(channel_id))
        if channel is None or channel.team is not bot.team:
            raise ApiError("channel_not_found")
        if channel.kind is not ChannelKind.PUBLIC and bot.id not in channel.members:
            raise ApiError("channel_not_found")
        return channel

    def bots_in(self, channel: Channel) -> list[Bot]:
        """The bots that are in a conversation and hear from it."""
        return [bot for bot in self.bots.values() if bot.id in channel.members and bot.failure is None]

    def post(
        self,
        channel: Channel,
        sender: Profile,
        content: Content,
        *,
        thread_ts: str | None = None,
        broadcast: bool = False,
        subtype: str | None = None,
        username: str | None = None,
    ) -> Message:
        """Put a message into a conversation and tell the bots in it; its author's too."""
        cut = Content(
            content.text[:MAX_TEXT],
            content.blocks,
            content.markdown,
            content.attachments,
            content.files,
            content.metadata,
        )
        now = self.clock()
        shown = "thread_broadcast" if broadcast and thread_ts is not None else subtype
        message = Message(channel, channel.new_ts(now), sender, [Version(cut, now)], thread_ts, broadcast, shown)
        message.username = username
        if not sender.is_bot:
            message.client_msg_id = f"{self.serial('client message'):08x}-0000-4000-8000-000000000000"
        channel.add(message)
        for stored in content.files:
            reach = "public" if channel.kind is ChannelKind.PUBLIC else "private"
            stored.shares.setdefault((reach, channel.id), []).append(message.ts)
        if sender.is_bot:
            channel.clear_status(thread_ts, now)
        self._tell_posted(message)
        self.changes.note()
        return message

    def revise(self, message: Message, content: Content, *, edited: bool = True) -> None:
        """Change a message and tell the bots; `edited`: people see that it was."""
        marked = edited or message.versions[-1].edited
        message.versions.append(Version(content, self.clock(), marked))
        self.tell_changed(message)
        self.changes.note()

    def delete(self, message: Message) -> None:
        """Delete a message and tell the bots; one with replies leaves a placeholder, which is a change, not a deletion
        (https://docs.slack.dev/reference/events/message/message_deleted)."""
        before = message_object(message, self.base_url)
        message.deleted_at = self.clock()
        message.tombstone = message.thread_ts is None and bool(message.channel.replies(message))
        if message.tombstone:
            after = {"message": message_object(message, self.base_url)}
            self._tell(message.channel, {"subtype": "message_changed", "previous_message": before} | after)
        else:
            self._tell(
                message.channel,
                {"subtype": "message_deleted", "deleted_ts": message.ts, "previous_message": before},
            )
        self.changes.note()

    def tell_changed(self, message: Message) -> None:
        """The event of a change (https://docs.slack.dev/reference/events/message/message_changed), which also comes
        when only a preview of a link was added."""
        now = message_object(message, self.base_url)
        before = message_object(message, self.base_url, version=max(-2, -len(message.versions)))
        self._tell(message.channel, {"subtype": "message_changed", "message": now, "previous_message": before})

    def emit(self, bot: Bot, subscription: str, event: Json) -> None:
        """Send an event to an app, if it is subscribed to it and may get it."""
        scope = EVENT_SCOPES.get(subscription)
        if subscription not in bot.app.events or (scope is not None and scope not in bot.scopes):
            return
        number = self.serial("event")
        payload = {
            "token": bot.app.verification,
            "team_id": bot.team.id,
            "context_team_id": bot.team.id,
            "context_enterprise_id": None,
            "api_app_id": bot.app.id,
            "event": event,
            "type": "event_callback",
            "event_id": f"Ev{number:08d}",
            "event_time": int(self.clock()),
            "authorizations": [
                {
                    "enterprise_id": None,
                    "team_id": bot.team.id,
                    "user_id": bot.id,
                    "is_bot": True,
                    "is_enterprise_install": False,
                }
            ],
            "is_ext_shared_channel": False,
            "event_context": f"4-{number:08d}",
        }
        self.feeds[bot.app.id].push(EnvelopeKind.EVENT, payload, bot)

    def event_ts(self) -> str:
        """The time, as an event that is no message has it."""
        return f"{self.clock():.6f}"

    def _tell_posted(self, message: Message) -> None:
        """A mention in a channel comes as two events, `app_mention` and that of the message
        (https://docs.slack.dev/reference/events/app_mention)."""
        channel = message.channel
        event = message_object(message, self.base_url, threads=False)
        if message.content.files:
            event["files"] = [told_object(each, self.base_url) for each in message.content.files]
        if message.thread_ts is not None:
            event["thread_ts"] = message.thread_ts
            root = channel.find(message.thread_ts)
            if root is not None:
                event["parent_user_id"] = root.sender.id
                if message.subtype == "thread_broadcast":
                    event["root"] = message_object(root, self.base_url)
        self._tell(channel, event)
        called = message.content.notified()
        for bot in self.bots_in(channel):
            if channel.kind is not ChannelKind.DIRECT and bot.id in called and bot.id != message.sender.id:
                mention = {key: value for key, value in event.items() if key not in {"subtype", "root"}}
                mention |= {"type": "app_mention", "channel": channel.id, "event_ts": message.ts}
                self.emit(bot, "app_mention", mention)

    def _tell(self, channel: Channel, event: Json) -> None:
        """An event of messages for each bot in a conversation."""
        ts = event.get("ts") or channel.new_ts(self.clock())
        hidden = {"hidden": True} if event.get("subtype") in {"message_changed", "message_deleted"} else {}
        whole = {"type": "message"} | event | hidden
        whole |= {"channel": channel.id, "ts": ts, "event_ts": ts, "channel_type": channel.kind.value}
        kind = {"channel": "channels", "group": "groups"}.get(channel.kind.value, channel.kind.value)
        for bot in self.bots_in(channel):
            self.emit(bot, f"message.{kind}", whole)
