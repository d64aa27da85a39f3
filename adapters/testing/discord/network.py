"""Setting up a network: accounts, guilds, channels, and what may be done in them."""

from collections.abc import Callable, Sequence

from adapters.testing.discord.accounts import Bot, Json, User
from adapters.testing.discord.channel import Channel, ChannelType, Guild
from adapters.testing.discord.intents import PRIVILEGED, Intents
from adapters.testing.discord.people import Person, Webhook
from adapters.testing.discord.permissions import Permission
from adapters.testing.discord.world import World


class Network:
    """Makes what a test needs. The bots that are connected are told, as the real ones would be."""

    def __init__(self, world: World, monotonic: Callable[[], float], bot: str, privileged: Intents) -> None:
        self.world = world
        self._monotonic = monotonic
        self.bot = self.add_bot(bot, privileged=privileged)
        """The bot that there is from the start."""

    def add_bot(self, name: str, *, privileged: Intents = PRIVILEGED) -> Bot:
        """A further bot; `privileged` are the intents that are switched on for it in the developer portal."""
        user = self.world.add_user(name, is_bot=True)
        bot = Bot(user, f"bot-{user.id}.of-no-value.but-here", privileged)
        self.world.add_bot(bot)
        return bot

    def person(self, name: str, *, display_name: str | None = None) -> Person:
        """A new person."""
        return Person(self.world, self.world.add_user(name, display_name=display_name), self._monotonic)

    def other_bot(self, name: str) -> Person:
        """Another bot, which somebody else runs: it writes as people do, and bots see that it is one."""
        return Person(self.world, self.world.add_user(name, is_bot=True), self._monotonic)

    def webhook(self, channel: Channel, name: str) -> Webhook:
        """A webhook of a channel."""
        return Webhook(self.world, channel, name)

    def dm(self, person: Person, bot: Bot | None = None) -> Channel:
        """The conversation of a person with a bot (the first one, if none is named)."""
        return self.world.dm(bot or self.bot, person.user)

    def guild(self, name: str, *people: Person, bots: Sequence[Bot] | None = None) -> Guild:
        """A guild; the first person owns it. Without `bots` the first bot is a member."""
        if not people:
            raise ValueError("somebody has to own the guild")
        present = [self.bot] if bots is None else bots
        return self.world.new_guild(name, people[0].user, [person.user for person in people], present)

    def channel(
        self, guild: Guild, name: str, *, topic: str | None = None, type_: ChannelType = ChannelType.GUILD_TEXT
    ) -> Channel:
        """A text channel, or another kind."""
        return self.world.add_channel(Channel(self.world.ids.next(), type_, name, guild, topic=topic))

    def forum(self, guild: Guild, name: str, *tags: str) -> Channel:
        """A forum, whose posts may have these tags."""
        listed: list[Json] = [
            {"id": str(self.world.ids.next()), "name": tag, "moderated": False, "emoji_id": None, "emoji_name": None}
            for tag in tags
        ]
        made = Channel(self.world.ids.next(), ChannelType.GUILD_FORUM, name, guild, tags=listed)
        return self.world.add_channel(made)

    def allow(self, channel: Channel, *permissions: Permission, whom: Bot | Person | None = None) -> None:
        """Allow something in a channel, to everyone if nobody is named."""
        self._overwrite(channel, permissions, whom, allowed=True)

    def deny(self, channel: Channel, *permissions: Permission, whom: Bot | Person | None = None) -> None:
        """Deny something in a channel, to everyone if nobody is named."""
        self._overwrite(channel, permissions, whom, allowed=False)

    def grant(self, guild: Guild, *permissions: Permission, bot: Bot | None = None) -> None:
        """Give a bot's own role further permissions in the guild."""
        owner = bot or self.bot
        role = next(role for role in guild.roles.values() if role.managed_by == owner.id)
        for permission in permissions:
            role.permissions |= permission

    def remove(self, guild: Guild, whom: Bot | Person) -> None:
        """Throw somebody out of a guild."""
        self.world.remove_member(guild, whom.user)

    def _overwrite(
        self, channel: Channel, permissions: Sequence[Permission], whom: Bot | Person | None, *, allowed: bool
    ) -> None:
        if channel.guild is None or channel.thread is not None:
            raise ValueError("only a channel of a guild has permissions of its own")
        target: User | None = None if whom is None else whom.user
        overwrite = channel.overwrite(channel.guild.id if target is None else target.id, is_role=target is None)
        for permission in permissions:
            if allowed:
                overwrite.allow, overwrite.deny = overwrite.allow | permission, overwrite.deny & ~permission
            else:
                overwrite.allow, overwrite.deny = overwrite.allow & ~permission, overwrite.deny | permission
        self.world.channel_changed(channel)
