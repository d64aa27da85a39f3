"""How late an event loop answers: watched from inside, beside an idle loop in another process as the control.

`python -m bench.stall` is that control: it watches until its standard input ends, and prints what it saw as JSON.
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Final, Self

TICK_SECONDS: Final = 0.002
"""How often a loop is asked whether it still answers. A stall that is shorter is seen by chance."""


@dataclass(frozen=True, slots=True)
class Stalls:
    """How late a loop was, in milliseconds: at the 99.9th percentile of all ticks, and at worst."""

    p999_ms: float
    longest_ms: float


class Watch:
    """Notices when the loop that it runs on is late."""

    def __init__(self) -> None:
        self._late: list[float] = []

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            due = perf_counter() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            self._late.append(perf_counter() - due)

    def stalls(self) -> Stalls:
        """What was seen so far. A long stall hides the ticks that it swallowed: each counts as late as it was."""
        late = [rest for seen in self._late for rest in _swallowed(seen)]
        return Stalls(round(percentile(late, 99.9) * 1000, 2), round(max(late, default=0.0) * 1000, 2))


def _swallowed(late: float) -> list[float]:
    """A tick that came so late, and those that were due meanwhile."""
    ticks = int(late / TICK_SECONDS)
    return [late - number * TICK_SECONDS for number in range(ticks + 1)]


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that this share of all does not exceed; 0 if there is none."""
    ordered = sorted(values)
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


class Control:
    """An idle loop in a process of its own: how late it is tells what the machine does to any loop."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls) -> Self:
        """Start watching; returns once the process does."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.stall", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        await process.stdout.readline()
        return cls(process)

    async def stop(self) -> Stalls:
        """End it; what it saw."""
        said, _ = await self._process.communicate(b"")
        return Stalls(**json.loads(said))


async def _watch_until_told() -> Stalls:
    watch = Watch()
    watching = asyncio.create_task(watch.run())
    await asyncio.sleep(0)
    print("watching", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    watching.cancel()
    return watch.stalls()


if __name__ == "__main__":
    seen = asyncio.run(_watch_until_told())
    print(json.dumps({"p999_ms": seen.p999_ms, "longest_ms": seen.longest_ms}))
