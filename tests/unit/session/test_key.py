"""Slot identities and session keys: what shares a conversation and what does not."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.session import SlotIdentity, build_session_key, slot_identity
from tests.unit.session.support import cases, source

ID = st.text(alphabet="ab:%37", max_size=4)
MAYBE_ID = st.none() | ID
SOURCES = st.fixed_dictionaries(
    {
        "platform": st.sampled_from(["telegram", "matrix"]),
        "chat_type": st.sampled_from(["dm", "group", "thread"]),
        "chat_id": MAYBE_ID,
        "thread_id": MAYBE_ID,
        "user_id": MAYBE_ID,
        "user_id_alt": MAYBE_ID,
    }
)


@pytest.mark.parametrize("case", cases("session_keys"))
def test_key(case: dict[str, Any]) -> None:
    fields, per_user = case["input"]["source"], case["input"]["group_sessions_per_user"]
    key = build_session_key(source(fields), per_user)
    if case["mark"] == "keep":
        assert key == case["expected"]
    else:
        assert case["id"] == "session_keys-035"
        assert key == build_session_key(source({**fields, "chat_id": "-100"}), per_user)
        assert key == "agent:main:telegram:group:-100:7"


def test_ids_with_colons_cannot_collide() -> None:
    one = source({"platform": "matrix", "chat_type": "group", "chat_id": "!r:a", "user_id": "b"})
    two = source({"platform": "matrix", "chat_type": "group", "chat_id": "!r", "user_id": "a:b"})
    assert build_session_key(one) == "agent:main:matrix:group:!r%3Aa:b"
    assert build_session_key(two) == "agent:main:matrix:group:!r:a%3Ab"


def test_an_id_that_looks_escaped_stays_apart_from_the_one_it_looks_like() -> None:
    plain = source({"platform": "matrix", "chat_id": "a:b"})
    escaped = source({"platform": "matrix", "chat_id": "a%3Ab"})
    assert build_session_key(plain) != build_session_key(escaped)


def test_thread_and_person_of_one_name_are_different_slots() -> None:
    chat = {"platform": "telegram", "chat_type": "group", "chat_id": "C"}
    thread = source({**chat, "thread_id": "7"})
    person = source({**chat, "user_id": "7"})
    assert build_session_key(thread) == build_session_key(person)
    assert slot_identity(thread) != slot_identity(person)


def test_people_who_write_without_a_chat_id_have_sessions_of_their_own() -> None:
    one = source({"platform": "telegram", "chat_id": None, "user_id": "1"})
    two = source({"platform": "telegram", "chat_id": "", "user_id": "2"})
    assert build_session_key(one) == "agent:main:telegram:dm:1"
    assert build_session_key(two) == "agent:main:telegram:dm:2"
    assert slot_identity(one) != slot_identity(two)


def test_chat_and_person_of_one_id_are_different_direct_slots() -> None:
    with_chat = source({"platform": "telegram", "chat_id": "7", "user_id": "7"})
    without = source({"platform": "telegram", "chat_id": None, "user_id": "7"})
    assert slot_identity(with_chat) != slot_identity(without)


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"thread_id": "5"}, "agent:main:telegram:dm:5"),
        ({"thread_id": "5", "user_id": "7"}, "agent:main:telegram:dm:7:5"),
        ({"thread_id": "5", "user_id": "7", "user_id_alt": "u"}, "agent:main:telegram:dm:u:5"),
        ({}, "agent:main:telegram:dm"),
    ],
)
def test_direct_message_without_a_chat_id(fields: dict[str, Any], key: str) -> None:
    assert build_session_key(source({"platform": "telegram", "chat_id": "", **fields})) == key


def test_person_is_no_part_of_a_direct_chat() -> None:
    one = source({"platform": "telegram", "chat_id": "9", "user_id": "7", "user_id_alt": "u"})
    assert slot_identity(one) == slot_identity(source({"platform": "telegram", "chat_id": "9"}))


@pytest.mark.parametrize(
    ("per_user_in_group", "per_user_in_thread", "thread", "key"),
    [
        (True, True, "T", "C:T:u"),
        (True, False, "T", "C:T"),
        (True, False, None, "C:u"),
        (False, True, "T", "C:T"),
        (False, True, None, "C"),
        (False, False, "T", "C:T"),
    ],
)
def test_who_shares_a_group(per_user_in_group: bool, per_user_in_thread: bool, thread: str | None, key: str) -> None:
    made = source({"platform": "slack", "chat_type": "group", "chat_id": "C", "thread_id": thread, "user_id": "u"})
    assert build_session_key(made, per_user_in_group, per_user_in_thread) == f"agent:main:slack:group:{key}"


def test_integer_ids_are_text() -> None:
    numbers = source({"platform": "telegram", "chat_type": "group", "chat_id": -100, "thread_id": 5, "user_id": 7})
    texts = source({"platform": "telegram", "chat_type": "group", "chat_id": "-100", "thread_id": "5", "user_id": "7"})
    assert slot_identity(numbers) == slot_identity(texts)


def test_agents_have_slots_of_their_own() -> None:
    made = source({"platform": "telegram", "chat_id": "9"})
    other = slot_identity(made, agent="a:b")
    assert other != slot_identity(made)
    assert other.key == "agent:a%3Ab:telegram:dm:9"


@given(SOURCES, SOURCES, st.booleans(), st.booleans())
def test_slots_are_equal_only_for_what_belongs_together(
    one: dict[str, Any], two: dict[str, Any], per_group: bool, per_thread: bool
) -> None:
    first = slot_identity(source(one), per_group, per_thread)
    second = slot_identity(source(two), per_group, per_thread)
    assert (first == second) == (_belongs(one, per_group, per_thread) == _belongs(two, per_group, per_thread))
    if first == second:
        assert first.key == second.key


@given(SOURCES, SOURCES, st.booleans(), st.booleans())
def test_equal_keys_hold_the_same_parts(
    one: dict[str, Any], two: dict[str, Any], per_group: bool, per_thread: bool
) -> None:
    first = slot_identity(source(one), per_group, per_thread)
    second = slot_identity(source(two), per_group, per_thread)
    assert (first.key == second.key) == (_parts(first) == _parts(second))


def _belongs(fields: dict[str, Any], per_group: bool, per_thread: bool) -> tuple[object, ...]:
    """Who is in the same conversation, said without the notion of a slot."""
    chat, thread = fields["chat_id"] or None, fields["thread_id"] or None
    person = fields["user_id_alt"] or fields["user_id"] or None
    if fields["chat_type"] == "dm":
        whose: object = None if chat else person
    elif not per_group or (thread and not per_thread):
        whose = None
    else:
        whose = person
    return fields["platform"], fields["chat_type"], chat, thread, whose


def _parts(slot: SlotIdentity) -> list[str]:
    place = (
        [slot.chat, slot.participant, slot.thread]
        if slot.chat_type == "dm"
        else [slot.chat, slot.thread, slot.participant]
    )
    return [slot.agent, slot.platform, slot.chat_type, *filter(None, place)]
