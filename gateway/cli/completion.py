"""Owns `hermes-gateway completion`: what a shell needs to complete the commands."""

from enum import StrEnum
from typing import Annotated, Final

import typer

from gateway.cli.errors import PROGRAM
from gateway.cli.options import examples

COMPLETION_EXAMPLES: Final = examples(
    'eval "$(hermes-gateway completion bash)"                               in ~/.bashrc',
    'eval "$(hermes-gateway completion zsh)"                                in ~/.zshrc, after compinit',
    "hermes-gateway completion fish > ~/.config/fish/completions/hermes-gateway.fish",
)

VARIABLE: Final = f"_{PROGRAM.replace('-', '_').upper()}_COMPLETE"
"""By this, the script asks the program what could stand there."""


class Shell(StrEnum):
    """Shells that the commands can be completed in."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(shell: Annotated[Shell, typer.Argument(show_default=False)]) -> None:
    """Print the script that makes a shell complete the commands and their options."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined]  # typer's own, not listed by it

    typer.echo(get_completion_script(prog_name=PROGRAM, complete_var=VARIABLE, shell=shell.value))
