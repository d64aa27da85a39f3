"""Pairing: codes that are given, approved, guessed at, and lost."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from itertools import islice, product
from pathlib import Path

import pytest

from config import GatewayConfig, Platform
from gateway.access import Role, Sender
from gateway.delivery import NewDelivery, add_delivery
from gateway.pairing import (
    ALPHABET,
    CODE_CHARS,
    LOCK_OUT,
    REQUEST_PAUSE,
    SPENT,
    WRONG_CODES,
    Pairing,
    normal_code,
)
from gateway.source import SessionSource
from gateway.storage.migrate import migrate
from gateway.storage.words import define_words
from tests.support.fakes import START
from tests.support.letting_in import CODE

SECRET = b"of this installation"
HOUR = timedelta(hours=1)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    path = tmp_path / "gateway.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as opened:
        opened.row_factory = sqlite3.Row
        migrate(opened, path)
        define_words(opened)
        yield opened


@pytest.fixture
def pairing() -> Pairing:
    return Pairing(GatewayConfig(), SECRET)


def stranger(person: str = "666", name: str = "Mallory") -> Sender:
    return Sender(SessionSource(Platform.TELEGRAM, chat_id=person, user_id=person, user_name=name))


def code_in(sent: tuple[NewDelivery, ...]) -> str:
    found = CODE.search(sent[0].text)
    assert found is not None
    return found[0]


def count(connection: sqlite3.Connection, table: str) -> int:
    (number,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(number)


def test_a_code_lets_in_once(connection: sqlite3.Connection, pairing: Pairing) -> None:
    code = code_in(pairing.request(connection, stranger(), "default", START))
    assert [str(request.member) for request in pairing.requests(connection, START)] == ["telegram:666"]
    outcome = pairing.approve(connection, code, "terminal", START)
    assert (str(outcome.member), outcome.role, outcome.name) == ("telegram:666", Role.USER, "Mallory")
    assert pairing.requests(connection, START) == []
    assert [str(one.member) for one in pairing.people(connection)] == ["telegram:666"]
    assert pairing.approve(connection, code, "terminal", START).problem is not None


@pytest.mark.parametrize(
    "typed",
    [
        str.lower,
        lambda code: f" {code}\t",
        lambda code: code.replace("-", ""),
        lambda code: code.replace("-", " \u2013 "),
    ],
)
def test_a_code_may_be_typed_as_people_do(
    connection: sqlite3.Connection, pairing: Pairing, typed: Callable[[str], str]
) -> None:
    code = code_in(pairing.request(connection, stranger(), "default", START))
    assert pairing.approve(connection, typed(code), "terminal", START).problem is None


def test_a_code_has_no_letters_that_look_alike() -> None:
    assert len(set(ALPHABET)) == 32
    assert not set("01IO") & set(ALPHABET)


def test_the_code_is_nowhere_in_the_clear_but_in_its_message(connection: sqlite3.Connection, pairing: Pairing) -> None:
    code = code_in(sent := pairing.request(connection, stranger(), "default", START))
    for delivery in sent:
        add_delivery(connection, delivery, START)
    connection.execute("UPDATE outbox SET state = 'sent'")
    plain = normal_code(code)
    dumped = [line for line in connection.iterdump() if plain in line or code in line]
    assert all('INTO "outbox"' in line for line in dumped)
    assert len(dumped) == 1
    pairing.approve(connection, code, "terminal", START)
    assert not [line for line in connection.iterdump() if plain in line or code in line]
    assert SPENT in "\n".join(connection.iterdump())


def test_the_hash_is_keyed_by_the_installation(connection: sqlite3.Connection, pairing: Pairing) -> None:
    code = code_in(pairing.request(connection, stranger(), "default", START))
    other = Pairing(GatewayConfig(), b"of another one")
    assert other.approve(connection, code, "terminal", START).problem is not None
    assert pairing.approve(connection, code, "terminal", START).problem is None


def test_a_code_lasts_an_hour(connection: sqlite3.Connection, pairing: Pairing) -> None:
    code = code_in(pairing.request(connection, stranger(), "default", START))
    assert pairing.approve(connection, code, "terminal", START + HOUR).problem is not None
    assert pairing.approve(connection, "telegram:666", "terminal", START + HOUR).problem is not None
    assert pairing.requests(connection, START + HOUR) == []
    late = START + HOUR - timedelta(seconds=1)
    assert pairing.approve(connection, code, "terminal", late).problem is None


def test_a_person_gets_one_code_in_ten_minutes(connection: sqlite3.Connection, pairing: Pairing) -> None:
    first = code_in(pairing.request(connection, stranger(), "default", START))
    soon = START + REQUEST_PAUSE - timedelta(seconds=1)
    assert pairing.request(connection, stranger(), "default", soon) == ()
    again = START + REQUEST_PAUSE
    second = code_in(pairing.request(connection, stranger(), "default", again))
    assert pairing.approve(connection, first, "terminal", again).problem is not None
    assert pairing.approve(connection, second, "terminal", again).problem is None


def test_few_can_wait_at_once(connection: sqlite3.Connection) -> None:
    pairing = Pairing(GatewayConfig.model_validate({"access": {"max_pending": 3}}), SECRET)
    given = [pairing.request(connection, stranger(str(number)), "default", START) for number in range(10_000)]
    assert [bool(sent) for sent in given] == [True] * 3 + [False] * 9_997
    assert count(connection, "pairing_requests") == 3
    assert count(connection, "audit") == 3
    assert pairing.request(connection, stranger("late"), "default", START + HOUR)
    assert count(connection, "pairing_requests") == 1


def test_ten_thousand_guesses_let_nobody_in(connection: sqlite3.Connection, pairing: Pairing) -> None:
    """Whatever is tried, and over however long a time: what is tried is counted in one row."""
    code = code_in(pairing.request(connection, stranger(), "default", START))
    guesses = ("".join(letters) for letters in product(ALPHABET, repeat=CODE_CHARS))
    now = START
    for number, guess in enumerate(islice(guesses, 10_000)):
        now = START + timedelta(milliseconds=300 * number)
        assert pairing.approve(connection, guess, "telegram:1", now).problem is not None
    assert pairing.people(connection) == []
    assert count(connection, "pairing_tries") == 1
    assert count(connection, "audit") == 1 + 1
    assert pairing.approve(connection, code, "telegram:1", now).problem is not None


def test_wrong_codes_lock_out_who_gave_them_alone(connection: sqlite3.Connection, pairing: Pairing) -> None:
    code = code_in(pairing.request(connection, stranger(), "default", START))
    for _ in range(WRONG_CODES):
        pairing.approve(connection, "AAAA-AAAA", "telegram:1", START)
    refused = pairing.approve(connection, code, "telegram:1", START)
    assert refused.problem is not None
    assert "none counts for another 60 minutes" in refused.problem
    assert pairing.approve(connection, code, "terminal", START).problem is None


def test_the_lock_out_ends(connection: sqlite3.Connection, pairing: Pairing) -> None:
    for _ in range(WRONG_CODES):
        pairing.approve(connection, "AAAA-AAAA", "terminal", START)
    later = START + LOCK_OUT
    code = code_in(pairing.request(connection, stranger(), "default", later))
    assert pairing.approve(connection, "AAAA-AAAA", "terminal", later).problem is not None
    assert pairing.approve(connection, code, "terminal", later).problem is None
    assert count(connection, "pairing_tries") == 0


def test_a_right_code_ends_the_count(connection: sqlite3.Connection, pairing: Pairing) -> None:
    for person in ("1", "2"):
        code = code_in(pairing.request(connection, stranger(person), "default", START))
        for _ in range(WRONG_CODES - 1):
            pairing.approve(connection, "AAAA-AAAA", "terminal", START)
        assert pairing.approve(connection, code, "terminal", START).problem is None


def test_who_is_refused_gets_no_other_code_at_once(connection: sqlite3.Connection, pairing: Pairing) -> None:
    code = code_in(pairing.request(connection, stranger(), "default", START))
    assert pairing.refuse(connection, "telegram:666", "telegram:1", START).problem is None
    assert pairing.approve(connection, code, "terminal", START).problem is not None
    assert pairing.approve(connection, "telegram:666", "terminal", START).problem is not None
    assert pairing.request(connection, stranger(), "default", START + timedelta(minutes=1)) == ()
    assert pairing.request(connection, stranger(), "default", START + REQUEST_PAUSE)


def test_roles_are_given_and_taken(connection: sqlite3.Connection, pairing: Pairing) -> None:
    pairing.request(connection, stranger(), "default", START)
    pairing.approve(connection, "telegram:666", "terminal", START, Role.GUEST)
    assert pairing.set_role(connection, "telegram:666", Role.ADMIN, "terminal", START).role is Role.ADMIN
    assert pairing.is_admin(connection, "telegram:666")
    assert pairing.set_role(connection, "telegram:666", Role.USER, "terminal", START).role is Role.USER
    assert pairing.revoke(connection, "telegram:666", "terminal", START).role is None
    assert pairing.people(connection) == []
    events = [row["event"] for row in connection.execute("SELECT event FROM audit ORDER BY id")]
    assert events == ["asked", "let in", "promoted", "demoted", "revoked"]
    told = [row["text"] for row in connection.execute("SELECT text FROM outbox ORDER BY id")]
    assert told == [
        "You have been let in. Write to me; `/help` shows what else there is.",
        "You are an admin here from now on.",
        "You are a user here from now on.",
        "You are not let in any more: I do not answer you from now on.",
    ]


@pytest.mark.parametrize("wanted", ["telegram:1", "nobody", ":", "telegram:", "\u202etelegram:1"])
def test_a_decision_about_nobody_says_so(connection: sqlite3.Connection, pairing: Pairing, wanted: str) -> None:
    for outcome in (
        pairing.revoke(connection, wanted, "terminal", START),
        pairing.set_role(connection, wanted, Role.USER, "terminal", START),
        pairing.refuse(connection, wanted, "terminal", START),
        pairing.approve(connection, wanted, "terminal", START),
    ):
        assert outcome.problem
        assert outcome.member is None
        assert "\u202e" not in outcome.problem
    assert count(connection, "audit") == 0


def test_a_name_that_a_stranger_chose_is_no_markup(connection: sqlite3.Connection) -> None:
    config = GatewayConfig.model_validate(
        {"platforms": {"telegram": {"token": "t", "home_channel": {"chat_id": "home"}}}}
    )
    name = "`[Owner](https://evil.example)\n# Let me in\u202e" + "x" * 500
    _code, word = Pairing(config, SECRET).request(connection, stranger(name=name), "default", START)
    assert word.target.chat_id == "home"
    first, *rest = word.text.splitlines()
    assert not rest
    assert first.startswith("`'[Owner](https://evil.example) # Let me inxxx")
    assert len(first) < 250
    assert [button.command for button in word.buttons[0]] == [
        "/pairing approve telegram:666",
        "/pairing refuse telegram:666",
    ]


def test_the_audit_is_never_changed(connection: sqlite3.Connection, pairing: Pairing) -> None:
    pairing.request(connection, stranger(), "default", START)
    with pytest.raises(sqlite3.IntegrityError, match="never changed"):
        connection.execute("UPDATE audit SET person = '1'")
    with pytest.raises(sqlite3.IntegrityError, match="never removed"):
        connection.execute("DELETE FROM audit")
    assert count(connection, "audit") == 1
