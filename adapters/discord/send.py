"""What goes out: messages, files, edits, the sign that something is being written."""

import asyncio
import base64
import hashlib
import io
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, Final, TypeVar

import discord

from adapters.base import Delivery, OutgoingFile, Target, UndeliverableError
from adapters.discord.components import view_of
from adapters.discord.compose import TextFile, caption_of, marked
from adapters.discord.constants import MAX_NONCE, Timing
from adapters.discord.failures import (
    CALL_ERRORS,
    INVALID_FORM,
    NOT_SENT,
    UNKNOWN_MESSAGE,
    MessageGoneError,
    delivery_error,
)
from adapters.discord.files import opened
from adapters.discord.permissions import missing_permissions, reads_history
from adapters.markup.discord import DiscordMessage, Mentions
from adapters.memory import Memory

log = logging.getLogger(__name__)

T = TypeVar("T")

_PEOPLE: Final = discord.AllowedMentions(everyone=False, roles=False, users=True, replied_user=False)


class Sender:
    """Makes the calls that people see something of. Every method raises `DeliveryError`.

    `mentions`: whether a text may call single people; everyone and roles it never does. `lost` is told of a call that
    could not leave, `seen` of a delivery of which the first part can be seen.
    """

    def __init__(
        self,
        client: discord.Client,
        timing: Timing,
        monotonic: Callable[[], float],
        lost: Callable[[], None],
        seen: Callable[[Delivery], None],
        *,
        mentions: Mentions,
    ) -> None:
        self._lost = lost
        self._seen = seen
        self._client = client
        self._timing = timing
        self._monotonic = monotonic
        self._mentions = mentions
        self._allowed = _PEOPLE if mentions == "users" else discord.AllowedMentions.none()
        self._begun: Memory[str, float] = Memory()
        self._taken_back: Memory[str, int] = Memory()
        self._repeats: Memory[str, bool] = Memory()
        """Parts that were sent anew here, of which the core does not know it: they stay marked."""

    async def send(self, delivery: Delivery) -> str:
        """Show the delivery's part as a new message; returns its id."""
        message = await self._shown(delivery)
        wanted = expected_content(delivery)
        if wanted is not None and not message.attachments and message.content.strip() != wanted.strip():
            # Its nonce was used before: this is what was sent then, when the answer had not grown as far.
            try:
                await self.edit(replace(delivery, message_id=str(message.id)))
            except MessageGoneError:
                # Deleted by somebody in between, who may have read it.
                self._take_another_nonce(delivery)
                self._repeats[part_key(delivery)] = True
                message = await self._shown(replace(delivery, repeated=True))
        if not delivery.part:
            self._seen(delivery)
        return str(message.id)

    async def edit(self, delivery: Delivery) -> None:
        """Make the message show the delivery's part. A file stays as it is: it is made of a complete text."""
        if isinstance(delivery.content, DiscordMessage):
            repeated = delivery.repeated or part_key(delivery) in self._repeats
            content = expected_content(replace(delivery, repeated=repeated))
            call = self._message(delivery).edit(content=content, allowed_mentions=self._allowed, view=view_of(delivery))
            await self._told(call, delivery.target)

    async def delete(self, delivery: Delivery) -> None:
        """Take the message away."""
        self._take_another_nonce(delivery)
        try:
            async with asyncio.timeout(self._timing.answer):
                await self._message(delivery).delete()
        except discord.NotFound as error:
            if error.code != UNKNOWN_MESSAGE:
                raise delivery_error(error) from None
        except CALL_ERRORS as error:
            raise delivery_error(error) from None

    async def typing(self, target: Target) -> None:
        """Show for ten seconds that something is being written."""
        await self._told(_typing(self._place(target)), target)

    def sent_at(self, delivery: Delivery) -> float | None:
        """When this process last began to send the part, in seconds of the monotonic clock; None if it did not."""
        return self._begun.get(part_key(delivery))

    async def _told(self, call: Awaitable[T], target: Target, *, upload: bool = False) -> T:
        """The result of a call, its error in the words of the core."""
        wanted = ["view_channel", "send_messages_in_threads" if target.thread_id else "send_messages"]
        try:
            async with asyncio.timeout(self._timing.upload if upload else self._timing.answer):
                return await call
        except CALL_ERRORS as error:
            if isinstance(error, NOT_SENT):
                self._lost()
            lacking = missing_permissions(
                self._client, channel_id(target), *wanted, *(["attach_files"] if upload else [])
            )
            raise delivery_error(error, lacking) from None

    async def _shown(self, delivery: Delivery) -> discord.Message:
        self._begun[part_key(delivery)] = self._monotonic()
        upload = not isinstance(delivery.content, DiscordMessage)
        return await self._told(self._send(delivery), delivery.target, upload=upload)

    async def _send(self, delivery: Delivery) -> discord.Message:
        match delivery.content:
            case DiscordMessage():
                return await self._text(delivery)
            case TextFile() as text:
                return await self._text_file(delivery, text)
            case OutgoingFile() as file:
                async with AsyncExitStack() as stack:
                    upload = await stack.enter_async_context(opened(file))
                    caption = caption_of(file.caption, self._mentions, repeated=delivery.repeated)
                    return await self._post(delivery, content=caption, file=upload)
        raise UndeliverableError(f"Discord has no form for a {type(delivery.content).__name__}")

    async def _text(self, delivery: Delivery) -> discord.Message:
        content = expected_content(delivery)
        try:
            return await self._post(delivery, content=content)
        except discord.HTTPException as error:
            if error.code != INVALID_FORM or "BASE_TYPE_MAX_LENGTH" not in str(error.text) + str(error):
                raise
            log.warning("a part of delivery %d is refused as too long, it goes out as a file", delivery.id)
            return await self._text_file(delivery, TextFile(delivery.content.text))

    async def _text_file(self, delivery: Delivery, text: TextFile) -> discord.Message:
        file = discord.File(io.BytesIO(text.text.encode()), filename=text.name)
        return await self._post(delivery, content=marked("") if delivery.repeated else None, file=file)

    async def _post(self, delivery: Delivery, **content: Any) -> discord.Message:  # noqa: ANN401
        view = view_of(delivery)
        if view is not None:
            content["view"] = view
        reference = _reference(delivery)
        if reference is not None and self._may_reply(delivery.target):
            content["reference"] = reference
        return await self._place(delivery.target).send(
            nonce=self._nonce(delivery),
            allowed_mentions=self._allowed,
            suppress_embeds=True,
            **content,
        )

    def _take_another_nonce(self, delivery: Delivery) -> None:
        key = part_key(delivery)
        self._taken_back[key] = self._taken_back.get(key, 0) + 1

    def _nonce(self, delivery: Delivery) -> str:
        """One name for all tries to send a part, so that Discord shows it once. A part that was taken away has another
        when it comes again."""
        again = self._taken_back.get(part_key(delivery), 0)
        digest = hashlib.blake2b(f"{part_key(delivery)} {again}".encode(), digest_size=15).digest()
        return base64.b32encode(digest).decode().lower()[:MAX_NONCE]

    def _may_reply(self, target: Target) -> bool:
        """Whether it is a place on a server, all channels of which are known here, and the bot reads what is there."""
        place = self._client.get_channel(channel_id(target))
        on_server = target.thread_id is not None or isinstance(place, discord.abc.GuildChannel | discord.Thread)
        return on_server and reads_history(self._client, target)

    def _place(self, target: Target) -> discord.PartialMessageable:
        return self._client.get_partial_messageable(channel_id(target))

    def _message(self, delivery: Delivery) -> discord.PartialMessage:
        if delivery.message_id is None or not delivery.message_id.isdigit():
            raise UndeliverableError(f"{delivery.message_id} is no message of Discord")
        return self._place(delivery.target).get_partial_message(int(delivery.message_id))


async def _typing(channel: discord.PartialMessageable) -> None:
    await channel.typing()


def part_key(delivery: Delivery) -> str:
    """What tells a part from all others, in this gateway and in one that was set up anew."""
    target = delivery.target
    # Which messages a growing answer names changes once it is complete; its turn does not.
    said_in = (delivery.turn_id,) if delivery.turn_id else delivery.answers
    where = (target.chat_id, target.thread_id, delivery.session_id, *said_in)
    return " ".join(map(str, (delivery.id, delivery.part, *where)))


def expected_content(delivery: Delivery) -> str | None:
    """What a message of a delivery holds as text; None where that is not known beforehand."""
    if not isinstance(delivery.content, DiscordMessage):
        return None
    return marked(delivery.content.content) if delivery.repeated else delivery.content.content


def channel_id(target: Target) -> int:
    """Where messages for a target go. A thread is a channel of its own. Raises `UndeliverableError`."""
    place = target.thread_id or target.chat_id
    if not place.isdigit():
        raise UndeliverableError(f"{place!r} is no channel of Discord: ids are numbers")
    return int(place)


def _reference(delivery: Delivery) -> discord.MessageReference | None:
    """In a guild the first part answers the message that asked; between two people that needs no saying, and in a
    thread that hangs on this message neither."""
    target = delivery.target
    asked = [message_id for message_id in delivery.answers if message_id.isdigit() and message_id != target.thread_id]
    if delivery.part or not asked:
        return None
    return discord.MessageReference(message_id=int(asked[-1]), channel_id=channel_id(target), fail_if_not_exists=False)
