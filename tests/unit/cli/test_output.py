"""What a terminal may get, ages in words, and files that are written whole or not at all."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.cli.output import Column, age, counted, neutral, neutral_lines, print_table, width, write_whole

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("two\nlines\tand", "two lines and"),
        ("\x1b[31mred\x1b[0m", "�[31mred�[0m"),
        ("\x07bell\x9b", "�bell�"),
        ("abc\u202edef", "abc�def"),
        ("日本語 é", "日本語 é"),
        ("می\u200cخواهم 👩\u200d💻", "می\u200cخواهم 👩\u200d💻"),
    ],
)
def test_neutral_leaves_nothing_that_steers_a_terminal(text: str, shown: str) -> None:
    assert neutral(text) == shown


def test_neutral_lines_keeps_the_lines() -> None:
    assert neutral_lines("a\tb\r\n\x1b]0;title\x07\nc") == "a    b\n�]0;title�\nc"


@pytest.mark.parametrize(
    ("passed", "words"),
    [
        (timedelta(seconds=-5), "just now"),
        (timedelta(seconds=59), "just now"),
        (timedelta(minutes=1), "1 min ago"),
        (timedelta(minutes=59, seconds=59), "59 min ago"),
        (timedelta(hours=23), "23 h ago"),
        (timedelta(days=6, hours=23), "6 d ago"),
    ],
)
def test_age(passed: timedelta, words: str) -> None:
    assert age(NOW - passed, NOW) == words
    assert len(words) <= 10


def test_age_of_what_is_old_is_a_date() -> None:
    assert age(NOW - timedelta(days=40), NOW) == f"{(NOW - timedelta(days=40)).astimezone():%Y-%m-%d}"


def test_counted() -> None:
    assert [counted(0, "error"), counted(1, "error"), counted(1234, "entry", "entries")] == [
        "0 errors",
        "1 error",
        "1,234 entries",
    ]


@pytest.mark.parametrize(("columns", "expected"), [("10", 60), ("99", 99), ("500", 200)])
def test_width_stays_within_its_limits(columns: str, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert width() == expected


@pytest.mark.parametrize("columns", [60, 61, 80, 120, 200])
def test_a_table_is_never_wider_than_the_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.cells import cell_len

    monkeypatch.setenv("COLUMNS", str(columns))
    rows = [("20260301_120000_0123", "日本語" * 60, "a word " * 50), ("20260301_120000_4567", "short", "x" * 300)]
    print_table([Column("ID"), Column("NAME", elastic=True), Column("TITLE", elastic=True)], rows)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert max(map(cell_len, lines)) <= columns
    assert lines[1].startswith("20260301_120000_0123")
    assert "…" in lines[1]
    assert all(line == line.rstrip() for line in lines)


def test_a_file_is_replaced_whole_and_private(tmp_path: Path) -> None:
    target = tmp_path / "out.json"
    target.write_text("old")
    target.chmod(0o644)
    write_whole(target, "new \ud800")
    assert target.read_bytes() == b"new \\ud800"
    assert target.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out.json"
    target.write_text("old")

    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_whole(target, "new")
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


def test_a_link_is_followed(tmp_path: Path) -> None:
    target, link = tmp_path / "real", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    write_whole(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_a_device_is_written_to_and_never_replaced(tmp_path: Path) -> None:
    link = tmp_path / "null"
    link.symlink_to("/dev/null")
    write_whole(link, "gone")
    assert Path("/dev/null").is_char_device()
