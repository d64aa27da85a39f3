"""A Hermes home: which of its files hold conversations, and what sessions they make together."""

import hashlib
import json
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any, Final, Self

from gateway.importing import index
from gateway.importing.index import RouteIndex
from gateway.importing.messages import Span, from_file, from_row, micros, span_of
from gateway.importing.places import NOWHERE, Located, locate
from gateway.importing.problems import Problem
from gateway.importing.records import ImportedMessage, ImportedSession, valid_id
from gateway.session.entry import SessionEntry
from gateway.storage import hermes_state
from gateway.storage.codec import clean_text, to_micros
from gateway.storage.hermes_state import HermesState

SESSIONS: Final = "sessions"
PROFILES: Final = "profiles"

BOUNDARIES: Final = frozenset(
    {"session_reset", "session_switch", "new_session", "idle", "daily", "suspended", "resume_pending_expired"}
)
"""Why a session ended there for good; other reasons are those of a program that went away."""

MAX_NAME: Final = 200
"""Characters that are kept of a name or title."""

_STAMPED: Final = re.compile(r"(\d{8}_\d{6})_")
"""An id that begins with the second in which its session began."""

_MOST_TOKENS: Final = 2**62
_MOST_DIGITS: Final = 32


NO_SPAN: Final[tuple[int, object]] = (0, None)

SHOWN_IDS: Final = 5
"""Ids of sessions that are named where there may be many."""


class NoHermesHomeError(Exception):
    """There is nothing to import at a path; `str()` says what would be."""


@dataclass(frozen=True, slots=True)
class HermesHome:
    """Which files there are. `profiles` are the names of homes inside it, which are imported by their own paths."""

    path: Path
    state: Path | None
    index: Path | None
    transcripts: Mapping[str, Path]
    profiles: tuple[str, ...] = ()

    @classmethod
    def at(cls, path: Path) -> Self:
        """The home at a path: its folder, the `sessions` folder in it, or one of its files.

        Raises `NoHermesHomeError`, and OSError for what cannot be looked into.
        """
        if path.is_file():
            return cls._of_file(path)
        if not path.is_dir():
            raise NoHermesHomeError(f"{path} is not there")
        folder = path / SESSIONS if (path / SESSIONS).is_dir() else path
        state, routes = path / hermes_state.NAME, folder / index.NAME
        transcripts = {file.stem: file for file in sorted(folder.glob("*.jsonl")) if file.is_file()}
        profiles = sorted(each.parent.name for each in path.glob(f"{PROFILES}/*/{hermes_state.NAME}"))
        home = cls(
            path,
            state if state.is_file() else None,
            routes if routes.is_file() else None,
            transcripts,
            tuple(profiles),
        )
        if home.state is None and home.index is None and not transcripts:
            raise NoHermesHomeError(
                f"{path} is no Hermes home: it has neither {hermes_state.NAME}, nor {index.NAME}, nor *.jsonl"
            )
        return home

    @classmethod
    def _of_file(cls, path: Path) -> Self:
        if path.suffix == ".jsonl":
            return cls(path.parent, None, None, {path.stem: path})
        if path.name == index.NAME:
            return cls.at(path.parent)
        if path.suffix == ".db":
            return cls(path.parent, path, None, {})
        raise NoHermesHomeError(f"{path} is neither a {hermes_state.NAME}, nor a {index.NAME}, nor a *.jsonl")


@dataclass(frozen=True, slots=True)
class Found:
    """A session, what it was called where it comes from, and how its messages are read, in their order.

    `routable`: messages can come from its place. `placed`: it is known whose it is. Reading raises `sqlite3.Error` or
    OSError where the source is damaged.
    """

    source_id: str
    session: ImportedSession
    messages: Callable[[], Iterator[ImportedMessage]]
    routable: bool
    placed: bool


class HermesReader:
    """Reads the sessions of a home; `problems` grows as it does. `zone` is that of times that name none."""

    def __init__(self, home: HermesHome, zone: tzinfo, state: HermesState | None) -> None:
        self._home = home
        self._zone = zone
        self._state = state
        self.problems: list[Problem] = []

    @classmethod
    @contextmanager
    def open(cls, home: HermesHome, zone: tzinfo, scratch: Path | None = None) -> Iterator[Self]:
        """Open the home for reading. `scratch` is where a copy of its database is made, if one is needed.

        Raises `UnreadableStateError` for a database that changes meanwhile; OSError.
        """
        with ExitStack() as stack:
            state = None
            if home.state is not None:
                state = stack.enter_context(HermesState.open(home.state, scratch))
            yield cls(home, zone, state)

    def sessions(self) -> list[Found]:
        """All sessions, so that one that another follows stands before it, and of two in one place the latest first."""
        routes = self._routes()
        rows, spans = self._rows()
        found = [self._from_row(row, spans.get(str(row["id"]), NO_SPAN), routes) for row in rows]
        known = {each.source_id for each in found}
        others = [source_id for source_id in self._home.transcripts if source_id not in known]
        others += [source_id for source_id in routes.entries if source_id not in known.union(others)]
        found += [self._without_row(source_id, spans.get(source_id, NO_SPAN), routes) for source_id in others]
        self._report_lost({each: spans[each] for each in spans if each not in known.union(others)})
        found.sort(key=lambda each: (each.session.created_at, each.session.id))
        ended = [each for each in found if not each.session.live]
        live = [each for each in found if each.session.live]
        return ended + sorted(live, key=lambda each: (-each.session.updated_at, each.session.id))

    # --- the index, and the database -----------------------------------------------------------------------

    def _routes(self) -> RouteIndex:
        routes = RouteIndex(self._zone)
        if self._home.index is not None:
            routes.read_file(self._home.index)
        if self._state is not None:
            try:
                for text in self._state.routes():
                    self._add_route(routes, text)
            except sqlite3.Error as error:
                self._damaged("the routing index", error)
        self.problems += routes.problems
        return routes

    def _add_route(self, routes: RouteIndex, text: str) -> None:
        name = self._home.state.name if self._home.state is not None else hermes_state.NAME
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            routes.problems.append(Problem(name, "an entry of the routing index is no JSON, and was left out"))
            return
        key = data.get("session_key") if isinstance(data, dict) else None
        known = routes.entries.get(str(data.get("session_id"))) if isinstance(data, dict) else None
        if known is None or known.session_key == key:
            routes.add(name, key if isinstance(key, str) else None, data)

    def _report_lost(self, spans: Mapping[str, tuple[int, object]]) -> None:
        """Name the messages that belong to no session."""
        if spans:
            lost, names = sum(count for count, _last in spans.values()), sorted(spans)
            shown = ", ".join([*names[:SHOWN_IDS], *(["…"] if len(names) > SHOWN_IDS else [])])
            what = f"messages of sessions that are not there were left out: {lost}, of {shown}"
            self._report(clean_text(what))

    def _rows(self) -> tuple[list[sqlite3.Row], dict[str, tuple[int, object]]]:
        rows: list[sqlite3.Row] = []
        spans: dict[str, tuple[int, object]] = {}
        nameless = 0
        if self._state is None:
            return rows, spans
        try:
            if not self._state.has("sessions", "id"):
                self._report("it has no sessions")
                return rows, spans
            for row in self._state.sessions():
                if isinstance(row["id"], str) and row["id"]:
                    rows.append(row)
                else:
                    nameless += 1
        except sqlite3.Error as error:
            self._damaged("not every session", error)
        if nameless:
            self._report(f"records of sessions without an id were left out: {nameless}")
        try:
            spans = self._state.spans()
        except sqlite3.Error as error:
            self._damaged("not every message", error)
        return rows, spans

    def _damaged(self, what: str, error: sqlite3.Error) -> None:
        self._report(f"is damaged, {what} can be read ({error})" if what.startswith("not") else f"{what}: {error}")

    def _report(self, what: str) -> None:
        name = self._home.state.name if self._home.state is not None else hermes_state.NAME
        self.problems.append(Problem(name, what))

    # --- sessions ------------------------------------------------------------------------------------------

    def _from_row(self, row: sqlite3.Row, span: tuple[int, object], routes: RouteIndex) -> Found:
        data, source_id = dict(row), str(row["id"])
        parent = data.get("parent_session_id")
        entry = routes.entries.get(source_id)
        located = self._located(source_id, data, routes)
        count, last = span
        begun = micros(data.get("started_at"), self._zone) or _begin_of(source_id, self._zone)
        ended = micros(data.get("ended_at"), self._zone)
        file = self._home.transcripts.get(source_id)
        in_file = span_of(file, self._zone, self.problems.append) if file is not None else Span()
        times = [
            micros(last, self._zone),
            micros(data.get("last_activity_at"), self._zone),
            in_file.last,
            ended,
            begun,
        ]
        session = ImportedSession(
            id=here(source_id),
            place=located.place,
            origin=located.origin,
            display_name=_text(data.get("display_name")) or _entry_text(entry, "display_name"),
            title=_title(data.get("title")),
            model=_text(data.get("model")),
            created_at=begun or in_file.first or 0,
            updated_at=_updated(times, entry),
            ended_at=ended,
            end_reason=_reason(data.get("end_reason")),
            predecessor_id=here(parent) if isinstance(parent, str) and parent else None,
            live=self._is_live(source_id, data, routes, located),
            pinned=bool(data.get("pinned")),
            archived=bool(data.get("archived")),
            **_spent(data, entry),
        )
        if in_file.count > count:
            messages = self._file_messages(source_id, session)
        else:
            messages = self._row_messages(source_id, session)
        return Found(source_id, session, messages, located.routable, placed=located is not NOWHERE)

    def _without_row(self, source_id: str, in_rows: tuple[int, object], routes: RouteIndex) -> Found:
        """A session of which the database has no record, and perhaps messages all the same."""
        entry = routes.entries.get(source_id)
        located = self._located(source_id, {}, routes)
        file = self._home.transcripts.get(source_id)
        span = span_of(file, self._zone, self.problems.append) if file is not None else Span()
        written = round(file.stat().st_mtime * 1_000_000) if file is not None else None
        made = to_micros(entry.created_at) if entry is not None else _begin_of(source_id, self._zone)
        begun = made or span.first or written or 0
        stored, last = in_rows
        session = ImportedSession(
            id=here(source_id),
            place=located.place,
            origin=located.origin,
            display_name=_entry_text(entry, "display_name"),
            created_at=begun,
            updated_at=_updated([span.last, micros(last, self._zone), begun], entry),
            live=self._is_live(source_id, {}, routes, located),
            **_spent({}, entry),
        )
        messages = self._file_messages(source_id, session) if file is not None else _nothing
        if stored > span.count:
            name = self._home.state.name if self._home.state is not None else hermes_state.NAME
            problem = f"has no record in {name}; its messages were used"
            self.problems.append(Problem(f"session {source_id}", problem))
            messages = self._row_messages(source_id, session)
        return Found(source_id, session, messages, located.routable, placed=located is not NOWHERE)

    def _located(self, source_id: str, data: Mapping[str, Any], routes: RouteIndex) -> Located:
        """Where a session was held: its entry of the index knows best, then its own record."""
        entry = routes.entries.get(source_id)
        if entry is not None:
            located = locate(routes.origin(source_id), entry.session_key)
            if located is not NOWHERE:
                return located
        origin: object = None
        if isinstance(data.get("origin_json"), str):
            try:
                origin = json.loads(data["origin_json"])
            except (ValueError, RecursionError):
                self.problems.append(Problem(source_id, "its origin is no JSON; what else is told of it was used"))
        if not isinstance(origin, dict):
            names = ("chat_id", "chat_type", "thread_id", "user_id")
            origin = {"platform": data.get("source"), **{name: data.get(name) for name in names}}
            origin["chat_name"] = data.get("display_name")
        key = data.get("session_key")
        return locate(origin, key if isinstance(key, str) else None)

    def _is_live(self, source_id: str, data: Mapping[str, Any], routes: RouteIndex, located: Located) -> bool:
        if source_id not in routes.entries or located is NOWHERE:
            return False
        place = located.place
        if not (place.chat or place.thread or place.person):
            return False
        over = data.get("ended_at") is not None and data.get("end_reason") in BOUNDARIES
        return not over and not routes.raw[source_id].get("suspended")

    # --- messages ------------------------------------------------------------------------------------------

    def _file_messages(self, source_id: str, session: ImportedSession) -> Callable[[], Iterator[ImportedMessage]]:
        return lambda: from_file(self._home.transcripts[source_id], session.created_at, self._zone)

    def _row_messages(self, source_id: str, session: ImportedSession) -> Callable[[], Iterator[ImportedMessage]]:
        def read() -> Iterator[ImportedMessage]:
            assert self._state is not None
            at = session.created_at
            for number, row in enumerate(self._state.messages(source_id), start=1):
                values = dict(row)
                at = micros(values.get("timestamp"), self._zone) or at
                where = f"session {source_id}, message {number}"
                message = from_row(values, at, where, self.problems.append)
                if message is not None:
                    yield message

        return read


def here(source_id: str) -> str:
    """The id that a session has here: its own where it can be one, else one that is made of it."""
    return valid_id(source_id) or "import_" + hashlib.sha256(source_id.encode("utf-8", "replace")).hexdigest()[:24]


def _nothing() -> Iterator[ImportedMessage]:
    return iter(())


def _begin_of(source_id: str, zone: tzinfo) -> int | None:
    stamp = _STAMPED.match(source_id)
    if stamp is None:
        return None
    try:
        return to_micros(datetime.strptime(stamp[1], "%Y%m%d_%H%M%S").replace(tzinfo=zone))
    except ValueError:
        return None


def _updated(times: list[int | None], entry: SessionEntry | None) -> int:
    """When something last happened in a session: what its index says, else the latest of all times."""
    if entry is not None:
        return to_micros(entry.updated_at)
    return max((at for at in times if at is not None), default=0)


def _reason(value: object) -> Any:  # noqa: ANN401 - one of two words, or nothing
    return value if value in ("session_reset", "session_switch") else None


def _spent(data: Mapping[str, Any], entry: SessionEntry | None) -> dict[str, Any]:
    """What a session has taken: as its record says, or its entry of the index where that says more."""
    names = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
    spent: dict[str, Any] = {name: _count(data.get(name)) for name in names}
    cost = data.get("estimated_cost_usd")
    known = isinstance(cost, int | float) and not isinstance(cost, bool) and abs(cost) < float("inf")
    spent["estimated_cost_usd"] = float(cost) if known and cost is not None else None
    spent["cost_status"] = _text(data.get("cost_status")) or "unknown"
    if entry is None:
        return spent
    if entry.total_tokens > sum(spent[name] for name in names):
        spent |= {name: min(getattr(entry, name), _MOST_TOKENS) for name in names}
    if spent["estimated_cost_usd"] is None and entry.cost_status != "unknown":
        spent |= {"estimated_cost_usd": entry.estimated_cost_usd, "cost_status": _text(entry.cost_status) or "unknown"}
    return spent | {"last_prompt_tokens": min(entry.last_prompt_tokens, _MOST_TOKENS)}


def _count(value: object) -> int:
    """A number of tokens, whole, however it was written down; 0 for what is none."""
    if isinstance(value, str) and len(value) <= _MOST_DIGITS:
        with suppress(ValueError):
            value = float(value)
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else 0
    return int(min(number, _MOST_TOKENS)) if 0 < number < float("inf") else 0


def _text(value: object) -> str | None:
    return clean_text(value)[:MAX_NAME] if isinstance(value, str) and value else None


def _title(value: object) -> str | None:
    return " ".join(text.split()) or None if (text := _text(value)) else None


def _entry_text(entry: SessionEntry | None, name: str) -> str | None:
    return _text(getattr(entry, name)) if entry is not None else None
