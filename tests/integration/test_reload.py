"""The configuration changes while the real gateway runs, in a process of its own: by signal, by file, by command."""

import asyncio
import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from config import Home
from gateway.status import ask, ask_to_reload
from tests.support.gateway_client import RawClient

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = (sys.executable, str(ROOT / "hermes_gateway.py"))
SECONDS = 30.0
BASE = "http: {enabled: false}\n"
SLOW = "agents: {a: {type: echo, delay_ms: 150}}\n"
LONG = "one two three four five six seven eight nine ten"


def environment(home: Home) -> dict[str, str]:
    return {"PATH": os.defpath, "LANG": "C.UTF-8", "HOME": str(home.path), "HERMES_GATEWAY_HOME": str(home.path)}


class Gateway:
    """A gateway that runs, its file, and what can be asked of it."""

    def __init__(self, home: Home, process: "subprocess.Popen[str]") -> None:
        self.home = home
        self.process = process

    def write(self, text: str) -> None:
        """Replace the file, as careful editors do."""
        new = self.home.path / "gateway.yaml.new"
        new.write_text(text)
        new.replace(self.home.config_file)

    async def status(self) -> dict[str, Any]:
        status = await ask(self.home.socket)
        assert status is not None
        return dict(status)

    async def reloaded(self, ok: bool = True, trigger: str | None = None) -> dict[str, Any]:
        """What the next reload that ends like this came to."""
        async with asyncio.timeout(SECONDS):
            while True:
                last = (await self.status())["config"]["reload"]
                if last and last["ok"] is ok and trigger in (None, last["trigger"]):
                    return dict(last)
                await asyncio.sleep(0.05)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(SECONDS):
            while not condition():
                await asyncio.sleep(0.02)

    @property
    def shown(self) -> list[str]:
        """What the played platforms saw, in order."""
        file = self.home.path / "shown"
        return file.read_text().splitlines() if file.exists() else []

    def command(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*PROGRAM, *words], env=environment(self.home), capture_output=True, text=True, timeout=60, check=False
        )


@contextlib.contextmanager
def started(home: Home, command: tuple[str, ...], text: str) -> Iterator[Gateway]:
    home.config_file.write_text(text)
    with subprocess.Popen(command, env=environment(home), stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            yield Gateway(home, process)
            process.send_signal(signal.SIGTERM)
            assert process.wait(SECONDS) == 0
        finally:
            process.kill()


@contextlib.asynccontextmanager
async def program(home: Home, text: str) -> AsyncIterator[Gateway]:
    """`hermes-gateway run` over this file."""
    with started(home, (*PROGRAM, "run"), text) as gateway:
        async with asyncio.timeout(SECONDS):
            while await ask(home.socket) is None:
                await asyncio.sleep(0.05)
        yield gateway


@contextlib.contextmanager
def played(home: Home, text: str) -> Iterator[Gateway]:
    """The daemon with platforms of which the test plays the people."""
    with started(home, (sys.executable, "-m", "tests.support.reload_child", str(home.path)), text) as gateway:
        assert gateway.process.stdout is not None
        assert gateway.process.stdout.readline() == "ready\n"
        yield gateway


def telegram(*allowed: str, token: str = "t1") -> str:
    section = f"token: {token}, dm_policy: allowlist, allowed_users: {json.dumps(allowed)}"
    return f"{BASE}agent: echo\nplatforms: {{telegram: {{{section}}}}}\n"


# --- by signal and by file -----------------------------------------------------------------------------


async def test_a_turn_that_runs_ends_with_the_agent_that_it_has(home: Home) -> None:
    async with program(home, BASE + SLOW) as gateway, RawClient(home.socket) as client:
        await client.attach()
        await client.frame({"op": "message", "id": "m1", "text": LONG})
        begun = await client.next("show")
        gateway.write(BASE + "agents: {b: {type: echo, delay_ms: 0}}\n")
        gateway.process.send_signal(signal.SIGHUP)
        result = await gateway.reloaded(trigger="signal")
        assert result["applied"] == ["agents.a", "agents.b"]
        status = await gateway.status()
        assert status["agent"] == "b"
        assert status["turns"]["running"] == 1
        begin = time.monotonic()
        first = await client.answer_to("m1")
        assert LONG in begun["text"] + first["text"]
        assert time.monotonic() - begin > 0.15
        await client.frame({"op": "message", "id": "m2", "text": LONG})
        second = await client.answer_to("m2")
        assert LONG in second["text"]
        status = await gateway.status()
        assert (status["sessions"]["total"], status["outbox"]["repeated"]) == (1, 0)


async def test_the_file_is_noticed_and_a_bad_one_changes_nothing(home: Home) -> None:
    async with program(home, BASE + "agent: echo\n") as gateway:
        gateway.write(BASE + "agent: echo\nbusi: steer\n")
        result = await gateway.reloaded(ok=False, trigger="file")
        assert f"{home.config_file}:3: busi: " in result["problems"][0]
        status = gateway.command("status")
        assert "busi" in status.stdout
        gateway.write(BASE + "agent: echo\nbusy: steer\nlogging: {level: debug, format: json}\n")
        result = await gateway.reloaded(trigger="file")
        assert result["applied"] == ["busy", "logging.level"]
        assert result["needs_restart"] == ["logging.format"]
        assert "logging.format" in gateway.command("status").stdout
    log = (home.logs_dir / "gateway.log").read_text()
    assert "ERROR" in log
    assert "busi" in log


async def test_the_command_tells_what_came_of_it(home: Home) -> None:
    nobody = subprocess.run(
        [*PROGRAM, "config", "reload"], env=environment(home), capture_output=True, text=True, timeout=60, check=False
    )
    assert (nobody.returncode, nobody.stdout) == (1, "")
    assert "not running" in nobody.stderr
    async with program(home, BASE + "agent: echo\n") as gateway:
        gateway.write("http: {enabled: false, port: 1}\nagent: echo\nbusy: steer\n")
        done = gateway.command("config", "reload")
        assert (done.returncode, done.stderr) == (0, "")
        assert set(done.stdout.splitlines()) <= {"in force: busy", "needs a restart: http.port"}
        assert "needs a restart: http.port" in done.stdout
        gateway.write("busy: [\n")
        refused = gateway.command("config", "reload")
        assert (refused.returncode, refused.stdout) == (78, "")
        assert f"{home.config_file}:" in refused.stderr
        assert "Nothing was changed." in refused.stderr
        refused = gateway.command("config", "reload", "--json")
        assert refused.returncode == 78
        assert json.loads(refused.stdout)["ok"] is False
        gateway.write("http: {enabled: false}\nagent: echo\nbusy: steer\n")
        await gateway.reloaded()


# --- people and platforms ------------------------------------------------------------------------------


async def say(client: RawClient, user: str, message_id: str) -> str:
    await client.frame({"service": "telegram", "user": user, "id": message_id, "text": message_id})
    return str((await client.next())["state"])


async def test_revoking_someone_acts_on_the_next_message(home: Home) -> None:
    with played(home, telegram("ann", "ben")) as gateway:
        async with RawClient(home.socket) as people:
            assert await say(people, "ann", "m1") == "pending"
            assert await say(people, "ben", "m2") == "pending"
            gateway.write(telegram("ben"))
            result = await gateway.reloaded(trigger="file")
            assert result["applied"] == ["platforms.telegram.allowed_users"]
            assert await say(people, "ann", "m3") == "ignored"
            assert await say(people, "ben", "m4") == "pending"
            await gateway.until(lambda: len(gateway.shown) == 4)
        # The same adapter all the time.
        assert [line.split()[-1] for line in gateway.shown] == ["up", *[f"m{number}" for number in (1, 2, 4)]]


async def test_a_platform_with_another_token_is_reached_anew_and_its_neighbour_is_left_alone(home: Home) -> None:
    both = "platforms:\n  telegram: {token: %s, allowed_users: ['*']}\n  discord: {token: d, allowed_users: ['*']}\n"
    with played(home, BASE + SLOW + both % "t1") as gateway:
        async with RawClient(home.socket) as people:
            assert await say(people, "ann", "one two three") == "pending"
            gateway.write(BASE + SLOW + both % "t2")
            result = await ask_to_reload(home.socket)
            assert result is not None
            assert result["ok"]
        await gateway.until(lambda: "telegram t2 one two three" in gateway.shown)
        states = (await gateway.status())["adapters"]
        assert {name: state["state"] for name, state in states.items()} == {
            "local": "connected",
            "telegram": "connected",
            "discord": "connected",
        }
        assert [line for line in gateway.shown if line.startswith("discord")] == ["discord d up"]
        assert [line for line in gateway.shown if line.startswith("telegram")] == [
            "telegram t1 up",
            "telegram t1 down",
            "telegram t2 up",
            "telegram t2 one two three",
        ]


async def test_what_is_to_be_sent_waits_while_its_platform_is_away(home: Home) -> None:
    with played(home, telegram("ann")) as gateway:
        async with RawClient(home.socket) as people:
            gateway.write(telegram("ann").replace("agent: echo", "agent: a") + SLOW)
            await gateway.reloaded(trigger="file")
            assert await say(people, "ann", "one two three four") == "pending"
            gateway.write(BASE + "agent: a\n" + SLOW)
            assert (await ask_to_reload(home.socket) or {})["applied"] == ["platforms.telegram"]
        async with asyncio.timeout(SECONDS):
            while not (await gateway.status())["outbox"]["pending"]:
                await asyncio.sleep(0.02)
        assert set((await gateway.status())["adapters"]) == {"local"}
        assert gateway.shown[-1] == "telegram t1 down"
        gateway.write(telegram("ann"))
        await gateway.until(lambda: gateway.shown[-1] == "telegram t1 one two three four")


# --- the terminal that it was started from -------------------------------------------------------------


@pytest.mark.parametrize("gone", [True, False])
def test_a_hangup_stops_only_if_the_terminal_is_gone(home: Home, gone: bool) -> None:
    home.config_file.write_text(BASE + "agent: echo\n")
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(PROGRAM[0], [*PROGRAM, "run"], environment(home))
    try:
        seen = b""
        while b"ready: " not in seen:
            seen += os.read(terminal, 4096)
        if gone:
            os.close(terminal)
        else:
            home.config_file.write_text(BASE + "agent: echo\nbusy: steer\n")
            os.kill(pid, signal.SIGHUP)
            while b"busy" not in seen:
                seen += os.read(terminal, 4096)
            os.kill(pid, signal.SIGTERM)
            with contextlib.suppress(OSError):
                while os.read(terminal, 4096):
                    pass
            os.close(terminal)
        deadline = time.monotonic() + SECONDS
        while (ended := os.waitpid(pid, os.WNOHANG))[0] == 0:
            assert time.monotonic() < deadline, "it does not end"
            time.sleep(0.02)
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    # 120 is Python's: what was left to write could not be, to a terminal that is gone.
    assert os.waitstatus_to_exitcode(ended[1]) == (120 if gone else 0)
    assert "stopping" in (home.logs_dir / "gateway.log").read_text()
    assert not home.socket.exists()
