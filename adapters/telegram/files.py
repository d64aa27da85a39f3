"""Files: the ones that people send, fetched piece by piece, and the ones that go out, read from disk."""

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import IO, Final

from telegram.error import TelegramError

from adapters.base import Attachment, MediaError, MediaKind, OutgoingFile, UndeliverableError
from adapters.telegram.client import SERVER_FAULT, CallError, Client
from adapters.telegram.constants import MAX_DOWNLOAD_BYTES, MAX_PHOTO_BYTES, MAX_UPLOAD_BYTES
from adapters.telegram.failures import FLOOD, NOT_FOUND

_MEGABYTE: Final = 1024 * 1024

_MOVING: Final = "image/gif"
"""Pictures that move: a photo is always a still one, a file of this type is shown as it is
(https://github.com/telegramdesktop/tdesktop/issues/428)."""

_AWAY: Final = "temporarily unavailable"
"""Said where the server itself cannot get at a file now (https://github.com/tdlib/telegram-bot-api/issues/32); an id
that is none is an "invalid file_id" (https://github.com/tdlib/telegram-bot-api/issues/490)."""


async def fetch(client: Client, attachment: Attachment, write: Callable[[bytes], Awaitable[None]]) -> None:
    """Hand on a file that somebody sent. An address that has expired is asked for once more.

    Raises `MediaError`, and what `write` raises.
    """
    if attachment.size is not None and attachment.size > MAX_DOWNLOAD_BYTES:
        raise MediaError(_too_big(attachment.size))
    begun = False

    async def counted(piece: bytes) -> None:
        nonlocal begun
        begun = True
        await write(piece)

    try:
        try:
            await client.download(await _path(client, attachment), counted)
        except CallError as error:
            if error.code != NOT_FOUND or begun:
                raise
            await client.download(await _path(client, attachment), counted)
    except TelegramError as error:
        raise _media_error(error) from None


async def _path(client: Client, attachment: Attachment) -> str:
    """Where the file can be had for an hour (https://core.telegram.org/bots/api#getfile)."""
    file = await client.call("getFile", file_id=attachment.id)
    path = str(file.get("file_path") or "") if isinstance(file, dict) else ""
    if not path:
        raise MediaError("Telegram does not say where the file is")
    if path.startswith("/") or ".." in path.split("/"):
        raise MediaError(
            "the Bot API server keeps its files on its own disk (local mode), where they cannot be fetched from;"
            " start it without --local"
        )
    return path


def _media_error(error: TelegramError) -> MediaError:
    if not isinstance(error, CallError):
        return MediaError(f"Telegram cannot be reached: {error}", retryable=True)
    if error.says("file is too big"):
        return MediaError(_too_big(None))
    if error.code == FLOOD or error.code >= SERVER_FAULT or error.says(_AWAY):
        return MediaError(f"Telegram does not give the file now: {error.message}", retryable=True)
    return MediaError(f"Telegram does not have the file any more ({error.message})")


def _too_big(size: int | None) -> str:
    what = f"the file has {size / _MEGABYTE:.0f} MB" if size else "the file is too big"
    return f"{what}; Telegram gives bots no more than {MAX_DOWNLOAD_BYTES // _MEGABYTE} MB"


@asynccontextmanager
async def opened(file: OutgoingFile) -> AsyncIterator[tuple[IO[bytes], MediaKind]]:
    """The file, open for reading, and as what it is sent. Raises `UndeliverableError`."""
    try:
        handle = await asyncio.to_thread(_open, file.path)
    except (OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or error
        raise UndeliverableError(f"the file {file.name} cannot be read: {words}") from error
    try:
        yield handle, _form(file, await asyncio.to_thread(handle.seek, 0, 2))
    finally:
        await asyncio.to_thread(handle.close)


def _open(path: str) -> IO[bytes]:
    """Open a file. A pipe that nobody writes to is none, and is not waited for. Raises OSError, ValueError."""
    handle = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(handle.fileno()).st_mode):
        handle.close()
        raise ValueError("it is no file")
    return handle


def _form(file: OutgoingFile, size: int) -> MediaKind:
    if size > MAX_UPLOAD_BYTES:
        limit = MAX_UPLOAD_BYTES // _MEGABYTE
        raise UndeliverableError(f"{file.name} has {size / _MEGABYTE:.0f} MB; Telegram takes {limit} MB from a bot")
    if size == 0:
        raise UndeliverableError(f"{file.name} is empty; Telegram takes no empty file")
    if file.kind is MediaKind.IMAGE and (size > MAX_PHOTO_BYTES or file.media_type == _MOVING):
        return MediaKind.DOCUMENT
    return file.kind
