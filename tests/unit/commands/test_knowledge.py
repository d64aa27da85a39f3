"""The commands that tell what is known: search, export, usage, why."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.ports import OutgoingFile, Usage
from gateway.search import SearchIndexer
from gateway.storage.codec import to_micros
from tests.support.fakes import BOB, FakeAdapter, ManualClock, configure
from tests.unit.commands.support import Chat, chatting
from tests.unit.media.support import FilePlatform

# --- search --------------------------------------------------------------------------------------------


async def index(chat: Chat) -> None:
    await SearchIndexer(chat.gateway.database).catch_up()


async def test_search_finds_ones_own_words_and_offers_to_go_there(tmp_path: Path) -> None:
    async with chatting(tmp_path) as chat:
        await chat.says("the blue invoice")
        bob = Chat(chat.gateway, chat.adapter, BOB)
        await bob.says("my invoice")
        session_id = await chat.session_id()
        await chat.says("/new")
        await index(chat)
        found = await chat.says("/search invoice")
        assert "- “the blue invoice”, just now: the blue invoice" in found
        assert "my invoice" not in found
        assert chat.buttons == [("the blue invoice", f"/resume {session_id}")]
        assert await chat.says("/search nowhere") == "Nothing was found for “nowhere”."
        assert "Give a word" in await chat.says("/search ...")
        assert "`/search <words…>`" in await chat.says("/search")


async def test_search_finds_words_within_a_run_of_characters(tmp_path: Path) -> None:
    async with chatting(tmp_path) as chat:
        await chat.says("私は京都が好き")
        await index(chat)
        assert "私は京都が好き" in await chat.says("/search 京都")
        assert await chat.says("/search 大阪") == "Nothing was found for “大阪”."


async def test_a_long_search_has_pages(tmp_path: Path) -> None:
    async with chatting(tmp_path) as chat:
        for number in range(5):
            await chat.says(f"note {number}")
        await index(chat)
        first = await chat.says("/search note")
        assert first.count("note") > 6
        assert chat.buttons[-1] == ("More", "/search page=2 note")
        second = await chat.says("/search page=2 note")
        assert "note 0" in second
        assert "More" not in dict(chat.buttons)
        assert await chat.says("/search page=3 note") == "There is nothing more."


# --- export --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "suffix", "inside"), [("", "md", "# hello"), (" json", "json", '"messages"'), (" jsonl", "jsonl", "{")]
)
async def test_export_is_a_file_where_files_can_be_sent(tmp_path: Path, form: str, suffix: str, inside: str) -> None:
    async with chatting(tmp_path, adapter=FilePlatform()) as chat:
        await chat.says("hello")
        assert await chat.says(f"/export{form}") == "“hello”: 2 messages."
        (sent,) = [delivery for delivery in chat.adapter.of("send") if delivery.kind == "file"]
        file = sent.content
        assert isinstance(file, OutgoingFile)
        assert file.name == f"hello.{suffix}"
        content = Path(file.path).read_text()
        assert inside in content
        assert "re: hello" in content
        assert Path(file.path).is_relative_to(tmp_path / "media" / "out" / await chat.session_id())


async def test_export_is_text_where_there_are_no_files(tmp_path: Path) -> None:
    async with chatting(tmp_path) as chat:
        await chat.says("hello")
        assert "re: hello" in await chat.says("/export")
        session_id = await chat.session_id()
        await chat.says("/new")
        assert "re: hello" in await chat.says(f"/export markdown {session_id}")
        assert "`/export" not in await chat.says("/export json hello")
        await chat.says("x" * 30_000)
        assert "hermes-gateway sessions export" in await chat.says("/export")


# --- numbers and reasons -------------------------------------------------------------------------------


async def test_usage(tmp_path: Path) -> None:
    async with chatting(tmp_path) as chat:
        assert "no conversation here yet" in await chat.says("/usage")
        await chat.says("hello")
        usage = Usage(
            input_tokens=1000, cache_read_tokens=5, model="openai:x", cost_usd=0.25, cost_status="exact",
            last_prompt_tokens=77,
        )  # fmt: skip
        await chat.gateway.store.append_turn(await chat.session_id(), (), usage=usage)
        told = await chat.says("/usage")
        for line in (
            "in: 1,001 tokens",
            "out: 2 tokens",
            "read from a cache: 5, written to one: 0",
            "together: 1,008 tokens in 2 messages",
            "the latest prompt: 77",
            "model: openai:x",
            "cost: $0.2500 (exact)",
        ):
            assert line in told


async def test_usage_without_a_price_says_so(tmp_path: Path) -> None:
    async with chatting(tmp_path) as chat:
        await chat.says("hello")
        assert "cost: not known" in await chat.says("/usage")


async def test_why_after_a_reset_by_the_idle_rule(tmp_path: Path) -> None:
    clock = ManualClock()
    config = configure(sessions={"reset": {"mode": "idle", "idle_minutes": 60}})
    async with chatting(tmp_path, clock=clock, config=config) as chat:
        await chat.says("hello")
        told = await chat.says("/why")
        assert "began at 2026-03-01 12:00 UTC, with your first message here" in told
        assert "ends at 2026-03-01 13:00 UTC, unless something is said before" in told
        assert "`sessions.reset` (idle, after 60 minutes without a message)" in told
        clock.advance(3601)
        assert "is over already (idle): your next message begins a new one" in await chat.says("/why")
        await chat.says("hello again")
        told = await chat.says("/why")
        assert "because nothing was said for a while (rule: idle)" in told
        assert "The one before is kept as session 2026" in told


async def test_why_after_a_command_and_under_an_override(tmp_path: Path) -> None:
    config = configure(
        timezone="Europe/Berlin",
        sessions={
            "reset": {"mode": "none"},
            "reset_by_platform": {"telegram": {"mode": "daily", "at_hour": 4}},
        },
    )
    async with chatting(tmp_path, config=config) as chat:
        await chat.says("hello")
        await chat.says("/new")
        told = await chat.says("/why")
        assert "because the one before was ended on command at 2026-03-01 12:00 UTC" in told
        assert "`sessions.reset_by_platform.telegram` (daily, at 04:00 Europe/Berlin)" in told
        assert "it ends at 2026-03-02 04:00 CET" in told


async def test_why_of_a_session_that_no_rule_ends(tmp_path: Path) -> None:
    async with chatting(tmp_path, adapter=FakeAdapter()) as chat:
        await chat.says("hello")
        assert "does not end by itself (`sessions.reset.mode` is none)" in await chat.says("/why")
        await chat.says("/branch")
        assert "as a branch, or when another session was left" in await chat.says("/why")


async def test_why_of_an_imported_session_counts_from_when_it_came_in(tmp_path: Path) -> None:
    clock = ManualClock()
    config = configure(sessions={"reset": {"mode": "idle", "idle_minutes": 60}})
    async with chatting(tmp_path, clock=clock, config=config) as chat:
        await chat.says("hello")
        session_id, came_in = await chat.session_id(), clock.now()
        long_ago = to_micros(came_in - timedelta(days=9))
        await chat.gateway.execute(
            "UPDATE sessions SET created_at = ?, updated_at = ?, imported_at = ?",
            long_ago,
            long_ago,
            to_micros(came_in),
        )
        told = await chat.says("/why")
        assert "began at 2026-02-20 12:00 UTC elsewhere, and was imported at 2026-03-01 12:00 UTC." in told
        assert "it ends at 2026-03-01 13:00 UTC, unless something is said before" in told
        clock.advance(3600)
        await chat.says("it goes on")
        assert await chat.session_id() == session_id
        assert "it ends at 2026-03-01 14:00 UTC" in await chat.says("/why"), "what was said since counts"
        clock.advance(3601)
        assert "is over already (idle)" in await chat.says("/why")
        await chat.says("anew")
        assert await chat.session_id() != session_id


@pytest.mark.parametrize(
    ("reset", "told"),
    [
        ({"mode": "idle", "idle_minutes": 60}, "because nothing was said for a while (rule: idle)"),
        ({"mode": "daily", "at_hour": 4}, "because a new day began (rule: daily)"),
    ],
)
async def test_why_of_a_session_that_has_ended_while_nobody_wrote(
    tmp_path: Path, reset: dict[str, Any], told: str
) -> None:
    clock = ManualClock()
    async with chatting(tmp_path, clock=clock, config=configure(sessions={"reset": reset})) as chat:
        await chat.says("hello")
        session_id = await chat.session_id()
        clock.advance(86_400)
        assert await chat.gateway.store.expire_session(chat.gateway.store.identity(chat.source)) == reset["mode"]
        assert await chat.says("/why") == (
            f"The last session here, {session_id}, ended at 2026-03-02 12:00 UTC {told}. It is kept; /resume goes back "
            "to it. Your next message begins a new one."
        )
        assert chat.buttons == [("Back to it", f"/resume {session_id}")]


async def test_why_of_a_session_that_was_put_away_or_deleted(tmp_path: Path) -> None:
    async with chatting(tmp_path) as chat:
        await chat.says("hello")
        session_id = await chat.session_id()
        await chat.says("/archive")
        told = await chat.says("/why")
        assert f"{session_id}, ended at 2026-03-01 12:00 UTC on command." in told
        await chat.says(f"/delete {session_id} yes")
        assert await chat.says("/why") == "There is no conversation here yet: your next message begins one."


async def test_the_rule_that_ends_an_imported_session_is_the_one_that_was_foretold(tmp_path: Path) -> None:
    clock = ManualClock()
    config = configure(sessions={"reset": {"mode": "both", "idle_minutes": 1_440, "at_hour": 4}})
    async with chatting(tmp_path, clock=clock, config=config) as chat:
        await chat.says("hello")
        came_in = to_micros(clock.now())
        await chat.gateway.execute("UPDATE sessions SET updated_at = ?, imported_at = ?", 0, came_in)
        clock.advance(17 * 3_600)
        assert "is over already (daily)" in await chat.says("/why")
        await chat.says("anew")
        assert "because a new day began (rule: daily)" in await chat.says("/why")
