"""Slack hears within its three seconds that we have an event, whatever else is the matter."""

from pathlib import Path
from typing import get_args

import pytest

from bench import acks


@pytest.mark.parametrize("mode", get_args(acks.Mode))
async def test_two_hundred_events_in_a_second_and_a_slow_agent(mode: acks.Mode, tmp_path: Path) -> None:
    timed = await acks.acknowledged(acks.QUICK, tmp_path, mode)
    assert timed["events"] == acks.QUICK.events == 200
    assert timed["late"] == 0
    assert 0 < timed["p99_ms"] <= timed["longest_ms"] < acks.DEADLINE_SECONDS * 1000
