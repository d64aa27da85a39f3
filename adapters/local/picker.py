"""The list of sessions in the terminal: what is typed narrows it down, Enter goes on in the one that is chosen."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

from prompt_toolkit.application import get_app
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.filters import Condition, has_focus
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout import BufferControl, ConditionalContainer, HSplit, Window
from prompt_toolkit.layout.controls import FormattedTextControl
from prompt_toolkit.layout.processors import BeforeInput
from prompt_toolkit.utils import get_cwidth

from adapters.local.completion import printable
from gateway.ports import SessionLine

ROWS: Final = 8
"""Sessions that are shown at once."""

NAME: Final = "sessions"

HINT: Final = "Type to search, Enter goes on there, Esc closes."

PAUSE_SECONDS: Final = 0.1
"""How long typing has to rest before a search begins."""


class SessionPicker:
    """A list below the chat while it is open. `find` searches, `choose` is told the id that was picked."""

    def __init__(
        self, find: Callable[[str], Awaitable[Sequence[SessionLine] | None]], choose: Callable[[str], object]
    ) -> None:
        self._find = find
        self._choose = choose
        self._lines: Sequence[SessionLine] = ()
        self._place = 0
        self._note = ""
        self._searching: asyncio.Task[None] | None = None
        self.is_open = False
        self._buffer = Buffer(name=NAME, multiline=False, on_text_changed=lambda _buffer: self._search())
        control = BufferControl(self._buffer, input_processors=[BeforeInput("sessions: ", "class:prompt")])
        rows = Window(FormattedTextControl(self._rows), dont_extend_height=True)
        self.container = ConditionalContainer(
            HSplit([rows, Window(control, height=1)]), filter=Condition(lambda: self.is_open)
        )
        """Where it is shown."""

    def open(self) -> None:
        """Show the list, and type into it from now on."""
        self.is_open, self._place = True, 0
        self._buffer.reset()
        get_app().layout.focus(self._buffer)
        self._search()

    def close(self) -> None:
        """Hide it; the keyboard is the prompt's again."""
        self.is_open = False
        if self._searching is not None:
            self._searching.cancel()
            self._searching = None
        with suppress(ValueError):
            get_app().layout.focus_last()

    def bind(self, bindings: KeyBindings) -> None:
        """Add the keys that work while it is open."""
        here = has_focus(NAME)

        @bindings.add("up", filter=here)
        @bindings.add("s-tab", filter=here)
        def _(_event: KeyPressEvent) -> None:
            self._move(-1)

        @bindings.add("down", filter=here)
        @bindings.add("tab", filter=here)
        def _(_event: KeyPressEvent) -> None:
            self._move(1)

        @bindings.add("enter", filter=here)
        def _(_event: KeyPressEvent) -> None:
            self._pick()

        @bindings.add("escape", filter=here, eager=True)
        @bindings.add("c-c", filter=here)
        @bindings.add("c-d", filter=here)
        @bindings.add("f2", filter=here)
        def _(_event: KeyPressEvent) -> None:
            self.close()

    # --- what is in it -----------------------------------------------------------------------------------

    def _move(self, by: int) -> None:
        self._place = max(0, min(self._place + by, len(self._lines) - 1))

    def _pick(self) -> None:
        line = self._lines[self._place] if self._lines else None
        self.close()
        if line is not None and not line.here:
            self._choose(line.id)

    def _search(self) -> None:
        if self._searching is not None:
            self._searching.cancel()
        if self.is_open:
            self._searching = asyncio.ensure_future(self._look(self._buffer.text))

    async def _look(self, text: str) -> None:
        self._note = "searching …"
        if text:
            await asyncio.sleep(PAUSE_SECONDS)
        lines = await self._find(text)
        self._lines, self._place = lines or (), 0
        self._note = HINT if lines else "The gateway does not answer." if lines is None else "There is no such session."
        get_app().invalidate()

    def _rows(self) -> StyleAndTextTuples:
        columns = max(get_app().output.get_size().columns - 1, 20)
        first = max(0, min(self._place - ROWS // 2, len(self._lines) - ROWS))
        parts: StyleAndTextTuples = []
        for place, line in enumerate(self._lines[first : first + ROWS], start=first):
            chosen = place == self._place
            text = fitted(("> " if chosen else "  ") + described(line), columns)
            parts.append(("class:chosen" if chosen else "", text + "\n"))
        parts.append(("class:status", fitted(self._note, columns)))
        return parts


def described(line: SessionLine) -> str:
    """A session on one line."""
    here = "you are here, " if line.here else ""
    match = f": {line.match}" if line.match else ""
    return printable(f"{line.title} ({here}{line.about}){match}")


def fitted(text: str, columns: int) -> str:
    """A text that takes at most so many columns; wide characters take two."""
    width = 0
    kept: list[str] = []
    for letter in text:
        width += get_cwidth(letter)
        if width > columns:
            return "".join(kept[:-1]) + "…"
        kept.append(letter)
    return text
