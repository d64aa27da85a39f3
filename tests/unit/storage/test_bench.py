"""The benchmarks run, and the store is not absurdly slow."""

import json
from pathlib import Path

import pytest

from bench.__main__ import main


@pytest.fixture
def tiny(tmp_path: Path) -> list[str]:
    return [
        "--quick",
        "--sessions",
        "20",
        "--in-flight",
        "32",
        "--rounds",
        "1",
        "--turns",
        "64",
        "--folder",
        str(tmp_path),
    ]


def test_the_store_keeps_a_share_of_raw_sqlite(tiny: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*tiny, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {"cores", "processor", "disk", "python", "sqlite"} <= set(report["machine"])
    figures = {figure["name"]: figure for figure in report["figures"]}
    assert figures["record_turn"]["share_of_raw"] > 0.02
    assert figures["the three public calls"]["share_of_raw"] > 0.01


def test_the_report_is_a_table(tiny: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(tiny) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1
    assert any("record_turn" in row for row in rows)


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "--quick" in capsys.readouterr().out
