"""Owns `hermes-gateway sessions …`: the stored conversations, also while no gateway runs."""

import asyncio
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import typer

from gateway.cli.errors import CommandError
from gateway.cli.options import Json, Limit, examples, find_home, inspect
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
    write_whole,
)

if TYPE_CHECKING:
    from config import Home
    from gateway.erasure import Erased
    from gateway.inspection import Inspection, SessionSummary, TranscriptMessage
    from gateway.search import SearchHit
    from gateway.session_changes import Change

SessionId: TypeAlias = Annotated[
    str, typer.Argument(metavar="ID", help="The session's id, or a beginning that only it has.")
]

SHORT_ID: Final = 20
"""Characters of an id that a narrow list shows at least: the second that the session began, and four more."""

WIDE: Final = 80
WIDER: Final = 110
"""Columns from which a list also shows where the session is, and whole ids."""

MATCH_STYLE: Final = "bold yellow"
MATCH_MARKS: Final = ("\x02", "\x03")
"""Put around what a search found, and taken away before it is printed."""

app = typer.Typer(
    name="sessions",
    help="List, show, search, export, rename, archive, fork and delete sessions.",
    epilog=examples("hermes-gateway sessions list", "hermes-gateway sessions show 20260131_0912"),
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command(
    "list",
    epilog=examples(
        "hermes-gateway sessions list",
        "hermes-gateway sessions list --limit 0 --archived --json",
    ),
)
def list_sessions(
    limit: Limit = 50,
    archived: Annotated[bool, typer.Option("--archived", help="Include archived sessions.")] = False,
    json: Json = False,
) -> None:
    """List sessions, the newest first.

    Pinned ones come first and are marked *; those that have ended are dim.
    """
    wanted = limit + 1 if limit else None
    found = inspect(lambda inspection: inspection.sessions(wanted, archived=archived))
    shown = found[:limit] if limit else found
    if json:
        print_json([summary.to_dict() for summary in shown])
        return
    if not shown:
        say("There are no sessions yet.")
        return
    _print_list(shown)
    if len(found) > len(shown):
        say(f"There are more; --limit {limit * 2} shows twice as many, --limit 0 all.")


def _print_list(sessions: "list[SessionSummary]") -> None:
    from gateway.clock import SystemClock

    now = SystemClock().now()
    columns = [Column(" "), Column("ID"), Column("ACTIVE"), Column("MSGS", justify="right")]
    if width() >= WIDE:
        columns.append(Column("PLACE", elastic=True))
    columns.append(Column("TITLE", elastic=True))
    short = 0 if width() >= WIDER else _distinct([summary.entry.session_id for summary in sessions])
    rows = []
    for summary in sessions:
        entry = summary.entry
        row = [
            "*" if summary.pinned else " ",
            entry.session_id[: short or None],
            age(entry.updated_at, now),
            str(entry.message_count),
        ]
        if width() >= WIDE:
            row.append(_place(summary))
        row.append(entry.title or "Untitled")
        rows.append(row)
    print_table(columns, rows, dim=[not summary.entry.is_live or summary.archived for summary in sessions])


def _place(summary: "SessionSummary") -> str:
    entry = summary.entry
    platform = str(entry.platform) if entry.platform else entry.unknown_platform or "?"
    return f"{platform} {entry.display_name or entry.chat_type}"


def _distinct(ids: list[str]) -> int:
    """How much of each id tells it from the others of a list."""
    length = SHORT_ID
    while length < max(map(len, ids)) and len({each[:length] for each in ids}) < len(ids):
        length += 1
    return length


@app.command(
    epilog=examples(
        "hermes-gateway sessions show 20260131_091203_5f0c",
        "hermes-gateway sessions show 20260131 --json",
    )
)
def show(
    session: SessionId,
    json: Json = False,
) -> None:
    """Show a session and what was said in it."""
    from gateway.cli.transcripts import facts

    summary, messages = inspect(lambda inspection: _load(inspection, session))
    if json:
        print_json({"session": summary.to_dict(), "messages": [message.to_dict() for message in messages]})
        return
    out = console()
    out.print(neutral(summary.entry.title or "Untitled"), style="bold", soft_wrap=True)
    for name, value in facts(summary):
        out.print(f"{name + ':':<13}{neutral(value)}", style="dim", soft_wrap=True)
    for message in messages:
        _print_message(message)


async def _load(inspection: "Inspection", prefix: str) -> "tuple[SessionSummary, list[TranscriptMessage]]":
    summary = await inspection.session(prefix)
    return summary, await inspection.transcript(summary.entry.session_id)


def _print_message(message: "TranscriptMessage") -> None:
    from gateway.cli.transcripts import body, speaker

    out = console()
    style = {"user": "bold cyan", "assistant": "bold green"}.get(str(message.message.get("role")), "bold")
    out.print()
    out.print(f"{neutral(speaker(message.message))}  {local_time(message.time)}", style=style, soft_wrap=True)
    if text := body(message.message):
        out.print(text, soft_wrap=True)


@app.command(
    epilog=examples(
        "hermes-gateway sessions search invoice",
        "hermes-gateway sessions search --limit 5 'meeting thursday'",
    )
)
def search(
    text: Annotated[list[str], typer.Argument(metavar="TEXT...", help="Words that all have to be in a message.")],
    limit: Annotated[int, typer.Option("--limit", min=1, metavar="N", help="Show at most this many messages.")] = 20,
    json: Json = False,
) -> None:
    """Find messages by their words.

    The newest come first. Case and accents do not matter, and the last word may be incomplete.
    """
    marks = ("", "") if json else MATCH_MARKS
    hits, unseen = inspect(lambda inspection: _search(inspection, " ".join(text), limit, marks))
    if unseen:
        say(f"{counted(unseen, 'message')} cannot be found yet: the gateway has to run for some seconds to index them.")
    if json:
        print_json(
            [
                {
                    "session_id": hit.session_id,
                    "session_key": hit.session_key,
                    "title": hit.title,
                    "role": hit.role,
                    "snippet": hit.snippet,
                    "time": hit.time.isoformat(),
                    "message_id": hit.message_id,
                }
                for hit in hits
            ]
        )
        return
    if not hits:
        say("Nothing was found.")
    out = console()
    for hit in hits:
        out.print(f"{hit.session_id}  {neutral(hit.title or 'Untitled')}", style="bold", soft_wrap=True)
        out.print(f"  {local_time(hit.time)}  {neutral(hit.role)}: ", style="dim", end="")
        out.print(_highlighted(hit.snippet), soft_wrap=True)


async def _search(
    inspection: "Inspection", text: str, limit: int, marks: tuple[str, str]
) -> "tuple[list[SearchHit], int]":
    return await inspection.search(text, limit, marks), await inspection.unindexed()


def _highlighted(snippet: str) -> object:
    """A snippet with what was found in a style of its own, without what could steer a terminal."""
    from rich.text import Text

    begin, end = MATCH_MARKS
    result = Text()
    for number, part in enumerate(snippet.split(begin)):
        found, _, rest = part.partition(end) if number else ("", "", part)
        result.append(neutral(found), style=MATCH_STYLE)
        result.append(neutral(rest))
    return result


@app.command(
    epilog=examples(
        "hermes-gateway sessions export 20260131_0912 > session.json",
        "hermes-gateway sessions export 20260131_0912 --output session.md",
        "hermes-gateway sessions export 20260131_0912 --format jsonl",
    )
)
def export(
    session: SessionId,
    form: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="FORMAT", help="json, jsonl or markdown.  [default: by FILE's name, else json]"
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write this file; without it, standard output."),
    ] = None,
) -> None:
    """Write a session to a file.

    With all that was said in it: as JSON, as JSONL (one message a line), or as Markdown.
    """
    from gateway.cli.transcripts import SUFFIXES, Format, render

    if form is not None and form not in list(Format):
        raise typer.BadParameter(f"{form!r} is none of json, jsonl, markdown", param_hint="--format")
    to_file = output is not None and str(output) != "-"
    suffix = output.suffix.lower() if output is not None and to_file else ""
    chosen = Format(form) if form is not None else SUFFIXES.get(suffix, Format.JSON)
    summary, messages = inspect(lambda inspection: _load(inspection, session))
    text = render(summary, messages, chosen)
    if output is None or not to_file:
        typer.echo(neutral_lines(text) if sys.stdout.isatty() else text, nl=sys.stdout.isatty())
        return
    if output.is_dir():
        raise CommandError(f"{output} is a folder; name a file in it, as in {output / 'session.json'}")
    try:
        write_whole(output, text)
    except OSError as error:
        raise CommandError(f"cannot write {output}: {error.strerror or os.strerror(error.errno or 0)}") from error
    say(f"{counted(len(messages), 'message')} written to {output}")


@app.command(
    epilog=examples(
        'hermes-gateway sessions rename 20260131_0912 "The trip to Prague"',
        'hermes-gateway sessions rename 20260131_0912 ""     take its name away',
    )
)
def rename(
    session: SessionId,
    title: Annotated[str, typer.Argument(metavar="TITLE", help="One line of at most 64 characters.")],
    json: Json = False,
) -> None:
    """Give a session a name."""
    from gateway.session_changes import Rename

    named = _change(Rename(session_id=_id_of(session), title=title))
    if json:
        print_json(named)
    else:
        say(f"Session {named['session_id']} is called {named['title'] or 'Untitled'!r}.")


@app.command(
    epilog=examples(
        "hermes-gateway sessions archive 20260131_0912",
        "hermes-gateway sessions archive 20260131_0912 --undo",
    )
)
def archive(
    session: SessionId,
    undo: Annotated[bool, typer.Option("--undo", help="Put it back into the lists.")] = False,
    json: Json = False,
) -> None:
    """Put a session away: it stays, and is found by a search, but lists leave it out.

    A conversation that is going on in it begins a new session with its next message.
    """
    from gateway.session_changes import Archive

    changed = _change(Archive(session_id=_id_of(session), on=not undo))
    if json:
        print_json(changed)
    else:
        say(f"Session {changed['session_id']} is {'back in the lists' if undo else 'put away'}.")


@app.command(
    epilog=examples(
        "hermes-gateway sessions fork 20260131_0912",
        'hermes-gateway sessions fork 20260131_0912 --first 4 --title "Another way"',
    )
)
def fork(
    session: SessionId,
    title: Annotated[
        str, typer.Option("--title", metavar="TITLE", help="Its name.  [default: that of the other, and (branch)]")
    ] = "",
    first: Annotated[
        int | None, typer.Option("--first", min=0, metavar="N", help="Copy the first so many messages alone.")
    ] = None,
    json: Json = False,
) -> None:
    """Begin a session with what was said in another one.

    Both go on by themselves. No chat is in the new one until its person writes /resume there.
    """
    from gateway.session_changes import Fork

    made = _change(Fork(session_id=_id_of(session), title=title, first=first))
    if json:
        print_json(made)
        return
    new_id, said = made["session_id"], counted(made["message_count"], "message")
    say(f"Session {new_id}, {made['title']!r}, begins with {said}. Its person goes on in it by /resume {new_id}")


def _id_of(session: str) -> str:
    return inspect(lambda inspection: inspection.session(session)).entry.session_id


def _change(change: "Change") -> Mapping[str, Any]:
    """Have the gateway that runs change a session; if none does, do it here, as the one that holds the home."""
    from gateway.session_changes import ChangeRefusedError
    from gateway.status import ask_to_change, reason_of

    home = find_home()
    answer = asyncio.run(ask_to_change(home.socket, change.model_dump()))
    if answer is None:
        try:
            return asyncio.run(_change_here(home, change)).to_dict()
        except ChangeRefusedError as error:
            raise CommandError(str(error)) from error
    if "session" not in answer:
        raise CommandError(reason_of(answer))
    changed: Mapping[str, Any] = answer["session"]
    return changed


async def _change_here(home: "Home", change: "Change") -> "SessionSummary":
    from gateway.clock import SystemClock
    from gateway.ids import Ids
    from gateway.lock import hold
    from gateway.session_changes import SessionChanges
    from gateway.storage.database import Database

    with hold(home.lock, f"hermes-gateway sessions {change.op}"):
        async with Database.open(home.database) as database:
            return await SessionChanges(database, SystemClock(), Ids()).carry_out(change)


@app.command(
    epilog=examples(
        "hermes-gateway sessions delete 20260131_0912",
        "hermes-gateway sessions delete 20260131_091203_5f0c --purge",
        "hermes-gateway sessions delete 20260131_091203_5f0c --yes --json",
    )
)
def delete(
    session: SessionId,
    purge: Annotated[
        bool, typer.Option("--purge", help="Leave no trace of it in any file of the home folder either.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also if it is pinned, or replies of it still wait to be delivered.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Delete a session for good, with all that was said in it.

    It goes from the store and from the search. With --purge, the database and the copies of it in the home folder
    are also written anew, so that nothing can be read back from them; new messages wait meanwhile. A session whose
    turn is running is never deleted.
    """
    from gateway.erasure import WHOLE_ID
    from gateway.inspection import SessionNotFoundError
    from gateway.storage.codec import clean_text

    home, session = find_home(), clean_text(session)
    try:
        summary = inspect(lambda inspection: inspection.session(session))
    except SessionNotFoundError:
        # A purge that was cut short may have to be finished after the session has gone.
        if not (purge and len(session) >= WHOLE_ID):
            raise
        session_id, what = session, f"what may be left of session {session}"
    else:
        session_id = summary.entry.session_id
        said = counted(summary.entry.message_count, "message")
        what = f"session {session_id}, {summary.entry.title or 'Untitled'!r}, with {said}"
    if not yes:
        _confirm(f"{'Purge' if purge else 'Delete'} {what}?")
    erased = _erase(home, session_id, purge=purge, force=force)
    if json:
        print_json(erased.to_dict())
        return
    for line in _account(home, erased):
        say(line)


def _confirm(question: str) -> None:
    """Ask a person. Raises `CommandError` where there is nobody to ask, and `typer.Abort` for a no."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise CommandError("this deletes for good, and there is no terminal to ask on; add --yes")
    if not typer.confirm(neutral(question), err=True):
        say("Nothing was deleted.")
        raise typer.Abort


def _erase(home: "Home", session_id: str, *, purge: bool, force: bool) -> "Erased":
    """Have the gateway that runs delete it; if none does, do it here, as the one that holds the home."""
    from gateway.erasure import Erased, EraseError
    from gateway.status import ask_to_delete, reason_of

    answer = asyncio.run(ask_to_delete(home.socket, session_id, purge=purge, force=force))
    if answer is not None:
        if "erased" not in answer:
            raise CommandError(reason_of(answer))
        return Erased.from_dict(answer["erased"])
    try:
        return asyncio.run(_erase_here(home, session_id, purge=purge, force=force))
    except EraseError as error:
        raise CommandError(str(error)) from error


async def _erase_here(home: "Home", session_id: str, *, purge: bool, force: bool) -> "Erased":
    from gateway.clock import SystemClock
    from gateway.erasure import Eraser
    from gateway.lock import hold
    from gateway.storage.database import Database

    with hold(home.lock, "hermes-gateway sessions delete"):
        async with Database.open(home.database) as database:
            return await Eraser(database, home, SystemClock()).erase(session_id, purge=purge, force=force)


def _account(home: "Home", erased: "Erased") -> Iterator[str]:
    """What was deleted, and what could not be reached, for a person."""
    if erased.known:
        yield f"Session {erased.session_id} is deleted, with {counted(erased.messages, 'message')}."
    else:
        yield f"Session {erased.session_id} was not in the store any more."
    if not erased.purged:
        yield "Traces of it stay in the database file and in copies of that; with --purge they would be gone too."
        return
    yield f"Nothing of it is left in {home.database}, which was written anew."
    for name in erased.rewritten:
        yield f"Written anew without it: {home.path / name}"
    for name in erased.removed:
        yield f"Removed: {home.path / name}"
    for name in erased.unread:
        yield f"Not looked into, remove it yourself if it may hold the session: {home.path / name}"
    yield "What lies outside of the home folder cannot be reached: copies and exports elsewhere, and the platforms."
