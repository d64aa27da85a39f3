"""What an outage must not forget: what was sent once under a key is sent once, and a home channel stays set."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from config import GatewayConfig, HomeChannel, LiveConfig, Platform
from gateway.api.ledger import Asked, Ledger
from gateway.delivery import NewDelivery, add_delivery
from gateway.homes import Homes
from gateway.ports import Target
from gateway.retention import Retention
from gateway.session import cuts
from gateway.storage import access_queries, api_queries, outbox_queries, queries
from gateway.storage import shadow as shadow_module
from gateway.storage.database import Database
from tests.support.stores import HandClock
from tests.unit.storage.test_failover import ANN, back, held, opened, path, quick, rows, said, texts
from tests.unit.storage.test_failover_twice import add_turn, change, io_error

__all__ = ["path", "quick"]

NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
KEYED: Final = NewDelivery(Target(Platform.TELEGRAM, "1", None, ""), "notice", "the bill is paid", key="message:1")


async def put_out(database: Database) -> None:
    await database.write(lambda connection: add_delivery(connection, KEYED, NOW))


def rejected(path: Path) -> list[Path]:
    return list((path.parent / "sessions").glob("rejected-*"))


@pytest.mark.parametrize("query", [None, outbox_queries.HAS_KEY, api_queries.SENT_UNDER_KEY])
async def test_what_was_sent_before_the_outage_is_not_sent_in_it(path: Path, query: str | None) -> None:
    async with opened(path) as (database, store):
        await put_out(database)
        await database.write(change("UPDATE outbox SET state = 'sent', sent_at = 1"))
        with held(path):
            await store.get_or_create_session(ANN)
            assert database.state.mode == "spool"
            if query is not None:
                known = await database.write(lambda connection: connection.execute(query, (KEYED.key,)).fetchone())
                assert known is not None
            else:
                await put_out(database)
            assert await database.read(outbox_queries.OPEN_CHATS) == []
        await back(database)
    assert rows(path, "SELECT state, key FROM outbox") == [("sent", KEYED.key)]
    assert rejected(path) == []


@pytest.mark.parametrize("before", ["pending", "sent"])
async def test_what_the_outage_hid_is_the_same_delivery(
    path: Path, before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(path) as (database, store):
        await put_out(database)
        await database.write(change("UPDATE outbox SET state = ?", before))
        monkeypatch.setattr(shadow_module, "_open", lambda _path: None)
        with held(path):
            await database.writer.fall_back(io_error())
            await put_out(database)
            entry = await store.get_or_create_session(ANN)
            await database.write(change("UPDATE outbox SET state = 'sent', message_id = '5'"))
        await back(database)
        assert (await store.get_session(entry.session_id)).is_live
    assert rows(path, "SELECT state, message_id FROM outbox") == [("sent", None if before == "sent" else "5")]
    assert rejected(path) == []


async def test_a_home_channel_that_is_set_in_an_outage_stays_set(path: Path) -> None:
    live, here = LiveConfig(GatewayConfig()), HomeChannel(chat_id="77", name="Ann")
    async with opened(path) as (database, store):
        homes = await Homes.open(database, live)
        await homes.set(Platform.SLACK, here)
        with held(path):
            await store.get_or_create_session(ANN)
            assert database.state.mode == "spool"
            await homes.set(Platform.TELEGRAM, here)
            await homes.set(Platform.SLACK, None)
        await back(database)
    async with opened(path) as (database, _store):
        homes = await Homes.open(database, live)
        assert homes.get(Platform.TELEGRAM) == here
        assert homes.get(Platform.SLACK) is None


async def test_home_channels_that_an_outage_hides_stay_known(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live, here, there = LiveConfig(GatewayConfig()), HomeChannel(chat_id="77"), HomeChannel(chat_id="78")
    async with opened(path) as (database, _store):
        homes = await Homes.open(database, live)
        for platform in (Platform.SLACK, Platform.DISCORD):
            await homes.set(platform, here)
        monkeypatch.setattr(shadow_module, "_open", lambda _path: None)
        with held(path):
            await database.writer.fall_back(io_error())
            await homes.set(Platform.TELEGRAM, there)
            await homes.set(Platform.DISCORD, None)
            found = [homes.get(each) for each in (Platform.SLACK, Platform.TELEGRAM, Platform.DISCORD)]
            assert found == [here, there, None]
        await back(database)
        await homes.take_up()
        found = [homes.get(each) for each in (Platform.SLACK, Platform.TELEGRAM, Platform.DISCORD)]
        assert found == [here, there, None]


HOUR: Final = 3_600_000_000


@pytest.mark.parametrize(
    ("hidden", "noted", "merged"),
    [
        ((4, 5 * HOUR, None), (1, 5 * HOUR + 1, None), (4, 5 * HOUR + 1, None)),
        ((1, 5 * HOUR, None), (3, 5 * HOUR + 1, None), (3, 5 * HOUR + 1, None)),
        ((4, 1 * HOUR, None), (1, 5 * HOUR, None), (1, 5 * HOUR, None)),
        ((5, 5 * HOUR, 6 * HOUR), (1, 5 * HOUR + 1, None), (1, 5 * HOUR + 1, 6 * HOUR)),
        ((5, 1 * HOUR, 2 * HOUR), (1, 5 * HOUR, None), (1, 5 * HOUR, None)),
        ((1, 5 * HOUR, None), (5, 5 * HOUR + 1, 6 * HOUR), (5, 5 * HOUR + 1, 6 * HOUR)),
    ],
    ids=["count", "higher", "old count", "lock", "lock that is over", "new lock"],
)
async def test_wrong_codes_that_an_outage_hides_count_still(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hidden: tuple[Any, ...],
    noted: tuple[Any, ...],
    merged: tuple[Any, ...],
) -> None:
    async with opened(path) as (database, _store):
        await database.write(change(access_queries.PUT_TRIES, "admin", *hidden))
        monkeypatch.setattr(shadow_module, "_open", lambda _path: None)
        with held(path):
            await database.writer.fall_back(io_error())
            await database.write(change(access_queries.PUT_TRIES, "admin", *noted))
        await back(database)
    assert rows(path, "SELECT wrong, last_at, locked_until FROM pairing_tries") == [merged]
    assert rejected(path) == []


async def test_a_turn_that_ends_in_an_outage_leaves_no_step_that_was_hidden(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, step = shadow_module.Shadow._read, "INSERT INTO turn_steps VALUES ('T0', ?, 'calls', ?)"

    def damaged(self: shadow_module.Shadow, sql: str, parameters: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        if "FROM turn_steps" in sql:
            self._is_incomplete()
        else:
            yield from read(self, sql, parameters)

    async with opened(path) as (database, store):
        entry = await store.get_or_create_session(ANN)
        await add_turn(database, "T0", "m1", entry.session_id)
        for number in (1, 2, 3):
            await database.write(change(step, number, f"before {number}"))
        monkeypatch.setattr(shadow_module.Shadow, "_read", damaged)
        with held(path):
            await database.writer.fall_back(io_error())
            await database.write(change(step, 1, "in the outage"))
            await database.write(change(queries.END_TURN, None, 5, "T0"))
            await database.write(change(queries.DELETE_STEPS, "T0"))
        await back(database)
        assert rows(path, "SELECT seq FROM turn_steps") == []
        # One step that is left would keep retention from ever going on.
        clock = HandClock()
        clock.advance(days=400)
        await Retention(database, GatewayConfig(), clock, Counter(), pause=0).sweep()
    assert rows(path, "SELECT id FROM turns") == []


@pytest.mark.parametrize("hidden", [False, True])
async def test_what_was_spent_in_a_day_does_not_become_less(
    path: Path, hidden: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = ("2026-01-01", "telegram", "person", "1")
    async with opened(path) as (database, _store):
        await database.write(change(access_queries.ADD_TOKENS, *place, 900))
        if hidden:
            monkeypatch.setattr(shadow_module, "_open", lambda _path: None)
        with held(path):
            await database.writer.fall_back(io_error())
            await database.write(change(access_queries.ADD_TOKENS, *place, 7))
        await back(database)
    assert rows(path, "SELECT tokens FROM tokens_by_day") == [(900 if hidden else 907,)]


async def test_what_was_asked_in_a_conversation_since_is_known(path: Path) -> None:
    first, second, other = (
        Asked(f"resp_{number}", "key", "response", chat, "print", {}, NOW + timedelta(seconds=number))
        for number, chat in enumerate(("talk", "talk", "another"), start=1)
    )
    async with opened(path) as (database, store):
        ledger = Ledger(database, HandClock())
        await ledger.note(first)
        with held(path):
            await store.get_or_create_session(ANN)
            assert database.state.mode == "spool"
            assert await ledger.since(first) == ["resp_1"]
            await ledger.note(second)
            assert await ledger.since(first) == ["resp_2"]
            assert await ledger.since(other) == []
        await back(database)
        assert await ledger.since(first) == ["resp_2", "resp_1"]


async def test_what_is_repeated_is_the_turn_that_was_given_up_and_not_the_one_before(path: Path) -> None:
    async with opened(path) as (database, store):
        entry = await store.get_or_create_session(ANN)
        await store.append_turn(entry.session_id, said("answered"))
        await add_turn(database, "T0", "m1", entry.session_id)
        await database.write(change("UPDATE inbound SET state = 'dead', text = 'given up'"))
        await database.write(change(queries.END_TURN, None, 5, "T0"))
        with held(path):
            await store.get_or_create_session(ANN)
            assert database.state.mode == "spool"
            repeat = await database.write(
                lambda connection: cuts.take_for_repeat(connection, entry.session_id, NOW, NOW)
            )
            assert (repeat.turn_id, [text for text, _extra in repeat.given_up]) == ("T0", ["given up"])
            assert texts(await store.load_transcript(entry.session_id)) == ["answered"]
        await back(database)


async def test_a_conversation_keeps_its_order_where_the_clock_goes_back_in_an_outage(path: Path) -> None:
    def asked(number: int, seconds: int) -> Asked:
        return Asked(f"r{number}", "p", "response", "r1", "f", {}, NOW + timedelta(seconds=seconds))

    async with opened(path) as (database, _store):
        ledger = Ledger(database, HandClock())
        first, second, third, last = asked(1, 60), asked(2, 30), asked(3, 40), asked(4, 0)
        await ledger.note(first)
        with held(path):
            await ledger.note(second)
            await ledger.note(third)
            assert database.state.mode == "spool"
        await back(database)
        assert await ledger.since(first) == ["r3", "r2", "r1"]
        assert await ledger.since(third) == ["r3"]
        await ledger.note(last)
        assert await ledger.since(third) == ["r4", "r3"]
