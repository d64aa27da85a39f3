"""How far conversations have been read."""

from adapters.slack.constants import KNOWN_THREADS
from adapters.slack.normalise import Written
from adapters.slack.positions import Position, Positions, micros


def written(ts: str, thread: str | None = None, channel: str = "C01") -> Written:
    return Written(channel, ts, "U01", "hi", thread, channel.startswith("D"), {})


def test_a_position_survives_being_stored() -> None:
    positions = Positions({})
    assert positions.note(written("10.000001"), ours=False) is not None
    cursor = positions.note(written("12.000001"), ours=True)
    assert cursor is not None
    positions = Positions({cursor.name: cursor.value})
    assert positions.snapshot()["C01"] == Position("12.000001", {"12.000001": "12.000001"})
    assert positions.is_ours("C01", "12.000001")
    assert not positions.is_ours("C01", "10.000001")
    assert not positions.is_ours("C02", "12.000001")


def test_what_cannot_be_read_is_no_position() -> None:
    for value in ("", "[]", "{}", '{"top": 1}', '{"top": "1", "threads": 5}'):
        assert Position.load(value) == Position()


def test_a_late_message_moves_nothing_back() -> None:
    position = Position("12.000001", {"5.000001": "11.000001"})
    position.note(written("9.000001"), ours=False)
    position.note(written("10.000001", "5.000001"), ours=True)
    assert position == Position("12.000001", {"5.000001": "11.000001"})


def test_a_frozen_position_is_not_committed() -> None:
    positions = Positions({})
    positions.note(written("10.000001"), ours=False)
    before = positions.snapshot()
    positions.freeze("C01")
    assert positions.note(written("12.000001"), ours=False) is None
    assert before["C01"].top == "10.000001"
    assert Position.load(positions.thaw("C01").value).top == "12.000001"
    assert positions.note(written("13.000001"), ours=False) is not None


def test_only_so_many_threads_are_remembered() -> None:
    position = Position()
    for number in range(KNOWN_THREADS + 10):
        position.note(written(f"{number + 100}.000001"), ours=True)
    assert len(position.threads) == KNOWN_THREADS
    assert "109.000001" not in position.threads
    assert "110.000001" in position.threads


def test_where_somebody_wrote_last_comes_first() -> None:
    positions = Positions({})
    for number, channel in enumerate(["C01", "C02", "C03", "C01"]):
        positions.note(written(f"{number + 10}.000001", channel=channel), ours=False)
    assert list(positions.snapshot()) == ["C01", "C03", "C02"]


def test_times_can_be_compared() -> None:
    assert micros("1700000000.000100") == 1_700_000_000_000_100
    assert micros("9.9") < micros("10.0")
    assert (micros(""), micros("press:1"), micros("x.y")) == (0, 0, 0)
