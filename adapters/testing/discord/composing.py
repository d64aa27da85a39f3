"""What a bot wants a message to be: read from its request, checked, and turned into content.

https://docs.discord.com/developers/resources/message#create-message
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from adapters.testing.discord.accounts import Bot, Json
from adapters.testing.discord.channel import Channel
from adapters.testing.discord.components import check_components
from adapters.testing.discord.errors import bad_request, invalid_form, missing_permissions, too_large, too_long
from adapters.testing.discord.files import MAX_ATTACHMENTS, MAX_FILE, Attachment, File
from adapters.testing.discord.mentions import Allowed, find, read_allowed
from adapters.testing.discord.message import SYSTEM, Content, Message, MessageFlags
from adapters.testing.discord.permissions import Permission
from adapters.testing.discord.requests import Upload, snowflake
from adapters.testing.discord.shapes import mapping, number, objects, text, whole
from adapters.testing.discord.world import World

MAX_TEXT: Final = 2000
"""Characters of a message. They are counted as code points
(https://github.com/discord/discord-api-docs/issues/1315)."""
MAX_EMBEDS: Final = 10
MAX_EMBED_TOTAL: Final = 6000
"""Characters in all embeds of a message together."""
EMBED_TEXTS: Final = {"title": 256, "description": 4096}
EMBED_PARTS: Final = {"footer": ("text", 2048), "author": ("name", 256)}
MAX_FIELDS: Final = 25
FIELD_TEXTS: Final = {"name": 256, "value": 1024}
"""https://docs.discord.com/developers/resources/message#embed-object-embed-limits"""
SETTABLE: Final = (
    MessageFlags.SUPPRESS_EMBEDS
    | MessageFlags.SUPPRESS_NOTIFICATIONS
    | MessageFlags.IS_VOICE_MESSAGE
    | MessageFlags.IS_COMPONENTS_V2
    | MessageFlags.EPHEMERAL
)


@dataclass(frozen=True, slots=True)
class Composer:
    """Composes messages of one bot for one channel. All methods raise `ApiError`.

    `free` is for answers to interactions, which need no permission.
    """

    world: World
    bot: Bot
    channel: Channel
    allowed: Allowed
    free: bool = False

    def compose(self, body: Json, uploads: Mapping[str, Upload], answered: Message | None = None) -> Content:
        """A new message."""
        content = self._changed(Content(), body, uploads, answered)
        if content.is_empty:
            raise bad_request(50006, "Cannot send an empty message")
        return content

    def change(self, message: Message, body: Json, uploads: Mapping[str, Upload]) -> Content:
        """A message after an edit: what the request does not name stays."""
        content = self._changed(message.content, body, uploads, message.reply_to)
        if content.is_empty:
            raise bad_request(50006, "Cannot send an empty message")
        return content

    def answered(self, body: Json) -> Message | None:
        """The message that is answered, if one is (`message_reference`)."""
        reference = mapping("message_reference", body.get("message_reference"))
        if not reference:
            return None
        if reference.get("type", 0) != 0:
            raise invalid_form("message_reference", "BASE_TYPE_CHOICES", "Value must be one of {0}.")
        if not self.free and Permission.READ_MESSAGE_HISTORY not in self.channel.permissions(self.bot.id):
            raise bad_request(160002, "Cannot reply without permission to read message history")
        message = self.channel.find(snowflake("message_reference.message_id", reference.get("message_id")))
        if message is None:
            if reference.get("fail_if_not_exists", True):
                raise invalid_form("message_reference", "REPLIES_UNKNOWN_MESSAGE", "Unknown message")
            return None
        if message.type in SYSTEM:
            raise invalid_form(
                "message_reference", "REPLIES_CANNOT_REPLY_TO_SYSTEM_MESSAGE", "Cannot reply to a system message"
            )
        return message

    def _changed(self, before: Content, body: Json, uploads: Mapping[str, Upload], answered: Message | None) -> Content:
        flags = before.flags
        if body.get("flags") is not None:
            flags = MessageFlags(whole("flags", body["flags"])) & SETTABLE
        version_2 = MessageFlags.IS_COMPONENTS_V2 in flags
        content = replace(before, flags=flags & ~MessageFlags.EPHEMERAL)
        if "content" in body or before.text == "":
            words = _text(body.get("content"))
            allowed = read_allowed(body, self.allowed)
            mentions = find(words, self.channel, self.bot.user, self.world.users, allowed, answered)
            content = replace(content, text=words, mentions=mentions)
        if "embeds" in body:
            content = replace(content, embeds=_embeds(body["embeds"]))
        if "components" in body:
            content = replace(content, components=check_components(body["components"], version_2=version_2))
        if uploads or "attachments" in body:
            content = replace(content, attachments=self._attachments(before, body, uploads))
        self._check(content, before, version_2=version_2)
        return content

    def _check(self, content: Content, before: Content, *, version_2: bool) -> None:
        if version_2 and (content.text or content.embeds):
            raise invalid_form(
                "content",
                "MESSAGE_CANNOT_USE_LEGACY_FIELDS_WITH_COMPONENTS_V2",
                "The 'content' field cannot be used when using MessageFlags.IS_COMPONENTS_V2",
            )
        voice = MessageFlags.IS_VOICE_MESSAGE in content.flags
        if voice and (content.text or len(content.attachments) != 1 or content.attachments[0].file.seconds is None):
            raise bad_request(50161, "Voice messages must have a single audio attachment.")
        if self.free:
            return
        held = self.channel.permissions(self.bot.id)
        if content.embeds and content.embeds != before.embeds and Permission.EMBED_LINKS not in held:
            raise missing_permissions()
        if content.attachments != before.attachments and Permission.ATTACH_FILES not in held:
            raise missing_permissions()

    def _attachments(self, before: Content, body: Json, uploads: Mapping[str, Upload]) -> tuple[Attachment, ...]:
        listed = body.get("attachments")
        details: dict[str, Json] = {}
        kept: list[Attachment] = [] if listed is not None else list(before.attachments)
        for each in objects("attachments", listed):
            name = str(each.get("id"))
            old = next((one for one in before.attachments if str(one.id) == name), None)
            if old is not None:
                kept.append(old)
            else:
                details[f"files[{name}]"] = each
        added = [_file(upload, details.get(name, {})) for name, upload in uploads.items()]
        if set(details) - set(uploads):
            raise invalid_form("attachments", "ATTACHMENT_NOT_FOUND", "Attachment data not found")
        if len(kept) + len(added) > MAX_ATTACHMENTS:
            raise invalid_form("attachments", "BASE_TYPE_MAX_LENGTH", f"Must be {MAX_ATTACHMENTS} or fewer in length.")
        return (*kept, *(self.world.attachment(self.channel, file) for file in added))


def _text(value: object) -> str:
    words = text("content", value).strip()
    if len(words) > MAX_TEXT:
        raise too_long("content", MAX_TEXT)
    return words


def _file(upload: Upload, details: Json) -> File:
    if len(upload.data) > MAX_FILE:
        raise too_large()
    mime = None if upload.mime in {None, "application/octet-stream"} else upload.mime
    return File(
        text("attachments.filename", details.get("filename")) or upload.name,
        upload.data,
        mime,
        text("attachments.description", details.get("description")) or None,
        seconds=number("attachments.duration_secs", details.get("duration_secs")),
    )


def _embeds(value: Any) -> tuple[Json, ...]:  # noqa: ANN401
    embeds = objects("embeds", value)
    if len(embeds) > MAX_EMBEDS:
        raise invalid_form("embeds", "BASE_TYPE_MAX_LENGTH", f"Must be {MAX_EMBEDS} or fewer in length.")
    total = sum(_embed_length(each, f"embeds.{index}") for index, each in enumerate(embeds))
    if total > MAX_EMBED_TOTAL:
        raise invalid_form("embeds", "MAX_EMBED_SIZE_EXCEEDED", f"Embed size exceeds maximum size of {MAX_EMBED_TOTAL}")
    return tuple(each | {"type": "rich"} for each in embeds)


def _embed_length(embed: Json, where: str) -> int:
    total = 0
    for name, limit in EMBED_TEXTS.items():
        total += _measured(embed.get(name), limit, f"{where}.{name}")
    fields = objects(f"{where}.fields", embed.get("fields"))
    if len(fields) > MAX_FIELDS:
        raise invalid_form(f"{where}.fields", "BASE_TYPE_MAX_LENGTH", f"Must be {MAX_FIELDS} or fewer in length.")
    for index, each in enumerate(fields):
        for name, limit in FIELD_TEXTS.items():
            total += _measured(each.get(name), limit, f"{where}.fields.{index}.{name}")
    for name, (inner, limit) in EMBED_PARTS.items():
        part = mapping(f"{where}.{name}", embed.get(name))
        total += _measured(part.get(inner), limit, f"{where}.{name}.{inner}")
    return total


def _measured(value: object, limit: int, where: str) -> int:
    length = len(text(where, value))
    if length > limit:
        raise too_long(where, limit)
    return length


def ephemeral(body: Json) -> bool:
    """Whether a request asks for a message that only one person sees."""
    return bool(whole("flags", body.get("flags")) & MessageFlags.EPHEMERAL)
