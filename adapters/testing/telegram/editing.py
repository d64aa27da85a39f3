"""The methods that change what is shown: edits, deletions, reactions, and answers to a pressed button."""

from collections.abc import Mapping
from dataclasses import replace

from adapters.testing.telegram.accounts import Json
from adapters.testing.telegram.chat import Chat, ChatKind
from adapters.testing.telegram.composing import formatted, keyboard, preview
from adapters.testing.telegram.errors import NOT_MODIFIED, bad_request
from adapters.testing.telegram.message import Content, Message
from adapters.testing.telegram.method import Call, Method
from adapters.testing.telegram.sending import open_chat
from adapters.testing.telegram.text import MAX_CAPTION, MAX_TEXT
from adapters.testing.telegram.view import message_object

DELETABLE = 48 * 3600.0
"""For how long a bot may delete a message, in seconds (https://core.telegram.org/bots/api#deletemessage)."""
MAX_NOTICE = 200
"""Characters of a notice after a button (https://core.telegram.org/bots/api#answercallbackquery)."""
EMOJI = (
    "👍 👎 ❤ 🔥 🥰 👏 😁 🤔 🤯 😱 🤬 😢 🎉 🤩 🤮 💩 🙏 👌 "
    "🕊 🤡 🥱 🥴 😍 🐳 ❤\u200d🔥 🌚 🌭 💯 🤣 ⚡ 🍌 🏆 💔 🤨 😐 🍓 "
    "🍾 💋 🖕 😈 😴 😭 🤓 👻 👨\u200d💻 👀 🎃 🙈 😇 😨 🤝 ✍ 🤗 🫡 "
    "🎅 🎄 ☃ 💅 🤪 🗿 🆒 💘 🙉 🦄 😘 💊 🙊 😎 👾 🤷\u200d♂ 🤷 🤷\u200d♀ "
    "😡 "
)
REACTIONS = frozenset(EMOJI.split())
"""https://core.telegram.org/bots/api#reactiontypeemoji; variation selectors are not counted."""


def _own(call: Call) -> Message:
    """The message that a request is about: the bot's own, or one that it may edit. Raises `ApiError`."""
    request = call.request
    if request.parameters.get("inline_message_id"):
        raise bad_request("MESSAGE_ID_INVALID")
    chat = open_chat(call)
    number = request.integer("message_id", 0) or 0
    if number <= 0:
        raise bad_request("message identifier is not specified")
    message = chat.find(request.bot.id, number)
    if message is None:
        raise bad_request("message to edit not found")
    markup = message.content.markup
    if (
        not (message.sender.id == request.bot.id or _may_edit_others(call, chat))
        or message.content.service is not None
        or (markup is not None and "inline_keyboard" not in markup)
    ):
        raise bad_request("message can't be edited")
    return message


def _may_edit_others(call: Call, chat: Chat) -> bool:
    """`can_edit_messages`, which administrators have in channels alone
    (https://core.telegram.org/bots/api#chatadministratorrights)."""
    return chat.kind is ChatKind.CHANNEL and chat.bots.get(call.request.bot.id) == "administrator"


def _change(call: Call, message: Message, content: Content) -> Json:
    if content == message.content:
        raise bad_request(NOT_MODIFIED)
    call.world.revise(message, content)
    return message_object(message, call.request.bot.id)


def edit_message_text(call: Call) -> Json:
    """https://core.telegram.org/bots/api#editmessagetext; a keyboard that is not sent again goes away."""
    message = _own(call)
    text, entities = formatted(call.request, MAX_TEXT, call.note)
    if not text:
        raise bad_request("message text is empty")
    if message.content.media is not None:
        raise bad_request("there is no text in the message to edit")
    return _change(call, message, Content(text, entities, markup=keyboard(call.request), preview=preview(call.request)))


def edit_message_caption(call: Call) -> Json:
    """https://core.telegram.org/bots/api#editmessagecaption"""
    message = _own(call)
    if message.content.media is None or "location" in message.content.media:
        raise bad_request("there is no caption in the message to edit")
    text, entities = formatted(call.request, MAX_CAPTION, call.note, text="caption", entities="caption_entities")
    return _change(call, message, replace(message.content, text=text, entities=entities, markup=keyboard(call.request)))


def edit_message_reply_markup(call: Call) -> Json:
    """https://core.telegram.org/bots/api#editmessagereplymarkup

    What it answers for a message of the bot that has no keyboard, with no keyboard given, is observed behaviour: it is
    not modified.
    """
    message = _own(call)
    return _change(call, message, replace(message.content, markup=keyboard(call.request)))


def delete_message(call: Call) -> bool:
    """https://core.telegram.org/bots/api#deletemessage"""
    chat, request = open_chat(call), call.request
    message = chat.find(request.bot.id, request.integer("message_id", 0) or 0)
    if message is None:
        raise bad_request("message to delete not found")
    own = message.sender.id == request.bot.id
    may = own or chat.is_private or chat.bots.get(request.bot.id) == "administrator"
    if not may or call.world.clock() - message.sent_at > DELETABLE:
        raise bad_request("message can't be deleted for everyone" if may else "message can't be deleted")
    message.deleted_at = call.world.clock()
    call.world.changes.note()
    return True


def set_message_reaction(call: Call) -> bool:
    """https://core.telegram.org/bots/api#setmessagereaction"""
    chat, request = open_chat(call), call.request
    message = chat.find(request.bot.id, request.integer("message_id", 0) or 0)
    if message is None:
        raise bad_request("message to react not found")
    emoji = tuple(_emoji(each) for each in request.objects("reaction"))
    if len(emoji) > 1:
        raise bad_request("REACTIONS_TOO_MANY")
    if message.content.service is not None:
        raise bad_request("REACTION_INVALID")
    message.reactions[request.bot.id] = emoji
    call.world.changes.note()
    return True


def _emoji(reaction: Json) -> str:
    emoji = str(reaction.get("emoji", ""))
    if reaction.get("type") != "emoji" or emoji.replace("\ufe0f", "") not in REACTIONS:
        raise bad_request("REACTION_INVALID")
    return emoji


def answer_callback_query(call: Call) -> bool:
    """https://core.telegram.org/bots/api#answercallbackquery"""
    request, world = call.request, call.world
    number = request.text("callback_query_id")
    callback = world.callbacks.get(number)
    if callback is None or callback.bot.id != request.bot.id or number in world.callback_answers:
        raise bad_request("query is too old and response timeout expired or query ID is invalid")
    if len(request.text("text")) > MAX_NOTICE:
        raise bad_request("MESSAGE_TOO_LONG")
    world.callback_answers[number] = {"text": request.text("text"), "show_alert": request.flag("show_alert")}
    world.changes.note()
    return True


METHODS: Mapping[str, Method] = {
    "editMessageText": edit_message_text,
    "editMessageCaption": edit_message_caption,
    "editMessageReplyMarkup": edit_message_reply_markup,
    "deleteMessage": delete_message,
    "setMessageReaction": set_message_reaction,
    "answerCallbackQuery": answer_callback_query,
}
