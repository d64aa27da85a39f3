"""Those who wait for answers: how many there are, and at which pace each is shown what grows."""

from contextlib import ExitStack
from typing import cast

import pytest

from config import PlatformConfig
from gateway.api.ledger import Ledger
from gateway.api.platform import EDIT_INTERVAL, MAX_EDIT_INTERVAL, ApiPlatform
from gateway.api.waiting import TooManyWaitingError, WaitingRoom
from gateway.ports import AdapterHost


def entered(stack: ExitStack, room: WaitingRoom, clients: int) -> None:
    for number in range(clients):
        stack.enter_context(room.enter(f"chatcmpl-{number}", f"chatcmpl-{number}", 10_000))


@pytest.mark.parametrize(
    ("clients", "interval"), [(0, 0.02), (1, 0.02), (9, 0.02), (10, 0.04), (100, 0.22), (1_000, MAX_EDIT_INTERVAL)]
)
def test_the_more_wait_the_longer_are_the_pieces(clients: int, interval: float) -> None:
    room = WaitingRoom()
    # Neither is asked for anything here.
    host, ledger = cast("AdapterHost", None), cast("Ledger", None)
    platform = ApiPlatform(PlatformConfig(), host, ledger=ledger, room=room)
    with ExitStack() as stack:
        entered(stack, room, clients)
        assert platform.capabilities.edit_interval == pytest.approx(interval)
        assert platform.capabilities.drafts
    assert platform.capabilities.edit_interval == EDIT_INTERVAL


def test_clients_of_one_request_are_counted_each() -> None:
    room = WaitingRoom()
    with room.enter("chatcmpl-1", "c", 2) as first, room.enter("chatcmpl-1", "c", 2) as second:
        assert first is second
        assert len(room) == 2
        with pytest.raises(TooManyWaitingError), room.enter("chatcmpl-2", "c", 2):
            pass
        assert len(room) == 2
    assert len(room) == 0
    assert room.find("chatcmpl-1") is None
