"""The commands about sessions: lists, resuming, names, branches, marks, deleting; and whose they are."""

from pathlib import Path

import pytest

from config import Platform
from gateway.source import SessionSource
from tests.support.fakes import ALICE, BOB, FakeAgent, ManualClock, Pause, core
from tests.unit.commands.support import Chat, chatting

GROUP = SessionSource(Platform.TELEGRAM, "-100", chat_name="Team", chat_type="group", user_id="alice")


async def begin(chat: Chat, *texts: str) -> list[str]:
    """A session for each text; their ids."""
    ids = []
    for text in texts:
        if isinstance(clock := chat.gateway.clock, ManualClock):
            clock.advance(1)
        await chat.says("/new")
        await chat.says(text)
        ids.append(await chat.session_id())
    return ids


# --- lists ---------------------------------------------------------------------------------------------


async def test_a_list_has_the_newest_first_and_a_button_for_each(tmp_path: Path) -> None:
    clock = ManualClock()
    async with chatting(tmp_path, clock=clock) as chat:
        assert "You have no sessions yet" in await chat.says("/sessions")
        old, new = await begin(chat, "old one", "new one")
        clock.advance(3 * 3600)
        first, second, *_rest = (await chat.says("/sessions")).splitlines()
        assert first == f"1. “new one”: you are here, 2 messages, 3 hours ago (`{new}`)"
        assert second == f"2. “old one”: 2 messages, 3 hours ago (`{old}`)"
        assert chat.buttons == [("old one", f"/resume {old}")]


async def test_a_long_list_has_pages(tmp_path: Path) -> None:
    clock = ManualClock()
    async with chatting(tmp_path, clock=clock) as chat:
        for number in range(20):
            clock.advance(60)
            await begin(chat, f"topic {number}")
        page = await chat.says("/sessions")
        assert page.count("topic") == 8
        assert chat.buttons[-1] == ("More", "/sessions 2")
        assert "`/sessions 2` shows more" in page
        page = await chat.says("/sessions 3")
        assert [f"topic {number}”" in page for number in range(5)] == [True, True, True, True, False]
        assert "More" not in dict(chat.buttons)
        assert await chat.says("/sessions 4") == "There are no more sessions."


async def test_a_list_does_not_wait_for_the_running_turn_and_shows_it(tmp_path: Path) -> None:
    pause = Pause(after="done")
    async with chatting(tmp_path, FakeAgent(pause)) as chat:
        await chat.write("hello")
        await pause.reached.wait()
        await chat.write("/sessions")
        while not chat.adapter.texts():
            await chat.gateway.rows("SELECT 1")
        assert "you are here, answering" in chat.adapter.texts()[0]
        pause.go.set()
        await chat.gateway.settled()


# --- going on elsewhere --------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["id", "beginning", "name", "part of the name", "NAME"])
async def test_resume_goes_back(tmp_path: Path, how: str) -> None:
    clock = ManualClock()
    async with chatting(tmp_path, clock=clock) as chat:
        (trip,) = await begin(chat, "Trip to Rome")
        clock.advance(60)
        await begin(chat, "taxes")
        wanted = {
            "id": trip,
            "beginning": trip[:15],
            "name": "trip to rome",
            "part of the name": "Rome",
            "NAME": "TRIP  TO ROME",
        }[how]
        assert "You are back in “Trip to Rome” (2 messages" in await chat.says(f"/resume {wanted}")
        assert await chat.session_id() == trip
        await chat.says("and the hotel?")
        assert len(await chat.gateway.transcript()) == 4


async def test_resume_asks_which_where_it_can_be_several(tmp_path: Path) -> None:
    async with chatting(tmp_path) as chat:
        one, two = await begin(chat, "plan a", "plan b")
        assert "Several sessions are like “plan”" in await chat.says("/resume plan")
        assert sorted(chat.buttons) == [("plan a", f"/resume {one}"), ("plan b", f"/resume {two}")]


async def test_resume_alone_lists(tmp_path: Path) -> None:
    async with chatting(tmp_path) as chat:
        (one, _two) = await begin(chat, "one", "two")
        await chat.says("/resume")
        assert chat.buttons == [("one", f"/resume {one}")]


async def test_somebody_elses_session_is_as_one_that_there_is_not(tmp_path: Path) -> None:
    async with chatting(tmp_path) as alice:
        bob = Chat(alice.gateway, alice.adapter, BOB)
        bob._number = 100
        await bob.says("my secret")
        theirs = await bob.session_id()
        missing = "20260301_120000_0000000000000000"
        for command in ("resume", "pin", "unpin", "archive", "delete", "export"):
            words = [(await alice.says(f"/{command} {wanted}")).replace(wanted, "ID") for wanted in (theirs, missing)]
            assert words[0] == words[1] == "There is no session “ID” of yours. /sessions lists them."
        assert "You have no sessions yet" in await alice.says("/sessions")
        assert "no session “secret” of yours" in await alice.says("/resume secret")
        assert "There is no session “ID” of yours" in (await alice.says(f"/delete {theirs} yes")).replace(theirs, "ID")
        assert await alice.gateway.rows("SELECT 1 FROM sessions WHERE id = ?", theirs)


async def test_a_group_does_not_see_what_one_of_it_said_in_private(tmp_path: Path) -> None:
    async with chatting(tmp_path) as alice:
        await alice.says("about my health")
        private = await alice.session_id()
        group = Chat(alice.gateway, alice.adapter, GROUP)
        group._number = 100
        await group.says("team plans")
        assert "health" not in await group.says("/sessions")
        assert "There is no session" in await group.says(f"/resume {private}")
        assert "team plans" in await alice.says("/sessions"), "in private all that is theirs can be seen"


async def test_a_session_that_goes_on_elsewhere_stays_there(tmp_path: Path) -> None:
    async with chatting(tmp_path) as alice:
        group = Chat(alice.gateway, alice.adapter, GROUP)
        group._number = 100
        await group.says("team plans")
        theirs = await group.session_id()
        assert "goes on in another chat" in await alice.says(f"/resume {theirs}")
        assert await group.session_id() == theirs


async def test_resume_waits_for_the_running_turn(tmp_path: Path) -> None:
    pause = Pause(after="done")
    async with chatting(tmp_path, FakeAgent()) as chat:
        (first,) = await begin(chat, "first")
        await chat.says("/new")
        agent = chat.gateway.roster.agent
        assert isinstance(agent, FakeAgent)
        agent.scripts.append(pause)
        await chat.write("second")
        await pause.reached.wait()
        await chat.write(f"/resume {first}")
        pause.go.set()
        await chat.gateway.settled()
        assert await chat.session_id() == first
        assert len(await chat.gateway.transcript()) == 2, "the answer went to the session that it was asked in"


# --- names, branches, marks ----------------------------------------------------------------------------


async def test_title(tmp_path: Path) -> None:
    async with chatting(tmp_path) as chat:
        assert "no conversation here yet" in await chat.says("/title")
        await chat.says("hello there")
        assert "is called “hello there”" in await chat.says("/title")
        assert "is called “Trip to Rome” now" in await chat.says("/title  Trip \n to Rome ")
        await chat.says("more")
        (row,) = await chat.gateway.rows("SELECT title FROM sessions")
        assert row["title"] == "Trip to Rome"


async def test_branch_goes_on_in_a_copy(tmp_path: Path) -> None:
    async with chatting(tmp_path) as chat:
        await chat.says("one")
        original = await chat.session_id()
        assert "You are in a copy now, “one (branch)” (2 messages)" in await chat.says("/branch")
        copy = await chat.session_id()
        assert copy != original
        assert chat.buttons == [("Back to the original", f"/resume {original}")]
        await chat.says("two")
        assert len(await chat.gateway.transcript()) == 4
        await chat.says("/undo 2")
        await chat.says(f"/resume {original}")
        assert await chat.gateway.transcript() == [("user", "one"), ("assistant", "re: one")]
        await chat.says("/fork Plan B")
        (row,) = await chat.gateway.rows("SELECT title FROM sessions WHERE id = ?", await chat.session_id())
        assert row["title"] == "Plan B"


async def test_pin_and_unpin(tmp_path: Path) -> None:
    clock = ManualClock()
    async with chatting(tmp_path, clock=clock) as chat:
        (old,) = await begin(chat, "old")
        clock.advance(60)
        await begin(chat, "new")
        await chat.says(f"/pin {old}")
        assert (await chat.says("/sessions")).startswith("1. “old”: pinned")
        await chat.says("/unpin old")
        assert (await chat.says("/sessions")).startswith("1. “new”")


async def test_archive_puts_the_session_away_until_it_is_resumed(tmp_path: Path) -> None:
    async with chatting(tmp_path) as chat:
        (one,) = await begin(chat, "one")
        assert "“one” is put away" in await chat.says("/archive")
        assert "You have no sessions yet" in await chat.says("/sessions")
        assert f"put away, 2 messages, just now (`{one}`)" in await chat.says("/sessions archived")
        assert "put away" in await chat.says("/sessions all")
        await chat.says("something else")
        assert await chat.session_id() != one
        await chat.says(f"/resume {one}")
        assert "“one”: you are here, 2 messages" in await chat.says("/sessions")
        assert await chat.says("/sessions archived") == "You have put no session away."


# --- deleting ------------------------------------------------------------------------------------------


async def test_delete_asks_first(tmp_path: Path) -> None:
    async with chatting(tmp_path) as chat:
        (one,) = await begin(chat, "one")
        asked = await chat.says("/delete")
        assert "Delete “one” (2 messages) for good?" in asked
        assert chat.buttons == [
            ("Delete", f"/delete {one} yes"),
            ("Keep", f"/delete {one} no"),
            ("Put it away instead", f"/archive {one}"),
        ]
        assert await chat.says(f"/delete {one} no") == "“one” is kept."
        assert len(await chat.gateway.transcript()) == 2
        assert await chat.says(f"/delete {one} yes") == "“one” is deleted, with its 2 messages."
        assert not await chat.gateway.rows("SELECT 1 FROM messages")
        assert "no session" in await chat.says(f"/delete {one} yes")
        await chat.says("hello")
        assert await chat.session_id() != one


async def test_what_was_taken_back_is_deleted_too(tmp_path: Path) -> None:
    async with chatting(tmp_path) as chat:
        (one,) = await begin(chat, "one")
        await chat.says("two")
        await chat.says("/undo")
        assert await chat.gateway.rows("SELECT 1 FROM cuts")
        await chat.says(f"/delete {one} yes")
        assert not await chat.gateway.rows("SELECT 1 FROM cuts")


async def test_a_pinned_session_is_not_deleted(tmp_path: Path) -> None:
    async with chatting(tmp_path) as chat:
        (one,) = await begin(chat, "one")
        await chat.says("/pin")
        assert "is pinned, so it is not deleted" in await chat.says(f"/delete {one} yes")
        assert await chat.gateway.rows("SELECT 1 FROM sessions WHERE id = ?", one)


async def test_a_session_in_which_an_answer_is_written_is_neither_deleted_nor_put_away(tmp_path: Path) -> None:
    pause = Pause(after="done")
    async with chatting(tmp_path, FakeAgent(pause)) as alice:
        group = Chat(alice.gateway, alice.adapter, GROUP)
        group._number = 100
        await group.write("team plans")
        await pause.reached.wait()
        (row,) = await alice.gateway.rows("SELECT id FROM sessions")
        for text, words in ((f"/delete {row['id']} yes", "is not deleted"), (f"/archive {row['id']}", "Stop it there")):
            await alice.write(text)
            while not any(words in shown for shown in alice.adapter.texts("1")):
                await alice.gateway.rows("SELECT 1")
        pause.go.set()
        await alice.gateway.settled()
        assert len(await alice.gateway.transcript(GROUP)) == 2


async def test_what_a_command_did_is_there_after_a_crash(tmp_path: Path) -> None:
    async with chatting(tmp_path) as chat:
        await chat.says("one")
        await chat.says("/title Kept")
        await chat.says("/branch Copy")
        await chat.gateway.die()
    async with core(tmp_path) as gateway:
        rows = await gateway.rows("SELECT title FROM sessions ORDER BY created_at, rowid")
        assert [row["title"] for row in rows] == ["Kept", "Copy"]
        assert len(await gateway.transcript(ALICE)) == 2


@pytest.mark.parametrize("answer", ["yes", "No"])
async def test_an_answer_without_a_session_asks_about_this_one_and_deletes_nothing(tmp_path: Path, answer: str) -> None:
    async with chatting(tmp_path) as chat:
        assert "no conversation here yet" in await chat.says(f"/delete {answer}")
        await chat.says("hello")
        session_id = await chat.session_id()
        told = await chat.says(f"/delete {answer}")
        assert told.startswith("Delete “hello” (2 messages) for good?")
        assert f"/delete {session_id} yes" in told
        await chat.says(f"/title {answer} we do")
        await chat.says("/new")
        assert f"/delete {session_id} yes" in await chat.says(f"/delete {answer}"), "one of that name is meant"
        assert len(await chat.gateway.rows("SELECT 1 FROM sessions")) == 2
