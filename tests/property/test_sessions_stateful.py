"""Sessions under any sequence of messages, commands, expiry, clocks and crashes: what always holds."""

import asyncio
import shutil
import sqlite3
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, closing
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.ports import Usage
from gateway.session import SessionInUse, SessionSource, SessionStore, UnknownSession, reset_reason
from gateway.storage import queries
from gateway.storage.database import Database
from tests.property.profile import effort
from tests.support.stores import START, HandClock, dm, group, resets

T = TypeVar("T")

SOURCES = (dm("9", "7"), dm("8", "6"), group(user="7"), group(user=None, thread="7"))
"""Two people; the first has two places; the last two slots have one readable key."""

SOURCE = st.sampled_from(SOURCES)
TOKENS = st.integers(0, 9)
PICK = st.integers(0, 99)
CONFIG = resets("both", timezone="Europe/Berlin", idle_minutes=60, at_hour=2)


class Sessions(RuleBasedStateMachine):
    """A store, and beside it what each session must hold: its messages and its tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.directory = Path(self.folder.name)
        self.stack = AsyncExitStack()
        self.clock = HandClock()
        self.said = 0
        self.messages: dict[str, list[str]] = {}
        self.tokens: dict[str, int] = {}
        self.open_turns: set[SessionSource] = set()
        self.crash_at: str | None = None

    # --- opening, closing, crashing ----------------------------------------------------------------------

    @initialize(summer=st.booleans())
    def begin(self, summer: bool) -> None:
        self.clock.instant = datetime.fromisoformat("2026-10-24T22:00Z") if summer else START
        self.open()

    def open(self) -> None:
        path = self.directory / "gateway.db"
        context = Database.open(path, synchronous="normal", probe=self.probe)
        self.database = self.runner.run(self.stack.enter_async_context(context))
        self.store = SessionStore(self.database, CONFIG, clock=self.clock)

    def probe(self, step: str) -> None:
        """On the writer's thread: what a crash at this step leaves behind is what the files hold now."""
        if step == self.crash_at:
            for file in self.directory.glob("gateway.db*"):
                shutil.copy(file, self.directory / file.name.replace("gateway", "crashed"))
            (self.directory / "crashed.db-shm").unlink(missing_ok=True)
            self.crash_at = None

    @rule()
    def restart(self) -> None:
        self.runner.run(self.stack.aclose())
        self.open()

    @rule(source=SOURCE, step=st.sampled_from(["writer.before-commit", "writer.after-commit"]), tokens=TOKENS)
    def crash_while_a_message_is_recorded(self, source: SessionSource, step: str, tokens: int) -> None:
        self.crash_at = step
        text, session_id = self.record(source, tokens)
        if step == "writer.after-commit":
            self.note(session_id, text, tokens)
        self.runner.run(self.stack.aclose())
        for file in self.directory.glob("gateway.db*"):
            file.unlink()
        for file in self.directory.glob("crashed.db*"):
            file.rename(self.directory / file.name.replace("crashed", "gateway"))
        self.open()

    # --- messages ----------------------------------------------------------------------------------------

    def live(self, source: SessionSource) -> sqlite3.Row | None:
        identity = self.store.identity(source)
        for row in self.rows(
            "SELECT slots.*, sessions.updated_at FROM slots JOIN sessions ON sessions.id = session_id"
        ):
            if (row["chat"], row["thread"], row["participant"]) == (
                identity.chat,
                identity.thread,
                identity.participant,
            ):
                return row
        return None

    def next_text(self) -> str:
        self.said += 1
        return f"message {self.said}"

    def note(self, session_id: str, text: str, tokens: int) -> None:
        self.messages.setdefault(session_id, []).append(text)
        self.tokens[session_id] = self.tokens.get(session_id, 0) + tokens

    def record(self, source: SessionSource, tokens: int) -> tuple[str, str]:
        text = self.next_text()
        turn = [{"role": "user", "content": text}]
        return text, self.run(lambda: self.store.record_turn(source, turn, Usage(tokens)))

    def goes_on(self, source: SessionSource) -> str | None:
        """The session that a message must find, by the rule alone; None if it must find a new one."""
        row = self.live(source)
        if row is None:
            return None
        updated_at = START.fromtimestamp(row["updated_at"] / 1e6, tz=START.tzinfo)
        policy = CONFIG.get_reset_policy(source.platform, source.chat_type)
        over = reset_reason(policy, updated_at, self.clock.instant, CONFIG.zone)
        return None if over and source not in self.open_turns else str(row["session_id"])

    @rule(source=SOURCE, tokens=TOKENS)
    def message(self, source: SessionSource, tokens: int) -> None:
        expected = self.goes_on(source)
        text, session_id = self.record(source, tokens)
        if expected is None:
            assert session_id not in self.messages, "a session that has ended was given a message"
        else:
            assert session_id == expected
        self.note(session_id, text, tokens)

    @rule(source=SOURCE, tokens=TOKENS)
    def message_in_three_calls(self, source: SessionSource, tokens: int) -> None:
        async def work() -> str:
            entry = await self.store.get_or_create_session(source)
            await self.store.append_turn(entry.session_id, [{"role": "user", "content": text}])
            await self.store.update_session(entry.session_id, output_tokens=tokens)
            return entry.session_id

        expected, text = self.goes_on(source), self.next_text()
        session_id = self.run(work)
        assert expected in (None, session_id)
        self.note(session_id, text, tokens)

    @rule(tokens=TOKENS)
    def messages_at_once(self, tokens: int) -> None:
        async def work() -> list[str]:
            recorded = [
                self.store.record_turn(source, [{"role": "user", "content": text}], Usage(tokens))
                for source, text in said
            ]
            return await asyncio.gather(*recorded)

        said = [(source, self.next_text()) for source in SOURCES * 2]
        for (_source, text), session_id in zip(said, self.run(work), strict=True):
            self.note(session_id, text, tokens)

    # --- commands ----------------------------------------------------------------------------------------

    @rule(source=SOURCE)
    def command_reset(self, source: SessionSource) -> None:
        before = self.live(source)
        entry = self.run(lambda: self.store.reset_session(self.store.identity(source)))
        if before is not None:
            assert entry is not None
            assert entry.predecessor_id == before["session_id"]
        assert entry is None or not entry.was_auto_reset

    @rule(source=SOURCE)
    def force_new(self, source: SessionSource) -> None:
        entry = self.run(lambda: self.store.get_or_create_session(source, force_new=True))
        assert entry.session_id not in self.messages

    @rule(source=SOURCE, pick=PICK)
    def switch(self, source: SessionSource, pick: int) -> None:
        # Ended ones twice: they are what a person switches to.
        ended = "SELECT id, rowid AS number FROM sessions WHERE ended_at IS NOT NULL"
        ids = [row["id"] for row in self.rows(f"SELECT id, rowid AS number FROM sessions UNION ALL {ended} ORDER BY 2")]
        if not ids:
            return
        target = ids[-1 - pick % len(ids)]
        try:
            entry = self.run(lambda: self.store.switch_session(self.store.identity(source), target))
        except (UnknownSession, SessionInUse):
            return
        if entry is not None:
            row = self.live(source)
            assert (entry.session_id, row and row["session_id"]) == (target, target)

    @rule(source=st.sampled_from(SOURCES[:1] + SOURCES[2:3]))
    def expired_session_moves_to_its_owners_other_place(self, source: SessionSource) -> None:
        other = SOURCES[2] if source is SOURCES[0] else SOURCES[0]
        before = self.live(source)
        self.clock.advance(hours=2)
        self.run(lambda: self.store.expire_session(self.store.identity(source)))
        if before is not None and self.live(source) is None:
            self.message(other, 1)
            moved = self.run(lambda: self.store.switch_session(self.store.identity(other), before["session_id"]))
            assert moved is not None

    @rule(pick=PICK)
    def take_back(self, pick: int) -> None:
        if self.messages:
            session_id = sorted(self.messages)[pick % len(self.messages)]
            cut = self.run(lambda: self.store.cut_last_turn(session_id))
            said = self.messages[session_id]
            assert (cut and cut.message["content"]) == (said[-1] if said else None)
            del said[-1:]

    @rule(pick=PICK)
    def rewrite(self, pick: int) -> None:
        if self.messages:
            session_id = sorted(self.messages)[pick % len(self.messages)]
            kept = self.messages[session_id][-2:]
            turn = [{"role": "user", "content": text} for text in kept]
            self.run(lambda: self.store.rewrite_transcript(session_id, turn))
            self.messages[session_id] = kept

    @rule(pick=PICK, tokens=TOKENS)
    def late_usage(self, pick: int, tokens: int) -> None:
        if self.messages:
            session_id = sorted(self.messages)[pick % len(self.messages)]
            self.run(lambda: self.store.update_session(session_id, cache_read_tokens=tokens))
            self.tokens[session_id] += tokens

    # --- time and work -----------------------------------------------------------------------------------

    @rule(minutes=st.sampled_from([1, 30, 59, 60, 61, 90, 600, -1, -45, -1500]))
    def clock_moves(self, minutes: int) -> None:
        self.clock.advance(minutes=minutes)

    @rule(source=SOURCE, hours=st.sampled_from([0, 0, 2]))
    def expire(self, source: SessionSource, hours: int) -> None:
        self.clock.advance(hours=hours)
        goes_on, before = self.goes_on(source), self.live(source)
        reason = self.run(lambda: self.store.expire_session(self.store.identity(source)))
        assert (reason is not None) == (before is not None and goes_on is None)
        after = self.live(source)
        assert (after and after["session_id"]) == goes_on

    @rule()
    def watcher_sees_what_a_message_would(self) -> None:
        async def due() -> set[Any]:
            return {identity async for identity in self.store.due_slots()}

        expected = {
            self.store.identity(source)
            for source in SOURCES
            if self.live(source) is not None and source not in self.open_turns and self.goes_on(source) is None
        }
        open_ = {self.store.identity(source) for source in self.open_turns}
        assert self.run(due) - open_ == expected

    @precondition(lambda self: len(self.open_turns) < len(SOURCES))
    @rule(source=SOURCE)
    def turn_begins(self, source: SessionSource) -> None:
        row = self.live(source)
        if row is not None and source not in self.open_turns:
            values = (f"t{row['id']}-{self.said}-{self.clock.instant}", row["id"], row["session_id"], "echo", 0)
            self.write(queries.ADD_TURN, values)
            self.open_turns.add(source)

    @precondition(lambda self: self.open_turns)
    @rule(pick=PICK)
    def turn_ends(self, pick: int) -> None:
        turns = self.rows("SELECT * FROM turns WHERE state <> 'done' ORDER BY id")
        turn = turns[pick % len(turns)]
        self.write(f"DELETE FROM turns WHERE id = '{turn['id']}'")
        slots = {row["id"]: row for row in self.rows("SELECT * FROM slots")}
        ended = slots[turn["slot_id"]]
        place = (ended["chat"], ended["thread"], ended["participant"])
        for source in SOURCES:
            identity = self.store.identity(source)
            if (identity.chat, identity.thread, identity.participant) == place:
                self.open_turns.discard(source)

    # --- what always holds -------------------------------------------------------------------------------

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        async def awaited() -> T:
            return await work()

        return self.runner.run(awaited())

    def write(self, sql: str, values: tuple[Any, ...] = ()) -> None:
        self.run(lambda: self.database.write(lambda connection: connection.execute(sql, values).rowcount))

    def rows(self, sql: str) -> list[sqlite3.Row]:
        with closing(sqlite3.connect(self.directory / "gateway.db")) as connection:
            connection.row_factory = sqlite3.Row
            return connection.execute(sql).fetchall()

    @invariant()
    def slots_and_sessions_agree(self) -> None:
        if not hasattr(self, "database"):
            return
        sessions = {row["id"]: row for row in self.rows("SELECT * FROM sessions")}
        bound = [(row["id"], row["session_id"]) for row in self.rows("SELECT * FROM slots") if row["session_id"]]
        live = {name: row for name, row in sessions.items() if row["ended_at"] is None}
        assert sorted(name for _slot, name in bound) == sorted(live), "live is what exactly one slot has"
        assert all(live[name]["slot_id"] == slot for slot, name in bound)
        for row in sessions.values():
            assert row["updated_at"] >= row["created_at"]
            if row["ended_at"] is None:
                assert (row["end_reason"], row["end_detail"], row["successor_id"]) == (None, None, None)
            else:
                assert row["end_reason"] in ("session_reset", "session_switch")
                assert row["end_detail"] in ("idle", "daily", "command", "switch")
            if row["was_auto_reset"]:
                assert sessions[row["predecessor_id"]] is not None
                assert row["auto_reset_reason"] in ("idle", "daily")
        for link in ("predecessor_id", "successor_id"):
            assert_acyclic({name: row[link] for name, row in sessions.items()})

    @invariant()
    def sessions_hold_what_was_said(self) -> None:
        if not hasattr(self, "database"):
            return
        stored: dict[str, list[str]] = {}
        for row in self.rows("SELECT session_id, content FROM messages ORDER BY id"):
            stored.setdefault(row["session_id"], []).append(row["content"])
        assert stored == {name: said for name, said in self.messages.items() if said}
        for row in self.rows("SELECT * FROM sessions"):
            assert row["message_count"] == len(stored.get(row["id"], []))
            tokens = row["input_tokens"] + row["output_tokens"] + row["cache_read_tokens"] + row["cache_write_tokens"]
            assert tokens == self.tokens.get(row["id"], 0)

    def teardown(self) -> None:
        self.runner.run(self.stack.aclose())
        self.runner.close()
        self.folder.cleanup()


def assert_acyclic(links: dict[str, str | None]) -> None:
    for start, at in links.items():
        seen = {start}
        while at is not None:
            assert at not in seen, f"{start} comes round to itself"
            seen.add(at)
            at = links[at]


TestSessions = Sessions.TestCase
TestSessions.settings = effort(examples=50, steps=40)
