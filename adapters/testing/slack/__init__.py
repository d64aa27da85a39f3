"""A loopback Slack, for whoever writes or tests an adapter.

    async with SlackServer() as server:
        web = AsyncWebClient(token=server.bot.token, base_url=server.api_url)
        client = SocketModeClient(app_token=server.app.token, web_client=web)
        await client.connect()
        ann = server.person("Ann")
        general = server.channel("general", ann)
        ann.writes(general, "hello @hermes")
        ...
        await server.until(lambda: server.shown(general, by=server.bot))

It answers as Slack does, as far as an app can tell; where a rule is documented, the docstring beside it has the
address. Events go over Socket Mode (`server.app.socket_mode`), or signed to the addresses in `server.events.urls`.
What a test sees that an app does not:

- `server.shown(channel)`: the messages as people see them; `message.text` is what they read, `message.texts` all they
  have read, and `message.notified` whom it called. All that was ever sent is in `channel.messages`, so that what was
  lost, and what was repeated, can be counted; `channel.ephemerals`, `channel.statuses` and `channel.panes` hold the
  rest.
- `server.requests`: every request with its time, its parameters, whether it was accepted, and its answer.
- `server.events.all`: everything that the app was sent, each with its attempts and when they were acknowledged.
- `server.violations`: what apps did wrong and are not told: not waiting for `Retry-After`, acknowledging too late.
- `server.inject(Fault.drop(), "chat.postMessage")`: faults, by method, channel and count;
  `server.gate("chat.postMessage")` holds a request between accepting and answering, so that a test can kill its client
  there.
- `server.events`: duplicates (`repeat`), losses (`lose`), wrong order (`hold`, `release`).
- `server.events.sockets`: `disconnect` with its reasons, `abort`, `freeze` (half-open).
- `server.stop()` and `server.start()`: an outage; the port and the state stay.

What people do reaches the app from the running event loop, so call it from a coroutine. A workspace without native
streaming is `server.inject(Fault.error(200, "channel_type_not_supported"), "chat.startStream", times=None)`.

What it leaves out: Enterprise organisations, shared channels, OAuth, user tokens, scheduled messages, user groups,
canvases, lists, workflows, search, dynamic menus, presses of buttons in ephemeral messages, and previews of links
unless a test adds one.
"""

from adapters.testing.faults import Fault, FaultRule, Gate
from adapters.testing.slack.accounts import BOT_EVENTS, BOT_SCOPES, App, Bot, Profile, Team
from adapters.testing.slack.channel import AssistantThread, Channel, ChannelKind, Ephemeral, Status
from adapters.testing.slack.delivery import Attempt, DeliveryRules, Envelope, EnvelopeKind, Feed
from adapters.testing.slack.errors import ApiError
from adapters.testing.slack.files import Upload
from adapters.testing.slack.interactions import Interaction
from adapters.testing.slack.limits import RateLimits
from adapters.testing.slack.message import Content, Message, Version
from adapters.testing.slack.people import Person
from adapters.testing.slack.request_urls import signed_headers
from adapters.testing.slack.requests import Request, RequestLog
from adapters.testing.slack.server import SlackServer
from adapters.testing.slack.sockets import Connection
from adapters.testing.slack.workspace import Workspace

__all__ = [
    "BOT_EVENTS",
    "BOT_SCOPES",
    "ApiError",
    "App",
    "AssistantThread",
    "Attempt",
    "Bot",
    "Channel",
    "ChannelKind",
    "Connection",
    "Content",
    "DeliveryRules",
    "Envelope",
    "EnvelopeKind",
    "Ephemeral",
    "Fault",
    "FaultRule",
    "Feed",
    "Gate",
    "Interaction",
    "Message",
    "Person",
    "Profile",
    "RateLimits",
    "Request",
    "RequestLog",
    "SlackServer",
    "Status",
    "Team",
    "Upload",
    "Version",
    "Workspace",
    "signed_headers",
]
