"""One import: sessions go from a reader to a store in bounded parts, and what became of them is told."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from gateway.importing.home import Found, HermesReader
from gateway.importing.intake import Store
from gateway.importing.problems import Problem
from gateway.importing.records import ImportedMessage, Known, Piece, Verdict, digest
from gateway.session.text import UNTITLED, title_from
from gateway.storage.codec import clean_text, decode_message

ASKED_AT_ONCE: Final = 200
"""Sessions of which it is asked at once what is here."""

PART_MESSAGES: Final = 200
PART_CHARACTERS: Final = 256 * 1024
PART_PIECES: Final = 50
"""What one commit takes in at most, a few milliseconds of the writer's time: turns that run wait no longer for it. A
message that is larger goes alone."""

Progress = Callable[[int, int], None]
"""Called with how many sessions are done, and of how many."""


@dataclass(frozen=True, slots=True)
class Report:
    """What an import came to, in sessions but for `messages`.

    `new` have come in; `longer` were here, and have got the messages that came since; `same` were here as they are.
    `live` of the new ones go on with the next message. `occupied` do not: something goes on in their place, so they can
    be resumed. Of the next nothing was taken: `continued` were here, and something was said or taken back since; in
    `busy` ones a turn runs; `changed` ones are not what they were when they came in; `own` have the id of a session
    that began here. `unroutable` counts those of places from which no message can come here, by platform; `nobody`
    those of which it is not known whose they are.
    """

    sessions: int = 0
    new: int = 0
    longer: int = 0
    same: int = 0
    live: int = 0
    messages: int = 0
    occupied: tuple[str, ...] = ()
    continued: tuple[str, ...] = ()
    busy: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    unroutable: dict[str, int] = field(default_factory=dict)
    nobody: int = 0
    problems: tuple[Problem, ...] = ()
    profiles: tuple[str, ...] = ()
    dry_run: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "problems": [asdict(problem) for problem in self.problems]}


class Importer:
    """Takes what a reader finds into a store. One that was cut short goes on where it stopped when it is run again."""

    def __init__(self, reader: HermesReader, store: Store, progress: Progress = lambda _done, _of: None) -> None:
        self._reader = reader
        self._store = store
        self._progress = progress
        self._pieces: list[tuple[Found, Piece]] = []
        self._messages = 0
        self._characters = 0
        self._counts: Counter[str] = Counter()
        self._unroutable: Counter[str] = Counter()
        self._lists: dict[str, list[str]] = {name: [] for name in ("occupied", "continued", "busy", "changed", "own")}

    async def run(self, *, profiles: Sequence[str] = (), dry_run: bool = False) -> Report:
        """Import everything. Raises `ImportRefusedError`; what was taken in until then stays."""
        found = self._reader.sessions()
        self._progress(0, len(found))
        for start in range(0, len(found), ASKED_AT_ONCE):
            page = found[start : start + ASKED_AT_ONCE]
            known = await self._store.known([each.session.id for each in page])
            for number, each in enumerate(page, start=start + 1):
                self._note_place(each)
                await self._import(each, known.get(each.session.id))
                self._progress(number, len(found))
        await self._flush()
        await self._store.finish()
        counts, lists = self._counts, self._lists
        return Report(
            sessions=len(found),
            new=counts["new"],
            longer=counts["longer"],
            same=counts["same"],
            live=counts["live"],
            messages=counts["messages"],
            occupied=tuple(lists["occupied"]),
            continued=tuple(lists["continued"]),
            busy=tuple(lists["busy"]),
            changed=tuple(lists["changed"]),
            own=tuple(lists["own"]),
            unroutable=dict(sorted(self._unroutable.items())),
            nobody=counts["nobody"],
            problems=tuple(dict.fromkeys(self._reader.problems)),
            profiles=tuple(profiles),
            dry_run=dry_run,
        )

    def _note_place(self, found: Found) -> None:
        if not found.placed:
            self._counts["nobody"] += 1
        elif not found.routable:
            self._unroutable[found.session.place.platform or "unknown"] += 1

    async def _import(self, found: Found, known: Known | None) -> None:
        if known is not None and known.imported is None:
            self._lists["own"].append(found.session.id)
            return
        first = known.imported or 0 if known is not None else 0
        messages = self._readable(found)
        after: ImportedMessage | None = None
        for _ in range(first):
            after = next(messages, after)
        following = next(messages, None)
        if known is not None and following is None:
            self._counts["same"] += 1
        elif known is not None and not known.untouched:
            self._lists["continued"].append(found.session.id)
        else:
            self._counts["longer" if known is not None else "new"] += 1
            await self._send(found, first, after, following, messages)

    async def _send(
        self,
        found: Found,
        first: int,
        after: ImportedMessage | None,
        following: ImportedMessage | None,
        messages: Iterator[ImportedMessage],
    ) -> None:
        """Queue a session's messages in pieces; each is sent when it, or what waits, is as large as a part may be."""
        part: list[ImportedMessage] = []
        while following is not None:
            size = _size(following)
            if part and self._is_full(size):
                self._add(found, Piece(**_piece(found, first, after, part), last=False))
                first, after, part = first + len(part), part[-1], []
                await self._flush()
            elif self._is_full(size):
                await self._flush()
            part.append(following)
            self._messages += 1
            self._characters += size
            following = next(messages, None)
        self._add(found, Piece(**_piece(found, first, after, part)))
        if len(self._pieces) >= PART_PIECES:
            await self._flush()

    def _is_full(self, size: int) -> bool:
        return self._messages >= PART_MESSAGES or (self._messages > 0 and self._characters + size > PART_CHARACTERS)

    def _add(self, found: Found, piece: Piece) -> None:
        self._pieces.append((found, piece))

    async def _flush(self) -> None:
        pieces, self._pieces, self._messages, self._characters = self._pieces, [], 0, 0
        if not pieces:
            return
        verdicts = await self._store.take_in([piece for _found, piece in pieces])
        for (found, piece), verdict in zip(pieces, verdicts, strict=True):
            self._note(found, piece, verdict)

    def _note(self, found: Found, piece: Piece, verdict: Verdict) -> None:
        session_id = found.session.id
        if verdict in ("busy", "passed_over"):
            refused = self._lists["busy" if verdict == "busy" else "changed"]
            if session_id not in refused:
                refused.append(session_id)
                self._counts["longer" if piece.first else "new"] -= 1
            return
        self._counts["messages"] += len(piece.messages)
        if verdict == "opened":
            self._counts["live"] += 1
        elif verdict == "occupied":
            self._lists["occupied"].append(session_id)

    def _readable(self, found: Found) -> Iterator[ImportedMessage]:
        """A session's messages as far as they can be read; where that ends too soon is named."""
        number = 0
        try:
            for message in found.messages():
                number += 1
                yield message
        except (sqlite3.Error, OSError) as error:
            what = f"is damaged after {number} messages ({error}); they were imported"
            self._reader.problems.append(Problem(f"session {found.source_id}", what))


def _piece(found: Found, first: int, after: ImportedMessage | None, part: Sequence[ImportedMessage]) -> dict[str, Any]:
    title = title_from([decode_message(*message.row) for message in part]) if not found.session.title else UNTITLED
    return {
        "session": found.session,
        "first": first,
        "after": digest(after.row) if after is not None else None,
        "messages": tuple(part),
        "title": None if title == UNTITLED else clean_text(title),
    }


def _size(message: ImportedMessage) -> int:
    return len(message.content or "") + len(message.data or "")
