"""Owns `hermes-gateway service …`: the gateway as a service of systemd, installed, shown and taken away."""

import getpass
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

from gateway.cli.errors import CommandError
from gateway.cli.options import ConfigFile, examples, find_home, prepared_home
from gateway.cli.output import say

SYSTEMCTL_SECONDS: Final = 60.0
"""How long systemctl may take for one thing; it waits for nobody but systemd."""

app = typer.Typer(
    name="service",
    help="Have the gateway run whenever this machine does, as a service of systemd.",
    epilog=examples(
        "hermes-gateway service install --dry-run     what would be done",
        "hermes-gateway service install               for you alone; with sudo for the machine",
        "hermes-gateway service print                 the unit, to put it where you want",
        "hermes-gateway service uninstall",
    ),
    no_args_is_help=True,
    rich_markup_mode=None,
)

Scope: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--user/--system",
        help="A service of your own, or of the machine.  [default: the machine's for root, else your own]",
        show_default=False,
    ),
]

Account: TypeAlias = Annotated[
    str | None,
    typer.Option("--run-as", metavar="NAME", help="Whom the machine's service runs as.  [default: who called sudo]"),
]


@app.command(epilog=examples("hermes-gateway service install", "sudo hermes-gateway service install --run-as hermes"))
def install(
    user: Scope = None,
    account: Account = None,
    config: ConfigFile = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = False,
) -> None:
    """Write the unit, and have systemd start the gateway now and with the machine.

    An older unit is replaced. The home folder that holds now is the one that the service uses.
    """
    from gateway.setup.unit import NAME

    system = _is_system(user)
    path = _place(system=system)
    text = _text(system=system, account=account, config=config)
    commands = [_systemctl(system, "daemon-reload"), _systemctl(system, "enable", "--now", NAME)]
    if dry_run:
        typer.echo(text, nl=False)
        say(f"\nThis would be written to {path}. Then:")
        for command in commands:
            say(f"  {' '.join(command)}")
        return
    if system and os.geteuid() != 0:
        raise CommandError("a service of the machine needs root: call it with sudo, or leave out --system")
    if shutil.which("systemctl") is None:
        raise CommandError(
            "there is no systemd here (systemctl is not found); `hermes-gateway service print` shows the unit, and any"
            " other manager of services can start `hermes-gateway run`"
        )
    if not system:
        prepared_home()
    replaced = path.exists() and path.read_text(encoding="utf-8") != text
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o644)
    typer.echo(str(path))
    for command in commands:
        _call(command)
    scope = "" if system else "--user "
    say(f"The gateway runs. How it is: hermes-gateway status, or systemctl {scope}status hermes-gateway")
    if replaced:
        say(f"It was there with another unit; to put this one in force: systemctl {scope}restart hermes-gateway")
    if not system:
        say(f"To have it run while you are not logged in, too: sudo loginctl enable-linger {getpass.getuser()}")


@app.command("print", epilog=examples("hermes-gateway service print", "hermes-gateway service print --system"))
def print_(user: Scope = None, account: Account = None, config: ConfigFile = None) -> None:
    """Show the unit, and write nothing."""
    typer.echo(_text(system=_is_system(user), account=account, config=config), nl=False)


@app.command(epilog=examples("hermes-gateway service uninstall", "sudo hermes-gateway service uninstall --system"))
def uninstall(user: Scope = None) -> None:
    """Stop the service and take its unit away. The home folder, and all that it holds, stays."""
    from gateway.setup.unit import NAME

    system = _is_system(user)
    path = _place(system=system)
    if not path.exists():
        raise CommandError(f"there is no service to take away: {path} does not exist")
    _call(_systemctl(system, "disable", "--now", NAME))
    path.unlink()
    _call(_systemctl(system, "daemon-reload"))
    typer.echo(f"taken away: {path}")


def _is_system(user: bool | None) -> bool:
    return os.geteuid() == 0 if user is None else not user


def _place(*, system: bool) -> Path:
    from gateway.setup.unit import place

    return place(system=system, config_home=os.environ.get("XDG_CONFIG_HOME"))


def _text(*, system: bool, account: str | None, config: Path | None) -> str:
    """The unit. Raises `CommandError` where the home or the file has a name that no unit can hold."""
    from gateway.setup.unit import Unit, program_words

    if account is not None and not system:
        raise CommandError("--run-as is for a service of the machine: add --system")
    home, file = find_home().path, config.absolute() if config is not None else None
    if any(not str(path).isprintable() for path in (home, file) if path is not None):
        raise CommandError("the path of the home folder or the file has characters that a unit cannot hold")
    who = (account or os.environ.get("SUDO_USER") or getpass.getuser()) if system else None
    return Unit(home, program_words(sys.argv[0]), who, file, _drain_seconds(file)).render()


def _drain_seconds(file: Path | None) -> float:
    """The setting, or its default while the configuration is wrong or not there."""
    from config import ConfigError, GatewayConfig, load_settings

    try:
        return load_settings(file).config.drain_seconds
    except ConfigError:
        return GatewayConfig().drain_seconds


def _systemctl(system: bool, *words: str) -> list[str]:
    return ["systemctl", *(() if system else ("--user",)), *words]


def _call(command: list[str]) -> None:
    """Have systemd do something. Raises `CommandError` with what it says."""
    try:
        done = subprocess.run(  # noqa: S603 - fixed words
            command, capture_output=True, text=True, timeout=SYSTEMCTL_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CommandError(f"`{' '.join(command)}` could not be done: {error}") from error
    if done.returncode != 0:
        said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise CommandError(f"`{' '.join(command)}` failed: {said}")
