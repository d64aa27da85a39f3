"""Images in the messages of pydantic-ai: by their files until a request is made, with their bytes in the request."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeAlias

from pydantic_ai.messages import BinaryContent, ImageUrl, ModelMessage, ModelRequest, UserContent, UserPromptPart

from gateway.constants import MAX_IMAGE_BYTES

GONE: Final = "[The image is no longer kept.]"
NOT_TAKEN: Final = "[You cannot see the image: this model takes no images.]"
REFUSED: Final = "[You cannot see the image: the model's server refuses it.]"
ALL_REFUSED: Final = "[You cannot see the image: the model's server refuses an image of this conversation.]"

OLDER_REFUSED: Final = (
    "The model's server refused an earlier image of this conversation, so I answer with what the newest message shows."
)
NONE_SHOWN: Final = (
    "The model's server refuses images of this conversation, and it cannot be told which, so I answer without any."
)

REMEMBERED_REFUSALS: Final = 1000
"""Images of which it is remembered that they were refused; one that is forgotten costs a request or two."""

_SCHEME: Final = "file:"

Image: TypeAlias = ImageUrl
"""Stands for an image whose bytes are not read yet; its address is the file's path."""


def is_image(part: object) -> bool:
    """Whether a part of a message's content is an image."""
    return isinstance(part, Mapping) and part.get("type") == "image" and isinstance(part.get("path"), str)


def to_image(part: Mapping[str, Any]) -> Image:
    """The image that a part of a message's content names."""
    return ImageUrl(url=f"{_SCHEME}{part['path']}", media_type=str(part.get("media_type") or "image/png"))


def row_of(image: Image) -> Mapping[str, Any]:
    """The part of a message's content that an image was made of."""
    return {"type": "image", "path": image.url.removeprefix(_SCHEME), "media_type": image.media_type}


class Refusals:
    """The images that a model's server has refused in a session, as long as they are remembered."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def has(self, session_id: str, url: str) -> bool:
        """Whether an image was refused in a session."""
        return (session_id, url) in self._known

    def add(self, session_id: str, urls: Iterable[str]) -> None:
        """Remember these; the oldest are forgotten for them."""
        for url in urls:
            self._known[session_id, url] = None
        while len(self._known) > REMEMBERED_REFUSALS:
            self._known.popitem(last=False)


class Sight:
    """Which images of a conversation one turn shows, and what stands in the place of the others.

    A server refuses a whole request for one bad image, and does not say which one that is. So those of the newest
    message are left out first, then all but those, then all: three requests more at most, and two that keep images.
    """

    def __init__(self, refusals: Refusals, session_id: str, *, instead: str | None = None) -> None:
        self._refusals = refusals
        self._session_id = session_id
        self._instead = instead
        self._suspects: frozenset[str] = frozenset()
        self._notice: str | None = None

    def shown(self, messages: Sequence[ModelMessage]) -> list[tuple[str, ...]]:
        """The images that are shown of these messages, by message."""
        by_message = (tuple(image.url for image in _images(message)) for message in messages)
        shown = (tuple(url for url in urls if self.instead_of(url) is None) for urls in by_message)
        return [urls for urls in shown if urls]

    def instead_of(self, url: str) -> str | None:
        """What stands in the place of an image; None for the image itself."""
        if self._instead is None and (url in self._suspects or self._refusals.has(self._session_id, url)):
            return REFUSED
        return self._instead

    def hide_all(self, instead: str) -> None:
        """Show none from now on, but these words in the place of each."""
        self._instead = instead

    def doubt(self, shown: Sequence[tuple[str, ...]]) -> None:
        """A request that showed these was refused for one of them: leave out those that are suspected next."""
        newest = shown[-1]
        if not self._suspects:
            self._suspects = frozenset(newest)
            self._notice = _newest_refused(len(newest))
        elif self._notice != OLDER_REFUSED:
            self._suspects = frozenset(url for urls in shown for url in urls)
            self._notice = OLDER_REFUSED
        else:
            self._instead, self._notice = ALL_REFUSED, NONE_SHOWN

    def settle(self) -> str | None:
        """A request was taken as it is: remember what that tells. What the person is to be told of it, once."""
        if self._instead is None:
            self._refusals.add(self._session_id, self._suspects)
        notice, self._notice, self._suspects = self._notice, None, frozenset()
        return notice


def with_images(messages: Sequence[ModelMessage], sight: Sight) -> list[ModelMessage]:
    """The messages with the bytes of the images that are shown. Reads files."""
    return [_with_images(message, sight) for message in messages]


def _with_images(message: ModelMessage, sight: Sight) -> ModelMessage:
    if not isinstance(message, ModelRequest) or not any(_images(message)):
        return message
    parts = [
        replace(part, content=[_read(each, sight) for each in part.content])
        if isinstance(part, UserPromptPart) and not isinstance(part.content, str)
        else part
        for part in message.parts
    ]
    return replace(message, parts=parts)


def _images(message: ModelMessage) -> Iterator[Image]:
    for part in message.parts:
        if isinstance(part, UserPromptPart) and not isinstance(part.content, str):
            yield from (each for each in part.content if isinstance(each, ImageUrl))


def _read(each: UserContent, sight: Sight) -> UserContent:
    if not isinstance(each, ImageUrl):
        return each
    if (instead := sight.instead_of(each.url)) is not None:
        return instead
    try:
        with Path(each.url.removeprefix(_SCHEME)).open("rb") as file:
            data = file.read(MAX_IMAGE_BYTES + 1)
    except OSError:
        return GONE
    return BinaryContent(data, media_type=each.media_type) if 0 < len(data) <= MAX_IMAGE_BYTES else GONE


def _newest_refused(number: int) -> str:
    what, it = ("newest image", "it") if number == 1 else (f"{number} newest images", "them")
    return f"The model's server refused the {what} of this conversation, so I answer without {it}."
