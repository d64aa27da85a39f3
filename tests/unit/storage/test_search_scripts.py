"""Search in texts of scripts without spaces: in every way in which it is offered, through changes, upgrades, damage."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from config import Home, Platform
from gateway.leftovers import rewrite_copy
from gateway.search import SearchIndexer, match_expression, search
from gateway.session import Scope, SessionStore
from gateway.session import scope as scope_module
from gateway.session.removal import unknown
from gateway.session.scope import search_own
from gateway.source import SessionSource
from gateway.storage.database import Database
from gateway.storage.migrate import migrate, migrations
from gateway.storage.salvage import salvage
from gateway.storage.writer import connect
from tests.support.stores import HandClock, dm, resets
from tests.unit.storage.test_erasure import House

BEFORE = 12
"""The last schema whose index has runs of characters for words."""

SAID = {
    "tokyo": "東京都に住む",
    "kyoto": "私は京都が好き",
    "school": "저는 대학교에서 공부합니다",
    "thai": "ฉันรักภาษาไทยมาก",
    "mixed": "新しいiPhoneを買った",
    "latin": "Kyoto is “nice” — é",
}

FOUND = {
    "京都": {"tokyo", "kyoto"},
    "都に": {"tokyo"},
    "都": {"tokyo", "kyoto"},
    "私は京都が好き": {"kyoto"},
    "学": set(),
    "학교": {"school"},
    "교에 공부": {"school"},
    "ภาษา": {"thai"},
    "iphone": {"mixed"},
    "しいiPho": {"mixed"},
    "iPhoneを": {"mixed"},
    "買った 新しい": {"mixed"},
    "京 好": {"kyoto"},
    "京好": set(),
    "kyo": {"latin"},
}

INTEGRITY = "INSERT INTO messages_search (messages_search, rank) VALUES ('integrity-check', 1)"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SessionStore]:
    async with SessionStore.open(tmp_path, resets("none"), clock=HandClock()) as opened:
        yield opened


async def say(store: SessionStore, *texts: str) -> str:
    session_id = await store.record_turn(dm(), [{"role": "user", "content": text} for text in texts])
    await SearchIndexer(store._database).catch_up()
    return session_id


async def found(database: Database, query: str) -> set[str]:
    snippets = {hit.snippet for hit in await search(database, query)}
    return {name for name, text in SAID.items() if text in snippets}


async def is_sound(database: Database) -> bool:
    """Whether the index has what the transcripts have, all of it indexed. Raises where it has not."""
    await SearchIndexer(database).catch_up()
    await database.write(lambda connection: connection.execute(INTEGRITY).rowcount)
    return True


@pytest.mark.parametrize(("query", "names"), FOUND.items())
async def test_any_part_is_found(store: SessionStore, query: str, names: set[str]) -> None:
    await say(store, *SAID.values())
    assert await found(store._database, query) == names


@pytest.mark.parametrize("few", [0, scope_module.FEW_SESSIONS], ids=["much", "little"])
async def test_people_find_any_part_in_their_sessions(
    store: SessionStore, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scope_module, "FEW_SESSIONS", few)
    await say(store, *SAID.values())
    scope = Scope.of(store.identity(dm()), dm())
    for query, names in FOUND.items():
        hits = await search_own(store._database, scope, match_expression(query) or "", limit=10)
        assert {name for name, text in SAID.items() if text in {hit.snippet for hit in hits}} == names, query


async def test_snippets_are_as_people_wrote_it(store: SessionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    own = "ฉัน\u200bรัก\u200bภาษา\u200bไทย"
    await say(store, "私は京都が好き", own)
    (hit,) = await search(store._database, "京都", mark=("[", "]"))
    assert hit.snippet == "私は[京都]が好き"
    assert [hit.snippet for hit in await search(store._database, "ไทย")] == [own]
    scope = Scope.of(store.identity(dm()), dm())
    for few in (0, scope_module.FEW_SESSIONS):
        monkeypatch.setattr(scope_module, "FEW_SESSIONS", few)
        (mine,) = await search_own(store._database, scope, match_expression("ไทย") or "", limit=9)
        assert mine.snippet == own


async def test_snippets_are_long_enough_to_be_read(store: SessionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    await say(store, "春" * 300 + "京都" + "秋" * 300, "word " * 300 + "needle" + " word" * 300)
    (one,), (other,) = await search(store._database, "京都"), await search(store._database, "needle")
    assert ("京都" in one.snippet, len(one.snippet), len(other.snippet.split())) == (True, 66, 24)
    scope = Scope.of(store.identity(dm()), dm())
    for few in (0, scope_module.FEW_SESSIONS):
        monkeypatch.setattr(scope_module, "FEW_SESSIONS", few)
        (mine,) = await search_own(store._database, scope, match_expression("京都") or "", limit=9)
        assert ("京都" in mine.snippet, len(mine.snippet)) == (True, 50)


async def test_what_is_cut_and_rewritten_is_not_found(store: SessionStore) -> None:
    database = store._database
    session_id = await say(store, SAID["kyoto"])
    await say(store, SAID["tokyo"])
    await store.cut_last_turn(session_id)
    assert await found(database, "京都") == {"kyoto"}
    assert await is_sound(database)
    await store.rewrite_transcript(session_id, [{"role": "user", "content": SAID["thai"]}])
    assert await is_sound(database)
    assert (await found(database, "京都"), await found(database, "ไทย")) == (set(), {"thai"})
    await store.rewrite_transcript(session_id, [])
    assert await is_sound(database)
    assert await found(database, "ไทย") == set()
    assert [row[0] for row in await database.read("SELECT count(*) FROM messages_search_docsize")] == [0]


RARE = "龘靐齉爩"
"""Characters that are in nothing else, so that any one of them tells of the text."""


async def test_a_purge_leaves_no_character(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").ensure()
    async with Database.open(home.database) as database:
        house = House(home, database)
        other = await house.live_through("京都")
        here = SessionSource(Platform.TELEGRAM, "8", user_id="7")
        texts = [f"{RARE}と京都{number}" for number in range(900)]
        doomed = await house.store.record_turn(here, [{"role": "user", "content": text} for text in texts])
        await SearchIndexer(database).catch_up()
        await house.store.append_turn(doomed, [{"role": "user", "content": RARE * 500}])
        await house.store.cut_last_turn(doomed)
        await SearchIndexer(database).catch_up()
        copy = house.copy("gateway.db.schema1.bak")
        assert await house.found(RARE) == {doomed}
        await house.eraser.erase(doomed, purge=True)
        for trace in (*RARE, RARE, "\x01".join(RARE)):
            assert house.holding(trace) == []
        assert await house.found("京都") == {other}
        assert await is_sound(database)
    with closing(connect(copy)) as connection:
        connection.execute(INTEGRITY)


# --- databases from before -------------------------------------------------------------------------------------


SESSION = "20260101_000000_aaaa"


def earlier(path: Path) -> Path:
    """A database of the schema before, with messages, all of them in its index."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for number, sql in migrations():
            if number <= BEFORE:
                connection.executescript(f"BEGIN; {sql} PRAGMA user_version = {number}; COMMIT;")
        connection.executescript(
            "BEGIN;"
            "INSERT INTO slots (id, agent, platform, chat_type, chat, thread, participant, key)"
            " VALUES (1, 'main', 'telegram', 'dm', '9', '', '', 'agent:main:telegram:dm:9');"
            "INSERT INTO sessions (id, slot_id, owner, platform, chat_type, created_at, updated_at)"
            f" VALUES ('{SESSION}', 1, 'telegram:user:7', 'telegram', 'dm', 1, 1);"
            f"UPDATE slots SET session_id = '{SESSION}'; COMMIT;"
        )
        for text in (*SAID.values(), None):
            connection.execute(
                "INSERT INTO messages (session_id, role, content, created_at) VALUES (?, 'user', ?, 1)", (SESSION, text)
            )
        connection.execute(
            "INSERT INTO messages_search (rowid, content) SELECT id, content FROM messages WHERE content IS NOT NULL"
        )
        connection.execute("INSERT INTO meta VALUES ('search_cursor', (SELECT max(id) FROM messages))")
    return path


async def test_an_earlier_database_is_indexed_anew(tmp_path: Path) -> None:
    path = earlier(tmp_path / "gateway.db")
    async with Database.open(path) as database:
        indexer = SearchIndexer(database, batch=3)
        assert await indexer.behind() == len(SAID) + 1
        assert await indexer.catch_up(1) == 1
        assert await indexer.behind() == len(SAID) - 2
        assert await found(database, "京都") == {"tokyo", "kyoto"}
        await indexer.catch_up()
        assert await indexer.behind() == 0
        for query, names in FOUND.items():
            assert await found(database, query) == names
        assert await is_sound(database)
    with closing(sqlite3.connect(tmp_path / f"gateway.db.schema{BEFORE}.bak")) as backup:
        assert backup.execute("SELECT count(*) FROM messages").fetchone() == (len(SAID) + 1,)


async def test_a_cut_while_the_index_is_made_anew(tmp_path: Path) -> None:
    async with Database.open(earlier(tmp_path / "gateway.db")) as database:
        await SearchIndexer(database, batch=3).catch_up(1)
        store = SessionStore(database, resets("none"), clock=HandClock())
        await store.rewrite_transcript(SESSION, [{"role": "user", "content": SAID["kyoto"]}])
        assert await is_sound(database)
        assert await found(database, "京都") == {"kyoto"}


def test_a_session_is_taken_out_of_an_earlier_copy(tmp_path: Path) -> None:
    path = earlier(tmp_path / "copy.db")
    assert rewrite_copy(path, unknown(SESSION))
    data = path.read_bytes()
    for text in SAID.values():
        assert text.encode() not in data
    with closing(connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM messages").fetchone()[0] == 0
        connection.execute(INTEGRITY)


@pytest.mark.parametrize("upgraded", [False, True], ids=["earlier", "this"])
async def test_a_damaged_database_is_indexed_anew(tmp_path: Path, upgraded: bool) -> None:
    damaged = earlier(tmp_path / "damaged.db")
    if upgraded:
        with closing(connect(damaged)) as connection:
            migrate(connection, damaged)
    with damaged.open("r+b") as stream:
        stream.write(bytes(100))
    fresh = tmp_path / "gateway.db"
    salvage(damaged, fresh)
    async with Database.open(fresh) as database:
        assert await SearchIndexer(database).behind() == len(SAID) + 1
        await SearchIndexer(database).catch_up()
        for query, names in FOUND.items():
            assert await found(database, query) == names
        assert await is_sound(database)


async def test_a_home_is_searched_while_its_database_is_out_of_use(store: SessionStore, tmp_path: Path) -> None:
    await say(store, *SAID.values())
    with closing(sqlite3.connect(tmp_path / "gateway.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert await found(store._database, "京都") == {"tokyo", "kyoto"}
        other.execute("ROLLBACK")
