"""Files that go out: which ones may, and a copy of each that stays as it was when it was sent."""

import asyncio
import hashlib
import logging
import mimetypes
import os
import secrets
import stat
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from config import GatewayConfig, LiveConfig
from gateway.constants import MAX_FILES_PER_REPLY, MEDIA_CHUNK_BYTES
from gateway.media.files import OUTGOING, DiskError, PartialFile, StoredFile, session_folders
from gateway.media.kinds import TEXT, UNKNOWN, ZIP
from gateway.media.lines import GrowingMedia, code_lines, paths_in, split_media, to_be_read
from gateway.media.store import MEGABYTE
from gateway.media.words import clean_name, size_words
from gateway.ports import Clock, OutgoingFile

log = logging.getLogger(__name__)

READ_AT_ONCE_CHARS: Final = 4_000
"""Up to this length an answer is looked through for code on the loop: that takes a millisecond or two."""

MAX_CAPTION: Final = 1_000
"""Characters of a caption; Telegram takes 1,024 (https://core.telegram.org/bots/api#sendphoto), the least of all."""


class RefusedFileError(Exception):
    """A file is not sent; `str()` says why, for the agent."""


class OutgoingFiles:
    """Decides which files may go out, and keeps a copy of each.

    A file may that is below one of `media.roots` once links are resolved, and is not one of another session.
    """

    def __init__(
        self,
        folder: Path,
        config: GatewayConfig | LiveConfig,
        clock: Clock,
        counters: Counter[str],
        *,
        random: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        self._folder = folder
        self._config = LiveConfig.of(config)
        self._clock = clock
        self._counters = counters
        self._random = random

    async def take(self, path: str, *, session_id: str, key: str, caption: str = "") -> OutgoingFile:
        """Copy a file that may be sent. The same `key` gives the same copy. Raises `RefusedFileError`."""
        try:
            file = await asyncio.to_thread(self._take, path, session_id, key, caption)
        except RefusedFileError:
            self._counters["media.refused"] += 1
            raise
        self._counters["media.taken"] += 1
        return file

    async def keep(self, data: bytes, name: str, *, session_id: str, key: str) -> OutgoingFile:
        """A file of the gateway's own, that was in no folder before. The same `key` gives the same copy. Raises
        `RefusedFileError`."""
        return await asyncio.to_thread(self._keep, data, name, session_id, key)

    def of_turn(self, turn_id: str, session_id: str) -> "TurnFiles":
        """The files that the text of one turn's answer names."""
        return TurnFiles(self, turn_id, session_id)

    def _take(self, path: str, session_id: str, key: str, caption: str) -> OutgoingFile:
        partial = PartialFile(self._stem(session_id, key), self._random())
        try:
            resolved, source = self._open(path, session_id)
            with source:
                partial.open()
                while data := source.read(MEDIA_CHUNK_BYTES):
                    partial.write(data)
            stored = partial.finish(self._clock.now().timestamp())
        except DiskError as error:
            raise RefusedFileError(f"the file cannot be sent: {error}") from error
        except OSError as error:
            raise RefusedFileError(f"{path} cannot be read ({error.strerror})") from error
        finally:
            partial.discard()
        return _outgoing(stored, resolved.name, caption)

    def _keep(self, data: bytes, name: str, session_id: str, key: str) -> OutgoingFile:
        partial = PartialFile(self._stem(session_id, key), self._random())
        try:
            self._check_size(name, len(data))
            partial.open()
            partial.write(data)
            stored = partial.finish(self._clock.now().timestamp())
        except DiskError as error:
            raise RefusedFileError(f"the file cannot be sent: {error}") from error
        finally:
            partial.discard()
        return _outgoing(stored, name, "")

    def _stem(self, session_id: str, key: str) -> Path:
        return self._folder / OUTGOING / session_id / hashlib.sha256(key.encode()).hexdigest()[:32]

    def _open(self, path: str, session_id: str) -> tuple[Path, BinaryIO]:
        """Open a file that may be sent; what is opened is what was checked. Raises OSError."""
        resolved = self._resolved(path, session_id)
        descriptor = os.open(resolved, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise RefusedFileError(f"{path} is not a file")
            if self._resolved(path, session_id) != resolved or not os.path.samestat(status, resolved.stat()):
                raise RefusedFileError(f"{path} changes while it is read")
            self._check_size(path, status.st_size)
            return resolved, os.fdopen(descriptor, "rb")
        except BaseException:
            os.close(descriptor)
            raise

    def _check_size(self, path: str, size: int) -> None:
        most = self._config.current.media.max_upload_mb * MEGABYTE
        if size > most:
            raise RefusedFileError(f"{path} is too large: {size_words(size)}, the limit is {size_words(most)}")
        if not size:
            raise RefusedFileError(f"{path} is empty")

    def _resolved(self, path: str, session_id: str) -> Path:
        if not path.startswith("/") or "\0" in path:
            raise RefusedFileError("the path must be absolute, as in /folder/file.png")
        try:
            # Looked at before it is known to be there: what lies elsewhere is not told.
            self._check_place(path, Path(path).resolve(), session_id)
            resolved = Path(path).resolve(strict=True)
        except FileNotFoundError:
            raise RefusedFileError(f"there is no file {path}") from None
        except RuntimeError as error:
            raise RefusedFileError(f"{path} is a link that leads to itself") from error
        self._check_place(path, resolved, session_id)
        return resolved

    def _check_place(self, path: str, resolved: Path, session_id: str) -> None:
        if not self._may_go(resolved, session_id):
            folders = ", ".join(map(str, self._roots()))
            raise RefusedFileError(f"{path} is not in a folder that files may be sent from ({folders})")

    def _roots(self) -> list[Path]:
        named = self._config.current.media.roots
        return [Path(root).expanduser() for root in named] if named else [self._folder]

    def _may_go(self, resolved: Path, session_id: str) -> bool:
        for folder in session_folders(self._folder.resolve()):
            if resolved.is_relative_to(folder) and not resolved.is_relative_to(folder / session_id):
                return False
        return any(resolved.is_relative_to(root.resolve()) for root in self._roots())


@dataclass(slots=True, eq=False)
class _Named:
    """A file that an answer names: being looked at, then taken or not."""

    looking: "asyncio.Task[OutgoingFile | None]"

    @property
    def taken(self) -> bool | None:
        return None if not self.looking.done() else self.file is not None

    @property
    def file(self) -> OutgoingFile | None:
        return self.looking.result() if self.looking.done() and not self.looking.cancelled() else None


class TurnFiles:
    """The files that one turn's answer names in lines of their own. Each is looked at once, as soon as it is named."""

    def __init__(self, files: OutgoingFiles, turn_id: str, session_id: str) -> None:
        self._files = files
        self._turn_id = turn_id
        self._session_id = session_id
        self._named: dict[str, _Named] = {}
        self._read: tuple[str, Collection[int]] = ("", ())
        """The beginning of the answer that was looked through for code, and what was found."""
        self._reading: asyncio.Task[None] | None = None
        self._growing = GrowingMedia()

    def visible(self, text: str) -> str:
        """What may be shown of an answer that still grows. Returns at once; for the loop."""
        return self._growing.visible(text, self._verdict, self._code_lines)

    async def split(self, text: str, *, complete: bool = True) -> tuple[str, tuple[OutgoingFile, ...]]:
        """A whole answer as people see it, and the files that come after it.

        Of one that is not complete the last line is left alone: its path may be cut off.
        """
        end = len(text) if complete else text.rfind("\n") + 1
        text, rest = text[:end], text[end:]
        code = await self._code_of(text)
        paths = paths_in(text, lambda _text: code)
        looking = [named.looking for path in paths if (named := self._look(path)) is not None]
        if looking:
            await asyncio.wait(looking)
        shown = split_media(text, lambda path: self._verdict(path) is True, more=bool(rest), code=lambda _text: code)
        files = (self._named[path].file for path in paths if path in self._named)
        return shown + rest, tuple(file for file in files if file is not None)

    async def _code_of(self, text: str) -> Collection[int]:
        """The numbers of the lines that are code, as far as it matters."""
        text = to_be_read(text)
        while (code := self._code_lines(text)) is None:
            assert self._reading is not None
            await asyncio.wait({self._reading})
        return code

    def _code_lines(self, text: str) -> Collection[int] | None:
        """The numbers of the lines that are code. A long text is read on a thread, once: None until that is done."""
        if self._reading is not None and self._reading.done():
            done, self._reading = self._reading, None
            done.result()
        if self._read[0].startswith(text):
            return self._read[1]
        if len(text) <= READ_AT_ONCE_CHARS:
            self._read = text, code_lines(text)
            return self._read[1]
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_code(text), name=f"answer of turn {self._turn_id}")
        return None

    async def _read_code(self, text: str) -> None:
        self._read = text, await asyncio.to_thread(code_lines, text)

    def _verdict(self, path: str) -> bool | None:
        named = self._look(path)
        return False if named is None else named.taken

    def _look(self, path: str) -> _Named | None:
        """None for one file too many."""
        if path not in self._named:
            if len(self._named) >= MAX_FILES_PER_REPLY:
                return None
            task = asyncio.create_task(self._take(path), name=f"file of turn {self._turn_id}")
            self._named[path] = _Named(task)
        return self._named[path]

    async def _take(self, path: str) -> OutgoingFile | None:
        try:
            return await self._files.take(path, session_id=self._session_id, key=f"{self._turn_id}:{path}")
        except RefusedFileError as error:
            log.info("a file that an answer names is not sent: %s", error)
        except Exception:
            log.exception("a file that an answer names could not be looked at")
        return None


def _outgoing(stored: StoredFile, name: str, caption: str) -> OutgoingFile:
    kind = stored.type
    guessed = mimetypes.guess_type(name)[0] if kind in (TEXT, UNKNOWN, ZIP) else None
    return OutgoingFile(
        kind=kind.kind,
        path=str(stored.path),
        name=clean_name(name) or stored.path.name,
        media_type=guessed or kind.media_type,
        caption=caption[:MAX_CAPTION],
    )
