"""What was written while we were away: fetched from the places that we know, from where we left them.

Discord keeps no events for a bot that is not there, but it keeps the messages. For each place in which somebody has
written there is a position, the id of its last message that is stored. A place without one is looked into from the
`BASELINE` on, which is when the account was first connected, or from when it came to the place's server, if that was
later: ids of messages grow with time, in all places alike.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

import discord

from adapters.base import AdapterHost, Cursor
from adapters.connection import Connection, Sleep
from adapters.discord.constants import BACKFILL_LIMIT, BACKFILL_PARALLEL, BACKFILL_UNLISTED, Timing
from adapters.discord.failures import CALL_ERRORS, in_short, is_passing, retry_after
from adapters.discord.normalise import CHANNEL, DM, Channel, cursor_name, is_dm
from adapters.discord.permissions import NAMES, missing_permissions, permissions_in
from adapters.discord.receive import Positions

log = logging.getLogger(__name__)

BASELINE: Final = "baseline"
"""The name of the position from which on a place without one of its own is looked into."""

Take: TypeAlias = Callable[[discord.Message, Channel], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Gap:
    """A place, and the last message in it that is stored."""

    channel_id: int
    after: int
    dm: bool = False


class Backfill:
    """Closes gaps. `take` stores a message, and moves the position of its place with it. `closed` is told whenever
    something is not missing any more."""

    def __init__(
        self,
        client: discord.Client,
        host: AdapterHost,
        connection: Connection,
        positions: Positions,
        timing: Timing,
        sleep: Sleep,
        take: Take,
        closed: Callable[[], None],
    ) -> None:
        self._client = client
        self._host = host
        self._connection = connection
        self._positions = positions
        self._timing = timing
        self._sleep = sleep
        self._take = take
        self._closed = closed
        self._known = asyncio.Event()
        self._later: dict[int, Channel] = {}

    async def prepare(self) -> None:
        """Know what was stored before any event comes. What was written before the first start is not for us."""
        kept = await self._position(BASELINE)
        if kept is None:
            kept = str(discord.utils.time_snowflake(self._host.clock.now()))
            first = Cursor(BASELINE, kept)
            await self._connection.stored(lambda: self._host.keep((), first))
        self._positions.baseline = int(kept)
        self._positions.known = set(await self._connection.stored(lambda: self._host.cursors(DM)))

    # --- what the session tells ------------------------------------------------------------------------------

    def session_began(self) -> None:
        """A session that is not the one before: something may be missing anywhere."""
        self._positions.survey = True

    def guilds_known(self) -> None:
        """All places are known that Discord names."""
        self._known.set()

    def missed(self, channel: Channel) -> None:
        """Something in this place could not be taken in when it came."""
        self._positions.missing.add(channel.id)
        self._later[channel.id] = channel
        self._known.set()

    def appeared(self, guild: discord.Guild) -> None:
        """A guild that was out of order is there again, or is new."""
        if not self._positions.survey:
            for channel in _readable(guild):
                self.missed(channel)

    # --- closing gaps ----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look for gaps whenever there may be some, until cancelled."""
        while True:
            await self._known.wait()
            self._known.clear()
            gaps = await self._survey() if self._positions.survey else await self._noted()
            log.debug("looking in %d places of Discord for what was written meanwhile", len(gaps))
            await self._close(gaps)

    async def _survey(self) -> list[Gap]:
        """Every place in which something is missing."""
        stored = await self._connection.stored(lambda: self._host.cursors(CHANNEL))
        dms = await self._connection.stored(lambda: self._host.cursors(DM))
        baseline = self._positions.baseline
        positions = {int(name.removeprefix(CHANNEL)): int(value) for name, value in stored.items()}
        listed = {channel.id: channel for guild in self._client.guilds for channel in _readable(guild)}
        gaps = [
            Gap(channel.id, after)
            for channel in listed.values()
            if (getattr(channel, "last_message_id", None) or 0)
            > (after := positions.get(channel.id) or _beginning(channel, baseline))
        ]
        unlisted = sorted(
            (value, number) for number, value in positions.items() if not self._client.get_channel(number)
        )
        gaps += [Gap(number, value) for value, number in unlisted[-BACKFILL_UNLISTED:]]
        gaps += [Gap(int(name.removeprefix(DM)), int(value), dm=True) for name, value in dms.items()]
        # Nothing is awaited between the look at the places and this: what comes later in others is not missing.
        missing = {gap.channel_id for gap in gaps}
        self._later = {number: each for number, each in self._later.items() if is_dm(each) and number not in missing}
        self._positions.missing = missing | set(self._later)
        self._positions.survey = False
        self._closed()
        if self._later:
            self._known.set()
        return gaps

    async def _noted(self) -> list[Gap]:
        """The places in which something was missed."""
        noted, self._later = self._later, {}
        baseline = self._positions.baseline
        gaps = []
        for channel in noted.values():
            position = await self._position(cursor_name(channel))
            gap = Gap(channel.id, int(position) if position else _beginning(channel, baseline), dm=is_dm(channel))
            last = getattr(channel, "last_message_id", None)
            if gap.dm or last is None or last > gap.after:
                gaps.append(gap)
            else:
                self._close_gap(channel.id)
        return gaps

    async def _position(self, name: str) -> str | None:
        return await self._connection.stored(lambda: self._host.cursor(name))

    async def _close(self, gaps: Iterable[Gap]) -> None:
        few = asyncio.Semaphore(BACKFILL_PARALLEL)

        async def one(gap: Gap) -> None:
            async with few:
                await self._fill(gap)

        async with asyncio.TaskGroup() as tasks:
            for gap in gaps:
                tasks.create_task(one(gap), name=f"what is missing in {gap.channel_id}")

    async def _fill(self, gap: Gap) -> None:
        """Fetch what was written in one place. What fails for now is tried again from where it stopped."""
        if missing_permissions(self._client, gap.channel_id, "read_message_history"):
            # Discord would not refuse: it would show an empty history.
            self._unreadable(gap)
            self._close_gap(gap.channel_id)
            return
        reached = gap.after
        wait = self._timing.first_wait
        while True:
            try:
                channel = await self._channel(gap)
                for message in await self._written(channel, reached):
                    await self._taken(message, channel)
                    reached = message.id
                break
            except CALL_ERRORS as error:
                if not is_passing(error):
                    self._tell(gap, error)
                    break
                log.info("what is missing in %d cannot be fetched now: %s", gap.channel_id, in_short(error))
                await self._sleep(max(wait, retry_after(error) or 0.0))
                wait = min(2 * wait, self._timing.longest_wait)
        if reached > gap.after:
            name = f"{DM if gap.dm else CHANNEL}{gap.channel_id}"
            await self._connection.stored(lambda: self._host.keep((), Cursor(name, str(reached))))
        self._positions.reached[gap.channel_id] = reached
        if gap.channel_id not in self._later:
            self._close_gap(gap.channel_id)

    @staticmethod
    async def _written(channel: Channel, after: int) -> list[discord.Message]:
        """What was written after a message, in its order. Of too much the newest, on which people still wait."""
        history = channel.history(  # type: ignore[union-attr]
            limit=BACKFILL_LIMIT, after=discord.Object(after), oldest_first=False
        )
        newest = [message async for message in history]
        if len(newest) == BACKFILL_LIMIT:
            words = "%d messages and more were missed in channel %d of Discord; the older ones are left out"
            log.warning(words, len(newest), channel.id)
        return newest[::-1]

    def _close_gap(self, channel_id: int) -> None:
        self._positions.missing.discard(channel_id)
        self._closed()

    async def _taken(self, message: discord.Message, channel: Channel) -> None:
        """Store a message; one that cannot be read keeps no other back."""
        try:
            await self._take(message, channel)
        except CALL_ERRORS:
            raise
        except Exception:
            log.exception("message %d from Discord cannot be read", message.id)

    async def _channel(self, gap: Gap) -> Channel:
        if gap.dm:
            return self._client.get_channel(gap.channel_id) or self._client.get_partial_messageable(gap.channel_id)
        return self._client.get_channel(gap.channel_id) or await self._client.fetch_channel(gap.channel_id)

    def _tell(self, gap: Gap, error: Exception) -> None:
        """Why nothing can be fetched there."""
        if isinstance(error, discord.Forbidden):
            self._unreadable(gap)
        else:
            log.info("channel %d of Discord is not there any more: %s", gap.channel_id, in_short(error))

    def _unreadable(self, gap: Gap) -> None:
        log.warning(
            "what was written in channel %d of Discord while the gateway was away cannot be read: the bot lacks %s",
            gap.channel_id,
            NAMES["read_message_history"],
        )


def _beginning(channel: Channel, baseline: int) -> int:
    """Where to begin in a place in which nothing is stored yet. What was written on a server before we came to it is
    not for us."""
    guild: discord.Guild | None = getattr(channel, "guild", None)
    me: discord.Member | None = None if guild is None else guild.me
    joined = None if me is None else me.joined_at
    return baseline if joined is None else max(baseline, discord.utils.time_snowflake(joined))


def _readable(guild: discord.Guild) -> list[Channel]:
    """The places of a guild that hold messages and that we see."""
    places: list[discord.abc.GuildChannel | discord.Thread] = []
    places += guild.text_channels
    places += guild.voice_channels
    places += guild.stage_channels
    places += guild.threads
    held = ((each, permissions_in(each)) for each in places)
    return [each for each, permissions in held if permissions is None or permissions.read_messages]
