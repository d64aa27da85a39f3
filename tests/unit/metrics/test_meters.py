"""What is measured while messages go by."""

import asyncio
import time

import pytest

from gateway.metrics.lag import watch_loop
from gateway.metrics.meters import COMMIT_BOUNDS, FIRST_TEXT_BOUNDS, LAG_BOUNDS, TURN_BOUNDS, Histogram, Meters
from gateway.ports import Usage


def test_a_value_counts_at_the_first_bound_that_is_not_below_it() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.0, 1.0, 1.5, 2.0, 2.1, 99.0):
        histogram.observe(value)
    assert histogram.counts == [2, 2, 2]
    assert histogram.total == pytest.approx(105.6)


@pytest.mark.parametrize("bounds", [COMMIT_BOUNDS, FIRST_TEXT_BOUNDS, LAG_BOUNDS, TURN_BOUNDS])
def test_bounds_grow(bounds: tuple[float, ...]) -> None:
    assert list(bounds) == sorted(set(bounds))


def test_a_turn_is_counted_and_what_it_took() -> None:
    meters = Meters()
    usage = Usage(input_tokens=5, output_tokens=3, cache_read_tokens=2, cache_write_tokens=1, cost_usd=0.25)
    meters.turn_ended("ada", "answered", usage, 4.0, 0.3)
    meters.turn_ended("ada", "failed", Usage(), 1.0, None)
    assert meters.turns == {("ada", "answered"): 1, ("ada", "failed"): 1}
    assert meters.tokens == {
        ("ada", "input"): 5, ("ada", "output"): 3, ("ada", "cache_read"): 2, ("ada", "cache_write"): 1,
    }  # fmt: skip
    assert meters.dollars == {"ada": 0.25}
    assert (sum(meters.turn.counts), meters.turn.total) == (2, 5.0)
    assert (sum(meters.first_text.counts), meters.first_text.total) == (1, 0.3)


def test_a_clock_that_was_put_back_makes_no_negative_time() -> None:
    meters = Meters()
    meters.turn_ended("ada", "answered", Usage(), -3600.0, -3600.0)
    assert meters.turn.total == meters.first_text.total == 0.0


def test_a_copy_stays_as_it_is() -> None:
    meters = Meters()
    usage = Usage(1, 2, 3, 4, cost_usd=0.5)
    meters.turn_ended("ada", "answered", usage, 1.0, 1.0)
    for counter in (meters.inbound, meters.deliveries):
        counter["telegram", "any"] += 1
    meters.retries["telegram"] += 1
    meters.lag.observe(0.1)
    copy = meters.copy()
    kept = {name: value for name, value in vars(copy).items() if not isinstance(value, Histogram)}
    assert kept == {name: value for name, value in vars(meters).items() if name in kept}
    assert all(kept.values())
    meters.turn_ended("ada", "answered", usage, 1.0, 1.0)
    meters.lag.observe(0.1)
    assert copy.turns == {("ada", "answered"): 1}
    assert [sum(each.counts) for each in (copy.turn, copy.first_text, copy.lag)] == [1, 1, 1]
    assert (copy.turn.total, copy.turn.bounds) == (1.0, meters.turn.bounds)


async def test_a_loop_that_is_held_up_is_late() -> None:
    lag = Histogram((0.04,))
    async with watch_loop(lag, 0.001):
        await asyncio.sleep(0.01)
        time.sleep(0.08)
        await asyncio.sleep(0.01)
    assert lag.counts[-1] >= 1
    assert lag.total >= 0.04


async def test_nobody_looks_any_more_afterwards() -> None:
    before = asyncio.all_tasks()
    async with watch_loop(Histogram((1.0,))):
        assert len(asyncio.all_tasks()) == len(before) + 1
    assert asyncio.all_tasks() == before
