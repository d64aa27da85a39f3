"""Stand-ins for what surrounds the core, and the core itself, wired without a daemon over a real database."""

import asyncio
import itertools
import sqlite3
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, TypeAlias

from config import GatewayConfig, Home, LiveConfig, Platform
from gateway.access import Gate, Role
from gateway.access.rights import Rights
from gateway.commands.builtin import builtin_commands
from gateway.commands.services import CommandServices
from gateway.commands.table import CommandTable
from gateway.corrections import ChatMove, Corrections
from gateway.erasure import Eraser
from gateway.homes import Homes
from gateway.ids import Ids
from gateway.inbox import Inbox
from gateway.lanes import Lanes
from gateway.limits import Limits
from gateway.media.content import Attachments
from gateway.media.outgoing import OutgoingFiles
from gateway.media.store import MediaStore
from gateway.media.transcriber import Transcriber
from gateway.outbox import Connection, Outbox
from gateway.ports import (
    Accepted,
    Adapter,
    AdapterState,
    Agent,
    AgentCapabilities,
    AgentError,
    AgentEvent,
    AgentTurn,
    Capabilities,
    Clock,
    Composed,
    Composer,
    Delivery,
    Done,
    Found,
    InboundMessage,
    Rate,
    SearchOutcome,
    Target,
    Text,
    Tool,
    Usage,
    WholeText,
)
from gateway.session.store import ActiveProcesses, SessionStore
from gateway.source import SessionSource
from gateway.storage.database import Database, T
from gateway.storage.errors import StorageClosedError
from gateway.storage.writer import Job
from gateway.tools.toolkit import SessionTools
from gateway.turns import TurnRunner
from gateway.updates import Updates

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
ALICE = SessionSource(Platform.TELEGRAM, chat_id="1", chat_type="dm", user_id="alice", user_name="Alice")
BOB = SessionSource(Platform.TELEGRAM, chat_id="2", chat_type="dm", user_id="bob", user_name="Bob")
EDITS = Capabilities(edit=True, find=True, edit_interval=0.0)
"""A platform that can do all that the core asks of one."""
PLAIN = Capabilities()
"""A platform that can send, and nothing else."""


SOON = 0.1
"""Seconds; what is put off in earnest is put off for longer."""


class ManualClock:
    """Time stands still until it is moved."""

    def __init__(self, instant: datetime = START) -> None:
        self._instant = instant
        self._seconds = 0.0

    def now(self) -> datetime:
        return self._instant

    def monotonic(self) -> float:
        return self._seconds

    def advance(self, seconds: float) -> None:
        self._instant += timedelta(seconds=seconds)
        self._seconds += seconds


# --- a platform ----------------------------------------------------------------------------------------


Call: TypeAlias = Literal["send", "edit", "find", "delete", "draft"]


@dataclass(frozen=True, slots=True)
class Fault:
    """What one call of an adapter comes to. `shown`: the message is on the screen all the same.

    `until` holds the call up until it is set; `deaf`: it is not cancelled by being asked once.
    """

    error: BaseException | None = None
    shown: bool = False
    until: asyncio.Event | None = None
    deaf: bool = False


@dataclass(frozen=True, slots=True)
class Pieces:
    """Cuts a text into messages of one length."""

    longest: int

    def update(self, text: str, *, final: bool, shown: int) -> Composed:
        cuts = range(0, len(text), self.longest)
        return Composed(tuple(text[cut : cut + self.longest] for cut in cuts))


class FakeAdapter(Adapter):
    """A platform in memory. Faults are scripted per call, the first for the next one."""

    def __init__(self, capabilities: Capabilities = EDITS) -> None:
        self.capabilities = capabilities
        self.calls: list[tuple[Call, Delivery]] = []
        self.screen: dict[str, Delivery] = {}
        """What can be seen, by the platform's id, in order of appearance."""
        self.faults: dict[Call, deque[Fault]] = defaultdict(deque)
        self.found: SearchOutcome | None = None
        """What a search comes to, whatever is on the screen."""
        self.longest: int | None = None
        """How many characters a message holds."""
        self.drafts_here = True
        self.typed = 0
        self.limits: tuple[Rate, ...] = ()
        self.called = asyncio.Event()
        self._ids = itertools.count(1)

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def send(self, delivery: Delivery) -> str:
        message_id = f"m{next(self._ids)}"
        await self._call("send", delivery, lambda: self.screen.update({message_id: delivery}))
        return message_id

    async def edit(self, delivery: Delivery) -> None:
        assert delivery.message_id is not None
        message_id = delivery.message_id
        await self._call("edit", delivery, lambda: self.screen.update({message_id: delivery}))

    async def find(self, delivery: Delivery) -> Found | SearchOutcome:
        await self._call("find", delivery, lambda: None)
        if self.found is not None:
            return self.found
        ids = [message_id for message_id, shown in self.screen.items() if shown.id == delivery.id]
        return Found(ids[-1]) if ids else SearchOutcome.ABSENT

    async def delete(self, delivery: Delivery) -> None:
        await self._call("delete", delivery, lambda: self.screen.pop(delivery.message_id or "", None))

    async def draft(self, delivery: Delivery) -> bool:
        await self._call("draft", delivery, lambda: None)
        return self.drafts_here

    async def typing(self, target: Target) -> None:
        self.typed += 1

    def composer(self) -> Composer:
        return WholeText() if self.longest is None else Pieces(self.longest)

    def rates(self, chat_id: str) -> Sequence[Rate]:
        return self.limits

    async def _call(self, name: Call, delivery: Delivery, show: Callable[[], object]) -> None:
        self.calls.append((name, delivery))
        self.called.set()
        fault = self.faults[name].popleft() if self.faults[name] else Fault()
        if fault.until is not None:
            try:
                await fault.until.wait()
            except asyncio.CancelledError:
                if not fault.deaf:
                    raise
                await fault.until.wait()
        if fault.error is None or fault.shown:
            show()
        if fault.error is not None:
            raise fault.error

    def fail(self, call: Call, *errors: BaseException, shown: bool = False) -> None:
        """The next calls end with these errors."""
        self.faults[call].extend(Fault(error, shown=shown) for error in errors)

    def of(self, call: Call) -> list[Delivery]:
        """The deliveries of all calls of a kind."""
        return [delivery for name, delivery in self.calls if name == call]

    def texts(self, chat_id: str | None = None) -> list[str]:
        """What can be read, in order of appearance."""
        return [
            str(delivery.content)
            for delivery in self.screen.values()
            if chat_id is None or delivery.target.chat_id == chat_id
        ]


# --- an agent ------------------------------------------------------------------------------------------


Script: TypeAlias = Callable[[AgentTurn], AsyncIterator[AgentEvent]]


async def echo(turn: AgentTurn) -> AsyncIterator[AgentEvent]:
    """Answers each message with itself."""
    yield Text("re: " + " + ".join(str(message["content"]) for message in turn.inputs))
    yield Usage(input_tokens=1, output_tokens=2)
    yield Done()


def says(*pieces: str) -> Script:
    """A script that says this, piece by piece."""

    async def script(_turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        for piece in pieces:
            yield Text(piece)
        yield Done()

    return script


def fails(error: BaseException, *pieces: str) -> Script:
    """A script that says this, and fails."""

    async def script(_turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        for piece in pieces:
            yield Text(piece)
        raise error

    return script


class Pause:
    """A script that says something and then waits to be let go on; a deaf one is not cancelled by being asked once."""

    def __init__(self, before: str = "", after: str = "", *, deaf: bool = False) -> None:
        self.reached = asyncio.Event()
        self.go = asyncio.Event()
        self.ended = asyncio.Event()
        self._before, self._after, self._deaf = before, after, deaf

    async def __call__(self, _turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        try:
            if self._before:
                yield Text(self._before)
            self.reached.set()
            while not self.go.is_set():
                try:
                    await self.go.wait()
                except asyncio.CancelledError:
                    if not self._deaf:
                        raise
                    self._deaf = False
            if self._after:
                yield Text(self._after)
            yield Done()
        finally:
            self.ended.set()


class FakeAgent:
    """Runs one script a turn; when they are used up, it echoes."""

    def __init__(self, *scripts: Script, resumable: bool = True, steering: bool = False) -> None:
        self.capabilities = AgentCapabilities(resumable=resumable, steering=steering)
        self.scripts = deque(scripts)
        self.turns: list[AgentTurn] = []

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass

    def run(self, turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        self.turns.append(turn)
        return (self.scripts.popleft() if self.scripts else echo)(turn)


@dataclass
class FakeRoster:
    """One agent, and the names that it was `used` by. `errors` are what its next starts end with; `limit` is how long
    it may be silent."""

    agent: Agent
    limit: float = 600.0
    errors: deque[AgentError] = field(default_factory=deque)
    default: str = "fake"
    names: Sequence[str] = ("fake", "other")
    used: list[str] = field(default_factory=list)

    def model(self, name: str) -> str | None:
        return f"test:{name}-1"

    @asynccontextmanager
    async def use(self, name: str) -> AsyncIterator[tuple[str, Agent]]:
        if self.errors:
            raise self.errors.popleft()
        self.used.append(name)
        yield name, self.agent

    def timeout(self, name: str) -> float:
        return self.limit


# --- a database with faults ----------------------------------------------------------------------------


class FaultyDatabase(Database):
    """A database whose next writes may fail, or that is dead: nothing more reaches it."""

    faults: "deque[Exception | None]"
    dead: bool = False

    def write(self, job: Job[T]) -> "asyncio.Future[T]":
        if self.dead:
            raise StorageClosedError("the process has died")
        error = self.faults.popleft() if self.faults else None
        if error is None:
            return super().write(job)
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        future.set_exception(error)
        return future

    def fail(self, *errors: Exception | None) -> None:
        """What the next writes come to, None for going through."""
        self.faults.extend(errors)


# --- all together --------------------------------------------------------------------------------------


@dataclass
class FakeConnections:
    """The adapters by platform, and how they stand."""

    adapters: dict[str, Adapter]
    state: AdapterState = AdapterState.CONNECTED

    def find(self, platform: Platform, account: str) -> Connection | None:
        adapter = self.adapters.get(str(platform))
        return None if adapter is None else Connection(adapter, self.state)

    def connected(self) -> list[Platform]:
        return [Platform(name) for name in self.adapters] if self.state is AdapterState.CONNECTED else []

    def traits(self) -> dict[str, Capabilities]:
        return {name: adapter.capabilities for name, adapter in self.adapters.items()}


@dataclass
class Core:
    """The core as it runs, and what a test asks of it."""

    database: FaultyDatabase
    store: SessionStore
    inbox: Inbox
    corrections: Corrections
    updates: Updates
    outbox: Outbox
    lanes: Lanes
    runner: TurnRunner
    connections: FakeConnections
    roster: FakeRoster
    counters: Counter[str]
    clock: Clock
    sessions: SessionTools
    tasks: dict[str, "asyncio.Task[None]"] = field(default_factory=dict)

    async def say(
        self, text: str, message_id: str | None = None, source: SessionSource = ALICE, **more: Any
    ) -> Accepted:
        """Someone writes; returns once it is accepted."""
        message = InboundMessage(source, message_id or text, text, **more)
        return await self.inbox.accept(message, operator=True)

    async def settled(self) -> None:
        """Nothing runs any more, and nothing will soon; what is put off for longer stays so."""
        while True:
            if tasks := _working():
                done, _ = await asyncio.wait(tasks, timeout=10)
                assert done, f"still running: {sorted(task.get_name() for task in tasks)}"
            elif (rest := self._soon()) is not None:
                await asyncio.sleep(max(0.0, rest))
            else:
                return

    def _soon(self) -> float | None:
        """Seconds until the next of what is parked goes on, if that is soon."""
        parked = [lane.parked for lane in self.lanes._lanes.values()]
        parked += [chat.parked for chat in self.outbox._chats.values()]
        now = asyncio.get_running_loop().time()
        rests = [timer.when() - now for timer in parked if timer is not None]
        return min((rest for rest in rests if rest < SOON), default=None)

    async def execute(self, sql: str, *values: Any) -> None:
        """Change the database behind everyone's back."""

        def job(connection: sqlite3.Connection) -> None:
            connection.execute(sql, values)

        await self.database.write(job)

    async def rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        return await self.database.read(sql, values)

    async def ends(self) -> dict[str, str]:
        """The state of each message, by its id."""
        rows = await self.rows("SELECT message_id, state FROM inbound ORDER BY id")
        return {row["message_id"]: row["state"] for row in rows}

    async def reason(self, message_id: str) -> str | None:
        rows = await self.rows("SELECT reason FROM inbound WHERE message_id = ?", message_id)
        reason: str | None = rows[0]["reason"]
        return reason

    async def transcript(self, source: SessionSource = ALICE) -> list[tuple[str, str]]:
        """Role and text of each row of the live session."""
        entry = await self.store.get_or_create_session(source)
        rows = await self.store.load_transcript(entry.session_id)
        return [(row["role"], row["content"]) for row in rows]

    async def die(self) -> None:
        """What a killed process leaves: nothing more is written, and every task is gone."""
        self.database.dead = True
        await self.stop()

    async def stop(self) -> None:
        """Stop at once: running turns are suspended."""
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)


def _working() -> set["asyncio.Task[Any]"]:
    """The tasks that work on something: lanes, chats, commands."""
    prefixes = ("lane ", "outbox ", "command ")
    return {task for task in asyncio.all_tasks() if task.get_name().startswith(prefixes)}


def configure(**sections: Any) -> GatewayConfig:
    """A configuration for tests: what is tried again is so at once, unless said otherwise."""
    base: dict[str, Any] = {
        "turns": {"retry_seconds": 0.0},
        "delivery": {"retry_seconds": 0.0},
        "sessions": {"reset": {"mode": "none"}},
    }
    for name, section in sections.items():
        base[name] = {**base.get(name, {}), **section} if isinstance(section, Mapping) else section
    return GatewayConfig.model_validate(base)


@asynccontextmanager
async def core(
    folder: Path,
    agent: Agent | None = None,
    adapter: FakeAdapter | None = None,
    *,
    config: GatewayConfig | LiveConfig | None = None,
    clock: Clock | None = None,
    tools: Sequence[Tool] = (),
    commands: CommandTable | None = None,
    adapters: Mapping[str, Adapter] | None = None,
    state: AdapterState = AdapterState.CONNECTED,
    ids: Ids | None = None,
    limit: float = 600.0,
    has_active_processes: ActiveProcesses | None = None,
    session_tools: bool = False,
) -> AsyncIterator[Core]:
    """The core over the database in this folder: open it again there, and it is the next life of the same one.

    `session_tools`: the agent has them.
    """
    config, clock, ids = config or configure(), clock or ManualClock(), ids or Ids()
    counters: Counter[str] = Counter()
    roster = FakeRoster(agent or FakeAgent(), limit)
    connections = FakeConnections(dict(adapters or {"telegram": adapter or FakeAdapter()}), state)
    async with FaultyDatabase.open(folder / "gateway.db", synchronous="normal") as opened:
        assert isinstance(opened, FaultyDatabase)
        database = opened
        database.faults = deque()
        store = SessionStore(database, config, clock=clock, ids=ids, has_active_processes=has_active_processes)
        outbox = Outbox(database, config, clock, connections.find, counters)
        homes = await Homes.open(database, LiveConfig.of(config))
        files = OutgoingFiles(folder / "media", config, clock, counters)
        media = MediaStore(folder / "media", config, clock, connections.find, counters, pause=0.0)
        live = LiveConfig.of(config)
        gate, limits = Gate(live), Limits(live, clock)
        sessions = SessionTools(
            database, live, clock, ids, counters, agents=roster, gate=gate, rights=Rights(live, gate), limits=limits,
            homes=homes, tell=outbox.offer,
        )  # fmt: skip
        runner = TurnRunner(
            database,
            store,
            outbox,
            roster,
            connections,
            config,
            clock,
            ids,
            counters,
            tools=(*sessions.tools, *tools) if session_tools else tools,
            awaited=sessions.awaited,
            attachments=Attachments(media, Transcriber(config), config),
            files=files,
            homes=homes,
        )
        lanes = Lanes(database, lambda: inbox, outbox, runner, connections, config, clock, counters)
        inbox = Inbox(
            database,
            store,
            config,
            clock,
            on_message=lanes.offer,
            on_delivery=outbox.offer,
            is_urgent=lanes.is_immediate,
            is_full=lambda: lanes.is_full,
        )

        def moved(move: ChatMove) -> None:
            outbox.move_chat(move.platform, move.account, move.old, move.new)
            lanes.move(move.slots)

        corrections = Corrections(
            database,
            config,
            clock,
            on_changed=lanes.change,
            on_moved=moved,
            on_delivery=outbox.offer,
            clean=inbox.clean,
        )
        updates = Updates(database, clock, counters)
        eraser = Eraser(database, Home(folder), clock)
        services = CommandServices(
            clock, ids, LiveConfig.of(config), database, store, lanes, roster, connections.find, files, eraser.erase,
            lambda _record: Role.OWNER, Rights(config).may_run, Rights(config).agent, homes,
        )  # fmt: skip
        lanes.use(commands or builtin_commands(services))
        sessions.connect(lanes, eraser.erase)
        built = Core(
            database, store, inbox, corrections, updates, outbox, lanes, runner, connections, roster, counters, clock,
            sessions,
        )  # fmt: skip
        outbox_ready, lanes_ready = asyncio.Event(), asyncio.Event()
        built.tasks["outbox"] = asyncio.create_task(outbox.run(outbox_ready), name="the outbox")
        await _ready(outbox_ready, built.tasks["outbox"])
        built.tasks["lanes"] = asyncio.create_task(lanes.run(lanes_ready), name="the lanes")
        await _ready(lanes_ready, built.tasks["lanes"])
        try:
            yield built
        finally:
            await built.stop()
    for task in built.tasks.values():
        if not task.cancelled() and task.exception() is not None:
            raise task.exception() or AssertionError


def unpark_all(gateway: Core) -> None:
    """Let every chat of the outbox look again now."""
    for chat in list(gateway.outbox._chats.values()):
        gateway.outbox._unpark(chat)


async def _ready(event: asyncio.Event, task: "asyncio.Task[None]") -> None:
    waiting = asyncio.ensure_future(event.wait())
    await asyncio.wait([waiting, task], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if task.done():
        await task


def texts_of(deliveries: Iterable[Delivery]) -> list[str]:
    """What deliveries say."""
    return [delivery.text for delivery in deliveries]
