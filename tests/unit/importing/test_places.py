"""Where sessions of the other program belong here: each kind of source, and the next message from there."""

from typing import Any

import pytest

from config import Platform
from gateway.importing.places import NOWHERE, locate
from gateway.session.key import slot_identity
from gateway.session.records import owner_of
from gateway.source import SessionSource
from tests.support.hermes_home import source


def ours(platform: str, chat: str, **more: Any) -> SessionSource:
    """What this gateway's adapter puts into a source."""
    return SessionSource(Platform(platform), chat, **more)


CASES = {
    "terminal": (source("cli", None), None, SessionSource.local_cli()),
    "terminal, as local": (source("local", "cli"), None, SessionSource.local_cli()),
    "telegram private chat": (source("telegram", "7", user_id="7"), None, ours("telegram", "7", user_id="7")),
    "telegram private chat, number": (source("telegram", "7"), None, ours("telegram", "7", user_id="7")),
    "telegram private topic": (
        source("telegram", "7", user_id="7", thread_id="5"), None, ours("telegram", "7", user_id="7", thread_id="5"),
    ),
    "telegram group": (
        source("telegram", "-100", chat_type="group", user_id="7"), "agent:main:telegram:group:-100:7",
        ours("telegram", "-100", chat_type="group", user_id="7"),
    ),
    "telegram topic": (
        source("telegram", "-100", chat_type="group", user_id="7", thread_id="12"), "agent:main:telegram:group:-100:12",
        ours("telegram", "-100", chat_type="group", user_id="7", thread_id="12"),
    ),
    "telegram topic, as forum": (
        source("telegram", "-100", chat_type="forum", user_id="7", thread_id="1"), None,
        ours("telegram", "-100", chat_type="group", user_id="7", thread_id="1"),
    ),
    "telegram topic, as thread": (
        source("telegram", "-100", chat_type="thread", user_id="7", thread_id="12"), None,
        ours("telegram", "-100", chat_type="group", user_id="7", thread_id="12"),
    ),
    "telegram channel": (
        source("telegram", "-1009", chat_type="channel", user_id="7"), "agent:main:telegram:channel:-1009:7",
        ours("telegram", "-1009", chat_type="channel"),
    ),
    "discord dm": (source("discord", "88", user_id="7"), None, ours("discord", "88", user_id="7")),
    "discord channel": (
        source("discord", "90", chat_type="channel", user_id="7"), None,
        ours("discord", "90", chat_type="group", user_id="7"),
    ),
    "discord thread": (
        source("discord", "91", chat_type="thread", user_id="7", thread_id="91", parent_chat_id="90"), None,
        ours("discord", "90", chat_type="thread", user_id="7", thread_id="91"),
    ),
    "discord thread to come": (
        source("discord", "90", chat_type="group", user_id="7", prospective_thread_id="91"), None,
        ours("discord", "90", chat_type="thread", user_id="7", thread_id="91"),
    ),
    "slack dm": (source("slack", "D1", user_id="U7"), None, ours("slack", "D1", user_id="U7")),
    "slack dm thread": (
        source("slack", "D1", user_id="U7", thread_id="17.1"), None,
        ours("slack", "D1", user_id="U7", thread_id="17.1"),
    ),
    "slack channel": (
        source("slack", "C1", chat_type="channel", user_id="U7", thread_id="17.1"), None,
        ours("slack", "C1", chat_type="group", user_id="U7", thread_id="17.1"),
    ),
    "signal group": (
        source("signal", "grp=", chat_type="group", user_id="+15550001111", user_id_alt="uuid-1"), None,
        ours("signal", "grp=", chat_type="group", user_id="+15550001111", user_id_alt="uuid-1"),
    ),
    "matrix": (
        source("matrix", "!a:b.org", chat_type="group", user_id="@x:b.org"), None,
        ours("matrix", "!a:b.org", chat_type="group", user_id="@x:b.org"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("groups", "threads"), [(True, True), (True, False)])
def test_the_next_message_goes_to_the_same_slot_and_owner(name: str, groups: bool, threads: bool) -> None:
    origin, key, expected = CASES[name]
    located = locate(origin, key)
    identity = located.place.identity(groups, threads)
    assert identity == slot_identity(expected, groups, threads)
    assert located.place.owner(identity, "x") == owner_of(identity, expected)
    assert located.routable
    assert located.origin is not None
    assert SessionSource.from_dict(located.origin) == expected


def test_what_was_one_persons_stays_so_where_groups_share_here() -> None:
    origin = source("discord", "90", chat_type="group", user_id="7")
    personal = locate(origin, "agent:main:discord:group:90:7").place
    shared = locate(origin, "agent:main:discord:group:90").place
    assert personal.identity(False, False).participant == "7"
    assert personal.owner(personal.identity(False, False), "x") == "discord:user:7"
    assert shared.identity(False, False).participant == ""


@pytest.mark.parametrize("chat_type", ["dm", "group", "thread"])
def test_an_unknown_platform_is_kept_as_it_is(chat_type: str) -> None:
    origin = source("sometalk", "9", chat_type=chat_type, user_id="7", oddity=[1])
    located = locate(origin, None)
    assert (located.origin, located.routable) == (origin, False)
    identity = located.place.identity(False, False)
    assert located.place.owner(identity, "x") == "sometalk:user:7"


@pytest.mark.parametrize("origin", [None, {}, {"platform": None}, {"platform": 7}, {"chat_id": "9"}])
def test_a_session_from_nowhere_is_nobodys(origin: dict[str, Any] | None) -> None:
    located = locate(origin)
    assert located is NOWHERE
    identity = located.place.identity(True, True)
    assert located.place.owner(identity, "one") != located.place.owner(identity, "two")


@pytest.mark.parametrize("chat", [1.5, [], {}, True, "\ud800"])
def test_an_origin_that_makes_no_sense_is_kept_and_not_routed(chat: object) -> None:
    located = locate(source("telegram", chat, user_id="7"))  # type: ignore[arg-type]
    assert not located.routable
    assert located.place.owner(located.place.identity(True, True), "x") == "telegram:user:7"


def test_an_origin_beyond_all_measure_is_none() -> None:
    assert locate(source("telegram", "7", user_id="7", chat_topic="x" * 40_000)) is NOWHERE


def test_a_thread_whose_channel_is_not_told_waits_for_it() -> None:
    place = locate(source("discord", "91", chat_type="thread", user_id="7", thread_id="91")).place
    assert (place.chat, place.thread, place.person) == ("", "91", "7")
