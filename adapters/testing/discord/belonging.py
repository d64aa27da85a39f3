"""Where people belong: guilds, threads, and conversations that they keep open or close."""

from adapters.testing.discord.accounts import Bot
from adapters.testing.discord.acting import Actor
from adapters.testing.discord.channel import Channel, Guild


class Belonging(Actor):
    """Somebody who comes and goes."""

    def joins(self, guild: Guild) -> None:
        """Join a guild."""
        self._world.add_member(guild, self.user)

    def leaves(self, guild: Guild) -> None:
        """Leave a guild."""
        self._world.remove_member(guild, self.user)

    def adds(self, thread: Channel, whom: Actor | Bot) -> None:
        """Add somebody to a thread."""
        self._world.join_thread(thread, whom.user)

    def archives(self, thread: Channel) -> None:
        """Close a thread; the next message opens it again."""
        self._world.set_archived(thread, archived=True)

    def blocks(self, bot: Bot) -> None:
        """Let a bot write no more in the conversation with it."""
        self._world.closed_to.add((bot.id, self.id))

    def unblocks(self, bot: Bot) -> None:
        """Let it write again."""
        self._world.closed_to.discard((bot.id, self.id))
