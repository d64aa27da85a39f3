"""Images in the messages of pydantic-ai: by their files until a request is made, with their bytes in the request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeAlias

from pydantic_ai.messages import BinaryContent, ImageUrl, ModelMessage, ModelRequest, UserContent, UserPromptPart

from gateway.constants import MAX_IMAGE_BYTES

GONE: Final = "[The image is no longer kept.]"
NOT_TAKEN: Final = "[You cannot see the image: this model takes no images.]"
REFUSED: Final = "[You cannot see the image: the model's server refuses an image of this conversation.]"

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


def has_images(messages: Sequence[ModelMessage]) -> bool:
    """Whether any of these messages has an image."""
    return any(isinstance(each, ImageUrl) for message in messages for each in _all_contents(message))


def with_images(messages: Sequence[ModelMessage], *, instead: str | None = None) -> list[ModelMessage]:
    """The messages with the images' bytes, or with these words in the place of each. Reads files."""
    return [_with_images(message, instead) for message in messages]


def _with_images(message: ModelMessage, instead: str | None) -> ModelMessage:
    if not isinstance(message, ModelRequest) or not has_images([message]):
        return message
    parts = [
        replace(part, content=[_read(each, instead) for each in part.content])
        if isinstance(part, UserPromptPart) and not isinstance(part.content, str)
        else part
        for part in message.parts
    ]
    return replace(message, parts=parts)


def _all_contents(message: ModelMessage) -> list[UserContent]:
    prompts = (part for part in message.parts if isinstance(part, UserPromptPart))
    return [each for part in prompts if not isinstance(part.content, str) for each in part.content]


def _read(each: UserContent, instead: str | None) -> UserContent:
    if not isinstance(each, ImageUrl):
        return each
    if instead is not None:
        return instead
    try:
        with Path(each.url.removeprefix(_SCHEME)).open("rb") as file:
            data = file.read(MAX_IMAGE_BYTES + 1)
    except OSError:
        return GONE
    return BinaryContent(data, media_type=each.media_type) if 0 < len(data) <= MAX_IMAGE_BYTES else GONE
