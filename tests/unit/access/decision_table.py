"""The table of all decisions: `python -m tests.unit.access.decision_table` writes it anew, to be read over."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Final, get_args

from config.access import Policy
from gateway.access import Facts, Membership, Place, Role, decide

FILE: Final = Path(__file__).with_name("decisions.txt")
COMMANDS: Final = (None, *Role)
"""What a message is: one for the agent, or a command for a role and those above it."""

HEAD: Final = """\
What becomes of a message, by who wrote it and where. Made by `python -m tests.unit.access.decision_table`.

Columns: a message for the agent, then commands for guests, users, admins and owners.
"""


def all_facts() -> Iterator[Facts]:
    """Every case there is."""
    for addressed, bot, known, place, policy, membership, needs in product(
        (True, False), (False, True), (True, False), Place, get_args(Policy), Membership, COMMANDS
    ):
        yield Facts(place, membership, policy, addressed, bot, known, needs)


def render() -> str:
    """The table as text."""
    blocks: dict[tuple[object, ...], dict[Membership, list[str]]] = {}
    for facts in all_facts():
        block = (facts.addressed, facts.bot, facts.known_by_id, facts.place, facts.policy)
        cells = blocks.setdefault(block, {}).setdefault(facts.membership, [])
        cells.append(decide(facts).verdict.value)
    return HEAD + "".join(f"\n{_title(block)}\n{_rows(rows)}" for block, rows in blocks.items())


def _title(block: tuple[object, ...]) -> str:
    addressed, bot, known, place, policy = block
    who = f"{'a bot' if bot else 'a person'}{'' if known else ' without an id'}"
    return f"{who}, in a {place}, {'addressed to us' if addressed else 'not addressed to us'}, policy {policy}"


def _rows(rows: dict[Membership, list[str]]) -> str:
    return "".join(
        f"  {membership:<13}" + "".join(f" {cell:<7}" for cell in cells).rstrip() + "\n"
        for membership, cells in rows.items()
    )


if __name__ == "__main__":
    FILE.write_text(render(), "utf-8")
