"""What nobody should send, to the real daemon: a clear refusal or a right answer, and the next message works."""

import asyncio
import io
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from adapters.local import ChatOptions, chat
from adapters.local.protocol import MAX_TEXT_BYTES
from config import GatewayConfig, Home, Platform
from gateway.clock import SystemClock
from gateway.constants import MAX_FRAME_BYTES
from gateway.inbox import Inbox, InvalidMessageError
from gateway.ports import InboundMessage
from gateway.session.store import SessionStore
from gateway.source import SessionSource
from gateway.storage.database import Database
from tests.support.daemon_child import ChildOptions
from tests.support.daemon_launcher import DaemonLauncher
from tests.support.gateway_client import RawClient

MAX_CHARACTERS = GatewayConfig().inbox.max_message_chars
RIGHT_TO_LEFT = "שלום עולם \u202eabc\u202c مرحبا \u2067def\u2069 \u200f!"

STRANGE_TEXTS = {
    "right to left, with controls": RIGHT_TO_LEFT,
    "zero-width and joined": "a\u200bb\u2060c 👩\u200d💻 e\u0301\u0301\u0301",
    "noncharacters and private use": "\uffff \ufdd0 \ue000 \U0010ffff",
    "terminal sequences": "\x1b[2J\x1b]0;title\x07\r\x08 bell",
    "line separators": "one\u2028two\u2029three\x0bfour\x85five",
    "looks like a frame": '{"op":"bye"}\n{"op":"message"}',
    "looks like SQL": "'; DROP TABLE inbound; --",
    "a path, no command": "/etc/passwd",
    "as long as may be": "x" * MAX_CHARACTERS,
}

REFUSED_TEXTS = {
    "empty": ("", "empty"),
    "blank": (" \n\t\u2003", "empty"),
    "a NUL": ("before\0after", "NUL"),
    "a lone surrogate": ("before\ud800after", "surrogate"),
    "one megabyte": ("x" * 1_000_000, f"{MAX_TEXT_BYTES:,}"),
    "one megabyte when encoded": ("€" * 350_000, f"{MAX_TEXT_BYTES:,}"),
}

FRAMES = {
    "no JSON": b"hello there\n",
    "an empty line": b"\n",
    "an array": b'["message"]\n',
    "a number": b"17\n",
    "null": b"null\n",
    "not UTF-8": b'{"op":"message","id":"\xff\xfe","text":"x"}\n',
    "garbage": bytes(range(11, 256)) * 4 + b"\n",
    "deep arrays": b"[" * 100_000 + b"]" * 100_000 + b"\n",
    "deep objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"\n",
    "deep within a frame": b'{"op":"message","id":"d","text":"x","more":' + b"[" * 900 + b"]" * 900 + b"}\n",
    "a huge number": b'{"op":"ack","id":' + b"9" * 5000 + b',"final":true}\n',
    "not a number": b'{"op":"ack","id":NaN,"final":true}\n',
    "no op": b'{"id":"x","text":"x"}\n',
    "an unknown op": b'{"op":"launch","id":"x"}\n',
    "an op of the wrong type": b'{"op":["message"]}\n',
    "an id of the wrong type": b'{"op":"message","id":7,"text":"x"}\n',
    "an id that is too long": b'{"op":"message","id":"' + b"i" * 1000 + b'","text":"x"}\n',
    "an id with a space": b'{"op":"message","id":"a b","text":"x"}\n',
    "no id": b'{"op":"message","text":"x"}\n',
    "a text of the wrong type": b'{"op":"message","id":"t","text":{"a":1}}\n',
    "no text": b'{"op":"message","id":"t"}\n',
    "an ack of nothing": b'{"op":"ack","id":123456,"final":true}\n',
    "an ack below zero": b'{"op":"ack","id":-1,"final":true}\n',
    "a second hello": b'{"op":"hello","service":"chat","version":"1","client":"again"}\n',
}
SILENT = {"an ack of nothing"}
"""Frames that are right in themselves and mean nothing."""
TAKEN = {"deep within a frame"}
"""Frames with fields that nobody knows, which are left out."""

HELLOS = {
    "no JSON": b"GET / HTTP/1.1\n",
    "no service": b'{"op":"hello"}\n',
    "an unknown service": b'{"service":"shell"}\n',
    "a service of the wrong type": b'{"service":{"chat":1}}\n',
    "a hello without a name": b'{"service":"chat","op":"hello","version":"1"}\n',
    "a hello with a strange name": '{"service":"chat","op":"hello","version":"1","client":"ü ö"}\n'.encode(),
    "an unknown operation": b'{"service":"control","op":"explode"}\n',
    "another version": b'{"service":"chat","op":"hello","version":"0.0.0-other","client":"c"}\n',
}


@pytest_asyncio.fixture
async def socket(daemon_launcher: DaemonLauncher, home: Home) -> AsyncIterator[Path]:
    """A daemon's socket. It has to stop in good order, with nothing in its log that is an error."""
    log = home.path / "daemon.log"
    daemon = daemon_launcher.start(ChildOptions(home=str(home.path), log=str(log), pause=0.0))
    assert await daemon.ready(), log.read_text()
    yield home.socket
    daemon.signal(signal.SIGTERM)
    code = await daemon.ended()
    told = log.read_text()
    assert code == 0, told
    assert "Traceback" not in told
    assert " ERROR " not in told


async def works(client: RawClient, message_id: str = "next") -> None:
    """The connection takes a message, and the answer comes."""
    await client.frame({"op": "message", "id": message_id, "text": "still there?"})
    assert (await client.answer_to(message_id))["text"] == "still there?"


async def works_anew(socket: Path, message_id: str = "anew") -> None:
    async with RawClient(socket) as client:
        assert (await client.attach("another"))["op"] == "welcome"
        await works(client, message_id)


@pytest.mark.parametrize("name", STRANGE_TEXTS)
async def test_a_strange_text_is_answered_as_it_is(socket: Path, name: str) -> None:
    async with RawClient(socket) as client:
        await client.attach()
        await client.frame({"op": "message", "id": "strange", "text": STRANGE_TEXTS[name]})
        answer = await client.answer_to("strange")
        assert (answer["text"], answer["repeated"]) == (STRANGE_TEXTS[name], False)
        await works(client)


@pytest.mark.parametrize("name", REFUSED_TEXTS)
async def test_a_text_that_cannot_be_taken_is_refused_by_name(socket: Path, name: str) -> None:
    text, words = REFUSED_TEXTS[name]
    async with RawClient(socket) as client:
        await client.attach()
        await client.frame({"op": "message", "id": "bad", "text": text})
        refusal = await client.next("refused")
        assert refusal["id"] == "bad"
        assert words in refusal["reason"]
        await works(client)


async def test_a_text_that_the_gateway_refuses_is_received_and_answered_with_the_reason(socket: Path) -> None:
    async with RawClient(socket) as client:
        await client.attach()
        await client.frame({"op": "message", "id": "long", "text": "x" * (MAX_CHARACTERS + 1)})
        receipt = await client.next("accepted", "refused", "show")
        assert (receipt["op"], receipt["state"]) == ("accepted", "refused")
        answer = await client.answer_to("long")
        assert answer["kind"] == "error"
        assert f"{MAX_CHARACTERS + 1:,} characters" in answer["text"]
        await works(client)


@pytest.mark.parametrize("name", FRAMES)
async def test_a_frame_that_is_none_is_told_so(socket: Path, name: str) -> None:
    async with RawClient(socket) as client:
        await client.attach()
        await client.bytes(FRAMES[name])
        if name in TAKEN:
            assert (await client.answer_to("d"))["text"] == "x"
        elif name not in SILENT:
            told = await client.next("error", "refused")
            assert told.get("text") or told.get("reason")
        await works(client)


@pytest.mark.parametrize("name", HELLOS)
async def test_a_first_frame_that_asks_for_nothing_known_is_answered(socket: Path, name: str) -> None:
    async with RawClient(socket) as client:
        await client.bytes(HELLOS[name])
        told = await client.next()
        if name == "another version":
            assert told["op"] == "welcome"
        else:
            assert told.get("text") or told.get("error")
        await works_anew(socket)


async def test_a_first_frame_that_is_none_may_be_followed_by_one(socket: Path) -> None:
    async with RawClient(socket) as client:
        await client.bytes(b"hello there\n")
        assert (await client.next())["op"] == "error"
        assert (await client.attach())["op"] == "welcome"
        await works(client)


@pytest.mark.parametrize("first", [True, False])
async def test_a_frame_beyond_the_limit_ends_the_connection_with_a_reason(socket: Path, first: bool) -> None:
    async with RawClient(socket) as client:
        if not first:
            await client.attach()
        sending = asyncio.create_task(client.bytes(b'{"text":"' + b"x" * (MAX_FRAME_BYTES + 1) + b'"}\n'))
        told = await client.next("error")
        assert f"{MAX_FRAME_BYTES}" in told["text"]
        assert await client.next() == {}
        await sending
    await works_anew(socket)


@pytest.mark.parametrize(
    "data", [b'{"op":"message","id":"half","te', b'{"op":"message","id":"half","text":"no line end"}', b"\xff\x00"]
)
async def test_half_a_frame_and_then_nothing_is_no_message(socket: Path, data: bytes) -> None:
    async with RawClient(socket) as client:
        await client.attach()
        await works(client, "before")
        await client.bytes(data)
        client.end()
        while await client.next():
            pass
    await works_anew(socket)


async def test_a_client_that_goes_in_the_middle_of_its_answer(socket: Path) -> None:
    for number in range(5):
        async with RawClient(socket) as client:
            await client.attach(f"leaver{number}")
            await client.frame({"op": "message", "id": f"left{number}", "text": f"m{number} chain"})
            await client.next("accepted")
    await works_anew(socket)


async def test_the_same_message_twice_is_answered_once(socket: Path) -> None:
    async with RawClient(socket) as client:
        await client.attach()
        await client.frame({"op": "message", "id": "one", "text": "once"})
        await client.frame({"op": "message", "id": "one", "text": "once, in other words"})
        assert not (await client.next("accepted"))["duplicate"]
        assert (await client.next("accepted"))["duplicate"]
        await works(client)
        await client.frame({"service": "control", "op": "status"})
    async with RawClient(socket) as client:
        await client.frame({"service": "control", "op": "status"})
        status = (await client.next())["status"]
    assert status["counters"]["turns.answered"] == 2


async def piped(
    socket: Path, home: Path, text: bytes | str, *, message: str | None = None, json_mode: bool = False
) -> tuple[int, str, str]:
    """Chat with this on standard input: the exit code, what was written, and what was said of errors."""
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    raw = io.BytesIO(), io.BytesIO()
    out, err = (io.TextIOWrapper(stream, "utf-8", write_through=True) for stream in raw)
    options = ChatOptions(
        socket=socket,
        home=home,
        message=message,
        json_mode=json_mode,
        interactive=False,
        stdin=io.TextIOWrapper(io.BytesIO(data), "utf-8"),
        stdout=out,
        stderr=err,
        patience=5.0,
    )
    code = await asyncio.wait_for(chat(options), 30)
    return code, raw[0].getvalue().decode(), raw[1].getvalue().decode()


async def test_a_pipe_with_blank_lines_and_nothing_else(socket: Path, tmp_path: Path) -> None:
    assert await piped(socket, tmp_path, "\n  \n\t\n") == (0, "", "")


@pytest.mark.parametrize("message", ["", " "])
async def test_an_empty_message_is_refused_in_words_alone(socket: Path, tmp_path: Path, message: str) -> None:
    assert await piped(socket, tmp_path, "", message=message) == (1, "", "error: not sent: the message is empty\n")


@pytest.mark.parametrize(
    ("line", "words"), [("a\0b", "NUL"), ("x" * 1_000_000, "bytes"), ("y" * 300_000, "300,000 characters")]
)
async def test_a_pipe_says_what_was_not_sent_and_goes_on(socket: Path, tmp_path: Path, line: str, words: str) -> None:
    code, out, err = await piped(socket, tmp_path, f"first\n{line}\nlast\n")
    assert code == 1
    assert out.splitlines() == ["first", "last"]
    assert words in err
    assert len(err.splitlines()) == 1, "a refusal is told once"
    assert "Traceback" not in err


@pytest.mark.parametrize("line", [RIGHT_TO_LEFT, "€\U0010ffff\u200b", "tab\tand \x1b[31mcolour"])
async def test_a_pipe_gets_strange_text_back(socket: Path, tmp_path: Path, line: str) -> None:
    code, out, err = await piped(socket, tmp_path, f"{line}\nlast\n")
    assert (code, out, err) == (0, f"{line}\nlast\n", "")


async def test_a_pipe_with_bytes_that_are_no_text(socket: Path, tmp_path: Path) -> None:
    code, out, err = await piped(socket, tmp_path, b"before \xff\xfe\xed\xa0\x80 after\nlast\n", json_mode=True)
    texts = [json.loads(line)["text"] for line in out.splitlines() if json.loads(line)["type"] == "message"]
    assert (code, err) == (0, "")
    assert texts[0].startswith("before \ufffd")
    assert texts[1:] == ["last"]


async def test_a_message_without_a_chat_or_an_id_is_no_message(tmp_path: Path) -> None:
    config, clock = GatewayConfig(), SystemClock()
    async with Database.open(tmp_path / "gateway.db") as database:
        store = SessionStore(database, config, clock=clock)
        taken: list[str] = []
        inbox = Inbox(
            database,
            store,
            config,
            clock,
            on_message=lambda record: taken.append(record.text),
            on_delivery=lambda _target: None,
        )
        nowhere = SessionSource(platform=Platform.TELEGRAM, chat_id="", user_id="1")
        with pytest.raises(InvalidMessageError, match="chat"):
            await inbox.accept(InboundMessage(nowhere, "1", "hello"), operator=True)
        somewhere = SessionSource.local_cli()
        with pytest.raises(InvalidMessageError, match="id"):
            await inbox.accept(InboundMessage(somewhere, "", "hello"), operator=True)
        await inbox.accept(InboundMessage(somewhere, "1", "hello"), operator=True)
        assert taken == ["hello"]
