"""The file that remembers what was typed."""

from pathlib import Path

from prompt_toolkit.history import InMemoryHistory

from adapters.local.history import FILE_NAME, MAX_HISTORY_BYTES, open_history


def test_it_is_closed_to_others_also_if_it_was_open(tmp_path: Path) -> None:
    open_history(tmp_path)
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600
    (tmp_path / FILE_NAME).chmod(0o644)
    open_history(tmp_path)
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_what_was_typed_is_there_the_next_time(tmp_path: Path) -> None:
    history = open_history(tmp_path)
    history.append_string("one\ntwo")
    history.append_string("broken \udcff text")
    assert list(open_history(tmp_path).load_history_strings()) == ["broken ? text", "one\ntwo"]


def test_a_long_history_loses_its_older_half_at_an_entry(tmp_path: Path) -> None:
    history = open_history(tmp_path)
    for number in range(120):
        history.append_string(f"{number} " + "x" * 10_000)
    left = list(open_history(tmp_path).load_history_strings())
    assert (tmp_path / FILE_NAME).stat().st_size <= MAX_HISTORY_BYTES
    assert left[0].startswith("119 ")
    assert all(entry.endswith("x" * 10_000) for entry in left)


def test_a_home_that_cannot_be_written_gives_a_history_for_this_chat(tmp_path: Path) -> None:
    assert isinstance(open_history(tmp_path / "nowhere"), InMemoryHistory)
