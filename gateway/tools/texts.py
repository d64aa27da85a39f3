"""What the session tools say: lists, links and ages, as agents pass them on to people."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from gateway.outside import one_line
from gateway.session.scope import SessionView

SHOWN_SESSIONS: Final = 50
"""Sessions of one list."""

RESPONSE_CHARS: Final = 10_000
"""Characters of another session's answer that an agent gets; all of it is stored there."""

TRUNCATED: Final = "\n... (truncated)"

HINT: Final = (
    "Assistant: when replying to the user, preserve the chat-title markdown links exactly as shown, e.g. "
    "`[Chat](#session-id)`. Do not rewrite this as a plain, non-clickable table."
)

_MARKUP: Final = re.compile(r"([\[\]\\])")

MINUTE: Final = 60
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
WEEK: Final = 7 * DAY


def session_link(title: str, session_id: str) -> str:
    """A session as a link whose name nothing in it can end."""
    return f"[{escaped(title)}](#session-{session_id})"


def escaped(title: str) -> str:
    """A name on one line, where its brackets are no markup."""
    return _MARKUP.sub(r"\\\1", one_line(title))


def age(instant: datetime | None, now: datetime) -> str:
    """How long ago something was; after a week the day."""
    if instant is None:
        return "never"
    seconds = (now - instant).total_seconds()
    if seconds < MINUTE:
        return "just now"
    if seconds < HOUR:
        return f"{int(seconds // MINUTE)}m ago"
    if seconds < DAY:
        return f"{int(seconds // HOUR)}h ago"
    if seconds < WEEK:
        return f"{int(seconds // DAY)}d ago"
    return f"{instant:%Y-%m-%d}"


def session_list(views: Sequence[SessionView], total: int, now: datetime) -> str:
    """Sessions, the newest first; `total` is how many there are."""
    lines = [f"Found {total} session(s), sorted most-recent first:"]
    for number, view in enumerate(views):
        entry = view.entry
        marks = ", archived" if view.archived else ""
        lines.append(
            f"- **{session_link(view.title, entry.session_id)}** (id: `{entry.session_id}`, "
            f"model: {one_line(entry.model or view.agent)}, {entry.message_count} msgs, "
            f"last active {age(entry.updated_at, now)}{marks})" + ("" if number else " ← most recent")
        )
    if total > len(views):
        lines.append(f"... and {total - len(views)} more (showing first {len(views)})")
    return "\n".join([*lines, "", HINT])


def no_sessions(wanted: str) -> str:
    """That there are none."""
    return f"No sessions found matching '{wanted}'." if wanted else "No sessions found."


def cut(response: str) -> str:
    """As much of an answer as an agent gets."""
    return response if len(response) <= RESPONSE_CHARS else response[:RESPONSE_CHARS] + TRUNCATED
