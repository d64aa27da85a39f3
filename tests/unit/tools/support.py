"""What tests of the session tools share: an agent that calls what it is told to, people's sessions, and callers."""

import itertools
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from config import GatewayConfig, LiveConfig, Platform
from gateway.inbound import Extra, InboundRecord
from gateway.ports import AgentCapabilities, AgentEvent, AgentTurn, Call, Done, Text, ToolCalls, ToolResult, ToolStarted
from gateway.session.key import SlotIdentity
from gateway.source import SessionSource
from gateway.storage.codec import to_micros
from gateway.tools.caller import Caller
from tests.support.fakes import Core, FakeAdapter, ManualClock, configure, core

ANN = SessionSource(Platform.TELEGRAM, chat_id="1", chat_type="dm", user_id="ann", user_name="Ann")
OWNER = "telegram:user:ann"

_calls = itertools.count(1)


class ToolAgent:
    """Answers a message of JSON, `[[tool, arguments], …]`, by calling these one after the other and telling the last
    result; any other by what `answers` has for it, else by an echo."""

    def __init__(self, answers: Mapping[str, str] | None = None) -> None:
        self.capabilities = AgentCapabilities(resumable=True)
        self.answers = dict(answers or {})
        self.results: list[Any] = []
        self.turns: list[AgentTurn] = []

    async def start(self) -> None:
        """Nothing to get ready."""

    async def close(self) -> None:
        """Nothing to release."""

    async def run(self, turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        self.turns.append(turn)
        said = str(turn.inputs[-1]["content"])
        said = said.rpartition("\n\n")[2] if said.startswith("[Written by") else said
        try:
            wanted = json.loads(said)
        except ValueError:
            yield Text(self.answers.get(said, f"re: {said}"))
            yield Done()
            return
        last, asked = "", sum(1 for row in turn.resumed if row.get("tool_calls"))
        known = {row["tool_call_id"]: str(row["content"]) for row in turn.resumed if row["role"] == "tool"}
        for number, (name, arguments) in enumerate(wanted):
            call = Call(f"c{number}", name, json.dumps(arguments))
            if call.id in known:
                last = known[call.id]
                continue
            if number >= asked:
                yield ToolCalls("", (call,))
            yield ToolStarted(call.id)
            last = await turn.run_tool(call)
            self.results.append(json.loads(last) if last.startswith("{") else last)
            yield ToolResult(call.id, name, last)
        yield Text(last)
        yield Done()


def calling(*calls: tuple[str, Mapping[str, Any]]) -> str:
    """What to write to a `ToolAgent` to have it call these."""
    return json.dumps([[name, arguments] for name, arguments in calls])


@asynccontextmanager
async def gateway(
    folder: Path,
    agent: Any = None,
    *,
    adapter: FakeAdapter | None = None,
    config: GatewayConfig | LiveConfig | None = None,
    clock: ManualClock | None = None,
) -> AsyncIterator[Core]:
    """The core with session tools."""
    async with core(
        folder, agent or ToolAgent(), adapter, config=config or configure(), clock=clock, session_tools=True
    ) as built:
        yield built


def caller(
    session_id: str | None = None, *, source: SessionSource = ANN, call: str | None = None, turn: str = "", **extra: Any
) -> Caller:
    """Somebody for whom a tool is called; the owner unless `operator` is False."""
    extra = {"operator": True, **extra}
    identity = SlotIdentity("main", str(source.platform), source.chat_type, source.chat_id or "")
    now = datetime.fromisoformat("2026-03-01T12:00:00+00:00")
    record = InboundRecord(0, "", identity, source, "default", "", None, now, Extra(**extra))
    return Caller(record, session_id, turn, call or f"call{next(_calls)}")


async def add_session(
    built: Core,
    session_id: str,
    title: str | None = "V",
    *,
    source: SessionSource = ANN,
    owner: str = OWNER,
    seconds: float = 0.0,
    messages: Sequence[str] = (),
    live: bool = False,
    **columns: Any,
) -> None:
    """A session as it stands in the database; `messages` alternate between user and assistant."""
    at = to_micros(built.clock.now() - timedelta(seconds=seconds))
    values = {
        "id": session_id, "owner": owner, "platform": str(source.platform), "chat_type": source.chat_type,
        "title": title, "model": "m", "created_at": at, "updated_at": at, "message_count": len(messages),
        "origin": json.dumps(source.to_dict()), "ended_at": None if live else at, **columns,
    }  # fmt: skip
    identity = SlotIdentity("main", str(source.platform), source.chat_type, source.chat_id or "")
    agent = "main" if live else f"of {session_id}"
    parts = (agent, identity.platform, identity.chat_type, identity.chat, "", "", f"key {session_id}")
    await built.execute(
        "INSERT OR IGNORE INTO slots (agent, platform, chat_type, chat, thread, participant, key)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        *parts,
    )
    await built.execute(
        f"INSERT INTO sessions (slot_id, {', '.join(values)}) VALUES ((SELECT id FROM slots WHERE agent = ? AND chat ="
        f" ? AND platform = ?), {', '.join('?' * len(values))})",
        agent, identity.chat, identity.platform, *values.values(),
    )  # fmt: skip
    if live:
        await built.execute(
            "UPDATE slots SET session_id = ? WHERE agent = 'main' AND chat = ?", session_id, identity.chat
        )
    for number, text in enumerate(messages):
        role = "assistant" if number % 2 else "user"
        await built.execute(
            "INSERT INTO messages (session_id, role, content, created_at) VALUES (?, ?, ?, ?)",
            session_id, role, text, at,
        )  # fmt: skip
