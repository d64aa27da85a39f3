"""Files that people send: fetched once, in pieces, within limits, under names of our own."""

import asyncio
import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from config import Platform
from gateway.media import files
from gateway.media.files import PartialFile
from gateway.media.store import Wanted
from gateway.ports import Attachment, MediaError, MediaKind
from tests.unit.media.support import OTHER, PDF, PNG, SESSION, FilePlatform, shop, wanted


async def test_a_file_is_fetched_once_and_kept(tmp_path: Path) -> None:
    this = shop(tmp_path, FilePlatform(a=PNG))
    first = await this.store.get(wanted("a", name="../../evil.sh"))
    again = await this.store.get(wanted("a"))
    assert first == again
    assert first.path.read_bytes() == PNG
    assert this.platform.fetched == ["a"]
    assert first.path.parent == tmp_path / "in" / SESSION
    assert first.path.name.startswith("7-0-")
    assert first.path.suffix == ".png"
    assert stat.S_IMODE(first.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(first.path.parent.stat().st_mode) == 0o700
    assert first.path.stat().st_mtime == this.clock.now().timestamp()


async def test_a_new_life_of_the_store_finds_it(tmp_path: Path) -> None:
    before = await shop(tmp_path, FilePlatform(a=PNG)).store.get(wanted("a"))
    after = shop(tmp_path, FilePlatform())
    assert await after.store.get(wanted("a")) == before
    assert after.platform.fetched == []


async def test_it_is_fetched_again_once_it_is_gone(tmp_path: Path) -> None:
    this = shop(tmp_path, FilePlatform(a=PNG))
    first = await this.store.get(wanted("a"))
    first.path.unlink()
    assert (await this.store.get(wanted("a"))).path == first.path
    assert this.platform.fetched == ["a", "a"]


async def test_different_messages_sessions_and_ids_have_files_of_their_own(tmp_path: Path) -> None:
    this = shop(tmp_path, FilePlatform(a=PNG, b=PDF))
    asked = [wanted("a"), wanted("b"), wanted("a", inbound=8), wanted("a", number=1), wanted("a", session=OTHER)]
    paths = {(await this.store.get(each)).path for each in asked}
    assert len(paths) == len(asked)


@pytest.mark.parametrize("file_id", ["../../../etc/passwd", "/etc/passwd", "a\0b", "x" * 10_000, "..", "\ud800", "*"])
async def test_ids_from_outside_decide_no_path(tmp_path: Path, file_id: str) -> None:
    this = shop(tmp_path, FilePlatform(files={file_id: PNG}))
    found = await this.store.get(wanted(file_id))
    assert found.path.parent == tmp_path / "in" / SESSION
    assert len(found.path.name) < 60
    assert this.names == [str(found.path.relative_to(tmp_path))]


async def test_what_says_it_is_too_large_is_not_asked_for(tmp_path: Path) -> None:
    this = shop(tmp_path, FilePlatform(a=PNG), max_download_mb=20)
    with pytest.raises(MediaError, match="too large: 31 MB, the limit is 20 MB"):
        await this.store.get(wanted("a", size=31_000_000))
    assert this.platform.fetched == []


async def test_what_turns_out_too_large_is_dropped_on_the_way(tmp_path: Path) -> None:
    this = shop(tmp_path, FilePlatform(a=b"x" * 3_000_000), max_download_mb=1)
    with pytest.raises(MediaError, match="too large: the limit is 1 MB"):
        await this.store.get(wanted("a", size=10))
    assert this.platform.fetched == ["a"]
    assert this.names == []


async def test_a_file_is_never_held_whole_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces: list[int] = []
    write = PartialFile.write

    def noting(self: PartialFile, data: bytes) -> None:
        pieces.append(len(data))
        write(self, data)

    monkeypatch.setattr(PartialFile, "write", noting)
    platform = FilePlatform(a=os.urandom(3_000_000))
    platform.piece = 10_000
    found = await shop(tmp_path, platform).store.get(wanted("a"))
    assert found.path.read_bytes() == platform.files["a"]
    assert sum(pieces) == 3_000_000
    assert max(pieces) < 300_000
    assert len(pieces) < 20, "each piece is a hop to a thread"


async def test_an_empty_file_is_none(tmp_path: Path) -> None:
    this = shop(tmp_path, FilePlatform(a=b""))
    with pytest.raises(MediaError, match="empty"):
        await this.store.get(wanted("a"))
    assert this.names == []


@pytest.mark.parametrize("error", [MediaError("busy", retryable=True), ConnectionResetError("reset"), RuntimeError()])
async def test_a_fault_that_may_pass_is_tried_again(tmp_path: Path, error: Exception) -> None:
    this = shop(tmp_path, FilePlatform(a=[error, error, PNG]))
    assert (await this.store.get(wanted("a"))).size == len(PNG)
    assert this.platform.fetched == ["a"] * 3
    assert this.counters == {"media.errors": 2, "media.fetched": 1}


async def test_one_that_stays_is_told_in_words(tmp_path: Path) -> None:
    this = shop(tmp_path, FilePlatform(a=[ConnectionResetError("secret address")] * 3, b=MediaError("expired")))
    with pytest.raises(MediaError, match=r"fetching it failed \(ConnectionResetError\)"):
        await this.store.get(wanted("a"))
    with pytest.raises(MediaError, match="expired"):
        await this.store.get(wanted("b"))
    assert this.platform.fetched == ["a", "a", "a", "b"]
    assert this.names == []


async def test_a_platform_that_hangs_is_given_up(tmp_path: Path) -> None:
    platform = FilePlatform(a=PNG)
    platform.gate = asyncio.Event()
    this = shop(tmp_path, platform, limit_seconds=0.02)
    with pytest.raises(MediaError, match=r"did not arrive within 0\.02 seconds"):
        await this.store.get(wanted("a"))
    assert this.names == []


async def test_a_cancelled_fetch_leaves_nothing(tmp_path: Path) -> None:
    platform = FilePlatform(a=PNG)
    platform.gate = asyncio.Event()
    this = shop(tmp_path, platform)
    fetch = asyncio.ensure_future(this.store.get(wanted("a")))
    while not platform.fetched:
        await asyncio.sleep(0)
    fetch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetch
    assert this.names == []
    platform.gate.set()
    assert (await this.store.get(wanted("a"))).size == len(PNG)


async def test_two_who_want_it_at_once_fetch_it_once(tmp_path: Path) -> None:
    this = shop(tmp_path, FilePlatform(a=PNG))
    one, two = await asyncio.gather(this.store.get(wanted("a")), this.store.get(wanted("a")))
    assert one == two
    assert this.platform.fetched == ["a"]


async def test_only_so_many_come_in_at_once(tmp_path: Path) -> None:
    platform = FilePlatform(files={str(number): PNG for number in range(12)})
    platform.gate = asyncio.Event()
    this = shop(tmp_path, platform)
    fetches = [asyncio.ensure_future(this.store.get(wanted(name))) for name in platform.files]
    while len(platform.fetched) < 4:
        await asyncio.sleep(0.001)
    platform.gate.set()
    await asyncio.gather(*fetches)
    assert platform.most_at_once == 4


async def test_without_a_connection_it_says_so(tmp_path: Path) -> None:
    this = shop(tmp_path)
    this.store._find = lambda _platform, _account: None
    with pytest.raises(MediaError, match="no connection to telegram"):
        await this.store.get(wanted("a"))


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "disk is full"), (errno.EDQUOT, "disk is full"), (errno.EIO, "written")]
)
@pytest.mark.parametrize("call", ["write", "fsync"])
async def test_a_disk_that_fails_is_told_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str, call: str
) -> None:
    def fail(*_arguments: Any) -> None:
        raise OSError(number, os.strerror(number))

    this = shop(tmp_path, FilePlatform(a=PNG))
    with monkeypatch.context() as patch:
        if call == "fsync":
            patch.setattr("gateway.media.files.os.fsync", fail)
        else:
            patch.setattr(files, "FileIO", lambda descriptor, _mode: _FailingFile(descriptor, fail))
        with pytest.raises(MediaError, match=words):
            await this.store.get(wanted("a"))
    assert this.platform.fetched == ["a"], "the platform is not to blame"
    assert this.names == []
    assert (await this.store.get(wanted("a"))).size == len(PNG)


class _FailingFile:
    closed = False

    def __init__(self, descriptor: int, fail: Any) -> None:
        self._descriptor, self.write = descriptor, fail

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
            self.closed = True


async def test_a_disk_that_is_nearly_full_is_left_to_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MEDIA_KEEP_FREE_BYTES", 2**62)
    this = shop(tmp_path, FilePlatform(a=PNG))
    with pytest.raises(MediaError, match="disk is full"):
        await this.store.get(wanted("a"))


async def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    this = shop(tmp_path / "media", FilePlatform(a=PNG))
    secret = tmp_path / "secret"
    secret.write_bytes(PNG + b"secret")
    place = tmp_path / "media" / f"{wanted('a').stem}.png"
    place.parent.mkdir(parents=True)
    place.symlink_to(secret)
    found = await this.store.get(wanted("a"))
    assert found.path.read_bytes() == PNG
    assert secret.read_bytes() == PNG + b"secret"


async def test_a_folder_that_is_tidied_away_in_between_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open
    opened: list[Any] = []

    def open_once(path: Any, *arguments: Any, **named: Any) -> int:
        if str(path).endswith(files.PARTIAL) and not opened:
            opened.append(path)
            Path(path).parent.rmdir()
        return real(path, *arguments, **named)

    monkeypatch.setattr("gateway.media.files.os.open", open_once)
    this = shop(tmp_path, FilePlatform(a=PNG))
    assert (await this.store.get(wanted("a"))).size == len(PNG)
    assert opened


def test_a_thread_that_nobody_waits_for_writes_nothing_after_the_end(tmp_path: Path) -> None:
    partial = PartialFile(tmp_path / "x", "r")
    partial.open()
    partial.discard()
    with pytest.raises(MediaError):
        partial.write(b"late")
    with pytest.raises(MediaError):
        partial.finish(0.0)
    late = PartialFile(tmp_path / "y", "r")
    late.discard()
    with pytest.raises(MediaError):
        late.open()
    assert list(tmp_path.iterdir()) == []


async def test_where_it_came_from_can_be_noted_and_read(tmp_path: Path) -> None:
    this = shop(tmp_path, FilePlatform(a=PNG))
    asked = wanted("a", kind=MediaKind.IMAGE)
    path = (await this.store.get(asked)).path
    read = Wanted.from_dict(asked.to_dict(), str(path.relative_to(tmp_path)))
    assert read == Wanted(Platform.TELEGRAM, "default", Attachment(MediaKind.IMAGE, "a"), asked.stem)
    path.unlink()
    assert (await this.store.restore(read)) is not None


@pytest.mark.parametrize(
    "path",
    ["../../etc/passwd.png", "in/../out/1-2-0123456789abcdef.png", "/etc/passwd", "in/x/y.png", "", "in/s/1-0-0"],
)
def test_a_transcript_cannot_name_another_path(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        Wanted.from_dict(wanted("a").to_dict(), path)


async def test_what_cannot_be_had_any_more_is_asked_for_once(tmp_path: Path) -> None:
    this = shop(tmp_path)
    assert await this.store.restore(wanted("a")) is None
    assert await this.store.restore(wanted("a")) is None
    assert this.platform.fetched == ["a"]


async def test_a_platform_that_fails_is_left_alone_with_earlier_files(tmp_path: Path) -> None:
    this = shop(tmp_path, FilePlatform(a=MediaError("busy", retryable=True), b=PNG))
    assert await this.store.restore(wanted("a")) is None
    assert await this.store.restore(wanted("b")) is None
    assert this.platform.fetched == ["a"], "one try, and none for the others"
    this.clock.advance(600.0)
    assert await this.store.restore(wanted("b")) is not None
    assert this.platform.fetched == ["a", "b"]


async def test_an_earlier_file_is_not_waited_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.media.store.MEDIA_RESTORE_SECONDS", 0.02)
    platform = FilePlatform(a=PNG)
    platform.gate = asyncio.Event()
    this = shop(tmp_path, platform)
    assert await this.store.restore(wanted("a")) is None
    assert this.names == []
