"""What was said in a place is remembered there, though its session goes on elsewhere before that."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from config import Home, LiveConfig
from gateway.remembering.memory import Memory
from tests.support.fakes import ALICE, configure
from tests.unit.commands.support import Chat, chatting

GROUP = replace(ALICE, chat_id="g", chat_type="group")


async def test_a_session_that_moves_leaves_what_was_said_where_it_was(tmp_path: Path) -> None:
    config = configure(memory={"provider": "notes"})
    async with chatting(tmp_path, config=config) as chat:
        core = chat.gateway
        memory = Memory(core.database, LiveConfig.of(config), Home(tmp_path), core.clock, Counter(), core.roster)
        core.runner._workshop = replace(core.runner._workshop, memory=memory)
        group = Chat(core, chat.adapter, GROUP)
        await group.write("said in the group", "g1")
        await core.settled()
        session_id = await group.session_id()
        await group.write("/new", "g2")
        await core.settled()
        assert "You are back" in await chat.says(f"/resume {session_id}")
        await chat.says("said in private")
        assert await memory.commits.drain(5.0) == 0
    notes = {path.name.partition("-")[0]: path.read_text() for path in (tmp_path / "memory").rglob("*.md")}
    assert ("in the group" in notes["group"], "in private" in notes["group"]) == (True, False)
    assert ("said in the group" in notes["dm"], "said in private" in notes["dm"]) == (False, True)
