"""A loopback Discord, for whoever writes or tests an adapter: REST v10, the gateway, the CDN.

    async with DiscordServer() as server:
        discord.http.Route.BASE = server.api_url
        DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(server.gateway_url)
        ann = server.person("ann")
        guild = server.guild("Team", ann)
        general = server.channel(guild, "general")
        ann.writes(general, f"{server.bot.mention} hello")
        ...
        await server.until(lambda: server.shown(general, by=server.bot))

It answers as the real one does, as far as a bot can tell; where a rule is documented, the docstring beside it has the
address. What a test sees that a bot does not:

- `server.shown(channel)`: the messages as people see them; `message.texts` is everything that one has shown. All that
  was ever sent is in `channel.messages`, so that what was lost, and what was repeated, can be counted. `channel.typing`
  and `message.reactions` hold what passes; an `Interaction` (of `ann.uses(…)`, `ann.presses(…)`) tells how it was
  answered.
- `server.requests`: every request with its time, its body, whether it was accepted, and its answer;
  `server.gateway.received`: every frame from a client; `server.gateway.dispatched`: every event to one.
- `server.violations`: what bots did wrong: not waiting for `retry_after`, no heartbeat, IDENTIFY too often.
- `server.inject(Fault.drop(), "create_message")`: faults, by route, channel and count; `server.gate("create_message")`
  holds a request between accepting and answering, so that a test can kill its client there.
- `server.gateway`: `close(code)`, `cut`, `half_open`, `stop_acknowledging`, `ask_to_reconnect`, `invalidate`, `forget`,
  `refuse_next(code)`; `server.gateway.mishaps`: duplicates (`repeat`), wrong order (`reverse`).
- `server.stop()` and `server.start()`: an outage; the port, the state and the sessions stay. What people write while a
  bot has no session is in the history only.

What it leaves out: voice, presence, sharding, stickers, polls, forwarding, pins, bulk deletion, webhooks' own routes,
context menus and autocompletion, sending in more than one application, the slow mode of channels, and zstd compression
(a client that asks for it gets text, and reads it).
"""

from adapters.testing.discord.accounts import Bot, User
from adapters.testing.discord.channel import Channel, ChannelType, Guild, Member, Role, ThreadState
from adapters.testing.discord.errors import ApiError
from adapters.testing.discord.files import Attachment, File
from adapters.testing.discord.gateway import CloseCode, Connection, Gateway, Opcode, Received
from adapters.testing.discord.intents import ALL as ALL_INTENTS
from adapters.testing.discord.intents import PRIVILEGED, Intents
from adapters.testing.discord.interactions import CallbackType, Interaction, InteractionType
from adapters.testing.discord.limits import DEFAULT_ROUTES, RateLimits, RouteLimit
from adapters.testing.discord.message import Content, Message, MessageFlags, MessageType, Version
from adapters.testing.discord.people import Person, Webhook
from adapters.testing.discord.permissions import Permission
from adapters.testing.discord.requests import Request, RequestLog, Upload
from adapters.testing.discord.server import DiscordServer
from adapters.testing.discord.sessions import Dispatch, Mishaps, Session
from adapters.testing.discord.snowflakes import seconds_of, snowflake_at
from adapters.testing.faults import Fault, FaultRule, Gate

__all__ = [
    "ALL_INTENTS",
    "DEFAULT_ROUTES",
    "PRIVILEGED",
    "ApiError",
    "Attachment",
    "Bot",
    "CallbackType",
    "Channel",
    "ChannelType",
    "CloseCode",
    "Connection",
    "Content",
    "DiscordServer",
    "Dispatch",
    "Fault",
    "FaultRule",
    "File",
    "Gate",
    "Gateway",
    "Guild",
    "Intents",
    "Interaction",
    "InteractionType",
    "Member",
    "Message",
    "MessageFlags",
    "MessageType",
    "Mishaps",
    "Opcode",
    "Permission",
    "Person",
    "RateLimits",
    "Received",
    "Request",
    "RequestLog",
    "Role",
    "RouteLimit",
    "Session",
    "ThreadState",
    "Upload",
    "User",
    "Version",
    "Webhook",
    "seconds_of",
    "snowflake_at",
]
