"""Limits: how much one person and one chat may ask for, what they are told, and how much is remembered for that."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from config import GatewayConfig, Platform
from gateway.access import Sender, Verdict
from gateway.access.door import LOOP_PAUSE, STRANGERS_NOTED_PER_HOUR, Door
from gateway.access.rights import Rights
from gateway.limits import MINUTE, NOTICE_SECONDS, Buckets, Limits, Recent
from gateway.ports import AgentTurn, Done, InboundMessage, InboundState, Quote, Text, Usage
from gateway.source import SessionSource
from tests.support.fakes import ALICE, BOB, Core, FakeAdapter, FakeAgent, ManualClock, Pause, configure, core, texts_of

GROUP = SessionSource(Platform.TELEGRAM, chat_id="-1", chat_type="group", user_id="alice")


def door(clock: ManualClock, **sections: Any) -> Door:
    telegram = {"token": "t", "allowed_users": ["alice", "bob"], "allowed_bots": ["robot"]}
    base = {"platforms": {"telegram": telegram}, "owners": ["telegram:olga"]}
    return Door(GatewayConfig.model_validate({**base, **sections}), clock)


def by(person: str, chat: str = "1", **more: Any) -> Sender:
    chat_type = "group" if chat.startswith("-") else "dm"
    return Sender(SessionSource(Platform.TELEGRAM, chat_id=chat, chat_type=chat_type, user_id=person), **more)


# --- buckets ---------------------------------------------------------------------------------------------


def test_a_bucket_fills_again_with_time() -> None:
    buckets = Buckets()
    taken = 0
    for second in range(120):
        if buckets.has("a", 6, float(second)):
            buckets.take("a", 6, float(second))
            taken += 1
    assert taken == 6 + 119 // 10
    assert buckets.has("b", 6, 0.0)


def test_no_limit_takes_nothing() -> None:
    buckets = Buckets()
    for _ in range(100):
        assert buckets.has("a", 0, 0.0)
        buckets.take("a", 0, 0.0)
    assert len(buckets) == 0


def test_memory_is_bounded() -> None:
    buckets, recent = Buckets(remembered=100), Recent(remembered=100)
    for number in range(10_000):
        buckets.take(number, 5, 0.0)
        recent.first(number, 0.0)
    assert (len(buckets), len(recent)) == (100, 100)
    assert not recent.first(9_999, 0.0)


# --- messages in a minute --------------------------------------------------------------------------------


def test_who_writes_too_fast_is_told_once() -> None:
    clock = ManualClock()
    at = door(clock, limits={"messages_per_minute": 3})
    rulings = [at.rule(by("alice")) for _ in range(20)]
    assert [ruling.verdict for ruling in rulings] == [Verdict.ALLOW] * 3 + [Verdict.REFUSE] * 17
    notices = [ruling.notice for ruling in rulings if ruling.notice]
    assert notices == [
        "You write faster than I may answer: at most 3 messages in a minute. Send it again a little later."
    ]
    assert len([ruling for ruling in rulings if ruling.noted]) == 1
    assert at.rule(by("bob", "2")).verdict is Verdict.ALLOW
    clock.advance(MINUTE)
    assert at.rule(by("alice")).verdict is Verdict.ALLOW
    clock.advance(NOTICE_SECONDS)
    assert [bool(at.rule(by("alice")).notice) for _ in range(5)] == [False, False, False, True, False]


def test_a_limit_holds_for_a_person_in_all_chats_and_for_a_chat_with_all_people() -> None:
    at = door(ManualClock(), limits={"messages_per_minute": 2, "chat_messages_per_minute": 3})
    assert [at.rule(by("alice", chat)).verdict.value for chat in ("1", "-1", "-2")] == ["allow", "allow", "refuse"]
    assert [at.rule(by("bob", "-1")).verdict.value for _ in range(2)] == ["allow", "allow"]
    ruling = at.rule(by("olga", "-1"))
    assert ruling.verdict is Verdict.ALLOW


def test_the_chat_s_limit_says_so() -> None:
    at = door(ManualClock(), limits={"messages_per_minute": 0, "chat_messages_per_minute": 1})
    at.rule(by("alice", "-1"))
    ruling = at.rule(by("bob", "-1"))
    assert ruling.reason == "over limits.chat_messages_per_minute"
    assert ruling.notice is not None
    assert "This chat" in ruling.notice


def test_commands_that_wait_for_no_turn_are_counted_apart() -> None:
    at = door(ManualClock(), limits={"messages_per_minute": 1})
    at.rule(by("alice"))
    assert at.rule(by("alice")).verdict is Verdict.REFUSE
    assert at.rule(by("alice"), urgent=True).verdict is Verdict.ALLOW
    assert at.rule(by("alice"), urgent=True).verdict is Verdict.REFUSE


def test_what_comes_late_is_counted_apart() -> None:
    """After an outage a platform hands over at once what people wrote over hours."""
    clock = ManualClock()
    at = door(clock, limits={"messages_per_minute": 3, "chat_messages_per_minute": 0})
    early, now = clock.now() - timedelta(hours=1), clock.now()
    late = [at.rule(by("alice"), sent_at=early).verdict for _ in range(100)]
    assert late == [Verdict.ALLOW] * 30 + [Verdict.REFUSE] * 70
    assert [at.rule(by("alice"), sent_at=now).verdict.value for _ in range(4)] == ["allow"] * 3 + ["refuse"]


def test_owners_have_no_limits() -> None:
    at = door(ManualClock(), limits={"messages_per_minute": 1, "chat_messages_per_minute": 1})
    assert {at.rule(by("olga")).verdict for _ in range(50)} == {Verdict.ALLOW}
    assert {at.rule(by("anyone", operator=True)).verdict for _ in range(50)} == {Verdict.ALLOW}


async def test_a_notice_goes_out_once_through_the_whole_core(tmp_path: Path) -> None:
    adapter = FakeAdapter()
    config = configure(limits={"messages_per_minute": 2}, allowed_users=["alice"])
    async with core(tmp_path, adapter=adapter, config=config) as gateway:
        states = [(await _says(gateway, str(number))).value for number in range(6)]
        await gateway.settled()
        assert states == ["pending"] * 2 + ["refused"] * 4
        assert len([text for text in texts_of(adapter.of("send")) if "faster" in text]) == 1
        assert await gateway.reason("5") == "over limits.messages_per_minute"


async def _says(gateway: Core, text: str, source: SessionSource = ALICE, **more: Any) -> InboundState:
    message = InboundMessage(source, text, text, **more)
    return (await gateway.inbox.accept(message, operator=False)).state


# --- bots ------------------------------------------------------------------------------------------------


def test_bots_that_answer_each_other_are_cut_off_until_a_person_writes() -> None:
    at = door(ManualClock(), access={"bot_replies": 3}, limits={"messages_per_minute": 0})
    answered = [at.rule(by("robot", "-1", bot=True)).verdict for _ in range(1_000)]
    assert answered == [Verdict.ALLOW] * 3 + [Verdict.IGNORE] * 997
    assert at.rule(by("robot", "-2", bot=True)).verdict is Verdict.ALLOW
    assert at.rule(by("stranger", "-1")).verdict is Verdict.IGNORE
    assert at.rule(by("robot", "-1", bot=True)).verdict is Verdict.IGNORE
    assert at.rule(by("alice", "-1")).verdict is Verdict.ALLOW
    assert at.rule(by("robot", "-1", bot=True)).verdict is Verdict.ALLOW


def test_bots_that_open_a_thread_each_time_are_cut_off_too() -> None:
    clock = ManualClock()
    at = door(clock, access={"bot_replies": 3}, limits={"messages_per_minute": 0})

    def writes(thread: int) -> Verdict:
        source = SessionSource(Platform.TELEGRAM, "-1", chat_type="group", user_id="robot", thread_id=str(thread))
        return at.rule(Sender(source, bot=True)).verdict

    assert [writes(thread) for thread in range(100)] == [Verdict.ALLOW] * 3 + [Verdict.IGNORE] * 97
    clock.advance(LOOP_PAUSE)
    assert writes(100) is Verdict.ALLOW
    assert at.rule(by("alice", "-1")).verdict is Verdict.ALLOW
    assert [writes(thread) for thread in range(101, 105)] == [Verdict.ALLOW] * 3 + [Verdict.IGNORE]


def test_a_slow_loop_within_a_thread_is_cut_off() -> None:
    clock = ManualClock()
    at = door(clock, access={"bot_replies": 2}, limits={"messages_per_minute": 0})
    answered = []
    for _ in range(5):
        answered.append(at.rule(by("robot", "1", bot=True)).verdict)
        clock.advance(LOOP_PAUSE)
    assert answered == [Verdict.ALLOW] * 2 + [Verdict.IGNORE] * 3


def test_a_bot_that_is_not_listed_is_ignored() -> None:
    at = door(ManualClock(), access={"group": "open", "dm": "open"})
    assert at.rule(by("other", "-1", bot=True)).verdict is Verdict.IGNORE
    assert at.rule(by("alice", "1", bot=True)).verdict is Verdict.IGNORE


# --- strangers -------------------------------------------------------------------------------------------


def test_a_crowd_of_strangers_does_not_fill_the_audit() -> None:
    at = door(ManualClock())
    rulings = [at.rule(by(str(number), "-1")) for number in range(10_000)]
    assert {ruling.verdict for ruling in rulings} == {Verdict.IGNORE}
    assert not any(ruling.notice or ruling.kept for ruling in rulings)
    assert len([ruling for ruling in rulings if ruling.noted]) == STRANGERS_NOTED_PER_HOUR


def test_a_stranger_in_a_group_is_told_once_where_to_be_paired() -> None:
    at = door(ManualClock(), access={"group": "pair"})
    rulings = [at.rule(by("stranger", "-1")) for _ in range(10)]
    assert {(ruling.verdict, ruling.kept) for ruling in rulings} == {(Verdict.REFUSE, False)}
    assert [bool(ruling.notice) for ruling in rulings] == [True] + [False] * 9


async def test_of_a_stranger_who_is_refused_nothing_is_kept(tmp_path: Path) -> None:
    adapter = FakeAdapter()
    async with core(tmp_path, adapter=adapter, config=configure(access={"group": "pair"})) as gateway:
        state = await _says(gateway, "secret", SessionSource(Platform.TELEGRAM, "-1", chat_type="group", user_id="x"))
        await gateway.settled()
        assert state is InboundState.IGNORED
        (row,) = await gateway.rows("SELECT source, text, slot_id FROM inbound")
        assert tuple(row) == (None, None, None)
        assert ["direct message" in text for text in texts_of(adapter.of("send"))] == [True]


async def test_a_phone_number_as_a_name_is_hidden_where_that_is_wanted(tmp_path: Path) -> None:
    for hidden in (False, True):
        agent = FakeAgent()
        (tmp_path / str(hidden)).mkdir()
        async with core(tmp_path / str(hidden), agent, config=configure(redact_pii=hidden)) as gateway:
            await gateway.say("yes", quote=Quote("Shall I?", "+49 170 1234567"))
            await gateway.settled()
        assert ("1234567" in str(agent.turns[0].inputs[0]["content"])) is not hidden


async def test_a_phone_number_as_a_name_stays_hidden_in_an_edit(tmp_path: Path) -> None:
    pause, quote = Pause(), Quote("Shall I?", "+49 170 1234567")
    agent = FakeAgent(pause)
    async with core(tmp_path, agent, config=configure(redact_pii=True)) as gateway:
        await gateway.say("first", "1")
        await pause.reached.wait()
        await gateway.say("yse", "2", quote=quote)
        await gateway.corrections.amend(InboundMessage(ALICE, "2", "yes", quote=quote), operator=True)
        pause.go.set()
        await gateway.settled()
    said = str(agent.turns[1].inputs[0]["content"])
    assert "Shall I?\n\nyes" in said
    assert "1234567" not in said


# --- tokens in a day -------------------------------------------------------------------------------------


async def takes(_turn: AgentTurn) -> Any:
    yield Text("ok")
    yield Usage(input_tokens=60, output_tokens=30, cache_read_tokens=10)
    yield Done()


@pytest.mark.parametrize("limit", ["tokens_per_day", "chat_tokens_per_day"])
async def test_a_day_s_tokens_are_counted_over_a_restart_and_end_with_the_day(tmp_path: Path, limit: str) -> None:
    clock, adapter = ManualClock(), FakeAdapter()
    config = configure(limits={limit: 150}, allowed_users=["alice", "bob"], timezone="Asia/Tokyo")
    async with core(tmp_path, FakeAgent(takes, takes), adapter, config=config, clock=clock) as gateway:
        assert await _says(gateway, "one") is InboundState.PENDING
        await gateway.settled()
        assert await _says(gateway, "two") is InboundState.PENDING
        await gateway.settled()
    async with core(tmp_path, FakeAgent(takes), adapter, config=config, clock=clock) as gateway:
        states = [await _says(gateway, text) for text in ("three", "four", "five")]
        assert states == [InboundState.REFUSED] * 3
        assert await _says(gateway, "other", BOB) is InboundState.PENDING
        await gateway.settled()
        said = [text for text in texts_of(adapter.of("send")) if "150 tokens of today" in text]
        assert len(said) == 1
        assert await gateway.reason("three") == f"over limits.{limit}"
        assert len(await gateway.rows("SELECT 1 FROM audit WHERE event = 'limited'")) == 1
        clock.advance(4 * 3600)  # midnight in Tokyo is at 15:00 UTC
        assert await _says(gateway, "six") is InboundState.PENDING


async def test_days_that_are_over_are_forgotten(tmp_path: Path) -> None:
    clock = ManualClock()
    config = configure(allowed_users=["alice"])
    async with core(tmp_path, FakeAgent(*[takes] * 5), config=config, clock=clock) as gateway:
        for day in range(5):
            await _says(gateway, str(day))
            await gateway.settled()
            clock.advance(86_400)
        rows = await gateway.rows("SELECT DISTINCT day FROM tokens_by_day")
        assert [row["day"] for row in rows] == ["2026-03-03", "2026-03-04", "2026-03-05"]


# --- turns at once ---------------------------------------------------------------------------------------


async def test_the_further_turns_of_a_person_wait(tmp_path: Path) -> None:
    pauses = [Pause() for _ in range(3)]
    agent = FakeAgent(*pauses)
    config = configure(limits={"turns_at_once": 2}, allowed_users=["alice", "bob"])
    async with core(tmp_path, agent, config=config) as gateway:
        for chat in ("1", "2", "3"):
            source = SessionSource(Platform.TELEGRAM, chat, chat_type="group", user_id="alice")
            await _says(gateway, chat, source)
        await asyncio.gather(pauses[0].reached.wait(), pauses[1].reached.wait())
        await _says(gateway, "mine", BOB)
        await pauses[2].reached.wait()
        assert [turn.source.user_id for turn in agent.turns] == ["alice", "alice", "bob"]
        assert len(gateway.runner._shares) == 2
        for pause in pauses:
            pause.go.set()
        await gateway.settled()
        assert [turn.source.user_id for turn in agent.turns] == ["alice", "alice", "bob", "alice"]
        assert not gateway.runner._shares


async def test_a_turn_that_waits_for_its_place_can_be_stopped(tmp_path: Path) -> None:
    pause, adapter = Pause(), FakeAdapter()
    config = configure(limits={"turns_at_once": 1}, allowed_users=["alice"])
    async with core(tmp_path, FakeAgent(pause), adapter, config=config) as gateway:
        await _says(gateway, "runs")
        await pause.reached.wait()
        await _says(gateway, "waits", GROUP)
        await asyncio.sleep(0.02)
        await _says(gateway, "/stop", GROUP)
        async with asyncio.timeout(5):
            while (await gateway.ends())["waits"] != "answered":
                await asyncio.sleep(0.01)
        assert (await gateway.ends())["runs"] == "running"
        pause.go.set()
        await gateway.settled()
        assert not gateway.runner._shares


def test_limits_that_are_off() -> None:
    config = GatewayConfig.model_validate({"limits": {"messages_per_minute": 0, "chat_messages_per_minute": 0}})
    limits = Limits(config, ManualClock())
    assert {limits.take(ALICE, urgent=False) for _ in range(1_000)} == {None}
    assert Rights(GatewayConfig.model_validate({"limits": {"turns_at_once": 0}})).turns_at_once == 0
