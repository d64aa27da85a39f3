"""Files: the ones that people send, fetched piece by piece, and the ones that go out, read from disk."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import IO, Any, Final

from adapters.base import (
    Attachment,
    MediaError,
    NotConnectedError,
    OutcomeUnknownError,
    OutgoingFile,
    RetryLaterError,
    Target,
    UndeliverableError,
)
from adapters.slack.client import ANY_SIZE, CallError, Client, SlackError
from adapters.slack.constants import MAX_UPLOAD_BYTES, PIECE_BYTES, Timing
from adapters.slack.failures import delivery_error, in_words

_MEGABYTE: Final = 1_000_000

CANVAS: Final = "application/vnd.slack-docs"
"""The type that a canvas is told to have; it comes as a page (https://github.com/stablyai/agent-slack/pull/19)."""

UNSEEN: Final = "file:"
"""Before a file's id: the id of a message of which Slack does not tell more in time."""

_LOOK_SECONDS: Final = 0.2


# --- in ------------------------------------------------------------------------------------------------


async def fetch(client: Client, attachment: Attachment, write: Callable[[bytes], Awaitable[None]]) -> None:
    """Hand on a file that somebody sent. Raises `MediaError`, and what `write` raises."""
    try:
        answer = await client.call(client.web.files_info(file=attachment.id))
        file = answer.get("file") or {}
        url = file.get("url_private_download") or file.get("url_private")
        if not url:
            raise MediaError("Slack does not say where the file is")
        status = await client.download(str(url), write, html_size=_html_size(file))
    except SlackError as error:
        raise _media_error(error) from None
    if status == HTTPStatus.OK:
        return
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
        raise MediaError(f"Slack does not give the file now (status {status})", retryable=True)
    if status == HTTPStatus.NOT_FOUND:
        raise MediaError("Slack does not have the file any more")
    raise MediaError("Slack does not let the bot read the file: it needs the scope files:read, and a valid token")


def _html_size(file: Mapping[str, Any]) -> int | None:
    """How long a file is that comes as a page; None for one that does not."""
    if file.get("mimetype") == CANVAS:
        return ANY_SIZE
    size = file.get("size")
    return size if file.get("mimetype") == "text/html" and isinstance(size, int) else None


def _media_error(error: SlackError) -> MediaError:
    failure = delivery_error(error)
    if isinstance(failure, RetryLaterError | NotConnectedError | OutcomeUnknownError):
        return MediaError(f"Slack does not give the file now: {error}", retryable=True)
    assert isinstance(error, CallError)
    if error.error in ("file_not_found", "file_deleted"):
        return MediaError(f"Slack does not have the file any more ({error})")
    return MediaError(f"the file cannot be read: {in_words(error)}")


# --- out -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A file on its way out. `read` gives its content, anew each time."""

    name: str
    size: int
    read: Callable[[], AsyncIterator[bytes]]
    comment: str = ""


def of_text(name: str, text: str, comment: str) -> Outgoing:
    """A text as a file."""
    data = text.encode()

    async def read() -> AsyncIterator[bytes]:
        for place in range(0, len(data), PIECE_BYTES):
            yield data[place : place + PIECE_BYTES]

    return Outgoing(name, len(data), read, comment)


@asynccontextmanager
async def opened(file: OutgoingFile, comment: str) -> AsyncIterator[Outgoing]:
    """A file on disk, open for reading. Raises `UndeliverableError`."""
    try:
        handle = await asyncio.to_thread(open, file.path, "rb")
    except OSError as error:
        raise UndeliverableError(f"the file {file.name} cannot be read: {error.strerror or error}") from error
    try:
        size = await asyncio.to_thread(handle.seek, 0, 2)
        if size > MAX_UPLOAD_BYTES:
            limit = MAX_UPLOAD_BYTES // _MEGABYTE
            raise UndeliverableError(f"{file.name} has {size / _MEGABYTE:.0f} MB; Slack takes {limit} MB")
        if size == 0:
            raise UndeliverableError(f"{file.name} is empty; Slack takes no empty file")
        yield Outgoing(file.name, size, lambda: _pieces(handle), comment)
    finally:
        await asyncio.to_thread(handle.close)


async def _pieces(handle: IO[bytes]) -> AsyncIterator[bytes]:
    await asyncio.to_thread(handle.seek, 0)
    while piece := await asyncio.to_thread(handle.read, PIECE_BYTES):
        yield piece


async def send(client: Client, target: Target, channel: str, file: Outgoing, timing: Timing) -> str:
    """Upload a file and show it in a conversation; the id of the message that it is in. Raises `DeliveryError`.

    https://docs.slack.dev/messaging/working-with-files#uploading_files: until the last call, nobody sees anything.
    """
    try:
        room = await client.call(client.web.files_getUploadURLExternal(filename=file.name, length=file.size))
        file_id = str(room["file_id"])
        await client.upload(str(room["upload_url"]), file.read(), file.size)
    except SlackError as error:
        failure = delivery_error(error, target)
        if isinstance(failure, OutcomeUnknownError):
            raise RetryLaterError(f"the file could not be uploaded: {error}") from None
        raise failure from None
    shown: dict[str, Any] = {"channel_id": channel}
    shown |= {"thread_ts": target.thread_id} if target.thread_id else {}
    shown |= {"initial_comment": file.comment} if file.comment else {}
    try:
        await client.call(client.web.files_completeUploadExternal(files=[{"id": file_id, "title": file.name}], **shown))
    except SlackError as error:
        raise delivery_error(error, target) from None
    return await _message_of(client, channel, file_id, timing)


async def _message_of(client: Client, channel: str, file_id: str, timing: Timing) -> str:
    """The message that a file is shown in. Slack shows it when it has looked into it, and does not say when."""
    try:
        async with asyncio.timeout(timing.share):
            while True:
                answer = await client.call(client.web.files_info(file=file_id))
                ts = _shared(answer.get("file") or {}, channel)
                if ts is not None:
                    return ts
                await asyncio.sleep(_LOOK_SECONDS)
    except (SlackError, TimeoutError):
        # It is shown all the same; only its message stays unknown.
        return f"{UNSEEN}{file_id}"


def _shared(file: dict[str, Any], channel: str) -> str | None:
    for places in (file.get("shares") or {}).values():
        for share in places.get(channel) or ():
            return str(share["ts"])
    return None
