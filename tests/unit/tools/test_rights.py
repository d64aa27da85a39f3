"""Who may do what with session tools: by the person of the turn, by their role, and by where they write."""

from pathlib import Path
from typing import Any

import pytest

from config import LiveConfig, Platform
from gateway.ports import InboundMessage
from gateway.source import SessionSource
from tests.support.fakes import Core, FakeAdapter, configure
from tests.unit.tools.support import ANN, ToolAgent, add_session, caller, calling, gateway

GROUP = SessionSource(Platform.TELEGRAM, chat_id="-5", chat_type="group", user_id="ann", user_name="Ann")
HOME = {"telegram": {"home_channel": {"chat_id": "77", "name": "Ops"}, "allowed_users": ["ann"]}}
OPEN = {"telegram": {"home_channel": {"chat_id": "77"}, "dm_policy": "open"}}


async def ask(built: Core, tool: str, source: SessionSource = ANN, **arguments: Any) -> dict[str, Any]:
    """A call for somebody who is what the configuration makes of them."""
    return await built.sessions.call(tool, arguments, caller(source=source, operator=False))


async def test_what_was_said_in_private_is_not_to_be_had_in_a_group(tmp_path: Path) -> None:
    async with gateway(tmp_path) as built:
        await add_session(built, "dm1", "Private", messages=["secret"])
        await add_session(built, "gr1", "Of the group", source=GROUP)
        by = caller(source=GROUP)
        by = type(by)(by.record.at(built.store.identity(GROUP)), None, "", "c1")
        listed = await built.sessions.call("list_sessions", {}, by)
        assert ("gr1" in listed["results"], "dm1" in listed["results"]) == (True, False)
        for tool, asked in (
            ("send_to_session", {"session_id": "dm1", "message": "x"}),
            ("manage_session", {"action": "fork", "session_id": "dm1"}),
            ("manage_session", {"action": "open", "session_id": "dm1"}),
        ):
            assert "'dm1' not found" in (await built.sessions.call(tool, asked, by))["error"]


async def test_a_tool_that_a_role_does_not_have_is_not_there(tmp_path: Path) -> None:
    agent = ToolAgent()
    config = configure(access={"roles": {"user": {"tools": ["list_sessions"]}}}, platforms=HOME)
    async with gateway(tmp_path, agent, config=config) as built:
        await add_session(built, "t1", "Tee")
        text = calling(("manage_session", {"action": "delete", "session_id": "t1"}))
        await built.inbox.accept(InboundMessage(ANN, "m", text), operator=False)
        await built.settled()
        assert agent.results == ["Error: there is no tool named 'manage_session'."]
        assert [tool.name for tool in agent.turns[0].tools] == ["list_sessions"]
        result = await ask(built, "manage_session", action="list")
        assert result == {"error": "There is no tool named 'manage_session'."}


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("list_sessions", {}),
        ("search_sessions", {"query": "secret"}),
        ("create_session", {"name": "New"}),
        ("send_to_session", {"session_id": "t1", "message": "x"}),
        ("manage_session", {"action": "rename", "session_id": "t1", "value": "Mine"}),
        ("send_message", {"message": "x"}),
    ],
)
async def test_who_is_let_in_no_more_has_no_tool(tool: str, arguments: dict[str, Any], tmp_path: Path) -> None:
    config = LiveConfig(configure(platforms=HOME))
    async with gateway(tmp_path, config=config) as built:
        await add_session(built, "t1", "Tee", messages=["secret"])
        assert "Tee" in (await ask(built, "list_sessions"))["results"]
        config.replace(configure(platforms={"telegram": {}}))
        assert await ask(built, tool, **arguments) == {"error": f"There is no tool named '{tool}'."}
        assert [row["title"] for row in await built.rows("SELECT title FROM sessions")] == ["Tee"]
        assert await built.rows("SELECT * FROM outbox") == []


async def test_guests_delete_nothing_and_write_to_no_home_channel(tmp_path: Path) -> None:
    async with gateway(tmp_path, config=configure(platforms=OPEN)) as built:
        await add_session(built, "t1", "Tee")
        assert "Guests" in (await ask(built, "manage_session", action="delete", session_id="t1"))["error"]
        assert "Guests" in (await ask(built, "send_message", target="telegram", message="x"))["error"]
        assert "this chat" in (await ask(built, "send_message", message="x"))["results"]
        assert len(await built.rows("SELECT * FROM sessions")) == 1


@pytest.mark.parametrize(
    ("role", "target", "words"),
    [
        ("user", "origin", "this chat"),
        ("user", "telegram", "home channel of telegram"),
        ("user", "telegram:5", "Only admins"),
        ("user", "slack", "no home channel"),
        ("admin", "telegram:5:7", "telegram:5:7"),
        ("admin", "slack:5", "no chat of a connected platform"),
        ("admin", "telegram:", "home channel of telegram"),
        ("user", "api_server", "no home channel 'api_server'. There are: origin, telegram."),
        ("admin", "api_server:laptop", "no chat of a connected platform"),
    ],
)
async def test_where_messages_may_be_sent(role: str, target: str, words: str, tmp_path: Path) -> None:
    access = {"admins": ["telegram:ann"]} if role == "admin" else {}
    adapter, platforms = FakeAdapter(), {**HOME, "api_server": {"home_channel": {"chat_id": "1"}}}
    async with gateway(tmp_path, adapter=adapter, config=configure(platforms=platforms, access=access)) as built:
        result = await ask(built, "send_message", target=target, message="**hi** 🐚")
        assert words in str(result)
        await built.settled()
        rows = await built.rows("SELECT chat, thread, text FROM outbox")
        expected = {"this chat": ("1", ""), "home channel of telegram": ("77", ""), "telegram:5:7": ("5", "7")}
        place = expected.get(words)
        assert [tuple(row) for row in rows] == ([] if place is None else [(*place, "**hi** 🐚")])


async def test_the_same_message_is_sent_once(tmp_path: Path) -> None:
    adapter = FakeAdapter()
    async with gateway(tmp_path, adapter=adapter) as built:
        for key in ("one", "one", "two"):
            await built.sessions.call("send_message", {"message": "hi"}, caller(call=key))
        await built.settled()
        assert adapter.texts("1") == ["hi", "hi"]


@pytest.mark.parametrize("tool", ["create_session", "manage_session"])
async def test_what_a_call_begins_is_begun_once(tool: str, tmp_path: Path) -> None:
    made: list[str] = []
    asked = {"name": "New"} if tool == "create_session" else {"action": "fork", "session_id": "t1"}
    async with gateway(tmp_path) as built:
        await add_session(built, "t1", "Tee", messages=["a", "b"])
        for key in ("one", "one", "two"):
            result = await built.sessions.call(tool, asked, caller(call=key))
            made.append(result["session_id"])
        assert made[0] == made[1] != made[2]
        assert len(await built.rows("SELECT * FROM sessions")) == 3


@pytest.mark.parametrize(
    ("model", "agent"), [("", None), ("other", "other"), ("test:other-1", "other"), ("nobody", ""), ("x" * 9_999, "")]
)
async def test_who_answers_in_a_new_session(model: str, agent: str | None, tmp_path: Path) -> None:
    async with gateway(tmp_path) as built:
        result = await built.sessions.call("create_session", {"name": "a\nb [c]", "model": model}, caller())
        rows = await built.rows("SELECT title, agent, owner FROM sessions")
        if agent == "":
            assert "fake (test:fake-1), other (test:other-1)" in result["error"]
            assert len(result["error"]) < 300
            assert rows == []
        else:
            assert [tuple(row) for row in rows] == [("a b [c]", agent, "telegram:user:ann")]


async def test_a_running_turn_keeps_a_session_from_being_changed(tmp_path: Path) -> None:
    agent = ToolAgent()
    async with gateway(tmp_path, agent) as built:
        await add_session(built, "aa", "Ay", source=ANN, live=True, messages=["a", "b"])
        for action in ("truncate", "archive", "delete"):
            asked = {"action": action, "session_id": "current", "value": 1}
            await built.say(calling(("manage_session", asked)), action, ANN)
            await built.settled()
        busy, put_away, gone = (str(one["error"]) for one in agent.results)
        assert ("being written" in busy, "being written" in put_away, "Cannot delete" in gone) == (True, True, True)


async def test_pinned_and_starred_sessions_are_not_deleted(tmp_path: Path) -> None:
    async with gateway(tmp_path) as built:
        await add_session(built, "p1", "Pin", pinned=1)
        await add_session(built, "s1", "Star", starred=1)
        for session_id, word in (("p1", "pinned"), ("s1", "starred")):
            asked = {"action": "delete", "session_id": session_id}
            assert word in (await built.sessions.call("manage_session", asked, caller()))["error"]
        assert len(await built.rows("SELECT * FROM sessions")) == 2
