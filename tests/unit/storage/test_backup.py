"""Backup and restore: what goes in comes out, nothing else does, and a death at any step loses nothing."""

import contextlib
import io
import json
import os
import sqlite3
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from config import Home
from gateway.storage import restore as restoring
from gateway.storage.backup import MANIFEST, BackupError, Manifest, is_safe_name, make_backup, unpack
from gateway.storage.checks import newest_schema
from gateway.storage.migrate import migrate
from gateway.storage.restore import STAGED, apply_staged, stage, staged, unpacked
from gateway.storage.writer import connect

NOW = datetime(2026, 11, 21, 6, 30, tzinfo=UTC)


def furnish(path: Path, word: str) -> Home:
    """A home whose every file says the word."""
    home = Home(path).ensure()
    with closing(connect(home.database)) as connection:
        migrate(connection, home.database)
        connection.execute("INSERT INTO meta VALUES ('word', ?)", (word,))
    home.config_file.write_text(f"agent: echo  # {word}, ${{SECRET}}\n")
    (home.sessions_dir / "one.jsonl").write_text(word)
    (home.sessions_dir / ".reserve").write_bytes(bytes(1000))
    (home.media_dir / "deep" / "er").mkdir(parents=True)
    (home.media_dir / "deep" / "er" / "Bild 1 – ü.png").write_bytes(word.encode() * 5000)
    return home


def word_of(home: Home) -> set[str]:
    """What the files of a home say: one word, if they belong together."""
    with closing(sqlite3.connect(home.database)) as connection:
        words = {row[0] for row in connection.execute("SELECT value FROM meta WHERE name = 'word'")}
    words.add(home.config_file.read_text().split()[3].rstrip(","))
    words.add((home.sessions_dir / "one.jsonl").read_text())
    words.add((home.media_dir / "deep" / "er" / "Bild 1 – ü.png").read_text()[: len(next(iter(words)))])
    return words


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return furnish(tmp_path / "home", "first")


def members(backup: Path) -> list[str]:
    with tarfile.open(backup) as archive:
        return archive.getnames()


# --- making one ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["b.tar", "b.tar.gz", "b.tgz"])
def test_what_goes_in_comes_out(home: Home, tmp_path: Path, name: str) -> None:
    backup = tmp_path / name
    told: list[tuple[int, int]] = []
    manifest = make_backup(home, backup, NOW, progress=lambda done, total: told.append((done, total)))
    assert backup.stat().st_mode & 0o777 == 0o600
    assert (backup.read_bytes()[:2] == b"\x1f\x8b") == name.endswith("gz")
    assert told == sorted(told)
    assert told[-1][0] <= told[-1][1]
    assert members(backup)[-1] == MANIFEST
    folder = tmp_path / "out"
    folder.mkdir()
    assert unpack(backup, folder, newest_schema=newest_schema()) == manifest
    assert word_of(Home(folder)) == {"first"}
    assert {path.stat().st_mode & 0o077 for path in folder.rglob("*")} == {0}
    assert not list(folder.rglob(".reserve"))
    assert {entry.name for entry in tmp_path.iterdir()} == {"home", name, "out"}, "nothing is left behind"


def test_a_secret_of_the_environment_does_not_get_into_a_backup(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "s3cr3t-value")
    make_backup(home, tmp_path / "b.tar", NOW)
    content = (tmp_path / "b.tar").read_bytes()
    assert b"${SECRET}" in content
    assert b"s3cr3t-value" not in content


def test_a_file_that_is_there_is_replaced_only_when_forced(home: Home, tmp_path: Path) -> None:
    backup = tmp_path / "b.tar"
    backup.write_text("mine")
    with pytest.raises(BackupError, match="--force"):
        make_backup(home, backup, NOW)
    assert backup.read_text() == "mine"
    make_backup(home, backup, NOW, force=True)
    assert backup.stat().st_mode & 0o777 == 0o600
    assert "gateway.db" in members(backup)


@pytest.mark.parametrize("name", ["home/media/b.tar", "home/sessions/deep/b.tar", "home"])
def test_a_target_that_cannot_be_is_refused(home: Home, tmp_path: Path, name: str) -> None:
    with pytest.raises(BackupError, match="name a file"):
        make_backup(home, tmp_path / name, NOW)


def test_a_target_in_a_folder_that_is_not_there_is_named_as_it_was_given(home: Home, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match=r"there is no folder .*/none to write backup\.tar to"):
        make_backup(home, tmp_path / "none" / "backup.tar", NOW)


def test_a_home_without_a_database_has_nothing_to_back_up(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="nothing to back up"):
        make_backup(Home(tmp_path / "none"), tmp_path / "b.tar", NOW)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_database_is_not_backed_up_as_if_it_were_whole(home: Home, tmp_path: Path) -> None:
    with home.database.open("r+b") as stream:
        stream.seek(4096 * 2)
        stream.write(b"\xa5" * 4096 * 4)
    with pytest.raises(BackupError, match="doctor"):
        make_backup(home, tmp_path / "b.tar", NOW)
    assert [entry.name for entry in tmp_path.iterdir()] == ["home"]


def test_links_and_pipes_are_left_out_and_told(home: Home, tmp_path: Path) -> None:
    (tmp_path / "private").write_text("not to be read")
    (home.media_dir / "link").symlink_to(tmp_path / "private")
    (home.media_dir / "folder").symlink_to(tmp_path)
    os.mkfifo(home.media_dir / "pipe")
    manifest = make_backup(home, tmp_path / "b.tar", NOW)
    assert set(manifest.skipped) == {"media/link", "media/folder", "media/pipe"}
    assert b"not to be read" not in (tmp_path / "b.tar").read_bytes()


def test_a_file_that_goes_while_it_is_looked_for_is_left_out(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.gone", "b.gone"):
        (home.sessions_dir / name).touch()
    walk = os.walk

    def goes(folder: Path, onerror: Callable[[OSError], None]) -> Iterator[tuple[str, list[str], list[str]]]:
        """A daemon that runs removes one once its name is known, the other once it has been looked at."""
        for parent, folders, files in walk(folder, onerror=onerror):
            (home.sessions_dir / "a.gone").unlink(missing_ok=True)
            yield parent, folders, files
            (home.sessions_dir / "b.gone").unlink(missing_ok=True)

    monkeypatch.setattr(os, "walk", goes)
    manifest = make_backup(home, tmp_path / "b.tar", NOW)
    assert manifest.skipped == ()
    assert not any("gone" in name for name in members(tmp_path / "b.tar"))


def test_a_folder_that_cannot_be_read_is_not_left_out(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, scan = str(home.media_dir / "deep"), os.scandir

    def deny(folder: Any) -> Any:
        if folder == closed:
            raise PermissionError(13, "Permission denied", folder)
        return scan(folder)

    monkeypatch.setattr(os, "scandir", deny)
    with pytest.raises(PermissionError):
        make_backup(home, tmp_path / "b.tar", NOW)
    assert not (tmp_path / "b.tar").exists()


def test_a_backup_is_one_moment_of_a_database_that_is_written_to(home: Home, tmp_path: Path) -> None:
    """Each transaction adds to two tables: a backup has both or neither."""
    stop, begun = threading.Event(), threading.Event()

    def write() -> None:
        with closing(connect(home.database, "normal")) as connection:
            for number in range(1_000_000):
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("INSERT INTO cursors VALUES ('p', 'a', ?, ?)", (str(number), "x" * 500))
                connection.execute("INSERT INTO meta VALUES (?, ?)", (f"n{number}", "x" * 500))
                connection.execute("COMMIT")
                if number > 2000:
                    begun.set()
                if stop.is_set():
                    return

    writer = threading.Thread(target=write)
    writer.start()
    try:
        begun.wait(30)
        for number in range(3):
            make_backup(home, tmp_path / f"{number}.tar", NOW)
    finally:
        stop.set()
        writer.join()
    counts = []
    for number in range(3):
        folder = tmp_path / f"out{number}"
        folder.mkdir()
        unpack(tmp_path / f"{number}.tar", folder, newest_schema=newest_schema())
        with closing(sqlite3.connect(folder / "gateway.db")) as connection:
            (left,) = connection.execute("SELECT count(*) FROM cursors").fetchone()
            (right,) = connection.execute("SELECT count(*) FROM meta WHERE name GLOB 'n*'").fetchone()
        assert left == right
        counts.append(left)
    assert counts == sorted(set(counts))


# --- what is no backup ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("gateway.db", True),
        ("gateway.yaml", True),
        ("media/a/b c.png", True),
        ("sessions/x.jsonl", True),
        ("media", False),
        ("gateway.db-wal", False),
        ("gateway.lock", False),
        ("logs/x", False),
        ("/etc/passwd", False),
        ("../x", False),
        ("media/../../x", False),
        ("media/./x", False),
        ("media//x", False),
        ("media/..", False),
        ("./gateway.db", False),
        ("media\\..\\x", False),
        ("", False),
        ("media/a\0b", False),
    ],
)
def test_names_that_have_a_place(name: str, safe: bool) -> None:
    assert is_safe_name(name) is safe


def rewritten(backup: Path, change: Callable[[tarfile.TarInfo, bytes], list[tuple[tarfile.TarInfo, bytes]]]) -> Path:
    """The backup with each member changed to others."""
    target = backup.with_name("changed.tar")
    with tarfile.open(backup) as source, tarfile.open(target, "w") as archive:
        for member in source:
            content = source.extractfile(member)
            assert content is not None
            for info, data in change(member, content.read()):
                info.size = len(data) if info.isreg() else 0
                archive.addfile(info, io.BytesIO(data))
    return target


def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def with_first(extra: tarfile.TarInfo, data: bytes = b"") -> Callable[..., list[tuple[tarfile.TarInfo, bytes]]]:
    def change(info: tarfile.TarInfo, content: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
        return [(extra, data), (info, content)] if info.name == "gateway.db" else [(info, content)]

    return change


def with_manifest(**changes: object) -> Callable[..., list[tuple[tarfile.TarInfo, bytes]]]:
    def change(info: tarfile.TarInfo, content: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
        if info.name == MANIFEST:
            content = json.dumps(json.loads(content) | changes).encode()
        return [(info, content)]

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (with_first(special("media/x", tarfile.SYMTYPE, "/etc/passwd")), "not to be trusted"),
        (with_first(special("media/x", tarfile.LNKTYPE, "gateway.db")), "not to be trusted"),
        (with_first(special("media/x", tarfile.CHRTYPE)), "not to be trusted"),
        (with_first(special("media", tarfile.SYMTYPE, "/tmp")), "not to be trusted"),
        (with_first(tarfile.TarInfo("/tmp/x"), b"x"), "not to be trusted"),
        (with_first(tarfile.TarInfo("../x"), b"x"), "not to be trusted"),
        (with_first(tarfile.TarInfo("media/../../x"), b"x"), "not to be trusted"),
        (with_first(tarfile.TarInfo("sessions/one.jsonl"), b"first"), "not to be trusted"),
        (with_first(tarfile.TarInfo("media/extra"), b"x"), "media/extra is not as it was backed up"),
        (with_manifest(format=2), "newer version"),
        (with_manifest(schema=999), "newer version"),
        (with_manifest(schema=1, version="0.0.1"), "another one than the backup says"),
        (with_manifest(entries=[]), "holds no database"),
        (with_manifest(entries=None), "cannot be read"),
        (with_manifest(created_at="yesterday"), "cannot be read"),
        (lambda info, data: [] if info.name == MANIFEST else [(info, data)], "cut short"),
        (lambda info, data: [] if info.name.startswith("media") else [(info, data)], "not as it was backed up"),
        (lambda info, data: [(info, data.replace(b"first", b"fjrst"))], "not as it was backed up"),
    ],
)
def test_a_backup_that_is_not_right_is_refused(
    home: Home, tmp_path: Path, change: Callable[..., list[tuple[tarfile.TarInfo, bytes]]], words: str
) -> None:
    make_backup(home, tmp_path / "b.tar", NOW)
    before = {path for path in tmp_path.rglob("*") if "changed" not in path.name}
    with pytest.raises(BackupError, match=words), unpacked(home, rewritten(tmp_path / "b.tar", change)):
        pytest.fail("it was taken")
    assert {path for path in tmp_path.rglob("*") if "changed" not in path.name} == before
    assert word_of(home) == {"first"}


@pytest.mark.parametrize("name", ["b.tar", "b.tar.gz"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9])
def test_a_backup_that_was_cut_is_refused(home: Home, tmp_path: Path, name: str, kept: float) -> None:
    make_backup(home, tmp_path / name, NOW)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(BackupError), unpacked(home, tmp_path / name):
        pytest.fail("it was taken")


@pytest.mark.parametrize("place", range(0, 100, 7))
def test_a_compressed_backup_with_a_flipped_bit_is_refused(home: Home, tmp_path: Path, place: int) -> None:
    make_backup(home, tmp_path / "b.tar.gz", NOW)
    content = bytearray((tmp_path / "b.tar.gz").read_bytes())
    content[12 + (len(content) - 12) * place // 100] ^= 16
    (tmp_path / "b.tar.gz").write_bytes(content)
    with pytest.raises(BackupError), unpacked(home, tmp_path / "b.tar.gz"):
        pytest.fail("it was taken")


@pytest.mark.parametrize("content", [b"", b"text\n" * 1000, b"\x1f\x8b" + b"x" * 1000, bytes(20480)])
def test_what_is_no_backup_is_refused(home: Home, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "b.tar").write_bytes(content)
    with pytest.raises(BackupError), unpacked(home, tmp_path / "b.tar"):
        pytest.fail("it was taken")


def test_a_backup_of_a_damaged_database_is_refused(home: Home, tmp_path: Path) -> None:
    make_backup(home, tmp_path / "b.tar", NOW)

    def damage(info: tarfile.TarInfo, data: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
        if info.name == "gateway.db":
            data = data[: 4096 * 2] + b"\xa5" * 4096 * 3 + data[4096 * 5 :]
        return [(info, data)]

    changed = rewritten(tmp_path / "b.tar", damage)
    digests = {}
    with tarfile.open(changed) as archive:
        import hashlib

        for member in archive:
            content = archive.extractfile(member)
            assert content is not None
            digests[member.name] = hashlib.sha256(content.read()).hexdigest()
    with tarfile.open(changed) as archive:
        text = archive.extractfile(MANIFEST)
        assert text is not None
        entries = [each | {"sha256": digests[each["name"]]} for each in json.loads(text.read())["entries"]]
    changed.rename(tmp_path / "b.tar")
    signed = rewritten(tmp_path / "b.tar", with_manifest(entries=entries))
    with pytest.raises(BackupError, match="is damaged"), unpacked(home, signed):
        pytest.fail("it was taken")


# --- putting it in place -------------------------------------------------------------------------------------


def staged_home(tmp_path: Path) -> Home:
    """A home of the second word, in which a backup of the first is staged."""
    make_backup(furnish(tmp_path / "other", "first"), tmp_path / "b.tar", NOW)
    home = furnish(tmp_path / "home", "second")
    with unpacked(home, tmp_path / "b.tar") as (folder, manifest):
        assert isinstance(manifest, Manifest)
        stage(home, folder)
    return home


def test_a_restore_replaces_everything_and_keeps_what_was_there(tmp_path: Path) -> None:
    home = staged_home(tmp_path)
    for end in ("-wal", "-shm"):
        home.database.with_name(f"gateway.db{end}").write_text("of the database before")
    assert staged(home) is not None
    replaced = apply_staged(home, NOW)
    assert replaced == home.path / "replaced-20261121T063000Z"
    assert word_of(home) == {"first"}
    assert (replaced / "gateway.db-wal").read_text() == "of the database before"
    for end in ("-wal", "-shm"):
        (replaced / f"gateway.db{end}").unlink()
    assert word_of(Home(replaced)) == {"second"}
    assert staged(home) is None
    assert apply_staged(home, NOW) is None
    names = {entry.name for entry in home.path.iterdir()}
    assert names == {"gateway.db", "gateway.yaml", "sessions", "media", "memory", "logs", replaced.name}


def test_a_second_restore_keeps_its_own(tmp_path: Path) -> None:
    home = staged_home(tmp_path)
    apply_staged(home, NOW)
    make_backup(furnish(tmp_path / "third", "third"), tmp_path / "c.tar", NOW)
    with unpacked(home, tmp_path / "c.tar") as (folder, _):
        stage(home, folder)
    replaced = apply_staged(home, NOW)
    assert replaced == home.path / "replaced-20261121T063000Z-2"
    assert word_of(home) == {"third"}
    assert word_of(Home(replaced)) == {"first"}


def test_the_last_backup_that_was_staged_takes_effect(tmp_path: Path) -> None:
    home = staged_home(tmp_path)
    make_backup(furnish(tmp_path / "third", "third"), tmp_path / "c.tar", NOW)
    with unpacked(home, tmp_path / "c.tar") as (folder, _):
        stage(home, folder)
    apply_staged(home, NOW)
    assert word_of(home) == {"third"}
    assert not [entry for entry in home.path.iterdir() if entry.name.startswith(".")]


def test_a_restore_into_an_empty_home(tmp_path: Path) -> None:
    make_backup(furnish(tmp_path / "other", "first"), tmp_path / "b.tar", NOW)
    home = Home(tmp_path / "new")
    with unpacked(home, tmp_path / "b.tar") as (folder, _):
        stage(home, folder)
    apply_staged(home, NOW)
    assert word_of(home) == {"first"}


class Killed(BaseException):
    """The process dies here."""


@pytest.mark.parametrize("last", range(24))
def test_a_death_at_any_step_of_a_restore_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: int
) -> None:
    home = staged_home(tmp_path)
    home.database.with_name("gateway.db-wal").write_text("of the database before")
    left = iter(range(last))
    with monkeypatch.context() as patch:
        for owner, name in (
            (Path, "rename"),
            (Path, "replace"),
            (Path, "mkdir"),
            (Path, "write_text"),
            (restoring, "sync_directory"),
        ):
            original = getattr(owner, name)

            def dying(*args: object, _original: Callable[..., object] = original, **named: object) -> object:
                if next(left, None) is None:
                    raise Killed
                return _original(*args, **named)

            patch.setattr(owner, name, dying)
        with contextlib.suppress(Killed):
            apply_staged(home, NOW)
    home.ensure()  # as the next start does before it takes the lock
    apply_staged(home, NOW)
    assert word_of(home) == {"first"}
    assert not (home.path / STAGED).exists()
    kept = [entry for entry in home.path.iterdir() if entry.name.startswith("replaced-")]
    assert len(kept) == 1
    assert (kept[0] / "gateway.db-wal").read_text() == "of the database before"
    (kept[0] / "gateway.db-wal").unlink()
    assert word_of(Home(kept[0])) == {"second"}
    assert not [entry for entry in home.path.iterdir() if entry.name.startswith(".restore")]
