"""The socket's frames: one JSON object a line, and nothing else gets through."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.constants import MAX_FRAME_BYTES
from gateway.frames import FrameError, StreamConnection, connect, decode, encode

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.text(st.characters()), JSON, max_size=4))
def test_any_object_passes_on_one_line(frame: dict[str, Any]) -> None:
    line = encode(frame)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode(line) == frame


@pytest.mark.parametrize("line", [b"", b"\n", b"{", b"[]", b"1", b"null", b'"x"', b"\xff{}", b"[" * 100_000])
def test_what_is_no_frame_says_so(line: bytes) -> None:
    with pytest.raises(FrameError) as caught:
        decode(line)
    assert not caught.value.fatal


class Pair:
    """A client and the other end of its stream."""

    def __init__(self, client: StreamConnection, server: StreamConnection) -> None:
        self.client = client
        self.server = server


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    accepted: asyncio.Queue[StreamConnection] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.put_nowait(StreamConnection(reader, writer))

    path = tmp_path / "s"
    server = await asyncio.start_unix_server(serve, path, limit=MAX_FRAME_BYTES)
    client = await connect(str(path))
    other = await accepted.get()
    yield Pair(client, other)
    await client.close()
    await other.close()
    server.close()


async def send_on(connection: StreamConnection) -> None:
    """Write until the other side is known to have gone."""
    for _ in range(100):
        await connection.send({})
        await asyncio.sleep(0.001)


async def test_frames_go_both_ways_and_the_end_is_none(pair: Pair) -> None:
    await pair.client.send({"n": 1})
    await pair.client.send({"text": "a\nb\ud800"})
    assert await pair.server.receive() == {"n": 1}
    assert await pair.server.receive() == {"text": "a\nb\ud800"}
    await pair.server.send({"ok": True})
    assert await pair.client.receive() == {"ok": True}
    await pair.client.close()
    assert await pair.server.receive() is None
    with pytest.raises(ConnectionError):
        await send_on(pair.server)


async def test_a_broken_frame_leaves_the_stream_readable_and_a_huge_one_does_not(pair: Pair) -> None:
    pair.client._writer.write(b"nonsense\n" + encode({"n": 2}))
    with pytest.raises(FrameError) as caught:
        await pair.server.receive()
    assert not caught.value.fatal
    assert await pair.server.receive() == {"n": 2}
    sending = asyncio.ensure_future(pair.client.send({"x": "y" * MAX_FRAME_BYTES}))
    with pytest.raises(FrameError) as caught:
        await pair.server.receive()
    assert caught.value.fatal
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)


async def test_closing_does_not_wait_for_a_client_that_reads_nothing(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.frames.FRAME_CLOSE_SECONDS", 0.01)
    sending = asyncio.ensure_future(pair.server.send({"x": "y" * (MAX_FRAME_BYTES - 100)}))
    await asyncio.sleep(0.005)
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    await asyncio.wait_for(pair.server.close(), 5)
