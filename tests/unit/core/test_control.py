"""The socket: each client gets the service that it names, and none keeps the gateway from stopping."""

import asyncio
import logging
import stat
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.control import ControlError, ControlServer, answer
from gateway.frames import StreamConnection, connect
from gateway.ports import FrameConnection


async def echo(connection: FrameConnection, hello: Mapping[str, Any]) -> None:
    await answer(connection, {"you": hello})
    while (frame := await connection.receive()) is not None:
        await answer(connection, frame)


async def exchange(path: Path, *frames: Mapping[str, Any]) -> list[dict[str, Any] | None]:
    connection = await connect(str(path))
    try:
        answers = []
        for frame in frames:
            await connection.send(frame)
            answers.append(await connection.receive())
        return answers
    finally:
        await connection.close()


def server(counters: Counter[str] | None = None) -> ControlServer:
    control = ControlServer(Counter() if counters is None else counters)
    control.serve("echo", echo)
    return control


async def test_a_client_gets_its_service_and_only_the_owner_gets_in(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.touch()  # what a process that was killed left
    async with server().listen(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        hello = {"service": "echo", "n": 1}
        assert await exchange(path, hello, {"n": 2}) == [{"you": hello}, {"n": 2}]
    assert not path.exists()


async def test_a_client_may_try_again(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with server().listen(path):
        connection = await connect(str(path))
        connection._writer.write(b"nonsense\n")
        assert "JSON" in str(await connection.receive())
        await connection.send({"service": "unknown"})
        assert "echo" in str(await connection.receive())
        await connection.send({"service": "echo"})
        assert await connection.receive() == {"you": {"service": "echo"}}
        connection._writer.write(b"nonsense\n")  # its service does not expect this: told, and that is the end
        assert "JSON" in str(await connection.receive())
        assert await connection.receive() is None
        await connection.close()


async def test_a_silent_client_is_sent_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.control.HELLO_TIMEOUT_SECONDS", 0.005)
    path = tmp_path / "s"
    async with server().listen(path):
        connection = await connect(str(path))
        assert "no frame came" in str(await connection.receive())
        assert await connection.receive() is None
        await connection.close()


async def test_there_is_a_limit_of_clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.control.MAX_CLIENTS", 1)
    path = tmp_path / "s"
    async with server().listen(path):
        first = await connect(str(path))
        await first.send({"service": "echo"})
        await first.receive()
        second = await connect(str(path))
        assert "too many" in str(await second.receive())
        await second.close()
        await first.close()


async def test_a_service_with_a_mistake_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(_connection: FrameConnection, _hello: Mapping[str, Any]) -> None:
        raise RuntimeError("a mistake")

    counters: Counter[str] = Counter()
    control = server(counters)
    control.serve("broken", broken)
    path = tmp_path / "s"
    async with control.listen(path):
        with caplog.at_level(logging.CRITICAL):
            assert await exchange(path, {"service": "broken"}) == [None]
        assert counters["control.errors"] == 1
        assert await exchange(path, {"service": "echo"}) == [{"you": {"service": "echo"}}]


async def test_the_end_waits_for_no_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.frames.FRAME_CLOSE_SECONDS", 0.01)
    flooding = asyncio.Event()

    async def flood(connection: FrameConnection, _hello: Mapping[str, Any]) -> None:
        flooding.set()
        while True:
            await connection.send({"x": "y" * 1_000_000})

    control = server()
    control.serve("flood", flood)
    path = tmp_path / "s"
    clients: list[StreamConnection] = []
    async with asyncio.timeout(5):
        async with control.listen(path):
            for service in ("echo", "flood"):
                clients.append(await connect(str(path)))
                await clients[-1].send({"service": service})
            await flooding.wait()
    for client in clients:
        await client.close()


async def test_a_path_too_long_for_a_socket_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="HERMES_GATEWAY_HOME"):
        async with server().listen(tmp_path / ("x" * 120)):
            pass
    with pytest.raises(ControlError, match="cannot open"):
        async with server().listen(tmp_path / "no folder" / "s"):
            pass
