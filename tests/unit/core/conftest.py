"""What the tests of the core share."""

import pytest


@pytest.fixture(autouse=True)
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a fault of its own the gateway rests; in tests it goes on at once."""
    for name in (
        "gateway.lanes.LANE_ERROR_PAUSE_SECONDS",
        "gateway.outbox.OUTBOX_ERROR_PAUSE_SECONDS",
        "gateway.turns.AGENT_CANCEL_GRACE_SECONDS",
        "gateway.stream.PREVIEW_CLOSE_SECONDS",
    ):
        monkeypatch.setattr(name, 0.002)
