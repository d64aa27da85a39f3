"""`hermes-gateway sessions delete`, as people and scripts use it: through the gateway that runs, and without one."""

import contextlib
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = (sys.executable, str(ROOT / "hermes_gateway.py"))
MARK = "zanzibarianquagga"


class Cli:
    """Runs the program over one home, with the echo agent."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environ = {
            "PATH": os.defpath,
            "LANG": "C.UTF-8",
            "HOME": str(home.parent),
            "HERMES_GATEWAY_HOME": str(home),
            "HERMES_GATEWAY__HTTP__PORT": "0",
            "HERMES_GATEWAY__AGENT": "echo",
        }

    def __call__(self, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*PROGRAM, *words], env=self.environ, input=text, capture_output=True, text=True, timeout=60, check=False
        )

    def on_terminal(self, *words: str, answer: str) -> tuple[int, str]:
        """The exit code, and what a person saw who gave this answer."""
        terminal, other = pty.openpty()
        with subprocess.Popen(
            [*PROGRAM, *words], env=self.environ, stdin=other, stdout=subprocess.DEVNULL, stderr=other
        ) as process:
            os.close(other)
            seen = b""
            with contextlib.suppress(OSError):
                while b"?" not in seen:
                    seen += os.read(terminal, 1024)
                os.write(terminal, f"{answer}\n".encode())
                while part := os.read(terminal, 1024):
                    seen += part
            code = process.wait(60)
        os.close(terminal)
        return code, seen.decode()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        with subprocess.Popen(
            [*PROGRAM, "run"], env=self.environ, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        ) as process:
            assert process.stderr is not None
            try:
                assert any(line.startswith("ready: ") for line in process.stderr)
                yield
            finally:
                process.terminate()
                process.communicate(timeout=60)

    def session(self) -> str:
        """The only session's id."""
        (found,) = json.loads(self("sessions", "list", "--json").stdout)
        return str(found["session_id"])

    def holding(self) -> list[str]:
        """The files of the home that have the mark in them."""
        paths = [path for path in self.home.rglob("*") if path.is_file()]
        return [path.name for path in paths if MARK.encode() in path.read_bytes().lower()]


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    cli = Cli(tmp_path / "home")
    result = cli("chat", text=f"{MARK}\nand {MARK.upper()} again\n")
    assert result.returncode == 0, result.stderr
    return cli


def test_a_purge_without_a_gateway(cli: Cli) -> None:
    session = cli.session()
    assert cli.holding() != []
    result = cli("sessions", "delete", session[:-3], "--purge", "--yes")
    assert (result.returncode, result.stdout) == (0, "")
    assert f"Session {session} is deleted, with 4 messages." in result.stderr
    assert "outside of the home folder cannot be reached" in result.stderr
    assert cli.holding() == []
    assert cli("sessions", "search", MARK).stderr.startswith("Nothing was found.")


def test_a_purge_through_the_gateway_that_runs(cli: Cli) -> None:
    session = cli.session()
    with cli.running():
        assert cli.holding() != []
        result = cli("sessions", "delete", session, "--purge", "--yes", "--json")
        assert json.loads(result.stdout) == {
            "session_id": session,
            "known": True,
            "messages": 4,
            "purged": True,
            "rewritten": [],
            "removed": [],
            "unread": [],
        }
        assert cli.holding() == []
        again = cli("sessions", "delete", session, "--yes")
        assert (again.returncode, "there is no session" in again.stderr) == (1, True)
        talk = cli("chat", text="after\n")
        assert "after" in talk.stdout
    assert cli.holding() == []
    assert cli.session() != session


def test_nothing_is_deleted_without_a_yes(cli: Cli) -> None:
    session = cli.session()
    result = cli("sessions", "delete", session)
    assert result.returncode == 1
    assert "add --yes" in result.stderr
    code, seen = cli.on_terminal("sessions", "delete", session, answer="n")
    assert code == 1
    assert f"Delete session {session}" in seen
    assert "Nothing was deleted." in seen
    assert cli.session() == session
    code, seen = cli.on_terminal("sessions", "delete", session, answer="y")
    assert (code, "is deleted, with 4 messages" in seen) == (0, True)
    assert json.loads(cli("sessions", "list", "--json").stdout) == []


def test_what_is_not_there_is_said(cli: Cli) -> None:
    result = cli("sessions", "delete", "1999", "--yes", "--purge")
    assert (result.returncode, "begins with '1999'" in result.stderr) == (1, True)
    gone = cli("sessions", "delete", "19990101_000000_0123456789abcdef", "--yes", "--purge")
    assert (gone.returncode, "was not in the store any more" in gone.stderr) == (0, True)
