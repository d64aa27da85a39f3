"""`hermes-gateway import`, as a person uses it: with and without a gateway that runs, killed, on a terminal."""

import contextlib
import fcntl
import hashlib
import json
import os
import pty
import sqlite3
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.storage.words import define_words
from tests.support.hermes_home import Writer, many, source, talk

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

    def __call__(self, *words: str | Path, text: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*PROGRAM, *map(str, words)], env=self.environ, input=text, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip

    def report(self, *words: str | Path) -> dict[str, Any]:
        """What an import says to a program."""
        result = self("import", *words, "--json")
        assert (result.returncode, result.stderr) == (0, "")
        report: dict[str, Any] = json.loads(result.stdout)
        return report

    def on_terminal(self, *words: str | Path, columns: int = 90) -> tuple[int, str]:
        """The exit code, and what a person saw on a terminal of so many columns."""
        terminal, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        environ = {**self.environ, "TERM": "xterm"}
        with subprocess.Popen(
            [*PROGRAM, *map(str, words)], env=environ, stdin=other, stdout=other, stderr=other
        ) as process:
            os.close(other)
            seen = b""
            with contextlib.suppress(OSError):
                while part := os.read(terminal, 4096):
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

    def select(self, query: str) -> list[tuple[Any, ...]]:
        """What the database answers."""
        with closing(sqlite3.connect(self.home / "gateway.db")) as connection:
            define_words(connection)
            return connection.execute(query).fetchall()

    def tables(self) -> dict[str, list[tuple[Any, ...]]]:
        """The rows of every table."""
        names = [row[0] for row in self.select("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {name: self.select(f"SELECT * FROM {name}") for name in names}


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path / "gw")


@pytest.fixture
def hermes(tmp_path: Path) -> Writer:
    """A home with one session that goes on in the terminal, and one of somebody else."""
    home = Writer(tmp_path / "hermes")
    home.row("20260301_080000_local", talk(MARK, 2), source="cli")
    home.entry("20260301_080000_local", "agent:main:local:dm:cli", source("local", "cli", chat_name="CLI terminal"))
    home.row("20260301_080000_other", talk("other"), source="telegram", user_id="7")
    return home


def hashes(path: Path) -> Mapping[str, tuple[str, int, int]]:
    """Every file of a folder: what is in it, its mode, and when it was written."""
    return {
        str(file.relative_to(path)): (
            hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "folder",
            file.stat().st_mode,
            file.stat().st_mtime_ns,
        )
        for file in [path, *path.rglob("*")]
    }


def test_it_goes_on_where_it_stopped(cli: Cli, hermes: Writer) -> None:
    before = hashes(hermes.path)
    result = cli("import", hermes.path)
    assert (result.returncode, result.stdout) == (
        0, f"2 sessions imported from {hermes.path}, with 6 messages.\n",
    )  # fmt: skip
    assert result.stderr == "1 conversation goes on with the next message.\n"
    assert hashes(hermes.path) == before
    assert cli("chat", text="and now?\n").stdout == "and now?\n"
    (session,) = [each for each in json.loads(cli("sessions", "list", "--json").stdout) if each["platform"] == "local"]
    assert (session["session_id"], session["message_count"]) == ("20260301_080000_local", 6)
    assert f"{MARK} 1: what is it?" in cli("sessions", "search", MARK).stdout


def test_it_goes_through_the_gateway_that_runs(cli: Cli, hermes: Writer) -> None:
    before = hashes(hermes.path)
    with cli.running():
        assert cli("import", hermes.path).returncode == 0
        assert cli("chat", text="and now?\n").stdout == "and now?\n"
        assert f"{MARK} 1: what is it?" in cli("sessions", "search", MARK).stdout
        assert cli.report(hermes.path)["continued"] == []
        again = cli("import", hermes.path)
        assert again.stdout.startswith("0 sessions imported")
    assert hashes(hermes.path) == before
    assert len(cli.tables()["sessions"]) == 2


def test_both_ways_come_to_the_same(tmp_path: Path) -> None:
    home = many(tmp_path / "hermes", 300)
    alone, through = Cli(tmp_path / "a"), Cli(tmp_path / "b")
    reports = [alone.report(home.path)]
    through("chat", "--help")
    with through.running():
        reports.append(through.report(home.path))
    assert reports[0] == reports[1]
    shown = [each("sessions", "list", "--limit", "0", "--json").stdout for each in (alone, through)]
    assert shown[0] == shown[1]
    assert [len(each.tables()["messages"]) for each in (alone, through)] == [reports[0]["messages"]] * 2


def test_a_thousand_sessions_twice(tmp_path: Path, cli: Cli) -> None:
    home = many(tmp_path / "hermes")
    assert cli.report(home.path)["new"] == 1000
    before = cli.tables()
    assert cli.report(home.path)["same"] == 1000
    assert cli.tables() == before


def test_killed_in_the_middle_and_run_again(tmp_path: Path) -> None:
    home = many(tmp_path / "hermes", 1000)
    whole, killed = Cli(tmp_path / "whole"), Cli(tmp_path / "killed")
    report = whole.report(home.path)
    with subprocess.Popen([*PROGRAM, "import", str(home.path)], env=killed.environ, stderr=subprocess.PIPE) as process:
        database, rows = killed.home / "gateway.db", 0
        while rows < 100 and process.poll() is None:
            with (
                contextlib.suppress(sqlite3.Error),
                closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as it,
            ):
                rows = it.execute("SELECT count(*) FROM sessions").fetchone()[0]
        process.kill()
    assert 100 <= rows < 1000
    again = killed.report(home.path)
    assert 0 < again["new"] < 1000
    assert (again["continued"], again["changed"]) == ([], [])
    kept = "owner, title, created_at, updated_at, ended_at, message_count, imported, input_tokens, predecessor_id"
    sessions = [each.select(f"SELECT id, {kept} FROM sessions ORDER BY id") for each in (whole, killed)]
    said = "SELECT session_id, role, content, data, created_at FROM messages ORDER BY session_id, id"
    messages = [each.select(said) for each in (whole, killed)]
    assert sessions[0] == sessions[1]
    assert messages[0] == messages[1]
    assert len(messages[0]) == report["messages"]


def test_a_dry_run_changes_nothing_and_makes_nothing(cli: Cli, hermes: Writer) -> None:
    result = cli("import", hermes.path, "--dry-run")
    assert result.stdout == f"{hermes.path} would bring 2 sessions with 6 messages. Nothing was changed.\n"
    assert result.stderr == "1 conversation would go on with the next message.\n"
    assert not cli.home.exists()


def test_what_a_person_sees_on_a_terminal(cli: Cli, tmp_path: Path) -> None:
    home = many(tmp_path / "hermes", 300)
    path = home.jsonl("one", talk("good"))
    with path.open("a") as file:
        file.write('{"role": "user", "content": "\x1b]0;owned\x07\n')
    code, seen = cli.on_terminal("import", home.path)
    assert code == 0
    assert "Importing" in seen
    assert "/301" in seen
    assert "301 sessions imported from" in seen
    assert "1 piece could not be used:" in seen
    assert "one.jsonl, line 4: is corrupt, and was left out" in seen
    assert "\x1b]0;" not in seen


def test_colours_are_left_out_where_they_are_not_wanted(cli: Cli, tmp_path: Path) -> None:
    home = many(tmp_path / "hermes", 50)
    cli.environ["NO_COLOR"] = "1"
    _code, seen = cli.on_terminal("import", home.path)
    assert "\x1b[3" not in seen.replace("\x1b[?", "")


def test_command_line_sessions_are_looked_at(cli: Cli, hermes: Writer) -> None:
    before = hashes(hermes.path)
    listed = cli("import", hermes.path, "--list", "--json")
    assert [each["session_id"] for each in json.loads(listed.stdout)] == [
        "20260301_080000_local", "20260301_080000_other",
    ]  # fmt: skip
    assert "Cli Session" in cli("import", hermes.path, "--list").stdout
    shown = cli("import", hermes.path, "--show", "20260301_080000_local")
    assert shown.stdout.count(MARK) == 4
    absent = cli("import", hermes.path, "--show", "absent")
    assert (absent.returncode, len(absent.stderr.splitlines())) == (1, 1)
    assert hashes(hermes.path) == before
    assert not cli.home.exists()


@pytest.mark.parametrize("words", [("absent",), (".",)])
def test_what_is_no_home_is_said_in_a_line(cli: Cli, tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "empty").mkdir()
    result = cli("import", *(tmp_path / "empty" / word for word in words))
    assert (result.returncode, result.stdout, len(result.stderr.splitlines())) == (1, "", 1)
    assert not cli.home.exists()


def test_the_gateways_own_home_is_not_imported(cli: Cli) -> None:
    cli("chat", text="hello\n")
    (cli.home / "sessions" / "x.jsonl").write_text("{}")
    result = cli("import", cli.home)
    assert (result.returncode, "this gateway itself" in result.stderr) == (1, True)


def test_a_wrong_configuration_is_told_first(cli: Cli, hermes: Writer) -> None:
    cli.home.mkdir()
    (cli.home / "gateway.yaml").write_text("sesions: {}\n")
    assert cli("import", hermes.path).returncode == 78
    assert not (cli.home / "gateway.db").exists()


@pytest.mark.system
def test_a_source_that_cannot_be_written(cli: Cli, hermes: Writer, system_tool: Callable[[str], Path]) -> None:
    unshare = str(system_tool("unshare"))
    with closing(sqlite3.connect(hermes.state, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("SELECT count(*) FROM sessions").fetchone()
        hermes.row("20260302_080000_late", talk("late"), source="cli")
        script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && ! touch "$0/x" 2>/dev/null && exec "$@"'
        command = [unshare, "-rm", "sh", "-c", script, str(hermes.path), *PROGRAM, "import", str(hermes.path)]
        environ = {**cli.environ, "PATH": os.environ["PATH"]}
        result = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stdout.startswith("3 sessions imported")) == (0, True), result.stderr
