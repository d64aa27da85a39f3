"""Completion in the terminal: the names of commands, and what their arguments can be, as the gateway knows them."""

import unicodedata
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from typing import Final

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from gateway.ports import Suggestion

HELP_WIDTH: Final = 60
"""Characters of a help line beside a word that can be completed."""

Suggest = Callable[[str], Awaitable[Sequence[Suggestion]]]


class CommandCompleter(Completer):
    """Completes what begins with a slash: it asks `suggest`, and where that has no answer knows names by itself."""

    def __init__(self, suggest: Suggest) -> None:
        self.commands: Sequence[tuple[str, str]] = ()
        self._suggest = suggest

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """The commands that begin with what stands before the cursor."""
        del complete_event
        typed = document.text_before_cursor
        if not typed.startswith("/") or any(character.isspace() for character in typed):
            return
        for name, text in self.commands:
            command = "/" + name.removeprefix("/")
            if command.startswith(typed):
                yield Completion(command, start_position=-len(typed), display_meta=text)

    async def get_completions_async(
        self, document: Document, complete_event: CompleteEvent
    ) -> AsyncGenerator[Completion, None]:
        """The same, as the gateway knows them: with those that are for its owner alone, and what an argument can be."""
        typed = document.text_before_cursor
        known = await self._suggest(typed) if typed.startswith("/") and "\n" not in document.text else ()
        for each in known:
            yield Completion(
                each.text,
                start_position=-each.replaces,
                display=printable(each.shown),
                display_meta=printable(each.help)[:HELP_WIDTH],
            )
        if not known:
            for completion in self.get_completions(document, complete_event):
                yield completion


def printable(text: str) -> str:
    """A text on one line, without characters that move the cursor or cannot be seen."""
    return "".join(" " if letter.isspace() else letter for letter in text if _is_shown(letter))


def _is_shown(letter: str) -> bool:
    return letter.isspace() or unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Co", "Cn")
