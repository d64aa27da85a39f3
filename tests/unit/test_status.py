"""Asking the gateway how it is: nobody there, a gateway, and what is none."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from config import Home
from gateway.status import StatusError, ask, ask_to_reload
from hermes_gateway import main


@contextlib.asynccontextmanager
async def listener(path: Path, answer: bytes | None, *, silent: bool = False) -> AsyncIterator[list[Any]]:
    """Answers the first frame with these bytes, hangs up without any, or stays silent; yields what it got."""
    got: list[Any] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(json.loads(await reader.readline()))
        if silent:
            await reader.read()
        elif answer is not None:
            writer.write(answer)
        writer.close()

    server = await asyncio.start_unix_server(serve, path)
    async with server:
        yield got


async def test_nobody_listens(tmp_path: Path) -> None:
    assert await ask(tmp_path / "none.sock") is None
    server = await asyncio.start_unix_server(lambda _reader, writer: writer.close(), tmp_path / "stale.sock")
    server.close()
    assert (tmp_path / "stale.sock").exists()
    assert await ask(tmp_path / "stale.sock") is None


async def test_a_gateway_answers(tmp_path: Path) -> None:
    async with listener(tmp_path / "s", b'{"ok": true, "status": {"pid": 7}}\n') as got:
        assert await ask(tmp_path / "s") == {"pid": 7}
    assert got == [{"service": "control", "op": "status"}]


async def test_a_gateway_is_asked_to_reload(tmp_path: Path) -> None:
    async with listener(tmp_path / "s", b'{"ok": true, "reload": {"ok": false}}\n') as got:
        assert await ask_to_reload(tmp_path / "s") == {"ok": False}
    assert got == [{"service": "control", "op": "reload"}]
    async with listener(tmp_path / "t", b'{"ok": false, "error": "not now"}\n'):
        with pytest.raises(StatusError, match="not now"):
            await ask_to_reload(tmp_path / "t")


@pytest.mark.parametrize(
    "answered",
    [
        b'{"ok": false, "error": "unknown operation; known: status"}\n',
        b'{"op": "error", "text": "the first frame must name a service: chat, control"}\n',
    ],
)
async def test_a_gateway_of_before_an_upgrade_is_named(
    tmp_path: Path, answered: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a later version asks for it does not know; whoever upgraded is told what to do, and not how it says so."""
    monkeypatch.setenv("HERMES_GATEWAY_HOME", str(tmp_path))
    commands = (["config", "reload"], ["keys", "list"], ["pairing", "list"], ["send", "--to", "local", "x"])
    async with listener(Home(tmp_path).socket, answered):
        for command in commands:
            assert await asyncio.to_thread(main, command) == 1
            said = capsys.readouterr().err
            assert "another version: stop it, and start it again" in said, command
            assert "unknown operation" not in said
            assert "first frame" not in said


@pytest.mark.parametrize("answer", [None, b"no frame\n"])
async def test_one_that_is_going_away_counts_as_gone(tmp_path: Path, answer: bytes | None) -> None:
    async with listener(tmp_path / "s", answer):
        assert await ask(tmp_path / "s") is None


async def test_an_error_is_told(tmp_path: Path) -> None:
    async with listener(tmp_path / "s", b'{"op": "error", "text": "too many clients"}\n'):
        with pytest.raises(StatusError, match="too many clients"):
            await ask(tmp_path / "s")


async def test_silence_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.status.STATUS_TIMEOUT_SECONDS", 0.05)
    async with listener(tmp_path / "s", None, silent=True):
        with pytest.raises(StatusError, match="does not answer"):
            await ask(tmp_path / "s")


async def test_an_address_that_is_too_long_is_told(tmp_path: Path) -> None:
    with pytest.raises(StatusError, match="cannot reach"):
        await ask(tmp_path / ("x" * 120))
