"""A message is on disk before its sender is told so: seen in the system calls of the real daemon."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from config import Home
from tests.support.daemon_child import ChildOptions
from tests.support.faults import LockHolder
from tests.support.traces import SPOOL, WAL, told_too_early, traced

pytestmark = [pytest.mark.system, pytest.mark.slow]

MESSAGES: Final = ("sync-probe-1", "sync-probe-2", "sync-probe-3")


def options(home: Home, **more: Any) -> ChildOptions:
    return ChildOptions(home=str(home.path), log=str(home.path / "daemon.log"), busy_seconds=0.05, **more)


async def test_a_message_is_synced_before_its_receipt_leaves(system_tool: Callable[[str], Path], home: Home) -> None:
    trace = await traced(system_tool("strace"), options(home), MESSAGES)
    assert [message_id for message_id in MESSAGES if told_too_early(trace, message_id, WAL)] == []


async def test_the_check_sees_a_receipt_without_a_sync(system_tool: Callable[[str], Path], home: Home) -> None:
    """With `synchronous: normal` SQLite does not sync its log at each commit."""
    trace = await traced(system_tool("strace"), options(home, synchronous="normal"), MESSAGES)
    assert [message_id for message_id in MESSAGES if told_too_early(trace, message_id, WAL)] == list(MESSAGES)


@pytest.mark.parametrize("synced", [True, False])
async def test_the_spool_is_synced_before_a_receipt_leaves(
    system_tool: Callable[[str], Path], home: Home, synced: bool
) -> None:
    """And without its syncs, which the daemon leaves out here when it is told to, the check sees that."""
    holder = LockHolder(home.database)
    assert holder.hold()
    try:
        trace = await traced(system_tool("strace"), options(home, syncs=synced), MESSAGES)
    finally:
        holder.release()
    early = [message_id for message_id in MESSAGES if told_too_early(trace, message_id, SPOOL)]
    assert early == ([] if synced else list(MESSAGES))
