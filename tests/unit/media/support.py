"""What the tests of files share: small files of each type, and a platform that has them."""

import asyncio
import struct
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from config import GatewayConfig, Platform
from gateway.inbound import Extra, InboundRecord
from gateway.media.files import StoredFile
from gateway.media.store import MediaStore, Wanted
from gateway.ports import Adapter, Attachment, Capabilities, Delivery, MediaError, MediaKind
from gateway.session.key import SlotIdentity
from gateway.source import SessionSource
from tests.support.fakes import START, FakeAdapter, ManualClock

SESSION = "20260301_120000_0011223344556677"
OTHER = "20260301_120000_8899aabbccddeeff"


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


PNG = (
    b"\x89PNG\r\n\x1a\n"
    + _chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    + _chunk(b"IDAT", zlib.compress(b"\0\xff\0\0"))
    + _chunk(b"IEND", b"")
)
"""One red pixel."""

VOICE = b"OggS\x00\x02" + b"\0" * 22 + b"OpusHead\x01\x01" + b"\0" * 40
PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n"


class FilePlatform(FakeAdapter):
    """A platform with files by their ids. An exception in place of one is raised, once if it is in a list."""

    def __init__(
        self, capabilities: Capabilities | None = None, files: Mapping[str, Any] | None = None, **more: Any
    ) -> None:
        super().__init__(capabilities or Capabilities(media=True))
        self.files: dict[str, Any] = {**(files or {}), **more}
        self.fetched: list[str] = []
        self.piece = 1000
        self.gate: asyncio.Event | None = None
        self.at_once = 0
        self.most_at_once = 0

    async def fetch(self, attachment: Attachment, write: Callable[[bytes], Awaitable[None]]) -> None:
        self.fetched.append(attachment.id)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self._fetch(attachment, write)
        finally:
            self.at_once -= 1

    async def _fetch(self, attachment: Attachment, write: Callable[[bytes], Awaitable[None]]) -> None:
        found = self.files.get(attachment.id, MediaError("it is gone"))
        if isinstance(found, list):
            found = found.pop(0)
        if isinstance(found, BaseException):
            raise found
        for start in range(0, len(found), self.piece):
            await write(found[start : start + self.piece])
            if self.gate is not None:
                await self.gate.wait()


@dataclass(frozen=True)
class Linked:
    """A connection to it."""

    adapter: Adapter


@dataclass
class Shop:
    """A store over a folder, and the platform that it fetches from."""

    folder: Path
    platform: FilePlatform
    config: GatewayConfig
    counters: Counter[str]
    clock: ManualClock
    store: MediaStore

    @property
    def names(self) -> list[str]:
        """All files below the folder."""
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())


def settings(**media: Any) -> GatewayConfig:
    return GatewayConfig.model_validate({"media": media})


def shop(folder: Path, platform: FilePlatform | None = None, *, limit_seconds: float = 60.0, **media: Any) -> Shop:
    adapter, config, counters, clock = platform or FilePlatform(), settings(**media), Counter[str](), ManualClock()
    store = MediaStore(
        folder, config, clock, lambda _platform, _account: Linked(adapter), counters,
        pause=0.0, limit_seconds=limit_seconds,
    )  # fmt: skip
    return Shop(folder, adapter, config, counters, clock, store)


def attached(
    file_id: str, kind: MediaKind = MediaKind.DOCUMENT, name: str | None = None, size: int | None = None
) -> Attachment:
    return Attachment(kind, file_id, name=name, size=size)


def wanted(file_id: str, *, session: str = SESSION, inbound: int = 7, number: int = 0, **more: Any) -> Wanted:
    return Wanted.of(
        Platform.TELEGRAM, "default", attached(file_id, **more), session_id=session, inbound_id=inbound, number=number
    )


def record(text: str, *attachments: Attachment, number: int = 7, at: datetime = START) -> InboundRecord:
    source = SessionSource(Platform.TELEGRAM, "1", user_id="alice")
    identity = SlotIdentity("main", "telegram", "dm", "1", "", "")
    return InboundRecord(
        number, f"m{number}", identity, source, "default", text, None, at, extra=Extra(attachments=attachments)
    )


def stored(path: Path, data: bytes) -> StoredFile:
    from gateway.media.files import look_at

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    found = look_at(path)
    assert found is not None
    return found


def files_of(deliveries: list[Delivery]) -> list[Any]:
    return [delivery.content for delivery in deliveries if delivery.kind == "file"]
