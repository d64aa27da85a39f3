"""The text of transcript messages: content made flat, titles and previews."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

Content: TypeAlias = str | list[Any]
"""The content of a message: a text, or a list of parts."""

UNTITLED: Final = "Untitled"
TITLE_LENGTH: Final = 64
"""Characters of a title; a list shows it on one line."""
PREVIEW_LENGTH: Final = 40
"""Characters of a removed message that are shown back."""


def flatten_text(content: object) -> str:
    """The text of a message's content, whatever its form; never raises.

    Text is itself, nothing (null) is empty, of a list the parts of type "text" count, joined by one blank,
    and of a mapping its `text`. Anything else is what `str()` makes of it. Nothing is stripped.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, Mapping):
        text = content.get("text")
        return text if isinstance(text, str) else ""
    if isinstance(content, list | tuple):
        parts = (part.get("text") for part in content if isinstance(part, Mapping) and part.get("type") == "text")
        return " ".join(part for part in parts if isinstance(part, str))
    return str(content)


def joined_content(contents: Sequence[object]) -> Content:
    """Several messages' contents as one: texts one below the other, other parts in their order."""
    if not any(isinstance(content, list) for content in contents):
        texts = [flatten_text(content) for content in contents]
        return texts[0] if len(texts) == 1 else "\n\n".join(text for text in texts if text.strip())
    parts: list[Any] = []
    for content in contents:
        parts += content if isinstance(content, list) else [{"type": "text", "text": flatten_text(content)}]
    return parts


def title_from(messages: Sequence[Mapping[str, Any]], fallback: str | None = UNTITLED) -> str:
    """A session's title: the first message of the user that has text, on one line, cut to 64 characters."""
    for message in messages:
        if message.get("role") != "user":
            continue
        lines = (line.strip() for line in flatten_text(message.get("content")).splitlines())
        title = " ".join(line for line in lines if line)
        if title:
            return title[:TITLE_LENGTH]
    return fallback or UNTITLED


def preview_of(text: str) -> str:
    """The first 40 characters, with three dots after them only if there is more."""
    return text if len(text) <= PREVIEW_LENGTH else f"{text[:PREVIEW_LENGTH]}..."
