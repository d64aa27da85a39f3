"""What agents do with sessions, they do once, though the process is killed right after."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from config import Home
from tests.crash.test_steps import TOOL_STEPS

ROOT = Path(__file__).parents[2]
ONCE = {"created": 1, "forked": 1, "sent": 1, "answered": 1, "messages": 1, "turns": 2, "open": 0}


def life(home: Home, step: str = "") -> tuple[int, str]:
    """One life of the gateway, and what it said."""
    words = [sys.executable, "-m", "tests.support.tools_child", str(home.path), *filter(None, [step])]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout or done.stderr


@pytest.mark.parametrize("step", TOOL_STEPS)
def test_a_tool_whose_process_is_killed_has_done_its_work_once(step: str, home: Home) -> None:
    code, said = life(home, step)
    assert code == -signal.SIGKILL, said
    code, said = life(home)
    assert code == 0, said
    assert json.loads(said) == ONCE
