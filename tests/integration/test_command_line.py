"""The command line as people and scripts use it: real processes, exit codes, what is printed where."""

import contextlib
import json
import os
import pty
import re
import select
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = (sys.executable, str(ROOT / "hermes_gateway.py"))
HEAVY = ("aiohttp", "pydantic_ai", "openai", "prompt_toolkit", "rich", "aiosqlite")
SLOW = "{type: echo, delay_ms: 60000}"
TELEGRAM = "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1"
COMMANDS = (
    "run",
    "chat",
    "status",
    "unanswered",
    "doctor",
    "backup",
    "restore",
    "sessions list",
    "sessions show",
    "sessions search",
    "sessions export",
    "sessions delete",
    "config init",
    "config check",
    "config show",
    "config path",
    "config reload",
    "setup",
    "logs",
    "completion",
    "service install",
    "service print",
    "service uninstall",
)


class Started:
    """A process of the program, and its streams."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self.pid = process.pid
        self.signal = process.send_signal
        self.kill = process.kill
        self.input, self.output, self.errors = process.stdin, process.stdout, process.stderr
        self._process = process

    def wait_for(self, start: str) -> str:
        """The first line of standard error that begins so."""
        for line in self.errors:
            if line.startswith(start):
                return line
        pytest.fail(f"no line begins with {start!r}")

    def write(self, text: str) -> None:
        self.input.write(text)
        self.input.flush()

    def ended(self) -> int:
        """The exit code, soon."""
        return self._process.wait(30)


class Cli:
    """Runs the program with a home of its own and nothing else of this process's environment."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environ = {
            "PATH": os.defpath,
            "LANG": "C.UTF-8",
            "HOME": str(home.parent),
            "HERMES_GATEWAY_HOME": str(home),
            "HERMES_GATEWAY__HTTP__PORT": "0",
        }

    def __call__(self, *words: str, text: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*PROGRAM, *words],
            env=self.environ | environ,
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @contextlib.contextmanager
    def start(self, *words: str, **environ: str) -> Iterator[Started]:
        """A process that is still there; it is killed at the end, however the test ended."""
        process = subprocess.Popen(
            [*PROGRAM, *words],
            env=self.environ | environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            try:
                yield Started(process)
            finally:
                process.kill()

    @contextlib.contextmanager
    def running(self, *words: str, **environ: str) -> Iterator[Started]:
        """A gateway that is ready."""
        with self.start("run", *words, HERMES_GATEWAY__AGENT="echo", **environ) as process:
            process.wait_for("ready: ")
            yield process


def json_of(result: subprocess.CompletedProcess[str]) -> Any:
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path / "home")


@pytest.fixture(scope="module")
def talked(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A home in which two conversations were held; tests only read it."""
    cli = Cli(tmp_path_factory.mktemp("talked") / "home")
    lines = "first things first\n/new\nsecond \x1b[31mthought\x1b[0m " + "and more of it " * 20 + "\n"
    result = cli("chat", "--agent", "echo", text=lines)
    assert result.returncode == 0, result.stderr
    return cli


# --- help, usage, errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_has_an_example_and_imports_nothing_heavy(command: str) -> None:
    words = [*command.split(), "--help"]
    code = (
        "import sys; sys.argv = ['hermes-gateway']; import hermes_gateway; "
        f"code = hermes_gateway.main({words!r}); "
        f"print('HEAVY', [name for name in {HEAVY!r} if name in sys.modules]); sys.exit(code)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert "Examples:\n" in result.stdout
    assert f"hermes-gateway {command}".strip() in result.stdout.partition("Examples:")[2]
    assert result.stdout.endswith("HEAVY []\n")


def test_version(cli: Cli) -> None:
    result = cli("--version")
    assert re.fullmatch(r"hermes-gateway \d+\.\d+\.\d+\n", result.stdout)
    assert not cli.home.exists()


@pytest.mark.parametrize(
    "words", [["nosuch"], ["run", "--nosuch"], ["sessions", "show"], ["sessions", "list", "--limit", "x"]]
)
def test_a_mistake_in_the_words_is_one_line_and_exit_code_2(cli: Cli, words: list[str]) -> None:
    result = cli(*words)
    assert (result.returncode, result.stdout) == (2, "")
    assert re.fullmatch(r"hermes-gateway: .*--help.*\n", result.stderr)


def test_no_words_show_the_help(cli: Cli) -> None:
    result = cli()
    assert (result.returncode, result.stdout) == (2, "")
    assert "Commands:" in result.stderr


@pytest.mark.parametrize("words", [["run"], ["chat", "hi"], ["config", "check"], ["config", "show"]])
def test_a_wrong_configuration_is_exit_code_78_and_a_line_for_each_fault(cli: Cli, words: list[str]) -> None:
    cli.home.mkdir(mode=0o700)
    file = cli.home / "gateway.yaml"
    file.write_text("busy: loud\nhttp:\n  prot: 1\n")
    result = cli(*words)
    assert (result.returncode, result.stdout) == (78, "")
    first, second = result.stderr.splitlines()
    assert first.startswith(f"{file}:1: busy: is none of the choices; ")
    assert second.startswith(f"{file}:3: http.prot: unknown key; did you mean 'port'?")


def test_a_missing_configuration_file_is_exit_code_78(cli: Cli, tmp_path: Path) -> None:
    result = cli("run", "--config", str(tmp_path / "none.yaml"))
    assert result.returncode == 78
    assert "config init" in result.stderr


def test_a_home_that_cannot_be_is_one_line(cli: Cli) -> None:
    cli.home.write_text("a file")
    result = cli("chat", "hi")
    assert (result.returncode, result.stdout) == (1, "")
    assert re.fullmatch(r"hermes-gateway: the home folder .* cannot be used .*\n", result.stderr)


@pytest.mark.parametrize("words", [["sessions", "list"], ["status"]])
def test_a_broken_database_is_one_line_and_a_traceback_only_with_debug(cli: Cli, words: list[str]) -> None:
    cli.home.mkdir(mode=0o700)
    (cli.home / "gateway.db").write_bytes(b"no database, and never was one. " * 500)
    result = cli(*words)
    assert (result.returncode, result.stdout) == (1, "")
    assert re.search(r"^hermes-gateway: .*doctor.*\n\Z", result.stderr, re.MULTILINE)
    assert "Traceback" not in result.stderr
    assert "Traceback" in cli("--debug", *words).stderr


def test_a_broken_database_is_set_aside_and_people_are_answered(cli: Cli) -> None:
    cli.home.mkdir(mode=0o700)
    content = b"no database, and never was one. " * 500
    (cli.home / "gateway.db").write_bytes(content)
    assert cli("chat", "--agent", "echo", "hi").stdout == "hi\n"
    (aside,) = cli.home.glob("gateway.db.damaged-*")
    assert aside.read_bytes() == content
    assert str(aside) in cli("doctor").stdout


def test_a_reader_that_has_gone_is_no_error_message(talked: Cli) -> None:
    read, write = os.pipe()
    os.close(read)
    result = subprocess.run(
        [*PROGRAM, "sessions", "list"], env=talked.environ, stdout=write, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write)
    assert result.stderr == ""


@pytest.mark.parametrize(
    "words",
    [
        ("pairing", "approve"),
        ("pairing", "revoke"),
        ("keys", "revoke"),
        ("sessions", "show"),
        ("sessions", "delete", "--yes", "--purge"),
    ],
)
def test_a_word_that_is_no_text_names_nothing(talked: Cli, words: tuple[str, ...]) -> None:
    odd = os.fsdecode(b"telegram:\xff" + b"f" * 40)
    result = talked(*words, odd)
    assert "inside the program" not in result.stderr
    with talked.running():
        through = talked(*words, odd)
    assert (through.returncode, through.stderr) == (result.returncode, result.stderr)


@pytest.mark.parametrize(
    ("words", "closed", "code"),
    [
        ("status --json", ">&-", 1),
        ("sessions list", "2>&-", 0),
        ("sessions delete 2026", "<&-", 1),
        ("--version", "<&- >&- 2>&-", 0),
        ("chat --agent echo hello", ">&-", 0),
    ],
)
def test_a_stream_that_is_closed_leads_nowhere(cli: Cli, words: str, closed: str, code: int) -> None:
    command = f"exec {shlex.join(PROGRAM)} {words} {closed}"
    result = subprocess.run(
        ["/bin/sh", "-c", command], env=cli.environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == code
    assert "inside the program" not in result.stderr


def test_a_reply_that_cannot_be_written_is_a_failure(cli: Cli) -> None:
    for words in ((), ("--json",)):
        with Path("/dev/full").open("w") as full:
            result = subprocess.run(
                [*PROGRAM, "chat", "--agent", "echo", *words, "hello"],
                env=cli.environ,
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                timeout=60,
                check=False,
            )
        why = "error: standard output cannot be written: No space left on device\n"
        assert (result.returncode, result.stderr) == (1, why)


# --- chat --------------------------------------------------------------------------------------------------


def test_chat_answers_each_line_and_keeps_everything_else_off_standard_output(cli: Cli) -> None:
    result = cli("chat", "--agent", "echo", text="one\ntwo\\\nthree\n")
    assert (result.returncode, result.stdout, result.stderr) == (0, "one\ntwo\nthree\n", "")
    assert not (cli.home / "gateway.sock").exists()
    assert (cli.home / "logs" / "gateway.log").stat().st_mode & 0o777 == 0o600


def test_chat_with_a_message_answers_that(cli: Cli) -> None:
    result = cli("chat", "--agent", "echo", "hello", "there", text="not read\n")
    assert (result.returncode, result.stdout) == (0, "hello there\n")


def test_chat_json(cli: Cli) -> None:
    result = cli("chat", "--json", "--agent", "echo", text="one\n")
    objects = [json.loads(line) for line in result.stdout.splitlines()]
    assert objects[-1]["type"] == "message"
    assert objects[-1]["text"] == "one"
    assert objects[-1]["session_id"]
    assert objects[-1]["turn_id"]


def test_the_answer_to_a_command_is_an_answer(cli: Cli) -> None:
    lines = "/status\n/stauts\n/help new\n"
    plain = cli("chat", "--agent", "echo", text=lines)
    assert (plain.returncode, plain.stderr) == (0, "")
    result = cli("chat", "--json", "--agent", "echo", text=lines)
    assert [json.loads(line)["type"] for line in result.stdout.splitlines()] == ["message"] * 3
    assert all(words in plain.stdout for words in ("agent: echo", "Did you mean /status?", "begin a new one"))


def test_chat_with_an_unknown_agent_is_exit_code_78(cli: Cli) -> None:
    result = cli("chat", "--agent", "ehco", "hi")
    assert (result.returncode, result.stdout) == (78, "")
    assert "did you mean 'echo'?" in result.stderr


def test_chat_joins_the_gateway_that_runs(cli: Cli) -> None:
    with cli.running():
        assert cli("chat", "hi").stdout == "hi\n"
        assert cli("chat", "--agent", "echo", "hi").stdout == "hi\n"
        other = cli("chat", "--agent", "local", "hi")
        assert (other.returncode, other.stdout) == (1, "")
        assert "answers with the agent echo, not local" in other.stderr


def test_chat_says_that_a_file_is_not_used_where_a_gateway_runs_and_what_is_wrong_with_it(
    cli: Cli, tmp_path: Path
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("agent: local\n")
    with cli.running():
        joined = cli("chat", "--config", str(file), "hi")
        assert (joined.returncode, joined.stdout) == (0, "hi\n")
        assert joined.stderr.count("\n") == 1
        assert f"{file} is not used" in joined.stderr
        assert "agent echo" in joined.stderr
        file.write_text("agnet: local\n")
        wrong = cli("chat", "--config", str(file), "hi")
        assert (wrong.returncode, wrong.stdout) == (78, "")
        assert f"{file}:1" in wrong.stderr


@pytest.mark.parametrize("mode", [(), ("--json",)], ids=["plain", "json"])
def test_a_refused_message_is_told_of_once(cli: Cli, mode: tuple[str, ...]) -> None:
    text = "much more than ten characters\nshort\n"
    result = cli("chat", "--agent", "echo", *mode, text=text, HERMES_GATEWAY__INBOX__MAX_MESSAGE_CHARS="10")
    assert result.returncode == 1
    assert (result.stdout + result.stderr).count("29 characters; at most 10 are taken") == 1
    assert (result.stdout + result.stderr).count("error") == 1
    if mode:
        objects = [json.loads(line) for line in result.stdout.splitlines()]
        assert [one["text"] for one in objects if one["type"] == "message"] == ["short"]
    else:
        assert result.stdout == "short\n"


def test_a_second_chat_joins_the_first_and_a_run_is_refused(cli: Cli) -> None:
    with cli.start("chat", "--agent", "echo") as first:
        first.write("one\n")
        assert first.output.readline() == "one\n"
        assert cli("chat", "two").stdout == "two\n"
        refused = cli("run")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert f"in use by hermes-gateway chat (pid {first.pid})" in refused.stderr
        assert "Traceback" not in refused.stderr
        assert json_of(cli("status", "--json"))["mode"] == "chat"
        first.input.close()
        assert first.ended() == 0


def test_a_chat_goes_on_when_the_one_that_lent_it_the_gateway_ends(cli: Cli) -> None:
    with cli.start("chat", "--agent", "echo") as first:
        first.write("one\n")
        assert first.output.readline() == "one\n"
        with cli.start("chat", HERMES_GATEWAY__AGENT="local") as second:
            second.write("two\n")
            assert second.output.readline() == "two\n"
            first.input.close()
            assert first.ended() == 0
            second.write("three\n")
            assert second.output.readline() == "three\n"
            status = json_of(cli("status", "--json"))
            assert (status["pid"], status["agent"]) == (second.pid, "echo")
            second.input.close()
            assert second.ended() == 0
    assert not (cli.home / "gateway.sock").exists()
    assert [entry["message_count"] for entry in json_of(cli("sessions", "list", "--json"))] == [6]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_chat_that_is_interrupted_ends_quietly_and_in_order(cli: Cli, number: signal.Signals) -> None:
    with cli.start("chat", "--agent", "echo") as process:
        process.write("one\n")
        assert process.output.readline() == "one\n"
        process.signal(number)
        assert process.ended() == 130
        assert process.errors.read() == ""
    assert not (cli.home / "gateway.sock").exists()


# --- run ---------------------------------------------------------------------------------------------------


def test_a_second_signal_stops_run_at_once(cli: Cli) -> None:
    with cli.start("run", HERMES_GATEWAY__AGENT="slow", HERMES_GATEWAY__AGENTS__SLOW=SLOW) as process:
        process.wait_for("ready: ")
        with cli.start("chat", "wait for it"):
            deadline = time.monotonic() + 30
            while not json_of(cli("status", "--json"))["turns"]["running"]:
                assert time.monotonic() < deadline
            process.signal(signal.SIGTERM)
            time.sleep(0.5)
            process.signal(signal.SIGTERM)
            begin = time.monotonic()
            assert process.ended() == 0
            assert time.monotonic() - begin < 10
    assert [message["text"] for message in json_of(cli("unanswered", "--json"))] == ["wait for it"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_says_when_it_is_ready_and_ends_with_a_signal(cli: Cli, number: signal.Signals) -> None:
    with cli.start("run", HERMES_GATEWAY__AGENT="echo") as process:
        line = process.wait_for("ready: ")
        assert f"pid {process.pid}, agent echo, platforms local, api_server, http 127.0.0.1:" in line
        assert not line.rstrip().endswith(":0"), "the port that was asked for, not the one that was taken"
        process.signal(number)
        assert process.ended() == 0
        assert "Traceback" not in process.errors.read()
    assert not (cli.home / "gateway.sock").exists()


def test_a_port_in_use_stops_run_with_a_line_that_names_the_key(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = cli("run", HERMES_GATEWAY__AGENT="echo", HERMES_GATEWAY__HTTP__PORT=port)
    assert result.returncode == 1
    assert f"hermes-gateway: port {port} on 127.0.0.1 is in use by another program: set http.port" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_ready_line_says_which_platforms_are_not_well(cli: Cli) -> None:
    with cli.start("run", HERMES_GATEWAY__AGENT="echo", TELEGRAM_BOT_TOKEN=TELEGRAM) as process:
        line = process.wait_for("ready: ")
    assert re.search(r"platforms local, telegram \((failed|connecting|starting)\b.*\), api_server, http ", line)


def test_a_configured_secret_is_in_no_log_and_on_no_screen(cli: Cli, tmp_path: Path) -> None:
    """The adapter is not there, or cannot reach its platform: either way it is reported, without the token."""
    file = tmp_path / "my.yaml"
    file.write_text(
        f"agent: echo\nlogging: {{level: debug}}\nhttp: {{api_key: the-http-api-key}}\n"
        f"platforms: {{telegram: {{token: '{TELEGRAM}', api_base_url: 'http://127.0.0.1:1'}}}}\n"
    )
    file.chmod(0o600)
    with cli.start("run", "--config", str(file)) as process:
        said = process.wait_for("ready: ")
        time.sleep(0.5)
        results = [
            cli(*words, "--config", str(file)) for words in (("doctor",), ("config", "show"), ("config", "check"))
        ]
        results.append(cli("status"))
        process.signal(signal.SIGTERM)
        assert process.ended() == 0
        said += process.errors.read()
    said += "".join(result.stdout + result.stderr for result in results)
    said += (cli.home / "logs" / "gateway.log").read_text()
    for secret in (TELEGRAM, "the-http-api-key"):
        assert secret not in said


# --- status, unanswered, doctor ----------------------------------------------------------------------------


def test_status_without_a_gateway_is_exit_code_1_and_still_counts(talked: Cli) -> None:
    result = talked("status")
    assert result.returncode == 1
    assert re.fullmatch(r"hermes-gateway: the gateway is not running; .*\n", result.stderr)
    assert re.search(r"^Sessions +2, 1 of them live$", result.stdout, re.MULTILINE)
    data = json.loads(talked("status", "--json").stdout)
    assert (data["running"], data["sessions"]) == (False, {"total": 2, "live": 1})


def test_status_in_a_home_that_is_not_there(cli: Cli) -> None:
    result = cli("status", "--json")
    assert (result.returncode, json.loads(result.stdout)["sessions"]["total"]) == (1, 0)
    assert not cli.home.exists()


def test_status_of_a_gateway_that_runs(cli: Cli) -> None:
    with cli.running() as process:
        data = json_of(cli("status", "--json"))
        assert (data["running"], data["pid"], data["agent"], data["mode"]) == (True, process.pid, "echo", "daemon")
        assert data["adapters"]["local"]["state"] == "connected"
        text = cli("status")
    assert text.returncode == 0
    assert re.search(r"^Platforms +local connected$", text.stdout, re.MULTILINE)
    assert "\x1b" not in text.stdout


def test_unanswered_shows_what_waits(cli: Cli) -> None:
    assert json_of(cli("unanswered", "--json")) == []
    with cli.start("chat", "--agent", "slow", HERMES_GATEWAY__AGENTS__SLOW=SLOW) as process:
        process.write("are you \x1b[2Jthere?\n")
        deadline = time.monotonic() + 30
        while not (found := json_of(cli("unanswered", "--json"))) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert [(message["text"], message["platform"]) for message in found] == [("are you \x1b[2Jthere?", "local")]
        assert found[0]["state"] in ("pending", "running")
        process.kill()
    text = cli("unanswered", COLUMNS="60")
    assert text.returncode == 0
    assert "are you" in text.stdout
    assert "\x1b" not in text.stdout
    assert max(map(len, text.stdout.splitlines())) <= 60


def test_what_an_outage_keeps_out_of_the_database_is_told(cli: Cli) -> None:
    cli("chat", "--agent", "echo", "hi")
    (listed,) = json_of(cli("sessions", "list", "--json"))
    commands = (("unanswered",), ("sessions", "list"), ("sessions", "show", listed["session_id"]))
    assert not any("out of use" in cli(*command).stderr for command in commands)
    (cli.home / "sessions" / "spool-20260101T000000000000Z-00.jsonl").touch(0o600)
    for command in commands:
        told = cli(*command)
        assert (told.returncode, "out of use" in told.stderr) == (0, True), command
    assert "Every message has its answer" not in cli("unanswered").stderr


def test_doctor_exit_codes(cli: Cli) -> None:
    cli("chat", "--agent", "echo", "hi")
    assert cli("doctor").returncode == 0
    (cli.home / "gateway.db").chmod(0o644)
    result = cli("doctor", "--json")
    assert result.returncode == 1
    data = json.loads(result.stdout)
    assert data["ok"] is False
    assert [f["subject"] for f in data["findings"] if f["level"] == "error"] == ["home"]
    text = cli("doctor")
    assert text.returncode == 1
    assert f"→ close it: chmod 600 {cli.home / 'gateway.db'}" in text.stdout


# --- sessions ----------------------------------------------------------------------------------------------


def test_sessions_before_there_is_a_database(cli: Cli) -> None:
    result = cli("sessions", "list")
    assert (result.returncode, result.stdout) == (0, "")
    assert json_of(cli("sessions", "list", "--json")) == []
    missing = cli("sessions", "show", "2026")
    assert missing.returncode == 1
    assert re.fullmatch(r"hermes-gateway: there is no session whose id begins with '2026'; .*\n", missing.stderr)
    assert not cli.home.exists()


@pytest.mark.parametrize("columns", [60, 80, 110, 200])
def test_sessions_list_fits_the_terminal(talked: Cli, columns: int) -> None:
    result = talked("sessions", "list", COLUMNS=str(columns))
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert len(lines) == 3
    assert max(map(len, lines)) <= columns
    assert "second" in lines[1]
    assert "first things first" in lines[2]
    assert "\x1b" not in result.stdout


def test_what_a_list_shows_of_an_id_can_be_typed(talked: Cli) -> None:
    lines = talked("sessions", "list", COLUMNS="60").stdout.splitlines()
    shown = lines[2].split()[0]
    result = talked("sessions", "show", shown)
    assert result.returncode == 0
    assert "first things first" in result.stdout
    ambiguous = talked("sessions", "show", shown[:4])
    assert ambiguous.returncode == 1
    assert "several sessions" in ambiguous.stderr


def test_sessions_show_is_readable_and_harmless(talked: Cli) -> None:
    session = json_of(talked("sessions", "list", "--json", "--limit", "1"))[0]["session_id"]
    result = talked("sessions", "show", session)
    assert "\x1b" not in result.stdout
    assert re.search(r"^User  \d{4}-\d\d-\d\d ", result.stdout, re.MULTILINE)
    data = json_of(talked("sessions", "show", session, "--json"))
    assert [message["role"] for message in data["messages"]] == ["user", "assistant"]


def test_sessions_search_while_the_gateway_runs(cli: Cli) -> None:
    with cli.running():
        assert cli("chat", "find the Äpfel").returncode == 0
        deadline = time.monotonic() + 20
        while not (hits := json_of(cli("sessions", "search", "--json", "apfel"))) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert {hit["role"] for hit in hits} == {"user", "assistant"}
        assert "find the Äpfel" in cli("sessions", "search", "apf").stdout
        assert json_of(cli("sessions", "search", "--json", "pears")) == []


@pytest.mark.parametrize(
    ("words", "suffix", "check"),
    [
        (("--format", "json"), ".txt", lambda text: json.loads(text)["messages"][0]["role"] == "user"),
        ((), ".jsonl", lambda text: [json.loads(line)["role"] for line in text.splitlines()] == ["user", "assistant"]),
        ((), ".md", lambda text: text.startswith("# ") and "## Assistant" in text),
    ],
)
def test_sessions_export(talked: Cli, tmp_path: Path, words: tuple[str, ...], suffix: str, check: Any) -> None:
    session = json_of(talked("sessions", "list", "--json"))[0]["session_id"]
    target = tmp_path / f"out{suffix}"
    result = talked("sessions", "export", session, *words, "--output", str(target))
    assert (result.returncode, result.stdout) == (0, "")
    assert check(target.read_text())
    assert target.stat().st_mode & 0o777 == 0o600


def test_sessions_export_failures_leave_nothing(talked: Cli, tmp_path: Path) -> None:
    session = json_of(talked("sessions", "list", "--json"))[0]["session_id"]
    for target in (tmp_path / "none" / "x.json", tmp_path):
        result = talked("sessions", "export", session, "--output", str(target))
        assert (result.returncode, result.stdout) == (1, "")
        assert result.stderr.startswith("hermes-gateway: ")
    assert talked("sessions", "export", session, "--format", "xml").returncode == 2
    assert list(tmp_path.iterdir()) == []


# --- config ------------------------------------------------------------------------------------------------


def test_config_init_check_show_path(cli: Cli) -> None:
    file = cli.home / "gateway.yaml"
    assert cli("config", "path").stdout == f"{file}\n"
    assert cli("config", "init").stdout == f"{file}\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert cli("config", "check").stdout == f"{file}: the configuration is right\n"
    assert "timezone: UTC" in cli("config", "show").stdout
    assert "# environment HERMES_GATEWAY__HTTP__PORT" in cli("config", "show", "--origin").stdout


def test_config_init_overwrites_only_when_forced_and_keeps_what_was_there(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("busy: steer\n")
    refused = cli("config", "init", "--config", str(file))
    assert (refused.returncode, file.read_text()) == (1, "busy: steer\n")
    assert "--force" in refused.stderr
    assert cli("config", "init", "--config", str(file), "--force").returncode == 0
    assert (tmp_path / "my.yaml.bak").read_text() == "busy: steer\n"
    assert cli("config", "check", "--config", str(file)).returncode == 0
    again = cli("config", "init", "--config", str(file), "--force")
    assert (tmp_path / "my.yaml.bak").read_text() == "busy: steer\n"
    assert f"now {tmp_path / 'my.yaml.bak2'}." in again.stderr


def test_config_show_masks_secrets(cli: Cli) -> None:
    result = cli("config", "show", "--origin", TELEGRAM_BOT_TOKEN=TELEGRAM)
    assert "token: '***'" in result.stdout
    assert "# environment TELEGRAM_BOT_TOKEN" in result.stdout
    assert TELEGRAM not in result.stdout


def test_config_check_names_the_provider_that_may_be_meant(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text(
        "agents:\n  a: {type: model, model: 'opnai:gpt'}\n"
        "  b: {type: model, model: 'llama3.2:3b', base_url: 'http://127.0.0.1:1/v1'}\n"
    )
    result = cli("config", "check", "--config", str(file))
    assert (result.returncode, result.stdout) == (78, "")
    assert result.stderr == f"{file}:2: agents.a.model: there is no provider 'opnai'; did you mean 'openai'?\n"


def test_config_check_names_what_no_package_brings(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("memory: {provider: nosuch}\nplatforms:\n  whatsapp:\n    token: x\n  signal: {enabled: false}\n")
    result = cli("config", "check", "--config", str(file))
    assert (result.returncode, result.stdout) == (78, "")
    of_platform, of_memory = result.stderr.splitlines()
    assert of_platform.startswith(f"{file}:4: platforms.whatsapp: no adapter for it is installed; install the package")
    assert of_memory.startswith(f"{file}:1: memory.provider: there is no memory 'nosuch'; choose one of none, notes")


# --- colours -----------------------------------------------------------------------------------------------


def at_terminal(cli: Cli, *words: str, **environ: str) -> str:
    """What the program writes to a terminal."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*PROGRAM, *words], env=cli.environ | {"TERM": "xterm"} | environ, stdin=slave, stdout=slave, stderr=slave
    )
    os.close(slave)
    written = b""
    while select.select([master], [], [], 30)[0]:
        try:
            piece = os.read(master, 65536)
        except OSError:
            break
        if not piece:
            break
        written += piece
    os.close(master)
    process.wait(30)
    return written.decode()


def test_colours_are_for_terminals_and_for_those_who_want_them(talked: Cli) -> None:
    for words in (("doctor",), ("sessions", "list"), ("status",)):
        assert "\x1b[" in at_terminal(talked, *words)
        assert "\x1b" not in at_terminal(talked, *words, NO_COLOR="1")
        assert "\x1b" not in talked(*words).stdout
