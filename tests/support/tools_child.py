"""A gateway in a process of its own whose agent calls session tools in one turn, and that may be killed at a step.

`python -m tests.support.tools_child HOME [STEP]`: it ends once the turn has, with what there is then on its output.
"""

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from config import GatewayConfig, Home
from gateway.daemon import Daemon
from gateway.ports import InboundMessage
from gateway.source import SessionSource
from tests.support.daemon_child import KillingProbe
from tests.unit.tools.support import ToolAgent, calling

COUNTS: Final[Mapping[str, str]] = {
    "created": "SELECT count(*) FROM sessions WHERE title = 'Made'",
    "forked": "SELECT count(*) FROM sessions WHERE title LIKE 'Fork: %'",
    "sent": "SELECT count(*) FROM inbound WHERE json_extract(extra, '$.relay') IS NOT NULL",
    "answered": "SELECT count(*) FROM messages JOIN sessions ON sessions.id = session_id"
    " WHERE sessions.title = 'Target' AND role = 'assistant' AND content = 're: x'",
    "messages": "SELECT count(*) FROM outbox WHERE text = 'told'",
    "turns": "SELECT count(*) FROM turns",
    "open": "SELECT count(*) FROM turns WHERE ended_at IS NULL",
}


async def serve(home: Home, step: str | None) -> None:
    config = GatewayConfig.model_validate(
        {"agent": "a", "agents": {"a": {"type": "echo"}}, "http": {"enabled": False}, "drain_seconds": 1}
    )
    daemon = Daemon(config, home, agents={"a": ToolAgent()}, local_only=True, probe=KillingProbe(step, 1))
    ready = asyncio.Event()
    running = asyncio.create_task(daemon.run(ready.set))
    await ready.wait()
    parts: Any = daemon._parts
    known = await parts.database.read("SELECT id FROM sessions WHERE title = 'Target'")
    if not known:
        await parts.store.append_turn(
            (await parts.store.get_or_create_session(SessionSource.local_cli())).session_id,
            [{"role": "user", "content": "first"}, {"role": "assistant", "content": "said"}],
        )
        await parts.database.write(
            lambda connection: connection.execute("UPDATE sessions SET title = 'Target'").rowcount
        )
        await parts.store.get_or_create_session(SessionSource.local_cli(), force_new=True)
        known = await parts.database.read("SELECT id FROM sessions WHERE title = 'Target'")
    target = known[0]["id"]
    text = calling(
        ("create_session", {"name": "Made"}),
        ("send_to_session", {"session_id": target, "message": "x"}),
        ("manage_session", {"action": "fork", "session_id": target}),
        ("send_message", {"message": "told"}),
    )
    message = InboundMessage(SessionSource.local_cli(), "m1", text)
    await parts.lanes._inbox().accept(message, operator=True)
    while await parts.database.read("SELECT 1 FROM inbound WHERE state IN ('pending', 'running')"):
        await asyncio.sleep(0.02)
    found = {name: (await parts.database.read(sql))[0][0] for name, sql in COUNTS.items()}
    print(json.dumps(found), flush=True)
    daemon.stop()
    daemon.stop()
    await running


if __name__ == "__main__":
    asyncio.run(serve(Home(Path(sys.argv[1])), sys.argv[2] if len(sys.argv) > 2 else None))
