"""What a message holds: its files, its text as the agent reads it, and words for what is neither."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import discord

from adapters.base import Attachment, MediaKind, Quote

_AFTER_MENTION: Final = " \t\n,:;–—-"
"""What people write between a name that they call and what they want."""

_EMOJI: Final = re.compile(r"<a?:(\w+):[0-9]+>")
_USER: Final = re.compile(r"<@!?([0-9]+)>")
_ROLE: Final = re.compile(r"<@&([0-9]+)>")
_CHANNEL: Final = re.compile(r"<#([0-9]+)>")

WRITTEN: Final = frozenset(
    {
        discord.MessageType.default,
        discord.MessageType.reply,
        discord.MessageType.chat_input_command,
        discord.MessageType.context_menu_command,
    }
)
"""Messages that somebody wrote, bots in answer to a command too; the others tell what happened in the channel."""


def is_written(message: discord.Message, me: int) -> bool:
    """Whether anybody but us wrote the message: nothing that Discord itself tells."""
    return message.type in WRITTEN and message.author.id != me


def is_bots(message: discord.Message) -> bool:
    """Whether a program wrote the message: a bot, or whoever holds the address of a webhook."""
    return message.author.bot or message.webhook_id is not None


def attachment_id(channel_id: int, message_id: int, attachment: int) -> str:
    """What a file is known by for ever; the address under which it can be had expires after a day."""
    return f"{channel_id}/{message_id}/{attachment}"


def attachments_in(message: discord.Message) -> tuple[Attachment, ...]:
    """The files of a message, and of one that it forwards."""
    return tuple(
        Attachment(
            _kind(each),
            attachment_id(message.channel.id, message.id, each.id),
            None if each.is_voice_message() else each.filename,
            each.content_type,
            each.size,
        )
        for each in all_attachments(message)
    )


def all_attachments(message: discord.Message) -> list[discord.Attachment]:
    """The library's attachments, those of a forwarded message behind them."""
    return [*message.attachments, *(each for snapshot in message.message_snapshots for each in snapshot.attachments)]


def _kind(attachment: discord.Attachment) -> MediaKind:
    if attachment.is_voice_message():
        return MediaKind.VOICE
    match (attachment.content_type or "").partition("/")[0]:
        case "image":
            return MediaKind.IMAGE
        case "video":
            return MediaKind.VIDEO
        case "audio":
            return MediaKind.AUDIO
    return MediaKind.DOCUMENT


def text_of(message: discord.Message, me: int) -> str:
    """The text, without our name at its start, and with words for what is no text."""
    text = without_call(message.content, me)
    if not text and message.content:
        text = message.content  # nothing but our name: somebody calls us
    lines = [readable(text, message)] if text else []
    return "\n".join([*lines, *_words(message)])


def without_call(text: str, me: int) -> str:
    """A text without our mention at its start."""
    found = re.match(rf"\s*<@!?{me}>", text)
    return text[found.end() :].lstrip(_AFTER_MENTION) if found else text.strip()


def readable(text: str, message: discord.Message) -> str:
    """Mentions with the names of those whom they mean; an id alone tells nobody anything."""
    people = {user.id: user.display_name for user in message.mentions}
    roles = {role.id: role.name for role in message.role_mentions}
    channels = {channel.id: getattr(channel, "name", None) for channel in message.channel_mentions}

    def named(found: re.Match[str], names: dict[int, str | None], sign: str) -> str:
        name = names.get(int(found.group(1)))
        return f"{sign}{name} ({found.group()})" if name else found.group()

    text = _USER.sub(lambda found: named(found, dict(people), "@"), text)
    text = _ROLE.sub(lambda found: named(found, dict(roles), "@"), text)
    text = _CHANNEL.sub(lambda found: named(found, channels, "#"), text)
    return _EMOJI.sub(r":\1:", text)


def _words(message: discord.Message) -> list[str]:
    words = _stickers(message)
    if message.poll is not None:
        options = "".join(f"\n- {answer.text}" for answer in message.poll.answers)
        words.append(f"[poll: {message.poll.question}{options}]")
    if is_bots(message):
        words += _cards(message)
    for snapshot in message.message_snapshots:
        shown = ("[forwarded]", snapshot.content, *_stickers(snapshot), *_cards(snapshot))
        words.append("\n".join(filter(None, shown)))
    return words


def _stickers(message: discord.Message | discord.MessageSnapshot) -> list[str]:
    return [f"[sticker: {sticker.name}]" for sticker in message.stickers]


def _cards(message: discord.Message | discord.MessageSnapshot) -> list[str]:
    """What programs show beside their text, or in its place; the previews of addresses in it are left out."""
    cards = []
    for embed in message.embeds:
        if embed.type == "rich" and not (embed.url and embed.url in message.content):
            fields = (f"{field.name}: {field.value}" for field in embed.fields)
            cards.append("\n".join(filter(None, (embed.title, embed.description, *fields))))
    # The library has none where Discord leaves the field out.
    return list(filter(None, [*cards, *_texts(getattr(message, "components", ()))]))


def _texts(components: Iterable[discord.Component]) -> Iterator[str]:
    """The texts among components, which a message can be made of in place of a content
    (https://docs.discord.com/developers/components/reference#text-display)."""
    for each in components:
        if isinstance(each, discord.TextDisplay):
            yield each.content
        elif isinstance(each, discord.Container | discord.SectionComponent):
            yield from _texts(each.children)


def quote_of(message: discord.Message, me: int) -> Quote | None:
    """What the message answers."""
    reference = message.reference
    if reference is None or reference.message_id is None or message.type is not discord.MessageType.reply:
        return None
    answered = reference.resolved or reference.cached_message
    message_id = str(reference.message_id)
    if answered is None:
        return Quote("[a message, of which it is not known who wrote it, nor what it says]", message_id=message_id)
    if not isinstance(answered, discord.Message):
        return Quote("[a message that was deleted]", message_id=message_id)
    text = readable(answered.content, answered) or _kind_of(answered)
    return Quote(text, answered.author.display_name, ours=answered.author.id == me, message_id=message_id)


def _kind_of(message: discord.Message) -> str:
    """What an answered message is, if it has no text."""
    if names := _names(message.attachments):
        return f"[{names}]"
    return "\n".join(_words(message)) or "[a message]"


def _names(attachments: Iterable[discord.Attachment]) -> str:
    return ", ".join("a voice message" if each.is_voice_message() else each.filename for each in attachments)


def mentions_us(message: discord.Message, me: int) -> bool:
    """Whether we are called by name, or by the role that Discord made for us; not by @everyone."""
    if any(user.id == me for user in message.mentions):
        return True
    tags: Sequence[discord.RoleTags | None] = [role.tags for role in message.role_mentions]
    return any(each is not None and each.bot_id == me for each in tags)
