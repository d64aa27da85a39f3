"""A chat that gets another id: its sessions go with it, what runs goes on, and every answer reaches the new chat."""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from config import Platform
from gateway.delivery import NewDelivery, add_delivery
from gateway.inbound import InboundRecord
from gateway.ports import AdapterState, InboundMessage, RawUpdate, Target
from gateway.source import SessionSource
from gateway.storage.codec import to_micros
from gateway.turn import Turn
from tests.support.fakes import START, Core, FakeAdapter, FakeAgent, Pause, configure, core

OLD, NEW = "-5", "-1005"


def group(chat: str = OLD, person: str = "alice", thread: str | None = None) -> SessionSource:
    return SessionSource(
        Platform.TELEGRAM, chat_id=chat, chat_name="Friends", chat_type="group", user_id=person, thread_id=thread
    )


async def move(gateway: Core, old: str = OLD, new: str = NEW, update_id: str | None = None) -> None:
    await gateway.corrections.move_chat(Platform.TELEGRAM, "default", old, new, update_id)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def sessions(gateway: Core) -> dict[str, str]:
    """The live session of each slot that has one, by its key."""
    rows = await gateway.rows("SELECT key, session_id FROM slots WHERE session_id IS NOT NULL")
    return {row["key"]: row["session_id"] for row in rows}


async def whole(gateway: Core) -> None:
    assert await gateway.rows("PRAGMA foreign_key_check") == []


async def test_the_session_goes_with_its_chat(tmp_path: Path) -> None:
    agent, adapter = FakeAgent(), FakeAdapter()
    async with core(tmp_path, agent, adapter) as gateway:
        await gateway.updates.keep("telegram", "default", [RawUpdate("7", "{}")], None)
        await gateway.say("one", source=group())
        await gateway.settled()
        before = await sessions(gateway)
        await move(gateway, update_id="7")
        after = await sessions(gateway)
        assert list(before) == [f"agent:main:telegram:group:{OLD}:alice"]
        assert list(after) == [f"agent:main:telegram:group:{NEW}:alice"]
        assert list(after.values()) == list(before.values())
        assert await gateway.updates.counts() == {"kept": 0, "set_aside": 0}
        await gateway.say("two", source=group(NEW))
        await gateway.settled()
        await gateway.say("three", source=group(OLD))
        await gateway.settled()
        assert await sessions(gateway) == after
        assert [len(turn.history) for turn in agent.turns] == [0, 2, 4]
        assert adapter.texts(OLD) == ["re: one"]
        assert adapter.texts(NEW) == ["re: two", "re: three"]
        entry = await gateway.store.get_or_create_session(group(OLD))
        assert entry.session_id == next(iter(after.values()))
        assert entry.origin is not None
        assert entry.origin.chat_id == NEW
        assert await gateway.store.reset_session(f"agent:main:telegram:group:{NEW}:alice") is not None
        await whole(gateway)


async def test_what_the_store_remembers_of_a_slot_is_not_its_old_place(tmp_path: Path) -> None:
    async with core(tmp_path) as gateway:
        said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        first = await gateway.store.record_turn(group(), said)
        assert await gateway.store.record_turn(group(), said) == first
        await move(gateway)
        assert await gateway.store.record_turn(group(NEW), said) == first
        assert await gateway.store.record_turn(group(OLD), said) == first
        await gateway.store.reset_session(f"agent:main:telegram:group:{NEW}:alice")
        assert await gateway.store.record_turn(group(OLD), said) != first
        assert (await gateway.rows("SELECT count(*) FROM slots"))[0][0] == 1


async def test_all_slots_of_the_chat_go_and_no_others(tmp_path: Path) -> None:
    async with core(tmp_path) as gateway:
        sources = [group(), group(person="bob"), group(thread="9"), group("-6"), replace(group(), chat_type="channel")]
        for number, source in enumerate(sources):
            await gateway.say("x", str(number), source=source)
        await gateway.settled()
        await move(gateway)
        assert sorted(await sessions(gateway)) == sorted(
            f"agent:main:telegram:{rest}"
            for rest in (
                f"group:{NEW}:alice",
                f"group:{NEW}:bob",
                f"group:{NEW}:9:alice",
                "group:-6:alice",
                f"channel:{NEW}:alice",
            )
        )


async def test_a_running_turn_goes_on_and_answers_in_the_new_chat(tmp_path: Path) -> None:
    pause, adapter = Pause(after="done"), FakeAdapter()
    agent = FakeAgent(pause)
    async with core(tmp_path, agent, adapter) as gateway:
        await gateway.say("one", source=group())
        await pause.reached.wait()
        await gateway.say("two", source=group())
        await move(gateway)
        await gateway.say("three", source=group(NEW))
        await gateway.say("four", source=group(OLD))
        assert len(gateway.lanes._lanes) == 1
        pause.go.set()
        await gateway.settled()
        assert adapter.texts(OLD) == []
        assert adapter.texts(NEW) == ["done", "re: two", "re: three", "re: four"]
        assert [shown.answers for shown in adapter.screen.values()] == [(), (), ("three",), ()]
        assert set((await gateway.ends()).values()) == {"answered"}
        assert len(await sessions(gateway)) == 1
        await whole(gateway)


async def test_a_reply_that_grows_is_shown_anew_and_marked(tmp_path: Path) -> None:
    pause, adapter = Pause("The answer ", "is 42."), FakeAdapter()
    async with core(tmp_path, FakeAgent(pause), adapter) as gateway:
        await gateway.say("one", source=group())
        await pause.reached.wait()
        await until(lambda: bool(adapter.screen))
        await move(gateway)
        pause.go.set()
        await gateway.settled()
        shown = [delivery for delivery in adapter.screen.values() if delivery.target.chat_id == NEW]
        assert [delivery.text for delivery in shown] == ["The answer is 42."]
        assert shown[0].repeated
        assert shown[0].answers == ()


async def test_a_turn_that_is_about_to_begin_begins_in_the_new_chat(tmp_path: Path) -> None:
    adapter = FakeAdapter()
    async with core(tmp_path, FakeAgent(), adapter) as gateway:
        accepted = [asyncio.ensure_future(gateway.say(str(number), source=group())) for number in range(3)]
        moved = asyncio.ensure_future(move(gateway))
        late = [asyncio.ensure_future(gateway.say(str(number), source=group(OLD))) for number in range(3, 6)]
        await asyncio.gather(*accepted, moved, *late)
        await gateway.settled()
        assert adapter.texts(OLD) == []
        assert adapter.texts(NEW) == [f"re: {number}" for number in range(6)]
        assert list(await sessions(gateway)) == [f"agent:main:telegram:group:{NEW}:alice"]
        assert (await gateway.rows("SELECT count(*) FROM sessions"))[0][0] == 1
        assert gateway.lanes._lanes == {}


async def test_a_turn_that_has_just_begun_is_told_of_the_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = FakeAgent()
    async with core(tmp_path, agent) as gateway:
        begin = gateway.runner.begin

        async def begin_and_move(inbound: Sequence[InboundRecord]) -> Turn | None:
            turn = await begin(inbound)
            await move(gateway)
            return turn

        monkeypatch.setattr(gateway.runner, "begin", begin_and_move)
        await gateway.say("one", source=group())
        await gateway.settled()
        assert [turn.source.chat_id for turn in agent.turns] == [NEW]


async def test_a_message_that_is_taken_up_late_waits_where_its_chat_is_now(tmp_path: Path) -> None:
    pause, agent = Pause(), FakeAgent()
    agent.scripts.append(pause)
    async with core(tmp_path, agent) as gateway:
        await gateway.say("one", source=group())
        await pause.reached.wait()
        await gateway.say("two", source=group())
        stale = [record async for record in gateway.inbox.pending()]
        await move(gateway)
        gateway.lanes.offer(stale[0])
        assert [identity.chat for identity in gateway.lanes._lanes] == [NEW]
        pause.go.set()
        await gateway.settled()
        assert len(agent.turns) == 2


async def test_a_command_reaches_the_turn_under_either_id(tmp_path: Path) -> None:
    pause, adapter = Pause(), FakeAdapter()
    async with core(tmp_path, FakeAgent(pause), adapter) as gateway:
        await gateway.say("one", source=group())
        await pause.reached.wait()
        identity = gateway.store.identity(group())
        await move(gateway)
        assert gateway.lanes.is_active(identity)
        assert gateway.lanes.describe(identity).startswith("answering")
        await gateway.say("/stop", source=group(OLD))
        await gateway.settled()
        assert await gateway.ends() == {"one": "answered", "/stop": "answered"}
        assert adapter.texts(NEW) == ["Stopping.", "Stopped as you asked, before there was an answer."]
        await gateway.say("/new", source=group(OLD))
        await gateway.settled()
        assert list(await sessions(gateway)) == [f"agent:main:telegram:group:{NEW}:alice"]


async def test_a_turn_that_a_crash_cut_short_answers_in_the_new_chat(tmp_path: Path) -> None:
    pause, adapter = Pause(), FakeAdapter()
    async with core(tmp_path, FakeAgent(pause)) as gateway:
        await gateway.say("one", source=group())
        await pause.reached.wait()
        await gateway.say("two", source=group())
        await move(gateway)
        await gateway.die()
    agent = FakeAgent()
    async with core(tmp_path, agent, adapter) as gateway:
        await gateway.settled()
        await gateway.say("three", source=group(OLD))
        await gateway.settled()
        assert adapter.texts(NEW) == ["re: one", "re: two", "re: three"]
        assert adapter.texts(OLD) == []
        assert [turn.source.chat_id for turn in agent.turns] == [NEW] * 3
        assert [shown.answers for shown in adapter.screen.values()] == [(), (), ()]


async def test_what_waits_to_be_sent_goes_along_and_so_does_its_hold(tmp_path: Path) -> None:
    adapter = FakeAdapter()
    async with core(tmp_path, FakeAgent(), adapter, state=AdapterState.CONNECTING) as gateway:
        await gateway.say("one", source=group())
        await gateway.settled()
        until_micros = to_micros(START) + 1
        await gateway.execute("INSERT INTO holds VALUES ('telegram', 'default', ?, ?)", OLD, until_micros)
        await move(gateway)
        rows = await gateway.rows("SELECT chat, answers, state FROM outbox")
        assert [tuple(row) for row in rows] == [(NEW, "[]", "pending")]
        assert [tuple(row) for row in await gateway.rows("SELECT chat, until FROM holds")] == [(NEW, until_micros)]
        late = NewDelivery(Target(Platform.TELEGRAM, OLD), "notice", "late", ("5",))
        await gateway.database.write(lambda connection: add_delivery(connection, late, START))
        rows = await gateway.rows("SELECT chat, answers FROM outbox WHERE text = 'late'")
        assert [tuple(row) for row in rows] == [(NEW, "[]")]
        gateway.connections.state = AdapterState.CONNECTED
        gateway.outbox.wake(Platform.TELEGRAM, "default")
        await gateway.settled()
        assert adapter.texts(NEW) == ["re: one", "late"]
        later = NewDelivery(Target(Platform.TELEGRAM, OLD), "notice", "later")
        await gateway.database.write(lambda connection: add_delivery(connection, later, START))
        gateway.outbox.offer(later.target)
        await gateway.settled()
        assert adapter.texts(NEW)[-1] == "later"


async def test_the_two_chats_may_number_their_messages_alike(tmp_path: Path) -> None:
    adapter = FakeAdapter()
    async with core(tmp_path, FakeAgent(), adapter) as gateway:
        await gateway.say("one", "5", source=group())
        await gateway.settled()
        await move(gateway)
        assert (await gateway.say("one", "5", source=group(OLD))).duplicate
        assert not (await gateway.say("two", "5", source=group(NEW))).duplicate
        await gateway.settled()
        assert adapter.texts(NEW) == ["re: two"]
        await gateway.corrections.amend(InboundMessage(group(OLD), "5", "first"), operator=True)
        await gateway.say("three", "6", source=group(NEW))
        await gateway.settled()
        assert "now reads:\n> first\n\nthree" in adapter.texts(NEW)[-1]


async def test_to_move_twice_is_to_move_once(tmp_path: Path) -> None:
    async with core(tmp_path) as gateway:
        await gateway.say("one", source=group())
        await gateway.settled()
        await move(gateway)
        found = await sessions(gateway)
        await move(gateway)
        await move(gateway, NEW, NEW)
        assert await sessions(gateway) == found
        for bad in (("", NEW), (OLD, "a\0b")):
            with pytest.raises(ValueError, match="moves from one id"):
                await move(gateway, *bad)


async def test_a_chat_moves_on_and_comes_back(tmp_path: Path) -> None:
    adapter = FakeAdapter()
    async with core(tmp_path, FakeAgent(), adapter) as gateway:
        await gateway.say("one", source=group())
        await gateway.settled()
        (session,) = (await sessions(gateway)).values()
        await move(gateway, OLD, "b")
        await move(gateway, "b", "c")
        await gateway.say("two", source=group(OLD))
        await gateway.settled()
        await move(gateway, "c", OLD)
        for number, chat in enumerate((OLD, "b", "c")):
            await gateway.say(f"at {chat}", str(number), source=group(chat))
            await gateway.settled()
        assert await sessions(gateway) == {f"agent:main:telegram:group:{OLD}:alice": session}
        assert adapter.texts("c") == ["re: two"]
        assert adapter.texts(OLD) == ["re: one", f"re: at {OLD}", "re: at b", "re: at c"]


async def test_a_slot_without_messages_gives_way(tmp_path: Path) -> None:
    pause, adapter = Pause(after="done"), FakeAdapter()
    async with core(tmp_path, FakeAgent(pause), adapter) as gateway:
        await gateway.store.get_or_create_session(group(NEW))
        await gateway.say("/status", source=group(NEW))
        await gateway.say("one", source=group())
        await pause.reached.wait()
        (session,) = [found for key, found in (await sessions(gateway)).items() if f":{OLD}:" in key]
        await move(gateway)
        assert await sessions(gateway) == {f"agent:main:telegram:group:{NEW}:alice": session}
        pause.go.set()
        await gateway.settled()
        await gateway.say("two", source=group(NEW))
        await gateway.settled()
        assert adapter.texts(NEW)[-2:] == ["done", "re: two"]
        (row,) = await gateway.rows("SELECT message_count FROM sessions WHERE id = ?", session)
        assert row["message_count"] == 4
        assert len(await gateway.rows("SELECT 1 FROM sessions WHERE ended_at IS NULL")) == 1
        await whole(gateway)


@pytest.mark.parametrize("what", ["messages", "a turn", "a waiting message"])
async def test_a_slot_with_content_stays_and_so_does_the_old_one(
    tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    held, adapter = Pause(after="held"), FakeAdapter()
    agent = FakeAgent(*([] if what == "messages" else [held]))
    async with core(tmp_path, agent, adapter) as gateway:
        await gateway.say("there", source=group(NEW))
        if what == "messages":
            await gateway.settled()
        else:
            await held.reached.wait()
        if what == "a waiting message":
            await gateway.say("waits", source=group(NEW))
        await gateway.say("here", source=group())
        await until(lambda: "re: here" in adapter.texts(OLD))
        await gateway.say("/status", source=group())
        before = await sessions(gateway)
        await move(gateway)
        assert await sessions(gateway) == before
        assert "stays as it is" in caplog.text
        held.go.set()
        await gateway.settled()
        await gateway.say("after", source=group(OLD))
        await gateway.settled()
        assert adapter.texts(NEW)[-1] == "re: after"
        assert len(agent.turns[-1].history) == (4 if what == "a waiting message" else 2)
        await whole(gateway)


@pytest.mark.parametrize("seed", range(6))
async def test_every_message_has_its_one_answer_however_the_chat_moves(tmp_path: Path, seed: int) -> None:
    chance, adapter, agent = random.Random(seed), FakeAdapter(), FakeAgent()
    chats, asked = [OLD], 0
    async with core(tmp_path, agent, adapter) as gateway:
        for _ in range(40):
            if chance.random() < 0.15:
                chats.append(f"c{len(chats)}")
                task = asyncio.ensure_future(move(gateway, chats[-2], chats[-1]))
            else:
                asked += 1
                task = asyncio.ensure_future(_say(gateway, f"m{asked}", group(chance.choice(chats))))
            if chance.random() < 0.5:
                await task
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
        await task
        await gateway.settled()
        answers = [delivery.text for delivery in adapter.screen.values() if not delivery.repeated]
        assert len(await gateway.rows("SELECT 1 FROM inbound WHERE state = 'answered'")) == asked
        assert sorted(set(answers), key=lambda text: int(text[5:])) == [
            f"re: m{number}" for number in range(1, asked + 1)
        ]
        assert len(answers) == asked
        assert (await gateway.rows("SELECT count(*) FROM sessions"))[0][0] == 1
        assert list(await sessions(gateway)) == [f"agent:main:telegram:group:{chats[-1]}:alice"]
        assert gateway.lanes._lanes == {}
        assert [len(turn.history) for turn in agent.turns] == [2 * number for number in range(len(agent.turns))]
        await whole(gateway)


async def _say(gateway: Core, text: str, source: SessionSource) -> None:
    await gateway.say(text, source=source)


async def test_where_the_configuration_has_the_old_id_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = configure(
        platforms={"telegram": {"token": "-", "allowed_chats": [OLD], "home_channel": {"chat_id": OLD}}},
        access={
            "rules": {
                "here": {"chats": ["1", OLD], "tools": []},
                "there": {"chats": [OLD], "tools": [], "platforms": ["slack"]},
                "else": {"chats": [NEW], "tools": []},
            }
        },
        webhooks={"ci": {"secret": "a secret of the tests", "target": f"telegram:{OLD}:7", "prompt": "x"}},
    )
    async with core(tmp_path, config=config) as gateway:
        await move(gateway, "-6", "-1006")
        assert "the old id" not in caplog.text
        await move(gateway)
    keys = (
        "platforms.telegram.allowed_chats, platforms.telegram.home_channel, access.rules.here.chats, webhooks.ci.target"
    )
    assert f"the old id of a chat of telegram, {OLD}: write {NEW} in its place in {keys}\n" in caplog.text
