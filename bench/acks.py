"""How soon Slack hears that we have an event, while many come at once and the agent takes long.

Slack gives three seconds for it. The loopback server stands in a process of its own: people write there, so many events
a second, and it is timed when each is acknowledged, over Socket Mode and as requests to our HTTP listener. The agent
says nothing for far longer than that.
"""

import asyncio
import json
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from adapters.testing.slack import DeliveryRules, Envelope, SlackServer
from bench.stall import percentile
from config import GatewayConfig, Home
from gateway.daemon import Daemon
from gateway.ports import AgentCapabilities, AgentEvent, AgentTurn, Done, Text

DEADLINE_SECONDS: Final = 3.0
"""How long Slack waits (https://docs.slack.dev/apis/events-api#responding)."""

PATIENCE_SECONDS: Final = 30.0
LOOK_SECONDS: Final = 0.05
PEOPLE: Final = 40
"""Who write in turn in a round, each in direct messages of their own; in every round other people."""

Mode = Literal["socket", "http"]
NAMES: Final[Mapping[Mode, str]] = {"socket": "Slack, Socket Mode", "http": "Slack, HTTP"}


@dataclass(frozen=True, slots=True)
class Plan:
    """So many rounds of so many events, spread over so many seconds; the agent takes `agent_seconds` for each turn."""

    rounds: int = 10
    events: int = 200
    seconds: float = 1.0
    agent_seconds: float = 10.0


QUICK: Final = Plan(rounds=1)


class SlowAgent:
    """Answers everybody, and takes long for it."""

    def __init__(self, seconds: float) -> None:
        self.capabilities = AgentCapabilities(resumable=True)
        self._seconds = seconds

    async def start(self) -> None:
        return

    async def close(self) -> None:
        return

    async def run(self, _turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        await asyncio.sleep(self._seconds)
        yield Text("That took long.")
        yield Done()


# --- the platform's process ----------------------------------------------------------------------------


async def serve(plan: Plan) -> None:
    """Be Slack: print how to reach it, wait for a line that says where its requests go, and print what was timed."""
    async with SlackServer(rules=DeliveryRules(deadline=DEADLINE_SECONDS)) as server:
        app = server.app
        there = {"url": server.api_url, "bot": server.bot.token, "app": app.token, "secret": app.secret}
        print(json.dumps(there), flush=True)
        if url := (await asyncio.to_thread(sys.stdin.readline)).strip():
            app.socket_mode = False
            urls = server.events.urls
            urls.events = urls.interactivity = urls.commands = url
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not await urls.verify(url):
                    await asyncio.sleep(LOOK_SECONDS)
        else:
            await server.until(lambda: server.events.sockets.live, PATIENCE_SECONDS)
        for number in range(plan.rounds):
            await _round(server, plan, number)
        events = _written(server)
        waits = [wait for each in events for wait in each.waits[:1]]
        late = sum(len(each.attempts) > 1 or not each.acknowledged for each in events)
        print(json.dumps({"waits": waits, "events": len(events), "late": late}), flush=True)
        await asyncio.to_thread(sys.stdin.readline)


async def _round(server: SlackServer, plan: Plan, number: int) -> None:
    """People write, evenly over the time; returns once everything is acknowledged, or Slack has given it up."""
    people = [server.person(f"Person {number}/{place}") for place in range(PEOPLE)]
    chats = [(person, server.direct(person)) for person in people]
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for event in range(plan.events):
        person, chat = chats[event % PEOPLE]
        person.writes(chat, f"question {event}")
        await asyncio.sleep(max(0.0, begun + (event + 1) * plan.seconds / plan.events - loop.time()))
    await server.until(lambda: all(each.acknowledged or each.given_up for each in _written(server)), PATIENCE_SECONDS)


def _written(server: SlackServer) -> list[Envelope]:
    """The events of what people wrote; the answers make events too."""
    return [each for each in server.events.all if "bot_id" not in each.event]


# --- ours ----------------------------------------------------------------------------------------------


async def acknowledged(plan: Plan, folder: Path, mode: Mode) -> dict[str, Any]:
    """What the platform timed, with the gateway in this process."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.acks", json.dumps(asdict(plan))),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**24,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        there = json.loads(await process.stdout.readline())
        port = _free_port() if mode == "http" else None
        async with _gateway(_settings(there, port), folder, SlowAgent(plan.agent_seconds)):
            url = "" if port is None else f"http://127.0.0.1:{port}/platforms/slack/events"
            process.stdin.write(f"{url}\n".encode())
            await process.stdin.drain()
            timed = json.loads(await process.stdout.readline())
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    return {
        "what": f"{NAMES[mode]}: an event to its acknowledgement",
        "events": timed["events"],
        "p50_ms": round(percentile(timed["waits"], 50) * 1000, 1),
        "p99_ms": round(percentile(timed["waits"], 99) * 1000, 1),
        "longest_ms": round(max(timed["waits"], default=0.0) * 1000, 1),
        "late": timed["late"],
    }


def _settings(there: Mapping[str, str], port: int | None) -> GatewayConfig:
    slack = {"bot_token": there["bot"], "api_base_url": there["url"], "allowed_users": ["*"]}
    if port is None:
        slack |= {"app_token": there["app"]}
    else:
        slack |= {"mode": "http", "signing_secret": there["secret"]}
    return GatewayConfig.model_validate(
        {
            "http": {"enabled": False} if port is None else {"enabled": True, "port": port},
            "platforms": {"slack": slack},
            "limits": {"messages_per_minute": 0, "chat_messages_per_minute": 0, "turns_at_once": 0},
        }
    )


@asynccontextmanager
async def _gateway(config: GatewayConfig, folder: Path, agent: SlowAgent) -> AsyncIterator[None]:
    """The daemon, ready. It is stopped without waiting for what it has not answered yet."""
    # It has the shape of the port but for how it is made.
    agents: dict[str, Any] = {"slow": agent}
    daemon = Daemon(config, Home(folder), agents=agents)
    ready = asyncio.Event()
    running = asyncio.create_task(daemon.run(ready.set), name="daemon")
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if running.done():
        running.result()
    try:
        yield
    finally:
        daemon.stop()
        daemon.stop()
        await running


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def run(plan: Plan, progress: Callable[[str], None], folder: Path) -> list[dict[str, Any]]:
    """Measure both ways in which events come."""
    figures = []
    with tempfile.TemporaryDirectory(dir=folder, prefix="hgb-") as home:
        for mode, name in NAMES.items():
            progress(f"{name}: acknowledgements")
            figures.append(asyncio.run(acknowledged(plan, Path(home) / mode, mode)))
    return figures


if __name__ == "__main__":
    asyncio.run(serve(Plan(**json.loads(sys.argv[1]))))
