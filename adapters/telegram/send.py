"""What goes out: messages, files, edits, drafts, the sign that something is being written."""

import io
import logging
import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

from telegram import (
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    InputFile,
    LinkPreviewOptions,
    Message,
    MessageEntity,
    ReplyParameters,
)
from telegram.constants import ChatAction
from telegram.error import TelegramError

from adapters.base import AdapterHost, Delivery, MediaKind, OutgoingFile, Target, UndeliverableError
from adapters.markup.telegram import TelegramMessage
from adapters.memory import Memory
from adapters.telegram.client import CallError, Client, NotSentError
from adapters.telegram.compose import TextFile, caption_of, marked
from adapters.telegram.constants import DRAFT_REFUSALS, MAX_CALLBACK_BYTES
from adapters.telegram.failures import (
    NOT_FOUND,
    NOT_MODIFIED,
    delivery_error,
    has_no_drafts,
    is_too_long,
    refuses_entities,
    refuses_form,
    refuses_token,
)
from adapters.telegram.files import opened
from adapters.telegram.normalise import BELOW, DIRECT, GENERAL

log = logging.getLogger(__name__)

T = TypeVar("T")

DRAFT_IDS: Final = 2**31 - 1
"""Drafts are told apart by a positive 32-bit number (https://core.telegram.org/bots/api#sendmessagedraft)."""

_PLAIN: Final = (MediaKind.DOCUMENT, MediaKind.STICKER)
"""What goes out as a file."""


class Sender:
    """Makes the calls that people see something of. Every method raises `DeliveryError`.

    `lost` is told of a call that could not leave. `previews`: whether a link in a message is shown with a preview of
    its page.
    """

    def __init__(self, client: Client, host: AdapterHost, lost: Callable[[], None], *, previews: bool) -> None:
        self._client = client
        self._bot = client.bot
        self._host = host
        self._lost = lost
        self._preview = LinkPreviewOptions(is_disabled=not previews)
        self._no_drafts: Memory[str, bool] = Memory()
        self._refused: Memory[str, int] = Memory()
        """Drafts refused in a row, by chat."""
        self._drafts = True

    async def send(self, delivery: Delivery) -> str:
        """Show the delivery's part as a new message; returns its id."""
        return str(await self._told(self._send(delivery), delivery.target))

    async def edit(self, delivery: Delivery) -> None:
        """Make the message show the delivery's part. A file stays as it is: it is made of a complete text."""
        if isinstance(delivery.content, TelegramMessage):
            await self._told(self._edit(delivery, delivery.content), delivery.target)

    async def delete(self, delivery: Delivery) -> None:
        """Take the message away."""
        await self._told(self._delete(delivery), delivery.target)

    async def typing(self, target: Target) -> None:
        """Show for five seconds that something is being written. In a forum's General topic nobody sees it unless that
        is named, though a message that names it is refused (https://github.com/openclaw/openclaw/pull/848). For the
        direct messages of a channel there is no such sign: the method takes none of their topics
        (https://core.telegram.org/bots/api#sendchataction)."""
        if topic_of_direct(target) is not None:
            return
        thread = int(GENERAL) if target.thread_id == GENERAL else _thread(target)
        call = self._bot.send_chat_action(_chat(target), ChatAction.TYPING, message_thread_id=thread)
        await self._told(call, target)

    async def draft(self, delivery: Delivery) -> bool:
        """Show the part as a draft; False where the chat, or the server, has none."""
        chat_id = delivery.target.chat_id
        content = delivery.content
        if not self._drafts or chat_id.startswith(("-", "@")) or chat_id in self._no_drafts:
            return False
        if not isinstance(content, TelegramMessage):
            return False
        try:
            await self._told(self._draft(delivery, content), delivery.target)
        except UndeliverableError:
            if self._refuses_drafts(chat_id):
                return False
            raise
        self._refused.pop(chat_id, None)
        return chat_id not in self._no_drafts and self._drafts

    async def _draft(self, delivery: Delivery, message: TelegramMessage) -> None:
        """Show a draft. Where there are none, now or ever, that is noted."""
        try:
            await self._show_draft(delivery, message)
        except CallError as error:
            if has_no_drafts(error):
                log.info("there are no drafts in chat %s: %s", delivery.target.chat_id, error.message)
                self._drafts = error.code != NOT_FOUND
                self._no_drafts[delivery.target.chat_id] = True
            elif refuses_entities(error):
                await self._show_draft(delivery, TelegramMessage(message.text))
            else:
                raise

    async def _show_draft(self, delivery: Delivery, message: TelegramMessage) -> None:
        await self._bot.send_message_draft(
            int(delivery.target.chat_id),
            _draft_id(delivery),
            message.text,
            message_thread_id=_thread(delivery.target),
            entities=_entities(message),
        )

    def _refuses_drafts(self, chat_id: str) -> bool:
        """One version of a text that is refused says nothing about the next; several in a row do about this text."""
        refused = self._refused[chat_id] = self._refused.get(chat_id, 0) + 1
        if refused >= DRAFT_REFUSALS:
            del self._refused[chat_id]
        return refused >= DRAFT_REFUSALS

    async def _told(self, call: Awaitable[T], target: Target) -> T:
        """The result of a call, its error in the words of the core."""
        try:
            return await call
        except TelegramError as error:
            if isinstance(error, NotSentError) or refuses_token(error):
                self._lost()
            # Without its cause, which may hold the address of the call, and so the token.
            raise await delivery_error(error, target, self._host) from None

    # --- messages --------------------------------------------------------------------------------------------

    async def _send(self, delivery: Delivery) -> int:
        match delivery.content:
            case TelegramMessage() as message:
                return await self._message(delivery, message)
            case TextFile() as text:
                return await self._text_file(delivery, text)
            case OutgoingFile() as file:
                return await self._file(delivery, file)
        raise UndeliverableError(f"Telegram has no form for a {type(delivery.content).__name__}")

    async def _message(self, delivery: Delivery, message: TelegramMessage) -> int:
        shown = marked(message) if delivery.repeated else message
        try:
            return await self._show(delivery, shown)
        except CallError as error:
            if refuses_entities(error):
                log.warning("the looks of delivery %d are refused, it goes out as plain text: %s", delivery.id, error)
                return await self._show(delivery, TelegramMessage(shown.text))
            if is_too_long(error):
                log.warning("a part of delivery %d is refused as too long, it goes out as a file", delivery.id)
                return await self._text_file(delivery, TextFile(message.text))
            raise

    async def _show(self, delivery: Delivery, message: TelegramMessage) -> int:
        sent = await self._bot.send_message(
            _chat(delivery.target),
            message.text,
            entities=_entities(message),
            link_preview_options=self._preview,
            **self._around(delivery),
        )
        return sent.message_id

    async def _edit(self, delivery: Delivery, message: TelegramMessage) -> None:
        shown = marked(message) if delivery.repeated else message
        try:
            await self._change(delivery, shown)
        except CallError as error:
            if not refuses_entities(error):
                raise
            log.warning("the looks of delivery %d are refused, it is shown as plain text: %s", delivery.id, error)
            await self._change(delivery, TelegramMessage(shown.text))

    async def _change(self, delivery: Delivery, message: TelegramMessage) -> None:
        try:
            await self._bot.edit_message_text(
                message.text,
                chat_id=_chat(delivery.target),
                message_id=_number(delivery),
                entities=_entities(message),
                link_preview_options=self._preview,
                reply_markup=keyboard(delivery),
            )
        except CallError as error:
            if not error.says(NOT_MODIFIED):
                raise

    async def _delete(self, delivery: Delivery) -> None:
        try:
            await self._bot.delete_message(_chat(delivery.target), _number(delivery))
        except CallError as error:
            if not error.says("message to delete not found"):
                raise

    # --- files -----------------------------------------------------------------------------------------------

    async def _text_file(self, delivery: Delivery, file: TextFile) -> int:
        document = InputFile(io.BytesIO(file.text.encode()), filename=file.name)
        return await self._with_caption(
            "", delivery, lambda around: self._bot.send_document(_chat(delivery.target), document, **around)
        )

    async def _file(self, delivery: Delivery, file: OutgoingFile) -> int:
        async with opened(file) as (handle, kind):
            upload = InputFile(handle, filename=file.name, read_file_handle=False)
            upload.mimetype = file.media_type
            chat = _chat(delivery.target)
            return await self._with_caption(
                file.caption, delivery, lambda around: self._upload(chat, kind, upload, around)
            )

    async def _with_caption(
        self, text: str, delivery: Delivery, send: Callable[[Mapping[str, Any]], Awaitable[Message]]
    ) -> int:
        """Send a file; if the looks of its caption are refused, with a plain one."""
        caption, around = caption_of(text, repeated=delivery.repeated), self._around(delivery)
        looks = {"caption": caption.text or None, "caption_entities": _entities(caption)}
        try:
            sent = await send(around | looks)
        except CallError as error:
            if not refuses_entities(error):
                raise
            log.warning("the looks of the caption of delivery %d are refused: %s", delivery.id, error)
            sent = await send(around | {"caption": looks["caption"]})
        return sent.message_id

    async def _upload(self, chat: int | str, kind: MediaKind, upload: InputFile, around: Mapping[str, Any]) -> Message:
        """A picture, sound or film; as a file, in which form everything arrives, where Telegram does not take it."""
        if kind in _PLAIN:
            return await self._bot.send_document(chat, upload, **around)
        try:
            return await self._in_form(chat, kind, upload, around)
        except CallError as error:
            if not refuses_form(error):
                raise
            log.info("%s is refused as %s and goes out as a file: %s", upload.filename, kind, error)
            return await self._bot.send_document(chat, upload, **around)

    async def _in_form(self, chat: int | str, kind: MediaKind, upload: InputFile, around: Mapping[str, Any]) -> Message:
        match kind:
            case MediaKind.IMAGE:
                return await self._bot.send_photo(chat, upload, **around)
            case MediaKind.VOICE:
                return await self._bot.send_voice(chat, upload, **around)
            case MediaKind.AUDIO:
                return await self._bot.send_audio(chat, upload, **around)
        return await self._bot.send_video(chat, upload, **around)

    def _around(self, delivery: Delivery) -> dict[str, Any]:
        """Where a new message goes, what it answers, and what can be pressed below it."""
        return {
            "message_thread_id": _thread(delivery.target),
            "direct_messages_topic_id": topic_of_direct(delivery.target),
            "reply_parameters": _reply(delivery),
            "reply_markup": keyboard(delivery),
        }


def keyboard(delivery: Delivery) -> InlineKeyboardMarkup | None:
    """The delivery's buttons, but for those whose command is longer than Telegram keeps."""
    rows = [
        [
            InlineKeyboardButton(button.label, callback_data=button.command)
            for button in row
            if 1 <= len(button.command.encode()) <= MAX_CALLBACK_BYTES and button.label
        ]
        for row in delivery.buttons
    ]
    rows = [row for row in rows if row]
    return InlineKeyboardMarkup(rows) if rows else None


def _draft_id(delivery: Delivery) -> int:
    """One number for all versions of a part, which Telegram then lets grow on the screen."""
    return zlib.crc32(f"{delivery.id} {delivery.turn_id} {delivery.part}".encode()) % DRAFT_IDS + 1


def _chat(target: Target) -> int | str:
    if target.chat_id.startswith("@"):
        return target.chat_id
    try:
        return int(target.chat_id)
    except ValueError:
        raise UndeliverableError(
            f"{target.chat_id!r} is no chat of Telegram: ids are numbers, names begin with @"
        ) from None


def _thread(target: Target) -> int | None:
    """A forum's General topic is written to as if there were none; in a private chat that number is a topic's."""
    if not target.thread_id or (target.thread_id == GENERAL and target.chat_id.startswith("-")):
        return None
    if _below(target) is not None or topic_of_direct(target) is not None:
        return None
    if not target.thread_id.isdigit():
        raise UndeliverableError(f"{target.thread_id!r} is no topic of Telegram: ids are numbers")
    return int(target.thread_id)


def _below(target: Target) -> int | None:
    """The message that everything in this place answers, so that it is seen there."""
    return _behind(BELOW, target.thread_id)


def topic_of_direct(target: Target) -> int | None:
    """The topic of a channel's direct messages that the place is. Whatever is sent has to name it
    (https://core.telegram.org/bots/api#sendmessage)."""
    return _behind(DIRECT, target.thread_id)


def _behind(prefix: str, thread: str | None) -> int | None:
    number = (thread or "").removeprefix(prefix)
    return int(number) if number != thread and number.isdigit() else None


def _number(delivery: Delivery) -> int:
    if delivery.message_id is None or not delivery.message_id.isdigit():
        raise UndeliverableError(f"{delivery.message_id} is no message of Telegram")
    return int(delivery.message_id)


def _reply(delivery: Delivery) -> ReplyParameters | None:
    """In a group the first part answers the message that asked, and where only answers are seen, each does; between two
    people that needs no saying."""
    if not delivery.target.chat_id.startswith("-"):
        return None
    asked = [int(message_id) for message_id in delivery.answers if message_id.isdigit() and not delivery.part]
    answered = asked[-1] if asked else _below(delivery.target)
    return None if answered is None else ReplyParameters(answered, allow_sending_without_reply=True)


def _entities(message: TelegramMessage) -> list[MessageEntity]:
    return [
        MessageEntity(each.type, each.offset, each.length, url=each.url, language=each.language)
        for each in message.entities
    ]
