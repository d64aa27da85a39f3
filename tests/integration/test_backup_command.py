"""`backup` and `restore` as people use them, also beside a gateway that runs."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.storage.backup import CONFIGURATION, FOLDERS

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = (sys.executable, str(ROOT / "hermes_gateway.py"))


class Cli:
    """Runs the program with a home of its own."""

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

    def __call__(self, *words: object, text: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*PROGRAM, *map(str, words)],
            env=self.environ,
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[str]]:
        """A gateway that is ready."""
        with subprocess.Popen([*PROGRAM, "run"], env=self.environ, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stderr is not None
                assert any(line.startswith("ready: ") for line in process.stderr)
                yield process
            finally:
                process.kill()

    def titles(self) -> set[str]:
        return {session["title"] for session in json.loads(self("sessions", "list", "--json").stdout)}


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path / "home")


def test_the_help_names_all_that_a_backup_holds(cli: Cli) -> None:
    told = cli("backup", "--help").stdout
    assert [name for name in (CONFIGURATION, *(f"{name}/" for name in FOLDERS)) if name not in told] == []


def test_a_backup_and_a_restore_without_a_gateway(cli: Cli, tmp_path: Path) -> None:
    cli("chat", "first")
    done = cli("backup", tmp_path / "b.tar.gz")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{tmp_path / 'b.tar.gz'}: 1 file, ")
    again = cli("backup", tmp_path / "b.tar.gz")
    assert (again.returncode, again.stdout) == (1, "")
    assert "--force" in again.stderr
    cli("chat", text="/new\nsecond\n")
    assert cli.titles() == {"first", "second"}
    unasked = cli("restore", tmp_path / "b.tar.gz")
    assert (unasked.returncode, unasked.stdout) == (1, "")
    assert "--yes" in unasked.stderr
    assert cli.titles() == {"first", "second"}
    restored = cli("restore", tmp_path / "b.tar.gz", "--yes")
    assert restored.returncode == 0, restored.stderr
    assert "is kept in" in restored.stderr
    assert cli.titles() == {"first"}


def test_a_restore_beside_a_gateway_takes_effect_with_its_next_start(cli: Cli, tmp_path: Path) -> None:
    with cli.running() as process:
        cli("chat", "first")
        assert cli("backup", tmp_path / "b.tar").returncode == 0
        cli("chat", text="/new\nsecond\n")
        restored = cli("restore", tmp_path / "b.tar", "--yes")
        assert restored.returncode == 0, restored.stderr
        assert f"(pid {process.pid})" in restored.stderr
        assert cli.titles() == {"first", "second"}
        assert cli("chat", "third").stdout == "third\n", "the gateway goes on as if nothing were there"
        assert "restore-staged" in cli("doctor").stdout
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    with cli.running():
        assert cli.titles() == {"first"}


def test_a_restore_can_stop_the_gateway(cli: Cli, tmp_path: Path) -> None:
    with cli.running() as process:
        cli("chat", "first")
        assert cli("backup", tmp_path / "b.tar").returncode == 0
        cli("chat", text="/new\nsecond\n")
        restored = cli("restore", tmp_path / "b.tar", "--yes", "--now")
        assert restored.returncode == 0, restored.stderr
        assert process.wait(30) == 0
    assert cli.titles() == {"first"}


def test_what_is_no_backup_changes_nothing(cli: Cli, tmp_path: Path) -> None:
    cli("chat", "first")
    (tmp_path / "b.tar").write_text("no backup")
    before = {path: path.stat().st_mtime_ns for path in cli.home.rglob("*") if path.is_file()}
    refused = cli("restore", tmp_path / "b.tar", "--yes")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("hermes-gateway: ")
    assert "Traceback" not in refused.stderr
    assert {path: path.stat().st_mtime_ns for path in cli.home.rglob("*") if path.is_file()} == before
    assert cli("restore", tmp_path / "none.tar", "--yes").returncode == 2
