"""The methods that show something new: messages, files, albums, places, drafts, and that the bot is busy."""

from collections.abc import Mapping
from typing import Any

from adapters.testing.telegram.accounts import Json
from adapters.testing.telegram.chat import GENERAL_TOPIC, Action, Chat, Draft
from adapters.testing.telegram.composing import Place, formatted, keyboard, place, preview
from adapters.testing.telegram.errors import ApiError, bad_request
from adapters.testing.telegram.files import KINDS, MAX_PHOTO, MAX_UPLOAD, Media, StoredFile, media_object
from adapters.testing.telegram.message import Content, Message
from adapters.testing.telegram.method import Call, Method
from adapters.testing.telegram.requests import Request, Upload
from adapters.testing.telegram.text import MAX_CAPTION, MAX_TEXT
from adapters.testing.telegram.view import message_object

ACTIONS = frozenset(
    {
        "typing",
        "upload_photo",
        "record_video",
        "upload_video",
        "record_voice",
        "upload_voice",
        "upload_document",
        "choose_sticker",
        "find_location",
        "record_video_note",
        "upload_video_note",
    }
)
"""https://core.telegram.org/bots/api#sendchataction"""
ALBUM = range(2, 11)
"""How many files an album has (https://core.telegram.org/bots/api#sendmediagroup)."""
ALBUM_KINDS = ({"photo", "video"}, {"document"}, {"audio"})
ATTACHED = "attach://"


def open_chat(call: Call) -> Chat:
    """The chat of a request, if the bot may write there. Raises `ApiError`."""
    chat = call.world.chat_of(call.request.bot, call.request.chat_id)
    chat.refuse_stranger(call.request.bot.id)
    return chat


def _show(call: Call, chat: Chat, content: Content, where: Place, album: str | None = None) -> Message:
    return call.world.post(
        chat,
        call.request.bot.profile,
        content,
        thread=where.thread,
        reply_to=where.reply_to,
        quote=where.quote,
        album=album,
    )


def _shown(call: Call, content: Content) -> Json:
    chat = open_chat(call)
    message = _show(call, chat, content, place(call.request, chat))
    return message_object(message, call.request.bot.id)


def send_message(call: Call) -> Json:
    """https://core.telegram.org/bots/api#sendmessage"""
    open_chat(call)
    text, entities = formatted(call.request, MAX_TEXT, call.note)
    if not text:
        raise bad_request("message text is empty")
    return _shown(call, Content(text, entities, markup=keyboard(call.request), preview=preview(call.request)))


def _file_sender(kind: str) -> Method:
    def send(call: Call) -> Json:
        open_chat(call)
        stored = _file(call, kind, call.request.parameters.get(kind))
        return _shown(call, _captioned(call, call.request, media_object(stored), keyboard(call.request)))

    return send


def _captioned(call: Call, source: Request | Json, media: Json, markup: Json | None = None) -> Content:
    text, entities = formatted(source, MAX_CAPTION, call.note, text="caption", entities="caption_entities")
    return Content(text, entities, media, markup)


def _file(call: Call, kind: str, value: object) -> StoredFile:
    """The file of a parameter: uploaded with the request, or sent before."""
    name = str(value)[len(ATTACHED) :] if str(value or "").startswith(ATTACHED) else kind
    upload = call.request.uploads.get(name)
    if upload is not None:
        return call.world.files.add(_taken(kind, upload, call.request))
    if not value or str(value).startswith(ATTACHED):
        raise bad_request(f"there is no {kind.replace('_', ' ')} in the request")
    if str(value).startswith(("http://", "https://")):
        raise bad_request("failed to get HTTP URL content")
    return call.world.files.get(str(value))


def _taken(kind: str, upload: Upload, request: Request) -> Media:
    if len(upload.data) > MAX_UPLOAD:
        raise ApiError(413, "Request Entity Too Large")
    if not upload.data:
        raise bad_request("file must be non-empty")
    if kind == "photo" and len(upload.data) > MAX_PHOTO:
        raise bad_request("file is too big")
    return Media(kind, upload.data, upload.name, upload.mime, duration=request.integer("duration") or 1)


def send_location(call: Call) -> Json:
    """https://core.telegram.org/bots/api#sendlocation"""
    open_chat(call)
    location = {name: call.request.number(name) for name in ("latitude", "longitude")}
    return _shown(call, Content(media={"location": location}, markup=keyboard(call.request)))


def send_media_group(call: Call) -> list[Json]:
    """https://core.telegram.org/bots/api#sendmediagroup"""
    chat = open_chat(call)
    items = call.request.objects("media")
    if len(items) not in ALBUM:
        raise bad_request(f"media must have between {ALBUM[0]} and {ALBUM[-1]} items")
    kinds = {str(item.get("type")) for item in items}
    if not any(kinds <= together for together in ALBUM_KINDS):
        raise bad_request("Can't use the media of the specified type in the album")
    where = place(call.request, chat)
    contents = [_captioned(call, item, _item(call, item)) for item in items]
    album = str(call.world.serial("album", 13_000_000_000))
    messages = [_show(call, chat, content, where, album) for content in contents]
    return [message_object(message, call.request.bot.id) for message in messages]


def _item(call: Call, item: Mapping[str, Any]) -> Json:
    return media_object(_file(call, str(item["type"]), item.get("media")))


def send_chat_action(call: Call) -> bool:
    """https://core.telegram.org/bots/api#sendchataction; unlike a message, it may name the General topic
    (https://github.com/openclaw/openclaw/pull/848)."""
    chat = open_chat(call)
    action = call.request.text("action")
    if action not in ACTIONS:
        raise bad_request("wrong parameter action in request")
    thread = call.request.integer("message_thread_id")
    if not (chat.forum and thread == GENERAL_TOPIC):
        thread = place(call.request, chat).thread
    chat.actions.append(Action(action, call.world.clock(), thread))
    call.world.changes.note()
    return True


def send_message_draft(call: Call) -> bool:
    """https://core.telegram.org/bots/api#sendmessagedraft"""
    chat = open_chat(call)
    if not chat.is_private:
        raise bad_request("TEXTDRAFT_PEER_INVALID")
    number = call.request.integer("draft_id")
    if not number:
        raise bad_request("RANDOM_ID_INVALID")
    text, _ = formatted(call.request, MAX_TEXT, call.note)
    chat.draft = Draft(number, text, call.world.clock(), place(call.request, chat).thread)
    chat.drafts.append(chat.draft)
    call.world.changes.note()
    return True


METHODS: Mapping[str, Method] = {
    "sendMessage": send_message,
    "sendLocation": send_location,
    "sendMediaGroup": send_media_group,
    "sendChatAction": send_chat_action,
    "sendMessageDraft": send_message_draft,
    **{f"send{''.join(part.title() for part in kind.split('_'))}": _file_sender(kind) for kind in KINDS},
}
