"""What the service manager hears, by a socket as systemd has one."""

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.notify import ServiceManager


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        yield listener


def heard(listener: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found.append(listener.recv(65536).decode())
        except BlockingIOError:
            return found


def test_ready_and_stopping(manager: socket.socket, tmp_path: Path) -> None:
    told = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "notify")})
    told.ready("ready: all\nis well")
    told.stopping()
    assert heard(manager) == [
        "READY=1\nSTATUS=ready: all is well",
        "STOPPING=1\nSTATUS=finishing what is under way",
    ]


def test_an_abstract_address() -> None:
    name = f"hermes-gateway-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}")
        listener.setblocking(False)
        ServiceManager({"NOTIFY_SOCKET": f"@{name}"}).tell("READY=1")
        assert heard(listener) == ["READY=1"]


async def test_the_loop_itself_says_that_it_is_alive(manager: socket.socket, tmp_path: Path) -> None:
    """Three times within the period, and not once it hangs."""
    naps: list[float] = []
    go = asyncio.Event()

    async def sleep(seconds: float) -> None:
        naps.append(seconds)
        await go.wait()
        go.clear()

    environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}
    async with ServiceManager(environ).watched(sleep):
        await asyncio.sleep(0)
        assert heard(manager) == ["WATCHDOG=1"]
        assert naps == [10.0]
        assert heard(manager) == [], "a loop that does not turn says nothing"
        go.set()
        await asyncio.sleep(0.01)
        assert heard(manager) == ["WATCHDOG=1"]
    await asyncio.sleep(0.01)
    assert heard(manager) == []


@pytest.mark.parametrize("more", [{}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "9", "WATCHDOG_PID": "1"}])
async def test_nobody_watches(manager: socket.socket, tmp_path: Path, more: dict[str, str]) -> None:
    async with ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "notify"), **more}).watched():
        await asyncio.sleep(0.01)
    assert heard(manager) == []


def test_nobody_listens(tmp_path: Path) -> None:
    """A manager that is not there, or has gone, is no reason to fail."""
    ServiceManager({}).ready("well")
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready("well")
    assert not ServiceManager({}).listens
