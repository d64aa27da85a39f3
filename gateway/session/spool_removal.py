"""The removal of a session from a spool that lies in a backup, or was kept: its lines without what they tell of it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from gateway.session.removal import Doomed, MessageKey
from gateway.storage.spool import content_of, line_of

LINKS: Final = ("predecessor_id", "successor_id", "previous_session_id")
"""Columns in which the row of something else names a session."""

FORGOTTEN: Final = {
    "state": "ignored",
    "reason": "deleted",
    **dict.fromkeys(("source", "text", "group_id", "slot_id", "turn_id", "extra", "edited")),
}
"""What a message is of which only the platform's ids are kept, as in the store."""

OPEN: Final = ("pending", "running")

Row: TypeAlias = dict[str, Any]


def without_session(lines: Iterable[bytes], doomed: Doomed) -> list[bytes]:
    """The lines of a spool without a session, those of others as they were; damaged ones, of which it cannot be told
    whose they are, go where any other line is the session's.
    """
    read = [(line, content_of(line)) for line in lines]
    remover = _Remover(doomed, [_events(content) for _line, content in read])
    cleaned = [(line, content, remover.without(content)) for line, content in read if content is not None]
    if all(content == left for _line, content, left in cleaned) and not any(map(remover.tells, _damaged(read))):
        return [line for line, _content in read]
    return [line if content == left else line_of(left) for line, content, left in cleaned if left is not None]


def _damaged(read: Iterable[tuple[bytes, Any]]) -> Iterator[bytes]:
    return (line for line, content in read if content is None)


def _events(content: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    events = (content or {}).get("events")
    found = events if isinstance(events, list) else []
    return [event for event in found if isinstance(event, dict) and isinstance(event.get("row"), dict)]


class _Remover:
    """Knows the messages of a session that a spool tells of: the first line about one does not name the session yet."""

    def __init__(self, doomed: Doomed, records: Sequence[Sequence[Mapping[str, Any]]]) -> None:
        self._doomed = doomed
        self._marks = frozenset((*doomed.ids, *doomed.turns))
        rows = [event["row"] for events in records for event in events if event.get("table") == "inbound"]
        last = {_key(row): row for row in rows}
        found = {_key(row) for row in rows if self._came(row)}
        found |= {key for key, row in last.items() if row.get("state") == "pending" and self._waits(row)}
        self._messages = doomed.messages | found
        self._requests = {number for _platform, _account, _chat, number in self._messages}
        # What comes from a platform is put in as it is, and taken out in the commit that makes a message of it.
        self._updates = {
            _update(event["row"])
            for events in records
            if any(event.get("table") == "inbound" and _key(event["row"]) in self._messages for event in events)
            for event in events
            if event.get("table") == "updates"
        }

    def _came(self, row: Row) -> bool:
        """Whether a message came to a turn of the session, or, as a command does, to none while it was there."""
        doomed = self._doomed
        if row.get("turn_id") is not None or row.get("state") in OPEN:
            return row.get("turn_id") in self._marks
        return row.get("slot_id") in doomed.slots and doomed.since <= row.get("received_at", 0) <= doomed.until

    def _waits(self, row: Row) -> bool:
        return row.get("chat") in self._doomed.chats and self._doomed.said(row.get("text"))

    def _names(self, value: object) -> bool:
        return isinstance(value, str) and (value in self._marks or any(name in value for name in self._doomed.ids))

    def tells(self, line: bytes) -> bool:
        """Whether a damaged line has the session in it."""
        return any(mark.encode() in line for mark in self._marks)

    def without(self, content: dict[str, Any] | None) -> dict[str, Any] | None:
        """What is left of a line, None if that is nothing."""
        if content is not None and "events" not in content:
            return None if any(map(self._names, content.values())) else content
        before = _events(content)
        after = [left for event in before if (left := self._event(event)) is not None]
        if content is None or after == before:
            return content
        return {**content, "events": after} if after else None

    def _event(self, event: dict[str, Any]) -> dict[str, Any] | None:
        table, row = event.get("table"), event["row"]
        if table == "inbound" and event.get("op") == "put" and _key(row) in self._messages:
            ended = row.get("received_at") if row.get("ended_at") is None else row["ended_at"]
            return {**event, "row": {**row, **FORGOTTEN, "ended_at": ended}}
        if table == "updates" and (_update(row) in self._updates or self._doomed.said_in(row.get("payload"))):
            return None
        if table in ("api_requests", "api_answers") and row.get("id") in self._requests:
            return None
        links = (*LINKS, "session_id") if table == "slots" else LINKS
        row = {name: None if name in links and value in self._marks else value for name, value in row.items()}
        if any(self._names(value) for value in row.values()):
            return None
        return {**event, "row": row}


def _key(row: Row) -> MessageKey:
    return (str(row.get("platform")), str(row.get("account")), str(row.get("chat")), str(row.get("message_id")))


def _update(row: Row) -> tuple[str, str, str]:
    return (str(row.get("platform")), str(row.get("account")), str(row.get("id")))
