"""The interactive chat through a pseudo-terminal, against a gateway in a process of its own."""

import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

ROOT = Path(__file__).parents[2]
SUPPORT = "tests.unit.local.support"
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[78]|\x1b\][^\x07]*\x07|\r")

Open = Callable[..., "pexpect.spawn[str]"]


def environment(**changes: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "VIRTUAL_ENV")}
    return kept | {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **changes}


class Host:
    """The gateway's process, which can be killed and started again."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.start()

    def start(self) -> None:
        (self.home / "gateway.sock").unlink(missing_ok=True)
        self.child: pexpect.spawn[str] = pexpect.spawn(
            sys.executable, ["-m", SUPPORT, "host", str(self.home)], cwd=str(ROOT), encoding="utf-8"
        )
        deadline = time.monotonic() + 20
        while not (self.home / "gateway.sock").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def kill(self) -> None:
        self.child.kill(signal.SIGKILL)
        self.child.wait()
        self.child.close()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    host.kill()


@pytest.fixture
def open_chat(tmp_path: Path) -> Iterator[Open]:
    opened: list[pexpect.spawn[str]] = []

    def open_chat(*arguments: str, columns: int = 80, **changes: str) -> "pexpect.spawn[str]":
        child: pexpect.spawn[str] = pexpect.spawn(
            sys.executable,
            ["-m", SUPPORT, "chat", str(tmp_path), *arguments],
            cwd=str(ROOT),
            env=environment(**changes),
            dimensions=(30, columns),
            encoding="utf-8",
            timeout=15,
        )
        opened.append(child)
        return child

    yield open_chat
    for child in opened:
        child.close(force=True)


def expect(child: "pexpect.spawn[str]", text: str) -> str:
    """Wait until the text is on the screen; returns all that came before, without escapes."""
    seen = ""
    deadline = time.monotonic() + 15
    while text not in ESCAPES.sub("", seen):
        assert time.monotonic() < deadline, f"{text!r} is not in {ESCAPES.sub('', seen)!r}"
        try:
            seen += child.read_nonblocking(65536, timeout=0.2)
        except pexpect.TIMEOUT:
            continue
    return ESCAPES.sub("", seen)


def ends(child: "pexpect.spawn[str]") -> tuple[str, int | None]:
    rest: Any = child.read()
    child.close()
    return ESCAPES.sub("", rest), child.exitstatus


@pytest.mark.usefixtures("host")
def test_the_first_lines_say_who_answers(open_chat: Open) -> None:
    child = open_chat()
    first = expect(child, "Ctrl-D leaves.")
    assert "Hermes Gateway 1.2.3" in first
    assert "The agent is echo" in first
    assert "hermes-gateway setup" in first
    assert "/help" in first
    child.send("\x04")
    assert ends(child)[1] == 0


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("enter", ["hello\r", "hello\n"], ids=["a key", "a program's line feed"])
def test_enter_sends_and_the_reply_comes(open_chat: Open, enter: str) -> None:
    child = open_chat()
    expect(child, "Ctrl-D leaves.")
    child.send(enter)
    assert "> hello" in expect(child, "you said: hello\n")
    child.send("\x04")
    assert ends(child)[1] == 0


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("newline", ["\x1b\r", "\n", "\\\r"], ids=["Alt-Enter", "Ctrl-J", "backslash"])
def test_a_message_of_several_lines(open_chat: Open, newline: str) -> None:
    child = open_chat()
    expect(child, "Ctrl-D leaves.")
    child.send("first")
    time.sleep(0.3)
    child.send(newline)
    time.sleep(0.3)
    child.send("second\r")
    expect(child, "you said: first\nsecond\n")


@pytest.mark.usefixtures("host")
def test_what_is_pasted_is_one_message(open_chat: Open) -> None:
    child = open_chat()
    expect(child, "Ctrl-D leaves.")
    child.send("\x1b[200~line 1\nline 2\n\x1b[201~")
    time.sleep(0.3)
    child.send("\r")
    expect(child, "you said: line 1\nline 2\n")


@pytest.mark.usefixtures("host")
def test_the_prompt_takes_the_next_message_while_a_reply_streams(open_chat: Open) -> None:
    child = open_chat()
    expect(child, "Ctrl-D leaves.")
    child.send("lines 4\r")
    expect(child, "Paragraph 1")
    child.send("the next one\r")
    assert "queued: the next one" in expect(child, "queued: the next one")
    assert "Paragraph 4" in expect(child, "you said: the next one\n")


@pytest.mark.usefixtures("host")
def test_a_command_that_is_answered_at_once_stands_above_its_answer(open_chat: Open) -> None:
    child = open_chat()
    expect(child, "Ctrl-D leaves.")
    child.send("lines 6\r")
    expect(child, "Paragraph 2")
    child.send("/usage\r")
    assert "> /usage\n" in expect(child, "All is well.")
    assert "> /usage\n" not in expect(child, "Paragraph 6")


@pytest.mark.usefixtures("host")
def test_a_code_block_stays_one_when_a_command_is_answered_within_it(open_chat: Open) -> None:
    child = open_chat()
    expect(child, "Ctrl-D leaves.")
    child.send("code 20\r")
    expect(child, "value_")
    child.send("/usage\r")
    seen = expect(child, "All is well.")
    child.send("the end\r")
    seen += expect(child, "you said: the end\n")
    assert "".join(f"  value_{number} = {number}\n" for number in range(1, 21)) in seen


@pytest.mark.usefixtures("host")
def test_ctrl_c_stops_the_reply(open_chat: Open) -> None:
    child = open_chat()
    expect(child, "Ctrl-D leaves.")
    child.send("lines 90\r")
    expect(child, "Paragraph 2")
    child.send("\x03")
    assert "Paragraph 60" not in expect(child, "Stopped.")
    child.send("still here\r")
    expect(child, "you said: still here\n")


@pytest.mark.usefixtures("host")
def test_ctrl_c_at_the_prompt_clears_then_says_how_to_leave(open_chat: Open) -> None:
    child = open_chat()
    expect(child, "Ctrl-D leaves.")
    child.send("never sent")
    expect(child, "never sent")
    child.send("\x03")
    time.sleep(0.3)
    child.send("\x03")
    expect(child, "Ctrl-D or /quit leaves.")
    child.send("sent\r")
    expect(child, "you said: sent\n")


@pytest.mark.usefixtures("host")
def test_quit_leaves_once_the_reply_is_out(open_chat: Open) -> None:
    child = open_chat()
    expect(child, "Ctrl-D leaves.")
    child.send("lines 8\r")
    expect(child, "Paragraph 1")
    child.send("/quit\r")
    rest, code = ends(child)
    assert "Leaving once the reply is out" in rest
    assert "Paragraph 8" in rest
    assert code == 0


@pytest.mark.usefixtures("host")
def test_commands_are_completed(open_chat: Open) -> None:
    child = open_chat()
    expect(child, "Ctrl-D leaves.")
    child.send("/sta")
    expect(child, "How things stand")
    child.send("\t\r")
    expect(child, "you said: /status\n")


def test_a_restart_of_the_gateway_is_said_once_and_survived(host: Host, open_chat: Open) -> None:
    child = open_chat()
    expect(child, "Ctrl-D leaves.")
    host.kill()
    expect(child, "connection to the gateway is lost")
    child.send("asked meanwhile\r")
    time.sleep(0.5)
    host.start()
    seen = expect(child, "you said: asked meanwhile\n")
    assert "Connected again." in seen
    assert "is lost" not in seen
    child.send("\x04")
    assert ends(child)[1] == 0


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("columns", [60, 200])
def test_markdown_streams_and_leaves_the_rendered_text(open_chat: Open, columns: int) -> None:
    child = open_chat(columns=columns)
    expect(child, "Ctrl-D leaves.")
    child.send("sample\r")
    seen = expect(child, "The end.\n")
    assert " • a first point" in seen
    assert "東京タワーはとても高いです。" in seen
    assert "```" not in seen.rsplit("A sample answer", 1)[-1]
    child.send("\x04")
    assert ends(child)[1] == 0


@pytest.mark.usefixtures("host")
def test_no_colour_where_it_is_not_wanted(open_chat: Open) -> None:
    child = open_chat(NO_COLOR="1")
    child.expect("Ctrl-D leaves")
    child.send("sample\r")
    child.expect("The end")
    raw: Any = child.before
    assert not re.search(r"\x1b\[[0-9;]*\b(3[0-8]|9[0-7])\b[0-9;]*m", raw)


@pytest.mark.usefixtures("host")
def test_a_terminal_that_shows_only_lines(open_chat: Open) -> None:
    child = open_chat(TERM="dumb")
    child.expect("The agent is echo")
    child.expect("> ")
    child.send("hello\n")
    child.expect("you said: hello\r\n> ")
    child.send("lines 90\n")
    time.sleep(0.5)
    child.sendintr()
    child.expect("Stopped")
    child.expect("> ")
    assert "\x1b" not in str(child.before)
    child.sendeof()
    assert ends(child)[1] == 0


@pytest.mark.usefixtures("host")
def test_one_message_on_a_terminal_is_answered_and_rendered(open_chat: Open) -> None:
    child = open_chat("sample")
    seen, code = ends(child)
    assert " • a first point" in seen
    assert code == 0


@pytest.mark.usefixtures("host")
def test_the_history_is_kept_for_the_next_chat(open_chat: Open, tmp_path: Path) -> None:
    child = open_chat()
    expect(child, "Ctrl-D leaves.")
    child.send("remember me\r")
    expect(child, "you said: remember me\n")
    child.send("\x04")
    ends(child)
    assert (tmp_path / "chat_history").stat().st_mode & 0o777 == 0o600
    child = open_chat()
    expect(child, "Ctrl-D leaves.")
    time.sleep(0.3)
    child.send("\x1b[A")
    expect(child, "remember me")
    child.send("\r")
    expect(child, "you said: remember me\n")
