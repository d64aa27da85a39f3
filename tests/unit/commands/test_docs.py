"""docs/commands.md has each command as the table has it, in its family and in its order."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gateway.commands.access import AccessCommands
from gateway.commands.builtin import builtin_commands
from gateway.commands.memory import MemoryCommands
from gateway.commands.table import Command

DOCS = Path(__file__).parents[3] / "docs" / "commands.md"


def rows(commands: Sequence[Command]) -> list[str]:
    """The lines of the tables: one for each command. A bar within a cell is escaped."""
    return [
        "| {} | {} |{}|".format(
            f"`{command.usage}`{aliases(command)}".replace("|", r"\|"),
            command.help,
            " yes " if command.immediate else " ",
        )
        for command in commands
    ]


def aliases(command: Command) -> str:
    return "".join(f", `/{alias}`" for alias in command.aliases)


def sections(text: str) -> dict[str, list[str]]:
    """The rows of each section's table."""
    found: dict[str, list[str]] = {}
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        found[title] = [line for line in body.splitlines() if line.startswith("| `/")]
    return found


def test_the_documentation_has_the_table() -> None:
    unused: Any = None
    people = AccessCommands(unused, unused, unused, unused)
    table = builtin_commands(unused, (*MemoryCommands(unused).commands(), *people.commands()))
    documented = {title: lines for title, lines in sections(DOCS.read_text("utf-8")).items() if lines}
    families = dict.fromkeys(command.family for command in table.commands)
    assert documented == {
        family: rows([command for command in table.commands if command.family == family]) for family in families
    }
