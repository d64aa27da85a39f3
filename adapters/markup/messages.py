"""The messages of a text, whole or growing: what every platform with a limit does in the same way."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from adapters.markup.blocks import BlockRenderer
from adapters.markup.draft import Draft
from adapters.markup.parse import MarkdownParser
from adapters.markup.rendered import Rendered
from adapters.markup.split import AsFile, Limits, Parts, split

M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class Messages(Generic[M]):
    """What to show, in order. The first `settled` messages stay as they are however the text goes on."""

    messages: tuple[M, ...]
    settled: int = 0


class GrowingMessages(Generic[M]):
    """Settled messages are made once. `shown` makes messages of parts, and may leave out what shows nothing."""

    def __init__(self, draft: Draft, limits: Limits, shown: Callable[[Sequence[Rendered]], tuple[M, ...]]) -> None:
        self._draft = draft
        self._shown = shown
        self._max_parts = limits.max_parts
        self._limits = replace(limits, max_parts=None)
        self._forget()

    def _forget(self) -> None:
        self._begun = self._draft.begun_anew
        self._parts = 0
        self._settled: tuple[M, ...] = ()
        self._resume = 0

    def update(self, text: str, *, final: bool = False) -> Messages[M] | AsFile:
        """The messages for the whole text so far. It becomes a file only once it is final; until then, show no more
        messages than may be."""
        rendered = self._draft.update(text, complete=final)
        if self._draft.begun_anew != self._begun:
            self._forget()
        fits = self._resume == 0 and self._limits.holds(rendered)
        settled = 0 if fits else self._draft.settled_length()
        parts = split(rendered, self._limits, settled=settled, start=self._resume)
        assert isinstance(parts, Parts)
        if final and self._max_parts is not None and self._parts + len(parts.parts) > self._max_parts:
            return AsFile(self._max_parts)
        self._parts += parts.settled
        self._settled += self._shown(parts.parts[: parts.settled])
        self._resume = parts.resume
        return Messages((*self._settled, *self._shown(parts.parts[parts.settled :])), len(self._settled))


class Markup(Generic[M]):
    """Turns Markdown into messages. One thread at a time may use this and its drafts.

    `shown` makes messages of parts, and may leave out what shows nothing.
    """

    def __init__(
        self, renderer: BlockRenderer, limits: Limits, shown: Callable[[Sequence[Rendered]], tuple[M, ...]]
    ) -> None:
        self._parser = MarkdownParser()
        self._renderer = renderer
        self._limits = limits
        self._shown = shown

    def render(self, text: str) -> Rendered:
        """A complete text, not yet cut into messages."""
        return self._renderer.render(self._parser.parse(text).blocks)

    def messages(self, text: str) -> Messages[M] | AsFile:
        """A complete text. Without anything visible in it, there is no message."""
        parts = split(self.render(text), self._limits)
        return parts if isinstance(parts, AsFile) else Messages(self._shown(parts.parts))

    def draft(self) -> GrowingMessages[M]:
        """For one text that grows."""
        return GrowingMessages(Draft(self._parser, self._renderer), self._limits, self._shown)
