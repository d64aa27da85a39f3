"""What people see of deliveries that are not complete: kept in memory, so that nothing is shown to them twice."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.constants import COMPOSE_INLINE_CHARS, MAX_SHOWN
from gateway.ports import Adapter, Composed, Composer


@dataclass(slots=True, eq=False)
class Showing:
    """One delivery as people see it: what each of its messages holds, None where that is not known. `complete`: the
    platform was told that the last one is."""

    adapter: Adapter
    composer: Composer
    contents: list[Any] = field(default_factory=list)
    complete: bool = False
    late: bool = False
    """A preview's edit ended without an answer: the platform may carry it out later, over what it shows by then."""
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def compose(self, text: str, *, final: bool, shown: int) -> Composed:
        """The messages for the text; a long one is made into them on another thread."""
        if len(text) <= COMPOSE_INLINE_CHARS and not self.busy.locked():
            return self.composer.update(text, final=final, shown=shown)
        # Who gives up does not end the thread: the next one waits for it, since a composer serves one at a time.
        return await asyncio.shield(asyncio.create_task(self._compose(text, final=final, shown=shown)))

    async def _compose(self, text: str, *, final: bool, shown: int) -> Composed:
        async with self.busy:
            return await asyncio.to_thread(self.composer.update, text, final=final, shown=shown)

    def holds(self, part: int, content: object) -> bool:
        """Whether a message is known to show this."""
        return part < len(self.contents) and self.contents[part] is not None and bool(self.contents[part] == content)

    def note(self, part: int, content: object) -> None:
        """A message shows this now; None: nobody knows what it shows."""
        while len(self.contents) <= part:
            self.contents.append(None)
        self.contents[part] = content

    def first_stale(self, parts: Sequence[object], count: int) -> int | None:
        """The first of so many messages that does not show what it should."""
        return next((number for number in range(min(len(parts), count)) if not self.holds(number, parts[number])), None)


class Screen:
    """What is shown of each delivery, by its number; the oldest are forgotten."""

    def __init__(self) -> None:
        self._showings: OrderedDict[int, Showing] = OrderedDict()

    def of(self, delivery_id: int, adapter: Adapter) -> Showing:
        """What is shown of a delivery. Another adapter than before knows nothing of it."""
        showing = self._showings.get(delivery_id)
        if showing is None or showing.adapter is not adapter:
            showing = self._showings[delivery_id] = Showing(adapter, adapter.composer())
            if len(self._showings) > MAX_SHOWN:
                self._showings.popitem(last=False)
        return showing

    def forget(self, delivery_id: int) -> None:
        """The delivery is complete, or given up."""
        self._showings.pop(delivery_id, None)
