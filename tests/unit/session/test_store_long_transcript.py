"""A long transcript is decoded beside the event loop, which goes on meanwhile."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from gateway.session import SessionStore
from gateway.session.store import DECODED_AT_ONCE
from gateway.storage.codec import decode_message
from tests.support.stores import HandClock, dm, resets

SECONDS = 20.0
"""How long the loop may take to show a sign of life."""


@pytest.mark.parametrize(("length", "beside"), [(DECODED_AT_ONCE, False), (DECODED_AT_ONCE + 1, True)])
async def test_the_loop_goes_on_while_a_long_transcript_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int, beside: bool
) -> None:
    async with SessionStore.open(tmp_path, resets(), clock=HandClock()) as store:
        turn = [{"role": "user", "content": str(number), "name": "n"} for number in range(length)]
        session_id = await store.record_turn(dm(), turn)
        alive, on_loop = threading.Event(), threading.get_ident()
        threads: set[int] = set()

        def patient(*row: Any) -> dict[str, Any]:
            threads.add(threading.get_ident())
            if beside:
                # Without a loop that goes on, nobody would ever set it.
                assert alive.wait(SECONDS)
            return decode_message(*row)

        monkeypatch.setattr("gateway.session.store.decode_message", patient)
        loading = asyncio.create_task(store.load_transcript(session_id))
        while beside and not threads:
            await asyncio.sleep(0.001)
        alive.set()
        assert await loading == turn
        assert (on_loop in threads) == (not beside)
