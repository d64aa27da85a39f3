"""What a message holds besides text and files, as the agent reads it."""

from typing import Any
from unittest.mock import MagicMock

import discord

from adapters.discord.content import quote_of, text_of

ME = 1
ALERT = {
    "type": "rich",
    "title": "Build 7 failed",
    "description": "two tests",
    "fields": [{"name": "branch", "value": "main"}],
}
LAID_OUT: list[dict[str, Any]] = [
    {
        "type": 17,
        "components": [
            {"type": 10, "content": "# Build 8 failed"},
            {
                "type": 9,
                "components": [{"type": 10, "content": "one test"}],
                "accessory": {"type": 2, "style": 5, "label": "Log", "url": "https://example.org/log"},
            },
        ],
    }
]
"""What a program shows by components alone, its content empty."""
PREVIEW = {"type": "rich", "url": "https://example.org/a", "title": "A page", "description": "about it"}


def written(**fields: Any) -> discord.Message:
    """A message as the library makes it of what Discord sends."""
    data: dict[str, Any] = {
        "id": "10",
        "type": 0,
        "content": "",
        "author": {"id": "2", "username": "ann", "discriminator": "0", "avatar": None},
        "channel_id": "5",
        "timestamp": "2026-01-01T00:00:00+00:00",
        "edited_timestamp": None,
        "tts": False,
        "mention_everyone": False,
        "pinned": False,
        "mentions": [],
        "mention_roles": [],
        "attachments": [],
        "embeds": [],
    }
    state = MagicMock()
    state.store_user = lambda user, **_: discord.User(state=state, data=user)
    state._get_message.return_value = None
    given: Any = data | fields
    return discord.Message(state=state, channel=MagicMock(spec=discord.DMChannel, id=5), data=given)


def forwarded(**fields: Any) -> discord.Message:
    """A message that forwards another."""
    shown = {"type": 0, "content": "", "embeds": [], "attachments": [], "timestamp": "2026-01-01T00:00:00+00:00"}
    snapshot = {"message": shown | {"edited_timestamp": None} | fields}
    reference = {"type": 1, "message_id": "9", "channel_id": "6"}
    return written(message_reference=reference, message_snapshots=[snapshot])


def test_what_is_forwarded_is_read_in_whichever_form_it_is() -> None:
    assert text_of(forwarded(content="look"), ME) == "[forwarded]\nlook"
    assert text_of(forwarded(content="look", embeds=[ALERT]), ME) == (
        "[forwarded]\nlook\nBuild 7 failed\ntwo tests\nbranch: main"
    )
    assert text_of(forwarded(components=LAID_OUT), ME) == "[forwarded]\n# Build 8 failed\none test"
    assert text_of(forwarded(sticker_items=[{"id": "3", "name": "wave", "format_type": 1}]), ME) == (
        "[forwarded]\n[sticker: wave]"
    )


def test_a_preview_says_nothing_that_its_address_does_not() -> None:
    assert text_of(forwarded(content="see https://example.org/a", embeds=[PREVIEW]), ME) == (
        "[forwarded]\nsee https://example.org/a"
    )
    assert text_of(forwarded(embeds=[ALERT | {"type": "link"}]), ME) == "[forwarded]"
    assert text_of(written(content="see https://example.org/a", embeds=[PREVIEW]), ME) == "see https://example.org/a"


def test_what_a_program_shows_without_text_is_read_where_it_is_answered() -> None:
    program = {"id": "3", "username": "ci", "discriminator": "0", "avatar": None, "bot": True}
    alert = written(embeds=[ALERT], author=program)
    answer = written(type=19, content="why?", message_reference={"message_id": "9", "channel_id": "5"})
    assert answer.reference is not None
    answer.reference.resolved = alert
    quote = quote_of(answer, ME)
    assert quote is not None
    assert quote.text == "Build 7 failed\ntwo tests\nbranch: main"
    assert text_of(alert, ME) == "Build 7 failed\ntwo tests\nbranch: main"
    laid_out = written(components=LAID_OUT, author=program)
    answer.reference.resolved = laid_out
    quote = quote_of(answer, ME)
    assert quote is not None
    assert quote.text == "# Build 8 failed\none test"
    assert text_of(laid_out, ME) == "# Build 8 failed\none test"
