"""From what Discord tells to what the core is told, one at a time and in order."""

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

import discord

from adapters.base import AdapterHost, AdapterState, Cursor, InboundState
from adapters.connection import Connection
from adapters.discord.answered import AnsweredMessages
from adapters.discord.constants import QUEUE_LIMIT
from adapters.discord.content import is_bots
from adapters.discord.failures import CALL_ERRORS, in_short, is_passing
from adapters.discord.normalise import Channel, Normaliser, Reading, chat_of, cursor_name, is_dm, place, roles_of
from adapters.discord.threads import ThreadOpener
from adapters.memory import Memory
from adapters.strangers import Strangers

log = logging.getLogger(__name__)

PLACE_TRIES: Final = 5
"""How often it is asked where an unknown channel lies, before a message in it is left to a later look."""

ROLES_SECONDS: Final = 60.0
"""How long somebody's roles are taken to be those that they were when they were asked for."""


class Positions:
    """Where the position in a place must stay, because something before it is still missing.

    `survey` is True from the start of a session until it is known which places have to be looked into. `known` names
    the positions of conversations: Discord does not list these. `baseline` is the position of places that have none
    of their own. `reached` is how far places were read at last.
    """

    def __init__(self) -> None:
        self.survey = True
        self.baseline = 0
        self.missing: set[int] = set()
        self.known: set[str] = set()
        self.reached: dict[int, int] = {}

    def may_advance(self, channel_id: int) -> bool:
        """Whether all before what comes live in a place is stored."""
        return not self.survey and channel_id not in self.missing


@dataclass(frozen=True, slots=True)
class _Event:
    """A message that was written, or that was changed; without `message`, one that was deleted."""

    channel: Channel
    id: int
    message: discord.Message | None = None
    changed: bool = False


class Receiver:
    """Stores messages. `missed` is told of a place in which one could not be taken in, or may be missing, `taken` of
    each message that will be answered.

    What comes live where something is still missing waits for it, so that it is answered in order, but not for ever.
    """

    def __init__(
        self,
        client: discord.Client,
        host: AdapterHost,
        normaliser: Normaliser,
        connection: Connection,
        positions: Positions,
        threads: ThreadOpener | None,
        answered: AnsweredMessages,
        missed: Callable[[Channel], None],
        taken: Callable[[discord.Message], None],
        *,
        patience: float,
    ) -> None:
        self._client = client
        self._host = host
        self._normaliser = normaliser
        self._connection = connection
        self._positions = positions
        self._threads = threads
        self._answered = answered
        self._missed = missed
        self._taken = taken
        self._patience = patience
        self._queue: asyncio.Queue[_Event | None] = asyncio.Queue(QUEUE_LIMIT)
        self._held: dict[int, list[_Event]] = {}
        self._held_since: dict[int, float] = {}
        self._impatient: set[int] = set()
        self._roles: Memory[tuple[int, int], tuple[float, tuple[str, ...]]] = Memory()
        """When somebody's roles on a server were asked for, and which they are."""
        self._strangers = Strangers(log)

    def arrived(self, message: discord.Message) -> None:
        """A message has come."""
        try:
            self._queue.put_nowait(_Event(message.channel, message.id, message))
        except asyncio.QueueFull:
            self._missed(message.channel)

    def changed(self, event: discord.RawMessageUpdateEvent) -> None:
        """A message is not what it was; most often Discord has only added a preview to it."""
        message, before = event.message, event.cached_message
        if message.edited_at is None or (before is not None and before.content == message.content):
            return
        try:
            self._queue.put_nowait(_Event(message.channel, message.id, message, changed=True))
        except asyncio.QueueFull:
            log.warning("too much comes from Discord: an edit is left out")

    def deleted(self, guild_id: int | None, channel_id: int, message_ids: Iterable[int]) -> None:
        """Messages were deleted, by who wrote them or by a moderator."""
        known = self._client.get_channel(channel_id)
        channel: Channel = known or self._client.get_partial_messageable(channel_id, guild_id=guild_id)
        try:
            for message_id in sorted(message_ids):
                self._queue.put_nowait(_Event(channel, message_id))
        except asyncio.QueueFull:
            log.warning("too much comes from Discord: a deletion is left out")

    def look_again(self) -> None:
        """Something that was missing is there now."""
        with contextlib.suppress(asyncio.QueueFull):  # whoever reads a full queue looks anyway
            self._queue.put_nowait(None)

    async def run(self) -> None:
        """Take in what comes until cancelled."""
        while True:
            event = await self._next()
            for ripe in self._ripe():
                await self._guarded(ripe, self._process)
            if event is not None:
                await self._guarded(event, self._meet)

    async def _next(self) -> _Event | None:
        """What has come; None if it is time to look at what waits."""
        now = asyncio.get_running_loop().time()
        wait = min(self._held_since.values()) + self._patience - now if self._held_since else None
        try:
            async with asyncio.timeout(wait):
                return await self._queue.get()
        except TimeoutError:
            return None

    async def _guarded(self, event: _Event, handle: Callable[[_Event], Awaitable[None]]) -> None:
        """What cannot be read keeps nothing else back."""
        try:
            await handle(event)
        except CALL_ERRORS as error:
            log.warning("message %d from Discord cannot be taken in now: %s", event.id, in_short(error))
            self._missed(event.channel)
        except Exception:
            log.exception("message %d from Discord cannot be read", event.id)

    # --- what waits ------------------------------------------------------------------------------------------

    async def _meet(self, event: _Event) -> None:
        channel = event.channel
        if event.message is not None and is_dm(channel) and (name := cursor_name(channel)) not in self._positions.known:
            # They may have written while we were away, when we could not know of the conversation.
            first = Cursor(name, str(self._positions.baseline))
            await self._connection.stored(lambda: self._host.keep((), first))
            self._positions.known.add(name)
            self._missed(channel)
        if self._must_wait(channel.id):
            self._held.setdefault(channel.id, []).append(event)
            self._held_since.setdefault(channel.id, asyncio.get_running_loop().time())
        else:
            await self._process(event)

    def _must_wait(self, channel_id: int) -> bool:
        if self._positions.may_advance(channel_id) or channel_id in self._impatient:
            return False
        return sum(map(len, self._held.values())) < QUEUE_LIMIT

    def _ripe(self) -> list[_Event]:
        """What need not wait any more, or has waited long enough."""
        now = asyncio.get_running_loop().time()
        self._impatient = {number for number in self._impatient if not self._positions.may_advance(number)}
        ripe: list[_Event] = []
        for number, since in list(self._held_since.items()):
            if not self._positions.may_advance(number):
                if now < since + self._patience:
                    continue
                self._impatient.add(number)
            del self._held_since[number]
            ripe += self._held.pop(number)
        return ripe

    async def _process(self, event: _Event) -> None:
        if event.message is None:
            await self._withdraw(event)
        else:
            await (self._amend(event.message) if event.changed else self.take(event.message))

    # --- storing ---------------------------------------------------------------------------------------------

    async def take(self, message: discord.Message, channel: Channel | None = None, *, live: bool = True) -> None:
        """Store a message. What comes live moves the position of its place only while nothing is missing there."""
        where = channel or await self._place(message.channel)
        await self._answered.complete(message, where)
        reading = self._normaliser.read(message, where)
        if reading is None:
            return
        reading = await self._with_roles(message, where, reading)
        inbound = (await self._in_thread(message, where, reading)).message
        if live and not self._advances(message, where):
            inbound = replace(inbound, cursor=None)
        accepted = await self._connection.stored(lambda: self._host.accept(inbound))
        self._strangers.note(inbound, accepted)
        if accepted.state is InboundState.PENDING and not accepted.duplicate:
            self._taken(message)

    def _advances(self, message: discord.Message, where: Channel) -> bool:
        return self._positions.may_advance(where.id) and message.id > self._positions.reached.get(where.id, 0)

    async def _with_roles(self, message: discord.Message, where: Channel, reading: Reading) -> Reading:
        """A history tells no roles, nor is anybody on a server known here: who may be let in by one is asked for."""
        guild: discord.Guild | None = getattr(where, "guild", None)
        if guild is None or isinstance(message.author, discord.Member) or is_bots(message):
            return reading
        if not reading.message.addressed or self._host.admits(reading.message):
            return reading
        roles = await self._roles_there(guild, message.author.id)
        return replace(reading, message=replace(reading.message, roles=roles))

    async def _roles_there(self, guild: discord.Guild, user_id: int) -> tuple[str, ...]:
        now = asyncio.get_running_loop().time()
        asked_at, roles = self._roles.get((guild.id, user_id), (-math.inf, ()))
        if now - asked_at >= ROLES_SECONDS:
            try:
                roles = roles_of(await guild.fetch_member(user_id))
            except CALL_ERRORS as error:
                if is_passing(error):
                    raise
                roles = ()
            self._roles[guild.id, user_id] = (now, roles)
        return roles

    async def _in_thread(self, message: discord.Message, where: Channel, reading: Reading) -> Reading:
        if self._threads is None or not reading.called or not self._host.admits(reading.message):
            return reading
        thread = await self._threads.thread_for(message, where)
        if thread is None:
            return reading
        return replace(reading, message=replace(reading.message, source=place(thread, message.author)))

    async def _withdraw(self, event: _Event) -> None:
        chat_id = chat_of(await self._place(event.channel))
        await self._connection.stored(lambda: self._host.withdraw(chat_id, str(event.id)))

    async def _amend(self, message: discord.Message) -> None:
        where = await self._place(message.channel)
        await self._answered.complete(message, where)
        reading = self._normaliser.read(message, where, advances=False)
        if reading is not None:
            await self._connection.stored(lambda: self._host.amend(reading.message))

    async def _place(self, channel: Channel) -> Channel:
        """Where a message was written. A thread that Discord never told of has to be asked for."""
        if not isinstance(channel, discord.PartialMessageable) or is_dm(channel):
            return channel
        for left in reversed(range(PLACE_TRIES)):
            try:
                return await self._client.fetch_channel(channel.id)
            except CALL_ERRORS as error:
                if not left or not is_passing(error):
                    raise
                await self._connection.rest(AdapterState.DEGRADED, f"Discord does not answer: {in_short(error)}")
                self._connection.connected()
        raise AssertionError("the last try returns or raises")
