"""What a benchmark ran on: figures mean nothing without it."""

import os
import platform
import sqlite3
from pathlib import Path


def describe(folder: Path) -> dict[str, str]:
    """Cores, processor, disk of the folder, and the versions that matter."""
    return {
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "processor": _processor(),
        "disk": _file_system(folder),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _file_system(folder: Path) -> str:
    """The file system that the folder lies on, and its device, where the system tells."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return "unknown"
    path = folder.resolve()
    covering = [mount for mount in mounts if path.is_relative_to(mount[1])]
    device, _point, kind = max(covering, key=lambda mount: len(mount[1]))[:3]
    return f"{kind} on {device}"
