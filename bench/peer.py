"""`python -m bench.peer`: the session store beside that of hermes-agent, the same work, one after the other.

The peer is installed into an environment of its own in the user's cache folder, from the package index that pip is set
up for, and runs in a process of its own: both projects have a package named `gateway`.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from bench.machine import describe
from bench.workload import CONFIG, MESSAGES, USAGE, Fixture, make_fixture
from gateway.session import SessionStore
from gateway.storage.database import Database

PEER: Final = "hermes-agent"
VERSION: Final = "0.19.0"
WORKER: Final = Path(__file__).with_name("peer_worker.py")
FILL_SECONDS: Final = 900.0
"""How long the peer may take to create its sessions; it is given up then."""

EPILOG: Final = """examples:
  python -m bench.peer                  some minutes, and the installation the first time
  python -m bench.peer --sessions 100 --seconds 2
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured: for so many seconds at each number of sessions and callers."""

    sessions: Sequence[int] = (100, 1_000, 10_000)
    callers: Sequence[int] = (1, 32)
    seconds: float = 10.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure both and print a table, or JSON."""
    options = _parser().parse_args(arguments)
    plan = Plan(options.sessions, options.callers, options.seconds)
    folder = options.folder or Path(tempfile.gettempdir())
    try:
        python = prepare(cache_folder())
        rows = [row for sessions in plan.sessions for row in compare(python, sessions, plan, folder)]
    except subprocess.SubprocessError as error:
        said = getattr(error, "stderr", None) or ""
        print(f"the peer cannot be measured: {error}\n{said[-2000:]}", file=sys.stderr)
        return 1
    machine = describe(folder)
    if options.json:
        print(json.dumps({"machine": machine, "peer": f"{PEER} {VERSION}", "figures": rows}, indent=2))
    else:
        print("\n".join([*(f"{name}: {value}" for name, value in machine.items()), "", *table(rows)]))
    return 0


def _parser() -> argparse.ArgumentParser:
    plan = Plan()
    parser = argparse.ArgumentParser(
        prog="python -m bench.peer",
        description=f"Turns a second in our session store and in that of {PEER} {VERSION}, in the same run.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sessions", type=int, nargs="+", metavar="N", default=plan.sessions)
    parser.add_argument("--callers", type=int, nargs="+", metavar="N", default=plan.callers)
    parser.add_argument("--seconds", type=float, default=plan.seconds, help="how long each is measured")
    parser.add_argument("--folder", type=Path, help="where the databases are made: the disk that is measured")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def cache_folder() -> Path:
    """The user's folder for what can be made again."""
    named = os.environ.get("XDG_CACHE_HOME")
    return (Path(named) if named else Path.home() / ".cache") / "hermes-gateway"


def prepare(cache: Path) -> Path:
    """The interpreter of an environment that has the peer; made where it is missing.

    Raises `subprocess.SubprocessError`.
    """
    place = cache / f"{PEER}-{VERSION}"
    python, stamp = place / "bin" / "python", place / ".complete"
    if not stamp.exists():
        print(f"installing {PEER} {VERSION} into {place} …", file=sys.stderr, flush=True)
        venv.create(place, clear=True, with_pip=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
        subprocess.run([*command, f"{PEER}=={VERSION}"], check=True, capture_output=True, text=True)
        stamp.touch()
    return python


def compare(python: Path, sessions: int, plan: Plan, folder: Path) -> list[dict[str, Any]]:
    """Both, one after the other, at this number of sessions. Raises `subprocess.SubprocessError`."""
    print(f"{sessions:,} sessions …", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="hermes-bench-") as made:
        theirs = peer_rates(python, sessions, plan, Path(made) / "peer")
        fixture = make_fixture(Path(made) / "ours.db", sessions)
        ours = {callers: asyncio.run(_rate(fixture, callers, plan.seconds)) for callers in plan.callers}
    return [
        {
            "sessions": sessions,
            "callers": callers,
            "peer_per_second": round(theirs[callers], 2),
            "ours_per_second": round(ours[callers]),
            "ratio": round(ours[callers] / theirs[callers]),
        }
        for callers in plan.callers
    ]


def peer_rates(python: Path, sessions: int, plan: Plan, home: Path) -> dict[int, float]:
    """Turns a second of the peer, by callers. Raises `subprocess.SubprocessError`."""
    home.mkdir()
    asked = json.dumps({"sessions": sessions, "callers": list(plan.callers), "seconds": plan.seconds})
    done = subprocess.run(
        [python, "-I", WORKER, asked],
        cwd=home,
        env={**os.environ, "HERMES_HOME": str(home), "HOME": str(home)},
        check=True,
        capture_output=True,
        text=True,
        timeout=FILL_SECONDS + 3 * plan.seconds * len(plan.callers),
    )
    return {int(callers): rate for callers, rate in json.loads(done.stdout.splitlines()[-1]).items()}


async def _rate(fixture: Fixture, callers: int, seconds: float) -> float:
    """Turns a second of ours, by the same calls; every one of them is on disk when it returns."""
    hot = [fixture.sources[number] for number in sorted(set(fixture.picks(5_000, 1)))]
    done = 0
    async with Database.open(fixture.path) as database:
        store, deadline = SessionStore(database, CONFIG), perf_counter() + seconds

        async def work(first: int) -> None:
            nonlocal done
            while True:
                for source in hot[first::callers]:
                    entry = await store.get_or_create_session(source)
                    for message in MESSAGES:
                        await store.append_to_transcript(entry.session_id, message)
                    await store.update_session(entry.session_id, last_prompt_tokens=USAGE.last_prompt_tokens)
                    done += 1
                    if perf_counter() > deadline:
                        return

        started = perf_counter()
        await asyncio.gather(*(work(first) for first in range(callers)))
        return done / (perf_counter() - started)


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The rows as Markdown."""
    lines = [f"| sessions | callers | {PEER} {VERSION} | ours | ratio |", "|---|---|---|---|---|"]
    for row in rows:
        cells = (f"{row['sessions']:,}", row["callers"], f"{row['peer_per_second']:,}", f"{row['ours_per_second']:,}")
        lines.append(f"| {' | '.join(str(cell) for cell in cells)} | {row['ratio']:,}x |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
