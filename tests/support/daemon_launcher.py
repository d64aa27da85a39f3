"""Starts daemons for tests: each a process of its own, forked from one that has everything imported."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.support.daemon_child import ChildOptions

ROOT: Final = Path(__file__).resolve().parents[2]
MODULE: Final = "tests.support.daemon_child"
START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 30.0


class DaemonProcess:
    """One daemon. `code` is negative for the signal that ended it."""

    def __init__(self, options: ChildOptions) -> None:
        self.options = options
        self.pid: Future[int] = Future()
        self.up: Future[bool] = Future()
        self.code: Future[int] = Future()

    async def ready(self) -> bool:
        """Wait until it serves; False if it ended before that. Raises TimeoutError."""
        return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(self.up)), START_SECONDS)

    async def ended(self, timeout: float = STOP_SECONDS) -> int:
        """Wait for its end; the exit code. Raises TimeoutError."""
        return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(self.code)), timeout)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended already."""
        if not self.code.done():
            with suppress(ProcessLookupError):  # it has ended, and the word of it is under way
                os.kill(self.pid.result(START_SECONDS), number)

    def take(self, event: dict[str, int | str]) -> None:
        match event["event"]:
            case "pid":
                self.pid.set_result(int(event["pid"]))
            case "ready":
                self.up.set_result(True)
            case "exit":
                # Whoever learns that it will not serve may start the next one at once: it has ended by then.
                self.code.set_result(int(event["code"]))
                if not self.up.done():
                    self.up.set_result(False)


class DaemonLauncher:
    """The process that daemons are forked from. Use as a context manager, from one thread.

    `prefix` is what the process is started by, `faketime`, say; `environ` is added to its environment.
    """

    def __init__(self, prefix: Sequence[str | Path] = (), environ: Mapping[str, str] | None = None) -> None:
        self._prefix = tuple(prefix)
        self._environ = {**os.environ, **(environ or {})}
        self._process: subprocess.Popen[str] | None = None
        self._current: DaemonProcess | None = None
        self._reader: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is None or self._reader is None:
            return
        if self._current is not None:
            self._current.signal(signal.SIGKILL)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(STOP_SECONDS)
        self._reader.join(STOP_SECONDS)
        self._process.stdout.close()

    def start(self, options: ChildOptions) -> DaemonProcess:
        """Start a daemon; the one before must have ended."""
        if self._process is None:
            self._open()
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._current is None or self._current.code.done(), "the daemon before still runs"
        self._current = DaemonProcess(options)
        self._process.stdin.write(options.dump() + "\n")
        self._process.stdin.flush()
        return self._current

    def _open(self) -> None:
        self._process = subprocess.Popen(
            [*self._prefix, sys.executable, "-m", MODULE, "--fork-server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=self._environ,
        )
        self._reader = threading.Thread(target=self._read, name="daemon-launcher", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if self._current is not None:
                self._current.take(json.loads(line))
