"""A delivery on its way: how far it has got, what it is to become, and what that needs next."""

from dataclasses import replace
from datetime import datetime
from enum import Enum
from typing import Any

from gateway.budget import ChatKey
from gateway.delivery import ShownPart
from gateway.ports import Adapter, Delivery
from gateway.shown import Showing
from gateway.values import value


class Next(Enum):
    """What a delivery needs next: one call of its adapter, or none."""

    SEARCH = "search"
    EDIT = "edit"
    SEND = "send"
    DELETE = "delete"
    NONE = "none"


@value
class Errand:
    """A delivery, as far as it has got, and what it is to become.

    `search`: the next part may have been shown already. `started`: it is noted already that it is being sent.
    `attempts` counts earlier ones.
    """

    delivery: Delivery
    adapter: Adapter
    showing: Showing
    done: tuple[ShownPart, ...]
    parts: tuple[Any, ...]
    created_at: datetime
    attempts: int
    search: bool
    started: bool

    @property
    def id(self) -> int:
        """The delivery's number."""
        return self.delivery.id

    @property
    def key(self) -> ChatKey:
        """The chat that it goes to."""
        target = self.delivery.target
        return (str(target.platform), target.account, target.chat_id)

    @property
    def next_part(self) -> int:
        """The number of the part that would be sent next."""
        return len(self.done)

    @property
    def stale(self) -> int | None:
        """The first message that does not show what it should, where that can be changed.

        An adapter may have to be told that the text is complete, and buttons come only then.
        """
        capabilities, there = self.adapter.capabilities, min(self.next_part, len(self.parts))
        if not capabilities.edit or not there:
            return None
        stale = self.showing.first_stale(self.parts, there)
        if stale is None and self.delivery.final and not self.showing.complete:
            untold = capabilities.told_when_complete or bool(self.delivery.buttons)
            return there - 1 if untold and there == len(self.parts) else None
        return stale

    @property
    def next(self) -> Next:
        """What is to be done next."""
        if self.search:
            return Next.SEARCH
        if self.stale is not None:
            return Next.EDIT
        if self.next_part < len(self.parts):
            return Next.SEND
        surplus = self.next_part > len(self.parts) and self.delivery.final
        return Next.DELETE if surplus and self.adapter.capabilities.delete else Next.NONE

    def of(self, part: int) -> Delivery:
        """The delivery for the adapter, of one part that the platform has."""
        shown = self.done[part]
        return self._with(part, shown.message_id, repeated=shown.repeated)

    def unsent(self, *, repeated: bool) -> Delivery:
        """The delivery for the adapter, of the part that is sent next."""
        return self._with(self.next_part, None, repeated=repeated)

    def note(self, part: int, content: object) -> None:
        """A message shows this now."""
        self.showing.note(part, content)
        self.showing.complete = self.delivery.final and part == len(self.parts) - 1

    def _with(self, part: int, message_id: str | None, *, repeated: bool) -> Delivery:
        last = part == len(self.parts) - 1 and self.delivery.final
        content = self.parts[part] if part < len(self.parts) else None
        buttons = self.delivery.buttons if last else ()
        return replace(
            self.delivery, content=content, part=part, buttons=buttons, message_id=message_id, repeated=repeated
        )


@value
class Shown:
    """What the platform has of a delivery, to be recorded. `complete`: nothing is left to show of this version."""

    done: tuple[ShownPart, ...]
    final: bool
    complete: bool
