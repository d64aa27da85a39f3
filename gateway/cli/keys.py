"""Owns `keys`: what programs show the HTTP interface to be let in."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.errors import CommandError
from gateway.cli.options import Json, examples, find_home
from gateway.cli.output import Column, age, print_json, print_table, say

if TYPE_CHECKING:
    from config import Home

app = typer.Typer(
    name="keys",
    help="Make the keys that programs need for the HTTP interface, see them, and revoke them.",
    no_args_is_help=True,
    rich_markup_mode=None,
    epilog=examples(
        "hermes-gateway keys create my-laptop",
        "hermes-gateway keys create monitoring --scope read",
        "hermes-gateway keys revoke my-laptop",
    ),
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The key's name: small letters, digits, - and _.")]


@app.command(
    epilog=examples(
        "hermes-gateway keys create my-laptop",
        "hermes-gateway keys create scripts --scope send --scope read",
        "hermes-gateway keys create operator --scope admin --json",
    )
)
def create(
    name: Name,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            "--scope",
            metavar="SCOPE",
            help="What it is good for: chat, read, send or admin; can be given several times.  [default: chat]",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Make a key. It is shown this once, and kept as a hash alone.

    chat asks for answers; read sees models and how the gateway stands; send has messages sent to people; admin is all
    of it. Conversations belong to the name: a new key of the same name goes on with them.
    """
    key = _ask("keys.create", {"name": name, "scopes": scope or []})["key"]
    if json:
        print_json(key)
        return
    say(f"The key {name}, for {', '.join(key['scopes'])}. Keep it now, it is not shown again:")
    typer.echo(key["token"])
    say("Programs send it as `Authorization: Bearer …`, or take it as their OpenAI key.")


@app.command("list", epilog=examples("hermes-gateway keys list", "hermes-gateway keys list --json"))
def show(json: Json = False) -> None:
    """Show the keys: what each is good for, and when it was last used."""
    keys = _ask("keys.list", {})["keys"]
    if json:
        print_json(keys)
        return
    if not keys:
        say("There are no keys. `hermes-gateway keys create NAME` makes one.")
        return
    now = datetime.now(UTC)
    columns = (Column("NAME", elastic=True), Column("FOR"), Column("MADE"), Column("LAST USED"), Column("STATE"))
    print_table(columns, [_row(key, now) for key in keys])


@app.command(epilog=examples("hermes-gateway keys revoke my-laptop"))
def revoke(name: Name, json: Json = False) -> None:
    """Let a key count no more.

    It holds at once: what its holder waits for is stopped. The name can be given to another key.
    """
    key = _ask("keys.revoke", {"name": name})["key"]
    if json:
        print_json(key)
    else:
        say(f"The key {name} is revoked.")


def _row(key: Mapping[str, Any], now: datetime) -> tuple[str, ...]:
    made = age(datetime.fromisoformat(key["created_at"]), now)
    used = age(datetime.fromisoformat(key["last_used_at"]), now) if key["last_used_at"] else "never"
    state = "revoked" if key["revoked_at"] else "in use"
    return (key["name"], ", ".join(key["scopes"]), made, used, state)


# --- through the gateway that runs, or as the one that holds the home -------------------------------------


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
    from config import GatewayConfig, LiveConfig
    from gateway.access import People
    from gateway.api.keys import Keys
    from gateway.clock import SystemClock
    from gateway.lock import hold
    from gateway.storage.database import Database

    home.ensure()
    with hold(home.lock, f"hermes-gateway {operation.replace('.', ' ')}"):
        async with Database.open(home.database) as database:
            keys = Keys(database, LiveConfig(GatewayConfig()), SystemClock(), People())
            return await keys.serve({**request, "op": operation})
