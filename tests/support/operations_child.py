"""A gateway in a process of its own in which somebody has two turns and writes a command, and that may be killed in it.

`live` is what such a process runs: it ends once nothing is to be done any more, and leaves what there is then in a
file. A step counts from the moment that the command is sent.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final

from config import GatewayConfig, Home
from gateway.commands.compact import REQUEST
from gateway.daemon import Daemon
from gateway.ports import AgentEvent, AgentTurn, Done, InboundMessage, Text
from gateway.source import SessionSource
from tests.support.daemon_child import KillingProbe
from tests.unit.tools.support import ToolAgent, calling

FIRST: Final = "{first}"
"""In a text: the id of the first session."""


def tool(action: str, value: str = "") -> str:
    """What to write to have the agent do something with the first session."""
    return calling(("manage_session", {"action": action, "session_id": FIRST, "value": value}))


CASES: Final[Mapping[str, tuple[str, ...]]] = {
    "undo": ("/undo",),
    "redo": ("/undo", "/redo"),
    "retry": ("/retry",),
    "fork": ("/branch Copy",),
    "resume": ("/new", "/resume one"),
    "new": ("/new",),
    "rename": ("/title Name",),
    "pin": ("/pin",),
    "unpin": ("/pin", "/unpin"),
    "star": ("/star",),
    "archive": ("/archive",),
    "delete": ("/delete one yes",),
    "project": ("/project Name",),
    "projects": ("/project Name", "/projects rename Name = Other"),
    "agent": ("/agent b",),
    "compact": ("/compact 1",),
    "compact-undo": ("/compact 1", "/compact undo"),
    "tool-truncate": ("/new", tool("truncate", "1")),
    "tool-rename": ("/new", tool("rename", "Name")),
    "tool-archive": ("/new", tool("archive")),
    "tool-star": ("/new", tool("important")),
    "tool-delete": ("/new", tool("delete")),
}
"""What is written after the two turns; the last of it is the operation."""

PICTURE: Final[Mapping[str, str]] = {
    "sessions": "SELECT id, title, message_count, archived, pinned, starred, project, agent, ended_at IS NULL AS live,"
    " end_reason, predecessor_id, successor_id, input_tokens, output_tokens FROM sessions ORDER BY created_at, id",
    "slots": "SELECT agent, chat, session_id FROM slots ORDER BY id",
    "messages": "SELECT session_id, role, content FROM messages JOIN sessions ON sessions.id = session_id"
    " ORDER BY sessions.created_at, sessions.id, messages.id",
    "cuts": "SELECT session_id, summary_id IS NOT NULL AS summary, count FROM cuts ORDER BY rowid",
    "open": "SELECT id FROM turns WHERE ended_at IS NULL",
    "inbound": "SELECT text, state FROM inbound ORDER BY id",
    "said": "SELECT kind, text FROM outbox ORDER BY id",
    "broken": "PRAGMA foreign_key_check",
    "whole": "PRAGMA integrity_check",
}


SETTLING: Final = 0.1
"""Seconds."""

SESSION: Final = re.compile(r"\d{8}_\d{6}_[0-9a-f]{16}")
"""The id of a session, here of one that is gone."""

DELIVER: Final = "UPDATE outbox SET state = 'delivered' WHERE state <> 'delivered'"


class Agent(ToolAgent):
    """Summarises where it is asked to, and else does as a `ToolAgent`."""

    def __init__(self, probe: "Armed") -> None:
        super().__init__()
        self._probe = probe

    async def run(self, turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        if turn.inputs[-1]["content"] != REQUEST:
            async for event in super().run(turn):
                yield event
            return
        self._probe("agent.asked")
        yield Text("su")
        self._probe("agent.half")
        yield Text("m")
        yield Done()


class Armed:
    """A probe that counts once it is told to."""

    def __init__(self, probe: KillingProbe) -> None:
        self._probe = probe
        self.armed = False

    def __call__(self, step: str) -> None:
        if self.armed:
            self._probe(step)


async def picture(parts: Any) -> dict[str, list[list[Any]]]:
    """What there is, with ids by the order in which they came about."""
    found: dict[str, list[list[Any]]] = {}
    for name, sql in PICTURE.items():
        found[name] = [list(row) for row in await parts.database.read(sql)]
    text = json.dumps(found)
    rows = await parts.database.read("SELECT id FROM sessions ORDER BY created_at, id")
    for number, row in enumerate(rows):
        text = text.replace(row[0], f"session {number}")
    text = SESSION.sub("session", text)
    loaded: dict[str, list[list[Any]]] = json.loads(text)
    return loaded


async def serve(home: Home, case: str, step: str | None, hit: int, picture_file: Path) -> None:
    """One life."""
    probe = Armed(KillingProbe(step, hit))
    agent = Agent(probe)
    config = GatewayConfig.model_validate(
        {
            "agent": "a", "agents": {"a": {"type": "echo"}, "b": {"type": "echo"}}, "http": {"enabled": False},
            "drain_seconds": 1, "turns": {"retry_seconds": 0.02, "retry_max_seconds": 0.1},
        }
    )  # fmt: skip
    daemon = Daemon(config, home, agents={"a": agent, "b": agent}, local_only=True, probe=probe)
    ready = asyncio.Event()
    running = asyncio.create_task(daemon.run(ready.set))
    await ready.wait()
    parts: Any = daemon._parts
    written = ["one", "two", *CASES[case]]
    for number, text in enumerate(written):
        rows = await parts.database.read("SELECT id FROM sessions ORDER BY created_at, id LIMIT 1")
        said = text.replace(FIRST, rows[0][0] if rows else "")
        probe.armed = number == len(written) - 1
        # Who is not told that a message was taken sends it again: it is known by its id.
        await parts.lanes._inbox().accept(InboundMessage(SessionSource.local_cli(), f"m{number}", said), operator=True)
        while await parts.database.read("SELECT 1 FROM inbound WHERE state IN ('pending', 'running')"):
            await asyncio.sleep(0.01)
        # What ended the message goes through its last steps.
        await asyncio.sleep(SETTLING)
        probe.armed = False
        # Nobody sits at the terminal: what is not delivered would keep a session from being deleted.
        await parts.database.write(lambda connection: connection.execute(DELIVER).rowcount)
    picture_file.write_text(json.dumps(await picture(parts)))
    daemon.stop()
    daemon.stop()
    await running


def live(home: str, case: str, step: str | None, hit: int, picture_file: str) -> None:
    """One life, as the whole of a process."""
    asyncio.run(serve(Home(Path(home)), case, step, hit, Path(picture_file)))
