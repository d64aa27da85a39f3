"""What a bot composes: text with entities, keyboards, and where in a chat a message goes. All checked."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from adapters.testing.telegram.accounts import Json
from adapters.testing.telegram.chat import Chat
from adapters.testing.telegram.errors import bad_request
from adapters.testing.telegram.formatting import parsed
from adapters.testing.telegram.message import Message
from adapters.testing.telegram.requests import Request
from adapters.testing.telegram.text import check_entities, trimmed, utf16_length, with_found

MAX_CALLBACK_DATA = 64
"""Bytes (https://core.telegram.org/bots/api#inlinekeyboardbutton)."""
BUTTON_ACTIONS = frozenset(
    {
        "url",
        "callback_data",
        "web_app",
        "login_url",
        "switch_inline_query",
        "switch_inline_query_current_chat",
        "switch_inline_query_chosen_chat",
        "copy_text",
        "callback_game",
        "pay",
    }
)
KEYBOARDS = ("inline_keyboard", "keyboard", "remove_keyboard", "force_reply")

Note = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message goes: a topic, and the message that it answers."""

    thread: int | None = None
    reply_to: Message | None = None
    quote: Json | None = None


def formatted(
    source: Request | Json, limit: int, note: Note, *, text: str = "text", entities: str = "entities"
) -> tuple[str, tuple[Json, ...]]:
    """Text and entities after parsing; `entities` are ignored where there is a parse mode.

    Raises `ApiError` for what the server refuses; what it tolerates is noted.
    """
    values = source if isinstance(source, dict) else _values(source, text, entities)
    body = str(values.get(text) or "")
    if values.get("parse_mode"):
        body, raw = parsed(body, str(values["parse_mode"]))
    else:
        raw = [] if values.get(entities) is None else values[entities]
    kept, complaints = check_entities(body, raw)
    for complaint in complaints:
        note(f"entities: {complaint}")
    body, kept = trimmed(body, kept)
    if utf16_length(body) > limit:
        raise bad_request("message is too long" if text == "text" else "message caption is too long")
    return body, with_found(body, kept)


def _values(request: Request, text: str, entities: str) -> Json:
    return {
        text: request.text(text),
        entities: request.object(entities),
        "parse_mode": request.text("parse_mode"),
    }


def keyboard(request: Request) -> Json | None:
    """The `reply_markup`. Raises `ApiError`."""
    markup = request.object("reply_markup")
    if markup is None:
        return None
    if not isinstance(markup, dict):
        raise bad_request("object expected as reply markup")
    if not any(name in markup for name in KEYBOARDS):
        return None
    rows = markup.get("inline_keyboard")
    if rows is None:
        return markup
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise bad_request('can\'t parse inline keyboard: field "inline_keyboard" must be an Array of Arrays')
    kept = [[_button(button) for button in row] for row in rows if row]
    return {"inline_keyboard": kept} if kept else None


def _button(button: Any) -> Json:  # noqa: ANN401
    if not isinstance(button, dict) or not button.get("text"):
        raise bad_request("can't parse inline keyboard button: Can't find field \"text\"")
    if not BUTTON_ACTIONS & set(button):
        raise bad_request("can't parse inline keyboard button: Text buttons are unallowed in the inline keyboard")
    data = button.get("callback_data")
    if data is not None and not 1 <= len(str(data).encode()) <= MAX_CALLBACK_DATA:
        raise bad_request("BUTTON_DATA_INVALID")
    return button


def preview(request: Request) -> Json | None:
    """The `link_preview_options`."""
    options = request.object("link_preview_options")
    if options is not None and not isinstance(options, dict):
        raise bad_request("can't parse link preview options: expected an Object")
    return options or None


def place(request: Request, chat: Chat) -> Place:
    """Where the message goes. Raises `ApiError` for a topic or an answered message that is not there."""
    named = "direct_messages_topic_id" if chat.direct else "message_thread_id"
    thread = _thread(request.integer(named), chat)
    if chat.direct and thread is None:
        raise bad_request("Channel direct messages topic must be specified")
    parameters = request.object("reply_parameters")
    if parameters is None:
        answered = request.integer("reply_to_message_id")
        parameters = {} if answered is None else {"message_id": answered}
        parameters |= {"allow_sending_without_reply": request.flag("allow_sending_without_reply")}
    if not isinstance(parameters, dict):
        raise bad_request("can't parse reply parameters: expected an Object")
    if parameters.get("message_id") is None:
        return Place(thread)
    message = chat.find(request.bot.id, _message_id(parameters))
    if message is None:
        if parameters.get("allow_sending_without_reply"):
            return Place(thread)
        raise bad_request("message to be replied not found")
    return Place(thread, message, _quote(parameters, message))


def _message_id(parameters: Json) -> int:
    try:
        return int(parameters["message_id"])
    except (TypeError, ValueError):
        raise bad_request('can\'t parse reply parameters: field "message_id" must be of type Number') from None


def _thread(thread: int | None, chat: Chat) -> int | None:
    if thread is None or thread == 0:
        return None
    topic = chat.topics.get(thread)
    if topic is None:
        raise bad_request("message thread not found")
    if topic.closed:
        raise bad_request("TOPIC_CLOSED")
    return thread


def _quote(parameters: Json, message: Message) -> Json | None:
    """A quote is a part of the answered text, word for word (https://core.telegram.org/bots/api#replyparameters)."""
    quote = str(parameters.get("quote") or "")
    if not quote:
        return None
    found = message.text.find(quote)
    if found < 0:
        raise bad_request("QUOTE_TEXT_INVALID")
    return {"text": quote, "position": utf16_length(message.text[:found])}
