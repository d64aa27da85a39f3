"""Calls that are cut off while the writer is at what they do: it is done, so what follows from it is too."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.fakes import Core, FakeAdapter
from tests.unit.tools.support import add_session, caller, gateway


async def cut_off(built: Core, tool: str, arguments: Mapping[str, Any], **more: Any) -> None:
    """Make a call, and cancel it as soon as its change is queued."""
    call = asyncio.create_task(built.sessions.call(tool, arguments, caller(**more)))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await built.database.write(lambda _connection: None)  # what was queued before is durable by then
    await built.settled()


async def test_what_was_written_to_a_session_is_answered(tmp_path: Path) -> None:
    async with gateway(tmp_path) as built:
        await add_session(built, "t1")
        await cut_off(built, "send_to_session", {"session_id": "t1", "message": "x"})
        assert [row["state"] for row in await built.rows("SELECT state FROM inbound")] == ["answered"]


async def test_what_was_sent_to_people_reaches_them(tmp_path: Path) -> None:
    adapter = FakeAdapter()
    async with gateway(tmp_path, adapter=adapter) as built:
        await cut_off(built, "send_message", {"message": "hello"})
        assert adapter.texts("1") == ["hello"]
