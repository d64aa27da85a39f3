"""Files in and out, over the wire, piece by piece."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.base import Attachment, MediaError, MediaKind, OutgoingFile, UndeliverableError
from adapters.telegram import TelegramAdapter
from adapters.telegram.compose import REPEATED, TextFile
from adapters.telegram.constants import MAX_DOWNLOAD_BYTES, MAX_PHOTO_BYTES, MAX_UPLOAD_BYTES, PIECE_BYTES
from adapters.telegram.multipart import Multipart
from adapters.testing.telegram import Chat, Fault, Media, Person, TelegramServer
from tests.support.platform_host import FakeHost
from tests.unit.telegram.support import built, delivery, running


class Pieces:
    """What a download hands on."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.data = b""

    async def write(self, piece: bytes) -> None:
        self.sizes.append(len(piece))
        self.data += piece


@pytest.fixture
async def adapter(server: TelegramServer, host: FakeHost) -> AsyncIterator[TelegramAdapter]:
    async with running(built(server, host), host) as connected:
        yield connected


@pytest.fixture
def ann(server: TelegramServer) -> Person:
    return server.person("Ann")


@pytest.fixture
def chat(server: TelegramServer, ann: Person) -> Chat:
    return server.private(ann)


async def received(host: FakeHost, ann: Person, chat: Chat, media: Media) -> Attachment:
    """The attachment that a file becomes."""
    count = len(host.accepted)
    ann.sends(chat, media)
    await host.until(lambda: len(host.accepted) > count)
    (attachment,) = host.accepted[-1].attachments
    return attachment


def outgoing(path: Path, kind: MediaKind = MediaKind.DOCUMENT, caption: str = "") -> OutgoingFile:
    return OutgoingFile(kind, str(path), path.name, "application/octet-stream", caption)


# --- in ------------------------------------------------------------------------------------------------


async def test_file_comes_in_pieces(host: FakeHost, adapter: TelegramAdapter, ann: Person, chat: Chat) -> None:
    data = bytes(range(256)) * 1000
    attachment = await received(host, ann, chat, Media("document", data, "a b.bin"))
    pieces = Pieces()
    await adapter.fetch(attachment, pieces.write)
    assert pieces.data == data
    assert max(pieces.sizes) <= PIECE_BYTES
    assert (attachment.name, attachment.size) == ("a b.bin", len(data))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("photo", MediaKind.IMAGE),
        ("voice", MediaKind.VOICE),
        ("audio", MediaKind.AUDIO),
        ("video", MediaKind.VIDEO),
        ("video_note", MediaKind.VIDEO),
        ("animation", MediaKind.VIDEO),
        ("sticker", MediaKind.STICKER),
        ("document", MediaKind.DOCUMENT),
    ],
)
async def test_every_kind(
    host: FakeHost, adapter: TelegramAdapter, ann: Person, chat: Chat, kind: str, expected: MediaKind
) -> None:
    attachment = await received(host, ann, chat, Media(kind, b"data"))
    assert attachment.kind is expected
    pieces = Pieces()
    await adapter.fetch(attachment, pieces.write)
    assert pieces.data == b"data"


async def test_address_that_has_expired(
    server: TelegramServer, host: FakeHost, adapter: TelegramAdapter, ann: Person, chat: Chat
) -> None:
    """Between the answer with the address and the download the file gets another one."""
    attachment = await received(host, ann, chat, Media("document", b"data"))
    stored = server.world.files.get(attachment.id)
    gate = server.gate("getFile")
    pieces = Pieces()
    fetching = asyncio.create_task(adapter.fetch(attachment, pieces.write))
    await gate.reached.wait()
    server.world.files._files[attachment.id] = replace(stored, path="documents/moved.bin")
    gate.open()
    await fetching
    assert pieces.data == b"data"
    assert len(server.requests.of("getFile")) == 2


async def test_file_that_is_too_big(
    server: TelegramServer, host: FakeHost, adapter: TelegramAdapter, ann: Person, chat: Chat
) -> None:
    attachment = await received(host, ann, chat, Media("video", b"x", size=MAX_DOWNLOAD_BYTES + 1))
    with pytest.raises(MediaError, match="no more than 20 MB"):
        await adapter.fetch(attachment, Pieces().write)
    assert server.requests.of("getFile") == ()
    unsized = Attachment(attachment.kind, attachment.id)
    with pytest.raises(MediaError, match="no more than 20 MB") as refused:
        await adapter.fetch(unsized, Pieces().write)
    assert not refused.value.retryable


async def test_file_that_is_gone(adapter: TelegramAdapter) -> None:
    with pytest.raises(MediaError, match="does not have the file") as refused:
        await adapter.fetch(Attachment(MediaKind.IMAGE, "none"), Pieces().write)
    assert not refused.value.retryable


AWAY = "Bad Request: wrong file_id or the file is temporarily unavailable"


@pytest.mark.parametrize(
    "fault",
    [Fault.error(500), Fault.flood(2), Fault.drop(), Fault.error(400, AWAY)],
    ids=["500", "429", "drop", "unavailable"],
)
async def test_trouble_on_the_way_may_pass(
    server: TelegramServer, host: FakeHost, adapter: TelegramAdapter, ann: Person, chat: Chat, fault: Fault
) -> None:
    attachment = await received(host, ann, chat, Media("photo", b"x"))
    server.inject(fault, "getFile")
    with pytest.raises(MediaError) as refused:
        await adapter.fetch(attachment, Pieces().write)
    assert refused.value.retryable
    assert server.bot.token not in str(refused.value)


@pytest.mark.parametrize("path", ["/var/lib/telegram-bot-api/x", "../../etc/passwd"])
async def test_path_that_is_no_address(
    server: TelegramServer, host: FakeHost, adapter: TelegramAdapter, ann: Person, chat: Chat, path: str
) -> None:
    attachment = await received(host, ann, chat, Media("photo", b"x"))
    files = server.world.files
    files._files[attachment.id] = replace(files.get(attachment.id), path=path)
    with pytest.raises(MediaError, match="local mode"):
        await adapter.fetch(attachment, Pieces().write)


async def test_full_disk_ends_the_download(host: FakeHost, adapter: TelegramAdapter, ann: Person, chat: Chat) -> None:
    attachment = await received(host, ann, chat, Media("photo", b"x"))

    async def write(_piece: bytes) -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        await adapter.fetch(attachment, write)


async def test_no_fetch_without_a_connection(server: TelegramServer, host: FakeHost) -> None:
    with pytest.raises(MediaError) as refused:
        await built(server, host).fetch(Attachment(MediaKind.IMAGE, "x"), Pieces().write)
    assert refused.value.retryable


# --- out -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        (MediaKind.IMAGE, "photo"),
        (MediaKind.VOICE, "voice"),
        (MediaKind.AUDIO, "audio"),
        (MediaKind.VIDEO, "video"),
        (MediaKind.DOCUMENT, "document"),
        (MediaKind.STICKER, "document"),
    ],
)
async def test_file_goes_out(
    server: TelegramServer, adapter: TelegramAdapter, chat: Chat, tmp_path: Path, kind: MediaKind, shown: str
) -> None:
    path = tmp_path / 'a "b".bin'
    path.write_bytes(b"data" * 40_000)
    await adapter.send(delivery(chat, "", adapter, content=outgoing(path, kind, "see")))
    (message,) = server.shown(chat, by=server.bot)
    assert (message.content.kind, message.text) == (shown, "see")
    request = server.requests.of(f"send{shown}")[0]
    assert request.uploads[shown].data == path.read_bytes()


async def test_long_caption_and_repeat(
    server: TelegramServer, adapter: TelegramAdapter, chat: Chat, tmp_path: Path
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x")
    file = outgoing(path, caption="😀" * 1000)
    await adapter.send(delivery(chat, "", adapter, content=file, repeated=True))
    (message,) = server.shown(chat, by=server.bot)
    assert message.text.startswith(f"{REPEATED}\n😀")
    assert message.text.endswith("…")


async def test_large_photo_is_a_document(
    server: TelegramServer, adapter: TelegramAdapter, chat: Chat, tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    with path.open("wb") as handle:
        handle.truncate(MAX_PHOTO_BYTES + 1)
    await adapter.send(delivery(chat, "", adapter, content=outgoing(path, MediaKind.IMAGE)))
    assert server.shown(chat, by=server.bot)[0].content.kind == "document"


async def test_picture_that_moves_goes_out_as_a_file(
    server: TelegramServer, adapter: TelegramAdapter, chat: Chat, tmp_path: Path
) -> None:
    path = tmp_path / "a.gif"
    path.write_bytes(b"GIF89a")
    file = OutgoingFile(MediaKind.IMAGE, str(path), path.name, "image/gif", "see")
    await adapter.send(delivery(chat, "", adapter, content=file))
    (message,) = server.shown(chat, by=server.bot)
    assert (message.content.kind, message.text) == ("document", "see")


async def test_picture_that_telegram_cannot_read_is_a_document(
    server: TelegramServer, adapter: TelegramAdapter, chat: Chat, tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"no picture")
    server.inject(Fault.error(400, "Bad Request: PHOTO_INVALID_DIMENSIONS"), "sendPhoto")
    await adapter.send(delivery(chat, "", adapter, content=outgoing(path, MediaKind.IMAGE, "see")))
    (message,) = server.shown(chat, by=server.bot)
    assert (message.content.kind, message.text) == ("document", "see")
    assert server.requests.of("sendDocument")[0].uploads["document"].data == b"no picture"


@pytest.mark.parametrize(
    ("kind", "method", "said"),
    [
        (MediaKind.VOICE, "sendVoice", "Bad Request: VOICE_MESSAGES_FORBIDDEN"),
        (MediaKind.VOICE, "sendVoice", "Bad Request: user restricted receiving of voice messages"),
        (MediaKind.AUDIO, "sendAudio", "Bad Request: wrong file identifier/HTTP URL specified"),
        (MediaKind.VIDEO, "sendVideo", "Bad Request: VIDEO_CONTENT_TYPE_INVALID"),
        (MediaKind.IMAGE, "sendPhoto", "Bad Request: IMAGE_PROCESS_FAILED"),
    ],
)
async def test_form_that_is_refused_goes_out_as_a_file(
    server: TelegramServer,
    adapter: TelegramAdapter,
    chat: Chat,
    tmp_path: Path,
    kind: MediaKind,
    method: str,
    said: str,
) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"data")
    server.inject(Fault.error(400, said), method)
    await adapter.send(delivery(chat, "", adapter, content=outgoing(path, kind, "see")))
    (message,) = server.shown(chat, by=server.bot)
    assert (message.content.kind, message.text) == ("document", "see")


async def test_chat_that_takes_nothing_is_asked_once(
    server: TelegramServer, adapter: TelegramAdapter, chat: Chat, tmp_path: Path
) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"data")
    server.inject(Fault.error(400, "Bad Request: chat not found"), "sendVideo")
    with pytest.raises(UndeliverableError, match="no such chat"):
        await adapter.send(delivery(chat, "", adapter, content=outgoing(path, MediaKind.VIDEO)))
    assert server.requests.of("sendDocument") == ()


async def test_caption_is_shown_like_text(
    server: TelegramServer, adapter: TelegramAdapter, chat: Chat, tmp_path: Path
) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"data")
    await adapter.send(delivery(chat, "", adapter, content=outgoing(path, caption="**look** @bo_smith")))
    (message,) = server.shown(chat, by=server.bot)
    assert message.text == "look @\N{WORD JOINER}bo_smith"
    assert [each["type"] for each in message.content.entities] == ["bold"]


async def test_refused_looks_of_a_caption_lose_no_file(
    server: TelegramServer, adapter: TelegramAdapter, chat: Chat, tmp_path: Path
) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"data")
    server.inject(Fault.error(400, "Bad Request: can't parse entities: odd"), "sendDocument")
    await adapter.send(delivery(chat, "", adapter, content=outgoing(path, caption="**look**")))
    (message,) = server.shown(chat, by=server.bot)
    assert (message.text, message.content.entities) == ("look", ())


async def test_path_that_is_no_file(
    server: TelegramServer, adapter: TelegramAdapter, chat: Chat, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("a\0b")):
        with pytest.raises(UndeliverableError, match="cannot be read"):
            await adapter.send(delivery(chat, "", adapter, content=outgoing(path)))


@pytest.mark.parametrize(("size", "words"), [(MAX_UPLOAD_BYTES + 1, "takes 50 MB"), (0, "empty"), (None, "be read")])
async def test_file_that_cannot_go_out(
    server: TelegramServer, adapter: TelegramAdapter, chat: Chat, tmp_path: Path, size: int | None, words: str
) -> None:
    path = tmp_path / "a.bin"
    if size is not None:
        with path.open("wb") as handle:
            handle.truncate(size)
    with pytest.raises(UndeliverableError, match=words):
        await adapter.send(delivery(chat, "", adapter, content=outgoing(path)))
    assert server.requests.of("sendDocument") == ()


async def test_long_answer_as_a_file(server: TelegramServer, adapter: TelegramAdapter, chat: Chat) -> None:
    text = "\n\n".join(f"Paragraph {number}: " + "word " * 150 for number in range(60))
    parts = adapter.composer().update(text, final=True, shown=0).parts
    assert isinstance(parts[-1], TextFile)
    for number, part in enumerate(parts):
        await adapter.send(delivery(chat, text, adapter, content=part, part=number))
    *messages, file = server.shown(chat, by=server.bot)
    assert len(messages) == 4
    upload = server.requests.of("sendDocument")[0].uploads["document"]
    assert (upload.name, upload.data.decode()) == ("answer.md", text)
    await adapter.edit(delivery(chat, text, adapter, content=parts[-1], message_id=str(file.id)))


async def test_body_is_read_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"x" * (3 * PIECE_BYTES + 1))
    with path.open("rb") as handle:
        taken: list[None] = []
        body = Multipart({"a": "b"}, {"document": ("a.bin", handle, "text/plain")}, lambda: taken.append(None))
        pieces = [piece async for piece in body]
    assert len(taken) == len(pieces)
    assert max(len(piece) for piece in pieces) == PIECE_BYTES
    assert sum(len(piece) for piece in pieces) == int(body.headers["Content-Length"])
