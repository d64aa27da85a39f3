"""One home over many lives of a gateway on four platforms: the servers, the people, the terminals, and the faults."""

import asyncio
import itertools
import json
import random
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

from config import Home
from tests.soak.child import answer_to
from tests.soak.four_child import ASK, Options
from tests.soak.people import PATIENCE_SECONDS, PAUSE_SECONDS, PLANS, Verdict
from tests.soak.rig import ROOT, START_SECONDS, STOP_SECONDS
from tests.soak.wire import Report
from tests.support.faults import LockHolder
from tests.support.gateway_client import Event, RecordingClient, Said, Shown

PLATFORMS: Final = ("telegram", "discord", "slack")
TERMINALS: Final = 2
LINE_LIMIT: Final = 2**24


class Worlds:
    """The processes of the platforms."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self.sections: dict[str, Mapping[str, Any]] = {}

    async def start(self) -> None:
        """Start them all."""
        for platform in PLATFORMS:
            self._processes[platform] = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.soak.people", json.dumps({"platform": platform, "seed": self._seed})),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                cwd=ROOT,
                limit=LINE_LIMIT,
            )
        for platform in PLATFORMS:
            self.sections[platform] = await self._next(platform)

    async def tell(self, platform: str, order: str) -> Any:
        """Give an order, and wait until it is carried out. Raises AssertionError if it cannot be."""
        stdin = self._processes[platform].stdin
        assert stdin is not None
        stdin.write(json.dumps({"do": order}).encode() + b"\n")
        await stdin.drain()
        said = await self._next(platform)
        assert "failed" not in said, f"{platform}: {said['failed']}"
        return said["said"]

    async def tell_all(self, order: str) -> dict[str, Any]:
        """Give an order to all at once."""
        said = await asyncio.gather(*(self.tell(platform, order) for platform in PLATFORMS))
        return dict(zip(PLATFORMS, said, strict=True))

    async def close(self) -> None:
        """End them."""
        for process in self._processes.values():
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def _next(self, platform: str) -> Any:
        stdout = self._processes[platform].stdout
        assert stdout is not None
        async with asyncio.timeout(2 * PATIENCE_SECONDS):
            line = await stdout.readline()
        assert line, f"the server of {platform} has ended"
        return json.loads(line)


class Terminals:
    """People at terminals, which come back whenever the gateway does."""

    def __init__(self, home: Home, chance: random.Random) -> None:
        self._chance = chance
        self._events: list[Event] = []
        self._numbers = itertools.count(1)
        self._clients = [RecordingClient(home.socket, self._events, life) for life in range(TERMINALS)]
        self._writing = False
        self._tasks: list[asyncio.Task[None]] = []

    def write(self) -> None:
        """Keep writing until `quiet`."""
        self._writing = True
        self._tasks = [asyncio.create_task(self._live(client)) for client in self._clients]

    async def quiet(self) -> None:
        """Write no more; returns once everything is answered."""
        self._writing = False
        await asyncio.gather(*self._tasks)

    async def close(self) -> None:
        """Leave without a word."""
        for task in self._tasks:
            task.cancel()
        for client in self._clients:
            with suppress(Exception):
                await client.die()

    async def _live(self, client: RecordingClient) -> None:
        while self._writing:
            client.say(f"t{next(self._numbers)} {self._chance.choice(PLANS)}")
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    while client.unanswered:
                        client.check()
                        await asyncio.sleep(0.02)
            except TimeoutError:
                raise AssertionError("lost: a terminal has no answer") from None
            await asyncio.sleep(self._chance.uniform(0, PAUSE_SECONDS))

    def verdict(self) -> Verdict:
        """Each line was answered, once, by a delivery of its own; all terminals are shown all answers."""
        asked = {answer_to(event.text).strip() for event in self._events if isinstance(event, Said)}
        shown: dict[str, set[int]] = defaultdict(set)
        marked = set[int]()
        for event in self._events:
            if isinstance(event, Shown) and event.final and event.kind == "reply":
                shown[event.text.strip()].add(event.delivery)
                marked |= {event.delivery} if event.marked else set()
        wrong = [f"lost: {text[:40]!r} was shown on no terminal" for text in asked - shown.keys()]
        wrong += [f"stray: {text[:80]!r} is no answer" for text in shown.keys() - asked]
        wrong += [f"repeated: {text[:40]!r}" for text, ids in shown.items() if len(ids - marked) > 1]
        return Verdict(len(asked), len(marked), wrong)


class Four:
    """Use as an async context manager; it owns the worlds, the terminals and the gateway's process."""

    def __init__(self, home: Home, seed: int) -> None:
        self.home = home
        self.chance = random.Random(seed)
        self.worlds = Worlds(seed)
        self.faults: Counter[str] = Counter()
        self._terminals: Terminals | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._log = home.path / "soak.log"

    async def __aenter__(self) -> Self:
        await self.worlds.start()
        await self.start()
        self._terminals = Terminals(self.home, self.chance)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._terminals is not None:
            await self._terminals.close()
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        await self.worlds.close()

    # --- the gateway ---------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the gateway, and wait until it serves."""
        options = json.dumps(asdict(Options(str(self.home.path), self.worlds.sections)))
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.soak.four_child", options),
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                limit=LINE_LIMIT,
            )
        assert await self._said() == "ready"

    async def end(self, number: signal.Signals) -> None:
        """End the gateway by a signal, and wait for its end."""
        assert self._process is not None
        self._process.send_signal(number)
        code = await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
        expected = 0 if number is signal.SIGTERM else -number
        assert code == expected, f"the gateway ended with {code}; {self.log_tail()}"

    async def report(self) -> Report:
        """What the gateway's process holds."""
        assert self._process is not None
        self._process.send_signal(ASK)
        return Report(**json.loads(await self._said()))

    async def _said(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        async with asyncio.timeout(START_SECONDS):
            line = (await self._process.stdout.readline()).decode().strip()
        assert line, f"the gateway has ended; {self.log_tail()}"
        return line

    def log_tail(self) -> str:
        """What the gateway said last."""
        return "the end of its log:\n" + "\n".join(self._lines()[-30:])

    def complaints(self) -> Iterator[str]:
        """What the gateway itself took for an error, but for what an outage of its database makes fail."""
        for line in self._lines():
            if " ERROR " in line and "gateway.storage" not in line:
                yield line

    def _lines(self) -> list[str]:
        return self._log.read_text(errors="replace").splitlines() if self._log.exists() else []

    # --- people --------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Let the bot hear of every conversation: what is written first of all while it is away, nobody fetches."""
        await self.worlds.tell_all("begin")

    async def write(self) -> None:
        """Everybody keeps writing until `quiet`."""
        await self.worlds.tell_all("write")
        self.terminals.write()

    async def quiet(self) -> None:
        """Nobody writes on; returns once everything is answered."""
        try:
            await asyncio.gather(self.worlds.tell_all("quiet"), self.terminals.quiet())
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.log_tail()}") from None

    @property
    def terminals(self) -> Terminals:
        """The people at terminals."""
        assert self._terminals is not None
        return self._terminals

    async def verdicts(self) -> dict[str, Verdict]:
        """What there is to say of each platform."""
        told = {platform: Verdict(**said) for platform, said in (await self.worlds.tell_all("verdict")).items()}
        return told | {"terminal": self.terminals.verdict()}

    # --- what goes wrong -----------------------------------------------------------------------------------

    async def kill(self) -> None:
        """`kill -9`, a moment in which people go on writing, and a new start."""
        await self.end(signal.SIGKILL)
        await asyncio.sleep(self.chance.uniform(0, 1))
        await self.start()

    async def restart(self) -> None:
        """An orderly restart."""
        await self.end(signal.SIGTERM)
        await self.start()

    async def hang_up(self) -> None:
        """The connection to one platform ends."""
        await self.worlds.tell(self.chance.choice(PLATFORMS), "hang up")

    async def storm(self) -> None:
        """For a while one platform fails, and loses its answers."""
        platform = self.chance.choice(PLATFORMS)
        await self.worlds.tell(platform, "storm")
        await asyncio.sleep(self.chance.uniform(0.3, 1.0))
        await self.worlds.tell(platform, "clear")

    async def lock_out(self) -> None:
        """For a while another process has the database: what happens meanwhile goes to the spool."""
        holder = LockHolder(self.home.database)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not holder.hold():
                await asyncio.sleep(0.001)
        await asyncio.sleep(self.chance.uniform(0.2, 2.0))
        holder.release()


Strike: TypeAlias = Callable[[Four], Awaitable[None]]
FAULTS: Final[Mapping[str, tuple[int, Strike]]] = {
    "kill": (3, Four.kill),
    "restart": (1, Four.restart),
    "hang up": (3, Four.hang_up),
    "storm": (3, Four.storm),
    "lock-out": (2, Four.lock_out),
}
"""What strikes while people write, each with how often in comparison."""
