"""Loopback platform servers: what to test an adapter against, without an account, a network or a platform's library.

A server is started in the test's own event loop, on a free port of 127.0.0.1, and speaks the platform's protocol to any
client, the unmodified libraries included. Beside it stand people, who write and read, and faults on demand. Each
package's docstring shows how it is used.

- `adapters.testing.conformance`: the suite that any adapter must pass, run through the whole gateway.
- `adapters.testing.discord`: Discord's REST API and gateway.
- `adapters.testing.slack`: Slack's Web API, Socket Mode and request URLs.
- `adapters.testing.telegram`: the Telegram Bot API.
"""

from adapters.testing.discord import DiscordServer
from adapters.testing.slack import SlackServer
from adapters.testing.telegram import TelegramServer

__all__ = ["DiscordServer", "SlackServer", "TelegramServer"]
