"""Logging: lines and their forms, secrets, what is dropped, files that stay private, and no trace afterwards."""

import contextvars
import io
import json
import logging
import sys
import threading
import warnings
from pathlib import Path

import pytest

from config import GatewayConfig, Home, LoggingConfig
from gateway.logs import LOG_FILE_NAME, MASK, Redactor, logging_to, redacted, secrets_of, set_level

log = logging.getLogger("gateway.test")

TELEGRAM = "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1"
DISCORD = "MTk4NjIyNDgzNDcxOTI1MjQ4.Cl2FMQ.ZnCjm1XVW7vRze4b7Cq4se7kKWs_x"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").ensure()


def text_of(home: Home) -> str:
    return (home.logs_dir / LOG_FILE_NAME).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "secret",
    [
        TELEGRAM,
        DISCORD,
        "xoxb-123456789012-abcdefGHIJKL",
        "xapp-1-A012345-6789-abcdef",
        "sk-proj-abcdefghijklmnopqrstuv",
        "gsk_abcdefghijklmnopqrst",
        "AIzaSyA1234567890abcdefghijk",
        "github_pat_11ABCDEFG0abcdefghijkl",
        "glpat-abcdefghij1234567890",
        "AKIAIOSFODNN7EXAMPLE",
        "sk_live_abcdefghijklmnop1234",
        "whsec_abcdefghijklmnop1234",
        "SG.abcdefghijklmnop12.qrstuvwxyzabcdefgh34",
        "ya29.abcdefghijklmnop1234",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdef_-",
    ],
)
@pytest.mark.parametrize("form", ["{}", "https://example.org/{}/x", "('{}',)", "a={},"])
def test_tokens_are_known_by_their_form(secret: str, form: str) -> None:
    redacted = Redactor()(form.format(secret))
    assert secret not in redacted
    assert redacted == form.format(MASK)


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        (f"https://api.telegram.org/bot{TELEGRAM}/getMe", f"https://api.telegram.org/bot{MASK}/getMe"),
        (f"/bot{TELEGRAM.replace(':', '%3A')}/getMe", f"/bot{MASK}/getMe"),
        ("Authorization: Bearer abc123", f"Authorization: Bearer {MASK}"),
        ("{'authorization': 'Bot abc.def'}", f"{{'authorization': 'Bot {MASK}'}}"),
        ("GET /x?token=abc123&y=1", f"GET /x?token={MASK}&y=1"),
        ("http://proxy:hunter2@host:80/", f"http://proxy:{MASK}@host:80/"),
    ],
)
def test_what_is_announced_as_a_secret_is_masked(text: str, redacted: str) -> None:
    assert Redactor()(text) == redacted


@pytest.mark.parametrize(
    "text",
    ["a task-of-sixteen-letters-and-more", "2026-03-01T12:00:00", "http://localhost:8642/x", "turn 547c14c5935e2a17"],
)
def test_ordinary_text_stays(text: str) -> None:
    assert Redactor()(text) == text


def test_configured_secrets_are_masked_however_they_are_written() -> None:
    redact = Redactor(["p/ss \"w'rd", "p/ss", "abc"])
    text = "p/ss \"w'rd p%2Fss%20%22w%27rd " + json.dumps("p/ss \"w'rd") + " p/ssx abc"
    assert redact(text) == f'{MASK} {MASK} "{MASK}" {MASK}x abc'


def test_secrets_that_are_learned_later_are_masked_beside_those_of_before() -> None:
    redact = Redactor(["first"])
    redact.learn(["second"])
    redact.learn([])
    assert redact("first second third") == f"{MASK} {MASK} third"


def test_plain_data_loses_the_secrets_of_its_texts_and_keeps_its_form() -> None:
    data = {"key": ["a key", {"key": None, "n": 1}], "t": ("key", True)}
    assert redacted(data, Redactor(["a key"])) == {"key": [MASK, {"key": None, "n": 1}], "t": ["key", True]}


def test_the_secrets_in_addresses_of_the_configuration() -> None:
    address = "http://a.example/v1?key=in%2Fthe%2Faddress&token=short"
    prompt = "Search with https://a.example/?token=a-word-of-the-prompt and no other."
    config = GatewayConfig.model_validate(
        {
            "agents": {"a": {"type": "model", "model": "openai:m", "system_prompt": prompt}},
            "platforms": {"telegram": {"enabled": False, "webhook_url": address}},
        }
    )
    assert secrets_of(config, {}) == {"in%2Fthe%2Faddress", "in/the/address"}


def test_a_secret_of_the_environment_that_is_no_text_is_masked_too() -> None:
    secrets = secrets_of(GatewayConfig(), {"OTHER_TOKEN": "not\udcfftext-at-all"})
    assert Redactor(secrets)("it is not\udcfftext-at-all.") == f"it is {MASK}."


def test_the_secrets_of_the_configuration_and_of_the_environment() -> None:
    config = GatewayConfig.model_validate(
        {
            "platforms": {
                "telegram": {"token": "telegram-secret"},
                "slack": {"bot_token": "b", "app_token": "slack-app"},
            },
            "agents": {"a": {"type": "model", "model": "openai:m", "api_key": "model-secret"}},
            "http": {"api_key": "http-secret"},
        }
    )
    environ = {"OPENAI_API_KEY": "from-environment", "USE_TOKEN": "true", "PATH": "/usr/bin"}
    assert secrets_of(config, environ) == {
        "telegram-secret",
        "slack-app",
        "model-secret",
        "http-secret",
        "from-environment",
    }


def test_a_line_reaches_the_file_and_the_stream(home: Home) -> None:
    stream = io.StringIO()
    turn: contextvars.ContextVar[str] = contextvars.ContextVar("turn", default="")
    with logging_to(LoggingConfig(), home, redact=Redactor(), turn_id=turn.get, stream=stream):
        log.info("hello %s", "world")
        token = turn.set("t1")
        log.warning("in a turn")
        turn.reset(token)
        log.debug("too little to say")
    assert stream.getvalue() == text_of(home)
    first, second = text_of(home).splitlines()
    assert first.endswith("Z INFO    gateway.test: hello world")
    assert second.endswith("Z WARNING gateway.test [turn t1]: in a turn")


def test_json_lines(home: Home) -> None:
    with logging_to(LoggingConfig(format="json"), home, redact=Redactor(), turn_id=lambda: "t1"):
        try:
            raise ValueError(f"with {TELEGRAM}")
        except ValueError:
            log.exception("it failed\nbadly")
    (line,) = map(json.loads, text_of(home).splitlines())
    assert (line["level"], line["logger"], line["message"], line["turn_id"]) == (
        "error",
        "gateway.test",
        "it failed\nbadly",
        "t1",
    )
    assert line["exception"].endswith(f"ValueError: with {MASK}")
    assert line["time"].endswith("Z")


def test_tracebacks_go_to_the_file_and_only_their_last_line_to_the_stream(home: Home) -> None:
    stream = io.StringIO()
    with logging_to(LoggingConfig(), home, redact=Redactor(["hunter2"]), stream=stream):
        try:
            raise ValueError("hunter2 \x1b[2J")
        except ValueError:
            log.exception("it failed")
    assert "\n  Traceback (most recent call last):" in text_of(home)
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().endswith(f"it failed (ValueError: {MASK} \\x1b[2J)\n")
    assert "hunter2" not in text_of(home)
    assert "\x1b" not in text_of(home)


@pytest.mark.parametrize(("traces", "file"), [(True, True), (False, False)])
def test_the_stream_has_tracebacks_where_asked_or_where_there_is_no_file(
    home: Home, *, traces: bool, file: bool
) -> None:
    stream = io.StringIO()
    with logging_to(LoggingConfig(file=file), home, redact=Redactor(), stream=stream, stream_traces=traces):
        try:
            raise ValueError("x")
        except ValueError:
            log.exception("it failed")
    assert "Traceback" in stream.getvalue()
    assert (home.logs_dir / LOG_FILE_NAME).exists() is file


def test_a_message_cannot_forge_a_line(home: Home) -> None:
    with logging_to(LoggingConfig(), home, redact=Redactor()):
        log.info("name: %s", "x\n2026-01-01T00:00:00.000Z INFO forged: \x1b[31m\u2028")
    (line,) = text_of(home).splitlines()
    assert r"x\n2026" in line
    assert r"\x1b[31m\u2028" in line


def test_the_file_is_private_also_where_it_was_not(home: Home) -> None:
    file = home.logs_dir / LOG_FILE_NAME
    file.write_text("before\n")
    file.chmod(0o644)
    with logging_to(LoggingConfig(), home, redact=Redactor()):
        log.info("x")
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text().startswith("before\n")


def test_files_are_bounded(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.logs.LOG_FILE_BYTES", 2000)
    monkeypatch.setattr("gateway.logs.LOG_FILES_KEPT", 2)
    with logging_to(LoggingConfig(), home, redact=Redactor()):
        for number in range(200):
            log.info("line %d", number)
    files = sorted(home.logs_dir.iterdir())
    assert [file.name for file in files] == [LOG_FILE_NAME, f"{LOG_FILE_NAME}.1", f"{LOG_FILE_NAME}.2"]
    assert all(file.stat().st_size <= 2000 and file.stat().st_mode & 0o777 == 0o600 for file in files)
    assert text_of(home).endswith("line 199\n")


def test_what_does_not_fit_the_queue_is_dropped_counted_and_told(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.logs.LOG_QUEUE_LIMIT", 3)
    written, go_on = threading.Event(), threading.Event()

    class Slow(io.StringIO):
        def write(self, text: str) -> int:
            written.set()
            assert go_on.wait(10)
            return super().write(text)

    stream = Slow()
    with logging_to(LoggingConfig(file=False), home, redact=Redactor(), stream=stream) as dropped:
        log.info("first")
        assert written.wait(10)
        for number in range(10):
            log.info("further %d", number)
        assert dropped() == 7
        go_on.set()
    assert "7 log lines were dropped" in stream.getvalue()
    assert "further 2" in stream.getvalue()
    assert "further 3" not in stream.getvalue()


def test_a_message_that_does_not_fit_its_arguments_is_still_told(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    with logging_to(LoggingConfig(), home, redact=Redactor()):
        log.info("%d files", "some")
    assert "'%d files' (this message does not fit its 1 arguments)" in text_of(home)
    assert capsys.readouterr().err == ""


def test_a_log_file_that_cannot_be_written_is_told_once(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    (home.logs_dir / LOG_FILE_NAME).mkdir()
    stream = io.StringIO()
    with logging_to(LoggingConfig(), home, redact=Redactor(), stream=stream):
        log.info("one")
        log.info("two")
    assert stream.getvalue().count("cannot write the log file") == 1
    assert "one" in stream.getvalue()
    assert "two" in stream.getvalue()
    assert "Traceback" not in stream.getvalue() + capsys.readouterr().err


def test_clients_of_http_are_heard_from_warnings_on(home: Home) -> None:
    with logging_to(LoggingConfig(level="debug"), home, redact=Redactor()):
        for name in ("httpx", "httpx2", "openai", "openai._base_client"):
            logging.getLogger(name).info("GET %s", f"https://api.telegram.org/bot{TELEGRAM}/getMe")
        logging.getLogger("httpx").warning("slow")
    assert text_of(home).count("\n") == 1
    assert "slow" in text_of(home)


def test_the_level_can_change_while_it_logs(home: Home) -> None:
    level = logging.getLogger().level
    with logging_to(LoggingConfig(level="error"), home, redact=Redactor()):
        logging.getLogger("a").info("unheard")
        set_level("debug")
        logging.getLogger("a").debug("heard")
        logging.getLogger("httpx").info("unheard")
    assert "unheard" not in text_of(home)
    assert "heard" in text_of(home)
    assert logging.getLogger().level == level


def test_pythons_warnings_are_logged(home: Home) -> None:
    with logging_to(LoggingConfig(), home, redact=Redactor()), warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("mind the gap", UserWarning, stacklevel=1)
    assert "py.warnings" in text_of(home)
    assert "mind the gap" in text_of(home)


def test_afterwards_all_is_as_it_was(home: Home) -> None:
    root = logging.getLogger()
    before = (root.handlers[:], root.level, logging.getLogger("httpx").level, threading.active_count())
    with logging_to(LoggingConfig(level="debug"), home, redact=Redactor(), stream=sys.stderr):
        assert root.handlers != before[0]
    assert (root.handlers[:], root.level, logging.getLogger("httpx").level, threading.active_count()) == before


def test_a_private_key_and_the_addresses_of_webhooks_are_known() -> None:
    key = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\nabc\n-----END RSA PRIVATE KEY-----"
    assert Redactor()(f"before\n{key}\nafter") == f"before\n{MASK}\nafter"
    assert Redactor()(key[:60]) == MASK
    slack = "https://hooks.slack.com/services/"
    assert Redactor()(f"{slack}T0000/B0000/abcdefghijklmnop") == f"{slack}{MASK}"
    discord = "https://discord.com/api/webhooks/"
    assert Redactor()(f"{discord}123456789012345678/{'a' * 68}") == f"{discord}{MASK}"


def test_values_alone_can_be_taken_out() -> None:
    redact = Redactor(["the-token-of-ours"])
    assert redact.values("the-token-of-ours and sk-abcdefghijklmnopqrstuv") == f"{MASK} and sk-abcdefghijklmnopqrstuv"
