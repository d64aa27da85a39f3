"""Edits: in place of the old text before the turn, as news with the next turn after it; and what a message answers."""

import asyncio
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.corrections import Corrections
from gateway.inbound import QUOTED_CHARS, Extra
from gateway.ports import Attachment, InboundMessage, MediaKind, Quote, RawUpdate
from gateway.source import SessionSource
from gateway.storage.errors import StorageError
from gateway.transcript import MAX_EDITS, absorb
from tests.support.fakes import ALICE, BOB, Core, FakeAdapter, FakeAgent, Pause, configure, core

NEWS = "The sender has edited an earlier message; it now reads:\n> "
PHOTO = Attachment(MediaKind.IMAGE, "file-1", size=10)


async def edit(
    gateway: Core, text: str, message_id: str, source: SessionSource = ALICE, *, operator: bool = True, **more: Any
) -> None:
    await gateway.corrections.amend(InboundMessage(source, message_id, text, **more), operator=operator)


def inputs(agent: FakeAgent) -> list[list[Any]]:
    return [[message["content"] for message in turn.inputs] for turn in agent.turns]


async def test_a_message_that_waits_says_what_it_says_now(tmp_path: Path) -> None:
    pause = Pause()
    agent = FakeAgent(pause)
    async with core(tmp_path, agent) as gateway:
        await gateway.say("first", "1")
        await pause.reached.wait()
        await gateway.say("secnd", "2")
        await edit(gateway, "second", "2")
        pause.go.set()
        await gateway.settled()
        assert inputs(agent) == [["first"], ["second"]]
        assert ("user", "second") in await gateway.transcript()
        assert [row["text"] for row in await gateway.rows("SELECT text FROM inbound ORDER BY id")] == [
            "first",
            "second",
        ]


async def test_what_is_stored_counts_where_the_lane_has_not_heard_of_it(tmp_path: Path) -> None:
    pause = Pause()
    agent = FakeAgent(pause)
    async with core(tmp_path, agent) as gateway:
        unheard: list[Any] = []
        deaf = Corrections(
            gateway.database,
            configure(),
            gateway.clock,
            on_changed=unheard.append,
            on_moved=unheard.append,
            on_delivery=unheard.append,
        )
        await gateway.say("first", "1")
        await pause.reached.wait()
        await gateway.say("secnd", "2")
        await deaf.amend(InboundMessage(ALICE, "2", "second", attachments=(PHOTO,)), operator=True)
        assert [change.record.text for change in unheard] == ["second"]
        pause.go.set()
        await gateway.settled()
        assert "second" in inputs(agent)[1][0]
        assert "secnd" not in inputs(agent)[1][0]


async def test_a_message_that_waits_may_become_a_command(tmp_path: Path) -> None:
    pause, adapter = Pause(after="ok"), FakeAdapter()
    agent = FakeAgent(pause)
    async with core(tmp_path, agent, adapter) as gateway:
        await gateway.say("first", "1")
        await pause.reached.wait()
        await gateway.say("new", "2")
        await edit(gateway, "/new", "2")
        pause.go.set()
        await gateway.settled()
        assert len(agent.turns) == 1
        assert adapter.texts()[-1].startswith("A new conversation begins.")


async def test_the_files_of_a_message_that_waits_change_too(tmp_path: Path) -> None:
    pause = Pause()
    async with core(tmp_path, FakeAgent(pause)) as gateway:
        await gateway.say("first", "1")
        await pause.reached.wait()
        await gateway.say("second", "2", quote=Quote("what?", "Bob"))
        await edit(gateway, "", "2", attachments=(PHOTO,))
        (row,) = await gateway.rows("SELECT text, extra FROM inbound WHERE message_id = '2'")
        assert row["text"] == ""
        assert Extra.load(row["extra"]) == Extra((PHOTO,), Quote("what?", "Bob"), operator=True)
        await edit(gateway, "", "2")
        (row,) = await gateway.rows("SELECT text, extra FROM inbound WHERE message_id = '2'")
        assert Extra.load(row["extra"]).attachments == (PHOTO,), "a message cannot be edited away"
        pause.go.set()
        await gateway.settled()


async def test_the_agent_is_told_with_the_next_turn_once(tmp_path: Path) -> None:
    pause = Pause(after="re: first")
    agent = FakeAgent(pause)
    async with core(tmp_path, agent) as gateway:
        await gateway.say("first", "1")
        await pause.reached.wait()
        await edit(gateway, "the first", "1")
        await edit(gateway, "the very first\nof all", "1")
        pause.go.set()
        await gateway.settled()
        await gateway.say("second", "2")
        await gateway.settled()
        await gateway.say("third", "3")
        await gateway.settled()
        told = f"{NEWS}the very first\n> of all\n\nsecond"
        assert inputs(agent) == [["first"], [told], ["third"]]
        transcript = await gateway.transcript()
        assert [content for role, content in transcript if role == "user"] == ["first", told, "third"]
        await edit(gateway, "the very first\nof all", "1")
        await gateway.say("fourth", "4")
        await gateway.settled()
        assert inputs(agent)[-1] == ["fourth"]


async def test_news_of_a_turn_that_was_cut_short_are_its_own_still(tmp_path: Path) -> None:
    pause = Pause()
    async with core(tmp_path, FakeAgent()) as gateway:
        await gateway.say("first", "1")
        await gateway.settled()
        await edit(gateway, "edited", "1")
    async with core(tmp_path, FakeAgent(pause)) as gateway:
        await gateway.say("second", "2")
        await pause.reached.wait()
        await gateway.die()
    agent = FakeAgent()
    async with core(tmp_path, agent) as gateway:
        await gateway.settled()
        assert inputs(agent) == [[f"{NEWS}edited\n\nsecond"]]
        await gateway.say("third", "3")
        await gateway.settled()
        assert inputs(agent)[1] == ["third"]


async def test_a_change_that_is_taken_back_is_no_news(tmp_path: Path) -> None:
    agent = FakeAgent()
    async with core(tmp_path, agent) as gateway:
        await gateway.say("first", "1")
        await gateway.settled()
        await edit(gateway, "edited", "1")
        await edit(gateway, "first", "1")
        await edit(gateway, "", "1")
        await gateway.say("second", "2")
        await gateway.settled()
        assert inputs(agent)[1] == ["second"]


async def test_many_long_edits_are_bounded(tmp_path: Path) -> None:
    agent = FakeAgent()
    async with core(tmp_path, agent) as gateway:
        for number in range(MAX_EDITS + 2):
            await gateway.say(str(number))
        await gateway.settled()
        for number in range(MAX_EDITS + 2):
            await edit(gateway, f"{number}: " + "x" * 5000, str(number))
        before = len(agent.turns)
        await gateway.say("next")
        await gateway.settled()
        (content,) = inputs(agent)[before]
        assert content.count(NEWS) == MAX_EDITS
        assert f"{NEWS}0: x" not in content
        assert f"{NEWS}{MAX_EDITS + 1}: x" in content
        assert len(content) < (QUOTED_CHARS + 100) * MAX_EDITS + 100


@pytest.mark.parametrize("what", ["a stranger", "never taken", "ignored", "refused", "a command"])
async def test_nothing_comes_of_an_edit_of(tmp_path: Path, what: str) -> None:
    agent = FakeAgent()
    config = configure(inbox={"max_message_chars": 30}, allowed_users=["alice"])
    async with core(tmp_path, agent, config=config) as gateway:
        text = {"refused": "x" * 40, "a command": "/help"}.get(what, "first")
        if what == "ignored":
            await gateway.say(text, "1", addressed=False)
        elif what != "never taken":
            await gateway.say(text, "1")
        await gateway.settled()
        who = SessionSource(ALICE.platform, "1", user_id="mallory") if what == "a stranger" else ALICE
        await edit(gateway, "edited", "1", who, operator=False)
        await gateway.settled()
        await gateway.say("second", "2")
        await gateway.settled()
        assert inputs(agent)[-1] == ["second"]
        assert not await gateway.rows("SELECT 1 FROM inbound WHERE edited IS NOT NULL")


async def test_an_edit_that_is_too_long_is_told_and_changes_nothing(tmp_path: Path) -> None:
    pause, adapter = Pause(after="ok"), FakeAdapter()
    agent = FakeAgent(pause)
    async with core(tmp_path, agent, adapter, config=configure(inbox={"max_message_chars": 30})) as gateway:
        await gateway.say("first", "1")
        await pause.reached.wait()
        await gateway.say("second", "2")
        await edit(gateway, "x" * 31, "2")
        pause.go.set()
        await gateway.settled()
        assert inputs(agent) == [["first"], ["second"]]
        assert any("31 characters since you edited it" in text for text in adapter.texts("1"))


async def test_an_edit_takes_its_update_along_whatever_comes_of_it(tmp_path: Path) -> None:
    async with core(tmp_path) as gateway:
        await gateway.updates.keep("telegram", "default", [RawUpdate("7", "{}"), RawUpdate("8", "{}")], None)
        await edit(gateway, "x", "unknown", update_id="7")
        await edit(gateway, "x", "unknown", BOB, operator=False, update_id="8")
        assert await gateway.updates.counts() == {"kept": 0, "set_aside": 0}


async def test_an_edit_that_is_not_stored_says_so(tmp_path: Path) -> None:
    async with core(tmp_path) as gateway:
        gateway.database.fail(StorageError("not now"))
        with pytest.raises(StorageError):
            await edit(gateway, "x", "1")


async def test_who_stops_waiting_for_an_edit_has_it_all_the_same(tmp_path: Path) -> None:
    pause = Pause()
    agent = FakeAgent(pause)
    async with core(tmp_path, agent) as gateway:
        await gateway.say("first", "1")
        await pause.reached.wait()
        await gateway.say("secnd", "2")
        waiting = asyncio.ensure_future(edit(gateway, "second", "2"))
        await asyncio.sleep(0)
        waiting.cancel()
        await gateway.say("third", "3")
        pause.go.set()
        await gateway.settled()
        assert inputs(agent) == [["first"], ["second"], ["third"]]


async def test_a_message_that_a_running_turn_takes_in_may_have_changed_meanwhile(tmp_path: Path) -> None:
    async with core(tmp_path, FakeAgent(Pause())) as gateway:
        await gateway.say("first", "1")
        await gateway.say("secnd", "2")
        lane = next(iter(gateway.lanes._lanes.values()))
        record = lane.waiting[-1]
        assert not callable(record)

        def job(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE inbound SET text = 'second' WHERE message_id = '2'")
            absorb(connection, "turn", record)  # type: ignore[arg-type]

        await gateway.database.write(job)
        (row,) = await gateway.rows("SELECT state, edited FROM inbound WHERE message_id = '2'")
        assert tuple(row) == ("running", "second")


async def test_what_somebody_else_has_edited_does_not_pass_for_the_senders(tmp_path: Path) -> None:
    ann, bob = (replace(ALICE, chat_id="-1", chat_type="group", user_id=name) for name in ("ann", "bob"))
    agent = FakeAgent()
    async with core(tmp_path, agent, config=configure(sessions={"group_sessions_per_user": False})) as gateway:
        await gateway.say("fisrt", "1", ann)
        await gateway.say("secnd", "2", bob)
        await gateway.settled()
        await edit(gateway, "first", "1", ann)
        await edit(gateway, "second", "2", bob)
        await gateway.say("third", "3", bob)
        await gateway.settled()
    theirs = NEWS.replace("The sender", "Somebody else in this conversation")
    assert inputs(agent)[-1] == [f"{NEWS}second\n\n{theirs}first\n\nthird"]


# --- what comes with a message -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quote", "words"),
    [
        (Quote("Shall I?", "hermes", ours=True), "In reply to your own message:\n> Shall I?"),
        (Quote("one\ntwo", "Bob \n Brown"), 'In reply to a message of "Bob Brown":\n> one\n> two'),
        (Quote("x"), "In reply to a message of somebody else:\n> x"),
        (Quote("y" * 3000), f"In reply to a message of somebody else:\n> {'y' * QUOTED_CHARS}…"),
    ],
)
async def test_what_a_message_answers_stands_before_it(tmp_path: Path, quote: Quote, words: str) -> None:
    agent = FakeAgent()
    async with core(tmp_path, agent) as gateway:
        await gateway.say("yes", "1", quote=quote)
        await gateway.say("/status", "2", quote=quote)
        await gateway.say("no", "3", quote=Quote(" \n"))
        await gateway.settled()
        assert inputs(agent) == [[f"{words}\n\nyes"], ["no"]]


async def test_a_file_alone_is_a_message(tmp_path: Path) -> None:
    agent = FakeAgent()
    async with core(tmp_path, agent) as gateway:
        accepted = await gateway.say("", "1", attachments=(PHOTO,))
        assert accepted.state == "pending"
        await gateway.say("", "2")
        await gateway.settled()
        assert await gateway.ends() == {"1": "answered", "2": "refused"}
        assert len(agent.turns) == 1


async def test_what_is_ignored_keeps_its_id_alone(tmp_path: Path) -> None:
    async with core(tmp_path) as gateway:
        await gateway.say("x", "1", addressed=False, attachments=(PHOTO,), quote=Quote("secret"))
        (row,) = await gateway.rows("SELECT text, source, extra FROM inbound")
        assert tuple(row) == (None, None, None)


def test_extras_are_read_as_they_were_written() -> None:
    extra = Extra(
        (PHOTO, Attachment(MediaKind.VOICE, "a\ud800", "n", "audio/ogg")),
        Quote("q", None, True, "5"),
        ("e",),
        ("o",),
        reply_thread="below-5",
    )
    assert Extra.load(extra.dump()) == extra
    assert Extra().dump() is None
    assert Extra.load(None) == Extra()
    hostile = Quote("a\0b" + "x" * 5000, "n" * 500)
    bounded = Extra.of(InboundMessage(ALICE, "1", "", quote=hostile)).quote
    assert bounded is not None
    assert bounded.author is not None
    assert (len(bounded.text), len(bounded.author), bounded.text[:3]) == (QUOTED_CHARS + 1, 100, "a�b")
