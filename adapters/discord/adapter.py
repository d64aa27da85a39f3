"""The Discord adapter: connects an account, and hands the work to its parts."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, Final

import discord

from adapters.background import Background
from adapters.base import (
    AccountError,
    Adapter,
    AdapterHost,
    AdapterState,
    Attachment,
    Capabilities,
    Composer,
    Delivery,
    Found,
    MediaError,
    NotConnectedError,
    Rate,
    SearchOutcome,
    Target,
)
from adapters.connection import Connection, Sleep
from adapters.discord import files, find
from adapters.discord.answered import AnsweredMessages
from adapters.discord.backfill import Backfill
from adapters.discord.client import DiscordClient, Handlers, quiet_library
from adapters.discord.compose import DiscordComposer
from adapters.discord.constants import TIMING, Timing
from adapters.discord.endpoint import ENDPOINT
from adapters.discord.failures import CALL_ERRORS, in_short, login_refused, retry_after
from adapters.discord.interactions import Interactions
from adapters.discord.marks import Marks
from adapters.discord.menu import Menu
from adapters.discord.normalise import Channel, Normaliser, Rules
from adapters.discord.pace import Pace
from adapters.discord.permissions import ALWAYS, missing_on_server
from adapters.discord.receive import Positions, Receiver
from adapters.discord.send import Sender
from adapters.discord.threads import ThreadOpener
from adapters.markup.discord import MAX_LENGTH, Mentions
from adapters.proxy import proxy_of
from config import PlatformConfig
from config.platforms import DiscordConfig

log = logging.getLogger(__name__)

ALL_CHATS: Final = Rate(40, 1.0)
"""Messages and edits of a bot. Discord takes 50 requests in a second of all kinds
(https://docs.discord.com/developers/topics/rate-limits#global-rate-limit): the rest is for what is typed, read and
marked meanwhile."""

PACE: Final = Rate(10, 0.25)
"""Requests of all kinds. Wherever a second begins, no more than the 50 of that limit begin in it."""

ONE_CHAT: Final = Rate(5, 5.0)
"""Observed: Discord tells the limits of a channel only with its answers, and the library keeps to those."""

NOTE: Final = "In Discord people appear as @name (<@id>). What you write is shown as Markdown, and notifies nobody."
NOTE_WITH_MENTIONS: Final = (
    "In Discord people appear as @name (<@id>). Write <@id> to notify a person; everyone and roles cannot be notified."
)

CAPABILITIES: Final = Capabilities(
    edit=True,
    delete=True,
    typing=True,
    threads=True,
    buttons=True,
    media=True,
    find=True,
    backfill=True,
    max_length=MAX_LENGTH,
    length_unit="characters",
    edit_interval=1.2,
    rate=ALL_CHATS,
    typing_seconds=8.0,
    redactable_ids=False,
    note=NOTE,
)


class DiscordAdapter(Adapter):
    """One bot. `timing`, `sleep`, `jitter` (numbers from 0 to 1) and `pace` (None: none) can be replaced for tests."""

    capabilities = CAPABILITIES

    def __init__(
        self,
        config: PlatformConfig,
        host: AdapterHost,
        *,
        timing: Timing = TIMING,
        sleep: Sleep = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
        pace: Rate | None = PACE,
    ) -> None:
        if not isinstance(config, DiscordConfig):
            config = DiscordConfig.model_validate(config.model_dump(exclude_unset=True))
        if config.token is None:
            raise AccountError(
                "platforms.discord.token is missing: https://discord.com/developers/applications gives one, under Bot"
            )
        self._config = config
        self._token = config.token.get_secret_value().strip()
        self._host = host
        self._timing = timing
        self._sleep = sleep
        self._pace = None if pace is None else Pace(pace, host.clock.monotonic, sleep)
        self._mentions: Mentions = "users" if config.allow_mentions else "neutralise"
        if config.allow_mentions:
            self.capabilities = replace(type(self).capabilities, note=NOTE_WITH_MENTIONS)
        self._connection = Connection(
            host, first_wait=timing.first_wait, longest_wait=timing.longest_wait, sleep=sleep, jitter=jitter
        )
        self._client: DiscordClient | None = None
        self._sender: Sender | None = None
        quiet_library()

    async def run(self) -> None:
        """Connect and receive until cancelled. Raises `AccountError` where only the operator can mend it."""
        self._connection.connecting()
        with ENDPOINT.held(self._config.api_base_url, self._config.gateway_url):
            session = _Session(self._config, self._host, self._timing, self._connection, self._sleep)
            client = await self._logged_in(session.handlers)
            try:
                self._client = client
                await self._connection.stored(lambda: self._host.identify(str(client.user.id if client.user else "")))
                log.info("connected to Discord as %s", client.user)
                monotonic = self._host.clock.monotonic
                self._sender = Sender(
                    client, self._timing, monotonic, session.lost, session.seen, mentions=self._mentions
                )
                await session.run(client)
            finally:
                self._client = self._sender = None
                await client.end()

    async def _logged_in(self, handlers: Handlers) -> DiscordClient:
        """A client whose token Discord knows, as soon as it can be asked. Raises `AccountError`."""
        proxy = proxy_of(self._config.api_base_url)
        while True:
            trace = None if self._pace is None else self._pace.trace()
            client = DiscordClient(self._timing, self._connection, handlers, trace, proxy)
            try:
                async with asyncio.timeout(self._timing.answer):
                    await client.login(self._token)
            except BaseException as error:
                await client.end()
                if not isinstance(error, CALL_ERRORS):
                    raise
                if (refusal := login_refused(error, self._config.api_base_url)) is not None:
                    raise refusal from None
                reason = f"Discord cannot be reached: {in_short(error)}"
                await self._connection.rest(AdapterState.CONNECTING, reason, at_least=retry_after(error))
                continue
            return client

    # --- what goes out ---------------------------------------------------------------------------------------

    async def send(self, delivery: Delivery) -> str:
        """Show a part, or a file, as a new message. Raises `DeliveryError`."""
        return await self._outgoing().send(delivery)

    async def edit(self, delivery: Delivery) -> None:
        """Make a message show the part. Raises `DeliveryError`."""
        await self._outgoing().edit(delivery)

    async def find(self, delivery: Delivery) -> Found | SearchOutcome:
        """Look for a message whose send had no answer. Raises `DeliveryError`."""
        sender, client = self._outgoing(), self._client
        assert client is not None
        return await find.find(client, sender, self._host.clock.monotonic, self._timing, delivery)

    async def delete(self, delivery: Delivery) -> None:
        """Take a message away. Raises `DeliveryError`."""
        await self._outgoing().delete(delivery)

    async def typing(self, target: Target) -> None:
        """Show that something is being written. Raises `DeliveryError`."""
        await self._outgoing().typing(target)

    async def fetch(self, attachment: Attachment, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Hand on a file that somebody sent. Raises `MediaError`."""
        if self._client is None:
            raise MediaError("Discord is not connected", retryable=True)
        await files.fetch(self._client, self._timing, attachment, write)

    def composer(self) -> Composer:
        """What makes the messages of one text."""
        return DiscordComposer(self._config.max_messages, self._mentions)

    def rates(self, chat_id: str) -> Sequence[Rate]:
        """Five messages, or edits, in five seconds."""
        del chat_id
        return (ONE_CHAT,)

    def _outgoing(self) -> Sender:
        if self._sender is None:
            raise NotConnectedError("Discord is not connected")
        return self._sender


class _Session:
    """The parts of one run of the adapter, and how events reach them."""

    def __init__(
        self, config: DiscordConfig, host: AdapterHost, timing: Timing, connection: Connection, sleep: Sleep
    ) -> None:
        self._config = config
        self._host = host
        self._timing = timing
        self._connection = connection
        self._sleep = sleep
        self._background = Background()
        self._told: set[int] = set()
        self._positions = Positions()
        self._client: DiscordClient | None = None
        self._checking = False
        self._receiver: Receiver | None = None
        self._backfill: Backfill | None = None
        self._marks: Marks | None = None
        self._interactions = Interactions(host, self._background, timing)
        self.handlers: Handlers = {
            "connect": self._began,
            "resumed": self._connection.connected,
            "ready": self._guilds_known,
            "message": self._message,
            "raw_message_edit": self._changed,
            "raw_message_delete": self._deleted,
            "raw_bulk_message_delete": self._cleared,
            "interaction": self._interactions.arrived,
            "guild_available": self._appeared,
            "guild_join": self._appeared,
        }

    def lost(self) -> None:
        """A call could not leave, while the gateway may be as good as ever."""
        if self._client is not None and not self._checking:
            self._checking = self._background.start(self._check(self._client), "a look whether Discord can be reached")

    async def _check(self, client: DiscordClient) -> None:
        """Try until a call leaves, then let the deliveries go on that wait for it."""
        wait = self._timing.first_wait
        try:
            while self._connection.up:
                await self._sleep(wait)
                wait = min(2 * wait, self._timing.longest_wait)
                with contextlib.suppress(*CALL_ERRORS):
                    await client.application_info()
                    self._connection.wake()
                    return
        finally:
            self._checking = False

    async def run(self, client: DiscordClient) -> None:
        """Receive until cancelled. Raises `AccountError`."""
        self._client = client
        config = self._config
        normaliser = Normaliser(
            lambda: client.user.id if client.user is not None else 0,
            Rules(config.require_mention, frozenset(config.free_channels)),
            lambda: sorted(self._host.command_names),
        )
        threads = ThreadOpener(client, self._timing) if config.threads == "auto" else None
        self._marks = Marks(client, self._background, self._timing, self._sleep) if config.reactions else None
        receiver = Receiver(
            client,
            self._host,
            normaliser,
            self._connection,
            self._positions,
            threads,
            AnsweredMessages(client, self._timing),
            self._missed,
            self._taken,
            patience=self._timing.patience,
        )

        async def take(message: discord.Message, channel: Channel) -> None:
            await receiver.take(message, channel, live=False)

        self._receiver = receiver
        self._backfill = Backfill(
            client, self._host, self._connection, self._positions, self._timing, self._sleep, take, receiver.look_again
        )
        await self._backfill.prepare()
        menu = Menu(client, self._host, self._timing, self._sleep, config.command_guilds)
        self._background.start(menu.sync(), "Discord's menu of commands")
        try:
            await _first_to_end(client.listen(), receiver.run(), self._backfill.run())
        finally:
            await self._background.close()

    # --- events ----------------------------------------------------------------------------------------------

    def _began(self) -> None:
        assert self._backfill is not None
        self._backfill.session_began()
        self._connection.connected()

    def _guilds_known(self) -> None:
        assert self._backfill is not None
        self._backfill.guilds_known()
        assert self._client is not None
        for guild in self._client.guilds:
            self._name_missing(guild)

    def _message(self, message: discord.Message) -> None:
        assert self._receiver is not None
        self._receiver.arrived(message)

    def _changed(self, event: discord.RawMessageUpdateEvent) -> None:
        assert self._receiver is not None
        self._receiver.changed(event)

    def _deleted(self, event: discord.RawMessageDeleteEvent) -> None:
        assert self._receiver is not None
        assert self._client is not None
        message, me = event.cached_message, self._client.user
        if message is None or me is None or message.author.id != me.id:
            self._receiver.deleted(event.guild_id, event.channel_id, (event.message_id,))

    def _cleared(self, event: discord.RawBulkMessageDeleteEvent) -> None:
        assert self._receiver is not None
        self._receiver.deleted(event.guild_id, event.channel_id, event.message_ids)

    def seen(self, delivery: Delivery) -> None:
        """Some of an answer can be seen."""
        if self._marks is not None:
            self._marks.answered(delivery)

    def _taken(self, message: discord.Message) -> None:
        if self._marks is not None:
            self._marks.waiting(message)

    def _missed(self, channel: Channel) -> None:
        assert self._backfill is not None
        self._backfill.missed(channel)

    def _appeared(self, guild: discord.Guild) -> None:
        assert self._backfill is not None
        self._backfill.appeared(guild)
        self._name_missing(guild)

    def _name_missing(self, guild: discord.Guild) -> None:
        """Tell the operator, once for each server, which permissions the bot was not given there."""
        if guild.id in self._told:
            return
        self._told.add(guild.id)
        wanted = [*ALWAYS]
        wanted += ["create_public_threads"] if self._config.threads == "auto" else []
        wanted += ["add_reactions"] if self._config.reactions else []
        if missing := missing_on_server(guild, wanted):
            log.warning(
                "on the server %s the bot lacks %s: give it to its role, in Server Settings, Roles, or in the channels"
                " that it is to serve",
                guild.name,
                ", ".join(missing),
            )


async def _first_to_end(*work: Coroutine[Any, Any, None]) -> None:
    """Run all of it until one ends, which ends the others. Raises what it raised."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
