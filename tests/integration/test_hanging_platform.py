"""A platform that takes requests and answers none costs the others nothing."""

from pathlib import Path

from bench import wire

PLAN = wire.Plan(messages=5, warm_up=5, hung=40)
TIMES_AS_LONG = 20.0
"""Ten times what is measured as a limit on a quiet machine: a test shares its machine with others."""


async def test_answers_elsewhere_come_as_before(tmp_path: Path) -> None:
    _alone, busy, hanging = await wire.beside_one_that_hangs(PLAN, tmp_path)
    assert hanging["messages"] == PLAN.hung
    assert hanging["p99_ms"] <= max(TIMES_AS_LONG * busy["p99_ms"], 100.0)


async def test_the_first_text_is_seen_before_the_answer_is_complete(tmp_path: Path) -> None:
    first, whole, _ = await wire.over_the_wire(PLAN, tmp_path)
    assert first["p50_ms"] < whole["p50_ms"]
