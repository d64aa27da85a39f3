"""A message is on disk before its sender is told so: seen in the system calls of the real daemon."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import pytest

from config import Home
from tests.support.daemon_child import ChildOptions
from tests.support.daemon_launcher import ROOT
from tests.support.gateway_client import SECONDS, RawClient

pytestmark = [pytest.mark.system, pytest.mark.slow]

MESSAGES: Final = ("sync-probe-1", "sync-probe-2", "sync-probe-3")
CALLS: Final = "fsync,fdatasync,write,pwrite64,writev,pwritev,sendto,sendmsg"
SYNCS: Final = ("fsync", "fdatasync")
START: Final = re.compile(r"^(?P<thread>\d+) +(?P<call>\w+)\((?P<rest>.*)$")
RESUMED: Final = re.compile(r"^(?P<thread>\d+) +<\.\.\. (?P<call>\w+) resumed>")


@dataclass(frozen=True, slots=True)
class SystemCall:
    """One call: its text, and the lines of the trace on which it began and ended."""

    name: str
    text: str
    began: int
    ended: int

    @property
    def is_of_wal(self) -> bool:
        return ".db-wal>" in self.text.split(",", 1)[0]


def system_calls(trace: str) -> Iterator[SystemCall]:
    """The calls of a trace that strace wrote with `-f -y`."""
    unfinished: dict[str, tuple[str, str, int]] = {}
    for number, line in enumerate(trace.splitlines()):
        if resumed := RESUMED.match(line):
            name, text, began = unfinished.pop(resumed["thread"], ("", "", 0))
            if name:
                yield SystemCall(name, text, began, number)
        elif started := START.match(line):
            if line.endswith("<unfinished ...>"):
                unfinished[started["thread"]] = (started["call"], started["rest"], number)
            else:
                yield SystemCall(started["call"], started["rest"], number, number)


def told_too_early(trace: str, message_id: str) -> bool:
    """Whether the receipt left before a sync of the log followed the write that holds the message."""
    calls = sorted(system_calls(trace), key=lambda call: call.began)
    (receipt, *_) = [call for call in calls if r"\"op\":\"accepted\"" in call.text and message_id in call.text]
    written = [call for call in calls if call.is_of_wal and message_id in call.text and call.name not in SYNCS]
    assert written, "the message was not seen on its way to the write-ahead log"
    return not any(
        call.name in SYNCS and call.is_of_wal and written[0].ended < call.began and call.ended < receipt.began
        for call in calls
    )


async def traced(strace: Path, home: Home, synchronous: Literal["full", "normal"]) -> str:
    """What the daemon asked of the system while it took a few messages, one after another."""
    trace = home.path / "trace"
    options = ChildOptions(home=str(home.path), log=str(home.path / "daemon.log"), synchronous=synchronous)
    daemon = await asyncio.create_subprocess_exec(
        *(strace, "-f", "-y", "-s", "8192", "-e", f"trace={CALLS}", "-o", trace),
        *(sys.executable, "-m", "tests.support.daemon_child", options.dump()),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert daemon.stdout is not None
    try:
        assert b"ready" in await asyncio.wait_for(daemon.stdout.readline(), 60)
        async with RawClient(home.socket) as client:
            await client.attach()
            for message_id in MESSAGES:
                await client.frame({"op": "message", "id": message_id, "text": f"{message_id} please"})
                assert (await client.next("accepted"))["id"] == message_id
                await client.answer_to(message_id)
    finally:
        os.killpg(daemon.pid, signal.SIGTERM)  # strace takes its own only once the daemon has ended
        await asyncio.wait_for(daemon.communicate(), SECONDS)
    return trace.read_text(errors="replace")


async def test_a_message_is_synced_before_its_receipt_leaves(system_tool: Callable[[str], Path], home: Home) -> None:
    trace = await traced(system_tool("strace"), home, "full")
    assert [message_id for message_id in MESSAGES if told_too_early(trace, message_id)] == []


async def test_the_check_sees_a_receipt_without_a_sync(system_tool: Callable[[str], Path], home: Home) -> None:
    """With `synchronous: normal` SQLite does not sync its log at each commit."""
    trace = await traced(system_tool("strace"), home, "normal")
    assert [message_id for message_id in MESSAGES if told_too_early(trace, message_id)] == list(MESSAGES)
