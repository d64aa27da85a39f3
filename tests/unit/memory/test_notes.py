"""The notes as files: one for each scope, replaced whole, never in the way of who edits them."""

import asyncio
import itertools
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from config import Home
from gateway.ports import AgentError, MemoryEnvironment, MemoryScope, MemorySegment, Recall, RememberError
from gateway.remembering import notes
from gateway.remembering.notes import NotesProvider, forget_in
from gateway.remembering.page import Page
from tests.support.fakes import ManualClock

ANN = MemoryScope("telegram:dm:user=1", "telegram", "dm", "Ann")
BOB = MemoryScope("telegram:dm:user=2", "telegram", "dm", "Bob")
NUMBERS = itertools.count(1)


class Model:
    """What the agent's model answers, the first for the first question; None: it is not to be asked."""

    def __init__(self, *answers: str | Exception | None) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, _segment: MemorySegment, _instructions: str, text: str) -> str | None:
        self.asked.append(text)
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer


def provider(folder: Path, *answers: str | Exception | None, max_bytes: int = 64_000) -> tuple[NotesProvider, Model]:
    model = Model(*answers)
    return NotesProvider(MemoryEnvironment(Home(folder), ManualClock(), model, lambda: max_bytes)), model


def segment(*said: str, scope: MemoryScope = ANN, session: str = "s1", first: int = 1, **more: Any) -> MemorySegment:
    messages: Sequence[dict[str, str]] = [
        row for text in said for row in ({"role": "user", "content": text}, {"role": "assistant", "content": "ok"})
    ]
    ended = datetime(2026, 3, 1, tzinfo=UTC)
    return MemorySegment(scope, session, "t", "a", first, first + len(said) - 1, messages, ended, **more)


async def recalled(memory: NotesProvider, scope: MemoryScope = ANN) -> str:
    return await memory.recall(Recall(scope, "s9", "", 4000))


async def test_without_a_model_people_s_own_words_are_kept_for_them_alone(tmp_path: Path) -> None:
    memory, _model = provider(tmp_path)
    await memory.start()
    await memory.extract(segment("I live in Berlin", "x" * 500))
    assert "“I live in Berlin”" in await recalled(memory)
    assert await recalled(memory, BOB) == ""
    (path,) = tmp_path.rglob("*.md")
    assert path.name.startswith("dm-user-1-")
    assert path.stat().st_mode & 0o777 == 0o600
    assert all(folder.stat().st_mode & 0o777 == 0o700 for folder in (tmp_path / "memory", path.parent))


async def test_the_model_adds_and_drops_and_sees_what_is_known(tmp_path: Path) -> None:
    memory, model = provider(tmp_path, "- Lives in Berlin.\n- Likes tea.\nchatter", "DROP 1\n- Lives in Rome.\nDROP 99")
    await memory.extract(segment("Berlin"))
    await memory.extract(segment("I moved to Rome", session="s2"))
    assert "1. Lives in Berlin.\n2. Likes tea." in model.asked[1]
    assert "User: I moved to Rome\nAssistant: ok" in model.asked[1]
    text = await recalled(memory)
    assert "Lives in Rome." in text
    assert "Lives in Berlin." not in text.split("## Conversations")[0]


async def test_a_model_that_finds_nothing_leaves_nothing(tmp_path: Path) -> None:
    memory, _model = provider(tmp_path, "NONE")
    await memory.extract(segment("hi"))
    assert await recalled(memory) == ""


async def test_a_long_conversation_is_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notes, "CHUNK_CHARS", 100)
    memory, model = provider(tmp_path, *[f"- fact {number}" for number in range(9)])
    await memory.extract(segment(*["word " * 8] * 9))
    assert len(model.asked) == 9
    assert all("word" in text for text in model.asked)
    assert "fact 8" in await recalled(memory)


async def test_a_failing_model_changes_nothing(tmp_path: Path) -> None:
    memory, _model = provider(tmp_path, AgentError("no"))
    with pytest.raises(AgentError):
        await memory.extract(segment("hi"))
    assert await recalled(memory) == ""


async def test_the_same_segment_again_is_there_once_and_a_longer_one_replaces_it(tmp_path: Path) -> None:
    memory, _model = provider(tmp_path, "- A.", "- A.", "- A.\n- B.")
    await memory.extract(segment("one"))
    before = next(tmp_path.rglob("*.md")).read_text()
    await memory.extract(segment("one", repeated=True))
    assert next(tmp_path.rglob("*.md")).read_text() == before
    await memory.extract(segment("one", "two"))
    text = next(tmp_path.rglob("*.md")).read_text()
    assert text.count("- A.") == text.count("“one”") == 1
    assert "- B." in text


async def test_many_at_once_lose_nothing(tmp_path: Path) -> None:
    memory, _model = provider(tmp_path)
    await asyncio.gather(*(memory.extract(segment(f"word{n}", session=f"s{n}")) for n in range(20)))
    text = await recalled(memory)
    assert all(f"“word{n}”" in text for n in range(20))
    assert not list(tmp_path.rglob("*.partial"))


async def test_a_file_is_changed_by_one_at_a_time_whoever_comes_when(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, _model = provider(tmp_path)
    inside = most = 0
    rewrite = notes.rewrite

    def slowly(path: Path, read: Callable[[], Page], change: Callable[[Page], Page]) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.05)
        rewrite(path, read, change)
        inside -= 1

    monkeypatch.setattr(notes, "rewrite", slowly)
    first, second = (asyncio.create_task(memory.extract(segment("x", session=each))) for each in ("s1", "s2"))
    await asyncio.wait({first, second}, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.gather(memory.extract(segment("x", session="s3")), first, second)
    assert most == 1
    await asyncio.gather(memory.extract(segment("x", session="s4")), memory.forget("s1"))
    assert most == 1
    (path,) = tmp_path.rglob("*.md")
    assert [f'from "{each}"' in path.read_text() for each in ("s1", "s2", "s3", "s4")] == [False, True, True, True]


async def test_a_person_s_edit_in_between_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory, _model = provider(tmp_path)
    await memory.extract(segment("one"))
    (path,) = tmp_path.rglob("*.md")
    real, edits = os.fsync, [path]

    def fsync(descriptor: int) -> None:
        if edits:
            edits.pop().write_text(path.read_text() + "- my own line\n")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    await memory.extract(segment("two", session="s2"))
    text = path.read_text()
    assert "- my own line" in text
    assert "“two”" in text


async def test_a_file_that_changes_all_the_time_is_left_for_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, _model = provider(tmp_path)
    await memory.extract(segment("one"))
    stamps = itertools.count()
    monkeypatch.setattr(notes, "_stamp", lambda _path: (next(stamps), 0, 0))
    with pytest.raises(RememberError, match="changes all the time"):
        await memory.extract(segment("two", session="s2"))
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.parametrize("content", [b"\xff\xfe broken", b"x" * (notes.MAX_READ_BYTES + 1)], ids=["bytes", "huge"])
async def test_a_file_that_is_no_notes_is_an_error_and_stays(tmp_path: Path, content: bytes) -> None:
    memory, _model = provider(tmp_path)
    path = memory.path_of(ANN)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    for call in (memory.extract(segment("one")), recalled(memory)):
        with pytest.raises(RememberError, match="dm-user-1"):
            await call
    assert path.read_bytes() == content


async def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory, _model = provider(tmp_path)
    await memory.extract(segment("one"))
    before = next(tmp_path.rglob("*.md")).read_text()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RememberError, match="No space left"):
        await memory.extract(segment("two", session="s2"))
    assert next(tmp_path.rglob("*.md")).read_text() == before
    assert not list(tmp_path.rglob("*.partial"))


async def test_a_session_is_forgotten_everywhere_and_a_broken_file_is_named(tmp_path: Path) -> None:
    memory, _model = provider(tmp_path, "- secret", "- secret too", "- stays")
    await memory.extract(segment("one", session="gone"))
    await memory.extract(segment("one", scope=BOB, session="gone"))
    await memory.extract(segment("two", session="kept"))
    assert await memory.forget("gone") == 4
    assert "gone" not in "".join(path.read_text() for path in tmp_path.rglob("*.md"))
    assert "stays" in await recalled(memory)
    (tmp_path / "memory" / "a.md").write_bytes(b"\xff")
    with pytest.raises(RememberError, match=r"a\.md"):
        forget_in(tmp_path / "memory", "kept")
    assert "stays" not in await recalled(memory)


async def test_the_file_keeps_its_limit(tmp_path: Path) -> None:
    memory, _model = provider(tmp_path, max_bytes=2_000)
    for number in range(60):
        await memory.extract(segment(f"word{number} " * 5, session=f"s{number}"))
    (path,) = tmp_path.rglob("*.md")
    assert path.stat().st_size <= 2_000
    assert "word59" in path.read_text()


@pytest.mark.parametrize("subject", ["telegram:dm:user=../../../etc/x", "telegram:dm:user=" + "ä" * 500, "telegram:"])
def test_no_id_leads_out_of_the_folder(tmp_path: Path, subject: str) -> None:
    memory, _model = provider(tmp_path)
    scope = replace(ANN, subject=subject, platform="../..")
    path = memory.path_of(scope)
    assert path.resolve().is_relative_to((tmp_path / "memory").resolve())
    assert len(path.name) < 100
    assert path != memory.path_of(replace(scope, subject=subject + "x"))
