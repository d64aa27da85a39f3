"""Owns the question whom the agent shall answer on a platform."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.setup.ask import Dialogue
from gateway.setup.draft import Draft

LATER = (
    "Then nobody is let in yet: whoever writes to the bot gets a code, and"
    " `hermes-gateway pairing approve CODE` lets them in."
)


@dataclass(frozen=True, slots=True)
class Known:
    """Somebody, or a chat, that was found. `also` tells what is known besides the name."""

    id: str
    name: str
    also: str = ""

    def __str__(self) -> str:
        return f"{self.name} (id {self.id}{f', {self.also}' if self.also else ''})"


def let_in(draft: Draft, talk: Dialogue, platform: str, found: Sequence[Known], how_to_find_out: str) -> None:
    """Ask who of those found is the owner and who else is let in; where nobody was found, for an id."""
    owner = _owner(talk, found)
    if owner is None:
        talk.tell(how_to_find_out)
        typed = talk.ask("Your id; Enter leaves it out")
        if not typed and not found:
            talk.tell(LATER)
        owner = typed
    if owner:
        draft.add(("owners",), f"{platform}:{owner}")
        name = next((one.name for one in found if one.id == owner), owner)
        talk.good(f"{name} may do everything.")
    for one in found:
        if one.id != owner and talk.yes(f"May {one} talk to the agent too?", default=False):
            draft.add(("platforms", platform, "allowed_users"), one.id)


def _owner(talk: Dialogue, found: Sequence[Known]) -> str | None:
    """The id of the person who sets it up; None if that is nobody of these."""
    if not found:
        return None
    if len(found) == 1:
        return found[0].id if talk.yes(f"Is that you: {found[0]}?") else None
    number = talk.choose("Which of them are you", [*map(str, found), "none of them"])
    return found[number].id if number < len(found) else None
