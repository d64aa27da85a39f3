"""The gateway as a service: its unit, what it tells the service manager, its log, and a shell that completes."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
PROGRAM: Final = str(ROOT / "hermes_gateway.py")
SECONDS: Final = 30.0


def environment(home: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in ("LANG", "VIRTUAL_ENV")}
    return kept | {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "HERMES_GATEWAY_HOME": str(home / "gateway"),
        "HERMES_GATEWAY__HTTP__ENABLED": "false",
        "HERMES_GATEWAY__AGENT": "echo",
        "LC_ALL": "C.UTF-8",
        **more,
    }


def call(home: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, PROGRAM, *arguments],
        env=environment(home, **more),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def systemctl(tmp_path: Path) -> Path:
    """A folder with a systemctl that writes down what it is told, and fails where a file says so."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "systemctl"
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/told\n'
        f"if [ -e {tmp_path}/fails ]; then echo 'Failed to connect to bus' >&2; exit 1; fi\n"
    )
    program.chmod(0o755)
    return folder


def test_a_service_is_installed_and_taken_away(tmp_path: Path, systemctl: Path) -> None:
    path = f"{systemctl}:{os.environ['PATH']}"
    unit = tmp_path / ".config/systemd/user/hermes-gateway.service"
    done = call(tmp_path, "service", "install", "--user", PATH=path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{unit}\n"
    assert f"HERMES_GATEWAY_HOME={tmp_path}/gateway\n" in unit.read_text()
    assert unit.read_text() == call(tmp_path, "service", "print", "--user").stdout
    assert "another unit" not in done.stderr
    told = tmp_path / "told"
    assert told.read_text().splitlines() == ["--user daemon-reload", "--user enable --now hermes-gateway.service"]
    unit.write_text("[Unit]\n")
    assert "another unit" in call(tmp_path, "service", "install", "--user", PATH=path).stderr
    told.unlink()
    assert call(tmp_path, "service", "uninstall", "--user", PATH=path).returncode == 0
    assert told.read_text().splitlines() == ["--user disable --now hermes-gateway.service", "--user daemon-reload"]
    assert not unit.exists()
    assert call(tmp_path, "service", "uninstall", "--user", PATH=path).returncode == 1


def test_a_dry_run_does_nothing(tmp_path: Path, systemctl: Path) -> None:
    done = call(tmp_path, "service", "install", "--user", "--dry-run", PATH=f"{systemctl}:{os.environ['PATH']}")
    assert done.returncode == 0
    assert "ExecStart=" in done.stdout
    assert "systemctl --user enable --now hermes-gateway.service" in done.stderr
    assert not (tmp_path / ".config").exists()
    assert not (tmp_path / "told").exists()


def test_what_systemd_says_is_told(tmp_path: Path, systemctl: Path) -> None:
    (tmp_path / "fails").touch()
    done = call(tmp_path, "service", "install", "--user", PATH=f"{systemctl}:{os.environ['PATH']}")
    assert done.returncode == 1
    assert "Failed to connect to bus" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_machine_without_systemd_is_told(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    done = call(tmp_path, "service", "install", "--user", PATH=str(empty))
    assert done.returncode == 1
    assert "there is no systemd here" in done.stderr
    assert not (tmp_path / ".config").exists()


async def test_the_manager_hears_the_life_of_a_gateway(tmp_path: Path) -> None:
    """Alive from the beginning, ready once it is, alive again and again, and stopping when it is told to."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            PROGRAM,
            "run",
            env=environment(tmp_path, NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="600000"),
            stderr=asyncio.subprocess.DEVNULL,
        )
        loop = asyncio.get_running_loop()
        heard: list[str] = []

        async def hears(start: str) -> None:
            async with asyncio.timeout(SECONDS):
                while True:
                    heard.append((await loop.sock_recv(listener, 65536)).decode())
                    if heard[-1].startswith(start):
                        return

        try:
            await hears("READY=1\nSTATUS=ready: hermes-gateway")
            assert heard[0] == "WATCHDOG=1"
            await hears("WATCHDOG=1")
            await hears("WATCHDOG=1")
            process.send_signal(signal.SIGTERM)
            await hears("STOPPING=1")
            assert await asyncio.wait_for(process.wait(), SECONDS) == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def test_a_loop_that_hangs_is_not_heard(tmp_path: Path) -> None:
    """A process that is stopped sends nothing: the manager would restart it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        code = (
            "import asyncio, time\n"
            "from gateway.notify import ServiceManager\n"
            "async def main():\n"
            "    manager = ServiceManager()\n"
            "    async with manager.watched():\n"
            "        manager.ready('ready')\n"
            "        await asyncio.sleep(0.2)\n"
            "        manager.tell('STATUS=hanging')\n"
            "        time.sleep(1)\n"
            "        manager.tell('STATUS=back')\n"
            "asyncio.run(main())\n"
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            code,
            cwd=ROOT,
            env=environment(tmp_path, NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="150000"),
        )
        loop = asyncio.get_running_loop()
        heard: list[str] = []
        async with asyncio.timeout(SECONDS):
            while not heard or heard[-1] != "STATUS=back":
                heard.append((await loop.sock_recv(listener, 65536)).decode())
            assert await process.wait() == 0
    hanging = heard.index("STATUS=hanging")
    assert heard[:hanging].count("WATCHDOG=1") >= 2
    assert heard[hanging:] == ["STATUS=hanging", "STATUS=back"]


async def test_a_log_is_followed_into_the_next_file(tmp_path: Path) -> None:
    log = tmp_path / "gateway" / "logs" / "gateway.log"
    log.parent.mkdir(parents=True)
    log.write_text("first\nsecond\n")
    process = await asyncio.create_subprocess_exec(
        sys.executable, PROGRAM, "logs", "-f", "--limit", "1", env=environment(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None

    async def next_line() -> bytes:
        assert process.stdout is not None
        return await asyncio.wait_for(process.stdout.readline(), SECONDS)

    try:
        assert await next_line() == b"second\n"
        with log.open("a") as stream:
            stream.write("third\n")
        log.rename(log.with_name("gateway.log.1"))
        log.write_text("fourth\n")
        assert [await next_line(), await next_line()] == [b"third\n", b"fourth\n"]
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), SECONDS) == 130
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def test_no_log_yet(tmp_path: Path) -> None:
    done = call(tmp_path, "logs")
    assert done.returncode == 1
    assert "hermes-gateway run" in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_told_how_to_complete(tmp_path: Path, shell: str) -> None:
    done = call(tmp_path, "completion", shell)
    assert done.returncode == 0
    assert "_HERMES_GATEWAY_COMPLETE" in done.stdout
    assert (tmp_path / "gateway").exists() is False


@pytest.mark.parametrize(("words", "wanted"), [("hermes-gateway se", "setup"), ("hermes-gateway setup te", "telegram")])
def test_bash_completes(tmp_path: Path, words: str, wanted: str) -> None:
    """By the script itself, in a bash whose `hermes-gateway` is this one."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "hermes-gateway"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{PROGRAM}" "$@"\n')
    program.chmod(0o755)
    script = (
        'eval "$(hermes-gateway completion bash)"\n'
        f"COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n"
        '_hermes_gateway_completion hermes-gateway; printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        ["bash", "-c", script],
        env=environment(tmp_path, PATH=f"{folder}:{os.environ['PATH']}"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert wanted in done.stdout.splitlines(), done.stderr
