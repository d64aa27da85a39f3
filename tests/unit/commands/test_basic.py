"""The commands about the gateway itself: help, who answers, who one is."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.access import Role
from gateway.ports import Agent, InboundMessage
from tests.support.fakes import ALICE, FakeAgent, configure
from tests.unit.commands.support import Chat, chatting

NAMES = (
    "new retry undo redo stop queue steer sessions resume title branch pin unpin archive delete search export"
    " usage why help start status agent model whoami quit"
)


async def test_help_has_families_and_all_names(tmp_path: Path) -> None:
    async with chatting(tmp_path) as chat:
        told = await chat.says("/help")
        for family in ("This conversation", "Your sessions", "What is known", "The gateway"):
            assert f"**{family}**" in told
        for name in NAMES.split():
            assert f"`/{name}`" in told
        assert (await chat.says("/start")).startswith("Hello.")
        assert told in await chat.says("/start from a link")


async def test_help_says_how_a_command_is_written(tmp_path: Path) -> None:
    async with chatting(tmp_path) as chat:
        told = await chat.says("/help /fork")
        assert "`/branch [title…]`" in told
        assert "`/fork`" in told
        assert "waits for the running answer" in told
        assert "There is no command /xyzzy" in await chat.says("/help xyzzy")


async def test_a_short_name_with_two_letters_the_other_way_round_is_a_misspelt_one(tmp_path: Path) -> None:
    async with chatting(tmp_path) as chat:
        for wrong, right in (("nwe", "new"), ("enw", "new"), ("hwy", "why"), ("pni", "pin")):
            assert f"There is no command /{wrong}. Did you mean /{right}?" in await chat.says(f"/{wrong}")
        assert await chat.says("/win") == "re: /win"


async def test_help_leaves_out_what_a_rule_withholds(tmp_path: Path) -> None:
    rule = {"platforms": ["telegram"], "commands": ["help", "start", "status", "undo"]}
    config = configure(platforms={"telegram": {"allowed_users": ["alice"]}}, access={"rules": {"few": rule}})
    async with chatting(tmp_path, config=config) as chat:

        async def says(text: str) -> str:
            await chat.gateway.inbox.accept(InboundMessage(ALICE, text, text), operator=False)
            await chat.gateway.settled()
            return chat.adapter.texts()[-1]

        for told in (await says("/help"), await says("/start")):
            assert re.findall(r"^- `/(\w+)`", told, re.MULTILINE) == ["undo", "help", "start", "status"]
            assert "**Your sessions**" not in told
        assert "write it as `/undo [n]`" in await says("/help undo")
        for name in ("delete", "/fork"):
            assert "There is no command" in await says(f"/help {name}")
        assert "Did you mean /undo?" in await says("/udno")
        assert "delete" not in await says("/delet")


async def test_an_agent_is_chosen_for_a_session(tmp_path: Path) -> None:
    async with chatting(tmp_path) as chat:
        used: list[str] = []
        roster = chat.gateway.roster

        @asynccontextmanager
        async def use(name: str) -> AsyncIterator[tuple[str, Agent]]:
            used.append(name)
            yield name, roster.agent

        roster.use = use  # type: ignore[method-assign]
        told = await chat.says("/agent")
        assert "`fake`: test:fake-1, answers here, default" in told
        assert chat.buttons == [("other", "/agent other")]
        assert "other (test:other-1) answers in this session from now on" in await chat.says("/agent OTHER")
        await chat.says("hello")
        assert "agent: other" in await chat.says("/status")
        await chat.says("/branch")
        await chat.says("hello")
        await chat.says("/model fake-1")
        await chat.says("/model nonsense")
        assert "There is no agent “nonsense”. There are fake, other, default." in chat.adapter.texts()[-1]
        await chat.says("/model test:other-1")
        await chat.says("/agent default")
        await chat.says("hello")
        await chat.says("/new")
        await chat.says("hello")
        assert used == ["other", "other", "fake", "fake"]
        assert isinstance(roster.agent, FakeAgent)


async def test_an_agent_that_was_chosen_first_is_kept_by_the_first_message(tmp_path: Path) -> None:
    async with chatting(tmp_path) as chat:
        await chat.says("/agent other")
        first = await chat.session_id()
        await chat.says("hello")
        (turn,) = await chat.gateway.rows("SELECT agent, session_id FROM turns")
        assert (turn["agent"], turn["session_id"]) == ("other", first)


async def test_whoami(tmp_path: Path) -> None:
    async with chatting(tmp_path) as chat:
        told = await chat.says("/whoami")
        for words in ("name: Alice", "id: `telegram:alice`", f"role: {Role.OWNER.word}", "chat: `1`, dm"):
            assert words in told


async def test_buttons_say_nothing_that_the_text_does_not(tmp_path: Path) -> None:
    """Platforms without buttons show the text alone: what they would do can be written."""
    async with chatting(tmp_path) as chat:
        await chat.says("hello")
        for text in (
            "/sessions",
            "/undo",
            "/redo",
            "/branch",
            "/pin",
            "/unpin",
            "/delete",
            "/archive",
            "/new",
            "/agent",
        ):
            await told_in_words(chat, text)


async def told_in_words(chat: Chat, text: str) -> None:
    told = await chat.says(text)
    for _label, command in chat.buttons:
        name = command.split()[0]
        assert name in told, f"{text} offers {command} by a button alone"


async def test_sethome_makes_this_chat_the_home_channel_and_survives_a_restart(tmp_path: Path) -> None:
    config = configure(platforms={"telegram": {"token": "1:a", "home_channel": {"chat_id": "-7"}}})
    agent = FakeAgent()
    async with chatting(tmp_path, agent, config=config) as chat:
        assert "come here from now on" in await chat.says("/sethome")
        await chat.says("hello")
        assert '"Alice" (ID: "1")' in agent.turns[0].system_prompt
    async with chatting(tmp_path, agent, config=config) as chat:
        await chat.write("and now", message_id="after")
        await chat.gateway.settled()
        assert '"Alice" (ID: "1")' in agent.turns[1].system_prompt
        await chat.write("/sethome off", message_id="off")
        await chat.gateway.settled()
        assert "the configuration's is it again: `-7`" in chat.adapter.texts()[-1]
