"""The lock of a home: one process at a time, and the next one hears who holds it."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.lock import LockHeldError, hold


def test_the_holder_is_named_and_the_lock_ends_with_the_context(tmp_path: Path) -> None:
    path = tmp_path / "gateway.lock"
    with hold(path, "the first"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with pytest.raises(LockHeldError, match="the first") as caught, hold(path, "the second"):
            pass
        assert (caught.value.pid, caught.value.holder) == (os.getpid(), "the first")
        assert str(tmp_path) in str(caught.value)
    with hold(path, "the second"):
        pass


def test_what_a_holder_that_was_killed_left_stops_nobody(tmp_path: Path) -> None:
    path = tmp_path / "gateway.lock"
    code = "import os, sys, pathlib as p; from gateway.lock import hold; hold(p.Path(sys.argv[1]), 'dead')"
    subprocess.run([sys.executable, "-c", f"{code}.__enter__(); os._exit(9)", str(path)], check=False)
    assert "dead" in path.read_text()
    with hold(path, "next"):
        assert "next" in path.read_text()


@pytest.mark.parametrize("content", ["", "nonsense", "{}", '{"pid": null, "holder": 1}', "[]"])
def test_a_holder_that_has_not_said_who_it_is(tmp_path: Path, content: str) -> None:
    path = tmp_path / "gateway.lock"
    with hold(path, "first"):
        path.write_text(content)
        with pytest.raises(LockHeldError, match="another process"), hold(path, "second"):
            pass


def test_a_folder_that_cannot_hold_a_lock_is_no_holder(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"), hold(tmp_path / "nothing" / "lock", "x"):
        pass
