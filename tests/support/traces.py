"""What strace saw of a daemon: its system calls, and whether a receipt left before its message was on disk."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.daemon_child import ChildOptions
from tests.support.daemon_launcher import ROOT
from tests.support.gateway_client import SECONDS, RawClient

CALLS: Final = "fsync,fdatasync,write,pwrite64,writev,pwritev,sendto,sendmsg"
SYNCS: Final = ("fsync", "fdatasync")
START: Final = re.compile(r"^(?P<thread>\d+) +(?P<call>\w+)\((?P<rest>.*)$")
RESUMED: Final = re.compile(r"^(?P<thread>\d+) +<\.\.\. (?P<call>\w+) resumed>")

WAL: Final = re.compile(r"\.db-wal>")
SPOOL: Final = re.compile(r"/spool-[^/]*\.jsonl>")
"""The file of a call, as `strace -y` names it."""


@dataclass(frozen=True, slots=True)
class SystemCall:
    """One call: its text, and the lines of the trace on which it began and ended."""

    name: str
    text: str
    began: int
    ended: int

    def is_of(self, file: re.Pattern[str]) -> bool:
        """Whether it is done to this file."""
        return file.search(self.text.split(",", 1)[0]) is not None


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


def told_too_early(trace: str, message_id: str, file: re.Pattern[str]) -> bool:
    """Whether the receipt left before a sync of the file followed the write that holds the message."""
    calls = sorted(system_calls(trace), key=lambda call: call.began)
    (receipt, *_) = [call for call in calls if r"\"op\":\"accepted\"" in call.text and message_id in call.text]
    written = [call for call in calls if call.is_of(file) and message_id in call.text and call.name not in SYNCS]
    assert written, "the message was not seen on its way to the file"
    return not any(
        call.name in SYNCS and call.is_of(file) and written[0].ended < call.began and call.ended < receipt.began
        for call in calls
    )


async def traced(strace: Path, options: ChildOptions, messages: Sequence[str]) -> str:
    """What a daemon asked of the system while it took these messages, one after another."""
    home = Path(options.home)
    trace = home / "trace"
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
        async with RawClient(home / "gateway.sock") as client:
            await client.attach()
            for message_id in messages:
                await client.frame({"op": "message", "id": message_id, "text": f"{message_id} please"})
                assert (await client.next("accepted"))["id"] == message_id
                await client.answer_to(message_id)
    finally:
        os.killpg(daemon.pid, signal.SIGTERM)  # strace takes its own only once the daemon has ended
        await asyncio.wait_for(daemon.communicate(), SECONDS)
    return trace.read_text(errors="replace")
