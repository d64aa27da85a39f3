"""How failures end the program: foreseen ones in their own words, others in one line without secrets."""

from pathlib import Path

import pytest

from config import ConfigError, Home, Problem
from gateway.api import ListenError
from gateway.cli.backups import settle
from gateway.cli.errors import FAILED, MISCONFIGURED, CommandError, explain, unforeseen
from gateway.lock import LockHeldError
from gateway.status import StatusError
from gateway.storage.errors import NewerDatabaseError


def test_each_fault_of_the_configuration_has_its_line() -> None:
    problems = [
        Problem("gateway.yaml", 3, "http.prot", "unknown key", "did you mean 'port'?"),
        Problem(None, None, "agent", "no agent has this name", "known are echo, local", source="command line"),
    ]
    assert explain(ConfigError(problems)) == (
        (
            "gateway.yaml:3: http.prot: unknown key; did you mean 'port'?",
            "command line: agent: no agent has this name; known are echo, local",
        ),
        MISCONFIGURED,
    )


@pytest.mark.parametrize(
    "error",
    [
        CommandError("it cannot be"),
        ListenError("port 1 is in use"),
        NewerDatabaseError("written by a newer version"),
        StatusError("no answer"),
        LockHeldError(Path("/home/gateway.lock"), 7, "hermes-gateway run"),
    ],
)
def test_a_foreseen_error_is_one_line(error: Exception) -> None:
    assert explain(error) == ((f"hermes-gateway: {error}",), FAILED)
    assert explain(ExceptionGroup("tasks", [ExceptionGroup("more", [error])])) == explain(error)


def test_an_error_of_the_system_names_its_file() -> None:
    assert explain(PermissionError(13, "Permission denied", "/x")) == (
        ("hermes-gateway: /x: Permission denied",),
        FAILED,
    )


def test_an_unforeseen_error_is_one_line_without_a_secret() -> None:
    error = ExceptionGroup("tasks", [ValueError("line one\nBearer abcdefghijkl")])
    assert explain(error) is None
    line = unforeseen(error)
    assert "\n" not in line
    assert "abcdefghijkl" not in line
    assert "ValueError: line one" in line
    assert "--debug" in line


def test_a_start_in_a_home_of_another_user_names_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_home: Home) -> Path | None:
        raise PermissionError(13, "Permission denied", str(tmp_path / "restore-staged"))

    monkeypatch.setattr("gateway.storage.restore.staged", refused)
    with pytest.raises(CommandError) as raised:
        settle(Home(tmp_path))
    assert str(raised.value) == (
        f"the home folder {tmp_path} cannot be used (Permission denied); set HERMES_GATEWAY_HOME to a folder of yours"
    )
