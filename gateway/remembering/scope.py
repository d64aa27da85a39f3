"""Whose memory a conversation belongs to: what is told in private stays there, and what a chat hears in that chat."""

from typing import Final
from urllib.parse import quote

from gateway.ports import MemoryScope
from gateway.session.key import SlotIdentity
from gateway.source import SessionSource

ALL: Final = "all"
"""Stands for the person where a chat's people share a conversation; no escaped id is written like it."""


def scope_of(identity: SlotIdentity, source: SessionSource | None) -> MemoryScope:
    """The scope of a conversation in this slot.

    In private it is the person's, over all topics of their chat and all chats with one of their ids. Elsewhere it is
    the chat's, and the person's within it where people have conversations of their own. The threads of a chat share
    it, but for those that are places of their own (`thread`): not everybody in the chat may be in them.
    """
    platform, kind = identity.platform, identity.chat_type
    if kind == "dm":
        person = (source.user_id_alt or source.user_id) if source is not None else None
        parts = [f"user={quote(person, safe='')}" if person else f"chat={_dm_place(identity)}"]
    else:
        parts = [f"chat={quote(identity.chat, safe='')}"]
        if kind == "thread" and identity.thread:
            parts.append(f"thread={quote(identity.thread, safe='')}")
        parts.append(f"user={quote(identity.participant, safe='')}" if identity.participant else ALL)
    return MemoryScope(":".join((platform, kind, *parts)), platform, kind, _label(identity, source))


def _dm_place(identity: SlotIdentity) -> str:
    return quote(identity.chat or identity.participant, safe="")


def _label(identity: SlotIdentity, source: SessionSource | None) -> str:
    """In words, for the head of a file."""
    if source is not None and source.is_local:
        return "the terminal on this machine"
    name = (source.user_name or source.user_id or "") if source is not None else ""
    if identity.chat_type == "dm":
        return f"{name or 'somebody'}, in private on {identity.platform}"
    chat = (source.chat_name if source is not None else None) or identity.chat
    who = f"{name or identity.participant} in" if identity.participant else "everybody in"
    return f"{who} the {identity.chat_type} {chat} on {identity.platform}"
