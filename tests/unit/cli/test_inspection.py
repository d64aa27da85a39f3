"""The operator's read-only view: without a database, with one, and with one of another version."""

import sqlite3
from pathlib import Path

import pytest

from config import GatewayConfig, Home
from gateway.inspection import Inspection, SessionNotFoundError
from gateway.search import SearchIndexer
from gateway.session import SessionSource, SessionStore
from gateway.storage.database import Database
from gateway.storage.errors import NewerDatabaseError, StorageError


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").ensure()


def place(chat: str) -> SessionSource:
    return SessionSource(platform=GatewayConfig().enabled_platforms[0], chat_id=chat, chat_name=f"Chat {chat}")


async def filled(home: Home, *chats: str) -> list[str]:
    """Make a session for each chat; their ids, and the messages are indexed."""
    ids = []
    async with Database.open(home.database) as database:
        store = SessionStore(database, GatewayConfig())
        for chat in chats:
            entry = await store.get_or_create_session(place(chat))
            turn = [{"role": "user", "content": f"Grüße {chat}"}, {"role": "assistant", "content": "Hello"}]
            await store.append_turn(entry.session_id, turn)
            ids.append(entry.session_id)
        await SearchIndexer(database).catch_up()
    return ids


async def test_without_a_database_everything_is_empty_and_nothing_is_created(home: Home) -> None:
    async with Inspection.open(home.database) as inspection:
        assert await inspection.sessions() == []
        assert await inspection.unanswered() == []
        assert await inspection.search("x", 10) == []
        assert (await inspection.counts())["sessions"] == {"total": 0, "live": 0}
        with pytest.raises(SessionNotFoundError, match="no session whose id begins with '2026'"):
            await inspection.session("2026")
    assert not home.database.exists()


async def test_an_empty_file_is_a_database_without_anything(home: Home) -> None:
    home.database.touch()
    async with Inspection.open(home.database) as inspection:
        assert await inspection.sessions(5) == []


async def test_sessions_are_listed_newest_first_and_found_by_a_prefix(home: Home) -> None:
    ids = await filled(home, "a", "b", "c")
    async with Inspection.open(home.database) as inspection:
        assert [summary.entry.session_id for summary in await inspection.sessions()] == ids[::-1]
        assert len(await inspection.sessions(2)) == 2
        assert (await inspection.session(ids[1])).entry.display_name == "Chat b"
        assert (await inspection.session(ids[1][:-1])).entry.session_id == ids[1]
        for missing in ("", "zzz", ids[1] + "0", "%", "2026'--"):
            with pytest.raises(SessionNotFoundError, match="no session whose id"):
                await inspection.session(missing)
        with pytest.raises(SessionNotFoundError, match="several sessions"):
            await inspection.session(ids[0][:4])


async def test_a_transcript_has_its_messages_in_order(home: Home) -> None:
    (session_id,) = await filled(home, "a")
    async with Inspection.open(home.database) as inspection:
        messages = await inspection.transcript(session_id)
    assert [message.message["role"] for message in messages] == ["user", "assistant"]
    assert messages[0].to_dict()["content"] == "Grüße a"


async def test_a_search_ignores_case_and_accents(home: Home) -> None:
    await filled(home, "a", "b")
    async with Inspection.open(home.database) as inspection:
        hits = await inspection.search("grusse", 10) or await inspection.search("GRÜSSE", 10)
        assert hits == []
        assert [hit.snippet for hit in await inspection.search("grüß", 10, ("<", ">"))] == ["<Grüße> b", "<Grüße> a"]
        assert await inspection.unindexed() == 0


async def test_a_search_finds_words_within_a_run_of_characters(home: Home) -> None:
    await filled(home, "は京都が好き")
    async with Inspection.open(home.database) as inspection:
        assert [hit.snippet for hit in await inspection.search("京都", 10, ("<", ">"))] == ["Grüße は<京都>が好き"]


async def test_it_reads_while_the_gateway_writes_and_never_writes(home: Home) -> None:
    await filled(home, "a")
    async with Database.open(home.database) as database, Inspection.open(home.database) as inspection:
        store = SessionStore(database, GatewayConfig())
        await store.get_or_create_session(place("b"))
        assert len(await inspection.sessions()) == 2
        with pytest.raises(StorageError, match="readonly"):
            await inspection.read("DELETE FROM sessions")


@pytest.mark.parametrize(
    ("schema", "kind", "words"),
    [(999, NewerDatabaseError, "install the newer version")],
)
async def test_another_schema_is_refused(home: Home, schema: int, kind: type[StorageError], words: str) -> None:
    await filled(home, "a")
    connection = sqlite3.connect(home.database)
    connection.execute(f"PRAGMA user_version = {schema}")
    connection.close()
    with pytest.raises(kind, match=words):
        async with Inspection.open(home.database):
            pytest.fail("it was opened")


async def test_an_older_schema_says_what_to_do(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    await filled(home, "a")
    monkeypatch.setattr("gateway.inspection.newest_schema", lambda: 1000)
    with pytest.raises(StorageError, match="start the gateway, or restart the one that runs"):
        async with Inspection.open(home.database):
            pytest.fail("it was opened")


async def test_a_file_that_is_no_database_is_a_clear_error(home: Home) -> None:
    home.database.write_bytes(b"this is no database, and never was one" * 100)
    with pytest.raises(StorageError, match="doctor"):
        async with Inspection.open(home.database):
            pytest.fail("it was opened")
