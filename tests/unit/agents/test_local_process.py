"""The parent's side of the local model, with stand-ins for its process."""

import json
import os
import sys
from pathlib import Path

import pytest

from gateway.agents import local_process
from gateway.agents.local_process import LOG_LIMIT, LOG_NAME, LocalServer, LocalServerSettings, find_model
from gateway.constants import LOCAL_MODEL_RESTART_WINDOW_SECONDS, LOCAL_MODEL_RESTARTS
from gateway.ports import AgentError
from tests.unit.agents.clocks import ManualClock

SETTINGS = LocalServerSettings(model=Path("/models/small.gguf"), context_tokens=512, parallel=3, port=4711)

SERVES = (
    "import sys, json; order = sys.stdin.readline(); print(json.dumps({'address': 'http://127.0.0.1:1'}), flush=True)"
)
"""A process that says that it serves."""

WAITS = f"{SERVES}; sys.stdin.read()"
"""... and leaves when its input ends."""


def server(
    tmp_path: Path, code: str, settings: LocalServerSettings = SETTINGS, clock: ManualClock | None = None
) -> LocalServer:
    return LocalServer(
        settings,
        tmp_path / "logs",
        clock or ManualClock(),
        command=(sys.executable, "-c", code),
        new_key=lambda: "key-of-this-start",
    )


async def test_the_process_is_told_what_to_serve_and_says_where(tmp_path: Path) -> None:
    seen = tmp_path / "order"
    code = f"{SERVES}; open({str(seen)!r}, 'w').write(order); sys.stdin.read()"
    child = server(tmp_path, code)
    await child.ensure()
    pids = [child.pid]
    assert child.base_url == "http://127.0.0.1:1/v1"
    await child.ensure()
    pids.append(child.pid)
    await child.stop()
    pids.append(child.pid)
    assert pids == [pids[0], pids[0], None]
    assert pids[0] is not None
    assert json.loads(seen.read_text()) == {
        "parent": os.getpid(),
        "model": "/models/small.gguf",
        "alias": "SmolLM2-135M-Instruct",
        "host": "127.0.0.1",
        "port": 4711,
        "api_key": "key-of-this-start",
        "context_tokens": 512,
        "parallel": 3,
        "cache_mib": 256,
    }
    await child.stop()


async def test_the_process_gets_no_secret_of_the_gateways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "123:secret")
    seen = tmp_path / "environment"
    child = server(
        tmp_path, f"import os; open({str(seen)!r}, 'w').write(str(dict(os.environ))); {SERVES}; sys.stdin.read()"
    )
    await child.ensure()
    await child.stop()
    assert "PATH" in seen.read_text()
    assert "secret" not in seen.read_text()


async def test_what_it_prints_is_in_the_log_and_not_on_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    child = server(tmp_path, f"{WAITS}; print('chatter', file=sys.stderr)")
    await child.ensure()
    await child.stop()
    assert "chatter" in (tmp_path / "logs" / LOG_NAME).read_text()
    assert capfd.readouterr() == ("", "")


async def test_a_large_log_is_begun_anew(tmp_path: Path) -> None:
    log = tmp_path / "logs" / LOG_NAME
    log.parent.mkdir()
    log.write_bytes(b"x" * (LOG_LIMIT + 1))
    child = server(tmp_path, WAITS)
    await child.ensure()
    await child.stop()
    assert log.stat().st_size == 0


@pytest.mark.parametrize(
    "code",
    [
        "import sys; sys.stdin.readline(); print('no such model file', file=sys.stderr); sys.exit(1)",
        "import sys; print('no such model file', file=sys.stderr); sys.exit(1)",
        "import sys; sys.stdin.readline(); print('no such model file', file=sys.stderr); print('ready')",
    ],
)
async def test_a_process_that_does_not_start_says_why(code: str, tmp_path: Path) -> None:
    child = server(tmp_path, code)
    with pytest.raises(AgentError) as raised:
        await child.ensure()
    assert "did not start" in str(raised.value)
    assert "no such model file" in str(raised.value)
    assert str(tmp_path / "logs" / LOG_NAME) in str(raised.value)
    assert child.pid is None


async def test_a_process_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    seen = tmp_path / "pid"
    code = f"import os, sys; open({str(seen)!r}, 'w').write(str(os.getpid())); sys.stdin.read()"
    settings = LocalServerSettings(model=Path("/m"), context_tokens=512, start_timeout=1.0)
    child = server(tmp_path, code, settings)
    with pytest.raises(AgentError, match="within 1 seconds"):
        await child.ensure()
    with pytest.raises(ProcessLookupError):
        os.kill(int(seen.read_text()), 0)


async def test_a_program_that_is_not_there_is_an_error_in_words(tmp_path: Path) -> None:
    child = LocalServer(SETTINGS, tmp_path, ManualClock(), command=("/no/such/program",))
    with pytest.raises(AgentError, match="cannot be started"):
        await child.ensure()


async def test_a_process_that_keeps_dying_is_left_alone_for_a_while(tmp_path: Path) -> None:
    clock = ManualClock()
    child = server(tmp_path, SERVES, clock=clock)
    for _ in range(LOCAL_MODEL_RESTARTS + 1):
        await child.ensure()
        assert await child.has_died()
    with pytest.raises(AgentError, match="left alone"):
        await child.ensure()
    assert child.generation == LOCAL_MODEL_RESTARTS + 1
    clock.forward(LOCAL_MODEL_RESTART_WINDOW_SECONDS)
    await child.ensure()
    await child.stop()


async def test_a_process_that_runs_has_not_died(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_process, "LOCAL_MODEL_EXIT_SECONDS", 0.05)
    child = server(tmp_path, WAITS)
    assert await child.has_died()
    await child.ensure()
    assert not await child.has_died()
    await child.stop()


async def test_a_process_that_does_not_listen_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_process, "LOCAL_MODEL_STOP_SECONDS", 0.1)
    child = server(tmp_path, f"{SERVES}; import time; time.sleep(600)")
    await child.ensure()
    pid = child.pid
    assert pid is not None
    await child.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_model_that_is_not_installed_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_process, "find_spec", lambda name: None)
    with pytest.raises(AgentError, match="pip install"):
        find_model()
