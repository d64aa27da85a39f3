"""Kills over HTTP: programs repeat their requests until they are answered, and each gets the one answer."""

import asyncio
import itertools
import json
import random
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import pytest

from config import Home
from tests.crash.test_steps import STEPS
from tests.support.crash_agent import AGENT_NAME, COUNT
from tests.support.daemon_child import ChildOptions
from tests.support.daemon_launcher import DaemonLauncher, DaemonProcess
from tests.support.settings import Settings

SECONDS_PER_KILL: Final = 8.0
KEY: Final = "key-of-the-storm-over-http"
PROGRAMS: Final = 6
PLANS: Final = ("say", "tools", "long", "flaky", "chain", "draft", "silent", "flaky-tools")
KINDS: Final = ("chat", "chat stream", "session", "response", "response stream")
PATIENCE: Final = 30.0

ANSWERED_STEPS: Final = sorted(set(STEPS) - {"turn.steer", "outbox.edited", "command.before-end", "command.ended"})
"""Steps that a request can come to."""


@dataclass(slots=True)
class Wanted:
    """One request of a program, and every whole answer that it got."""

    label: str
    plan: str
    kind: str
    answers: list[str] = field(default_factory=list)

    @property
    def body(self) -> dict[str, Any]:
        text = f"{self.label} {self.plan}"
        streams = {"stream": True} if self.kind.endswith("stream") else {}
        if self.kind.startswith("response"):
            return {"model": AGENT_NAME, "input": text, **streams}
        return {"model": AGENT_NAME, "messages": [{"role": "user", "content": text}], **streams}

    @property
    def headers(self) -> dict[str, str]:
        named = {"X-Hermes-Session-Id": f"kept-{int(self.label[1:]) % 2}"} if self.kind == "session" else {}
        return {"Idempotency-Key": self.label, "Authorization": f"Bearer {KEY}", **named}


class ApiRig:
    """One home over many lives of its daemon, and programs that ask on. Use as an async context manager."""

    def __init__(self, launcher: DaemonLauncher, home: Home, port: int, chance: random.Random) -> None:
        self._launcher = launcher
        self._home = home
        self._port = port
        self._chance = chance
        self._daemon: DaemonProcess | None = None
        self._numbers = itertools.count(1)
        self._asking: list[asyncio.Task[None]] = []
        self._quiet = False
        self.wanted: list[Wanted] = []
        self.tries: Counter[int | str] = Counter()
        self.kills: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=PATIENCE)
        self._session = aiohttp.ClientSession(f"http://127.0.0.1:{self._port}", timeout=timeout)
        self._asking = [asyncio.create_task(self._ask_on()) for _ in range(PROGRAMS)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._asking:
            task.cancel()
        await self._session.close()
        if self._daemon is not None:
            self._daemon.signal(signal.SIGKILL)
            await self._daemon.ended()

    # --- programs ------------------------------------------------------------------------------------------

    async def _ask_on(self) -> None:
        while not self._quiet:
            number = next(self._numbers)
            wanted = Wanted(f"m{number}", PLANS[number % len(PLANS)], KINDS[number % len(KINDS)])
            self.wanted.append(wanted)
            await self._until_answered(wanted)
            if self._chance.random() < 0.3:
                await self._until_answered(self._chance.choice([each for each in self.wanted if each.answers]))

    async def _until_answered(self, wanted: Wanted) -> None:
        count = len(wanted.answers)
        while len(wanted.answers) == count:
            try:
                answer = await self._try(wanted)
            except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
                self.tries[type(error).__name__] += 1
                await asyncio.sleep(0.02)
            else:
                if answer is not None:
                    wanted.answers.append(answer)

    async def _try(self, wanted: Wanted) -> str | None:
        """Ask once; all of the answer, None if it broke off, or could not be taken."""
        path = "/v1/responses" if wanted.kind.startswith("response") else "/v1/chat/completions"
        async with self._session.post(path, json=wanted.body, headers=wanted.headers) as response:
            self.tries[response.status] += 1
            if response.status == 503:
                return None
            assert response.status == 200, await response.text()
            if not wanted.kind.endswith("stream"):
                return _said(await response.json())
            lines = [line.decode() async for line in response.content if line.startswith(b"data: ")]
        return _streamed([json.loads(line[6:]) for line in lines if line != "data: [DONE]\n"])

    # --- the daemon ----------------------------------------------------------------------------------------

    def start(self, step: str | None = None, hit: int = 1) -> DaemonProcess:
        options = ChildOptions(
            home=str(self._home.path),
            log=str(self.log),
            trace=str(self.trace),
            http_port=self._port,
            http_key=KEY,
            kill_step=step,
            kill_hit=hit,
        )
        self._daemon = daemon = self._launcher.start(options)
        return daemon

    @property
    def log(self) -> Path:
        return self._home.path / "daemon.log"

    @property
    def trace(self) -> Path:
        return self._home.path / "tools.log"

    async def dies_at(self, step: str, hit: int, seconds: float) -> None:
        daemon = self.start(step, hit)
        try:
            code = await daemon.ended(seconds)
        except TimeoutError:
            daemon.signal(signal.SIGKILL)
            code, step = await daemon.ended(), "random"
        assert code == -signal.SIGKILL, f"the daemon ended with {code}; {self.tail()}"
        self.kills[step] += 1

    async def dies_after(self, seconds: float) -> None:
        daemon = self.start()
        await asyncio.sleep(seconds)
        daemon.signal(signal.SIGKILL)
        assert await daemon.ended() == -signal.SIGKILL, self.tail()
        self.kills["random"] += 1

    async def stop(self) -> None:
        assert self._daemon is not None
        assert await self._daemon.ready(), f"the daemon did not start; {self.tail()}"
        self._daemon.signal(signal.SIGTERM)
        code = await self._daemon.ended()
        assert code == 0, f"the daemon ended with {code}; {self.tail()}"

    def tail(self) -> str:
        return "the end of its log:\n" + "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])

    # --- the verdict ---------------------------------------------------------------------------------------

    async def finish(self) -> None:
        """Let everyone be answered, ask for everything once more, and count."""
        self._quiet = True
        self.start()
        deadline = time.monotonic() + PATIENCE * 2
        with suppress(TimeoutError):
            async with asyncio.timeout(deadline - time.monotonic()):
                await asyncio.gather(*self._asking)
                for each in self.wanted:
                    await self._until_answered(each)
        await self.stop()
        wrong = [f"{each.label}: no answer" for each in self.wanted if len(each.answers) < 2]
        for each in self.wanted:
            whole = [answer for answer in each.answers if "begun anew" not in answer]
            if len(set(whole)) > 1:
                wrong.append(f"{each.label} {each.plan} {each.kind}: {len(set(whole))} answers: {set(whole)}")
            if any(f"That was {each.label}." not in answer for answer in whole) and each.plan != "silent":
                wrong.append(f"{each.label} {each.plan} {each.kind}: {whole[0]!r}")
        wrong += self._repeated_turns()
        runs = Counter(line for line in self.trace.read_text().splitlines() if line.endswith(f".{COUNT}"))
        wrong += [f"{call} ran {times} times" for call, times in runs.items() if times > 1]
        lines = self.log.read_text(errors="replace").splitlines()
        wrong += [f"log: {line}" for line in lines if " ERROR " in line or "Traceback" in line]
        assert not wrong, "\n".join([*wrong[:40], f"kills: {dict(self.kills)}", self.tail()])

    def _repeated_turns(self) -> list[str]:
        with closing(sqlite3.connect(self._home.database)) as database:
            rows = database.execute("SELECT message_id, turn_id, state FROM inbound").fetchall()
            (turns,) = database.execute("SELECT count(*) FROM turns").fetchone()
        wrong = [f"{message_id} is {state}" for message_id, _, state in rows if state != "answered"]
        if not len(rows) == turns == len(self.wanted):
            wrong.append(f"{len(self.wanted)} requests, {len(rows)} messages, {turns} turns")
        return wrong

    def summary(self) -> str:
        kills = ", ".join(f"{where} {number}" for where, number in sorted(self.kills.items()))
        tries = ", ".join(f"{what} {number}" for what, number in self.tries.items())
        answers = sum(len(each.answers) for each in self.wanted)
        return f"{self.kills.total()} kills ({kills}); {len(self.wanted)} requests, {answers} answers; tries: {tries}"


def _said(whole: dict[str, Any]) -> str:
    if whole["object"] == "chat.completion":
        return str(whole["choices"][0]["message"]["content"])
    return "".join(part["text"] for item in whole["output"] for part in item["content"])


def _streamed(events: list[dict[str, Any]]) -> str | None:
    """The text of a stream; None where it broke off before its end."""
    ends = [event["response"] for event in events if event.get("type") == "response.completed"]
    chunks = [event["choices"][0] for event in events if event.get("object") == "chat.completion.chunk"]
    if not ends and not any(choice["finish_reason"] for choice in chunks):
        return None
    if ends:
        text = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
        assert "begun anew" in text or text == _said(ends[0])
        return text
    return "".join(choice["delta"].get("content") or "" for choice in chunks)


@pytest.mark.timeout(180 + SECONDS_PER_KILL * Settings.read().crash_kills)
async def test_api_storm(
    daemon_launcher: DaemonLauncher,
    home: Home,
    free_port: Callable[[], int],
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
) -> None:
    chance = random.Random(settings.crash_seed)
    try:
        async with ApiRig(daemon_launcher, home, free_port(), chance) as rig:
            await blow(rig, chance, settings.crash_kills)
            await rig.finish()
    finally:
        with capsys.disabled():
            print(f"\napi storm: HERMES_CRASH_SEED={settings.crash_seed} repeats it", file=sys.stderr)
    with capsys.disabled():
        print(f"api storm: {rig.summary()}", file=sys.stderr)
    assert rig.kills.total() == settings.crash_kills


async def blow(rig: ApiRig, chance: random.Random, kills: int) -> None:
    while rig.kills.total() < kills:
        match chance.choices(("step", "random", "starting", "orderly"), (55, 30, 10, 5))[0]:
            case "step":
                await rig.dies_at(chance.choice(ANSWERED_STEPS), chance.randint(1, 6), chance.uniform(2.5, 5.0))
            case "random":
                await rig.dies_after(chance.uniform(0.5, 2.5))
            case "starting":
                await rig.dies_after(chance.uniform(0.0, 0.2))
            case "orderly":
                rig.start()
                await rig.stop()
