"""The benchmarks run, and nothing that they measure is absurdly slow."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench import conversations, limits, path, streams
from bench.__main__ import main
from bench.limits import HEAVY, modules_of_help
from bench.stall import percentile


@pytest.fixture
def tiny(tmp_path: Path) -> list[str]:
    options = "store --quick --sessions 20 --in-flight 32 --rounds 1 --turns 64 --folder"
    return [*options.split(), str(tmp_path)]


def test_the_store_keeps_a_share_of_raw_sqlite(tiny: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*tiny, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {"cores", "processor", "disk", "python", "sqlite"} <= set(report["machine"])
    figures = {figure["name"]: figure for figure in report["store"]}
    assert figures["record_turn"]["share_of_raw"] > 0.02
    assert figures["the three public calls"]["share_of_raw"] > 0.01


def test_the_report_is_a_table(tiny: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(tiny) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1
    assert any("record_turn" in row for row in rows)


def test_a_message_goes_the_whole_path(tmp_path: Path) -> None:
    plan = path.Plan(sessions=(0, 30), in_flight=(1, 16), rounds=1, messages=64, messages_alone=8, warm_up=16)
    figures = path.run(plan, lambda _text: None, tmp_path)
    assert [(figure["sessions"], figure["in_flight"]) for figure in figures] == [(0, 1), (0, 16), (30, 1), (30, 16)]
    for figure in figures:
        assert figure["per_second"] > 5
        assert 1 <= figure["adapter_calls"] <= 3
        assert 0 < figure["to_agent_p50_ms"] <= figure["to_agent_p99_ms"] < 5_000
        assert 0 < figure["to_platform_p50_ms"] <= figure["to_platform_p99_ms"] < 5_000


def test_conversations_are_measured(tmp_path: Path) -> None:
    plan = conversations.Plan(sessions=40, messages=400, a_person=5, turns=2)
    figures = conversations.run(plan, lambda _text: None, tmp_path)
    assert len(figures) == 18
    assert {figure["who"] for figure in figures} == {conversations.BUSY, conversations.QUIET}
    assert all(0 < figure["p50_ms"] <= figure["p99_ms"] < 5_000 for figure in figures)


def test_programs_that_stream_are_served(tmp_path: Path) -> None:
    plan = streams.Plan(
        alone=3,
        warm_up=2,
        waves=2,
        clients=15,
        seconds=0.2,
        pieces=3,
        slow=2,
        long_kb=50,
        long_pieces=3,
        settle_seconds=0.0,
    )
    figures = streams.run(plan, lambda _text: None, tmp_path)
    assert [figure["clients"] for figure in figures] == [3, 15, 15, 15, 15]
    for figure in figures:
        assert figure["failed"] == 0, figure["failures"]
        assert 0 < figure["first_p50_ms"] <= figure["first_p99_ms"] < 10_000
        assert figure["first_p50_ms"] <= figure["text_p50_ms"] < 10_000
        assert 0 < figure["memory_mb"] < 1_000


def test_operations_have_limits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # The start of processes is measured by the benchmark alone: it takes seconds.
    for name in ("_help", "_touched_memory"):
        monkeypatch.setattr(limits, name, _nothing)
    for name in ("_start", "_chat_memory"):
        monkeypatch.setattr(limits, name, lambda *_: limits.Limit("not measured", 0, "ms"))
    plan = limits.Plan(sessions=50, messages=500, transcript=100, repeats=1)
    figures = limits.run(plan, lambda _text: None, tmp_path)
    measured = {figure["name"]: figure for figure in figures if figure["limit"] is not None}
    assert len(measured) == 4
    assert all(0 < figure["value"] < 1_000 for figure in measured.values())


def _nothing(*_: Any) -> list[limits.Limit]:
    return []


def test_help_imports_nothing_heavy() -> None:
    modules = modules_of_help()
    assert "hermes_gateway" in modules
    assert not {name.partition(".")[0] for name in modules} & {*HEAVY, "aiosqlite", "pydantic", "rich"}
    assert len(modules) < 400


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [([], 99, 0.0), ([3.0], 50, 3.0), ([4.0, 1.0, 3.0, 2.0], 50, 3.0), ([1.0, 2.0], 99.9, 2.0)],
)
def test_percentiles(values: list[float], percent: float, expected: float) -> None:
    assert percentile(values, percent) == expected


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "--quick" in capsys.readouterr().out


def test_a_suite_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["speed"])
    assert "store, path, limits" in capsys.readouterr().err
