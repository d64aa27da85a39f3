"""Text of messages: flattening and titles."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.session import title_from
from gateway.session.text import flatten_text
from tests.unit.session.support import cases

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["type", "text", "role"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("case", cases("titles"))
def test_title(case: dict[str, Any]) -> None:
    assert title_from(case["input"]["messages"], case["input"]["fallback"]) == case["expected"]


def test_title_is_one_line_of_at_most_64_characters() -> None:
    assert title_from([{"role": "user", "content": "x" * 65}]) == "x" * 64
    assert title_from([{"role": "user", "content": " a\r\n\u2028\n  b "}]) == "a b"
    assert title_from([{"role": "user", "content": None}, {"role": "user", "content": "b"}]) == "b"
    assert title_from([{"role": "user", "content": None}]) == "Untitled"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, ""),
        ({"text": "hi"}, "hi"),
        ({"text": None}, ""),
        ({"a": 1}, ""),
        (
            [{"type": "text", "text": "a"}, {"type": "text", "text": None}, {"type": "text", "text": "b"}],
            "a b",
        ),
        ([{"type": "text"}], ""),
        (7, "7"),
    ],
)
def test_flatten(content: object, text: str) -> None:
    assert flatten_text(content) == text


@given(JSON)
def test_flatten_takes_anything(content: object) -> None:
    assert isinstance(flatten_text(content), str)


@given(st.lists(JSON, max_size=4))
def test_null_never_reads_as_a_word(parts: list[object]) -> None:
    assert "None" not in flatten_text([*parts, None])
