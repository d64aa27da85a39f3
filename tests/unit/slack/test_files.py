"""Files both ways."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from adapters.base import (
    Attachment,
    MediaError,
    MediaKind,
    OutcomeUnknownError,
    OutgoingFile,
    RetryLaterError,
    UndeliverableError,
)
from adapters.slack import SlackAdapter
from adapters.slack.client import Client
from adapters.testing.slack import Fault, Person, SlackServer, Upload
from tests.support.slack import TIMING
from tests.unit.slack.support import delivery


class Sink:
    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    async def __call__(self, piece: bytes) -> None:
        self.pieces.append(piece)

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)


Sent = Callable[..., Awaitable[Attachment]]


@pytest.fixture
def upload(server: SlackServer, ann: Person) -> Callable[[Upload], Attachment]:
    def send(file: Upload) -> Attachment:
        message = ann.uploads(server.direct(ann), file)
        return Attachment(MediaKind.DOCUMENT, message.content.files[0].id)

    return send


# --- in ------------------------------------------------------------------------------------------------


async def test_a_file_comes_piece_by_piece(adapter: SlackAdapter, upload: Callable[[Upload], Attachment]) -> None:
    data = bytes(range(256)) * 1024
    sink = Sink()
    await adapter.fetch(upload(Upload("a.bin", data)), sink)
    assert sink.data == data
    assert len(sink.pieces) > 1


async def test_a_page_that_somebody_sent_is_no_page_to_sign_in(
    adapter: SlackAdapter, upload: Callable[[Upload], Attachment]
) -> None:
    sink = Sink()
    await adapter.fetch(upload(Upload("a.html", b"<html>mine</html>", "text/html")), sink)
    assert sink.data == b"<html>mine</html>"


async def test_a_canvas_is_a_page_of_any_length(adapter: SlackAdapter, upload: Callable[[Upload], Attachment]) -> None:
    sink = Sink()
    await adapter.fetch(upload(Upload("Plan", b"<h1>Plan</h1>", "application/vnd.slack-docs", size=5)), sink)
    assert sink.data == b"<h1>Plan</h1>"


@pytest.mark.parametrize("how", ["compressed", "chunked"])
async def test_a_page_that_somebody_sent_comes_in_any_form(how: str) -> None:
    data = b"<html>mine</html>" * 100

    async def page(_request: web.Request) -> web.Response:
        answer = web.Response(body=data, content_type="text/html")
        if how == "compressed":
            answer.enable_compression(web.ContentCoding.gzip)
        else:
            answer.enable_chunked_encoding()
        return answer

    site = web.Application()
    site.router.add_get("/page", page)
    async with TestServer(site) as server:
        client, sink = Client("xoxb-1", str(server.make_url("/")), TIMING), Sink()
        try:
            url = str(server.make_url("/page"))
            assert await client.download(url, sink, html_size=len(data)) == HTTPStatus.OK
            assert sink.data == data
            assert await client.download(url, Sink(), html_size=len(data) + 1) == HTTPStatus.UNAUTHORIZED
            assert await client.download(url, Sink(), html_size=None) == HTTPStatus.UNAUTHORIZED
        finally:
            await client.close()


async def test_a_page_to_sign_in_is_no_file(
    server: SlackServer, adapter: SlackAdapter, upload: Callable[[Upload], Attachment]
) -> None:
    attachment = upload(Upload("a.html", b"<html>mine</html>", "text/html"))

    async def revoke(_: object) -> None:
        server.bot.scopes.remove("files:read")

    server.inject(Fault.call(revoke), "files.info")
    sink = Sink()
    with pytest.raises(MediaError, match="files:read"):
        await adapter.fetch(attachment, sink)
    assert sink.data == b""


async def test_why_a_file_cannot_be_had(
    server: SlackServer, adapter: SlackAdapter, upload: Callable[[Upload], Attachment]
) -> None:
    attachment = upload(Upload("a.txt", b"a"))
    server.inject(Fault.flood(1), "files.info")
    with pytest.raises(MediaError) as later:
        await adapter.fetch(attachment, Sink())
    assert later.value.retryable
    server.limits._closed.clear()
    with pytest.raises(MediaError, match="does not have the file any more") as gone:
        await adapter.fetch(Attachment(MediaKind.DOCUMENT, "F99"), Sink())
    assert not gone.value.retryable
    server.bot.scopes.remove("files:read")
    with pytest.raises(MediaError, match="lacks the scope files:read"):
        await adapter.fetch(attachment, Sink())


async def test_the_token_goes_to_slack_alone(
    server: SlackServer, adapter: SlackAdapter, upload: Callable[[Upload], Attachment], monkeypatch: pytest.MonkeyPatch
) -> None:
    attachment = upload(Upload("a.txt", b"a"))
    for base in ("http://files.example.org", "https://slack.com.example.org", "http://files.slack.com"):
        monkeypatch.setattr(server.world, "base_url", base)
        with pytest.raises(MediaError, match="not by Slack"):
            await adapter.fetch(attachment, Sink())


# --- out -----------------------------------------------------------------------------------------------


def outgoing(tmp_path: Path, data: bytes, caption: str = "") -> OutgoingFile:
    path = tmp_path / "plan.txt"
    path.write_bytes(data)
    return OutgoingFile(MediaKind.DOCUMENT, str(path), "plan.txt", "text/plain", caption)


async def test_a_file_goes_out_into_its_thread(
    server: SlackServer, ann: Person, adapter: SlackAdapter, tmp_path: Path
) -> None:
    general = server.channel("general", ann)
    root = ann.writes(general, "?")
    file = outgoing(tmp_path, b"plan " * 50_000, "the <plan> & <!channel>")
    ts = await adapter.send(delivery(general, "", adapter, content=file, thread=root))
    (shown,) = server.shown(general, by=server.bot)
    assert (shown.ts, shown.thread_ts, shown.text, shown.notified) == (ts, root.ts, "the <plan> & <!channel>", ())
    assert shown.content.files[0].data == b"plan " * 50_000
    assert shown.content.files[0].name == "plan.txt"
    await adapter.delete(delivery(general, "x", adapter, message_id=ts))
    assert server.shown(general, by=server.bot) == ()


async def test_a_message_that_is_not_known_in_time(
    server: SlackServer, ann: Person, adapter: SlackAdapter, tmp_path: Path
) -> None:
    chat = server.direct(ann)
    server.inject(Fault.error(200, "file_not_found"), "files.info", times=None)
    sent = await adapter.send(delivery(chat, "", adapter, content=outgoing(tmp_path, b"x")))
    assert sent.startswith("file:F")
    assert len(server.shown(chat)) == 1


@pytest.mark.parametrize(
    ("method", "fault", "error"),
    [
        ("files.getUploadURLExternal", Fault.drop(), RetryLaterError),
        ("files.getUploadURLExternal", Fault.error(200, "missing_scope"), UndeliverableError),
        ("files.completeUploadExternal", Fault.flood(2), RetryLaterError),
        ("files.completeUploadExternal", Fault.drop(), OutcomeUnknownError),
    ],
)
async def test_what_a_failure_means(
    server: SlackServer,
    ann: Person,
    adapter: SlackAdapter,
    tmp_path: Path,
    method: str,
    fault: Fault,
    error: type[Exception],
) -> None:
    server.inject(fault, method)
    with pytest.raises(error):
        await adapter.send(delivery(server.direct(ann), "", adapter, content=outgoing(tmp_path, b"x")))


async def test_what_is_no_file_to_send(server: SlackServer, ann: Person, adapter: SlackAdapter, tmp_path: Path) -> None:
    chat = server.direct(ann)
    with pytest.raises(UndeliverableError, match="empty"):
        await adapter.send(delivery(chat, "", adapter, content=outgoing(tmp_path, b"")))
    gone = OutgoingFile(MediaKind.IMAGE, str(tmp_path / "none"), "a.png", "image/png")
    with pytest.raises(UndeliverableError, match="cannot be read"):
        await adapter.send(delivery(chat, "", adapter, content=gone))
