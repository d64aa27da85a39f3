"""Owns `hermes-gateway import`: the conversations of a Hermes home, taken in or only looked at."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gateway.cli.backups import settle
from gateway.cli.errors import CommandError
from gateway.cli.options import ConfigFile, Json, examples, find_home, load, prepared_home
from gateway.cli.output import (
    Column,
    age,
    console,
    counted,
    local_time,
    neutral,
    neutral_lines,
    print_json,
    print_table,
    say,
    width,
)

if TYPE_CHECKING:
    from config import GatewayConfig, Home
    from gateway.importing.home import HermesHome
    from gateway.importing.importer import Report
    from gateway.importing.intake import Store

SHOWN: Final = 20
"""Damaged pieces that are named for a person; a program gets all."""

NAMED: Final = 3
"""Sessions of one kind that are named for a person."""

LEFTOVER_SECONDS: Final = 86_400.0
"""How old a copy of another program's database is that no import can be reading any more."""

WIDE: Final = 80

IMPORT_EXAMPLES: Final = examples(
    "hermes-gateway import ~/.hermes --dry-run     what there is, and what would come in",
    "hermes-gateway import ~/.hermes               take it in; again later, for what is new",
    "hermes-gateway import ~/.hermes --list        look at its command-line sessions",
    "hermes-gateway import ~/.hermes --show ID     and at what was said in one",
)


def import_(
    path: Annotated[
        Path,
        typer.Argument(metavar="PATH", help="A Hermes home, as ~/.hermes; or its state.db, sessions.json, *.jsonl."),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would come in, and change nothing.")] = False,
    listing: Annotated[
        bool, typer.Option("--list", help="Only list the latest sessions of its command line and platforms.")
    ] = False,
    show: Annotated[str | None, typer.Option("--show", metavar="ID", help="Only show what was said in one.")] = None,
    json: Json = False,
    config: ConfigFile = None,
) -> None:
    """Take in the conversations of a Hermes home.

    They go on here where they stopped, in the same chats. What is in PATH is only read, never changed; keys and
    settings are not taken over. Run it as often as you like, also while the gateway runs: what is here already is
    not taken in twice, and an import that was cut short goes on where it stopped. What is damaged is named and left
    out.
    """
    from gateway.importing.home import HermesHome, NoHermesHomeError

    path = path.expanduser()
    if sum((dry_run, listing, show is not None)) > 1:
        raise typer.BadParameter("--dry-run, --list and --show exclude each other")
    try:
        source = HermesHome.at(path)
    except NoHermesHomeError as error:
        raise CommandError(str(error)) from error
    if listing or show is not None:
        _look(source, show, json=json)
        return
    settings = load(config)
    home = find_home() if dry_run else prepared_home()
    if home.path.resolve() in (source.path.resolve(), source.path.resolve().parent):
        raise CommandError(f"{path} is the home of this gateway itself; name the one to import from")
    if not dry_run:
        settle(home)
        _remove_leftovers(home)
    _Import(source, home, settings.config, dry_run=dry_run, json=json).run()


class _Import:
    """One import for one person."""

    def __init__(
        self, source: "HermesHome", home: "Home", config: "GatewayConfig", *, dry_run: bool, json: bool
    ) -> None:
        self._source = source
        self._home = home
        self._config = config
        self._dry_run = dry_run
        self._json = json

    def run(self) -> None:
        """Import, and tell what came of it. Raises `CommandError`, `StorageError`, `LockHeldError`, OSError."""
        from gateway.importing.home import HermesReader
        from gateway.importing.intake import ImportRefusedError

        scratch = self._home.path if self._home.path.is_dir() else None
        try:
            with HermesReader.open(self._source, self._config.zone, scratch) as reader:
                report = asyncio.run(self._import(reader))
                if self._json:
                    print_json(report.to_dict())
                else:
                    _tell(report, self._source.path)
        except ImportRefusedError as error:
            raise CommandError(f"the import stopped: {error}") from error

    async def _import(self, reader: Any) -> "Report":  # noqa: ANN401 - a HermesReader, which is not loaded for --help
        from gateway.importing.importer import Importer

        async with self._store() as store:
            with _progress("Looking at" if self._dry_run else "Importing") as progress:
                importer = Importer(reader, store, progress)
                return await importer.run(profiles=self._source.profiles, dry_run=self._dry_run)

    @asynccontextmanager
    async def _store(self) -> "AsyncIterator[Store]":
        """Nothing, to see; or the gateway that runs; or, as the one that holds the home, its database."""
        from gateway.importing.stores import DryStore, RemoteStore

        if self._dry_run:
            with DryStore.open(self._home.database, self._config) as dry:
                yield dry
            return
        async with RemoteStore.open(self._home.socket) as remote:
            if remote is not None:
                yield remote
                return
        from gateway.clock import SystemClock
        from gateway.importing.intake import Intake
        from gateway.lock import hold
        from gateway.storage.database import Database

        storage = self._config.storage
        with hold(self._home.lock, "hermes-gateway import"):
            async with Database.open(
                self._home.database, synchronous=storage.synchronous, reserve_bytes=storage.reserve_kb * 1024
            ) as database:
                yield Intake(database, self._config, SystemClock())


def _remove_leftovers(home: "Home") -> None:
    """Remove copies of other programs' databases that an import which was killed has left."""
    for folder in home.path.glob(".import-*"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > LEFTOVER_SECONDS:
                rmtree(folder)


# --- what came of it ---------------------------------------------------------------------------------------


def _tell(report: "Report", path: Path) -> None:
    if report.dry_run:
        typer.echo(f"{neutral(str(path))} would bring {counted(report.new, 'session')} with"
                   f" {counted(report.messages, 'message')}. Nothing was changed.")  # fmt: skip
    else:
        typer.echo(f"{counted(report.new, 'session')} imported from {neutral(str(path))}, with"
                   f" {counted(report.messages, 'message')}.")  # fmt: skip
    for line in _remarks(report):
        say(line)


def _remarks(report: "Report") -> Iterator[str]:
    """What a person should know besides."""
    if report.live:
        go_on = "would go on" if report.dry_run else "goes on" if report.live == 1 else "go on"
        yield f"{counted(report.live, 'conversation')} {go_on} with the next message."
    if report.longer:
        yield f"{counted(report.longer, 'session')} had become longer there since the last import."
    if report.same:
        yield f"{counted(report.same, 'session')} {_was(report.same)} here already, and the same."
    beside = "came in beside a conversation that goes on in the same place; /resume brings it back"
    yield from _named(report.occupied, beside)
    yield from _named(report.continued, "went on here, and there too, since it came in: nothing was added")
    yield from _named(report.busy, "is being answered at present: import again to add what was said there since")
    yield from _named(report.changed, "is not the same there any more as when it came in: nothing was added")
    yield from _named(report.own, "has the id of a session that began here: it was left out")
    if report.unroutable:
        platforms = ", ".join(f"{neutral(name)} {number:,}" for name, number in report.unroutable.items())
        yield f"No message can come here from where these were held; they can be read: {platforms}."
    if report.nobody:
        yield (
            f"Of {counted(report.nobody, 'session')} it is not known whose they are: only you see them, with"
            " `hermes-gateway sessions`."
        )
    if report.profiles:
        names = ", ".join(map(neutral, report.profiles))
        yield f"Profiles are homes of their own; import them by their paths, as in profiles/{names}."
    if report.problems:
        yield f"{counted(len(report.problems), 'piece')} could not be used:"
        yield from (f"  {problem}" for problem in report.problems[:SHOWN])
        if len(report.problems) > SHOWN:
            yield f"  and {len(report.problems) - SHOWN:,} more; --json names all."


def _named(ids: tuple[str, ...], what: str) -> Iterator[str]:
    """Sessions of which the same is to be said."""
    for each in ids[:NAMED]:
        yield f"Session {each} {what}."
    if len(ids) > NAMED:
        yield f"So it is with {len(ids) - NAMED:,} more; --json names all."


def _was(number: int) -> str:
    return "was" if number == 1 else "were"


@contextmanager
def _progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, where that is a terminal."""
    with ExitStack() as stack:
        update: Callable[[int, int], None] = _nothing
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
            bar = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
            stack.enter_context(bar)
            task = bar.add_task(title, total=None)

            def update(done: int, total: int) -> None:
                bar.update(task, completed=done, total=total)

        yield update


def _nothing(_done: int, _total: int) -> None:
    """Nobody looks."""


# --- looking ---------------------------------------------------------------------------------------------


def _look(source: "HermesHome", session_id: str | None, *, json: bool) -> None:
    from gateway.importing.cli_sessions import cli_messages, list_cli_sessions

    if source.state is None:
        raise CommandError(f"{source.path} has no state.db to look at")
    if session_id is None:
        sessions = list_cli_sessions(source.state)
        if json:
            print_json([each.to_dict() for each in sessions])
        elif not sessions:
            say("There are no sessions in it that could be listed.")
        else:
            _print_sessions(sessions)
        return
    messages = cli_messages(source.state, session_id)
    if json:
        print_json(messages)
        return
    if not messages:
        raise CommandError(f"nothing was said in a session {session_id!r}; --list shows which there are")
    _print_messages(messages)


def _print_sessions(sessions: list[Any]) -> None:
    from gateway.clock import SystemClock

    now = SystemClock().now()
    columns = [Column("ID"), Column("ACTIVE"), Column("MSGS", justify="right"), Column("TITLE", elastic=True)]
    if width() >= WIDE:
        columns.insert(3, Column("SOURCE"))
    rows = []
    for each in sessions:
        row = [each.session_id, _age(each.updated_at, now), str(each.message_count), each.title]
        if width() >= WIDE:
            row.insert(3, each.source_tag)
        rows.append(row)
    print_table(columns, rows)


def _print_messages(messages: list[dict[str, Any]]) -> None:
    out = console()
    for message in messages:
        role = str(message["role"] or "unknown")
        style = {"user": "bold cyan", "assistant": "bold green"}.get(role, "bold")
        at = _instant(message.get("timestamp"))
        out.print(f"{neutral(role.title())}  {local_time(at) if at is not None else ''}".rstrip(), style=style)
        if message["content"]:
            out.print(neutral_lines(str(message["content"])), soft_wrap=True)
        out.print()


def _age(seconds: float | None, now: datetime) -> str:
    at = _instant(seconds)
    return age(at, now) if at is not None else "?"


def _instant(seconds: object) -> datetime | None:
    if not isinstance(seconds, int | float):
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
