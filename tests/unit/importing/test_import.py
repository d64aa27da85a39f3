"""Imports into a store: what comes in, that it goes on, and that nothing comes in twice."""

import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from config import GatewayConfig, Platform
from gateway.constants import MAX_FRAME_BYTES
from gateway.frames import encode
from gateway.importing.home import HermesHome, HermesReader, NoHermesHomeError, here
from gateway.importing.importer import PART_CHARACTERS, PART_MESSAGES, Importer
from gateway.importing.intake import ImportRefusedError
from gateway.importing.messages import MAX_MESSAGE_BYTES
from gateway.importing.problems import Problem
from gateway.importing.records import to_wire
from gateway.importing.stores import DryStore
from gateway.search import search
from gateway.session.cuts import cut_turns
from gateway.session.store import DATABASE_NAME
from gateway.source import SessionSource
from gateway.storage.hermes_state import UnreadableStateError
from tests.support.hermes_home import BEGIN, OLD_SCHEMA, SECRETS, Writer, many, source, talk
from tests.support.stores import HandClock
from tests.unit.importing.support import Gateway, Recorder, dump, gateway

ANN = SessionSource(Platform.TELEGRAM, "7", user_id="7")
KEY = "agent:main:telegram:dm:7"
ID = "20260301_080000_0a1b2c3d"
NOW = datetime(2026, 3, 25, 10, tzinfo=UTC)


@pytest.fixture
def home(tmp_path: Path) -> Writer:
    return Writer(tmp_path / "hermes")


@pytest.fixture
async def ours(tmp_path: Path) -> AsyncIterator[Gateway]:
    (tmp_path / "gateway").mkdir()
    async with gateway(tmp_path / "gateway") as opened:
        yield opened


def ann(home: Writer, turns: int = 2, **more: Any) -> None:
    """A private chat that goes on."""
    home.row(ID, talk("tea", turns), source="telegram", user_id="7", **more)
    home.entry(ID, KEY, source("telegram", "7", user_id="7", chat_name="Ann"))


async def test_the_next_message_goes_on(home: Writer, ours: Gateway) -> None:
    ann(home, title="Teas of the world", input_tokens=7, estimated_cost_usd=0.5, cost_status="estimated")
    report = await ours.take(home.path)
    assert (report.new, report.live, report.messages, report.problems) == (1, 1, 4, ())
    entry = await ours.store.get_or_create_session(ANN)
    assert (entry.session_id, entry.session_key, entry.title) == (ID, KEY, "Teas of the world")
    assert (entry.input_tokens, entry.estimated_cost_usd, entry.cost_status) == (7, 0.5, "estimated")
    assert not entry.was_auto_reset
    await ours.store.append_turn(ID, [{"role": "user", "content": "and now?"}])
    assert await ours.said(ID) == [
        "tea 0: what is it?", "It is tea 0.", "tea 1: what is it?", "It is tea 1.", "and now?",
    ]  # fmt: skip


async def test_times_are_those_of_the_source(home: Writer, ours: Gateway) -> None:
    ann(home)
    await ours.take(home.path)
    entry = await ours.store.get_session(ID)
    assert (entry.created_at, entry.updated_at) == (BEGIN, datetime(2026, 3, 1, 9, 30, 0, 250000, UTC))
    rows = await ours.rows("SELECT created_at FROM messages WHERE session_id = ? ORDER BY id LIMIT 1", ID)
    assert rows == [(round(BEGIN.timestamp() * 1_000_000),)]


async def test_the_reset_policy_counts_from_the_import(home: Writer, ours: Gateway) -> None:
    ann(home)
    await ours.take(home.path)
    identity = ours.store.identity(ANN)
    ours.clock.advance(hours=23)
    assert [slot async for slot in ours.store.due_slots()] == []
    assert await ours.store.expire_session(identity) is None
    assert (await ours.store.get_or_create_session(ANN)).session_id == ID
    ours.clock.advance(hours=25)
    assert [slot async for slot in ours.store.due_slots()] == [identity]
    assert (await ours.store.get_or_create_session(ANN)).session_id != ID


async def test_one_that_is_never_continued_ends_by_its_policy(home: Writer, ours: Gateway) -> None:
    ann(home)
    await ours.take(home.path)
    ours.clock.advance(hours=25)
    assert await ours.store.expire_session(ours.store.identity(ANN)) == "idle"


@pytest.mark.parametrize("old", [False, True])
async def test_a_thousand_sessions_twice(tmp_path: Path, old: bool) -> None:
    many(tmp_path / "hermes", 1000, old=old)
    before = {path: path.read_bytes() for path in (tmp_path / "hermes").rglob("*") if path.is_file()}
    async with gateway(tmp_path) as ours:
        first = await ours.take(tmp_path / "hermes")
        assert (first.sessions, first.new, first.problems) == (1000, 1000, ())
    whole = dump(tmp_path / DATABASE_NAME)
    async with gateway(tmp_path, clock=HandClock(NOW + timedelta(days=9))) as ours:
        second = await ours.take(tmp_path / "hermes")
        assert (second.new, second.same, second.messages) == (0, 1000, 0)
    assert dump(tmp_path / DATABASE_NAME) == whole
    assert {path: path.read_bytes() for path in (tmp_path / "hermes").rglob("*") if path.is_file()} == before


async def test_an_import_that_was_cut_short_anywhere_is_completed(tmp_path: Path) -> None:
    home = many(tmp_path / "hermes", 60)
    home.row("20260101_000000_long", talk("long", 500), source="cli")
    (tmp_path / "whole").mkdir()
    async with gateway(tmp_path / "whole") as ours:
        with HermesReader.open(HermesHome.at(home.path), UTC) as reader:
            recorder = Recorder(ours.intake)
            await Importer(reader, recorder).run()
    parts = len(recorder.parts)
    assert parts > 4
    for stop in range(parts):
        folder = tmp_path / f"cut{stop}"
        folder.mkdir()
        async with gateway(folder) as ours:
            with HermesReader.open(HermesHome.at(home.path), UTC) as reader, pytest.raises(ConnectionAbortedError):
                await Importer(reader, Recorder(ours.intake, stop)).run()
            report = await ours.take(home.path)
            assert report.continued == report.changed == ()
        assert content(folder) == content(tmp_path / "whole")


def content(folder: Path) -> list[Any]:
    """What is in a store, whatever the order in which it came in."""
    with closing(sqlite3.connect(folder / DATABASE_NAME)) as connection:
        sessions = connection.execute("SELECT * FROM sessions ORDER BY id").fetchall()
        slots = {row[0]: row[1:] for row in connection.execute("SELECT * FROM slots")}
        messages = connection.execute(
            "SELECT session_id, role, content, data, created_at FROM messages ORDER BY session_id, id"
        ).fetchall()
    return [[(row[0], slots[row[1]], *row[2:]) for row in sessions], messages]


async def test_parts_are_bounded(tmp_path: Path, home: Writer, ours: Gateway) -> None:
    for number in range(120):
        home.jsonl(f"2026010{number % 9}_000000_{number:03}", talk("short"))
    home.row(ID, talk("x" * 3000, 300), source="cli")
    with HermesReader.open(HermesHome.at(home.path), UTC) as reader:
        recorder = Recorder(ours.intake)
        report = await Importer(reader, recorder).run()
    assert report.messages == 120 * 2 + 600
    for part in recorder.parts:
        messages = [message for piece in part for message in piece.messages]
        assert len(messages) <= PART_MESSAGES
        assert sum(len(message.content or "") for message in messages) <= PART_CHARACTERS
    assert len(recorder.parts) >= 600 * 3000 / 2 / PART_CHARACTERS


async def test_what_is_said_there_later_is_added(home: Writer, ours: Gateway) -> None:
    ann(home)
    await ours.take(home.path)
    with closing(sqlite3.connect(home.state)) as connection, connection:
        connection.execute(
            "INSERT INTO messages (session_id, role, content, timestamp) VALUES (?, 'user', 'later', ?)",
            (ID, BEGIN.timestamp() + 9000),
        )
    report = await ours.take(home.path)
    assert (report.new, report.longer, report.messages) == (0, 1, 1)
    assert (await ours.said(ID))[-1] == "later"
    assert (await ours.store.get_session(ID)).message_count == 5


async def test_a_conversation_that_went_on_here_is_left_alone(home: Writer, ours: Gateway) -> None:
    ann(home)
    await ours.take(home.path)
    await ours.store.append_turn(ID, [{"role": "user", "content": "here"}])
    home.jsonl(ID, talk("tea", 9))
    report = await ours.take(home.path)
    assert (report.continued, report.messages) == ((ID,), 0)
    assert (await ours.said(ID))[-1] == "here"


async def test_what_was_taken_back_here_does_not_come_back(home: Writer, ours: Gateway) -> None:
    ann(home)
    await ours.take(home.path)
    await ours.database.write(lambda connection: cut_turns(connection, ID, 1, NOW))
    report = await ours.take(home.path)
    assert (report.same, report.messages) == (1, 0)
    assert len(await ours.said(ID)) == 2


async def test_a_transcript_that_was_rewritten_there_is_not_mixed(home: Writer, ours: Gateway) -> None:
    ann(home)
    await ours.take(home.path)
    home.jsonl(ID, talk("coffee", 4))
    report = await ours.take(home.path)
    assert (report.changed, report.longer, report.messages) == ((ID,), 0, 0)
    assert len(await ours.said(ID)) == 4


async def test_nothing_comes_in_under_a_running_turn(home: Writer, ours: Gateway) -> None:
    ann(home)
    await ours.take(home.path)
    home.jsonl(ID, talk("tea", 3))
    turn = ("t", ID, "echo", "running", 1)

    def begin(connection: sqlite3.Connection) -> None:
        (slot,) = connection.execute("SELECT slot_id FROM sessions").fetchone()
        sql = "INSERT INTO turns (id, session_id, agent, state, started_at, slot_id) VALUES (?, ?, ?, ?, ?, ?)"
        connection.execute(sql, (*turn, slot))

    await ours.database.write(begin)
    report = await ours.take(home.path)
    assert (report.busy, report.longer, report.messages) == ((ID,), 0, 0)
    await ours.database.write(lambda connection: connection.execute("UPDATE turns SET state = 'done'").rowcount)
    assert (await ours.take(home.path)).messages == 2


async def test_nothing_comes_in_while_the_database_is_out_of_use(
    tmp_path: Path, home: Writer, ours: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.storage.writer.SQLITE_BUSY_SECONDS", 0.02)
    ann(home)
    with closing(sqlite3.connect(tmp_path / "gateway" / DATABASE_NAME, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        await ours.database.write(lambda connection: connection.execute("UPDATE slots SET key = key").rowcount)
        with pytest.raises(ImportRefusedError, match="import again once it is back"):
            await ours.take(home.path)


async def test_a_conversation_that_goes_on_here_is_not_replaced(home: Writer, ours: Gateway) -> None:
    current = await ours.store.get_or_create_session(ANN)
    ann(home)
    report = await ours.take(home.path)
    assert (report.occupied, report.live) == ((ID,), 0)
    assert (await ours.store.get_or_create_session(ANN)).session_id == current.session_id
    switched = await ours.store.switch_session(KEY, ID)
    assert switched is not None
    assert switched.session_id == ID


async def test_a_session_that_began_here_is_not_touched(home: Writer, ours: Gateway) -> None:
    current = await ours.store.get_or_create_session(ANN)
    home.row(current.session_id, talk("forged"), source="telegram", user_id="7")
    report = await ours.take(home.path)
    assert report.own == (current.session_id,)
    assert await ours.said(current.session_id) == []


async def test_ended_sessions_are_found_and_resumed_by_whom_they_belong_to(home: Writer, ours: Gateway) -> None:
    ann(home)
    for number, user in enumerate(("7", "8")):
        columns = {"ended_at": BEGIN.timestamp() + 60, "end_reason": "session_reset", "user_id": user}
        home.row(f"20260201_000000_{number}", talk("zebra"), source="telegram", **columns)
    await ours.take(home.path)
    entry = await ours.store.get_session("20260201_000000_0")
    assert (entry.end_reason, entry.is_live) == ("session_reset", False)
    owners = await ours.rows("SELECT id, owner FROM sessions ORDER BY id")
    assert owners == [
        ("20260201_000000_0", "telegram:user:7"), ("20260201_000000_1", "telegram:user:8"), (ID, "telegram:user:7"),
    ]  # fmt: skip
    hits = await search(ours.database, "zebra")
    assert {hit.session_id for hit in hits} == {"20260201_000000_0", "20260201_000000_1"}
    assert await ours.store.switch_session(KEY, "20260201_000000_0") is not None
    with pytest.raises(KeyError):
        await ours.store.switch_session(KEY, "20260201_000000_1")


async def test_a_session_of_which_no_owner_is_known_is_nobodys(home: Writer, ours: Gateway) -> None:
    home.jsonl("20260201_000000_one", talk("one"))
    home.jsonl("20260201_000000_two", talk("two"))
    report = await ours.take(home.path)
    assert report.nobody == 2
    owners = {owner for (owner,) in await ours.rows("SELECT owner FROM sessions")}
    assert owners == {"import:session:20260201_000000_one", "import:session:20260201_000000_two"}


async def test_one_session_follows_another(home: Writer, ours: Gateway) -> None:
    parent = "20260101_000000_parent"
    home.row(parent, talk("a"), source="telegram", started_at=1.0, ended_at=50.0, end_reason="compression")
    ann(home, parent_session_id=parent)
    await ours.take(home.path)
    assert (await ours.store.get_session(ID)).predecessor_id == parent
    assert (await ours.store.get_session(parent)).successor_id == ID


@pytest.mark.parametrize(
    ("more", "row"),
    [({"suspended": True}, {}), ({}, {"ended_at": 9.0, "end_reason": "session_reset"})],
)
async def test_one_that_was_over_there_does_not_go_on(
    home: Writer, ours: Gateway, more: dict[str, Any], row: dict[str, Any]
) -> None:
    home.row(ID, talk("a"), source="telegram", user_id="7", **row)
    home.entry(ID, KEY, source("telegram", "7", user_id="7"), **more)
    assert (await ours.take(home.path)).live == 0
    assert (await ours.store.get_or_create_session(ANN)).session_id != ID


async def test_an_unknown_platform(home: Writer, ours: Gateway) -> None:
    origin = source("sometalk", "9", user_id="7", chat_type="group", chat_name="Knitting")
    home.row(ID, talk("wool"), source="sometalk")
    home.entry(ID, "agent:main:sometalk:group:9:7", origin)
    report = await ours.take(home.path)
    assert report.unroutable == {"sometalk": 1}
    entry = await ours.store.get_session(ID)
    assert (entry.platform, entry.unknown_platform, entry.unknown_origin) == (None, "sometalk", origin)
    assert entry.display_name == "Knitting"


async def test_a_thread_is_found_by_its_first_message(home: Writer, ours: Gateway) -> None:
    origin = source("discord", "91", chat_type="thread", user_id="7", thread_id="91")
    home.row(ID, talk("thread"), source="discord", user_id="7")
    home.entry(ID, "agent:main:discord:thread:91:91", origin)
    await ours.take(home.path)
    other = SessionSource(Platform.DISCORD, "90", chat_type="thread", thread_id="92", user_id="7")
    stranger = SessionSource(Platform.DISCORD, "90", chat_type="thread", thread_id="91", user_id="8")
    person = SessionSource(Platform.DISCORD, "90", chat_type="thread", thread_id="91", user_id="7")
    assert (await ours.store.get_or_create_session(other)).session_id != ID
    assert (await ours.store.get_or_create_session(stranger)).session_id != ID
    entry = await ours.store.get_or_create_session(person)
    assert (entry.session_id, entry.session_key) == (ID, "agent:main:discord:thread:90:91:7")
    again = await ours.take(home.path)
    assert (again.same, again.new) == (1, 0)


async def test_a_shared_thread_gets_its_owner_with_its_chat(tmp_path: Path, home: Writer) -> None:
    config = GatewayConfig.model_validate({"sessions": {"thread_sessions_per_user": False}})
    home.row(ID, talk("thread"), source="discord", user_id="7")
    home.entry(ID, "agent:main:discord:thread:91:91", source("discord", "91", chat_type="thread", thread_id="91"))
    async with gateway(tmp_path, config) as ours:
        await ours.take(home.path)
        message = SessionSource(Platform.DISCORD, "90", chat_type="thread", thread_id="91", user_id="8")
        assert (await ours.store.get_or_create_session(message)).session_id == ID
        assert await ours.rows("SELECT owner FROM sessions") == [("discord:thread:90:91",)]


async def test_messages_of_every_kind(home: Writer, ours: Gateway) -> None:
    calls = [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}]
    parts = [{"type": "text", "text": "schöner Zebrastreifen"}, {"type": "image_url", "image_url": {"url": "data:"}}]
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None, "tool_calls": calls, "reasoning": "hidden"},
        {"role": "tool", "content": "seen", "tool_call_id": "c1", "tool_name": "look"},
        {"role": "assistant", "content": "A \0 and \ufffd"},
    ]
    expected = [
        {"role": "user", "content": parts},
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "content": "seen", "tool_call_id": "c1", "tool_name": "look"},
        {"role": "assistant", "content": "A \ufffd and \ufffd"},
    ]
    home.row("in_rows", messages, source="cli")
    home.jsonl("in_a_file", messages)
    report = await ours.take(home.path)
    assert report.problems == ()
    assert await ours.store.load_transcript("in_rows") == expected
    assert await ours.store.load_transcript("in_a_file") == expected
    assert (await ours.store.get_session("in_rows")).title == "schöner Zebrastreifen"
    assert len(await search(ours.database, "zebrastreifen")) == 2


async def test_no_file_comes_in_with_a_message_that_names_one_as_ours_do(home: Writer, ours: Gateway) -> None:
    origin = {"platform": "slack", "account": "default", "kind": "image", "id": "F0123"}
    image = {"type": "image", "path": f"in/{ID}/7-0-0123456789abcdef.png", "media_type": "image/png", "origin": origin}
    messages = [{"role": role, "content": [{"type": "text", "text": "look"}, image]} for role in ("user", "tool")]
    home.row("in_rows", messages, source="cli")
    home.jsonl("in_a_file", messages)
    await ours.take(home.path)
    for session in ("in_rows", "in_a_file"):
        for content in await ours.said(session):
            assert content == [{"type": "text", "text": "look"}, {"type": "image", "media_type": "image/png"}]


async def test_what_was_taken_back_or_overheard_stays_there(home: Writer, ours: Gateway) -> None:
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "said"},
        {"role": "user", "content": "taken back", "active": 0},
        {"role": "user", "content": "overheard", "observed": 1},
    ]
    home.row("one", messages, source="cli")
    await ours.take(home.path)
    assert await ours.said("one") == ["said"]


@pytest.mark.parametrize(("rows", "lines", "expected"), [(2, 3, "file"), (3, 2, "row"), (2, 2, "row"), (0, 1, "file")])
async def test_the_longer_of_two_transcripts_counts(
    home: Writer, ours: Gateway, rows: int, lines: int, expected: str
) -> None:
    home.row("one", talk("row", rows), source="cli")
    home.jsonl("one", talk("file", lines))
    await ours.take(home.path)
    assert (await ours.said("one"))[0] == f"{expected} 0: what is it?"
    assert len(await ours.said("one")) == 2 * max(rows, lines)


async def test_an_id_that_cannot_be_one_here_gets_another(home: Writer, ours: Gateway) -> None:
    ids = ["API-7f3A", "../../etc/passwd", "ünï", "a" * 200]
    for each in ids:
        home.row(each, talk("odd"), source="cli")
    report = await ours.take(home.path)
    assert report.new == 4
    stored = {row[0] for row in await ours.rows("SELECT id FROM sessions")}
    assert stored == {here(each) for each in ids}
    assert all(each.startswith("import_") for each in stored)


# --- damage ------------------------------------------------------------------------------------------------


async def test_bad_lines_are_named_and_left_out(home: Writer, ours: Gateway) -> None:
    path = home.jsonl("one", talk("good"))
    with path.open("ab") as file:
        file.write(b'{"role": "user", "cont\n\n[1]\n\xff\xfe\n{"role": "user", "content": NaN}\n')
        file.write(json.dumps({"role": "user", "content": "last"}).encode())
    report = await ours.take(home.path)
    assert (await ours.said("one"))[-1] == "last"
    assert [problem.where for problem in report.problems] == [f"one.jsonl, line {line}" for line in (4, 6, 7, 8)]
    again = await ours.take(home.path)
    assert (again.same, again.problems) == (1, report.problems)


@pytest.mark.parametrize("role", [["user"], {"is": "user"}, 1, None])
async def test_a_role_that_is_no_text_ends_no_import(home: Writer, ours: Gateway, role: object) -> None:
    home.jsonl("one", [*talk("good"), {"role": role, "content": "odd"}])
    report = await ours.take(home.path)
    assert (report.new, report.problems) == (1, ())
    assert (await ours.said("one"))[-1] == "odd"


async def test_bad_entries_are_named_and_the_others_used(home: Writer, ours: Gateway) -> None:
    ann(home)
    home.index |= {
        "null": None,
        "list": [1],
        "no id": {"created_at": "2026-03-01T08:00:00"},
        "bad time": {"session_id": "x1", "created_at": "yesterday"},
        "_readme": "what this is",
    }
    (home.sessions / "sessions.json").write_text(json.dumps(home.index))
    report = await ours.take(home.path)
    assert (report.live, len(report.problems)) == (1, 4)


async def test_an_index_that_breaks_off_is_used_up_to_there(home: Writer, ours: Gateway) -> None:
    ann(home)
    home.entry("20260301_080000_second", "agent:main:telegram:dm:8", source("telegram", "8", user_id="8"))
    index = home.sessions / "sessions.json"
    text = index.read_text()
    index.write_text(text[: text.index("agent:main:telegram:dm:8") + 60])
    report = await ours.take(home.path)
    assert report.live == 1
    assert [problem.where for problem in report.problems] == ["sessions.json"]


@pytest.mark.parametrize("damage", [b"", b"not a database, but long enough to be looked at as one" * 99])
async def test_a_database_that_is_none_leaves_the_files(home: Writer, ours: Gateway, damage: bytes) -> None:
    home.entry(ID, KEY, source("telegram", "7", user_id="7"))
    home.jsonl(ID, talk("file"))
    home.state.write_bytes(damage)
    report = await ours.take(home.path)
    assert (report.new, report.live, report.messages) == (1, 1, 2)
    assert {problem.where for problem in report.problems} == {"state.db"}


async def test_a_broken_page_costs_what_stands_on_it(home: Writer, ours: Gateway) -> None:
    for number in range(40):
        home.row(f"s{number:02}", talk("x" * 800, 4), source="cli")
    data = bytearray(home.state.read_bytes())
    page = int.from_bytes(data[16:18], "big")
    data[page * 40 : page * 41] = b"\xff" * page
    home.state.write_bytes(data)
    report = await ours.take(home.path)
    assert report.problems != ()
    assert all("state.db" in problem.where or "session " in problem.where for problem in report.problems)
    assert report.new > 30


async def test_a_message_that_is_too_large_is_named(home: Writer, ours: Gateway) -> None:
    messages = [{"role": "user", "content": "x" * (MAX_MESSAGE_BYTES + 1)}, *talk("small")]
    home.jsonl("one", messages)
    report = await ours.take(home.path)
    assert report.messages == 2
    assert [problem.where for problem in report.problems] == ["one.jsonl, line 2"]


async def test_the_largest_messages_fit_a_frame(home: Writer, ours: Gateway) -> None:
    large = {"role": "user", "content": "\n" * (MAX_MESSAGE_BYTES // 2 - 100)}
    home.jsonl("one", [large, large, {"role": "user", "content": "ü" * 2_000_000}])
    with HermesReader.open(HermesHome.at(home.path), UTC) as reader:
        recorder = Recorder(ours.intake)
        report = await Importer(reader, recorder).run()
    assert (report.messages, report.problems) == (
        2,
        (Problem("one.jsonl, line 4", "is larger than 7 MiB, and was left out"),),
    )
    assert (
        max(len(encode({"op": "take_in", "pieces": to_wire(list(part))})) for part in recorder.parts) < MAX_FRAME_BYTES
    )


async def without_its_record(home: Writer, session_id: str) -> None:
    with closing(sqlite3.connect(home.state)) as connection, connection:
        connection.execute("DELETE FROM sessions WHERE id = ?", (session_id,))


async def test_a_conversation_whose_record_is_lost_goes_on_with_what_was_said(home: Writer, ours: Gateway) -> None:
    home.entry(ID, KEY, source("telegram", "7", user_id="7"))
    home.row(ID, talk("kept"))
    await without_its_record(home, ID)
    for _ in range(2):
        report = await ours.take(home.path)
        assert report.problems == (Problem(f"session {ID}", "has no record in state.db; its messages were used"),)
    assert report.same == 1
    assert await ours.said(ID) == ["kept 0: what is it?", "It is kept 0."]


async def test_messages_of_which_no_session_is_known_are_named(home: Writer, ours: Gateway) -> None:
    home.row("there", talk("x"))
    for session_id in ("gone", "lost"):
        home.row(session_id, talk("y"))
        await without_its_record(home, session_id)
    with closing(sqlite3.connect(home.state)) as connection, connection:
        connection.execute("INSERT INTO sessions (id, started_at) VALUES (NULL, 0), ('', 0)")
    report = await ours.take(home.path)
    assert report.sessions == 1
    assert report.problems == (
        Problem("state.db", "records of sessions without an id were left out: 2"),
        Problem("state.db", "messages of sessions that are not there were left out: 4, of gone, lost"),
    )


async def test_tool_calls_that_are_null_are_none(home: Writer, ours: Gateway) -> None:
    home.row(ID, [{"role": "assistant", "content": "a", "tool_calls": None}])
    assert (await ours.take(home.path)).problems == ()


async def test_nonsense_in_every_column(home: Writer, ours: Gateway) -> None:
    home.row(
        ID, [{"role": 7, "content": b"\xff\x00", "tool_calls": "{", "timestamp": "soon"}], source="telegram",
        user_id=7.5, started_at="never", ended_at=1e300, title=b"\xff", input_tokens="many", message_count=-1,
        estimated_cost_usd=float("inf"), end_reason=4,
    )  # fmt: skip
    report = await ours.take(home.path)
    assert report.new == 1
    await ours.store.load_transcript(ID)
    await ours.store.get_session(ID)


# --- the source ----------------------------------------------------------------------------------------------


async def test_nothing_of_the_configuration_comes_in(tmp_path: Path, home: Writer) -> None:
    ann(home, system_prompt="You know sk-prompt-secret", model_config='{"api_key": "sk-config-secret"}')
    async with gateway(tmp_path) as ours:
        await ours.take(home.path)
    stored = "".join(dump(tmp_path / DATABASE_NAME))
    assert "tea 0" in stored
    for secret in ("secretsecret", "prompt-secret", "config-secret", "secret-access"):
        assert secret not in stored
    assert all("secret" in text for text in SECRETS.values())


@contextmanager
def in_use(home: Writer) -> Iterator[None]:
    """Another program has the database open, so that what is written stays in its log."""
    with closing(sqlite3.connect(home.state, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("SELECT count(*) FROM sessions").fetchone()
        yield


async def test_a_database_in_use_is_read_with_its_log_and_left_as_it_is(home: Writer, ours: Gateway) -> None:
    with in_use(home):
        ann(home)
        before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in home.path.rglob("*") if path.is_file()}
        assert home.state.with_name("state.db-wal") in before
        report = await ours.take(home.path)
        after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in home.path.rglob("*") if path.is_file()}
    assert report.messages == 4
    assert after == before


def test_a_database_that_is_written_meanwhile_is_told(home: Writer) -> None:
    ann(home)
    reading = HermesReader.open(HermesHome.at(home.path), UTC)
    assert len(reading.__enter__().sessions()) == 1
    home.row("another", talk("x"), source="cli")
    with pytest.raises(UnreadableStateError, match="written while it was read"):
        reading.__exit__(None, None, None)


def test_no_copy_is_left(tmp_path: Path, home: Writer) -> None:
    with in_use(home):
        ann(home)
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        with HermesReader.open(HermesHome.at(home.path), UTC, scratch) as reader:
            assert len(list(scratch.iterdir())) == 1
            assert len(reader.sessions()) == 1
        assert list(scratch.iterdir()) == []


def test_what_is_no_home_is_told(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("hello")
    for path in (tmp_path, tmp_path / "note.txt", tmp_path / "absent"):
        with pytest.raises(NoHermesHomeError):
            HermesHome.at(path)


def test_a_home_is_known_by_any_of_its_files(home: Writer) -> None:
    ann(home)
    file = home.jsonl("one", talk("x"))
    (home.path / "profiles" / "work").mkdir(parents=True)
    (home.path / "profiles" / "work" / "state.db").touch()
    whole = HermesHome.at(home.path)
    assert (whole.state, whole.index) == (home.state, home.sessions / "sessions.json")
    assert (dict(whole.transcripts), whole.profiles) == ({"one": file}, ("work",))
    assert HermesHome.at(home.sessions / "sessions.json").index == whole.index
    assert HermesHome.at(home.state).state == home.state
    assert dict(HermesHome.at(file).transcripts) == {"one": file}


async def test_sessions_without_any_table_but_those(tmp_path: Path, ours: Gateway) -> None:
    home = Writer(tmp_path / "old", OLD_SCHEMA)
    home.row(ID, talk("old"), user_id="7")
    home.row("20260101_000000_ended", talk("older"), user_id="7")
    home.entry(ID, KEY, source("telegram", "7", user_id="7"))
    report = await ours.take(home.path)
    assert (report.new, report.live, report.nobody) == (2, 1, 1)
    assert (await ours.store.get_or_create_session(ANN)).session_id == ID


# --- dry runs ------------------------------------------------------------------------------------------------


async def test_a_dry_run_tells_what_the_import_then_does(tmp_path: Path) -> None:
    many(tmp_path / "hermes", 200)
    ann(home := Writer(tmp_path / "hermes" / "more"))
    async with gateway(tmp_path) as ours:
        await ours.store.get_or_create_session(ANN)
    for path in (tmp_path / "hermes", home.path):
        before = (tmp_path / DATABASE_NAME).read_bytes()
        with (
            DryStore.open(tmp_path / DATABASE_NAME, GatewayConfig()) as dry,
            HermesReader.open(HermesHome.at(path), UTC) as reader,
        ):
            told = await Importer(reader, dry).run()
        assert (tmp_path / DATABASE_NAME).read_bytes() == before
        async with gateway(tmp_path) as ours:
            done = await ours.take(path)
        assert told == done
        assert done.new > 0


async def test_a_dry_run_without_a_database(tmp_path: Path, home: Writer) -> None:
    ann(home)
    with (
        DryStore.open(tmp_path / "none.db", GatewayConfig()) as dry,
        HermesReader.open(HermesHome.at(home.path), UTC) as reader,
    ):
        report = await Importer(reader, dry).run()
    assert (report.new, report.live) == (1, 1)
    assert not (tmp_path / "none.db").exists()
