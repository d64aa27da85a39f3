"""Owns `hermes-gateway setup`: questions, a written file, and what to type next."""

import asyncio
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from gateway.cli.errors import CommandError
from gateway.cli.options import ConfigFile, examples, prepared_home
from gateway.cli.output import say

SETUP_EXAMPLES: Final = examples(
    "hermes-gateway setup                the agent, and where people write",
    "hermes-gateway setup telegram       a Telegram bot alone",
    "hermes-gateway setup agent          another model",
)

INTERRUPTED: Final = 130


class Part(StrEnum):
    """What can be set up alone."""

    TELEGRAM = "telegram"
    DISCORD = "discord"
    SLACK = "slack"
    AGENT = "agent"


def setup(
    parts: Annotated[
        list[Part] | None,
        typer.Argument(
            metavar="PART",
            help="telegram, discord, slack or agent; without any, all are gone through.",
            show_default=False,
        ),
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Set up the gateway: answer questions, and have the answers tested and written.

    Every token is tried out before it is written. The file explains every key and can be edited by hand ever after;
    one that is there already keeps its comments, and a copy of it is kept. Nothing is written before the end.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise CommandError(
            "setup asks questions, and so it needs a terminal. Without one: `hermes-gateway config init` writes a file"
            " that explains every key, and `hermes-gateway config check` looks it over; tokens may also come from the"
            " environment, such as TELEGRAM_BOT_TOKEN, DISCORD_BOT_TOKEN, SLACK_BOT_TOKEN with SLACK_APP_TOKEN"
        )
    from gateway.setup.ask import Terminal
    from gateway.setup.web import Http
    from gateway.setup.wizard import Wizard

    home = prepared_home()
    path = home.config_file if config is None else config.absolute()
    if path.is_dir() or not path.parent.is_dir():
        raise CommandError(f"{path} cannot be written: it is a folder, or in one that is not there")
    running = config is None and _runs(home.socket)
    try:
        wizard = Wizard(path, os.environ, Terminal(), Http(), running)
        done = wizard.run([part.value for part in parts or ()])
    except KeyboardInterrupt:
        say("\nNothing was written.")
        raise typer.Exit(INTERRUPTED) from None
    if done:
        _tell_next(path, config, running=running)
    else:
        say("Nothing was written.")


def _runs(socket: Path) -> bool:
    from gateway.status import StatusError, ask

    try:
        status = asyncio.run(ask(socket))
    except StatusError:
        return True
    return bool(status and status.get("running"))


def _tell_next(path: Path, named: Path | None, *, running: bool) -> None:
    if running:
        typer.echo("\nThe gateway that runs takes it up by itself; `hermes-gateway status` shows how it is.")
        return
    option = f" --config {path}" if named is not None else ""
    typer.echo("\nNow:")
    for command, what in (
        (f"run{option}", "starts it, here in the terminal; Ctrl-C ends it"),
        (f"service install{option}", "has it run whenever this machine does"),
        ("doctor", "looks it over"),
    ):
        typer.echo(f"  hermes-gateway {command:<22} {what}")
