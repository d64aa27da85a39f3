"""How values stand in the database: instants to the microsecond, messages in every form, text any database holds."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.storage.codec import (
    clean_text,
    decode_message,
    dump,
    encode_message,
    from_micros,
    optional_instant,
    to_micros,
)

INSTANTS = st.datetimes(timezones=st.just(UTC) | st.just(timezone(timedelta(hours=5, minutes=45))))
TEXT = st.text(st.characters())  # surrogates too
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
MESSAGES = st.dictionaries(st.sampled_from(["content", "tool_calls", "name", "data"]), JSON)


@given(INSTANTS)
def test_instants_come_back_to_the_microsecond(instant: datetime) -> None:
    again = from_micros(to_micros(instant))
    assert again == instant
    assert again.tzinfo is UTC


def test_an_instant_may_be_missing() -> None:
    assert optional_instant(None) is None
    assert optional_instant(0) == datetime(1970, 1, 1, tzinfo=UTC)


@given(TEXT)
def test_clean_text_can_be_stored_and_only_loses_what_cannot(text: str) -> None:
    clean = clean_text(text)
    clean.encode()
    assert "\0" not in clean
    assert clean_text(clean) == clean
    if "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text):
        assert clean == text


def test_clean_text_joins_what_belongs_together() -> None:
    assert clean_text("a\ud83d\ude42b") == "a🙂b"
    assert clean_text("a\ude42\ud83d") == "a\ufffd\ufffd"
    assert clean_text("a\0é\0") == "a\ufffdé\ufffd"


@given(MESSAGES, st.sampled_from(["user", "assistant", "tool"]))
def test_messages_come_back(message: dict[str, Any], role: str) -> None:
    whole = {"role": role, **message}
    stored = encode_message(whole)
    for part in stored:
        if part is not None:
            part.encode()
            assert "\0" not in part
    if isinstance(whole.get("content"), str):
        whole["content"] = clean_text(whole["content"])
    assert decode_message(*stored) == whole


@given(JSON)
def test_json_is_ascii(value: object) -> None:
    assert dump(value).isascii()
    assert json.loads(dump(value)) == value


def test_what_json_cannot_hold_is_an_error() -> None:
    with pytest.raises(TypeError):
        encode_message({"role": "user", "content": b"bytes"})
