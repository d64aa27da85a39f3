"""Owns `hermes-gateway config …`: the configuration file, written, checked and explained."""

import os
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.errors import CommandError
from gateway.cli.options import ConfigFile, examples, find_home, load, prepared_home
from gateway.cli.output import say, write_whole

app = typer.Typer(
    name="config",
    help="Write, check and show the configuration.",
    epilog=examples("hermes-gateway config init", "hermes-gateway config check"),
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command(
    epilog=examples("hermes-gateway config init", "hermes-gateway config init --config /etc/hermes-gateway.yaml")
)
def init(
    config: ConfigFile = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a file that is there; it is kept as FILE.bak.")
    ] = False,
) -> None:
    """Write a file that explains every key.

    It changes nothing until you edit it.
    """
    from config.template import render_template

    path = prepared_home().config_file if config is None else config
    if path.is_dir():
        raise CommandError(f"{path} is a folder; name a file in it")
    if os.path.lexists(path) and not force:
        raise CommandError(f"{path} is there already; --force replaces it and keeps it as {path.name}.bak")
    try:
        if path.is_file():
            kept = path.with_name(f"{path.name}.bak")
            write_whole(kept, path.read_bytes())
            say(f"The file that was there is now {kept}.")
        write_whole(path, render_template())
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}; check the folder and its permissions") from error
    typer.echo(str(path))
    say("Edit it, then look it over with: hermes-gateway config check")


@app.command(epilog=examples("hermes-gateway config check", "hermes-gateway config check --config my.yaml"))
def check(config: ConfigFile = None) -> None:
    """Say whether the configuration is right.

    Each fault is told with file, line and key, and what to write instead. Exit code 78 if there is one.
    """
    settings = load(config)
    if settings.path is None:
        say(f"There is no file {find_home().config_file}; the defaults hold.")
    typer.echo(f"{settings.path or 'the defaults'}: the configuration is right")


@app.command(epilog=examples("hermes-gateway config show", "hermes-gateway config show --origin"))
def show(
    config: ConfigFile = None,
    origin: Annotated[bool, typer.Option("--origin", help="Say with each value where it comes from.")] = False,
) -> None:
    """Show the values that hold, secrets masked."""
    from config.show import render

    typer.echo(render(load(config), origin=origin), nl=False)


@app.command(epilog=examples("hermes-gateway config path", '$EDITOR "$(hermes-gateway config path)"'))
def path(config: ConfigFile = None) -> None:
    """Show which file is read."""
    file = Path(config).absolute() if config is not None else find_home().config_file
    typer.echo(str(file))
    if not file.exists():
        say("There is no such file yet; `hermes-gateway config init` writes one.")
