"""Transcripts inside a transaction: how a message stands in the database, and rewrites."""

import reprlib
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from gateway.session.errors import InvalidMessage, UnknownSession
from gateway.session.text import flatten_text
from gateway.storage import mirror_queries, queries
from gateway.storage.codec import clean_text, encode_message, to_micros


def message_row(message: Mapping[str, Any]) -> tuple[str, str | None, str | None]:
    """Role, text and the rest of a message. The text of content in parts is kept too, so that a search finds it.

    Raises `InvalidMessage`.
    """
    try:
        role, content, data = encode_message(message)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidMessage(str(error)) from error
    if content is None and data is not None:
        content = clean_text(flatten_text(message.get("content"))) or None
    return role, content, data


def check_messages(messages: Sequence[object]) -> None:
    """Raises `InvalidMessage` for what is no mapping at all."""
    for message in messages:
        if not isinstance(message, Mapping):
            raise InvalidMessage(f"{reprlib.repr(message)} is {type(message).__name__}")


def require(connection: sqlite3.Connection, session_id: str) -> str:
    """The session's id, or that of the one that it has joined. Raises `UnknownSession` if there is none."""
    if connection.execute(queries.SESSION_EXISTS, (session_id,)).fetchone() is None:
        raise UnknownSession(session_id)
    joined = connection.execute(queries.JOINED_BY, (session_id,)).fetchone()
    return session_id if joined is None else require(connection, joined[0])


def rewrite(
    connection: sqlite3.Connection, session_id: str, messages: Sequence[Mapping[str, Any]], now: datetime
) -> None:
    """Replace a transcript. Raises `UnknownSession`."""
    session_id = require(connection, session_id)
    at = to_micros(now)
    removed = _remove(connection, session_id, 0)
    rows = [(session_id, None, None, *message_row(message), at) for message in messages]
    connection.executemany(queries.ADD_MESSAGE, rows)
    connection.execute(queries.RESIZE_TRANSCRIPT, (len(rows) - removed, at, session_id))


def _remove(connection: sqlite3.Connection, session_id: str, first_id: int) -> int:
    """Remove a transcript's messages from this one on, from the index and the mirror too; how many there were."""
    connection.execute(mirror_queries.MARK_CUT, (session_id,))
    connection.execute(queries.UNINDEX_MESSAGES, (session_id, first_id))
    return connection.execute(queries.DELETE_MESSAGES, (session_id, first_id)).rowcount
