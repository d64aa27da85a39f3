"""The cases of the session tools, and of the list's order and visibility, as agents meet them."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from config import Platform
from gateway.search import SearchIndexer
from gateway.source import SessionSource
from gateway.tools.toolkit import SessionTools
from tests.support.fakes import Core
from tests.unit.session.support import cases
from tests.unit.tools.support import ANN, ToolAgent, add_session, caller, calling, gateway

BOB = SessionSource(Platform.TELEGRAM, chat_id="2", chat_type="dm", user_id="bob", user_name="Bob")
NOBODY = SessionSource(Platform.TELEGRAM, chat_id="77", chat_type="dm")
LISTED = (
    ("s0", "Now", 30, 0), ("s1", "Min", 60, 1), ("s2", "Min59", 3599, 2), ("s3", "Hour", 3600, 3),
    ("s4", "Day", 86_400, 4), ("s5", "Day6", 7 * 86_400 - 60, 5),
)  # fmt: skip
SPECIAL = {"session_tools-018", "session_tools-027", "session_tools-030"}
IN_WORDS = {
    # The requirement of each case whose expectation is a sentence, as what the result says.
    "session_tools-016": {"results": "No sessions found."},
    "session_tools-061": {"results": "[V\\[x\\](y)](#session-a1) - click to open."},
    "session_tools-073": {"messages_removed": 2},
    "session_tools-074": {"messages_removed": 9},
    "session_tools-077": {"error": "'abc' is no number: nothing was removed"},
    "session_tools-078": {"error": "keep_count must be >= 1"},
    "session_tools-091": {"error": "Session 'b1' not found. Use list_sessions and pass the exact id it returned."},
}
KEPT = {
    "session_tools-073": [str(number) for number in range(2, 12)],
    "session_tools-074": ["9", "10", "11"],
    "session_tools-076": [str(number) for number in range(12)],
    "session_tools-077": [str(number) for number in range(12)],
    "session_tools-078": [str(number) for number in range(12)],
}
"""What is left of the transcript of `tr`, where the case is about that."""


async def prepare(built: Core, case: Mapping[str, Any]) -> None:
    """The sessions that a case needs, by its set-up."""
    given, setup = case["input"], case["input"].get("setup", "")
    tool = given["tool"]
    if tool == "list_sessions":
        if not setup.startswith("empty"):
            for session_id, title, age, count in LISTED:
                await add_session(built, session_id, title, seconds=age, messages=["x"] * count)
            await add_session(built, "b1", "Bob's", source=BOB, owner="telegram:user:bob")
            await add_session(built, "n1", "Nobody's", source=NOBODY, owner="telegram:dm:77:")
        return
    if tool == "send_to_session":
        await add_session(built, "me", "Mine")
        await add_session(built, "t1", "Bob's", source=BOB, owner="telegram:user:bob")
        await add_session(built, "n1", "Nobody's", source=NOBODY, owner="telegram:dm:77:")
        return
    renamed = "V" if re.search(r"archive|switch|open|select", given["content"] or "") else "Alpha"
    name = "V[x](y)" if "markdown" in setup else renamed
    await add_session(built, "a1", name, starred=int(setup == "starred"))
    await add_session(built, "b1", "Bob's", source=BOB, owner="telegram:user:bob")
    await add_session(built, "n1", "Nobody's", source=NOBODY, owner="telegram:dm:77:")
    await add_session(built, "cur", "Current", live=True)
    await add_session(built, "d1", "Doomed")
    await add_session(built, "tr", "Long", messages=[str(number) for number in range(12)])
    await add_session(built, "fk", "Base", messages=["0", "/status", "2", "3"])
    await built.execute("UPDATE messages SET role = 'user' WHERE content = '/status'")


def whose(owner: str | None) -> SessionSource:
    """The person of a case; nobody owns sessions as None or ''."""
    return ANN if owner == "ann" else SessionSource(Platform.TELEGRAM, chat_id="9", chat_type="dm")


@pytest.mark.parametrize("case", [one for one in cases("session_tools") if one.id not in SPECIAL])
async def test_case(case: Mapping[str, Any], tmp_path: Path) -> None:
    given, expected = case["input"], IN_WORDS.get(case["id"], case["expected"])
    async with gateway(tmp_path, ToolAgent({"line1\nline2": "pong"})) as built:
        await prepare(built, case)
        tools: SessionTools = built.sessions
        if given.get("setup") == "no manager":
            tools._work = {}
        by = caller(given.get("current_session"), source=whose(given.get("owner")))
        result = await tools.call(given["tool"], {"content": given["content"]}, by)
        assert isinstance(expected, dict)
        found = {name: result.get(name) for name in expected}
        if case["id"] == "session_tools-076":
            assert result["error"].startswith(expected["error"])
        elif "<ID8>" in json.dumps(expected):
            new_id = result["session_id"]
            assert found == json.loads(json.dumps(expected).replace("<ID8>", new_id))
            rows = await built.rows("SELECT content FROM messages WHERE session_id = ? ORDER BY id", new_id)
            assert [row["content"] for row in rows] == ["0", "2", "3"]
            (row,) = await built.rows("SELECT owner, title FROM sessions WHERE id = ?", new_id)
            assert tuple(row) == ("telegram:user:ann", "Fork: Base")
        else:
            assert found == expected
        if case["id"] in KEPT:
            rows = await built.rows("SELECT content FROM messages WHERE session_id = 'tr' ORDER BY id")
            assert [row["content"] for row in rows] == KEPT[case["id"]]


async def test_018_after_fifty_a_list_says_how_many_more_there_are(tmp_path: Path) -> None:
    async with gateway(tmp_path) as built:
        for number in range(52):
            await add_session(built, f"s{number:02}", f"No {number}", seconds=number)
        for filtered in ("", "no"):
            listed = (await built.sessions.call("list_sessions", {"filter": filtered}, caller()))["results"]
            assert listed.startswith("Found 52 session(s), sorted most-recent first:\n- **[No 0]")
            assert listed.count("\n- **") == 50
            assert "\n... and 2 more (showing first 50)\n" in listed


async def test_027_a_long_answer_is_cut_for_the_agent_and_kept_whole(tmp_path: Path) -> None:
    long = "x" * 10_001
    async with gateway(tmp_path, ToolAgent({"go": long})) as built:
        await add_session(built, "t1")
        result = await built.sessions.call("send_to_session", {"session_id": "t1", "message": "go"}, caller())
        assert len(result["response"]) == 10_016
        assert result["response"].endswith("\n... (truncated)")
        (row,) = await built.rows("SELECT content FROM messages WHERE session_id = 't1' AND role = 'assistant'")
        assert len(row["content"]) == 10_001


async def test_030_a_model_that_says_nothing_is_an_error(tmp_path: Path) -> None:
    async with gateway(tmp_path, ToolAgent({"go": ""})) as built:
        await add_session(built, "t1")
        result = await built.sessions.call("send_to_session", {"session_id": "t1", "message": "go"}, caller())
        assert "t1" in result["error"]
        assert (await built.ends()).popitem()[1] != "running"


@pytest.mark.parametrize("case", cases("all_sessions"))
async def test_visibility(case: Mapping[str, Any], tmp_path: Path) -> None:
    """What the list of sessions shows; its order is that of the tool: the newest first, pinned or not."""
    async with gateway(tmp_path) as built:
        shown = set()
        for one in case["input"]["sessions"]:
            await add_session(
                built, one["session_id"], one["title"], seconds=one["age"], messages=["x"] * one.get("n", 0),
                archived=int(one.get("archived", False)), pinned=int(one.get("pinned", False)),
            )  # fmt: skip
            if one.get("pending"):
                await built.execute(
                    "INSERT INTO turns (id, slot_id, session_id, agent, state, started_at)"
                    " VALUES ('t', (SELECT slot_id FROM sessions WHERE id = ?1), ?1, 'a', 'running', 0)",
                    one["session_id"],
                )
                shown.add(one["session_id"])
        expected = case["expected"]
        shown |= {"p1"} if expected == "pinned stays visible" else set()
        shown |= {one["id"] for one in expected if isinstance(one, dict)}
        listed = (await built.sessions.call("list_sessions", {}, caller()))["results"]
        assert set(re.findall(r"\(id: `(\w+)`", listed)) == shown


async def test_the_tools_as_an_agent_calls_them_in_a_turn(tmp_path: Path) -> None:
    agent = ToolAgent()
    async with gateway(tmp_path, agent) as built:
        await add_session(built, "a1", "Alpha")
        await built.say(
            calling(("manage_session", {"action": "rename", "session_id": "a1", "value": "Beta"})), "m", ANN
        )
        await built.settled()
        assert agent.results == [
            {"action": "rename", "session_id": "a1", "name": "Beta", "results": "Session renamed to 'Beta'"}
        ]
        names = {tool.name for tool in agent.turns[0].tools}
        assert {"create_session", "list_sessions", "send_to_session", "manage_session", "search_sessions"} <= names


@pytest.mark.parametrize(
    ("tool", "error"),
    [
        ("create_session", "Need 2 lines: session name, then model spec"),
        ("list_sessions", None),
        ("send_to_session", "Need 2 lines: session_id, then message"),
        ("manage_session", "Missing action"),
        ("search_sessions", "query needs a word to look for"),
        ("send_message", "Need 2 lines: target, then message"),
    ],
)
@pytest.mark.parametrize("content", [None, "", " \n \n"])
async def test_nothing_at_all_is_answered(tmp_path: Path, tool: str, error: str | None, content: str | None) -> None:
    async with gateway(tmp_path) as built:
        result = await built.sessions.call(tool, {"content": content}, caller())
        assert result.get("error", "").startswith(error or "")
        assert ("error" in result) == (error is not None)
        for empty in (
            {"name": ""},
            {"session_id": "x", "message": ""},
            {"query": ""},
            {"message": " "},
            {"action": ""},
        ):
            assert "error" in await built.sessions.call(tool, empty, caller())


async def test_no_name_leaves_its_link_or_its_line(tmp_path: Path) -> None:
    name = "a](b)\n- **[c](#session-c)**\\\u2028`x`"
    async with gateway(tmp_path) as built:
        await add_session(built, "a1", name, messages=["words"])
        await built.execute("UPDATE sessions SET title = ? WHERE id = 'a1'", name)
        listed = (await built.sessions.call("list_sessions", {}, caller()))["results"]
        asked = {"action": "open", "session_id": "a1"}
        opened = (await built.sessions.call("manage_session", asked, caller()))["results"]
        assert listed.count("\n- ") == 1
        assert len(opened.splitlines()) == 1
        for told in (listed, opened):
            assert "[a\\](b) - **\\[c\\](#session-c)**\\\\ `x`](#session-a1)" in told


@pytest.mark.parametrize("count", ["-1", "-99"])
async def test_a_fork_of_a_negative_number_is_refused(tmp_path: Path, count: str) -> None:
    async with gateway(tmp_path) as built:
        await add_session(built, "fk", "Base", messages=["0", "1"])
        asked = {"action": "fork", "session_id": "fk", "value": count}
        assert "error" in await built.sessions.call("manage_session", asked, caller())
        assert len(await built.rows("SELECT 1 FROM sessions")) == 1


async def test_looking_moves_nothing(tmp_path: Path) -> None:
    """A list's order is that of what was said, not of what was looked at."""
    async with gateway(tmp_path) as built:
        for age, session_id in enumerate(("a1", "a2", "a3")):
            await add_session(built, session_id, session_id, seconds=100 * age, messages=["words", "more"])
        await SearchIndexer(built.database).catch_up()
        before = [tuple(row) for row in await built.rows("SELECT * FROM sessions ORDER BY id")]
        listed = await built.sessions.call("list_sessions", {}, caller())
        for tool, asked in (
            ("search_sessions", {"query": "words"}),
            ("manage_session", {"action": "open", "session_id": "a3"}),
            ("manage_session", {"action": "list", "filter": "a"}),
            ("list_sessions", {"filter": "a3"}),
        ):
            result = await built.sessions.call(tool, asked, caller())
            assert "a3" in result["results"]
        await built.store.load_transcript("a3")
        assert await built.sessions.call("list_sessions", {}, caller()) == listed
        assert [tuple(row) for row in await built.rows("SELECT * FROM sessions ORDER BY id")] == before


async def test_words_within_a_run_of_characters_are_found(tmp_path: Path) -> None:
    async with gateway(tmp_path) as built:
        await add_session(built, "a1", "One", messages=["東京都に住む"])
        await SearchIndexer(built.database).catch_up()
        assert "東京都に住む" in (await built.sessions.call("search_sessions", {"query": "京都"}, caller()))["results"]


async def test_who_answers_in_a_session_is_kept(tmp_path: Path) -> None:
    asked = {"name": "New", "model": "other"}
    async with gateway(tmp_path) as built:
        made = await built.sessions.call("create_session", asked, caller(call="one"))
        copied = {"action": "fork", "session_id": made["session_id"]}
        copy = await built.sessions.call("manage_session", copied, caller(call="two"))
    async with gateway(tmp_path) as built:
        for session_id in (made["session_id"], copy["session_id"]):
            asked = {"session_id": session_id, "message": "x"}
            assert (await built.sessions.call("send_to_session", asked, caller()))["response"] == "re: x"
        rows = await built.rows("SELECT DISTINCT agent FROM turns")
        assert [row["agent"] for row in rows] == ["other"]
