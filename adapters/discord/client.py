"""The library's client: hands events on as they come, and holds its session in a loop of ours."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import aiohttp
import discord
from discord.gateway import DiscordWebSocket, ReconnectWebSocket

from adapters.base import AdapterState
from adapters.connection import Connection
from adapters.discord.constants import Timing
from adapters.discord.failures import CALL_ERRORS, closed_for_good, in_short

log = logging.getLogger(__name__)

INTENTS: Final = discord.Intents(guilds=True, guild_messages=True, dm_messages=True, message_content=True)
"""Of these only the content of messages is privileged."""

CACHED_MESSAGES: Final = 1_000
"""Messages that the library remembers: an edit that changes nothing is told by them."""

LONGEST_LIMIT: Final = 30.0
"""Seconds that the library waits for a rate limit; it takes no less. What lasts longer is left to the core."""

HEARTBEAT: Final = 41.25
"""Seconds between two heartbeats where the gateway names none; it did always."""

SILENT_HEARTBEATS: Final = 1.5
"""A gateway from which nothing comes for so many of its own heartbeats is gone: it has to answer each of them
(https://docs.discord.com/developers/events/gateway#heartbeat-interval)."""

LIBRARY_PATIENCE: Final = 600.0
"""Seconds after which the library itself gives up a gateway; our own watch does much sooner."""

RESUMES: Final = 5
"""How often in a row a session is gone on with before a new one is begun: the address that Discord gave for that can
answer with nothing but errors, and then nobody says that the session is over
(https://github.com/Rapptz/discord.py/issues/10511)."""

_BEGUN: Final = ("connect", "resumed")
"""Events that tell that there is a session, a new one or that before."""

Handlers = Mapping[str, Callable[..., None]]
"""What is called with an event, in the order in which events come; names as in the library, without `on_`."""


class DiscordClient(discord.Client):
    """One bot. Events reach `handlers` before the next one is read; `pace` slows its requests. Everything goes over
    `proxy`, if there is one."""

    def __init__(
        self,
        timing: Timing,
        connection: Connection,
        handlers: Handlers,
        pace: aiohttp.TraceConfig | None = None,
        proxy: str | None = None,
    ) -> None:
        super().__init__(
            intents=INTENTS,
            allowed_mentions=discord.AllowedMentions.none(),
            max_messages=CACHED_MESSAGES,
            http_trace=pace or aiohttp.TraceConfig(),
            proxy=proxy,
            max_ratelimit_timeout=LONGEST_LIMIT,
            guild_ready_timeout=timing.guilds,
            heartbeat_timeout=LIBRARY_PATIENCE,
            chunk_guilds_at_startup=False,
            enable_debug_events=False,
        )
        self._timing = timing
        self._standing = connection
        self._receivers = handlers
        self._closings: set[asyncio.Task[None]] = set()
        self._begun = 0.0
        """When the last connection was there, in seconds of the loop's clock."""
        self._soon = 0
        """How many connections, one after the other, were lost soon."""
        self._resumes = 0
        """How often, one after the other, the session was to be gone on with."""

    def dispatch(self, event: str, /, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as in the base class
        """Hand an event on. An error in a handler is logged, and keeps no event from coming."""
        if event in _BEGUN:
            self._resumes = 0
        handler = self._receivers.get(event)
        if handler is not None:
            try:
                handler(*args)
            except Exception:
                log.exception("the event %s from Discord could not be handed on", event)
        super().dispatch(event, *args, **kwargs)

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        """Keep to the rate of new sessions."""
        del shard_id
        if not initial:
            await asyncio.sleep(self._timing.identify)

    async def listen(self) -> None:
        """Hold a session until cancelled. It is resumed after whatever breaks it, where Discord lets us.

        Raises `AccountError`.
        """
        where: dict[str, Any] = {"initial": True}
        while True:
            try:
                await self._session(where)
            except ReconnectWebSocket as end:
                where = self._resumed() if end.resume else {}
                reason = "Discord asks to connect anew" if end.resume else "Discord has ended the session"
            except discord.ConnectionClosed as error:
                if (refusal := closed_for_good(error.code)) is not None:
                    raise refusal from None
                where, reason = self._resumed(), f"Discord closed the connection (code {error.code})"
            except CALL_ERRORS as error:
                where, reason = self._resumed(), f"Discord cannot be reached: {in_short(error)}"
            await self._lost(reason)

    async def _session(self, where: Mapping[str, Any]) -> None:
        """Connect, and read until the connection ends, which is always by an error."""
        async with asyncio.timeout(self._timing.handshake + self._timing.identify):
            self.ws = await DiscordWebSocket.from_client(self, **where)
        self._begun = asyncio.get_running_loop().time()
        silence = SILENT_HEARTBEATS * _heartbeat(self.ws)
        while True:
            try:
                async with asyncio.timeout(silence):
                    await self.ws.poll_event()
            except TimeoutError:
                raise TimeoutError(f"nothing came for {silence:g} s, not even a heartbeat") from None

    async def _lost(self, reason: str) -> None:
        """Rest before the next try; the first one after a good connection is made at once, but if one after the other
        is lost soon, not as fast as that goes."""
        socket, timing = self._socket, self._timing
        if socket is not None and socket.open:
            # A connection that is half gone answers no goodbye: nobody waits for it.
            task = asyncio.create_task(self._leave(socket), name="leaving a connection to Discord")
            self._closings.add(task)
            task.add_done_callback(self._closings.discard)
        if not self._standing.up:
            await self._standing.rest(AdapterState.CONNECTING, reason)
            return
        self._standing.connecting(reason)
        self._soon = self._soon + 1 if asyncio.get_running_loop().time() - self._begun < timing.steady else 0
        if self._soon > 1:
            wait = min(timing.first_wait * 2.0 ** min(self._soon - 2, 30), timing.longest_wait)
            await self._standing.rest(AdapterState.CONNECTING, reason, at_least=wait)

    async def _leave(self, socket: DiscordWebSocket) -> None:
        with contextlib.suppress(*CALL_ERRORS, discord.ConnectionClosed):
            async with asyncio.timeout(self._timing.close):
                await socket.close()

    @property
    def _socket(self) -> DiscordWebSocket | None:
        """The last connection to the gateway, if there was one."""
        socket: DiscordWebSocket | None = self.ws
        return socket

    def _resumed(self) -> dict[str, Any]:
        """How to go on with the session. Without one, or where that fails again and again, a new one is begun."""
        socket = self._socket
        self._resumes += 1
        if socket is None or socket.session_id is None or self._resumes > RESUMES:
            self._resumes = 0
            return {}
        return {
            "resume": True,
            "gateway": socket.gateway,
            "session": socket.session_id,
            "sequence": socket.sequence,
        }

    async def end(self) -> None:
        """Close every connection."""
        for task in self._closings:
            task.cancel()
        await asyncio.gather(*self._closings, return_exceptions=True)
        if self._socket is not None:
            await self._leave(self._socket)
        with contextlib.suppress(*CALL_ERRORS):
            async with asyncio.timeout(self._timing.close):
                await self.close()


def _heartbeat(socket: DiscordWebSocket) -> float:
    """Seconds between two heartbeats, as the gateway said in its greeting."""
    beating = socket._keep_alive  # noqa: SLF001 - the library tells it nowhere else
    interval = beating.interval if beating is not None else None
    return interval or HEARTBEAT


def quiet_library() -> None:
    """Keep the library from logging what the adapter tells in its own words, and addresses that hold tokens."""
    discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False
    logger = logging.getLogger("discord")
    if logger.level < logging.WARNING:
        logger.setLevel(logging.WARNING)
