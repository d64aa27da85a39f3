"""A daemon that is killed again and again, people who write on meanwhile, and the verdict in the end."""

import asyncio
import itertools
import re
import signal
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from config import Home
from gateway.counts import OPEN
from tests.crash.record import Check, Evidence, read_evidence, violations
from tests.support.daemon_child import IDLE_MINUTES, ChildOptions
from tests.support.daemon_launcher import DaemonLauncher, DaemonProcess
from tests.support.gateway_client import Event, RawClient, RecordingClient
from tests.support.injection import Fault

UNHEARD_SECONDS: Final = 10.0
"""After how long without its end a daemon in which calls of the system fail is told to stop once more."""

KILLED: Final = -signal.SIGKILL
TRAFFIC: Final = ("tools", "/status", "say", "flaky", "chain", "/new", "draft", "silent", "say", "flaky-tools")
"""What people write, over and over."""

AT_ONCE: Final = 4
"""Lines that wait for an answer at any time."""

PATIENCE: Final = 20.0
"""Seconds that anything awaited may take; the machine may be busy."""

OUTAGE: Final[Mapping[str, Any]] = {
    "busy_seconds": 0.05,
    "recovery_seconds": 0.1,
    "expected_errors": ("gateway.storage",),
}
"""Options of a rig in which the database is out of use at times, and soon again in use."""

UNSTORABLE: Final[Mapping[str, Any]] = {
    **OUTAGE,
    "error_seconds": 0.1,
    "expected_errors": tuple(
        f"gateway.{part}"
        for part in ("storage", "lanes", "outbox", "stream", "search", "lifecycle", "connections", "daemon")
    ),
    "unchecked": ("usage",),
}
"""The same where nothing can be stored at times. Whoever wants something stored logs that as an error. A step of a turn
that cannot be stored is made again, and both count: the model was asked twice."""

RECORD: Final = re.compile(r"\d{4}-\d\d-\d\d \S+ (?P<level>[A-Z]+) (?P<logger>\S+): ")
FAULT: Final = re.compile(r" (ERROR|CRITICAL) |Traceback|Error:")

LONG_PAUSE: Final = 1.5 * IDLE_MINUTES * 60
"""Seconds of a pause that ends a session."""


class Rig:
    """One home over many lives of its daemon. Use as an async context manager; `finish` gives the verdict."""

    def __init__(
        self,
        launcher: DaemonLauncher,
        home: Home,
        *,
        traffic: Sequence[str] = TRAFFIC,
        expected_errors: Sequence[str] = (),
        unchecked: Collection[Check] = (),
        beside: Path | None = None,
        seen: Callable[[Evidence], Evidence] = lambda evidence: evidence,
        ends: Collection[str] = (),
        **options: Any,
    ) -> None:
        """`expected_errors` names the loggers whose errors are what the test is about, `unchecked` those checks of
        the record that cannot hold in it. The log, and the traces of the tools, are left in `beside`. `seen` says
        which part of the evidence is judged, and `ends` which states of the others count as an end."""
        self._launcher = launcher
        self._home = home
        self._traffic = itertools.cycle(traffic)
        self._numbers = itertools.count(1)
        self._options = options
        self._expected_errors = tuple(expected_errors)
        self._seen = seen
        self._ends = ends
        self.unchecked = tuple(unchecked)
        self._log = (beside or home.path) / "daemon.log"
        self._trace = (beside or home.path) / "tools.log"
        self._daemon: DaemonProcess | None = None
        self._up = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None
        self._events: list[Event] = []
        self._lives_ended: set[int] = set()
        self._client: RecordingClient | None = None
        self._lives = 0
        self.jumps = 0
        self._hidden = False
        self._opening: asyncio.Task[None] | None = None
        self.kills: Counter[str] = Counter()
        self.faults: Sequence[Fault] = ()
        """What fails at random in the daemons that are started from now on."""

    async def __aenter__(self) -> Self:
        self.new_client()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.be_quiet()
        if self._client is not None:
            with suppress(Exception):
                await self._client.die()
        if self._daemon is not None:
            self._daemon.signal(signal.SIGKILL)
            await self._daemon.ended()

    def log_tells(self, text: str) -> bool:
        """Whether the daemons' logs have this text."""
        return any(text in line for line in _lines(self._log))

    @property
    def outages(self) -> int:
        """How often the daemons' logs tell that the database was left."""
        return sum("the database is out of use" in line for line in _lines(self._log))

    @property
    def client(self) -> RecordingClient:
        assert self._client is not None
        return self._client

    # --- the daemon ----------------------------------------------------------------------------------------

    def start(self, step: str | None = None, hit: int = 1) -> DaemonProcess:
        """Start the daemon, which kills itself at this hit of this step, if one is named."""
        options = ChildOptions(
            home=str(self._home.path),
            log=str(self._log),
            trace=str(self._trace),
            faults=self.faults,
            kill_step=step,
            kill_hit=hit,
            clock_offset=self.jumps * LONG_PAUSE,
            **self._options,
        )
        self._daemon = daemon = self._launcher.start(options)
        self._opening = asyncio.create_task(self._open_when_up(daemon))
        return daemon

    async def _open_when_up(self, daemon: DaemonProcess) -> None:
        if await daemon.ready():
            if not self._hidden:
                self._up.set()
            await daemon.ended(timeout=600)
            self._up.clear()

    async def dies_at(self, step: str, hit: int = 1) -> None:
        """Run the daemon until it kills itself at this step. Raises AssertionError if it never does."""
        daemon = self.start(step, hit)
        try:
            code = await daemon.ended(PATIENCE)
        except TimeoutError:
            raise AssertionError(f"hit {hit} of {step} did not come about; {self.log_tail()}") from None
        self._check_end(code)
        await self._gone()
        self.kills[step] += 1

    async def dies_unseen(self, step: str, hit: int) -> None:
        """The same, while no terminal comes back; if the step does not come that often, it is killed at rest."""
        self._hidden = True
        try:
            await self.dies_at_or_after(step, hit, 2.0)
        finally:
            self._hidden = False

    async def dies_at_or_after(self, step: str, hit: int, seconds: float) -> str:
        """The same, but it is killed from outside if that takes too long; where it died."""
        daemon = self.start(step, hit)
        try:
            code = await daemon.ended(seconds)
        except TimeoutError:
            daemon.signal(signal.SIGKILL)
            code = await daemon.ended()
            step = "random"
        self._check_end(code)
        await self._gone()
        self.kills[step if code == KILLED else "refused to start"] += 1
        return step

    async def dies_after(self, seconds: float) -> None:
        """Start the daemon and kill it that long after its process began, wherever it is then."""
        self.start()
        await asyncio.sleep(seconds)
        await self.kill()

    async def kill(self) -> None:
        """Kill the daemon that runs, wherever it is."""
        assert self._daemon is not None
        self._daemon.signal(signal.SIGKILL)
        code = await self._daemon.ended()
        self._check_end(code)
        await self._gone()
        self.kills["random"] += 1

    def _check_end(self, code: int) -> None:
        """It was killed; or it said that it cannot start while calls of the system fail."""
        assert self._daemon is not None
        refused = bool(self.faults) and code == 1 and not self._daemon.up.result()
        assert code == KILLED or refused, f"the daemon ended with {code}; {self.log_tail()}"

    async def stop(self) -> None:
        """Stop the daemon in good order."""
        assert self._daemon is not None
        if self.faults and not await self._daemon.ready():
            await self._gone()
            return
        assert await self._daemon.ready(), f"the daemon did not start; {self.log_tail()}"
        code = await self._told_to_stop(self._daemon)
        assert code == 0, f"the daemon ended with {code}; {self.log_tail()}"
        await self._gone()

    async def _told_to_stop(self, daemon: DaemonProcess) -> int:
        """The code with which it ends. The interpreter wakes its loop for a signal by `write`: where that fails as any
        other, which a socket's never does by itself, it has not heard of the first."""
        daemon.signal(signal.SIGTERM)
        if self.faults:
            with suppress(TimeoutError):
                return await daemon.ended(UNHEARD_SECONDS)
            daemon.signal(signal.SIGTERM)
        return await daemon.ended()

    async def _gone(self) -> None:
        if self._opening is not None:
            await self._opening
        self._up.clear()

    def pause_long(self) -> None:
        """From the next start on it is so much later that the session before has ended."""
        self.jumps += 1

    # --- people --------------------------------------------------------------------------------------------

    def new_client(self) -> None:
        """A terminal is opened."""
        self._client = RecordingClient(self._home.socket, self._events, self._lives, self._wait_until_up)

    async def client_dies(self) -> None:
        """The terminal ends without a word, and another one is opened."""
        await self.client.die()
        self._lives_ended.add(self._lives)
        self._lives += 1
        self.new_client()

    def say(self, what: str | None = None) -> None:
        """Write a line: a command, or a plan for the agent; the next one of the traffic if none is given."""
        what = next(self._traffic) if what is None else what
        self.client.say(what if what.startswith("/") else f"m{next(self._numbers)} {what}")

    def write_on(self, pause: float = 0.01) -> None:
        """Keep writing, whether the daemon is there or not, until `be_quiet`."""
        self._writing = asyncio.create_task(self._write(pause))

    def be_quiet(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None

    async def _write(self, pause: float) -> None:
        while True:
            if self.client.unanswered < AT_ONCE:
                self.say()
            await asyncio.sleep(pause)

    async def _wait_until_up(self) -> None:
        await self._up.wait()

    async def settle(self) -> None:
        """Wait until every line has its answer, those of terminals that have died included."""
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while self.client.unanswered or await self._under_way():
            self.client.check()
            if asyncio.get_running_loop().time() > deadline:
                open_ = await self._under_way()
                raise AssertionError(f"{self.client.unanswered} lines have no answer, {open_}; {self.log_tail()}")
            await asyncio.sleep(0.01)

    async def status(self) -> dict[str, Any]:
        """How the gateway says that it stands."""
        await asyncio.wait_for(self._up.wait(), PATIENCE)
        async with RawClient(self._home.socket) as client:
            await client.frame({"service": "control", "op": "status"})
            status: dict[str, Any] = (await client.next())["status"]
        return status

    async def storage_is(self, mode: str, seconds: float = PATIENCE) -> dict[str, Any]:
        """Wait until data goes there; what the gateway says of its storage then."""
        deadline = asyncio.get_running_loop().time() + seconds
        while (storage := (await self.status())["storage"])["mode"] != mode:
            self.client.check()
            assert asyncio.get_running_loop().time() < deadline, f"{storage}, not {mode}; {self.log_tail()}"
            await asyncio.sleep(0.02)
        return dict(storage)

    async def answers(self, number: int) -> None:
        """Wait until so many more lines have their answer."""
        wanted = len(self.client.outcomes) + number
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while len(self.client.outcomes) < wanted:
            self.client.check()
            assert asyncio.get_running_loop().time() < deadline, f"people wait for answers; {self.log_tail()}"
            await asyncio.sleep(0.01)

    async def _under_way(self) -> dict[str, int | None]:
        """What the gateway itself says is not at its end."""
        status = await self.status()
        states = {f"{part} {state}": n for part in ("inbound", "outbox") for state, n in status[part].items()}
        ends = {"outbox repeated", *self._ends}
        # What an outage hides is not known to have ended.
        hidden = {f"{part} {state}" for part in OPEN for state in OPEN[part]}
        return {
            state: number
            for state, number in states.items()
            if (number or (number is None and state in hidden)) and state not in ends
        }

    # --- the verdict ---------------------------------------------------------------------------------------

    async def finish(self) -> Evidence:
        """Let everything come to its end, stop the daemon in good order, and check what is left."""
        self.be_quiet()
        if self._daemon is None or self._daemon.code.done():
            self.start()
        await self.settle()
        await self.stop()
        evidence = self.evidence()
        self.assert_sound(evidence)
        return evidence

    def evidence(self) -> Evidence:
        """What is left by a daemon that has ended."""
        return read_evidence(
            self._home.database,
            self._events,
            traces=self._trace,
            lives_ended=frozenset(self._lives_ended),
            jumps=self.jumps,
        )

    def assert_sound(self, evidence: Evidence) -> None:
        """Raises AssertionError with everything that is wrong."""
        wrong = violations(self._seen(evidence), without=self.unchecked)
        wrong += [
            f"outcome: {id_} is {outcome}" for id_, outcome in self.client.outcomes.items() if outcome != "answered"
        ]
        wrong += [f"log: {line}" for line in self._faults_in_log()]
        if wrong:
            told = "\n".join(f"  {event}" for event in self._events[-60:])
            raise AssertionError("\n".join([*wrong, f"kills: {dict(self.kills)}", "the end of the record:", told]))

    def summary(self, evidence: Evidence) -> str:
        """One line for people."""
        kills = ", ".join(f"{step} {number}" for step, number in sorted(self.kills.items()))
        return (
            f"{self.kills.total()} kills ({kills}); {len(evidence.inbound)} messages, {len(evidence.turns)} turns,"
            f" {len(evidence.sessions)} sessions, {len(evidence.traces)} tool runs; {evidence.marked} marked repeats;"
            f" {len(self._lives_ended)} terminals died, {self.jumps} long pauses"
        )

    def _faults_in_log(self) -> list[str]:
        return [
            record
            for record in _records(self._log)
            if FAULT.search(record) and not _logger_of(record).startswith(self._expected_errors or ("-",))
        ]

    def log_tail(self) -> str:
        return "the end of its log:\n" + "\n".join(_lines(self._log)[-40:])


def _records(path: Path) -> list[str]:
    """What was logged, each record with its traceback."""
    records: list[str] = []
    for line in _lines(path):
        if RECORD.match(line) or not records:
            records.append(line)
        else:
            records[-1] += f"\n{line}"
    return records


def _logger_of(record: str) -> str:
    found = RECORD.match(record)
    return found["logger"] if found else ""


def _lines(path: Path) -> list[str]:
    return path.read_text(errors="replace").splitlines() if path.exists() else []
