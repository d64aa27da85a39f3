"""`python -m bench`: runs the benchmarks and prints a table, or JSON."""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import store
from bench.machine import describe

HEADER = "| what | sessions | in flight | per second | of raw, merged as here | of raw, one a step | longest stall |"
EPILOG = """examples:
  python -m bench                       everything; a few minutes
  python -m bench --quick               a look; a few seconds
  python -m bench --sessions 1000 --rounds 9 --json
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the store and show what was found."""
    options = _parser().parse_args(arguments)
    plan = store.QUICK if options.quick else store.Plan()
    changes = {
        name: value
        for name in ("sessions", "in_flight", "rounds", "turns")
        if (value := getattr(options, name)) is not None
    }
    folder = options.folder or Path(tempfile.gettempdir())
    figures = store.run(replace(plan, **changes), _progress, folder)
    machine = describe(folder)
    if options.json:
        print(json.dumps({"machine": machine, "figures": figures}, indent=2))
    else:
        print("\n".join(_report(machine, figures)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="What a turn costs in the session store, as a share of raw SQLite in the same run.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="a small run: 100 sessions, 3 short rounds")
    parser.add_argument("--sessions", type=int, nargs="+", metavar="N", help="how many sessions there are already")
    parser.add_argument("--in-flight", type=int, nargs="+", metavar="N", help="how many callers there are at once")
    parser.add_argument("--rounds", type=int, metavar="N", help="how often everything is measured")
    parser.add_argument("--turns", type=int, metavar="N", help="turns a round")
    parser.add_argument("--folder", type=Path, help="where the databases are made: the disk that is measured")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def _progress(text: str) -> None:
    print(f"{text} …", file=sys.stderr, flush=True)


def _report(machine: Mapping[str, str], figures: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [f"{name}: {value}" for name, value in machine.items()]
    lines += ["", HEADER, "|---" * HEADER.count(" | ") + "|---|"]
    for figure in figures:
        stall = figure["longest_stall_ms"]
        cells = (
            figure["name"],
            f"{figure['sessions']:,}",
            figure["in_flight"] or "–",
            f"{figure['per_second']:,}",
            f"{figure['share_of_raw']:.0%}",
            f"{figure['share_of_raw_apart']:.0%}",
            "–" if stall is None else f"{stall} ms",
        )
        lines.append(f"| {' | '.join(str(cell) for cell in cells)} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
