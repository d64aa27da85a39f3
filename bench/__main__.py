"""`python -m bench`: runs the benchmarks and prints tables, or JSON."""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

from bench import acks, conversations, limits, path, store, streams, wire
from bench.machine import describe

Figures: TypeAlias = Sequence[Mapping[str, Any]]
P = TypeVar("P", store.Plan, path.Plan, limits.Plan, wire.Plan, acks.Plan)

SUITES: Final = ("store", "path", "limits", "wire", "acks", "streams", "conversations")
OPTIONS: Final = ("sessions", "in_flight", "rounds", "turns")

STORE_HEADER: Final = (
    "what",
    "sessions",
    "in flight",
    "per second",
    "of raw, merged as here",
    "of raw, one a step",
    "longest stall",
)
PATH_HEADER: Final = (
    "sessions",
    "in flight",
    "messages a second",
    "CPU a message",
    "calls a message",
    "accept to agent, p50 / p99",
    "first text to platform, p50 / p99",
    "stall p99.9",
    "idle loop p99.9",
)
LIMITS_HEADER: Final = ("what", "measured", "limit", "kept")
WIRE_HEADER: Final = ("what", "messages", "p50", "p99")
ACKS_HEADER: Final = ("what", "events", "p50", "p99", "longest", f"after {acks.DEADLINE_SECONDS:g} s")
STREAMS_HEADER: Final = (
    "what",
    "clients",
    "failed",
    "first byte, p50 / p99",
    "first text, p50 / p99",
    "limit",
    "memory after it",
    "load",
    "kept",
)
CONVERSATIONS_HEADER: Final = ("what", "whose", "p50", "p99", "limit", "kept")
EPILOG: Final = """examples:
  python -m bench                       everything; a quarter of an hour
  python -m bench --quick               a look; a few seconds
  python -m bench path --sessions 0 1000 --rounds 1
  python -m bench store --sessions 1000 --rounds 9 --json
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for, and show what was found."""
    options = _parser().parse_args(arguments)
    folder = options.folder or Path(tempfile.gettempdir())
    runs: dict[str, Callable[[], Figures]] = {
        "store": lambda: store.run(_planned(options, store.Plan(), store.QUICK), _progress, folder),
        "path": lambda: path.run(_planned(options, path.Plan(), path.QUICK), _progress, folder),
        "limits": lambda: limits.run(limits.QUICK if options.quick else limits.Plan(), _progress, folder),
        "wire": lambda: wire.run(_planned(options, wire.Plan(), wire.QUICK), _progress, folder),
        "conversations": lambda: conversations.run(
            conversations.QUICK if options.quick else conversations.Plan(), _progress, folder
        ),
        "acks": lambda: acks.run(_planned(options, acks.Plan(), acks.QUICK), _progress, folder),
        "streams": lambda: streams.run(streams.QUICK if options.quick else streams.Plan(), _progress, folder),
    }
    figures = {suite: runs[suite]() for suite in options.suite or SUITES}
    machine = describe(folder)
    if options.json:
        print(json.dumps({"machine": machine, **figures}, indent=2))
    else:
        print("\n".join(_report(machine, figures)))
    return 0


def _planned(options: argparse.Namespace, plan: P, quick: P) -> P:
    """The plan, with what was asked for instead of its own."""
    known = {field.name for field in fields(plan)}
    asked = {
        "messages" if name == "turns" and "messages" in known else name: value
        for name in OPTIONS
        if (value := getattr(options, name)) is not None
    }
    return replace(quick if options.quick else plan, **asked)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="What a turn costs in the session store, as a share of raw SQLite in the same run; what a message"
        " costs on its whole path; and single operations against their limits.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "suite", nargs="*", metavar="SUITE", type=_suite, help=f"what is measured: {', '.join(SUITES)}; all by default"
    )
    parser.add_argument("--quick", action="store_true", help="a small run: few sessions, few and short rounds")
    parser.add_argument("--sessions", type=int, nargs="+", metavar="N", help="how many sessions there are already")
    parser.add_argument("--in-flight", type=int, nargs="+", metavar="N", help="how many callers there are at once")
    parser.add_argument("--rounds", type=int, metavar="N", help="how often everything is measured")
    parser.add_argument("--turns", type=int, metavar="N", help="turns, or messages, a round")
    parser.add_argument("--folder", type=Path, help="where the databases are made: the disk that is measured")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    return parser


def _suite(name: str) -> str:
    if name not in SUITES:
        raise argparse.ArgumentTypeError(f"there is no {name!r}; there are {', '.join(SUITES)}")
    return name


def _progress(text: str) -> None:
    print(f"{text} …", file=sys.stderr, flush=True)


def _report(machine: Mapping[str, str], figures: Mapping[str, Figures]) -> list[str]:
    shapes: dict[str, tuple[Sequence[str], Callable[[Mapping[str, Any]], Sequence[object]]]] = {
        "store": (STORE_HEADER, _store_cells),
        "path": (PATH_HEADER, _path_cells),
        "limits": (LIMITS_HEADER, _limit_cells),
        "wire": (WIRE_HEADER, _wire_cells),
        "acks": (ACKS_HEADER, _acks_cells),
        "streams": (STREAMS_HEADER, _streams_cells),
        "conversations": (CONVERSATIONS_HEADER, _conversations_cells),
    }
    lines = [f"{name}: {value}" for name, value in machine.items()]
    for suite, rows in figures.items():
        header, cells = shapes[suite]
        lines += ["", _row(header), _row(["---"] * len(header))]
        lines += [_row(cells(row)) for row in rows]
    return lines


def _row(cells: Sequence[object]) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def _store_cells(figure: Mapping[str, Any]) -> Sequence[object]:
    stall = figure["longest_stall_ms"]
    return (
        figure["name"],
        f"{figure['sessions']:,}",
        figure["in_flight"] or "–",
        f"{figure['per_second']:,}",
        f"{figure['share_of_raw']:.0%}",
        f"{figure['share_of_raw_apart']:.0%}",
        "–" if stall is None else f"{stall} ms",
    )


def _path_cells(figure: Mapping[str, Any]) -> Sequence[object]:
    return (
        f"{figure['sessions']:,}",
        figure["in_flight"],
        f"{figure['per_second']:,}",
        f"{figure['cpu_us']:,} µs",
        figure["adapter_calls"],
        f"{figure['to_agent_p50_ms']} / {figure['to_agent_p99_ms']} ms",
        f"{figure['to_platform_p50_ms']} / {figure['to_platform_p99_ms']} ms",
        f"{figure['stall_p999_ms']} ms",
        f"{figure['control_p999_ms']} ms",
    )


def _wire_cells(figure: Mapping[str, Any]) -> Sequence[object]:
    return figure["what"], figure["messages"], f"{figure['p50_ms']} ms", f"{figure['p99_ms']} ms"


def _acks_cells(figure: Mapping[str, Any]) -> Sequence[object]:
    times = (f"{figure[name]} ms" for name in ("p50_ms", "p99_ms", "longest_ms"))
    return figure["what"], f"{figure['events']:,}", *times, figure["late"]


def _streams_cells(figure: Mapping[str, Any]) -> Sequence[object]:
    return (
        figure["what"],
        figure["clients"],
        figure["failed"],
        f"{figure['first_p50_ms']} / {figure['first_p99_ms']} ms",
        f"{figure['text_p50_ms']} / {figure['text_p99_ms']} ms",
        "–" if figure["limit_ms"] is None else f"{figure['limit_ms']:g} ms",
        f"{figure['memory_mb']} MB",
        figure["load"],
        "yes" if figure["kept"] else "no",
    )


def _conversations_cells(figure: Mapping[str, Any]) -> Sequence[object]:
    times = (f"{figure[name]} ms" for name in ("p50_ms", "p99_ms", "limit_ms"))
    return figure["what"], figure["who"], *times, "yes" if figure["kept"] else "no"


def _limit_cells(figure: Mapping[str, Any]) -> Sequence[object]:
    limit, unit = figure["limit"], figure["unit"]
    bound = "–" if limit is None else f"{limit:g} {unit}"
    kept = {None: "–", True: "yes", False: "no"}[figure["kept"]]
    return figure["name"], f"{figure['value']:,} {unit}", bound, kept


if __name__ == "__main__":
    sys.exit(main())
