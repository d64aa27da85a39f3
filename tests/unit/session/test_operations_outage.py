"""What people do with sessions while the database cannot be used: merged as if it had been there all along."""

from pathlib import Path

import pytest

from gateway.ids import Ids
from gateway.search import SearchIndexer, search
from gateway.session import NothingToRedo, Scope, SessionOperations, SessionStore
from gateway.storage import failover as failover_module
from gateway.storage import writer as writer_module
from gateway.storage.database import Database
from tests.support.faults import LockHolder
from tests.support.stores import ANSWER, USER, HandClock, dm, resets
from tests.unit.storage.test_failover import back


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "SQLITE_BUSY_SECONDS", 0.02)
    monkeypatch.setattr(failover_module, "SQLITE_BUSY_SECONDS", 0.02)
    monkeypatch.setattr(failover_module, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(failover_module, "RETRY_MAX_SECONDS", 0.05)


async def test_cuts_forks_and_names_of_an_outage(tmp_path: Path) -> None:
    clock, path = HandClock(), tmp_path / "gateway.db"
    holder = LockHolder(path)
    async with Database.open(path) as database:
        store = SessionStore(database, resets("none"), clock=clock)
        operations = SessionOperations(database, clock, Ids())
        identity = store.identity(dm())
        scope = Scope.of(identity, dm())
        original = (await store.get_or_create_session(dm())).session_id
        await store.append_turn(original, [{"role": "user", "content": "apple"}, ANSWER])
        await store.append_turn(original, [{"role": "user", "content": "banana"}, ANSWER])
        await SearchIndexer(database).catch_up()
        assert holder.hold()
        try:
            await operations.undo(scope, original)
            with pytest.raises(NothingToRedo):
                await operations.redo(scope, original)
            assert await operations.rename(scope, original, "Fruit") == "Fruit"
            copy = await operations.fork(identity, scope, original, title="Copy")
            await store.append_turn(copy.session_id, [USER, ANSWER])
            assert database.state.mode == "spool"
        finally:
            holder.release()
        await back(database)
        assert list((tmp_path / "sessions").glob("*rejected*")) == []
        assert await database.read("PRAGMA foreign_key_check") == []
        listed = await operations.list(scope)
        assert {(view.title, view.entry.message_count) for view in listed} == {("Fruit", 2), ("Copy", 4)}
        assert len(await store.load_transcript(original)) == 2
        assert len(await store.load_transcript(copy.session_id)) == 4
        assert await search(database, "banana") == []
        assert (await store.get_or_create_session(dm())).session_id == copy.session_id
        assert await operations.redo(scope, original) == 2
        assert [row["content"] for row in await store.load_transcript(original)] == ["apple", "hi", "banana", "hi"]
        await SearchIndexer(database).catch_up()
        assert len(await search(database, "banana")) == 1
