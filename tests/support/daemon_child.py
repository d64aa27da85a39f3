"""The real daemon as a process that can kill itself at a named step; with a scripted agent and tools that leave traces.

`python -m tests.support.daemon_child '{"home": "HOME"}'` runs one. With `--fork-server` it reads such a line for each
daemon to run, and forks: a start then costs no imports. It tells on standard output, one JSON object a line, what
happens: `pid`, `ready`, `exit`.
"""

import asyncio
import ctypes
import json
import logging
import os
import signal
import sys
import traceback
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

from adapters.local import adapter as _preloaded  # noqa: F401 - a fork then has it already
from config import GatewayConfig, Home
from gateway.daemon import Daemon
from tests.support.crash_agent import AGENT_NAME, ScriptedAgent, tools

PR_SET_PDEATHSIG: Final = 1
"""prctl(2): the signal that a process gets when its parent dies."""


@dataclass(frozen=True, slots=True)
class ChildOptions:
    """How to run one daemon. It kills itself at the `kill_hit`-th hit of the step `kill_step`, if one is named.

    `clock_offset` is how many seconds its clock runs ahead; `pause` how many the agent takes for a piece of text.
    Standard error, the log included, is appended to `log`.
    """

    home: str
    log: str | None = None
    kill_step: str | None = None
    kill_hit: int = 1
    clock_offset: float = 0.0
    pause: float = 0.003
    synchronous: Literal["full", "normal"] = "full"
    busy: Literal["queue", "steer"] = "queue"

    def dump(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))


class KillingProbe:
    """Ends its own process, as `kill -9` does, when a step is reached for the n-th time."""

    def __init__(self, step: str | None, hit: int) -> None:
        self._step = step
        self._left = hit

    def __call__(self, step: str) -> None:
        if step == self._step:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class OffsetClock:
    """The machine's clock, some seconds ahead."""

    def __init__(self, seconds: float) -> None:
        self._offset = timedelta(seconds=seconds)

    def now(self) -> datetime:
        return datetime.now(UTC) + self._offset

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


def config_of(options: ChildOptions) -> GatewayConfig:
    """Retries are quick, and never so many that a turn or a delivery is given up because of kills."""
    retries = {"attempts": 10_000, "retry_seconds": 0.02, "retry_max_seconds": 0.1}
    values: dict[str, Any] = {
        "http": {"enabled": False},
        "storage": {"synchronous": options.synchronous},
        "busy": options.busy,
        "sessions": {"expiry_check_seconds": 0.2},
        "inbox": {"expire_hours": 0},
        "turns": retries,
        "delivery": retries,
        "drain_seconds": 20,
    }
    return GatewayConfig.model_validate(values)


def tell(event: str, **fields: object) -> None:
    """Tell whoever started us; one short write, which no other process's can tear."""
    os.write(1, (json.dumps({"event": event, **fields}) + "\n").encode())


async def serve(options: ChildOptions) -> None:
    daemon = Daemon(
        config_of(options),
        Home(Path(options.home)),
        clock=OffsetClock(options.clock_offset),
        probe=KillingProbe(options.kill_step, options.kill_hit),
        tools=tools(Path(options.home) / "tools.log"),
        agents={AGENT_NAME: ScriptedAgent(options.pause, steering=options.busy == "steer")},
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, daemon.stop)
    await daemon.run(on_ready=lambda: tell("ready"))


def run(options: ChildOptions) -> None:
    """Run one daemon until it is stopped. Raises what the daemon raises."""
    if options.log is not None:
        log = os.open(options.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, 2)
        os.close(log)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
    asyncio.run(serve(options))


def run_forked(options: ChildOptions) -> int:
    """The same in a fork; the exit code."""
    os.close(0)
    _die_with_parent()
    try:
        run(options)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def fork_server() -> None:
    """Run a daemon for each line of standard input, one after another."""
    _die_with_parent()
    for line in sys.stdin:
        options = ChildOptions(**json.loads(line))
        pid = os.fork()
        if pid == 0:
            os._exit(run_forked(options))
        tell("pid", pid=pid)
        _, status = os.waitpid(pid, 0)
        tell("exit", code=os.waitstatus_to_exitcode(status))


def _die_with_parent() -> None:
    """A test run that is killed leaves no daemon behind, where the system offers that."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    if sys.argv[1] == "--fork-server":
        fork_server()
    else:
        run(ChildOptions(**json.loads(sys.argv[1])))
