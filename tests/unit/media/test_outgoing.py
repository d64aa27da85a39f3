"""Files that go out: only from allowed folders, as they were when they were named, and each once."""

import asyncio
import gc
import os
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest

from gateway.delivery import file_of
from gateway.logs import Redactor
from gateway.media.lines import code_lines
from gateway.media.outgoing import READ_AT_ONCE_CHARS, OutgoingFiles, RefusedFileError
from gateway.ports import MediaKind, Target, Tool, ToolContext
from gateway.storage.database import Database
from gateway.tools.files import send_file_tool
from tests.support.fakes import ALICE, ManualClock
from tests.unit.media.support import OTHER, PDF, PNG, SESSION, VOICE, settings


@pytest.fixture
def media(tmp_path: Path) -> Path:
    folder = tmp_path / "home" / "media"
    folder.mkdir(parents=True)
    return folder


def files(media: Path, **more: Any) -> OutgoingFiles:
    return OutgoingFiles(media, settings(**more), ManualClock(), Counter())


def put(path: Path, data: bytes = PNG) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return str(path)


async def test_a_copy_goes_out(media: Path) -> None:
    source = put(media / "plot.png")
    taken = await files(media).take(source, session_id=SESSION, key="t:c", caption="The plot")
    assert (taken.kind, taken.name, taken.media_type, taken.caption) == (
        MediaKind.IMAGE, "plot.png", "image/png", "The plot",
    )  # fmt: skip
    Path(source).write_bytes(b"something else")
    assert Path(taken.path).read_bytes() == PNG
    assert Path(taken.path).parent == media / "out" / SESSION
    assert Path(taken.path).stat().st_mode & 0o777 == 0o600


async def test_the_same_key_gives_the_same_copy(media: Path) -> None:
    source = put(media / "a.png")
    one = await files(media).take(source, session_id=SESSION, key="t:c")
    two = await files(media).take(source, session_id=SESSION, key="t:c")
    three = await files(media).take(source, session_id=SESSION, key="t:d")
    assert one == two != three
    assert len(list((media / "out" / SESSION).iterdir())) == 2


@pytest.mark.parametrize(
    ("name", "data", "kind", "media_type"),
    [
        ("a.bin", PNG, MediaKind.IMAGE, "image/png"),
        ("a.ogg", VOICE, MediaKind.VOICE, "audio/ogg"),
        ("a.mp3", b"ID3\4\0\0", MediaKind.AUDIO, "audio/mpeg"),
        ("a.mp4", b"\0\0\0\x20ftypisom\0\0\2\0", MediaKind.VIDEO, "video/mp4"),
        ("a.pdf", PDF, MediaKind.DOCUMENT, "application/pdf"),
        ("a.csv", b"a,b\n", MediaKind.DOCUMENT, "text/csv"),
        ("a.png", b"no image", MediaKind.DOCUMENT, "image/png"),
        ("noname", b"\x7fELF\0", MediaKind.DOCUMENT, "application/octet-stream"),
    ],
)
async def test_what_it_is_is_told_by_its_content(
    media: Path, name: str, data: bytes, kind: MediaKind, media_type: str
) -> None:
    taken = await files(media).take(put(media / name, data), session_id=SESSION, key="k")
    assert (taken.kind, taken.media_type) == (kind, media_type)


async def refusal(these: OutgoingFiles, path: object) -> str:
    with pytest.raises(RefusedFileError) as error:
        await these.take(str(path), session_id=SESSION, key="k")
    return str(error.value)


async def test_only_allowed_folders(media: Path, tmp_path: Path) -> None:
    outside = put(tmp_path / "secret.txt", b"secret")
    assert "is not in a folder that files may be sent from" in await refusal(files(media), outside)
    (media / "link.txt").symlink_to(outside)
    assert "is not in a folder" in await refusal(files(media), media / "link.txt")
    (media / "folder").symlink_to(tmp_path)
    assert "is not in a folder" in await refusal(files(media), media / "folder" / "secret.txt")
    assert "is not in a folder" in await refusal(files(media), f"{media}/../../secret.txt")
    assert "must be absolute" in await refusal(files(media), "secret.txt")
    assert "must be absolute" in await refusal(files(media), "/a\0b")
    assert not (media / "out").exists()


async def test_named_folders_take_the_place_of_the_usual_one(media: Path, tmp_path: Path) -> None:
    root = tmp_path / "reports"
    these = files(media, roots=[str(tmp_path / "link"), str(tmp_path / "missing")])
    path = put(root / "a.pdf", PDF)
    (tmp_path / "link").symlink_to(root)
    assert (await these.take(path, session_id=SESSION, key="k")).name == "a.pdf"
    assert "is not in a folder" in await refusal(these, put(media / "b.png"))
    assert "is not in a folder" in await refusal(these, put(tmp_path / "reports-of-others" / "a.pdf"))


@pytest.mark.parametrize("folder", ["in", "out"])
async def test_files_of_other_sessions_stay_there(media: Path, folder: str) -> None:
    own, foreign = put(media / folder / SESSION / "a.png"), put(media / folder / OTHER / "a.png")
    await files(media).take(own, session_id=SESSION, key="k")
    assert "is not in a folder" in await refusal(files(media), foreign)
    (media / "way.png").symlink_to(foreign)
    assert "is not in a folder" in await refusal(files(media), media / "way.png")


@pytest.mark.parametrize("name", ["there.txt", "missing.txt", "there.txt/below", "x" * 300, "nowhere/there.txt"])
async def test_what_lies_elsewhere_is_not_told(media: Path, tmp_path: Path, name: str) -> None:
    for folder in (tmp_path, media / "in" / OTHER):
        put(folder / "there.txt")
        path = str(folder / name)
        words = f"{path} is not in a folder that files may be sent from ({media})"
        assert await refusal(files(media), path) == words


async def test_only_files_that_are_there_and_not_too_large(media: Path) -> None:
    these = files(media, max_upload_mb=1)
    assert "there is no file" in await refusal(these, media / "missing.png")
    assert "is not a file" in await refusal(these, media)
    assert "is empty" in await refusal(these, put(media / "empty", b""))
    assert "too large: 1 MB, the limit is 1 MB" in await refusal(these, put(media / "big", b"x" * 1_000_001))
    os.mkfifo(media / "pipe")
    assert "is not a file" in await refusal(these, media / "pipe")
    (media / "loop").symlink_to(media / "loop")
    assert await refusal(these, media / "loop")
    assert not list((media / "out").rglob("*.*")) if (media / "out").exists() else True


async def test_a_file_that_is_exchanged_in_the_middle_is_refused(
    media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, inside = put(tmp_path / "secret", b"secret"), media / "folder" / "secret"
    put(inside)
    real = os.open

    def swap(path: Any, flags: int, *more: Any) -> int:
        if str(path) == str(inside) and not (media / "folder").is_symlink():
            (media / "folder").rename(media / "gone")
            (media / "folder").symlink_to(tmp_path)
        return real(path, flags, *more)

    monkeypatch.setattr("gateway.media.outgoing.os.open", swap)
    assert Path(secret).read_bytes() == b"secret"
    words = await refusal(files(media), inside)
    assert "changes" in words or "is not in a folder" in words


async def test_a_disk_that_fails_is_told(media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.media.files.MEDIA_KEEP_FREE_BYTES", 2**62)
    assert "the gateway's disk is full" in await refusal(files(media), put(media / "a.png"))


# --- lines of an answer ----------------------------------------------------------------------------------


async def settled(text: str, visible: Callable[[str], str]) -> str:
    """What is shown once the files have been looked at."""
    shown = visible(text)
    for _ in range(200):
        await asyncio.sleep(0.005)
        if (now := visible(text)) == shown and not [
            t for t in asyncio.all_tasks() if t.get_name().startswith(("file", "answer"))
        ]:
            return now
        shown = visible(text)
    raise AssertionError(shown)


async def test_an_answer_is_split(media: Path) -> None:
    path = put(media / "a.png")
    turn = files(media).of_turn("t1", SESSION)
    text, found = await turn.split(f"Look:\n\nMEDIA:{path}\nMEDIA:/etc/passwd\n")
    assert text == "Look:\n\nMEDIA:/etc/passwd"
    assert [file.name for file in found] == ["a.png"]


async def test_an_answer_does_not_stay_in_memory(media: Path) -> None:
    turn = files(media).of_turn("t1", SESSION)
    assert turn.visible("Look:\n") == "Look:\n"
    held = weakref.ref(turn)
    gc.disable()
    try:
        del turn
        assert held() is None, "it waits for the garbage collector"
    finally:
        gc.enable()


async def test_a_line_does_not_flash_while_it_is_looked_at(media: Path) -> None:
    path = put(media / "a.png")
    turn = files(media).of_turn("t1", SESSION)
    text = f"Look:\nMEDIA:{path}\nMEDIA:/etc/passwd\nThere."
    assert turn.visible(text) == "Look:\n"
    assert await settled(text, turn.visible) == "Look:\nMEDIA:/etc/passwd\nThere."
    split, found = await turn.split(text)
    assert split == "Look:\nMEDIA:/etc/passwd\nThere."
    assert len(found) == 1


async def test_a_long_answer_is_read_once_and_not_on_the_loop(media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bool] = []

    def seen(text: str) -> Collection[int]:
        read.append(threading.current_thread() is threading.main_thread())
        return code_lines(text)

    monkeypatch.setattr("gateway.media.outgoing.code_lines", seen)
    path = media / "a.png"
    path.write_bytes(PNG)
    begun = "word\n" * READ_AT_ONCE_CHARS
    text = f"{begun}```\nMEDIA:/code\n```\nMEDIA:{path}\n{begun}"
    turn = files(media).of_turn("t1", SESSION)
    assert turn.visible(text) == f"{begun}```\n"
    shown = await settled(text, turn.visible)
    assert shown == f"{begun}```\nMEDIA:/code\n```\n{begun}"
    assert turn.visible(f"{text}more\n") == f"{shown}more\n"
    assert await turn.split(f"{text}more") == (f"{shown}more", (await turn.split(text))[1])
    assert read == [False]


async def test_a_path_that_may_be_cut_off_is_left_alone(media: Path) -> None:
    put(media / "a"), put(media / "ab")
    turn = files(media).of_turn("t1", SESSION)
    text = f"x\nMEDIA:{media}/a"
    assert await turn.split(text, complete=False) == (text, ())
    text, found = await turn.split(f"{text}b\n", complete=False)
    assert (text, [file.name for file in found]) == ("x", ["ab"])


async def test_so_many_files_and_no_more(media: Path) -> None:
    lines = [f"MEDIA:{put(media / f'{number}.png')}\n" for number in range(12)]
    text, found = await files(media).of_turn("t1", SESSION).split("".join(lines))
    assert len(found) == 10
    assert text == "".join(lines[10:]).rstrip()


async def test_a_fault_leaves_the_line(media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    these = files(media)
    monkeypatch.setattr(these, "_take", lambda *_arguments: 1 / 0)
    text = f"MEDIA:{put(media / 'a.png')}"
    assert await these.of_turn("t1", SESSION).split(text) == (text, ())


# --- the tool --------------------------------------------------------------------------------------------


CALL = ToolContext("c1", "t1", SESSION, ALICE)


async def sending(database: Database, media: Path, offered: list[Target]) -> Tool:
    return send_file_tool(files(media), database, ManualClock(), offered.append)


async def test_the_tool_puts_a_file_in_the_outbox_once(media: Path, tmp_path: Path) -> None:
    offered: list[Target] = []
    async with Database.open(tmp_path / "gateway.db", synchronous="normal") as database:
        tool = await sending(database, media, offered)
        assert tool.idempotent
        path = put(media / "plot.png")
        first = await tool.run({"path": path, "caption": "See"}, CALL)
        again = await tool.run({"path": path, "caption": "See"}, CALL)
        assert first == again == "plot.png is on its way. People see it in the chat; there is no need to name its path."
        await tool.run({"path": path}, ToolContext("c2", "t1", SESSION, ALICE, reply_thread="below-5"))
        rows = await database.read("SELECT * FROM outbox ORDER BY id")
    assert [(row["kind"], row["turn_id"], row["session_id"], row["chat"]) for row in rows] == [
        ("file", "t1", SESSION, "1")
    ] * 2
    assert [row["thread"] for row in rows] == ["", "below-5"]
    file = file_of(rows[0])
    assert file is not None
    assert (file.name, file.caption) == ("plot.png", "See")
    assert Path(file.path).read_bytes() == PNG
    assert "plot.png" in rows[0]["text"]
    assert len(offered) == 3


async def test_a_caption_tells_no_secret_and_can_be_sent(media: Path, tmp_path: Path) -> None:
    async with Database.open(tmp_path / "gateway.db", synchronous="normal") as database:
        redact = Redactor(["s3cret-token-of-the-bot"]).values
        tool = send_file_tool(files(media), database, ManualClock(), lambda _target: None, redact)
        caption = "It is s3cret-token-of-the-bot \ud83d"
        await tool.run({"path": put(media / "plot.png"), "caption": caption}, CALL)
        (row,) = await database.read("SELECT * FROM outbox")
    file = file_of(row)
    assert file is not None
    assert file.caption.endswith(" �")
    assert "s3cret" not in file.caption + row["text"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "path must be a text"),
        ({"path": 7}, "path must be a text"),
        ({"path": "/a", "caption": 7}, "caption too"),
        ({"path": "/etc/passwd"}, "is not in a folder"),
        ({"path": "/missing/file"}, "is not in a folder"),
    ],
)
async def test_the_tool_says_what_is_wrong(media: Path, tmp_path: Path, arguments: Any, words: str) -> None:
    async with Database.open(tmp_path / "gateway.db", synchronous="normal") as database:
        tool = await sending(database, media, [])
        told = await tool.run(arguments, CALL)
        assert told.startswith("Error: ")
        assert words in told
        assert await database.read("SELECT * FROM outbox") == []
