"""The process dies after any of the writes that a command comes to: at the next start it has been carried out, once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.commands.compact import REQUEST, SUMMARY_MARK
from gateway.ports import AgentEvent, AgentTurn
from gateway.storage.errors import StorageClosedError
from tests.support.fakes import Core, FakeAdapter, FakeAgent, FaultyDatabase, core, echo, says

WRITES = 7
"""More than any of these commands comes to, with its reply."""


async def one_turn(gateway: Core) -> None:
    assert await gateway.transcript() == [("user", "one"), ("assistant", "re: one")]


async def two_turns(gateway: Core) -> None:
    assert [text for _role, text in await gateway.transcript()] == ["one", "re: one", "two", "re: two"]
    assert len(await gateway.rows("SELECT 1 FROM cuts")) == 1, "what was said first can be seen still"


async def a_copy(gateway: Core) -> None:
    rows = await gateway.rows("SELECT title, message_count, ended_at FROM sessions ORDER BY rowid")
    assert [(row["title"], row["message_count"], row["ended_at"] is None) for row in rows] == [
        ("one", 4, False),
        ("Copy", 4, True),
    ]
    assert len(await gateway.rows("SELECT 1 FROM messages")) == 8


async def put_away(gateway: Core) -> None:
    rows = await gateway.rows("SELECT archived, ended_at, message_count FROM sessions")
    assert [(row["archived"], row["ended_at"] is None, row["message_count"]) for row in rows] == [(1, False, 4)]


async def named(gateway: Core) -> None:
    rows = await gateway.rows("SELECT title FROM sessions")
    assert [row["title"] for row in rows] == ["Name"]


async def gone(gateway: Core) -> None:
    for table in ("sessions", "messages", "cuts", "turns"):
        assert not await gateway.rows(f"SELECT 1 FROM {table}"), table


async def summarised(gateway: Core) -> None:
    assert await gateway.transcript() == [
        ("assistant", f"{SUMMARY_MARK}\n\nsum"),
        ("user", "two"),
        ("assistant", "re: two"),
    ]
    assert len(await gateway.rows("SELECT 1 FROM cuts WHERE summary_id IS NOT NULL")) == 1


async def marked(gateway: Core) -> None:
    rows = await gateway.rows("SELECT starred, project, message_count FROM sessions")
    assert [(row["starred"], row["project"], row["message_count"]) for row in rows] == [(1, None, 4)]


async def in_a_project(gateway: Core) -> None:
    assert [row["project"] for row in await gateway.rows("SELECT project FROM sessions")] == ["Name"]


async def begun_anew(gateway: Core) -> None:
    rows = await gateway.rows("SELECT message_count, ended_at FROM sessions ORDER BY rowid")
    assert [(row["message_count"], row["ended_at"] is None) for row in rows] == [(4, False), (0, True)]


def summing() -> FakeAgent:
    """An agent that summarises, and else repeats."""
    agent = FakeAgent()

    def run(turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        return (says("sum") if turn.inputs[0]["content"] == REQUEST else echo)(turn)

    agent.run = run  # type: ignore[method-assign]
    return agent


def dies_after(database: FaultyDatabase, writes: int) -> "asyncio.Event":
    """From that many further writes on, nothing reaches the database."""
    dead, left, write = asyncio.Event(), [writes], database.write

    def counted(job: Callable[[Any], Any]) -> "asyncio.Future[Any]":
        left[0] -= 1
        if left[0] < 0:
            dead.set()
            raise StorageClosedError("the process has died")
        return write(job)

    database.write = counted  # type: ignore[method-assign]
    return dead


@pytest.mark.parametrize("writes", range(WRITES))
@pytest.mark.parametrize(
    ("command", "check"),
    [
        ("/undo", one_turn),
        ("/retry", two_turns),
        ("/branch Copy", a_copy),
        ("/archive", put_away),
        ("/title Name", named),
        ("/delete one yes", gone),
        ("/compact 1", summarised),
        ("/star", marked),
        ("/project Name", in_a_project),
        ("/new", begun_anew),
    ],
)
async def test_a_command_is_carried_out_once_whenever_the_process_dies(
    tmp_path: Path, command: str, check: Callable[[Core], Any], writes: int
) -> None:
    adapter = FakeAdapter()
    async with core(tmp_path, summing(), adapter) as gateway:
        for text in ("one", "two"):
            await gateway.say(text)
            await gateway.settled()
        await gateway.say(command)
        dead = dies_after(gateway.database, writes)
        while not dead.is_set() and (await gateway.rows("SELECT count(*) FROM inbound WHERE ended_at IS NULL"))[0][0]:
            await asyncio.sleep(0)
        await gateway.die()
    async with core(tmp_path, summing(), adapter) as gateway:
        await gateway.settled()
        await check(gateway)
        assert set((await gateway.ends()).values()) <= {"answered", "ignored"}
        assert await gateway.rows("PRAGMA foreign_key_check") == []
