"""The store of files that people send: each is fetched once, kept for a time, and fetched again after that."""

import asyncio
import hashlib
import logging
import re
import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, Self, TypeAlias
from weakref import WeakValueDictionary

from config import GatewayConfig, LiveConfig, Platform
from gateway.constants import (
    MEDIA_CHUNK_BYTES,
    MEDIA_FETCH_PAUSE_SECONDS,
    MEDIA_FETCH_SECONDS,
    MEDIA_FETCH_TRIES,
    MEDIA_FETCHES,
    MEDIA_RESTORE_REST_SECONDS,
    MEDIA_RESTORE_SECONDS,
)
from gateway.media.files import INCOMING, PartialFile, StoredFile, find_stored
from gateway.media.words import size_words
from gateway.ports import Adapter, Attachment, Clock, MediaError, MediaKind

log = logging.getLogger(__name__)

MEGABYTE: Final = 1_000_000
GONE_REMEMBERED: Final = 1_000
"""Files that cannot be had any more, and are not asked for again before the next start."""

_STEM: Final = re.compile(rf"{INCOMING}/([0-9a-z][0-9a-z_]{{0,127}})/[0-9]+-[0-9]+-[0-9a-f]{{16}}")
"""What the paths of our own files look like, without their extensions."""


class Connected(Protocol):
    """A connection to a platform, as far as files are fetched through it."""

    @property
    def adapter(self) -> Adapter:
        """What fetches them."""


FindConnection: TypeAlias = Callable[[Platform, str], Connected | None]
"""The connection to a platform's account, where there is one."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file that came with a message. `stem` is where it belongs, below the media folder, without its extension."""

    platform: Platform
    account: str
    attachment: Attachment
    stem: str

    @classmethod
    def of(
        cls, platform: Platform, account: str, attachment: Attachment, *, session_id: str, inbound_id: int, number: int
    ) -> Self:
        """The file that came with a message as its `number`th; nothing from outside decides its path."""
        source = f"{platform}\0{account}\0{attachment.id}".encode("utf-8", "surrogatepass")
        digest = hashlib.sha256(source).hexdigest()[:16]
        return cls(platform, account, attachment, f"{INCOMING}/{session_id}/{inbound_id}-{number}-{digest}")

    @property
    def place(self) -> tuple[str, str]:
        """The platform and the account that have it."""
        return str(self.platform), self.account

    def to_dict(self) -> dict[str, Any]:
        """Where it can be fetched, as plain data."""
        return {
            "platform": str(self.platform),
            "account": self.account,
            "kind": str(self.attachment.kind),
            "id": self.attachment.id,
        }

    @classmethod
    def from_dict(cls, origin: Mapping[str, Any], path: str) -> Self:
        """Read what `to_dict` gave. Raises KeyError, TypeError and ValueError: a transcript may come from anywhere."""
        stem = path.rpartition(".")[0]
        if not _STEM.fullmatch(stem):
            raise ValueError("the path is none of the gateway's own")
        attachment = Attachment(MediaKind(origin["kind"]), str(origin["id"]))
        return cls(Platform(origin["platform"]), str(origin["account"]), attachment, stem)


class MediaStore:
    """Has the files of attachments, below one folder."""

    def __init__(
        self,
        folder: Path,
        config: GatewayConfig | LiveConfig,
        clock: Clock,
        find: FindConnection,
        counters: Counter[str],
        *,
        random: Callable[[], str] = lambda: secrets.token_hex(8),
        pause: float = MEDIA_FETCH_PAUSE_SECONDS,
        limit_seconds: float = MEDIA_FETCH_SECONDS,
    ) -> None:
        self._folder = folder
        self._config = LiveConfig.of(config)
        self._clock = clock
        self._find = find
        self._counters = counters
        self._random = random
        self._pause = pause
        self._limit_seconds = limit_seconds
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._places: dict[tuple[str, str], asyncio.Semaphore] = {}
        """By account, so that a slow platform takes no other's; as many as there are accounts."""
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._resting: dict[tuple[str, str], float] = {}
        """By account, until when by the monotonic clock no file of an earlier message is asked for."""

    @property
    def folder(self) -> Path:
        """The media folder."""
        return self._folder

    async def get(self, wanted: Wanted) -> StoredFile:
        """The file, from the disk or from its platform. Raises `MediaError`."""
        return await self._get(wanted, MEDIA_FETCH_TRIES)

    async def restore(self, wanted: Wanted) -> StoredFile | None:
        """The file of an earlier message, fetched again where it has been removed; None if it cannot be had soon."""
        resting = self._resting.get(wanted.place, 0.0) > self._clock.monotonic()
        if resting or wanted.stem in self._gone or self._find(wanted.platform, wanted.account) is None:
            return None
        try:
            async with asyncio.timeout(MEDIA_RESTORE_SECONDS):
                return await self._get(wanted, 1)
        except (MediaError, TimeoutError) as error:
            log.info("a file of an earlier message cannot be had again: %s", error)
            if isinstance(error, TimeoutError) or error.retryable:
                self._resting[wanted.place] = self._clock.monotonic() + MEDIA_RESTORE_REST_SECONDS
            else:
                self._forget(wanted.stem)
            return None

    def _forget(self, stem: str) -> None:
        self._gone[stem] = None
        if len(self._gone) > GONE_REMEMBERED:
            self._gone.popitem(last=False)

    async def _get(self, wanted: Wanted, tries: int) -> StoredFile:
        lock = self._locks.setdefault(wanted.stem, asyncio.Lock())
        async with lock:
            found = await asyncio.to_thread(find_stored, self._folder / wanted.stem)
            return found if found is not None else await self._fetch(wanted, tries)

    def _most_bytes(self) -> int:
        return self._config.current.media.max_download_mb * MEGABYTE

    async def _fetch(self, wanted: Wanted, tries: int) -> StoredFile:
        size, most = wanted.attachment.size, self._most_bytes()
        if size is not None and size > most:
            raise _too_large(size, most)
        pause = self._pause
        for attempt in range(1, tries + 1):
            try:
                return await self._fetch_once(wanted, most)
            except MediaError as error:
                self._counters["media.errors"] += 1
                if not error.retryable or attempt == tries:
                    raise
            await asyncio.sleep(pause)
            pause *= 2
        raise AssertionError("the last try returns or raises")

    async def _fetch_once(self, wanted: Wanted, most: int) -> StoredFile:
        connection = self._find(wanted.platform, wanted.account)
        if connection is None:
            raise MediaError(f"there is no connection to {wanted.platform}", retryable=True)
        places = self._places.setdefault(wanted.place, asyncio.Semaphore(MEDIA_FETCHES))
        download = _Download(PartialFile(self._folder / wanted.stem, self._random()), most)
        try:
            async with places:
                await self._receive(connection.adapter, wanted.attachment, download)
            stored = await download.finish(self._clock.now().timestamp())
        except BaseException:
            await asyncio.shield(asyncio.to_thread(download.file.discard))
            raise
        self._counters["media.fetched"] += 1
        return stored

    async def _receive(self, adapter: Adapter, attachment: Attachment, download: "_Download") -> None:
        try:
            async with asyncio.timeout(self._limit_seconds) as limit:
                await download.open()
                await adapter.fetch(attachment, download.write)
        except MediaError:
            raise
        except Exception as error:
            if isinstance(error, TimeoutError) and limit.expired():
                raise MediaError(f"it did not arrive within {self._limit_seconds:g} seconds", retryable=True) from error
            log.warning("a file could not be fetched", exc_info=error)
            raise MediaError(f"fetching it failed ({type(error).__name__})", retryable=True) from error


class _Download:
    """A file that is coming in: gathered to larger pieces, and written on a thread."""

    def __init__(self, file: PartialFile, most: int) -> None:
        self.file = file
        self._most = most
        self._size = 0
        self._waiting = bytearray()

    async def open(self) -> None:
        await asyncio.to_thread(self.file.open)

    async def write(self, data: bytes) -> None:
        """Take a piece. Raises `MediaError`."""
        self._size += len(data)
        if self._size > self._most:
            raise _too_large(None, self._most)
        self._waiting += data
        if len(self._waiting) >= MEDIA_CHUNK_BYTES:
            await self._flush()

    async def finish(self, at: float) -> StoredFile:
        if not self._size:
            raise MediaError("it is empty")
        await self._flush()
        return await asyncio.to_thread(self.file.finish, at)

    async def _flush(self) -> None:
        data, self._waiting = bytes(self._waiting), bytearray()
        await asyncio.to_thread(self.file.write, data)


def _too_large(size: int | None, most: int) -> MediaError:
    limit = f"the limit is {size_words(most)}"
    return MediaError(f"too large: {size_words(size)}, {limit}" if size is not None else f"too large: {limit}")
