"""The cases that are known for stores made of files, as an import meets them."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.importing.home import here
from gateway.media.files import PARTIAL, prune
from gateway.session import SessionStore, UnknownSession
from gateway.session import store as store_module
from tests.support.hermes_home import Writer, source, talk
from tests.support.stores import ANSWER, USER, dm, resets
from tests.unit.importing.support import Gateway, gateway

VECTORS = Path(__file__).parents[2] / "vectors"
SUITES = ("status_usage", "webui_store", "session_store")
CASES: Mapping[str, Mapping[str, Any]] = {
    case["id"]: case for suite in SUITES for case in json.loads((VECTORS / f"{suite}.json").read_text("utf-8"))["cases"]
}
LOOSE = (
    "CREATE TABLE sessions (id, source, model, title, started_at, ended_at, message_count, input_tokens,"
    " output_tokens);"
    "CREATE TABLE messages (session_id, role, content, timestamp);"
)
"""A table that keeps each value as it was written."""

ELSEWHERE = {
    *(f"webui_store-{number:03}" for number in (*range(1, 13), 21)),
    *(f"status_usage-{number:03}" for number in (1, 2)),
}
"""Cases of `test_session_operations` and `test_status_vectors`."""


def expected(case: str) -> Any:
    return CASES[case]["expected"]


@pytest.fixture
async def ours(tmp_path: Path) -> Any:
    (tmp_path / "gateway").mkdir()
    async with gateway(tmp_path / "gateway") as opened:
        yield opened


async def test_status_usage_004_numbers_that_are_written_as_fractions_or_texts(tmp_path: Path, ours: Gateway) -> None:
    home = Writer(tmp_path / "hermes", LOOSE)
    home.row("one", talk("tea"), source="cli", model="m1", input_tokens=2.9, output_tokens="3")
    await ours.take(home.path)
    entry, want = await ours.store.get_session("one"), expected("status_usage-004")
    assert (entry.input_tokens, entry.output_tokens, entry.total_tokens, entry.model) == (
        want["input_tokens"], want["output_tokens"], want["total_tokens"], want["model"],
    )  # fmt: skip
    assert want["estimated_cost"] is None
    assert entry.cost_status == "unknown"


@pytest.mark.parametrize("wrong", ["many", "", "1e999", "nan", float("inf"), -4, "-4", True, b"3", "9" * 99, None])
async def test_what_is_no_number_of_tokens_counts_as_none(tmp_path: Path, ours: Gateway, wrong: object) -> None:
    home = Writer(tmp_path / "hermes", LOOSE)
    home.row("one", talk("tea"), source="cli", input_tokens=wrong, output_tokens=7.0)
    await ours.take(home.path)
    entry = await ours.store.get_session("one")
    # A flag is stored as the number that it is.
    assert (entry.input_tokens, entry.output_tokens) == (int(wrong is True), 7)


async def test_webui_store_013_the_name_of_an_index_is_no_session(tmp_path: Path, ours: Gateway) -> None:
    assert expected("webui_store-013") == "None"
    home = Writer(tmp_path / "hermes")
    home.entry("one", "agent:main:telegram:dm:7", source("telegram", "7", user_id="7"))
    (home.sessions / "_index.json").write_text("{}")
    await ours.take(home.path)
    with pytest.raises(UnknownSession):
        await ours.store.get_session("_index")
    assert await ours.store.load_transcript("_index") == []


async def test_webui_store_016_a_corrupt_file_costs_what_is_in_it(tmp_path: Path, ours: Gateway) -> None:
    assert "other sessions unaffected" in expected("webui_store-016")
    home = Writer(tmp_path / "hermes")
    home.jsonl("good", talk("tea"))
    (home.sessions / "bad.jsonl").write_bytes(b"{\x00 no JSON at all")
    report = await ours.take(home.path)
    assert [problem.where for problem in report.problems] == ["bad.jsonl, line 1"]
    assert len(await ours.said("good")) == 2
    with pytest.raises(UnknownSession):
        await ours.store.get_session("nowhere")


async def test_webui_store_017_what_is_not_known_of_a_message_survives(ours: Gateway) -> None:
    said = {**USER, "last_usage": {"in": 3}, "x": None}
    session_id = await ours.store.record_turn(dm(), [said, ANSWER])
    loaded = await ours.store.load_transcript(session_id)
    await ours.store.rewrite_transcript(session_id, loaded)
    await ours.store.append_turn(session_id, [USER, ANSWER])
    survives = (await ours.store.load_transcript(session_id))[0] == said
    assert {"survives": survives} == expected("webui_store-017")


async def test_webui_store_018_times_of_nought_stay(tmp_path: Path, ours: Gateway) -> None:
    home = Writer(tmp_path / "hermes")
    home.row("one", [{**USER, "timestamp": 0.0}], source="cli", started_at=0.0)
    await ours.take(home.path)
    entry = await ours.store.get_session("one")
    found = {"created_is_zero": entry.created_at.timestamp() == 0, "updated_is_zero": entry.updated_at.timestamp() == 0}
    assert found == expected("webui_store-018")


def test_webui_store_019_what_was_never_made_whole_is_swept_after_an_hour(tmp_path: Path) -> None:
    """Files of exports are the only ones that are made whole from parts; `.tmp.PID.TID` is what ends their names."""
    now, folder = 10_000_000.0, tmp_path / "out" / "20260325_100000_0123456789abcdef"
    folder.mkdir(parents=True)
    given = re.findall(r"(\S+)\((\d+)s\)", CASES["webui_store-019"]["input"])
    assert len(given) == 5
    names = {name: re.sub(r"\.tmp\.\d+\.\d+$", PARTIAL, name) for name, _age in given}
    for name, seconds in given:
        (folder / names[name]).write_bytes(b"x")
        os.utime(folder / names[name], (now - int(seconds),) * 2)
    exactly = folder / f"an-hour{PARTIAL}"
    exactly.write_bytes(b"x")
    os.utime(exactly, (now - 3600,) * 2)
    prune(tmp_path, now=now, incoming_before=0, outgoing_before=0)
    left = {path.name for path in folder.iterdir()} - {exactly.name}
    assert exactly.exists(), "more than an hour is meant"
    assert left == {names[name] for name in expected("webui_store-019")}


async def test_webui_store_020_what_is_remembered_of_sessions_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No session is held in memory: rows are the only truth. What is remembered are the places they are live in."""
    case = CASES["webui_store-020"]
    most, made = (int(number) for number in re.findall(r"\d+", case["input"]))
    monkeypatch.setattr(store_module, "HINTS", most)
    async with SessionStore.open(tmp_path, resets("none")) as store:
        for chat in range(made):
            await store.record_turn(dm(str(chat)), [USER, ANSWER])
            assert len(store._hints) <= case["expected"]["cached"]
        origins = [cache.cache_info().currsize for cache in (store.origin_of, store._read_origin)]
        assert max(origins) == case["expected"]["cached"]
        assert len(await store.list_sessions()) == made, "what is forgotten is still there"
        for chat in range(made):
            entry = await store.get_or_create_session(dm(str(chat)))
            assert len(await store.load_transcript(entry.session_id)) == 2


async def test_webui_store_024_an_id_that_leads_out_of_the_folder(tmp_path: Path, ours: Gateway) -> None:
    """Whoever imports one by hand gets an error; a home that has one is imported, under another id."""
    assert expected("webui_store-024") == "ValueError"
    home = Writer(tmp_path / "hermes")
    (home.path / "evil.jsonl").write_text(json.dumps({**USER, "content": "not of the sessions"}) + "\n")
    home.row("../evil", talk("tea"), source="cli")
    before = sorted(path.name for path in tmp_path.rglob("*"))
    await ours.take(home.path)
    assert await ours.rows("SELECT id FROM sessions") == [(here("../evil"),)]
    assert await ours.said(here("../evil")) == [message["content"] for message in talk("tea")]
    new = {path.name for path in tmp_path.rglob("*")} - set(before)
    assert all(name.startswith(("gateway.db", ".reserve")) for name in new)
    with pytest.raises(UnknownSession):
        await ours.store.append_turn("../evil", [USER])


@pytest.mark.parametrize("case", ["session_store-019", "session_store-020"])
async def test_session_store_019_020_a_platform_that_is_gone_costs_no_entry(
    tmp_path: Path, ours: Gateway, case: str
) -> None:
    home = Writer(tmp_path / "hermes")
    gone = source("gone", "8", user_id="8") if case.endswith("020") else None
    home.entry("a", "agent:main:telegram:dm:7", source("telegram", "7", user_id="7"))
    home.entry("b", "agent:main:gone:dm:8", gone, platform="gone")
    if case.endswith("019"):
        home.index["agent:main:telegram:dm:9"] = {"created_at": "2026-03-01T08:00:00"}
        (home.sessions / "sessions.json").write_text(json.dumps(home.index))
    report = await ours.take(home.path)
    assert sorted(row[0] for row in await ours.rows("SELECT id FROM sessions")) == expected(case)
    assert len(report.problems) == (1 if case.endswith("019") else 0)
    assert (await ours.store.get_session("b")).unknown_platform == "gone"
    again = await ours.take(home.path)
    assert (again.new, again.same) == (0, 2), "and the next import erases nothing"


async def test_session_store_022_a_truncated_index_is_kept_and_told(tmp_path: Path, ours: Gateway) -> None:
    assert expected("session_store-022") == "corrupt file kept aside, error surfaced"
    home = Writer(tmp_path / "hermes")
    home.jsonl("one", talk("tea"))
    index = home.sessions / "sessions.json"
    index.write_text("{truncated")
    report = await ours.take(home.path)
    assert [problem.where for problem in report.problems] == ["sessions.json"]
    assert index.read_text() == "{truncated"
    assert len(await ours.said("one")) == 2


def test_every_case_has_its_test() -> None:
    here_ = {
        f"{suite}-{number}"
        for name in globals()
        for suite in SUITES
        if name.startswith(f"test_{suite}_")
        for number in re.findall(r"(?<=_)\d{3}(?=_)", name)
    }
    dropped = {case for case, each in CASES.items() if each["mark"] == "drop"}
    assert {"webui_store-014", "webui_store-015"} == dropped, "a stub that is read from a file's beginning: none is"
    ours_ = {case for case in CASES if not case.startswith("session_store")} - ELSEWHERE - dropped
    assert here_ - ours_ == {"session_store-019", "session_store-020", "session_store-022"}
    assert ours_ <= here_
