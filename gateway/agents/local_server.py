"""The process of the local model: serves one model file, OpenAI-compatible, until its parent is gone.

Run as `python -m gateway.agents.local_server`. One line of JSON on standard input says what to serve; the
input then stays open for as long as the parent wants it served, and its end ends this process. One line of
JSON on standard output says where it serves. Everything else goes to standard error.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
from typing import Any, Final

PR_SET_PDEATHSIG: Final = 1
"""From <linux/prctl.h>: the signal that this process gets when its parent dies."""

WARNINGS_ONLY: Final = 2
"""The verbosity of llama.cpp at which it logs warnings and errors, and no request."""


def main() -> int:
    """Serve until standard input ends; returns the process's exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C in the terminal is the parent's to handle
    line = sys.stdin.buffer.readline()
    if not line:
        return 0
    settings: dict[str, Any] = json.loads(line)
    _die_with(int(settings["parent"]))
    threading.Thread(target=_leave_at_end_of_input, daemon=True).start()
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the library prints is for the log
    server = _serve(settings)
    with answer:
        answer.write(json.dumps({"address": server.listening_address}) + "\n")
    threading.Event().wait()
    return 0


def _serve(settings: dict[str, Any]) -> Any:  # noqa: ANN401 - the library has no types
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = settings["model"]
    parameters.model_alias = {settings["alias"]}
    parameters.hostnames = [settings["host"]]
    parameters.port = settings["port"]
    parameters.api_keys = [settings["api_key"]]
    parameters.n_parallel = settings["parallel"]
    parameters.n_ctx = settings["context_tokens"] * settings["parallel"]  # shared out evenly among the slots
    parameters.cache_ram_mib = settings["cache_mib"]
    parameters.verbosity = WARNINGS_ONLY
    parameters.warmup = False
    parameters.ui = False
    parameters.endpoint_slots = False
    return xllamacpp.Server(parameters)


def _die_with(parent: int) -> None:
    """Have the kernel end this process with its parent, where the kernel can (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)  # the parent died before that


def _leave_at_end_of_input() -> None:
    """End this process, whatever it is doing, once the parent has closed its end of the pipe."""
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
