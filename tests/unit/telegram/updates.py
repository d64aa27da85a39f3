"""Updates as Telegram sends them, and what the adapter makes of them, without a server."""

import itertools
from typing import Any, Final

from telegram import Update

from adapters.base import InboundMessage
from adapters.telegram.normalise import Accept, Action, Normaliser
from adapters.telegram.wording import Account

Json = dict[str, Any]

US: Final = Account(7, "hermes_bot")
BOT: Final[Json] = {"id": 7, "is_bot": True, "first_name": "Hermes", "username": "hermes_bot"}
ANN: Final[Json] = {"id": 11, "is_bot": False, "first_name": "Ann", "last_name": "Lee"}
PRIVATE: Final[Json] = {"id": 11, "type": "private", "first_name": "Ann", "last_name": "Lee"}
GROUP: Final[Json] = {"id": -5, "type": "group", "title": "Team"}
SUPERGROUP: Final[Json] = {"id": -1005, "type": "supergroup", "title": "Team"}
FORUM: Final[Json] = {"id": -1006, "type": "supergroup", "title": "Forum", "is_forum": True}
DIRECT: Final[Json] = {"id": -1008, "type": "supergroup", "title": "News", "is_direct_messages": True}
CHANNEL: Final[Json] = {"id": -1007, "type": "channel", "title": "News"}

_numbers = itertools.count(1)


def message(chat: Json = PRIVATE, text: str | None = None, **fields: Any) -> Json:
    """A `Message` object."""
    base: Json = {"message_id": next(_numbers), "date": 1_790_000_000, "chat": chat}
    if chat["type"] == "channel":
        base["sender_chat"] = chat
    else:
        base["from"] = ANN
    if text is not None:
        base["text"] = text
    entities = _found(text or fields.get("caption") or "")
    if entities:
        base["entities" if text is not None else "caption_entities"] = entities
    return base | fields


def _found(text: str) -> list[Json]:
    """The mentions and commands that the server finds, in texts of the Basic Multilingual Plane."""
    found, offset = [], 0
    for word in text.split(" "):
        bare = word.rstrip(",.!?:")
        if bare.startswith("@") and len(bare) > 1:
            found.append({"type": "mention", "offset": offset, "length": len(bare)})
        elif bare.startswith("/") and len(bare) > 1:
            found.append({"type": "bot_command", "offset": offset, "length": len(bare)})
        offset += len(word) + 1
    return found


def act(content: Json, kind: str = "message", normaliser: Normaliser | None = None) -> Action:
    """What is to be done about an update with this content."""
    raw = {"update_id": next(_numbers), kind: content}
    return (normaliser or Normaliser(US, require_mention=True)).action(Update.de_json(raw), raw)


def accepted(content: Json, kind: str = "message", normaliser: Normaliser | None = None) -> InboundMessage:
    """The message that it becomes."""
    action = act(content, kind, normaliser)
    assert isinstance(action, Accept), action
    return action.message
