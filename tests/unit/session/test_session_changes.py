"""What an operator changes about sessions: refused where a turn is running, and kept in an outage as anybody's is."""

from pathlib import Path

import pytest

from gateway.ids import Ids
from gateway.session_changes import Archive, Change, ChangeRefusedError, Fork, Rename, SessionChanges
from tests.support.faults import LockHolder
from tests.support.stores import dm
from tests.unit.session.test_operations_outage import quick
from tests.unit.session.test_session_operations import Room, room
from tests.unit.storage.test_failover import back

__all__ = ["quick", "room"]


def changes_of(room: Room) -> SessionChanges:
    return SessionChanges(room.database, room.clock, Ids())


async def test_a_session_whose_turn_is_running_is_not_put_away(room: Room) -> None:
    session_id, changes = await room.session(1), changes_of(room)
    await room.begin_turn(session_id)
    with pytest.raises(ChangeRefusedError, match="is running; try again once it has its answer"):
        await changes.carry_out(Archive(session_id=session_id))
    copy = await changes.carry_out(Fork(session_id=session_id))
    assert (copy.entry.message_count, copy.entry.is_live) == (2, True)
    assert (await room.store.get_or_create_session(dm())).session_id == session_id


@pytest.mark.parametrize("change", [Rename(session_id="x", title="y"), Archive(session_id="x"), Fork(session_id="x")])
async def test_a_session_that_there_is_none_of(room: Room, change: Change) -> None:
    with pytest.raises(ChangeRefusedError, match="there is no session x"):
        await changes_of(room).carry_out(change)


async def test_changes_of_an_outage(room: Room, tmp_path: Path) -> None:
    session_id, changes = await room.session(1, 2), changes_of(room)
    holder = LockHolder(tmp_path / "gateway.db")
    assert holder.hold()
    try:
        assert (await changes.carry_out(Rename(session_id=session_id, title="Fruit"))).entry.title == "Fruit"
        copy = await changes.carry_out(Fork(session_id=session_id, first=2))
        assert room.database.state.mode == "spool"
    finally:
        holder.release()
    await back(room.database)
    assert (await room.store.get_session(session_id)).title == "Fruit"
    assert len(await room.store.load_transcript(copy.entry.session_id)) == 2
