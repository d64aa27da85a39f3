"""What the network stands on: its accounts and places, and the ways in which bots are told of things."""

from collections.abc import Callable

from adapters.testing.changes import Changes
from adapters.testing.discord.accounts import Bot, Json, User
from adapters.testing.discord.channel import Channel, ChannelType, Guild
from adapters.testing.discord.files import Attachment, Cdn, File
from adapters.testing.discord.gateway import Gateway
from adapters.testing.discord.interactions import Interaction, interaction_object
from adapters.testing.discord.message import Message
from adapters.testing.discord.permissions import Permission
from adapters.testing.discord.sessions import Session
from adapters.testing.discord.snowflakes import Snowflakes
from adapters.testing.discord.view import MessageView

Tell = Callable[[Session, Bot], Json | None]
"""The data of an event, as one session gets it; None if it does not."""


class Ground:
    """The state of the network. `clock` gives seconds since 1970."""

    def __init__(self, clock: Callable[[], float], gateway: Gateway, changes: Changes, cdn: Cdn) -> None:
        self.clock = clock
        self.changes = changes
        self.gateway = gateway
        self.cdn = cdn
        self.view = MessageView(cdn)
        self.ids = Snowflakes(clock)
        self.users: dict[int, User] = {}
        self.bots: dict[int, Bot] = {}
        self.guilds: dict[int, Guild] = {}
        self.channels: dict[int, Channel] = {}
        """Every channel, thread and conversation."""
        self.interactions: dict[str, Interaction] = {}
        """By token."""
        self.commands: dict[tuple[int, int | None], dict[int, Json]] = {}
        """Application commands by bot and guild (None: everywhere), and by their id."""
        self.closed_to: set[tuple[int, int]] = set()
        """Bots and people: a bot may not write to such a person."""
        self.nonces: dict[tuple[int, str], tuple[Message, float]] = {}
        """The messages of bots by author and nonce, with the monotonic time of their sending."""
        self._dms: dict[tuple[int, int], Channel] = {}

    def add_user(self, name: str, *, is_bot: bool = False, display_name: str | None = None) -> User:
        """A new account."""
        user = User(self.ids.next(), name, is_bot=is_bot, display_name=display_name)
        self.users[user.id] = user
        return user

    def add_bot(self, bot: Bot) -> None:
        """A bot whose token is good from now on."""
        self.bots[bot.id] = bot
        self.gateway.bots[bot.token] = bot

    def dm(self, bot: Bot, person: User) -> Channel:
        """The conversation of a bot and a person."""
        key = (bot.id, person.id)
        if key not in self._dms:
            channel = Channel(self.ids.next(), ChannelType.DM, recipients=(person, bot.user))
            self._dms[key] = self.channels[channel.id] = channel
        return self._dms[key]

    def attachment(self, channel: Channel, file: File) -> Attachment:
        """Store a file."""
        attachment = Attachment(self.ids.next(), channel.id, file)
        self.cdn.add(attachment)
        return attachment

    def interact(self, interaction: Interaction) -> None:
        """Tell a bot what a person used. Nothing is kept for it: without a connection the app shows a failure."""
        self.interactions[interaction.token] = interaction
        source = interaction.message
        message = None if source is None else self.view.shown(source, interaction.bot, reads_content=True)
        body = interaction_object(interaction, message)
        self.gateway.dispatch(interaction.bot, "INTERACTION_CREATE", lambda _: body, in_guild=False)

    def tell_message(self, event: str, message: Message) -> None:
        """Tell of a new or changed message, with the content where it is not withheld."""
        if message.ephemeral_for is None:
            nonce = event == "MESSAGE_CREATE"
            self.tell_channel(
                message.channel,
                event,
                lambda to, bot: self.view.event(message, bot, reads_content=to.reads_content, nonce=nonce),
            )
        self.changes.note()

    def tell_channel(self, channel: Channel, event: str, build: Tell, *, but: int | None = None) -> None:
        """Tell the bots that see a channel."""
        for bot in self.bots.values():
            if bot.id != but and Permission.VIEW_CHANNEL in channel.permissions(bot.id):
                self.tell(bot, event, build, in_guild=channel.guild is not None)

    def tell_guild(self, guild: Guild, event: str, build: Tell, *, but: int | None = None) -> None:
        """Tell the bots of a guild."""
        for bot in self.bots.values():
            if bot.id != but and bot.id in guild.members:
                self.tell(bot, event, build, in_guild=True)

    def tell(self, bot: Bot, event: str, build: Tell, *, in_guild: bool) -> None:
        """Tell one bot."""
        self.gateway.dispatch(bot, event, lambda session: build(session, bot), in_guild=in_guild)
