"""The search index equals a plain scan, whatever is said, taken back or rewritten, and whenever it is restarted."""

import asyncio
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.search import SearchIndexer, search
from gateway.session import SessionStore
from gateway.storage.database import Database
from tests.property.profile import effort
from tests.support.stores import HandClock, dm, resets

WORDS = ("ant", "bee", "cat", "東京都", "京都府", "ภาษาไทย")
TEXTS = st.lists(st.sampled_from(WORDS), max_size=3).map(" ".join) | st.none()
TRANSCRIPTS = st.lists(TEXTS, max_size=4)
CHATS = st.sampled_from(("1", "2"))


def message(text: str | None) -> dict[str, object]:
    return {"role": "user", "content": text if text is None or "bee" not in text else [{"type": "text", "text": text}]}


class SearchIndex(RuleBasedStateMachine):
    """Transcripts that change, and an indexer that catches up batch by batch."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.stack = AsyncExitStack()

    @initialize()
    def open(self) -> None:
        path = Path(self.folder.name) / "gateway.db"
        context = Database.open(path, synchronous="normal")
        self.database = self.runner.run(self.stack.enter_async_context(context))
        self.store = SessionStore(self.database, resets("none"), clock=HandClock())
        self.indexer = SearchIndexer(self.database, batch=2)

    @rule()
    def restart(self) -> None:
        self.runner.run(self.stack.aclose())
        self.open()

    @rule(chat=CHATS, texts=TRANSCRIPTS)
    def say(self, chat: str, texts: list[str | None]) -> None:
        self.runner.run(self.store.record_turn(dm(chat), [message(text) for text in texts]))

    @rule(chat=CHATS, texts=TRANSCRIPTS)
    def rewrite(self, chat: str, texts: list[str | None]) -> None:
        async def work() -> None:
            entry = await self.store.get_or_create_session(dm(chat))
            await self.store.rewrite_transcript(entry.session_id, [message(text) for text in texts])

        self.runner.run(work())

    @rule(chat=CHATS)
    def take_back(self, chat: str) -> None:
        async def work() -> None:
            entry = await self.store.get_or_create_session(dm(chat))
            await self.store.cut_last_turn(entry.session_id)

        self.runner.run(work())

    @rule()
    def index_one_batch(self) -> None:
        async def work() -> None:
            await self.database.write(self.indexer._index_next)

        self.runner.run(work())

    @rule()
    def catch_up(self) -> None:
        async def work() -> int:
            await self.indexer.catch_up()
            return await self.indexer.behind()

        assert self.runner.run(work()) == 0

    @invariant()
    def finds_what_a_scan_finds(self) -> None:
        if hasattr(self, "database"):
            self.runner.run(self.compare())

    async def compare(self) -> None:
        rows = await self.database.read(
            "SELECT id, content FROM messages"
            " WHERE id <= coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'search_cursor'), 0)"
            " AND content IS NOT NULL ORDER BY id DESC"
        )
        for word in WORDS:
            hits = await search(self.database, word[:2], limit=1000)
            assert [hit.message_id for hit in hits] == [row["id"] for row in rows if word[:2] in row["content"]]

    def teardown(self) -> None:
        self.runner.run(self.stack.aclose())
        self.runner.close()
        self.folder.cleanup()


TestSearchIndex = SearchIndex.TestCase
TestSearchIndex.settings = effort(examples=40, steps=25)
