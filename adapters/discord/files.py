"""Files: the ones that people send, fetched piece by piece, and the ones that go out, read from disk."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import discord

from adapters.base import AccountError, Attachment, MediaError, OutgoingFile, UndeliverableError
from adapters.discord.constants import PIECE_BYTES, Timing
from adapters.discord.content import all_attachments
from adapters.discord.failures import CALL_ERRORS, SERVER_FAULT, TOO_MANY, in_short, is_blocked, is_passing
from adapters.proxy import proxy_of


async def fetch(
    client: discord.Client, timing: Timing, attachment: Attachment, write: Callable[[bytes], Awaitable[None]]
) -> None:
    """Hand on a file that somebody sent. Its address is asked for each time, for it expires.

    Raises `MediaError`, and what `write` raises.
    """
    try:
        async with asyncio.timeout(timing.answer):
            url = await _url(client, attachment)
        proxy = proxy_of(url)
    except CALL_ERRORS as error:
        raise _media_error(error) from None
    except AccountError as error:
        raise MediaError(f"Discord's file server cannot be reached: {error}") from None
    timeout = aiohttp.ClientTimeout(total=None, connect=timing.handshake, sock_read=timing.answer)
    pieces = _pieces(url, proxy, timeout)
    try:
        while True:
            try:
                piece = await anext(pieces)
            except StopAsyncIteration:
                return
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                raise MediaError(
                    f"Discord's file server cannot be reached: {in_short(error)}", retryable=True
                ) from None
            await write(piece)
    finally:
        await pieces.aclose()


async def _pieces(url: str, proxy: str | None, timeout: aiohttp.ClientTimeout) -> AsyncGenerator[bytes, None]:
    async with aiohttp.ClientSession(timeout=timeout, proxy=proxy) as session, session.get(url) as response:
        if response.status >= SERVER_FAULT or response.status == TOO_MANY:
            raise MediaError(f"Discord does not give the file now (status {response.status})", retryable=True)
        if not response.ok:
            raise MediaError(f"Discord does not have the file any more (status {response.status})")
        async for piece in response.content.iter_chunked(PIECE_BYTES):
            yield piece


async def _url(client: discord.Client, attachment: Attachment) -> str:
    """Where the file can be had now."""
    channel, message, number = _ids(attachment)
    found = await client.get_partial_messageable(channel).fetch_message(message)
    for each in all_attachments(found):
        if each.id == number:
            return each.url
    raise MediaError("the file is not in the message any more")


def _ids(attachment: Attachment) -> tuple[int, int, int]:
    try:
        channel, message, number = map(int, attachment.id.split("/"))
    except ValueError:
        raise MediaError(f"{attachment.id!r} is no file of Discord") from None
    return channel, message, number


def _media_error(error: Exception) -> MediaError:
    if isinstance(error, discord.NotFound):
        return MediaError(f"the message with the file is gone ({in_short(error)})")
    if isinstance(error, discord.Forbidden) and not is_blocked(error):
        return MediaError(f"the bot may not read the message with the file any more ({in_short(error)})")
    return MediaError(f"Discord does not give the file: {in_short(error)}", retryable=is_passing(error))


@asynccontextmanager
async def opened(file: OutgoingFile) -> AsyncIterator[discord.File]:
    """The file, open for reading. Raises `UndeliverableError`."""
    try:
        handle = await asyncio.to_thread(open, file.path, "rb")
    except OSError as error:
        raise UndeliverableError(f"the file {file.name} cannot be read: {error.strerror or error}") from error
    try:
        yield discord.File(handle, filename=file.name)
    finally:
        await asyncio.to_thread(handle.close)
