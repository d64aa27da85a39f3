"""The routing index of a Hermes home, `sessions.json`: which session goes on in which place."""

import json
from collections.abc import Iterator, Mapping
from datetime import tzinfo
from pathlib import Path
from typing import Any, Final

from gateway.importing.problems import Problem
from gateway.session.entry import SessionEntry

NAME: Final = "sessions.json"
DM_KEY_PARTS: Final = 5
"""Parts of a readable key of a DM that names its chat: agent, its name, platform, dm, chat."""


class RouteIndex:
    """The entries of the index by their session's id, as they were and as they are read here."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self.entries: dict[str, SessionEntry] = {}
        self.raw: dict[str, Mapping[str, Any]] = {}
        self.problems: list[Problem] = []

    def read_file(self, path: Path) -> None:
        """Take in a `sessions.json`; of one that is broken, what stands before the break."""
        try:
            text = path.read_bytes().decode("utf-8-sig", "replace")
        except OSError as error:
            self.problems.append(Problem(path.name, f"cannot be read ({error.strerror})"))
            return
        try:
            data = json.loads(text)
            if not isinstance(data, dict):
                raise ValueError("it is no JSON object")  # noqa: TRY004 - one way out for what is no index
            found: Iterator[tuple[str, Any]] = iter(data.items())
        except (ValueError, RecursionError) as error:
            found = iter(_salvaged(text))
            self.problems.append(Problem(path.name, f"is broken ({error}); what stands before the break was read"))
        for key, entry in found:
            if not key.startswith("_"):
                self.add(path.name, key, entry)

    def add(self, file: str, key: str | None, data: object) -> None:
        """Take in one entry; a later one of the same session replaces it."""
        if not isinstance(data, Mapping):
            self.problems.append(Problem(file, f"the entry {key!r} is no object, and was left out"))
            return
        try:
            entry = SessionEntry.from_dict({"session_key": key, **data}, self._zone)
        except (KeyError, ValueError, OverflowError) as error:
            what = f"has no {error.args[0]}" if isinstance(error, KeyError) else f"cannot be used ({error})"
            self.problems.append(Problem(file, f"the entry {key or data.get('session_key')!r} {what}; it was left out"))
            return
        before = self.entries.get(entry.session_id)
        if before is not None and before.session_key != entry.session_key:
            newer, older = sorted((entry, before), key=lambda each: each.updated_at, reverse=True)
            self.problems.append(
                Problem(
                    file,
                    f"{older.session_key} and {newer.session_key} share the session {entry.session_id};"
                    " it goes on in the second",
                )
            )
            if newer is before:
                return
        self.entries[entry.session_id] = entry
        self.raw[entry.session_id] = data

    def origin(self, session_id: str) -> Mapping[str, Any] | None:
        """The origin of an entry as it was; what its key tells where there is none."""
        data, entry = self.raw[session_id], self.entries[session_id]
        origin = data.get("origin")
        if isinstance(origin, Mapping):
            return origin
        platform = entry.platform or entry.unknown_platform
        parts = entry.session_key.split(":")
        if platform is None or entry.chat_type != "dm" or len(parts) < DM_KEY_PARTS:
            return None if platform is None else {"platform": str(platform), "chat_type": entry.chat_type}
        thread = parts[DM_KEY_PARTS] if len(parts) > DM_KEY_PARTS else None
        return {"platform": str(platform), "chat_id": parts[DM_KEY_PARTS - 1], "thread_id": thread}


def _salvaged(text: str) -> list[tuple[str, Any]]:
    """The whole entries of a JSON object that breaks off, or breaks, somewhere."""
    decoder, found = json.JSONDecoder(), []
    position = text.find("{") + 1
    try:
        while position:
            position = _skip(text, position, ", \t\r\n")
            key, position = decoder.raw_decode(text, position)
            position = _skip(text, position, ": \t\r\n")
            value, position = decoder.raw_decode(text, position)
            found.append((str(key), value))
    except (ValueError, RecursionError):
        pass
    return found


def _skip(text: str, position: int, characters: str) -> int:
    while position < len(text) and text[position] in characters:
        position += 1
    return position
