"""Search: what finds what, any text as a query, pages, and an index that follows behind."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.search import MAX_WORDS, SearchIndexer, match_expression, search
from gateway.session import SessionStore, undo_last
from gateway.storage.database import Database
from gateway.storage.words import ends_whole
from tests.support.stores import START, HandClock, dm, resets


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database.open(tmp_path / "gateway.db") as opened:
        yield opened


@pytest.fixture
def store(database: Database) -> SessionStore:
    return SessionStore(database, resets(), clock=HandClock())


async def say(store: SessionStore, *texts: str, chat: str = "9") -> str:
    return await store.record_turn(dm(chat), [{"role": "user", "content": text} for text in texts])


async def found(database: Database, text: str, limit: int = 20, before: int | None = None) -> list[str]:
    return [hit.snippet for hit in await search(database, text, limit, before)]


async def test_a_hit_says_where_it_is(database: Database, store: SessionStore) -> None:
    session_id = await say(store, "The deployment of Tuesday failed", "why?")
    await SearchIndexer(database).catch_up()
    (hit,) = await search(database, "deployment", mark=("[", "]"))
    assert (hit.session_id, hit.session_key, hit.role) == (session_id, "agent:main:telegram:dm:9", "user")
    assert (hit.title, hit.time) == ("The deployment of Tuesday failed", START)
    assert hit.snippet == "The [deployment] of Tuesday failed"


async def test_long_texts_are_cut_around_the_match(database: Database, store: SessionStore) -> None:
    await say(store, f"{'lorem ' * 500} needle {'ipsum ' * 500}")
    await SearchIndexer(database).catch_up()
    (snippet,) = await found(database, "needle")
    assert "needle" in snippet
    assert snippet.startswith("…")
    assert snippet.endswith("…")
    assert len(snippet) < 300


@pytest.mark.parametrize(
    ("query", "finds"),
    [
        ("alpha", True),
        ("ALPHA béta", True),
        ("beta alpha", True),
        ("alp", True),
        ("alp beta", False),
        ("alpha gam", True),
        ("e-mail", True),
        ("mail e-", True),
        ("alpha AND missing", False),
        ("alpha OR missing", False),
        ("alpha NOT beta", False),
        ('"alpha', True),
        ("alpha*", True),
        ("content:alpha", False),
        ("(alpha", True),
        ("^alpha", True),
        ("alpha !!!", True),
        ("!!!", False),
        ("", False),
        ("   ", False),
        ("missing", False),
    ],
)
async def test_what_finds_what(database: Database, store: SessionStore, query: str, finds: bool) -> None:
    await say(store, "Alpha beta, gamma; e-mail")
    await SearchIndexer(database).catch_up()
    assert bool(await found(database, query)) is finds


async def test_the_text_of_parts_is_found(database: Database, store: SessionStore) -> None:
    parts = [{"type": "text", "text": "see the giraffe"}, {"type": "image_url", "image_url": {"url": "elephant"}}]
    await store.record_turn(dm(), [{"role": "user", "content": parts}])
    await SearchIndexer(database).catch_up()
    assert await found(database, "giraffe") == ["see the giraffe"]
    assert await found(database, "elephant") == []


async def test_newest_first_in_pages(database: Database, store: SessionStore) -> None:
    for number in range(7):
        await say(store, f"note {number}", chat=str(number))
    await SearchIndexer(database, batch=2).catch_up()
    pages, before = [], None
    while hits := await search(database, "note", 3, before):
        pages.append([hit.snippet[-1] for hit in hits])
        before = hits[-1].message_id
    assert pages == [["6", "5", "4"], ["3", "2", "1"], ["0"]]
    with pytest.raises(ValueError, match="limit"):
        await search(database, "note", 0)


async def test_messages_are_found_once_indexed(database: Database, store: SessionStore) -> None:
    indexer = SearchIndexer(database)
    await say(store, "early bird")
    assert (await indexer.behind(), await found(database, "bird")) == (1, [])
    assert await indexer.catch_up() == 1
    await say(store, "late bird")
    assert (await indexer.behind(), await found(database, "bird")) == (1, ["early bird"])
    assert await indexer.catch_up() == 1
    assert await indexer.catch_up() == 0
    assert (await indexer.behind(), await found(database, "bird")) == (0, ["late bird", "early bird"])


async def test_what_is_taken_back_is_not_found(database: Database, store: SessionStore) -> None:
    indexer = SearchIndexer(database)
    session_id = await say(store, "first word", "second word")
    await indexer.catch_up()
    await say(store, "third word")
    await undo_last(store, session_id)
    await undo_last(store, session_id)
    await indexer.catch_up()
    assert await found(database, "word") == ["first word"]
    await store.rewrite_transcript(session_id, [{"role": "user", "content": "other word"}])
    assert await found(database, "word") == []
    await indexer.catch_up()
    assert await found(database, "word") == ["other word"]


async def test_so_many_batches_are_enough_for_now(database: Database, store: SessionStore) -> None:
    indexer = SearchIndexer(database, batch=2)
    await say(store, *(f"word {number}" for number in range(7)))
    assert [await indexer.catch_up(most) for most in (0, 2, 2, 2)] == [0, 2, 2, 0]
    assert await indexer.behind() == 0


async def test_other_writes_are_not_kept_waiting(database: Database, store: SessionStore) -> None:
    session_id = await say(store, *(f"word {number}" for number in range(200)))
    catching_up = asyncio.create_task(SearchIndexer(database, batch=2).catch_up())
    await asyncio.sleep(0)
    await store.append_to_transcript(session_id, {"role": "user", "content": "urgent"})
    assert not catching_up.done()
    assert await catching_up >= 100


async def test_a_queue_that_is_full_ends_no_indexing(
    database: Database, store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.search.SEARCH_INDEX_SECONDS", 0.001)
    await say(store, "word")
    counters: Counter[str] = Counter()
    with monkeypatch.context() as full:
        full.setattr("gateway.storage.writer.WRITER_QUEUE_LIMIT", 0)
        indexing = asyncio.create_task(SearchIndexer(database).run(counters))
        async with asyncio.timeout(5):
            while not (indexing.done() or counters["search.errors"]):
                await asyncio.sleep(0.001)
    assert not indexing.done()
    async with asyncio.timeout(5):
        while not await found(database, "word"):
            await asyncio.sleep(0.001)
    indexing.cancel()


@given(st.text(st.characters()))
def test_any_text_becomes_words_in_quotes(text: str) -> None:
    expression = match_expression(text)
    if expression is not None:
        expression.encode()
        assert expression.endswith('" *') is not ends_whole(expression)
        assert len(expression.split()) <= MAX_WORDS + 1


async def test_any_text_is_safe(database: Database, store: SessionStore) -> None:
    await say(store, "hello")
    await SearchIndexer(database).catch_up()
    hostile = [
        '"',
        "a\0b",
        "\ud800x",
        "NEAR(a b)",
        "a" * 100_000,
        "x " * 10_000,
        "-",
        "{content}: x",
        "'; DROP",
        "٣",
        "ꟺ",
    ]
    for text in hostile:
        assert await found(database, text) == []
    for code in range(0x80, 0x30000, 101):
        await found(database, chr(code))
    assert await found(database, "hello") == ["hello"]
