"""Owns the options that several commands share, and the loading of what they name."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias, TypeVar

import typer

from gateway.cli.errors import CommandError, Invocation

if TYPE_CHECKING:
    from config import Home, Settings
    from gateway.inspection import Inspection

T = TypeVar("T")

ConfigFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Configuration file.  [default: gateway.yaml in the home folder]",
        show_default=False,
    ),
]

Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

Limit: TypeAlias = Annotated[
    int, typer.Option("--limit", min=0, metavar="N", help="Show at most this many; 0 shows all.")
]


def examples(*lines: str) -> str:
    """The end of a command's help: what to type."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def debug_of(context: typer.Context) -> bool:
    """Whether --debug was given."""
    invocation = context.find_object(Invocation)
    return invocation is not None and invocation.debug


def load(file: Path | None, *, agent: str | None = None) -> "Settings":
    """The configuration that holds, `agent` replacing the default agent. Raises `ConfigError`."""
    from config import load_settings

    return load_settings(file, overrides={"agent": agent})


def find_home() -> "Home":
    """The home folder that the environment names; nothing is created. Raises `CommandError`."""
    from config import Home

    try:
        return Home.locate()
    except RuntimeError as error:
        raise CommandError(
            f"there is no home folder ({error}); set HERMES_GATEWAY_HOME to a folder of yours"
        ) from error


def tell_of_spool() -> bool:
    """Say so where an outage keeps things out of the database, which is what a command shows; whether it does."""
    from gateway.cli.output import say
    from gateway.storage.spool import find_spools

    waits = bool(find_spools(find_home().sessions_dir))
    if waits:
        say("What came while the database was out of use is not in here yet; `hermes-gateway status` says more.")
    return waits


def inspect(ask: "Callable[[Inspection], Awaitable[T]]") -> T:
    """What a question to the store comes to. Raises what the question does, and `StorageError`."""
    from gateway.inspection import Inspection

    tell_of_spool()

    async def answer() -> T:
        async with Inspection.open(find_home().database) as inspection:
            return await ask(inspection)

    return asyncio.run(answer())


def prepared_home() -> "Home":
    """The home folder, created where it is missing. Raises `CommandError`."""
    home = find_home()
    try:
        return home.ensure()
    except OSError as error:
        raise barred(home, error) from error


def barred(home: "Home", error: OSError) -> CommandError:
    """What to tell a person whom the home folder does not let in."""
    advice = "set HERMES_GATEWAY_HOME to a folder of yours"
    return CommandError(f"the home folder {home.path} cannot be used ({error.strerror}); {advice}")
