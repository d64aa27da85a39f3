"""What a message holds: its files, and words for what is neither text nor a file."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

from telegram import (
    Checklist,
    ExternalReplyInfo,
    Location,
    Message,
    MessageOriginChannel,
    MessageOriginChat,
    MessageOriginHiddenUser,
    MessageOriginUser,
    PhotoSize,
)
from telegram.constants import ZERO_DATE

from adapters.base import Attachment, MediaKind, in_brackets

POLL_CHARS: Final = 300
"""The longest question of a poll (https://core.telegram.org/bots/api#sendpoll); titles, tasks and descriptions are
shorter."""

CONTENT: Final = frozenset(
    {
        "animation", "audio", "caption", "checklist", "contact", "dice", "document", "game", "giveaway",
        "giveaway_winners", "invoice", "live_photo", "location", "paid_media", "photo", "poll", "sticker", "story",
        "text", "venue", "video", "video_note", "voice",
    }
)  # fmt: skip
"""The fields that are something a person wrote or sent (https://core.telegram.org/bots/api#message)."""

FRAME: Final = frozenset(
    {
        "author_signature", "business_connection_id", "caption_entities", "chat", "date", "direct_messages_topic",
        "edit_date", "effect_id", "entities", "external_reply", "forward_date", "forward_from", "forward_from_chat",
        "forward_from_message_id", "forward_origin", "forward_sender_name", "forward_signature", "from",
        "has_media_spoiler", "has_protected_content", "is_automatic_forward", "is_from_offline", "is_paid_post",
        "is_topic_message", "link_preview_options", "media_group_id", "message_id", "message_thread_id",
        "paid_star_count", "quote", "reply_markup", "reply_to_checklist_task_id", "reply_to_message",
        "reply_to_poll_option_id", "reply_to_story", "sender_boost_count", "sender_business_bot", "sender_chat",
        "sender_tag", "show_caption_above_media", "suggested_post_info", "via_bot",
    }
)  # fmt: skip
"""The fields around it."""

_OPEN: Final = (None, ZERO_DATE)
"""When a task was done that is not (https://core.telegram.org/bots/api#checklisttask)."""

NAMED: Final = {
    "giveaway": "a giveaway",
    "giveaway_winners": "the winners of a giveaway",
    "paid_media": "paid media",
    "story": "a story",
}
"""Kinds of which a bot cannot be given what they hold."""

KINDS: Final = {
    "animation": "an animation",
    "audio": "music",
    "checklist": "a checklist",
    "contact": "a contact",
    "dice": "a die",
    "document": "a file",
    "game": "a game",
    "invoice": "an invoice",
    "live_photo": "a live photo",
    "location": "a place",
    "photo": "a photo",
    "poll": "a poll",
    "sticker": "a sticker",
    "venue": "a place",
    "video": "a video",
    "video_note": "a video message",
    "voice": "a voice message",
    **NAMED,
}
"""How a kind is called where it is answered."""


def is_service(fields: Iterable[str]) -> bool:
    """Whether a message only tells what happened in the chat: people who joined, a topic that was made."""
    present = set(fields)
    return not present & CONTENT and bool((present - FRAME) & set(Message.__slots__))


def attachments_in(message: Message) -> tuple[Attachment, ...]:
    """The files of a message; of a photo the largest size. A live photo is a photo and a film
    (https://core.telegram.org/bots/api#message)."""
    if message.photo:
        live = message.live_photo
        moving = () if live is None else _file(MediaKind.VIDEO, live, None, live.mime_type or "video/mp4")
        return (_photo(message.photo), *moving)
    if (animation := message.animation) is not None:
        return _file(MediaKind.VIDEO, animation, animation.file_name, animation.mime_type or "video/mp4")
    if (video := message.video) is not None:
        return _file(MediaKind.VIDEO, video, video.file_name, video.mime_type or "video/mp4")
    if (audio := message.audio) is not None:
        return _file(MediaKind.AUDIO, audio, audio.file_name, audio.mime_type or "audio/mpeg")
    if (voice := message.voice) is not None:
        return _file(MediaKind.VOICE, voice, None, voice.mime_type or "audio/ogg")
    if (note := message.video_note) is not None:
        return _file(MediaKind.VIDEO, note, None, "video/mp4")
    if (sticker := message.sticker) is not None:
        still = "application/x-tgsticker" if sticker.is_animated else "image/webp"
        return _file(MediaKind.STICKER, sticker, None, "video/webm" if sticker.is_video else still)
    if (document := message.document) is not None:
        return _file(MediaKind.DOCUMENT, document, document.file_name, document.mime_type)
    return ()


class _File(Protocol):
    @property
    def file_id(self) -> str: ...
    @property
    def file_size(self) -> int | None: ...


def _file(kind: MediaKind, file: _File, name: str | None, media_type: str | None) -> tuple[Attachment, ...]:
    return (Attachment(kind, file.file_id, name, media_type, file.file_size),)


def _photo(sizes: Iterable[PhotoSize]) -> Attachment:
    largest = max(sizes, key=lambda size: size.width * size.height)
    return Attachment(MediaKind.IMAGE, largest.file_id, None, "image/jpeg", largest.file_size)


def words_for(message: Message, fields: Mapping[str, Any]) -> list[str]:
    """What a message holds besides text and files, in words; `fields` are its own, as they came. Nothing is left out in
    silence."""
    words = []
    if message.sticker and message.sticker.emoji:
        words.append(message.sticker.emoji)
    if message.venue:
        venue = message.venue
        words.append(
            f"[place: {in_brackets(venue.title)}, {in_brackets(venue.address)} ({_coordinates(venue.location)})]"
        )
    elif message.location:
        live = "live location" if fields["location"].get("live_period") else "location"
        words.append(f"[{live}: {_coordinates(message.location)}]")
    if message.contact:
        contact = message.contact
        name = " ".join(part for part in (contact.first_name, contact.last_name) if part)
        words.append(f"[contact: {in_brackets(name)}, {in_brackets(contact.phone_number)}]")
    if message.dice:
        words.append(f"[{message.dice.emoji} shows {message.dice.value}]")
    if message.poll:
        options = "".join(f"\n- {in_brackets(option.text, POLL_CHARS)}" for option in message.poll.options)
        words.append(f"[poll: {in_brackets(message.poll.question, POLL_CHARS)}{options}]")
    if message.checklist:
        words.append(_checklist(message.checklist))
    for shown, held in (("game", message.game), ("invoice", message.invoice)):
        if held:
            words.append(f"[{shown}: {in_brackets(held.title)}, {in_brackets(held.description, POLL_CHARS)}]")
    words += [f"[{named}, which bots cannot see]" for field, named in NAMED.items() if field in fields]
    return words + _unknown(set(fields))


def _checklist(checklist: Checklist) -> str:
    """https://core.telegram.org/bots/api#checklist"""
    tasks = "".join(
        f"\n- {in_brackets(task.text, POLL_CHARS)}{' (done)' if task.completion_date not in _OPEN else ''}"
        for task in checklist.tasks
    )
    return f"[checklist: {in_brackets(checklist.title, POLL_CHARS)}{tasks}]"


def _unknown(fields: set[str]) -> list[str]:
    """Kinds that are newer than this program; a message that tells nothing at all is one that bots are not shown."""
    unknown = sorted(fields - CONTENT - FRAME - set(Message.__slots__))
    if unknown:
        return [f"[something of a kind that is not known here: {', '.join(unknown)}]"]
    return [] if fields & CONTENT else ["[a message of a kind that Telegram does not show to bots]"]


def _coordinates(location: Location) -> str:
    return f"latitude {location.latitude:.6f}, longitude {location.longitude:.6f}"


def kind_of(fields: Mapping[str, Any]) -> str:
    """What an answered message is, if it has no text."""
    return next((f"[{name}]" for field, name in KINDS.items() if fields.get(field)), "[a message]")


def origin_of(message: Message | ExternalReplyInfo) -> str | None:
    """Who wrote what is forwarded, or answered in another chat."""
    origin = message.forward_origin if isinstance(message, Message) else message.origin
    match origin:
        case MessageOriginUser():
            return origin.sender_user.full_name
        case MessageOriginHiddenUser():
            return origin.sender_user_name
        case MessageOriginChat():
            return origin.sender_chat.title
        case MessageOriginChannel():
            return origin.chat.title
        case _:
            return None
