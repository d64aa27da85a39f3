"""Stars and projects: what they keep, whose they are, and that nothing is deleted with them."""

from pathlib import Path

import pytest

from gateway.source import SessionSource
from tests.support.fakes import ALICE
from tests.unit.commands.support import Chat, chatting

BOB = SessionSource(ALICE.platform, "bob", user_id="bob")


async def test_a_starred_session_is_not_deleted(tmp_path: Path) -> None:
    async with chatting(tmp_path) as chat:
        await chat.says("keep me")
        assert "“keep me” is starred" in await chat.says("/star")
        assert chat.buttons == [("Unstar", f"/unstar {await chat.session_id()}")]
        assert "starred" in await chat.says("/sessions")
        assert "is starred, so it is not deleted" in await chat.says("/delete keep yes")
        await chat.says("/unstar")
        assert "is deleted" in await chat.says("/delete keep yes")


async def test_a_project_has_its_sessions_and_ends_with_the_last(tmp_path: Path) -> None:
    async with chatting(tmp_path) as chat:
        for topic in ("one", "two", "three"):
            await chat.says("/new")
            await chat.says(topic)
            if topic != "two":
                await chat.says("/project  Big   plans")
        assert "1. “Big plans”: 2 sessions" in await chat.says("/projects")
        listed = await chat.says("/sessions big plans")
        assert ["one”" in listed, "two”" in listed, "three”" in listed] == [True, False, True]
        assert "in the project “Big plans”" in await chat.says("/project BIG PLANS"), "its name is as it was first"
        assert "in no project any more" in await chat.says("/project off")
        assert "1 session" in await chat.says("/projects")
        assert "no project “Big plans” any more" in await chat.says("/projects delete big plans")
        assert "You have no projects" in await chat.says("/projects")
        assert len(await chat.gateway.rows("SELECT 1 FROM messages")) == 6


async def test_projects_are_renamed_and_joined(tmp_path: Path) -> None:
    async with chatting(tmp_path) as chat:
        for topic, project in (("one", "A1"), ("two", "B1")):
            await chat.says("/new")
            await chat.says(topic)
            await chat.says(f"/project {project}")
        assert "called “a1” now" in await chat.says("/projects rename A1 = a1")
        await chat.says("/projects rename b1 = A1")
        assert "1. “a1”: 2 sessions" in await chat.says("/projects")
        assert "You have no project “zz”" in await chat.says("/projects rename zz = A1")
        assert "/projects rename Name = New name" in await chat.says("/projects rename a1")
        assert "/projects delete Name" in await chat.says("/projects delete")


@pytest.mark.parametrize("name", ["…", "  ", "\u200b", "///"])
async def test_a_project_has_a_name(tmp_path: Path, name: str) -> None:
    async with chatting(tmp_path) as chat:
        await chat.says("one")
        await chat.says(f"/project {name}")
        assert [row["project"] for row in await chat.gateway.rows("SELECT project FROM sessions")] == [None]


async def test_projects_are_their_owners_alone(tmp_path: Path) -> None:
    async with chatting(tmp_path) as chat:
        await chat.says("one")
        await chat.says("/project Secret")
        bob = Chat(chat.gateway, chat.adapter, BOB)
        await bob.write("hello", "b1")
        await bob.gateway.settled()
        for number, text in enumerate(("/projects", "/sessions Secret", "/projects delete Secret")):
            await bob.write(text, f"b{number + 2}")
            await bob.gateway.settled()
            assert "one" not in chat.adapter.texts("bob")[-1].split()
        assert "Secret" in await chat.says("/project")


@pytest.mark.parametrize("name", ["12 monkeys", "All hands", "archived notes", "Off the record"])
async def test_a_project_may_be_called_like_an_argument(tmp_path: Path, name: str) -> None:
    async with chatting(tmp_path) as chat:
        await chat.says("hello")
        assert f"“hello” is in the project “{name}” now." in await chat.says(f"/project {name}")
        assert f"“{name}”: 1 session" in await chat.says("/projects")
        ((_label, command),) = chat.buttons
        assert "“hello”" in await chat.says(command)
        assert f"There is no project “{name}” any more" in await chat.says(f"/projects delete {name}")


@pytest.mark.parametrize("name", ["all", "Archived", "7", "off", 'the "all"'])
async def test_in_quotes_a_project_may_be_called_as_an_argument_is_written(tmp_path: Path, name: str) -> None:
    async with chatting(tmp_path) as chat:
        await chat.says("hello")
        assert f"“hello” is in the project “{name}” now." in await chat.says(f'/project "{name}"')
        await chat.says("/new")
        await chat.says("elsewhere")
        assert f"“{name}”: 1 session" in await chat.says("/projects")
        ((_label, command),) = chat.buttons
        for text in (command, f"/sessions “{name}”"):
            listed = await chat.says(text)
            assert "“hello”" in listed
            assert "“elsewhere”" not in listed
        assert f"is called “{name}s” now" in await chat.says(f'/projects rename "{name}" = „{name}s“')


async def test_the_next_page_of_a_project_is_of_that_project(tmp_path: Path) -> None:
    async with chatting(tmp_path) as chat:
        for number in range(9):
            await chat.says(f"number {number}")
            await chat.says('/project "all"')
            await chat.says("/new")
        await chat.says('/sessions "all"')
        assert chat.buttons[-1] == ("More", '/sessions 2 "all"')
        assert "”: in all, 2 messages" in await chat.says('/sessions 2 "all"')


async def test_help_tells_how_such_a_project_is_named(tmp_path: Path) -> None:
    async with chatting(tmp_path) as chat:
        assert '`/sessions "all"`' in await chat.says("/help sessions")
        assert '`/project "off"`' in await chat.says("/help project")
