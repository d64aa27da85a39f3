"""Whose memory a conversation belongs to."""

from dataclasses import replace
from typing import Any

from config import Platform
from gateway.remembering.scope import scope_of
from gateway.session.key import slot_identity
from gateway.source import SessionSource

ANN = SessionSource(Platform.TELEGRAM, chat_id="7", user_id="7", user_name="Ann")
GROUP = SessionSource(Platform.TELEGRAM, chat_id="-100", chat_type="group", user_id="7", chat_name="Ops")


def subject(source: SessionSource, **sharing: Any) -> str:
    return scope_of(slot_identity(source, **sharing), source).subject


def test_what_is_said_in_private_is_the_person_s_over_all_topics() -> None:
    assert subject(ANN) == subject(replace(ANN, thread_id="5")) == subject(replace(ANN, user_name="Other"))
    assert scope_of(slot_identity(ANN), ANN).is_private


def test_private_and_group_and_every_other_person_are_apart() -> None:
    bob = replace(GROUP, user_id="8")
    shared = {"group_sessions_per_user": False}
    found = [
        subject(ANN), subject(replace(ANN, chat_id="8", user_id="8")), subject(GROUP), subject(bob),
        subject(GROUP, **shared), subject(replace(GROUP, chat_id="-200")), subject(replace(GROUP, chat_type="channel")),
        subject(replace(ANN, platform=Platform.SLACK)), subject(replace(GROUP, user_id="all")),
    ]  # fmt: skip
    assert len(set(found)) == len(found)
    assert subject(GROUP, **shared) == subject(bob, **shared)


def test_topics_of_a_group_share_and_threads_that_are_places_do_not() -> None:
    assert subject(replace(GROUP, thread_id="1")) == subject(replace(GROUP, thread_id="2")) == subject(GROUP)
    thread = replace(GROUP, chat_type="thread", thread_id="1")
    assert subject(thread) != subject(replace(thread, thread_id="2"))


def test_ids_that_are_written_alike_are_apart() -> None:
    assert subject(replace(GROUP, chat_id="a:user=7", user_id=None)) != subject(replace(GROUP, chat_id="a"))
    assert subject(replace(ANN, user_id="a%3Ab")) != subject(replace(ANN, user_id="a:b"))
    assert subject(replace(ANN, user_id="AB")) != subject(replace(ANN, user_id="ab"))


def test_the_lasting_id_of_a_person_counts() -> None:
    assert subject(replace(ANN, user_id="name", user_id_alt="uuid")) == subject(
        replace(ANN, user_id="new", user_id_alt="uuid")
    )


def test_without_a_source_the_chat_stands_for_the_person() -> None:
    identity = slot_identity(SessionSource.local_cli())
    assert scope_of(identity, None).subject == scope_of(identity, SessionSource.local_cli()).subject
    assert scope_of(identity, SessionSource.local_cli()).label == "the terminal on this machine"
