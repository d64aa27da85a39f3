"""The files of the mirror equal the transcripts, whatever is said, cut or removed, and wherever it crashes."""

import asyncio
import json
import tempfile
from collections import Counter
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from config import Home
from gateway.erasure import Eraser
from gateway.mirror import JsonlMirror
from gateway.session import SessionStore
from gateway.storage.database import Database
from tests.property.profile import effort
from tests.support.stores import HandClock, dm, resets

TEXTS = st.lists(st.text(max_size=3) | st.none(), max_size=5)
CHATS = st.sampled_from(("1", "2"))
STEPS = st.sampled_from(("mirror.files-written", "mirror.file-ready", "mirror.file-written", "mirror.verified"))


class CrashError(Exception):
    """The process ends here."""


class Mirror(RuleBasedStateMachine):
    """Transcripts that change, and a mirror that catches up, crashes and is started again."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.home = Home(Path(self.folder.name))
        self.stack = AsyncExitStack()
        self.step: str | None = None

    @initialize()
    def open(self) -> None:
        context = Database.open(self.home.database, synchronous="normal", reserve_bytes=0)
        self.database = self.runner.run(self.stack.enter_async_context(context))
        self.store = SessionStore(self.database, resets("none"), clock=HandClock())
        self.start()

    def start(self) -> None:
        self.mirror = JsonlMirror(
            self.database,
            self.home.sessions_dir,
            HandClock(),
            Counter(),
            enabled=True,
            batch=2,
            probe=self.probe,
        )

    def probe(self, step: str) -> None:
        if step == self.step:
            raise CrashError

    @rule()
    def restart(self) -> None:
        self.runner.run(self.stack.aclose())
        self.open()

    @rule(chat=CHATS, texts=TEXTS)
    def say(self, chat: str, texts: list[str | None]) -> None:
        self.runner.run(self.store.record_turn(dm(chat), [{"role": "user", "content": text} for text in texts]))

    @rule(chat=CHATS, texts=TEXTS)
    def rewrite(self, chat: str, texts: list[str | None]) -> None:
        async def work() -> None:
            entry = await self.store.get_or_create_session(dm(chat))
            messages = [{"role": "assistant", "content": text} for text in texts]
            await self.store.rewrite_transcript(entry.session_id, messages)

        self.runner.run(work())

    @rule(chat=CHATS)
    def take_back(self, chat: str) -> None:
        async def work() -> None:
            entry = await self.store.get_or_create_session(dm(chat))
            await self.store.cut_last_turn(entry.session_id)

        self.runner.run(work())

    @rule(chat=CHATS)
    def delete(self, chat: str) -> None:
        async def work() -> None:
            entry = await self.store.get_or_create_session(dm(chat))
            await Eraser(self.database, self.home, HandClock()).erase(entry.session_id)

        self.runner.run(work())

    @rule(step=STEPS)
    def crash(self, step: str) -> None:
        self.step = step
        with suppress(CrashError):
            self.runner.run(self.mirror.catch_up())
        self.step = None
        self.start()

    @rule(size=st.integers(0, 60))
    def tear(self, size: int) -> None:
        """A power loss takes the end of a file."""
        self.start()
        for path in sorted(self.home.sessions_dir.glob("*.jsonl"))[:1]:
            path.write_bytes(path.read_bytes()[: max(0, path.stat().st_size - size)])

    @rule()
    def catch_up(self) -> None:
        self.runner.run(self.compare())

    async def compare(self) -> None:
        await self.mirror.catch_up()
        expected: dict[str, list[object]] = {}
        for entry in await self.store.list_sessions():
            rows = await self.database.read(
                "SELECT id FROM messages WHERE session_id = ? ORDER BY id", (entry.session_id,)
            )
            messages = await self.store.load_transcript(entry.session_id)
            if messages:
                expected[entry.session_id] = [(row[0], message) for row, message in zip(rows, messages, strict=True)]
        found: dict[str, list[object]] = {}
        for path in self.home.sessions_dir.iterdir():
            if path.name.startswith("."):
                continue
            assert path.suffix == ".jsonl"
            lines = [json.loads(line) for line in path.read_bytes().splitlines()]
            for line in lines:
                del line["timestamp"]
            found[path.stem] = [(line.pop("id"), line) for line in lines]
        assert found == expected

    def teardown(self) -> None:
        self.runner.run(self.stack.aclose())
        self.runner.close()
        self.folder.cleanup()


TestMirror = Mirror.TestCase
TestMirror.settings = effort(examples=30, steps=20)
