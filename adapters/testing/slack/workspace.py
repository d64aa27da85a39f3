"""A workspace as a test sets it up: its people, its bots and its conversations."""

from collections.abc import Iterable

from adapters.testing.slack.accounts import App, Bot, Json, Profile, Team
from adapters.testing.slack.channel import Channel, ChannelKind
from adapters.testing.slack.interactions import Interactions
from adapters.testing.slack.message import Content, Message
from adapters.testing.slack.people import Person
from adapters.testing.slack.world import World


class Workspace:
    """One workspace, and the making of what is in it. Nobody is told of what is made."""

    def __init__(self, world: World, interactions: Interactions, name: str) -> None:
        number = world.serial("team")
        self.team = Team(f"T{number:08d}", name, name.lower().replace(" ", "-"))
        self._world = world
        self._interactions = interactions
        world.teams[self.team.id] = self.team

    def install(self, app: App, name: str = "hermes", scopes: Iterable[str] | None = None) -> Bot:
        """Put an app into the workspace. Without `scopes` it gets all that are of use here."""
        profile = self._profile(name, app.id)
        bot = Bot(app, profile, f"xoxb-{self.team.id}-{profile.id}-of-no-value-but-here")
        if scopes is not None:
            bot.scopes = set(scopes)
        self._world.bots[bot.token] = bot
        return bot

    def person(self, name: str) -> Person:
        """A new member."""
        return Person(self._world, self._profile(name), self._interactions)

    def robot(self, name: str) -> Person:
        """Another app's bot, which writes when the test says so."""
        return Person(self._world, self._profile(name, f"A{self._world.serial('app'):08d}"), self._interactions)

    def channel(self, name: str, *members: Person | Bot, private: bool = False) -> Channel:
        """A channel; the first of its members has made it."""
        kind = ChannelKind.PRIVATE if private else ChannelKind.PUBLIC
        return self._world.new_channel(kind, self.team, name, [each.profile for each in members])

    def direct(self, *members: Person | Bot) -> Channel:
        """The direct messages of two, or the group message of more; always the same one."""
        return self._world.conversation(self.team, [each.profile for each in members])

    def archive(self, channel: Channel) -> None:
        """Archive a channel: nobody can write there any more (https://docs.slack.dev/reference/events/channel_archive)."""
        channel.archived = True
        event: Json = {"type": "channel_archive", "channel": channel.id, "user": channel.creator, "is_moved": 0}
        for bot in self._world.bots_in(channel):
            self._world.emit(bot, "channel_archive", event | {"event_ts": self._world.event_ts()})

    def unfurl(self, message: Message, title: str) -> None:
        """Add the preview of a link to a message, as Slack does by itself: a change that is no edit."""
        old = message.content
        preview: Json = {"id": len(old.attachments) + 1, "title": title, "fallback": title, "from_url": title}
        content = Content(old.text, old.blocks, old.markdown, (*old.attachments, preview), old.files, old.metadata)
        self._world.revise(message, content, edited=False)

    def _profile(self, name: str, app_id: str | None = None) -> Profile:
        number = self._world.serial("user")
        bot_id = None if app_id is None else f"B{number:08d}"
        profile = Profile(f"U{number:08d}", self.team, name, bot_id, app_id)
        self._world.profiles[profile.id] = profile
        return profile
