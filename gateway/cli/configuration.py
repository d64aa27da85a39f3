"""Owns `hermes-gateway config …`: the configuration file, written, checked, explained, and put in force."""

import asyncio
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.errors import MISCONFIGURED, CommandError
from gateway.cli.options import ConfigFile, Json, examples, find_home, load, prepared_home
from gateway.cli.output import neutral, print_json, say, write_whole

if TYPE_CHECKING:
    from config import Problem, Settings

app = typer.Typer(
    name="config",
    help="Write, check and show the configuration, and put it in force.",
    epilog=examples("hermes-gateway config init", "hermes-gateway config check", "hermes-gateway config reload"),
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command(
    epilog=examples("hermes-gateway config init", "hermes-gateway config init --config /etc/hermes-gateway.yaml")
)
def init(
    config: ConfigFile = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a file that is there; it is kept as FILE.bak, .bak2 …")
    ] = False,
) -> None:
    """Write a file that explains every key.

    It changes nothing until you edit it.
    """
    from config.template import render_template
    from gateway.setup.draft import name_for_copy

    path = prepared_home().config_file if config is None else config
    if path.is_dir():
        raise CommandError(f"{path} is a folder; name a file in it")
    kept = name_for_copy(path)
    if os.path.lexists(path) and not force:
        raise CommandError(f"{path} is there already; --force replaces it and keeps it as {kept.name}")
    try:
        if path.is_file():
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
    _check_names(settings)
    if settings.path is None:
        say(f"There is no file {find_home().config_file}; the defaults hold.")
    typer.echo(f"{settings.path or 'the defaults'}: the configuration is right")


def _check_names(settings: "Settings") -> None:
    """Raise `ConfigError` for each thing that is named and that nobody knows: a provider of models, a platform without
    an adapter, a memory."""
    from config import ConfigError

    problems = [*_unknown_models(settings), *_unknown_platforms(settings), *_unknown_memory(settings)]
    if problems:
        raise ConfigError(problems)


def _unknown_models(settings: "Settings") -> "Iterator[Problem]":
    """Each model whose provider nobody knows; with an address of its own it needs none."""
    from config import ModelAgentConfig
    from gateway.agents.names import provider_advice

    for name, section in settings.config.agents.items():
        if not isinstance(section, ModelAgentConfig) or section.base_url is not None:
            continue
        provider = section.model.partition(":")[0]
        if not _is_known_provider(provider):
            message, advice = f"there is no provider {provider!r}", provider_advice(provider)
            yield _problem(settings, f"agents.{name}.model", message, advice)


def _unknown_platforms(settings: "Settings") -> "Iterator[Problem]":
    from config import ADAPTER_GROUP
    from config.platform import installed_names

    for name in settings.config.enabled_platforms:
        if name not in installed_names(ADAPTER_GROUP):
            advice = f"install the package that brings it, or write platforms.{name}.enabled: false"
            yield _problem(settings, f"platforms.{name}", "no adapter for it is installed", advice)


def _unknown_memory(settings: "Settings") -> "Iterator[Problem]":
    from gateway.remembering.providers import is_place, known_providers

    provider = settings.config.memory.provider
    if provider not in known_providers() and not is_place(provider):
        advice = f"choose one of {', '.join(known_providers())}, or install the package that brings it"
        yield _problem(settings, "memory.provider", f"there is no memory {provider!r}", advice)


def _problem(settings: "Settings", key: str, message: str, advice: str) -> "Problem":
    """A fault of a key, where that, or the first of what is below it, stands."""
    from config import Problem

    origins = (origin for each, origin in settings.origin.items() if f"{each}.".startswith(f"{key}."))
    file, line, source = _place(next((each for each in origins if each != "default"), "default"))
    return Problem(file, line, key, message, advice, source)


def _is_known_provider(provider: str) -> bool:
    """Whether there is such a provider; the library is loaded, and asked, only about a name that is not in our list."""
    from gateway.agents.names import PROVIDERS

    if provider in PROVIDERS:
        return True
    from gateway.agents.providers import is_provider

    return is_provider(provider)


def _place(origin: str) -> tuple[str | None, int | None, str | None]:
    """File, line and source of a value, from how `Settings.origin` names it."""
    file, _, line = origin.rpartition(":")
    return (file, int(line), None) if file and line.isdigit() else (None, None, origin)


@app.command(epilog=examples("hermes-gateway config show", "hermes-gateway config show --origin"))
def show(
    config: ConfigFile = None,
    origin: Annotated[bool, typer.Option("--origin", help="Say with each value where it comes from.")] = False,
) -> None:
    """Show the values that hold, secrets masked."""
    from config.show import render
    from gateway.logs import Redactor, secrets_of

    settings = load(config)
    # A secret may stand in another value too, such as a prompt.
    redact = Redactor(secrets_of(settings.config, {}))
    typer.echo(redact.values(render(settings, origin=origin)), nl=False)


@app.command(epilog=examples("hermes-gateway config path", '$EDITOR "$(hermes-gateway config path)"'))
def path(config: ConfigFile = None) -> None:
    """Show which file is read."""
    file = Path(config).absolute() if config is not None else find_home().config_file
    typer.echo(str(file))
    if not file.exists():
        say("There is no such file yet; `hermes-gateway config init` writes one.")


@app.command(epilog=examples("hermes-gateway config reload", "hermes-gateway config check && kill -HUP PID"))
def reload(json: Json = False) -> None:
    """Have the running gateway read its configuration again.

    It does so by itself a moment after the file has changed; this tells what came of it. Running turns are not
    disturbed. Exit code 78 if the file is wrong, and then nothing has changed; 1 if no gateway runs.
    """
    from gateway.status import ask_to_reload

    result = asyncio.run(ask_to_reload(find_home().socket))
    if result is None:
        raise CommandError("the gateway is not running; `hermes-gateway run` starts it with the new configuration")
    if json:
        print_json(dict(result))
    else:
        _print_reload(result)
    if not result["ok"]:
        raise typer.Exit(MISCONFIGURED)


def _print_reload(result: Mapping[str, Any]) -> None:
    for problem in result["problems"]:
        say(neutral(problem))
    if not result["ok"]:
        say("Nothing was changed.")
        return
    for key in result["applied"]:
        typer.echo(f"in force: {neutral(key)}")
    for key in result["needs_restart"]:
        typer.echo(f"needs a restart: {neutral(key)}")
    if not result["applied"] and not result["needs_restart"]:
        typer.echo("nothing has changed")
