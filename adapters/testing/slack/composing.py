"""What an app asks to be shown, read from a request or from what it sends to a `response_url`."""

import json
from typing import Final

from adapters.testing.slack.accounts import Json
from adapters.testing.slack.blocks import check_blocks
from adapters.testing.slack.errors import ApiError
from adapters.testing.slack.message import Content
from adapters.testing.slack.requests import Request
from adapters.testing.slack.text import ADVISED_TEXT, MAX_MARKDOWN, typed
from adapters.testing.slack.world import World

MAX_METADATA: Final = 16_384
"""Bytes of a message's metadata; Slack has a limit, `metadata_too_large`, but does not document how much it is."""
MAX_ATTACHMENTS: Final = 100
"""https://docs.slack.dev/reference/methods/chat.postMessage"""


def read_content(request: Request, world: World) -> Content:
    """The content of a new message. Raises `ApiError`."""
    text, markdown = request.text("text"), request.text("markdown_text")
    if markdown and (text or request.parameters.get("blocks")):
        raise ApiError("markdown_text_conflict")
    if len(markdown) > MAX_MARKDOWN:
        raise ApiError("msg_too_long")
    if request.flag("link_names") or request.text("parse") == "full":
        text = _linked(text, world)
    attachments = request.objects("attachments", "invalid_attachments")
    if len(attachments) > MAX_ATTACHMENTS:
        raise ApiError("too_many_attachments")
    return Content(
        text,
        check_blocks(request.object("blocks", "invalid_blocks_format")),
        markdown or None,
        tuple(attachments),
        metadata=read_metadata(request),
    )


def read_change(request: Request, world: World, before: Content) -> Content:
    """The content of a message that is changed (https://docs.slack.dev/reference/methods/chat.update).

    A text alone takes the blocks away; metadata stays where nothing is said of it. Raises `ApiError`.
    """
    if len(request.text("text")) > ADVISED_TEXT:
        raise ApiError("msg_too_long")
    changed = read_content(request, world)
    if changed.empty:
        raise ApiError("no_text")
    metadata = before.metadata if request.parameters.get("metadata") is None else changed.metadata
    attachments = before.attachments if request.parameters.get("attachments") is None else changed.attachments
    blocks, text, markdown = changed.blocks, changed.text, changed.markdown
    if not text and not blocks and markdown is None:
        blocks, text, markdown = before.blocks, before.text, before.markdown
    return Content(text, blocks, markdown, attachments, before.files, metadata)


def read_metadata(request: Request) -> Json | None:
    """https://docs.slack.dev/messaging/message-metadata; an empty object stands for none. Raises `ApiError`."""
    value = request.object("metadata", "invalid_metadata_format")
    if not value:
        return None
    if not isinstance(value, dict):
        raise ApiError("invalid_metadata_format")
    if not isinstance(value.get("event_type"), str) or not isinstance(value.get("event_payload"), dict):
        raise ApiError("invalid_metadata_schema")
    if len(json.dumps(value).encode()) > MAX_METADATA:
        raise ApiError("metadata_too_large")
    return {"event_type": value["event_type"], "event_payload": value["event_payload"]}


def _linked(text: str, world: World) -> str:
    """`link_names`: names with an `@` become mentions."""
    users = {profile.name: profile.id for profile in world.profiles.values()}
    channels = {channel.name: channel.id for channel in world.channels.values() if channel.name}
    return typed(text.replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"), users, channels)
