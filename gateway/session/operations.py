"""Operations on a session's last turn: take it back, or take it back to send it again."""

from typing import TypedDict

from gateway.session.errors import NothingToRetry, NothingToUndo
from gateway.session.store import SessionStore
from gateway.session.text import flatten_text, preview_of


class Retry(TypedDict):
    """What `retry_last` took off the transcript."""

    last_user_text: str
    removed_count: int


class Undo(TypedDict):
    """What `undo_last` took off the transcript."""

    removed_count: int
    removed_preview: str


async def retry_last(store: SessionStore, session_id: str) -> Retry:
    """Take the last message of the user and all that follows it off the transcript, for the caller to send again.

    The text is what the person wrote, not stripped; of content in parts, the text parts. Finding the place and
    cutting there is one transaction. Raises `UnknownSession` (a KeyError), and `NothingToRetry` (a ValueError) if
    the transcript has no message of a user; then nothing was changed.
    """
    cut = await store.cut_last_turn(session_id)
    if cut is None:
        raise NothingToRetry
    return {"last_user_text": flatten_text(cut.message.get("content")), "removed_count": cut.removed}


async def undo_last(store: SessionStore, session_id: str) -> Undo:
    """Take the last message of the user and all that follows it off the transcript, for good.

    The preview is the first 40 characters of what the person wrote. Atomic as `retry_last` is. Raises
    `UnknownSession` (a KeyError), and `NothingToUndo` (a ValueError).
    """
    cut = await store.cut_last_turn(session_id)
    if cut is None:
        raise NothingToUndo
    return {"removed_count": cut.removed, "removed_preview": preview_of(flatten_text(cut.message.get("content")))}
