"""Estimates of tokens, and the places where a history may be cut."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.agents.context import (
    TokenEstimator,
    cut_in_half,
    cut_to_fit,
    row_size,
    shorten,
    spoken,
    text_size,
    tools_size,
    turn_starts,
)
from gateway.ports import Message
from tests.unit.agents.support import CLOCK, assistant, result, user

HISTORY: list[Message] = [
    user("a"),
    user("b"),
    assistant("", ("1", "clock", "{}")),
    result("1", "clock", "noon"),
    assistant("it is noon"),
    user("c"),
    assistant("d"),
]


def test_an_untaught_estimate_is_high_for_english() -> None:
    text = "The quick brown fox jumps over the lazy dog. " * 10
    assert TokenEstimator().tokens(text_size(text)) > len(text) / 4


def test_more_tokens_are_learned_at_once_and_fewer_by_and_by() -> None:
    estimator = TokenEstimator()
    start = estimator.tokens(9000)
    estimator.learn(9000, 1800)
    first = estimator.tokens(9000)
    assert 1800 < first < start
    estimator.learn(9000, 1800)
    assert 1800 < estimator.tokens(9000) < first
    estimator.learn(9000, 6000)
    assert estimator.tokens(9000) >= 6000


def test_small_or_strange_reports_teach_nothing_absurd() -> None:
    estimator = TokenEstimator()
    start = estimator.tokens(9000)
    estimator.learn(30, 25)
    estimator.learn(9000, 0)
    assert estimator.tokens(9000) == start
    for _ in range(50):
        estimator.learn(9000, 1)
    assert estimator.tokens(9000) > 9000 / 8
    estimator.learn(9000, 10**9)
    assert estimator.tokens(9000) < 9000 * 2


def test_sizes_count_bytes_calls_and_descriptions() -> None:
    assert row_size(user("ä" * 10)) - row_size(user("a" * 10)) == 10
    assert row_size(assistant("", ("1", "clock", "x" * 100))) > row_size(assistant("")) + 100
    assert row_size({"role": "assistant", "content": None, "tool_calls": [None, {"function": 3}]}) > 0
    assert row_size(user("\ud800")) > 0
    assert tools_size([]) == 0
    assert tools_size([CLOCK]) > len(CLOCK.description)


def test_a_history_is_cut_only_before_a_new_word_of_a_person() -> None:
    assert turn_starts(HISTORY) == (0, 5)
    assert turn_starts([]) == ()
    assert turn_starts([assistant("hello"), user("hi")]) == (0, 1)


def test_cutting_goes_only_as_far_as_needed() -> None:
    sizes, starts = (10, 10, 10, 10, 10, 10, 10), (0, 5)
    assert cut_to_fit(sizes, starts, 0, 70) == 0
    assert cut_to_fit(sizes, starts, 0, 69) == 5
    assert cut_to_fit(sizes, starts, 0, 19) == 7
    assert cut_to_fit(sizes, starts, 5, 70) == 5
    assert cut_to_fit((), (), 0, -1) == 0


def test_halving_always_goes_on_and_ends() -> None:
    sizes, starts = (5,) * 8, (0, 2, 4, 6)
    assert cut_in_half(sizes, starts, 0) == 4
    assert cut_in_half(sizes, starts, 4) == 6
    assert cut_in_half(sizes, starts, 6) == 8


@given(
    st.lists(st.tuples(st.integers(1, 50), st.booleans()), max_size=40),
    st.integers(-5, 900),
)
def test_what_is_left_fits_and_begins_at_a_turn(rows: list[tuple[int, bool]], limit: int) -> None:
    sizes = tuple(size for size, _ in rows)
    starts = tuple(i for i, (_, start) in enumerate(rows) if start or i == 0)
    cut = cut_to_fit(sizes, starts, 0, limit)
    assert cut == len(sizes) or (cut in starts and sum(sizes[cut:]) <= limit)
    earlier = [start for start in starts if start < cut]
    assert all(sum(sizes[start:]) > limit for start in earlier)
    seen = set()
    while cut < len(sizes):
        assert cut not in seen
        seen.add(cut)
        cut = cut_in_half(sizes, starts, cut)


def test_only_what_people_see_is_counted() -> None:
    assert spoken(HISTORY) == 5


@given(st.text(max_size=300), st.integers(1, 100))
def test_a_shortened_text_keeps_both_ends(text: str, limit: int) -> None:
    short = shorten(text, limit)
    if len(text) <= limit:
        assert short == text
    else:
        assert short[0] == text[0]
        assert short[-1] == text[-1]
        assert "characters left out" in short
