"""A loopback Telegram Bot API server, for whoever writes or tests an adapter.

    async with TelegramServer() as server:
        bot = telegram.Bot(
            server.bot.token, base_url=f"{server.base_url}/bot", base_file_url=f"{server.base_url}/file/bot"
        )
        ann = server.person("Ann")
        chat = server.private(ann)
        ann.writes(chat, "hello")
        ...
        await server.until(lambda: server.shown(chat, by=server.bot))

It answers as the real server does, as far as a bot can tell; where a rule is documented, the docstring beside it has
the address. What a test sees that a bot does not:

- `server.shown(chat)`: the messages as people see them; `message.texts` is everything that one has shown. All that was
  ever sent is in `chat.messages`, so that what was lost, and what was repeated, can be counted. `chat.drafts`,
  `chat.actions` and `message.reactions` hold what passes.
- `server.requests`: every request with its time, its parameters, whether it was accepted, and its answer.
- `server.violations`: what bots did wrong and are not told: not waiting for `retry_after`, entities against the rules.
- `server.inject(Fault.drop(), "sendMessage")`: faults, by method, chat and count; `server.gate("sendMessage")` holds a
  request between accepting and answering, so that a test can kill its client there.
- `server.updates`: duplicates (`repeat`), wrong order (`reverse`), redelivery.
- `server.stop()` and `server.start()`: an outage; the port and the state stay.

What it leaves out: inline mode, payments, stories, business accounts, polls, forwarding and copying, managing forums
and members, a file by its address, the legacy parse mode `Markdown`, a method in the answer to a webhook, and posting
to a webhook over several connections.
"""

from adapters.testing.faults import Fault, FaultRule, Gate
from adapters.testing.telegram.accounts import Bot, Profile
from adapters.testing.telegram.chat import GENERAL_TOPIC, Action, Chat, ChatKind, Draft, Topic
from adapters.testing.telegram.errors import ApiError
from adapters.testing.telegram.files import Media
from adapters.testing.telegram.limits import FloodLimits
from adapters.testing.telegram.message import Content, Message, Version
from adapters.testing.telegram.people import Person
from adapters.testing.telegram.requests import Request, RequestLog
from adapters.testing.telegram.server import TelegramServer
from adapters.testing.telegram.updates import Update, UpdateQueue

__all__ = [
    "GENERAL_TOPIC",
    "Action",
    "ApiError",
    "Bot",
    "Chat",
    "ChatKind",
    "Content",
    "Draft",
    "Fault",
    "FaultRule",
    "FloodLimits",
    "Gate",
    "Media",
    "Message",
    "Person",
    "Profile",
    "Request",
    "RequestLog",
    "TelegramServer",
    "Topic",
    "Update",
    "UpdateQueue",
    "Version",
]
