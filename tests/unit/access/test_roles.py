"""Roles: which commands, agent and tools somebody gets, and what happens when that changes while something runs."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from config import GatewayConfig, LiveConfig, Platform
from gateway.access import Role
from gateway.access.rights import Rights
from gateway.commands.table import Arguments, Command, CommandTable, Effect, say
from gateway.inbound import InboundRecord
from gateway.ports import AgentEvent, AgentTurn, Call, Done, InboundMessage, Text, Tool, ToolCalls, ToolContext
from gateway.session.key import slot_identity
from gateway.source import SessionSource
from gateway.transcript import TurnEnd
from tests.support.fakes import ALICE, BOB, START, Core, FakeAdapter, FakeAgent, Pause, configure, core, texts_of

GUEST = SessionSource(Platform.TELEGRAM, chat_id="-1", chat_type="group", user_id="gus")
USER = SessionSource(Platform.TELEGRAM, chat_id="-1", chat_type="group", user_id="alice")
SECTION = {"token": "t", "allowed_users": ["alice"], "allowed_chats": ["-1"]}


def configured(**sections: Any) -> GatewayConfig:
    return configure(platforms={"telegram": SECTION}, owners=["telegram:olga"], **sections)


async def says(gateway: Core, text: str, source: SessionSource = ALICE, message_id: str | None = None) -> None:
    await gateway.inbox.accept(InboundMessage(source, message_id or text, text), operator=False)


async def _run(_arguments: Mapping[str, Any], _context: ToolContext) -> str:
    return "rung"


BELL = Tool("bell", "Rings.", {"type": "object", "properties": {}}, _run)


async def rings(turn: AgentTurn) -> AsyncIterator[AgentEvent]:
    """Calls the tool, whether or not it was lent."""
    yield ToolCalls("", (Call("1", "bell", "{}"),))
    yield Text(await turn.run_tool(Call("1", "bell", "{}")))
    yield Done()


async def test_tools_are_lent_by_role(tmp_path: Path) -> None:
    agent, adapter = FakeAgent(rings, rings), FakeAdapter()
    config = configured(access={"roles": {"guest": {"tools": []}}})
    async with core(tmp_path, agent, adapter, config=config, tools=[BELL]) as gateway:
        await says(gateway, "guest", GUEST)
        await gateway.settled()
        await says(gateway, "user", USER)
        await gateway.settled()
    assert [[tool.name for tool in turn.tools] for turn in agent.turns] == [[], ["bell"]]
    assert texts_of(adapter.of("send")) == ["Error: there is no tool named 'bell'.", "rung"]


async def test_a_role_may_have_an_agent_of_its_own(tmp_path: Path) -> None:
    config = configured(agents={"small": {"type": "echo"}}, access={"roles": {"guest": {"agent": "small"}}})
    ends: list[TurnEnd] = []
    async with core(tmp_path, config=config) as gateway:
        gateway.runner._on_ended = ends.append
        await says(gateway, "guest", GUEST)
        await says(gateway, "user", USER)
        await gateway.settled()
        assert sorted(gateway.roster.used) == ["fake", "small"]
    assert sorted(end.agent for end in ends) == ["fake", "small"]


async def test_no_other_agent_summarises_for_who_has_one_of_their_own(tmp_path: Path) -> None:
    config = configured(agents={"small": {"type": "echo"}}, access={"roles": {"user": {"agent": "small"}}})
    async with core(tmp_path, config=config) as gateway:
        for number in range(3):
            await says(gateway, f"{number}", USER)
            await gateway.settled()
        await says(gateway, "/compact 1", USER)
        await gateway.settled()
        assert gateway.roster.used == ["small"] * 4


@pytest.mark.parametrize("command", ["/agent other", "/agent default", "/model test:other-1"])
async def test_who_has_an_agent_of_their_own_is_told_that_there_is_no_other(tmp_path: Path, command: str) -> None:
    adapter = FakeAdapter()
    config = configured(agents={"small": {"type": "echo"}}, access={"roles": {"user": {"agent": "small"}}})
    async with core(tmp_path, adapter=adapter, config=config) as gateway:
        for text in ("hello", command, "/agent", "/status", "again"):
            await says(gateway, text, USER)
            await gateway.settled()
        refused, listed, status = adapter.texts()[1:4]
        assert refused == "Nothing was changed: small alone answers you here."
        assert ("small" in listed, "other" in listed, "chooses one" in listed) == (True, False, False)
        assert "- agent: small" in status
        assert [row["agent"] for row in await gateway.rows("SELECT agent FROM sessions")] == [None]
        assert gateway.roster.used == ["small", "small"]


RULES: dict[str, Any] = {
    "quiet": {"chats": ["-1"], "roles": ["guest"], "commands": ["guest"]},
    "here": {"chats": ["-1"], "agent": "small", "tools": []},
    "elsewhere": {"platforms": ["discord"], "commands": []},
    "everywhere": {"platforms": ["telegram"], "agent": "large", "tools": ["bell"]},
}


@pytest.mark.parametrize(
    ("source", "agent", "bell", "commands"),
    [
        (GUEST, "small", False, ["guest"]),
        (USER, "small", False, ["guest", "user"]),
        (ALICE, "large", True, ["guest", "user"]),
        (SessionSource(Platform.TELEGRAM, chat_id="-1", chat_type="group", user_id="olga"), None, True, None),
    ],
    ids=["a guest here", "a user here", "a user in another chat", "the owner"],
)
async def test_what_people_get_by_platform_and_chat(
    tmp_path: Path, source: SessionSource, agent: str | None, bell: bool, commands: list[str] | None
) -> None:
    """The first rule counts that fits and says something of it; roles come behind; owners have no rules."""
    agents = {name: {"type": "echo"} for name in ("small", "large")}
    roles = {"guest": {"tools": ["bell"], "agent": "large"}, "user": {"commands": ["guest", "user"]}}
    config = configured(agents=agents, access={"rules": RULES, "roles": roles})
    record = InboundRecord(1, "m", slot_identity(source), source, "default", "x", None, START)
    rights = Rights(config)
    assert (rights.agent(record), rights.may_use(record, "bell")) == (agent, bell)
    known = ("guest", "user", "admin", "owner")
    assert [name for name in known if rights.may_run(record, name)] == list(commands or known)
    ran: list[str] = []
    async with core(tmp_path, config=config, commands=table(ran)) as gateway:
        for name in ("guest", "user"):
            await says(gateway, f"/{name}", source)
        await gateway.settled()
    expected = [name for name in ("guest", "user") if commands is None or name in commands]
    assert ran == [f"{source.user_id} /{name}" for name in expected]


async def test_a_command_that_a_rule_keeps_back_is_refused_in_words(tmp_path: Path) -> None:
    adapter, ran = FakeAdapter(), list[str]()
    config = configured(access={"rules": {"none": {"commands": []}}})
    async with core(tmp_path, adapter=adapter, config=config, commands=table(ran)) as gateway:
        await says(gateway, "/user")
        await gateway.settled()
        assert await gateway.ends() == {"/user": "refused"}
    assert ran == []
    assert texts_of(adapter.of("send")) == ["That is not for you: no command for your role in this place."]


@pytest.mark.parametrize(
    "rule", [{"chats": ["*"]}, {"platforms": ["telegramm"]}, {"roles": ["owner"]}, {"chat": ["1"]}]
)
def test_a_rule_that_fits_nothing_is_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"access\.rules\.mine"):
        configured(access={"rules": {"mine": rule}})


def test_the_agent_of_a_role_has_to_be_defined() -> None:
    with pytest.raises(ValidationError, match=r"access\.rules\.mine\.agent"):
        configured(access={"rules": {"mine": {"agent": "nobody"}}})
    with pytest.raises(ValidationError, match=r"access\.roles\.guest\.agent"):
        configured(access={"roles": {"guest": {"agent": "nobody"}}})


@pytest.mark.parametrize("owner", ["123", "*", "telegram:*", "telegram:", ":1", "telegramm:1"])
def test_an_owner_is_named_with_the_platform(owner: str) -> None:
    with pytest.raises(ValidationError):
        GatewayConfig.model_validate({"owners": [owner]})


@pytest.mark.parametrize("key", ["allowed_roles", "allowed_chats", "allowed_teams", "allowed_bots"])
def test_a_wildcard_stands_for_people_alone(key: str) -> None:
    with pytest.raises(ValidationError, match="open"):
        GatewayConfig.model_validate({"platforms": {"telegram": {"token": "t", key: ["*"]}}})


# --- commands --------------------------------------------------------------------------------------------


def table(ran: list[str]) -> CommandTable:
    def run(record: InboundRecord, _given: Arguments) -> Effect:
        ran.append(f"{record.source.user_id} {record.text}")
        return say("done")

    return CommandTable([Command(role.word, role.word, run, role=role) for role in Role])


@pytest.mark.parametrize(
    ("source", "most"),
    [(GUEST, Role.GUEST), (USER, Role.USER), (SessionSource(Platform.TELEGRAM, "9", user_id="olga"), Role.OWNER)],
)
async def test_commands_are_run_by_role(tmp_path: Path, source: SessionSource, most: Role) -> None:
    ran: list[str] = []
    adapter = FakeAdapter()
    async with core(tmp_path, adapter=adapter, config=configured(), commands=table(ran)) as gateway:
        for role in Role:
            await says(gateway, f"/{role.word}", source)
        await gateway.settled()
        ends = await gateway.ends()
    assert ran == [f"{source.user_id} /{role.word}" for role in Role if role <= most]
    assert [ends[f"/{role.word}"] for role in Role] == ["answered" if role <= most else "refused" for role in Role]
    refused = [text for text in texts_of(adapter.of("send")) if text.startswith("That is not for you")]
    assert len(refused) == len([role for role in Role if role > most])


async def test_an_edit_into_a_command_is_checked_when_it_runs(tmp_path: Path) -> None:
    ran: list[str] = []
    pause = Pause()
    async with core(tmp_path, FakeAgent(pause), config=configured(), commands=table(ran)) as gateway:
        await says(gateway, "first", USER)
        await pause.reached.wait()
        await says(gateway, "second", USER)
        await gateway.corrections.amend(InboundMessage(USER, "second", "/owner"), operator=False)
        pause.go.set()
        await gateway.settled()
        assert ran == []
        assert (await gateway.ends())["second"] == "refused"


def test_the_menu_that_everybody_sees_has_nothing_for_those_who_decide() -> None:
    commands = table([])
    assert [name for name, _help in commands.menu] == ["guest", "user"]
    assert [name for name, _help in commands.menu_for(Role.ADMIN)] == ["guest", "user", "admin"]


@pytest.mark.parametrize(
    "text", ["/\u043ewner", "\uff0fowner", "/owner\u200b", "\u202e/owner", "/OWNER", "//owner", "/ owner", "owner"]
)
async def test_what_only_looks_like_a_command_goes_no_further(tmp_path: Path, text: str) -> None:
    ran: list[str] = []
    async with core(tmp_path, config=configured(), commands=table(ran)) as gateway:
        await says(gateway, text, GUEST)
        await gateway.settled()
    assert ran == []


# --- what changes while something runs -------------------------------------------------------------------


async def test_a_person_taken_off_the_list_is_stopped_at_once(tmp_path: Path) -> None:
    live = LiveConfig(configured())
    pause, adapter = Pause("half an answer"), FakeAdapter()
    agent = FakeAgent(pause)
    async with core(tmp_path, agent, adapter, config=live) as gateway:
        await says(gateway, "one")
        await says(gateway, "two")
        await pause.reached.wait()
        live.replace(configure(platforms={"telegram": SECTION | {"allowed_users": []}}))
        await pause.ended.wait()
        await gateway.settled()
        assert await gateway.ends() == {"one": "answered", "two": "refused"}
        assert await gateway.reason("one") == "revoked"
    assert len(agent.turns) == 1


async def test_a_guest_does_not_join_a_user_s_turn(tmp_path: Path) -> None:
    """In a session that a group shares: the tools of the turn are its beginner's."""
    seen: list[str] = []

    async def steered(turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        reached.set()
        await go.wait()
        seen.extend(str(message["content"]) for message in await turn.take_steering())
        yield Text("ok")
        yield Done()

    reached, go = asyncio.Event(), asyncio.Event()
    config = configured(busy="steer", sessions={"group_sessions_per_user": False})
    async with core(tmp_path, FakeAgent(steered, steering=True), config=config) as gateway:
        await says(gateway, "begin", USER)
        await reached.wait()
        await says(gateway, "from an owner", SessionSource(Platform.TELEGRAM, "-1", chat_type="group", user_id="olga"))
        await says(gateway, "from a guest", GUEST)
        go.set()
        await gateway.settled()
    assert seen == ["from an owner"]


async def test_a_retry_keeps_who_sent_it(tmp_path: Path) -> None:
    """A message that is stored with what lets its sender in is read back with it."""
    message = InboundMessage(BOB, "1", "hi", roles=("staff",), team="T")
    section = {"token": "t", "allowed_roles": ["staff"]}
    pause = Pause()
    async with core(tmp_path, FakeAgent(pause), config=configure(platforms={"telegram": section})) as gateway:
        await gateway.inbox.accept(message, operator=False)
        await pause.reached.wait()
    agent = FakeAgent()
    async with core(tmp_path, agent, config=configure(platforms={"telegram": section})) as gateway:
        await gateway.settled()
        assert await gateway.ends() == {"1": "answered"}
    assert [turn.source.user_id for turn in agent.turns] == ["bob"]


async def test_what_waits_is_refused_after_a_restart_that_lets_its_sender_in_no_more(tmp_path: Path) -> None:
    async with core(tmp_path, FakeAgent(Pause()), config=configured()) as gateway:
        await says(gateway, "runs")
        await says(gateway, "waits")
    agent, nobody = FakeAgent(), {"telegram": {"enabled": True, "token": "-"}}
    async with core(tmp_path, agent, config=configure(platforms=nobody)) as gateway:
        await gateway.settled()
        assert await gateway.ends() == {"runs": "answered", "waits": "refused"}
    assert not agent.turns


async def test_a_turn_that_was_put_back_is_not_taken_up_for_who_is_let_in_no_more(tmp_path: Path) -> None:
    pause = Pause()
    async with core(tmp_path, FakeAgent(pause), config=configured()) as gateway:
        await says(gateway, "runs")
        await pause.reached.wait()
        await gateway.die()
    with closing(sqlite3.connect(tmp_path / "gateway.db")) as connection:
        connection.execute("UPDATE turns SET state = 'put_back', not_before = NULL")
        connection.commit()
    agent, nobody = FakeAgent(), {"telegram": {"enabled": True, "token": "-"}}
    async with core(tmp_path, agent, config=configure(platforms=nobody)) as gateway:
        await gateway.settled()
        assert await gateway.ends() == {"runs": "answered"}
        assert await gateway.reason("runs") == "revoked"
    assert not agent.turns
