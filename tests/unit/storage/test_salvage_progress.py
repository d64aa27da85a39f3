"""Salvage of a large database: people see how far it is; and what belongs to an index is taken for no row."""

import asyncio
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from gateway.storage import failover as failover_module
from gateway.storage import writer as writer_module
from gateway.storage.pages import INDEX_INTERIOR, INDEX_KINDS, INDEX_LEAF, TABLE_KINDS, TABLE_LEAF, PageFile, Walk
from gateway.storage.rescue import Rescue
from gateway.storage.salvage import SalvageReport, replace_damaged, salvage
from tests.unit.storage.test_failover import ANN, back, opened, until
from tests.unit.storage.test_salvage import damaged, sound

__all__ = ["damaged", "sound"]


def lose_page(path: Path, number: int, content: bytes = b"\xff") -> None:
    data = bytearray(path.read_bytes())
    data[(number - 1) * 4096 : number * 4096] = content * (4096 // len(content))
    path.write_bytes(data)


def test_progress_grows_to_the_end(damaged: Path, tmp_path: Path) -> None:
    with PageFile(damaged) as pages:
        root = Rescue(pages)._roots["messages"]
        leaves = [number for number, kind in pages.tree(root, TABLE_KINDS, Walk()) if kind == TABLE_LEAF]
    lose_page(damaged, leaves[3])
    shares: list[float] = []
    salvage(damaged, tmp_path / "new.db", progress=shares.append)
    assert shares == sorted(shares)
    assert len(shares) > 20
    assert 0 < shares[0] < 0.1
    assert shares[-1] > 0.95


@pytest.mark.parametrize("lost", ["leaf", "root"])
def test_entries_of_indexes_are_no_rows(damaged: Path, tmp_path: Path, lost: str) -> None:
    """Those of the ids of messages have the form of rows of other tables; also where no tree leads to them any more."""
    with PageFile(damaged) as pages:
        root = Rescue(pages)._roots["sqlite_autoindex_inbound_1"]
        assert pages.kind(root) == INDEX_INTERIOR
        leaf = next(number for number, kind in pages.tree(root, INDEX_KINDS, Walk()) if kind == INDEX_LEAF)
    lose_page(damaged, leaf if lost == "leaf" else root)
    report = salvage(damaged, tmp_path / "new.db")
    assert {table.table: table.copied for table in report.tables}["moved_chats"] == 0
    assert report.lost == 0


async def test_status_and_log_tell_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for module in (writer_module, failover_module):
        monkeypatch.setattr(module, "SQLITE_BUSY_SECONDS", 0.02)
    monkeypatch.setattr(failover_module, "RETRY_SECONDS", 0.02)
    told, go = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slowly(path: Path, now: datetime, progress: Callable[[float], None]) -> SalvageReport:
        progress(0.404)
        loop.call_soon_threadsafe(told.set)
        assert go.wait(10)
        return replace_damaged(path, now, progress)

    monkeypatch.setattr(failover_module, "replace_damaged", slowly)
    path = tmp_path / "gateway.db"
    path.write_bytes(b"no database" * 1000)
    async with opened(path) as (database, store):
        await store.get_or_create_session(ANN)
        async with asyncio.timeout(10):
            await told.wait()
        await until(lambda: "salvaging" in (database.state.reason or ""))
        assert (database.state.reason or "").endswith("; salvaging: 40 %")
        assert database.state.to_dict()["reason"] == database.state.reason
        go.set()
        await back(database)
        assert database.state.reason is None
        assert "salvaging" not in (database.state.last_outage.reason if database.state.last_outage else "salvaging")
    assert "salvaging the damaged database: 40 %" in caplog.text
