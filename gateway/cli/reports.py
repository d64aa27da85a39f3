"""Owns `status`, `unanswered` and `doctor`: how the gateway is, in words and as JSON."""

import asyncio
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import typer

from gateway.cli.errors import FAILED, CommandError
from gateway.cli.options import ConfigFile, Json, Limit, examples, find_home, tell_of_spool
from gateway.cli.output import Column, age, console, counted, neutral, print_json, print_table, say

LEVEL_STYLES: Final[Mapping[str, str]] = {"ok": "green", "warning": "yellow", "error": "bold red"}
STATE_STYLES: Final[Mapping[str, str]] = {"connected": "green", "degraded": "yellow", "failed": "bold red"}
WAITING: Final = ("pending", "running")
UNKNOWN: Final = "unknown while the database is out of use"


def status(json: Json = False) -> None:
    """Show whether the gateway runs, and how it is.

    Exit code 1 if it does not run; sessions and messages are counted all the same.
    """
    found = asyncio.run(_status())
    if json:
        print_json(found)
    else:
        _print_status(found)
    if not found["running"]:
        raise CommandError("the gateway is not running; `hermes-gateway run` starts it")


STATUS_EXAMPLES: Final = examples("hermes-gateway status", "hermes-gateway status --json")


async def _status() -> dict[str, Any]:
    """What the gateway that runs says, or what its database holds."""
    from gateway.inspection import Inspection
    from gateway.status import ask
    from gateway.version import program_version

    home = find_home()
    running = await ask(home.socket)
    if running is not None:
        return {"running": True, **running}
    async with Inspection.open(home.database) as inspection:
        counts = await inspection.counts()
    return {"version": program_version(), "running": False, "home": str(home.path), **counts}


def _print_status(found: Mapping[str, Any]) -> None:
    out = console()
    for name, value, style in _status_lines(found):
        out.print(f"{name:<13}", end="", style="bold")
        out.print(neutral(value), style=style, soft_wrap=True)


def _status_lines(found: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    if found["running"]:
        yield "Gateway", _process(found), "green"
    else:
        yield "Gateway", "not running", "yellow"
    if "agent" in found:
        yield "Agent", str(found["agent"]), ""
    yield from _config_line(found.get("config") or {})
    for number, (name, adapter) in enumerate(found.get("adapters", {}).items()):
        state = str(adapter["state"])
        yield "" if number else "Platforms", f"{name} {_connection(adapter)}", STATE_STYLES.get(state, "")
    if "http" in found:
        yield "HTTP", str(found["http"] or "off"), ""
    sessions = found.get("sessions", {})
    total, live = sessions.get("total", 0), sessions.get("live", 0)
    yield "Sessions", UNKNOWN if total is None else f"{total:,}, {live:,} of them live", ""
    if "turns" in found:
        turns = found["turns"]
        yield "Turns", f"{turns['running']} running, {turns['queued']} queued, {turns['put_off']} put off", ""
    yield "Replies", *_replies(found.get("outbox", {}))
    yield from _unanswered_line(found.get("inbound", {}))
    if set_aside := found.get("updates", {}).get("set_aside"):
        yield "Updates", f"{set_aside:,} set aside (see `hermes-gateway doctor`)", "yellow"
    if "storage" in found:
        yield "Storage", *_storage(found["storage"])
    if mirror := found.get("mirror"):
        yield "Mirror", *_mirror(mirror)
    if (memory := found.get("memory") or {}).get("provider", "none") != "none":
        yield "Memory", *_memory(memory)


def _connection(adapter: Mapping[str, Any]) -> str:
    """How a connection to a platform stands; where it is not connected: since when, why, and what comes next."""
    from gateway.clock import SystemClock

    now, state = SystemClock().now(), str(adapter["state"])
    if state == "connected":
        return state
    since = f", {age(datetime.fromisoformat(str(adapter['since'])), now)}" if adapter.get("since") else ""
    reason = f": {adapter['reason']}" if adapter.get("reason") else ""
    if adapter.get("next_try"):
        seconds = (datetime.fromisoformat(str(adapter["next_try"])) - now).total_seconds()
        return f"{state}{since}{reason}; tried again in {max(1, round(seconds))} s"
    return f"{state}{since}{reason}" + ("; not tried again until that is mended" if state == "failed" else "")


def _replies(outbox: Mapping[str, int | None]) -> tuple[str, str]:
    """Deliveries, in words, and how to show them."""
    pending, sending = outbox.get("pending", 0), outbox.get("sending", 0)
    if pending is None or sending is None:
        return UNKNOWN, ""
    dead, repeated = outbox.get("dead", 0), outbox.get("repeated", 0)
    rest = f"others {UNKNOWN}" if dead is None or repeated is None else f"{dead:,} given up, {repeated:,} repeated"
    return f"{pending + sending:,} undelivered, {rest}", "yellow" if dead else ""


def _storage(storage: Mapping[str, Any]) -> tuple[str, str]:
    """Where data goes, in words, and how to show it; an outage that is over is worth a look too."""
    from gateway.clock import SystemClock

    now = SystemClock().now()
    if storage.get("reason"):
        begun = f", {age(datetime.fromisoformat(str(storage['since'])), now)}" if storage.get("since") else ""
        words = {"spool": "degraded: the database is out of use, the spool is used", "none": "NOTHING CAN BE STORED"}
        return f"{words.get(storage['mode'], storage['mode'])}{begun}: {storage['reason']}", "bold red"
    if last := storage.get("last_outage"):
        ended = age(datetime.fromisoformat(str(last["ended"])), now)
        return f"{storage['mode']}; out of use until {ended} ({last['reason']}), {last['records']:,} changes merged", ""
    return str(storage["mode"]), ""


def _mirror(mirror: Mapping[str, Any]) -> tuple[str, str]:
    """How far behind the files are, and why, in words, and how to show it."""
    behind = mirror["behind"]
    parts = ["waits for the database" if behind is None else f"{behind:,} messages behind" if behind else "up to date"]
    if mirror["error"]:
        parts.append(str(mirror["error"]))
    if failed := mirror["failed"]:
        session_id, reason = next(iter(failed.items()))
        parts.append(f"{len(failed):,} files cannot be written, {session_id}.jsonl among them: {reason}")
    return "; ".join(parts), "yellow" if mirror["error"] or failed else ""


def _memory(memory: Mapping[str, Any]) -> tuple[str, str]:
    """What remembers, how much waits for it, and what is wrong with it, in words, and how to show it."""
    waiting = memory["waiting_turns"]
    words = f"{memory['provider']}, " + (f"{counted(waiting, 'turn')} to be remembered" if waiting else "up to date")
    return (f"{words}; {memory['reason']}", "yellow") if memory["reason"] else (words, "")


def _config_line(config: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The last reload, where there was one: what of the file is not in force is what an operator has to know."""
    from gateway.clock import SystemClock

    if not (last := config.get("reload")):
        return
    when = age(datetime.fromisoformat(str(last["at"])), SystemClock().now())
    if not last["ok"]:
        for number, problem in enumerate(last["problems"]):
            yield "" if number else "Config", f"not taken over, {when}: {problem}", "bold red"
    elif last["needs_restart"]:
        yield "Config", f"reloaded, {when}; needs a restart: {', '.join(last['needs_restart'])}", "yellow"
    else:
        yield "Config", f"reloaded, {when}", ""


def _process(found: Mapping[str, Any]) -> str:
    from gateway.clock import SystemClock

    started = datetime.fromisoformat(str(found["started_at"])) if "started_at" in found else None
    since = f", started {age(started, SystemClock().now())}" if started else ""
    chat = ", for the time of a chat" if found.get("mode") == "chat" else ""
    return f"running, version {found.get('version')}, pid {found.get('pid')}{since}{chat}"


def _unanswered_line(inbound: Mapping[str, int | None]) -> Iterator[tuple[str, str, str]]:
    counted = {state: number for state, number in inbound.items() if number is not None}
    waiting = sum(counted.get(state, 0) for state in WAITING)
    ended = {state: number for state, number in counted.items() if state not in WAITING and number}
    hidden = [f"others {UNKNOWN}"] if len(counted) < len(inbound) else []
    if hidden and not counted:
        yield "Unanswered", UNKNOWN, ""
        return
    parts = [f"{waiting:,} waiting", *(f"{number:,} {state}" for state, number in ended.items()), *hidden]
    hint = " (see `hermes-gateway unanswered`)" if waiting or ended else ""
    yield "Unanswered", ", ".join(parts) + hint, "yellow" if ended else ""


def unanswered(limit: Limit = 0, json: Json = False) -> None:
    """Show the messages that have no answer.

    They wait, or ended without one: refused, expired, failed or dead; each with the reason.
    """
    from gateway.clock import SystemClock
    from gateway.inspection import Inspection

    async def ask() -> list[Any]:
        async with Inspection.open(find_home().database) as inspection:
            return list(await inspection.unanswered(limit or None))

    waits, found = tell_of_spool(), asyncio.run(ask())
    if json:
        print_json([message.to_dict() for message in found])
        return
    if not found:
        say("Every message that is in the database has its answer." if waits else "Every message has its answer.")
        return
    now = SystemClock().now()
    columns = (
        Column("STATE"),
        Column("RECEIVED"),
        Column("FROM", elastic=True),
        Column("TEXT", elastic=True),
        Column("REASON", elastic=True),
    )
    rows = [
        (
            message.state,
            age(message.received_at, now),
            f"{message.platform} {message.sender or message.chat_id}",
            message.text,
            message.reason or "",
        )
        for message in found
    ]
    print_table(columns, rows, dim=[message.state == "refused" for message in found])


UNANSWERED_EXAMPLES: Final = examples("hermes-gateway unanswered", "hermes-gateway unanswered --limit 20 --json")


def doctor(config: ConfigFile = None, json: Json = False) -> None:
    """Check the installation; say what to do.

    Looks at configuration, credentials, agents, database, disk, clock, ports and permissions. Exit code 1 if
    there is an error.
    """
    from gateway.doctor import Level, examine

    findings = asyncio.run(examine(find_home(), config))
    errors = sum(finding.level is Level.ERROR for finding in findings)
    warnings = sum(finding.level is Level.WARNING for finding in findings)
    if json:
        print_json({"ok": not errors, "findings": [finding.to_dict() for finding in findings]})
    else:
        out = console()
        for finding in findings:
            out.print(f"{finding.level:<8}", style=LEVEL_STYLES[finding.level], end="")
            out.print(f"{neutral(finding.subject)}: {neutral(finding.what)}", soft_wrap=True)
            if finding.advice:
                out.print(f"        → {neutral(finding.advice)}", soft_wrap=True)
        out.print(f"{counted(errors, 'error')}, {counted(warnings, 'warning')}", style="bold")
    if errors:
        raise typer.Exit(FAILED)


DOCTOR_EXAMPLES: Final = examples("hermes-gateway doctor", "hermes-gateway doctor --json")
