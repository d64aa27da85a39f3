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
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

from adapters.local import adapter as _preloaded  # noqa: F401 - a fork then has it already
from config import GatewayConfig, Home
from gateway import lanes, outbox
from gateway.connections import AdapterFactory
from gateway.control import ControlError
from gateway.daemon import Daemon
from gateway.remembering import memory
from gateway.storage import failover, writer
from gateway.storage.errors import StorageError
from tests.support.crash_agent import AGENT_NAME, ScriptedAgent, tools
from tests.support.injection import Fault, UnfailingStream, inject, unfailing_write

RECORDING_MEMORY: Final = "tests.support.recording_memory:RecordingMemory"

PR_SET_PDEATHSIG: Final = 1
"""prctl(2): the signal that a process gets when its parent dies."""


IDLE_MINUTES: Final = 10
"""How long a session may be idle. The pauses of a long storm together stay below the day after which texts go."""


@dataclass(frozen=True, slots=True)
class ChildOptions:
    """How to run one daemon. It kills itself at the `kill_hit`-th hit of the step `kill_step`, if one is named.

    `clock_offset` is how many seconds its clock runs ahead; `pause` how many the agent takes for a piece of text.
    Standard error, the log included, is appended to `log`; tools leave their traces in `trace`. `busy_seconds` is how
    long SQLite waits for a lock, `recovery_seconds` how soon a database that is out of use is tried again, and
    `error_seconds` how soon a turn or a chat is that could not store something. `faults` fail at random from the
    start on, see `tests.support.injection`. Without `syncs` the spool is not synced, which a test is to notice.
    `telegram`, `discord` and `slack` are sections for these platforms. What is remembered is told in `memory`.
    """

    home: str
    log: str | None = None
    kill_step: str | None = None
    kill_hit: int = 1
    clock_offset: float = 0.0
    pause: float = 0.003
    synchronous: Literal["full", "normal"] = "full"
    busy: Literal["queue", "steer"] = "queue"
    busy_seconds: float | None = None
    recovery_seconds: float | None = None
    error_seconds: float | None = None
    trace: str | None = None
    reserve_kb: int | None = None
    http_port: int | None = None
    http_key: str | None = None
    faults: Sequence[Fault] = ()
    syncs: bool = True
    telegram: Mapping[str, Any] | None = None
    discord: Mapping[str, Any] | None = None
    memory: str | None = None
    slack: Mapping[str, Any] | None = None

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
        return time.monotonic()


def config_of(options: ChildOptions) -> GatewayConfig:
    """Retries are quick, and never so many that a turn or a delivery is given up because of kills."""
    retries = {"attempts": 10_000, "retry_seconds": 0.02, "retry_max_seconds": 0.1}
    values: dict[str, Any] = {
        "http": {
            "enabled": options.http_port is not None,
            "port": options.http_port or 0,
            "api_key": options.http_key,
        },
        "storage": {"synchronous": options.synchronous},
        "busy": options.busy,
        "sessions": {"expiry_check_seconds": 0.2, "reset": {"mode": "idle", "idle_minutes": IDLE_MINUTES}},
        "inbox": {"expire_hours": 0},
        "turns": retries,
        "delivery": retries,
        "drain_seconds": 20,
    }
    sections = {"telegram": options.telegram, "discord": options.discord, "slack": options.slack}
    values["platforms"] = {name: section for name, section in sections.items() if section is not None}
    if values["platforms"] or options.http_key is not None:
        values["limits"] = {"messages_per_minute": 0, "chat_messages_per_minute": 0, "turns_at_once": 0}
    if options.memory is not None:
        options_of_it = {"trace": options.memory}
        values["memory"] = {"provider": RECORDING_MEMORY, "options": options_of_it, "retry_seconds": 0.02}
    if options.reserve_kb is not None:
        values["storage"]["reserve_kb"] = options.reserve_kb
    return GatewayConfig.model_validate(values)


def adapters_of(options: ChildOptions) -> Mapping[str, AdapterFactory]:
    """What takes the place of installed adapters. Imported only for those that want it: a fork then has it already."""
    found: dict[str, AdapterFactory] = {}
    if options.telegram is not None:
        from tests.support.telegram import QuickTelegram

        found["telegram"] = QuickTelegram
    if options.discord is not None:
        from tests.support.discord import QuickDiscord

        found["discord"] = QuickDiscord
    if options.slack is not None:
        from tests.support.slack import QuickSlack

        found["slack"] = QuickSlack
    return found


def tell(event: str, **fields: object) -> None:
    """Tell whoever started us; one short write, which no other process's can tear."""
    unfailing_write(1, (json.dumps({"event": event, **fields}) + "\n").encode())


def set_times(options: ChildOptions) -> None:
    """Make outages begin and end sooner than people would want them to."""
    if options.memory is not None:
        memory.MEMORY_CHECK_SECONDS = 0.02  # type: ignore[attr-defined]
    if options.busy_seconds is not None:
        writer.SQLITE_BUSY_SECONDS = options.busy_seconds  # type: ignore[attr-defined]
        failover.SQLITE_BUSY_SECONDS = options.busy_seconds  # type: ignore[attr-defined]
    if options.recovery_seconds is not None:
        failover.RETRY_SECONDS = failover.RETRY_MAX_SECONDS = options.recovery_seconds  # type: ignore[misc]
    if options.error_seconds is not None:
        lanes.LANE_ERROR_PAUSE_SECONDS = options.error_seconds  # type: ignore[attr-defined]
        outbox.OUTBOX_ERROR_PAUSE_SECONDS = options.error_seconds  # type: ignore[attr-defined]


async def serve(options: ChildOptions) -> None:
    set_times(options)
    inject(options.faults)
    if not options.syncs:
        os.fsync = lambda _descriptor: None  # type: ignore[assignment]
    trace = Path(options.trace) if options.trace else Path(options.home) / "tools.log"
    daemon = Daemon(
        config_of(options),
        Home(Path(options.home)),
        clock=OffsetClock(options.clock_offset),
        probe=KillingProbe(options.kill_step, options.kill_hit),
        tools=tools(trace),
        agents={AGENT_NAME: ScriptedAgent(options.pause, steering=options.busy == "steer")},
        adapters=adapters_of(options),
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, daemon.stop)
    await daemon.run(on_ready=lambda: tell("ready"))


def run(options: ChildOptions) -> None:
    """Run one daemon until it is stopped. Raises what the daemon raises."""
    if options.log is not None:
        log = os.open(options.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, 2)
        os.close(log)
    sys.stderr = UnfailingStream(2)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
    asyncio.run(serve(options))


def run_forked(options: ChildOptions) -> int:
    """The same in a fork; the exit code."""
    os.close(0)
    _die_with_parent()
    try:
        run(options)
    except BaseException as error:
        if all(isinstance(cause, StorageError | ControlError | OSError) for cause in causes_of(error)):
            print(f"not started, as people are told too: {error!r}", file=sys.stderr)
        else:
            traceback.print_exc()
        return 1
    return 0


def causes_of(error: BaseException) -> Iterator[BaseException]:
    """The errors in a group, and in the groups in it."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from causes_of(inner)
    else:
        yield error


def fork_server() -> None:
    """Run a daemon for each line of standard input, one after another."""
    _die_with_parent()
    for line in sys.stdin:
        options = ChildOptions(**json.loads(line))
        adapters_of(options)
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
