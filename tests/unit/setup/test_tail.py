"""A log is followed: each line once, in order, over the edges of files."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from config import Home
from gateway.cli.errors import CommandError
from gateway.cli.logs import Tail, last_lines, logs

Open = Callable[..., Tail]


@pytest.fixture
def follow(tmp_path: Path) -> Iterator[Open]:
    with ExitStack() as stack:
        yield lambda *more: stack.enter_context(closing(Tail(tmp_path / "log", *more)))


def test_the_last_lines(tmp_path: Path, follow: Open) -> None:
    path = tmp_path / "log"
    path.write_text("".join(f"{n}\n" for n in range(100)) + "half")
    assert list(last_lines(follow(), 3)) == ["97", "98", "99"]
    assert len(list(last_lines(follow(), 0))) == 100


def test_each_line_once_over_rotation(tmp_path: Path, follow: Open) -> None:
    """What is written to the old file after the last look is read before the new one."""
    path = tmp_path / "log"
    path.write_text("one\nhalf")
    tail = follow()
    assert list(tail.new_lines()) == ["one"]
    with path.open("a") as old:
        old.write(" whole\nlast of the old\n")
    path.rename(tmp_path / "log.1")
    assert list(tail.new_lines()) == ["half whole", "last of the old"]
    path.write_text("first of the new\n")
    assert list(tail.new_lines()) == ["first of the new"]
    with path.open("a") as new:
        new.write("second\n")
    assert list(tail.new_lines()) == ["second"]


def test_two_files_at_once(tmp_path: Path, follow: Open) -> None:
    path = tmp_path / "log"
    path.write_text("one\n")
    tail = follow()
    assert list(tail.new_lines()) == ["one"]
    path.rename(tmp_path / "log.1")
    path.write_text("two\n")
    assert list(tail.new_lines()) == ["two"]


def test_a_log_that_is_not_there_yet(tmp_path: Path, follow: Open) -> None:
    path = tmp_path / "log"
    naps: list[float] = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        path.write_text("at last\n")

    assert next(follow(sleep).follow()) == "at last"
    assert len(naps) == 1


def test_a_file_that_was_cut(tmp_path: Path, follow: Open) -> None:
    path = tmp_path / "log"
    path.write_text("one\ntwo\n")
    tail = follow()
    assert list(tail.new_lines()) == ["one", "two"]
    path.write_text("new\n")
    assert list(tail.new_lines()) == ["new"]


def test_bytes_that_are_no_text(tmp_path: Path, follow: Open) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"a\xffb\n")
    assert list(follow().new_lines()) == ["a\\xffb"]


@pytest.mark.parametrize("follow", [True, False])
def test_a_log_that_is_never_written_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, follow: bool
) -> None:
    home = Home(tmp_path / "home").ensure()
    monkeypatch.setenv("HERMES_GATEWAY_HOME", str(home.path))
    home.config_file.write_text("logging: {file: false}\n")
    monkeypatch.setattr(Tail, "follow", lambda _tail: iter(()))
    with pytest.raises(CommandError, match="no log file is written"):
        logs(follow=follow)
