"""One home over many lives of the gateway: people write, faults strike, and in the end everything is counted."""

import asyncio
import itertools
import json
import random
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeAlias

from config import Home
from tests.soak.child import INPUT_TOKENS, OUTPUT_TOKENS, Options
from tests.soak.platform import Platform, Weather
from tests.soak.wire import Report
from tests.support.faults import LockHolder

ROOT: Final = Path(__file__).resolve().parents[2]
START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 30.0
PATIENCE_SECONDS: Final = 180.0
"""How long one answer may take at most, faults and a busy machine included: what is lost never comes."""

LONG_PAUSE_SECONDS: Final = 25 * 3600.0
"""A pause that ends every session by the default policy."""

MAX_LONG_PAUSES: Final = 6
"""So many days pass at most: what has ended is removed from the inbox after a week, and is to be counted there."""

PLANS: Final = ("short",) * 12 + ("long", "long", "flaky", "/new")
"""What people write, by its share."""


@dataclass(slots=True)
class Tally:
    """What happened, for the person who reads the result."""

    faults: Counter[str] = field(default_factory=Counter)
    reports: list[Report] = field(default_factory=list)


class Rig:
    """Use as an async context manager; it owns the platform, the gateway's process and the people."""

    def __init__(self, home: Home, chance: random.Random, sessions: int, writers: int) -> None:
        self.home = home
        self.chance = chance
        self.platform = Platform(home.path / "platform.sock", chance)
        self.tally = Tally()
        self._sessions = sessions
        self._writers = writers
        self._numbers = itertools.count(1)
        self._offset = 0.0
        self._process: asyncio.subprocess.Process | None = None
        self._server: asyncio.Server | None = None
        self._log_path = home.path / "soak.log"
        self._writing = False
        self._people: list[asyncio.Task[None]] = []
        self._free: list[str] = []

    async def __aenter__(self) -> Self:
        self._server = await self.platform.open()
        self._free = [str(1_000_000 + number) for number in range(self._sessions)]
        self.chance.shuffle(self._free)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for person in self._people:
            person.cancel()
        await asyncio.gather(*self._people, return_exceptions=True)
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        if self._server is not None:
            self._server.close()

    # --- the gateway ---------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the gateway, and wait until it is connected."""
        options = Options(str(self.home.path), str(self.home.path / "platform.sock"), self._offset)
        with self._log_path.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.soak.child", json.dumps(asdict(options))), stderr=log, cwd=ROOT
            )
        try:
            async with asyncio.timeout(START_SECONDS):
                await self.platform.connected.wait()
        except TimeoutError:
            raise AssertionError(f"the gateway does not start; {self.log_tail()}") from None

    async def end(self, number: signal.Signals) -> None:
        """End the gateway by a signal, and wait for its end."""
        assert self._process is not None
        self._process.send_signal(number)
        code = await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
        expected = 0 if number is signal.SIGTERM else -number
        assert code == expected, f"the gateway ended with {code}; {self.log_tail()}"
        self.platform.connected.clear()

    async def kill(self) -> None:
        """`kill -9`, and a new start."""
        await self.end(signal.SIGKILL)
        await self.start()

    async def restart(self) -> None:
        """An orderly restart."""
        await self.end(signal.SIGTERM)
        await self.start()

    async def pause_long(self) -> None:
        """More than a day passes while the gateway is down: every session is over."""
        await self.end(signal.SIGTERM)
        if self._offset < MAX_LONG_PAUSES * LONG_PAUSE_SECONDS:
            self._offset += LONG_PAUSE_SECONDS
        await self.start()

    async def hang_up(self) -> None:
        """The connection to the platform breaks."""
        self.platform.hang_up()
        await asyncio.sleep(0)

    async def storm(self) -> None:
        """For a while the platform refuses calls, loses its answers, and hands messages over twice."""
        self.platform.weather = Weather(later=0.2, unknown=0.1, twice=0.2)
        await asyncio.sleep(self.chance.uniform(0.3, 1.0))
        self.platform.weather = Weather()

    async def lock_out(self) -> None:
        """For a while another process has the database: what happens meanwhile goes to the spool."""
        holder = await self._locked()
        await asyncio.sleep(self.chance.uniform(0.2, 2.0))
        holder.release()

    async def kill_locked_out(self) -> None:
        """`kill -9` while another process has the database, and a start that finds it like that."""
        holder = await self._locked()
        await asyncio.sleep(self.chance.uniform(0.2, 1.0))
        await self.kill()
        await asyncio.sleep(self.chance.uniform(0.2, 1.0))
        holder.release()

    async def _locked(self) -> LockHolder:
        holder = LockHolder(self.home.database)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not holder.hold():
                await asyncio.sleep(0.001)
        return holder

    def log_tail(self) -> str:
        """What the gateway said last."""
        lines = self._log_path.read_text(errors="replace").splitlines() if self._log_path.exists() else []
        return "the end of its log:\n" + "\n".join(lines[-30:])

    # --- people --------------------------------------------------------------------------------------------

    def let_people_write(self) -> None:
        """So many people write at once, each the next message when the last is answered."""
        self._writing = True
        self._people = [asyncio.create_task(self._write(), name=f"person {n}") for n in range(self._writers)]

    async def quiet(self) -> None:
        """Nobody writes on; returns once everything is answered."""
        self._writing = False
        await asyncio.gather(*self._people)
        self._people = []

    async def _write(self) -> None:
        while self._writing:
            chat = self._free.pop()
            # Some write again before they are answered.
            messages = [self.platform.write(chat, self._text()) for _ in range(self.chance.choice((1, 1, 1, 3)))]
            for message in messages:
                try:
                    async with asyncio.timeout(PATIENCE_SECONDS):
                        await message.answered.wait()
                except TimeoutError:
                    raise AssertionError(
                        f"lost: {message.id} ({message.text}) in {chat} has no answer; {self.log_tail()}"
                    ) from None
            self._free.insert(self.chance.randrange(len(self._free) + 1), chat)

    def _text(self) -> str:
        plan = self.chance.choice(PLANS)
        return plan if plan.startswith("/") else f"m{next(self._numbers)} {plan}"

    # --- the verdict ---------------------------------------------------------------------------------------

    def violations(self) -> list[str]:
        """Everything that is not as promised, once the gateway has ended in good order."""
        wrong = [*self.platform.wrong, *(f"lost: {message.id} has no answer" for message in self.platform.unanswered)]
        connection = sqlite3.connect(f"{self.home.database.as_uri()}?mode=ro", uri=True)
        try:
            wrong += _violations(connection, self.platform)
        finally:
            connection.close()
        return wrong


Fault: TypeAlias = Callable[[Rig], Awaitable[None]]
FAULTS: Final[Mapping[str, tuple[int, Fault]]] = {
    "kill": (4, Rig.kill),
    "restart": (2, Rig.restart),
    "long pause": (1, Rig.pause_long),
    "hang up": (2, Rig.hang_up),
    "storm": (3, Rig.storm),
    "lock-out": (2, Rig.lock_out),
    "kill when locked out": (1, Rig.kill_locked_out),
}
"""What strikes while people write, each with how often in comparison. A fault of another kind (a disk that is full) is
one more entry: it returns once it is over."""


def _violations(connection: sqlite3.Connection, platform: Platform) -> Iterator[str]:
    """What the database has, against what people wrote."""
    yield from (f"corrupt: {row[0]}" for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok")
    yield from (f"corrupt: foreign key of {row[0]}" for row in connection.execute("PRAGMA foreign_key_check"))
    found: Counter[str] = Counter()
    for message_id, state in connection.execute("SELECT message_id, state FROM inbound"):
        found[message_id] += 1
        if state != "answered":
            yield f"unended: {message_id} is {state}"
    yield from (
        f"doubled: {message_id} is in the inbox {number} times" for message_id, number in found.items() if number > 1
    )
    yield from (f"lost: {message_id} is not in the inbox" for message_id in platform.written.keys() - found.keys())
    yield from (f"invented: {message_id} was never written" for message_id in found.keys() - platform.written.keys())
    for table, condition in (
        ("turns", "state <> 'done'"),
        ("outbox", "state <> 'sent' OR final = 0"),
        ("turn_steps", "1"),
    ):
        (left,) = connection.execute(f"SELECT count(*) FROM {table} WHERE {condition}").fetchone()
        if left:
            yield f"unended: {left} of {table}"
    yield from _transcripts(connection, platform)
    for session_id, messages, rows, asked, used, said in connection.execute(COUNTERS):
        expected = (rows, asked * INPUT_TOKENS, asked * OUTPUT_TOKENS)
        if (messages, used, said) != expected:
            yield f"counters: session {session_id} has {(messages, used, said)}, its messages make {expected}"


COUNTERS: Final = """
SELECT sessions.id, message_count, count(messages.id), count(messages.id) FILTER (WHERE role = 'user'),
       input_tokens, output_tokens
FROM sessions LEFT JOIN messages ON messages.session_id = sessions.id GROUP BY sessions.id"""


def _transcripts(connection: sqlite3.Connection, platform: Platform) -> Iterator[str]:
    """Each chat's transcripts hold what was written there, in its order, once."""
    expected: dict[str, list[str]] = {}
    for message in platform.written.values():
        if not message.text.startswith("/"):
            expected.setdefault(message.chat, []).append(message.text)
    found: dict[str, list[str]] = {}
    for chat, text in connection.execute(
        "SELECT slots.chat, content FROM messages JOIN sessions ON sessions.id = messages.session_id"
        " JOIN slots ON slots.id = sessions.slot_id WHERE role = 'user' ORDER BY messages.id"
    ):
        found.setdefault(chat, []).append(text)
    for chat in expected.keys() | found.keys():
        if expected.get(chat) != found.get(chat):
            yield f"transcript: {chat} has {found.get(chat)}, and people wrote {expected.get(chat)}"
