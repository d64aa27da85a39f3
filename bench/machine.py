"""What a benchmark ran on, and how busy that was: figures mean nothing without it."""

import os
import platform
import resource
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


def resident_mb(pid: int) -> float:
    """Megabytes that a process takes now; where the system does not tell, the most that this one ever took."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
    (kibibytes,) = (line.split()[1] for line in lines if line.startswith("VmRSS:"))
    return round(int(kibibytes) / 1024, 1)


def load() -> float:
    """How many processes ran or waited for a core, over the last minute."""
    return round(os.getloadavg()[0], 1)


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
