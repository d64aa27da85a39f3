"""What people are told in an outage: what is not known is said to be unknown, and what can be read is found."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from config import GatewayConfig, Home
from gateway.cli.reports import _status_lines
from gateway.clock import SystemClock
from gateway.counts import counts
from gateway.daemon import Daemon
from gateway.inspection import Inspection
from gateway.logs import Redactor
from gateway.mirror import JsonlMirror
from gateway.search import SearchIndexer, search
from gateway.session import SessionStore
from gateway.storage import shadow as shadow_module
from gateway.storage.database import Database
from gateway.storage.errors import StorageError
from gateway.storage.state import StorageState
from tests.unit.storage.test_failover import ANN, BEN, back, held, opened, path, quick, said
from tests.unit.storage.test_failover_twice import add_turn, change, io_error

__all__ = ["path", "quick"]

ALL = "refused", "expired", "failed", "dead"


async def fill(database: Database, store: SessionStore) -> None:
    ann, ben = await store.get_or_create_session(ANN), await store.get_or_create_session(BEN)
    await store.append_turn(ann.session_id, said("invoice"))
    await add_turn(database, "T0", "m1", ann.session_id)
    await add_turn(database, "T1", "m2", ben.session_id)
    await database.write(change("UPDATE inbound SET state = 'dead' WHERE message_id = 'm2'"))
    await SearchIndexer(database).catch_up()


def lines(counted: dict[str, Any]) -> dict[str, str]:
    return {name: value for name, value, _style in _status_lines({"running": True, **counted}) if name != "Gateway"}


async def test_what_is_open_is_counted_and_the_rest_is_said_to_be_unknown(path: Path) -> None:
    async with opened(path) as (database, store):
        await fill(database, store)
        before = await counts(database)
        with held(path):
            await database.write(change("SELECT 1"))
            counted = await counts(database)
            assert counted["sessions"] == before["sessions"] == {"total": 2, "live": 2}
            assert counted["inbound"] == {"pending": 0, "running": 1} | dict.fromkeys(ALL)
            assert counted["outbox"] == {"pending": 0, "sending": 0, "dead": None, "repeated": None}
            shown = lines(counted)
            assert shown["Sessions"] == "2, 2 of them live"
            assert shown["Unanswered"].startswith("1 waiting, others unknown while the database is out of use")
            assert shown["Replies"] == "0 undelivered, others unknown while the database is out of use"
        await back(database)
        assert await counts(database) == before
        assert before["inbound"]["dead"] == 1


async def test_nothing_is_counted_where_nothing_could_be_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(path) as (database, store):
        await fill(database, store)
        monkeypatch.setattr(shadow_module, "_open", lambda _path: None)
        with held(path):
            await database.writer.fall_back(io_error())
            assert not database.state.complete
            assert database.state.to_dict()["complete"] is False
            counted = await counts(database)
            assert {number for part in counted.values() for number in part.values()} == {None}
            assert set(lines(counted).values()) == {"unknown while the database is out of use"}


async def test_a_search_finds_in_an_outage_what_was_said_before(path: Path) -> None:
    async with opened(path) as (database, store):
        await fill(database, store)
        with held(path):
            await store.append_turn((await store.get_or_create_session(ANN)).session_id, said("invoice again"))
            assert database.state.mode == "spool"
            hits = await search(database, "invoice")
            assert [hit.snippet for hit in hits] == ["re: invoice", "invoice"]
            async with Inspection.open(path) as inspection:
                assert len(await inspection.search("invoice", 9)) == 2


async def test_a_search_says_so_where_nothing_can_be_read(path: Path) -> None:
    async with opened(path) as (database, store):
        await fill(database, store)
        with held(path):
            await database.write(change("SELECT 1"))
            path.rename(path.with_name("aside"))
            with pytest.raises(StorageError, match="cannot be read at present"):
                await search(database, "invoice")
            path.with_name("aside").rename(path)
        await back(database)
        assert len(await search(database, "invoice")) == 2


# --- how the gateway stands --------------------------------------------------------------------------------


class Stand:
    """Stands in for any part of the daemon that is only asked how it is."""

    def __init__(self, **values: object) -> None:
        self.__dict__.update(values)


def daemon_with(tmp_path: Path, state: StorageState, trouble: str | None, redact: Redactor) -> Daemon:
    daemon = Daemon(GatewayConfig(), Home(tmp_path), redact=redact)
    parts = SimpleNamespace(
        adapters=Stand(states={}),
        database=Stand(state=state, writer=Stand(is_alive=True, is_full=False)),
        mirror=Stand(trouble=trouble),
        roster=Stand(trouble=None),
        lanes=Stand(is_full=False),
        reloader=Stand(last=None),
    )
    daemon._parts, daemon._ready = cast("Any", parts), True
    return daemon


def test_a_mirror_that_falls_behind_is_named_as_degraded(tmp_path: Path) -> None:
    is_ready, told = daemon_with(tmp_path, StorageState(), "No space left on device", Redactor())._readiness()
    assert is_ready
    assert told["degraded"] == ["the mirror of the transcripts falls behind: No space left on device"]
    assert daemon_with(tmp_path, StorageState(), None, Redactor())._readiness() == (
        True,
        {"reasons": [], "degraded": []},
    )


async def test_the_mirror_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    folder = tmp_path / "sessions"
    async with Database.open(tmp_path / "gateway.db") as database:
        store = SessionStore(database, GatewayConfig())
        entry = await store.get_or_create_session(ANN)
        await store.append_turn(entry.session_id, said("one"))
        mirror = JsonlMirror(database, folder, SystemClock(), Counter(), enabled=True)
        assert mirror.trouble is None
        (folder / f"{entry.session_id}.jsonl").mkdir()
        await mirror.catch_up()
        assert f"{entry.session_id}.jsonl" in str(mirror.trouble)


async def test_the_reason_of_an_outage_shows_no_secret(home: Home) -> None:
    """A path or an address in an error may hold one."""
    daemon = Daemon(GatewayConfig(), home, local_only=True, redact=Redactor(["swordfish"]))
    async with daemon._open() as parts:
        daemon._parts = parts
        parts.database.writer._failover._state = StorageState("sqlite", reason="cannot reach swordfish")
        status = await daemon.status()
    assert status["storage"]["reason"] == "cannot reach ***"
    assert "swordfish" not in str(status)
