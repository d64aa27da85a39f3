"""Hashes that stand for ids, and what looks like a phone number."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.session.pii import hash_chat_id, hash_id, hash_sender_id, looks_like_phone, redact_phones
from tests.unit.session.support import cases

FUNCTIONS: dict[str, Callable[..., object]] = {
    "_hash_id": hash_id,
    "_hash_sender_id": hash_sender_id,
    "_hash_chat_id": hash_chat_id,
    "_looks_like_phone": looks_like_phone,
}
SECRET = b"a secret of this installation"


@pytest.mark.parametrize("case", cases("pii_hashes"))
def test_function(case: dict[str, Any]) -> None:
    result = FUNCTIONS[case["input"]["fn"]](case["input"]["value"])
    if case["mark"] == "keep":
        assert result == case["expected"]
    elif case["id"] == "pii_hashes-012":
        assert re.fullmatch("[0-9a-f]{12}", str(result))
        assert "15551234567" not in str(result)
    else:
        assert case["id"] == "pii_hashes-028"
        assert result == "user"


@given(st.text() | st.integers() | st.none())
def test_secret_changes_the_value_and_not_the_shape(value: str | int | None) -> None:
    plain, keyed = hash_id(value), hash_id(value, SECRET)
    assert re.fullmatch("[0-9a-f]{12}", plain)
    assert re.fullmatch("[0-9a-f]{12}", keyed)
    assert plain != keyed
    assert keyed == hash_id(value, SECRET)
    assert keyed != hash_id(value, b"another secret")


def test_secret_is_used_for_senders_and_chats() -> None:
    assert hash_sender_id("1", SECRET) == f"user_{hash_id('1', SECRET)}"
    assert hash_chat_id("telegram:1", SECRET) == f"telegram:{hash_id('1', SECRET)}"
    assert hash_chat_id("x:1", SECRET) == hash_id("x:1", SECRET)


def test_integers_are_hashed_as_text() -> None:
    assert hash_sender_id(12345) == hash_sender_id("12345")
    assert hash_chat_id(-100) == hash_chat_id("-100")


def test_absent_chat_has_a_word() -> None:
    assert hash_chat_id(None) == "chat"


def test_only_the_first_known_prefix_is_kept() -> None:
    hidden = hash_chat_id("whatsapp:15551234567:12@s.whatsapp.net")
    assert re.fullmatch("whatsapp:[0-9a-f]{12}", hidden)


@pytest.mark.parametrize(
    "text",
    [
        "+15551234567",
        " 555-123-4567 ",
        "(555) 123-4567",
        "Ann +1 555 123 4567",
        "call +44 (0)20 7946 0958 now",
        "+1.555.123.4567",
        "٠٥٥١٢٣٤٥٦٧",
        "15551234567@s.whatsapp.net",
    ],
)
def test_phone_numbers_in_names_are_hashed(text: str) -> None:
    redacted = redact_phones(text, SECRET)
    assert not re.search(r"\d[\d\s().-]{5,}\d", re.sub("user_[0-9a-f]{12}", "", redacted))
    assert "user_" in redacted


@pytest.mark.parametrize("text", ["Ann", "Room 12", "<@123456789012345678>", "v1.2.3", "", "2026"])
def test_other_names_stay(text: str) -> None:
    assert redact_phones(text, SECRET) == text
