"""Owns `pairing` and `audit`: who is let in, who asks to be, and what was decided about people."""

import asyncio
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gateway.cli.errors import CommandError
from gateway.cli.options import Json, Limit, examples, find_home
from gateway.cli.output import Column, age, counted, local_time, neutral, print_json, print_table, say

if TYPE_CHECKING:
    from config import Home

app = typer.Typer(
    name="pairing",
    help="Let people in who were given a code, and see who was.",
    no_args_is_help=True,
    rich_markup_mode=None,
    epilog=examples(
        "hermes-gateway pairing list",
        "hermes-gateway pairing approve ABCD-EFGH",
        "hermes-gateway pairing revoke telegram:123456789",
    ),
)

Person = Annotated[str, typer.Argument(metavar="PLATFORM:ID", help="Who, as in telegram:123456789.")]


@app.command("list", epilog=examples("hermes-gateway pairing list", "hermes-gateway pairing list --json"))
def show(json: Json = False) -> None:
    """Show who asks to be let in, and who was."""
    listing = _ask("pairing.list", {})["listing"]
    if json:
        print_json(listing)
        return
    now = datetime.now(UTC)
    requests, people = listing["requests"], listing["people"]
    if requests:
        say("These were given a code, and wait for it to be approved:")
        titles = (Column("PERSON"), Column("NAME", elastic=True), Column("ASKED"), Column("CODE LASTS UNTIL"))
        print_table(titles, [_request_row(request, now) for request in requests])
    if people:
        say("These were let in:")
        columns = (Column("PERSON"), Column("ROLE"), Column("NAME", elastic=True), Column("SINCE"), Column("BY"))
        print_table(columns, [_person_row(person, now) for person in people])
    if not requests and not people:
        say("Nobody asks to be let in, and nobody was. Who is in a list of the configuration needs no code.")


@app.command(
    epilog=examples(
        "hermes-gateway pairing approve ABCD-EFGH",
        "hermes-gateway pairing approve abcdefgh --role guest",
        "hermes-gateway pairing approve telegram:123456789",
    )
)
def approve(
    code: Annotated[
        str, typer.Argument(metavar="CODE", help="The code that they were given, or PLATFORM:ID of who has one.")
    ],
    role: Annotated[str, typer.Option("--role", metavar="ROLE", help="As what: user, guest or admin.")] = "user",
    json: Json = False,
) -> None:
    """Let someone in who was given a code.

    They are told. A code lasts one hour; after five wrong ones in a row none counts for an hour.
    """
    outcome = _decide("pairing.approve", {"wanted": code, "role": role})
    _report(outcome, f"{_who(outcome)} is let in, as {outcome['role']}.", json=json)


@app.command(epilog=examples("hermes-gateway pairing refuse telegram:123456789"))
def refuse(person: Person, json: Json = False) -> None:
    """Take back the code of someone who asks to be let in. They are not told."""
    outcome = _decide("pairing.refuse", {"wanted": person})
    _report(outcome, f"{_who(outcome)} is not let in.", json=json)


@app.command(epilog=examples("hermes-gateway pairing revoke telegram:123456789"))
def revoke(person: Person, json: Json = False) -> None:
    """Let someone in no more who was.

    It holds at once: what is being answered is stopped, what waits is refused. They are told. Who stands in a list of
    the configuration is taken out there.
    """
    outcome = _decide("pairing.revoke", {"wanted": person})
    _report(outcome, f"{_who(outcome)} is not let in any more.", json=json)


@app.command("role", epilog=examples("hermes-gateway pairing role telegram:123456789 admin"))
def set_role(
    person: Person,
    role: Annotated[str, typer.Argument(metavar="ROLE", help="user, guest or admin.")],
    json: Json = False,
) -> None:
    """Give someone who was let in another role."""
    outcome = _decide("pairing.role", {"wanted": person, "role": role})
    _report(outcome, f"{_who(outcome)} is {outcome['role']} from now on.", json=json)


def _who(outcome: Mapping[str, Any]) -> str:
    return f"{outcome['name']} ({outcome['person']})" if outcome["name"] else str(outcome["person"])


def _report(outcome: Mapping[str, Any], words: str, *, json: bool) -> None:
    if json:
        print_json(outcome)
    else:
        say(words)


def _request_row(request: Mapping[str, Any], now: datetime) -> tuple[str, ...]:
    asked, until = (datetime.fromisoformat(request[name]) for name in ("requested_at", "expires_at"))
    return (request["person"], request["name"] or "", age(asked, now), local_time(until))


def _person_row(person: Mapping[str, Any], now: datetime) -> tuple[str, ...]:
    since = datetime.fromisoformat(person["let_in_at"])
    return (person["person"], person["role"], person["name"] or "", age(since, now), person["let_in_by"])


# --- through the gateway that runs, or as the one that holds the home -------------------------------------


def _decide(operation: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
    outcome: Mapping[str, Any] = _ask(operation, request)["outcome"]
    return outcome


def _ask(operation: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Have the gateway that runs carry it out; if none does, do it here. Raises `CommandError`."""
    from gateway.status import reason_of

    home = find_home()
    answer = asyncio.run(_answer(home, operation, request))
    if not answer.get("ok"):
        raise CommandError(reason_of(answer))
    return answer


async def _answer(home: "Home", operation: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
    from gateway.status import ask_about_people

    answer = await ask_about_people(home.socket, operation, request)
    return await _answer_here(home, operation, request) if answer is None else answer


async def _answer_here(home: "Home", operation: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
    from config import load_config
    from gateway.access import People
    from gateway.admissions import Admissions
    from gateway.clock import SystemClock
    from gateway.lock import hold
    from gateway.pairing import Pairing
    from gateway.secret import install_secret
    from gateway.storage.database import Database

    if not home.database.exists():
        raise CommandError("nobody has asked yet: there is no database; `hermes-gateway run` makes one")
    with hold(home.lock, f"hermes-gateway {operation.replace('.', ' ')}"):
        async with Database.open(home.database) as database:
            pairing = Pairing(load_config(), await install_secret(database))
            admissions = Admissions(database, pairing, People(), SystemClock())
            return await admissions.serve({**request, "op": operation})


# --- the audit ---------------------------------------------------------------------------------------------


def audit(limit: Limit = 50, json: Json = False) -> None:
    """Show what was decided about people: asked, let in, refused, revoked, promoted, limited; the newest first."""
    entries = asyncio.run(_audit(limit))
    if json:
        print_json(entries)
        return
    if not entries:
        say("Nothing was decided about anybody yet.")
        return
    columns = (Column("TIME"), Column("EVENT"), Column("PERSON"), Column("BY"), Column("DETAIL", elastic=True))
    print_table(columns, list(_audit_rows(entries)))
    say(f"{counted(len(entries), 'entry', 'entries')}.")


AUDIT_EXAMPLES: Final = examples("hermes-gateway audit", "hermes-gateway audit --limit 0 --json")


def _audit_rows(entries: list[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    for entry in entries:
        person = f"{entry['platform']}:{entry['person']}" if entry["person"] else ""
        details = ", ".join(str(part) for part in (entry["role"], entry["detail"]) if part)
        time = local_time(datetime.fromisoformat(entry["time"]))
        yield (time, entry["event"], person, entry["actor"], neutral(details))


async def _audit(limit: int) -> list[Mapping[str, Any]]:
    from gateway.audit import NotedEntry
    from gateway.inspection import NO_LIMIT, Inspection
    from gateway.storage import access_queries

    async with Inspection.open(find_home().database) as inspection:
        rows = await inspection.read(access_queries.AUDIT, (limit or NO_LIMIT,))
    return [NotedEntry.from_row(row).to_dict() for row in rows]
