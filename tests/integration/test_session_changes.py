"""`hermes-gateway sessions rename`, `archive` and `fork`: through the gateway that runs, and without one."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_sessions_delete import Cli


@pytest.fixture(params=[False, True], ids=["no gateway runs", "a gateway runs"])
def cli(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Cli]:
    cli = Cli(tmp_path / "home")
    result = cli("chat", text="one\ntwo\n")
    assert result.returncode == 0, result.stderr
    with cli.running() if request.param else contextlib.nullcontext():
        yield cli


def told(cli: Cli, *words: str) -> Any:
    result = cli("sessions", *words, "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_a_name_is_given_and_taken_away(cli: Cli) -> None:
    session = cli.session()
    result = cli("sessions", "rename", session[:-3], "  The trip\nto Prague ")
    assert (result.returncode, result.stdout) == (0, "")
    assert f"Session {session} is called 'The trip to Prague'." in result.stderr
    assert told(cli, "list")[0]["title"] == "The trip to Prague"
    assert told(cli, "rename", session, "")["title"] is None


def test_a_session_is_put_away_and_back(cli: Cli) -> None:
    session = cli.session()
    assert f"Session {session} is put away." in cli("sessions", "archive", session).stderr
    assert told(cli, "list") == []
    assert told(cli, "list", "--archived")[0]["archived"] is True
    assert cli("chat", text="three\n").stdout == "three\n"
    assert told(cli, "archive", session, "--undo")["archived"] is False
    begun, back = told(cli, "list")
    assert (begun["message_count"], back["session_id"], back["message_count"]) == (2, session, 4)


def test_a_copy_goes_on_by_itself(cli: Cli) -> None:
    session = cli.session()
    copy = told(cli, "fork", session, "--first", "2", "--title", "Another way")
    assert (copy["message_count"], copy["title"], copy["predecessor_id"]) == (2, "Another way", session)
    again = cli("sessions", "fork", session)
    assert "begins with 4 messages. Its person goes on in it by /resume" in again.stderr
    talk = cli("chat", text=f"/resume {copy['session_id']}\nthree\n")
    assert talk.stdout.endswith("three\n")
    assert told(cli, "show", copy["session_id"])["session"]["message_count"] == 4
    assert told(cli, "show", session)["session"]["message_count"] == 4


def test_what_cannot_be_is_said(cli: Cli) -> None:
    unknown = cli("sessions", "rename", "1999", "x")
    assert (unknown.returncode, "begins with '1999'" in unknown.stderr) == (1, True)
    assert cli("sessions", "fork", cli.session(), "--first", "-1").returncode == 2
