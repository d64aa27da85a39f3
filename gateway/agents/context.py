"""What of a conversation fits a model's context: estimates in tokens, and where a history may be cut."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from gateway.ports import ClientTool, Message, Tool
from gateway.session.text import flatten_text

START_TOKENS_PER_BYTE: Final = 1 / 3
"""Before a server has reported anything: English takes about a quarter of a token a byte, most else less
than a third."""

LEAST_TOKENS_PER_BYTE: Final = 1 / 8
MOST_TOKENS_PER_BYTE: Final = 1.5
"""Bounds for what is learned: a server that counts strangely must not make estimates absurd."""

SAFETY: Final = 1.1
"""Estimates are this much too high on purpose: a refused prompt costs more than one shortened early."""

LEARN_FROM_BYTES: Final = 400
"""Smaller prompts say more about a server's chat template than about its tokens."""

IMAGE_BYTES: Final = 4_500
"""What an image counts like, in bytes of text: about the 1,600 tokens that a large one takes of Anthropic's models
(https://docs.anthropic.com/en/docs/build-with-claude/vision), more than of most."""

ROW_BYTES: Final = 24
"""What a chat template puts around one message, in bytes of text."""


class TokenEstimator:
    """Estimates how many tokens a text takes, from its UTF-8 bytes; learns from what servers report."""

    def __init__(self) -> None:
        self._tokens_per_byte = START_TOKENS_PER_BYTE

    def tokens(self, size: int) -> int:
        """The estimate for `size` bytes of prompt, on the high side."""
        return math.ceil(size * self._tokens_per_byte * SAFETY)

    def learn(self, size: int, tokens: int) -> None:
        """Take in that a prompt of `size` bytes took `tokens`: more at once, less by and by."""
        if size < LEARN_FROM_BYTES or tokens <= 0:
            return
        seen = min(max(tokens / size, LEAST_TOKENS_PER_BYTE), MOST_TOKENS_PER_BYTE)
        known = self._tokens_per_byte
        self._tokens_per_byte = seen if seen > known else (known + seen) / 2


def text_size(text: str) -> int:
    """The bytes of a text; lone surrogates count like the character that replaces them."""
    return len(text.encode("utf-8", "replace"))


def row_size(row: Message) -> int:
    """The bytes that a message of a transcript takes in a prompt."""
    content = row.get("content")
    size = ROW_BYTES + text_size(flatten_text(content))
    if isinstance(content, list | tuple):
        size += IMAGE_BYTES * sum(1 for part in content if isinstance(part, Mapping) and part.get("type") == "image")
    for call in row.get("tool_calls") or ():
        function = call.get("function") if isinstance(call, Mapping) else None
        if isinstance(function, Mapping):
            size += ROW_BYTES + text_size(f"{function.get('name')}{function.get('arguments')}")
    return size


def tools_size(tools: Iterable[Tool | ClientTool]) -> int:
    """The bytes that the descriptions of tools take in a prompt."""
    described: list[Any] = [[tool.name, tool.description, dict(tool.parameters)] for tool in tools]
    return text_size(json.dumps(described, default=str)) if described else 0


def turn_starts(rows: Sequence[Message]) -> tuple[int, ...]:
    """Where a history may be cut: at each message of a person that follows something else.

    Calls and their results stand between two such messages, so no cut parts them.
    """
    if not rows:
        return ()
    later = (
        index
        for index, (before, row) in enumerate(pairwise(rows), start=1)
        if row.get("role") == "user" and before.get("role") != "user"
    )
    return (0, *later)


def cut_to_fit(sizes: Sequence[int], starts: Sequence[int], cut: int, limit: int) -> int:
    """The first place from `cut` on where the rest takes at most `limit` bytes; the end if there is none."""
    rest = sum(sizes[cut:])
    position = cut
    for start in (*starts, len(sizes)):
        if start < cut:
            continue
        rest -= sum(sizes[position:start])
        position = start
        if rest <= limit:
            return start
    return len(sizes)


def cut_in_half(sizes: Sequence[int], starts: Sequence[int], cut: int) -> int:
    """The first place after `cut` from which at most half of what is there now is left."""
    later = [start for start in starts if start > cut]
    return cut_to_fit(sizes, later, cut + 1, sum(sizes[cut:]) // 2) if later else len(sizes)


def spoken(rows: Iterable[Message]) -> int:
    """How many of these messages a person saw or wrote: not tools' results, nor steps without text."""
    return sum(
        1 for row in rows if row.get("role") in ("user", "assistant") and flatten_text(row.get("content")).strip()
    )


def shorten(text: str, limit: int) -> str:
    """A text of about `limit` characters: its beginning and its end, and how much is left out between."""
    if len(text) <= limit:
        return text
    kept = max(limit // 2, 1)
    return f"{text[:kept]}\n[… {len(text) - 2 * kept} characters left out …]\n{text[-kept:]}"
