"""Files: what was uploaded or sent, and the media objects that stand for it in messages."""

import mimetypes
from dataclasses import dataclass
from pathlib import PurePosixPath

from adapters.testing.telegram.accounts import Json
from adapters.testing.telegram.errors import bad_request

MAX_DOWNLOAD = 20 * 1024 * 1024
"""The largest file that getFile gives, in bytes (https://core.telegram.org/bots/api#getfile)."""
MAX_UPLOAD = 50 * 1024 * 1024
"""The largest file that a bot uploads, in bytes; a photo's limit is `MAX_PHOTO`
(https://core.telegram.org/bots/api#sending-files)."""
MAX_PHOTO = 10 * 1024 * 1024

KINDS = ("photo", "document", "voice", "audio", "video", "animation", "sticker", "video_note")
FOLDERS = {
    "photo": "photos", "document": "documents", "voice": "voice", "audio": "music", "video": "videos",
    "animation": "animations", "sticker": "stickers", "video_note": "video_notes",
}  # fmt: skip
TYPES = {"voice": "audio/ogg", "audio": "audio/mpeg", "video": "video/mp4", "animation": "video/mp4"}
SUFFIXES = {"photo": ".jpg", "voice": ".oga", "sticker": ".webp"}


@dataclass(frozen=True, slots=True)
class Media:
    """A file that a person sends. `size` makes it claim more bytes than `data` has."""

    kind: str
    data: bytes = b"\x00"
    name: str | None = None
    mime: str | None = None
    size: int | None = None
    duration: int = 1
    """Seconds, where the kind has a length."""
    emoji: str = "👍"
    """What a sticker stands for."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file on the server; `unique_id` is the same for every bot."""

    file_id: str
    unique_id: str
    path: str
    media: Media

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.media.data) if self.media.size is None else self.media.size

    def reference(self) -> Json:
        """The fields that every object of a file has."""
        return {"file_id": self.file_id, "file_unique_id": self.unique_id, "file_size": self.size}


class FileStore:
    """Every file that the server has."""

    def __init__(self) -> None:
        self._files: dict[str, StoredFile] = {}

    def add(self, media: Media) -> StoredFile:
        """Take a file."""
        number = len(self._files)
        suffix = SUFFIXES.get(media.kind) or PurePosixPath(media.name or "").suffix
        path = f"{FOLDERS[media.kind]}/file_{number}{suffix}"
        stored = StoredFile(f"BQACAgIAAxkBAAI{number:08d}", f"AgAD{number:06d}", path, media)
        self._files[stored.file_id] = stored
        return stored

    def get(self, file_id: str) -> StoredFile:
        """The file of an id. Raises `ApiError`."""
        try:
            return self._files[file_id]
        except KeyError:
            raise bad_request("invalid file_id") from None

    def at(self, path: str) -> StoredFile | None:
        """The file that is downloaded from a path."""
        return next((stored for stored in self._files.values() if stored.path == path), None)


def file_object(stored: StoredFile) -> Json:
    """The answer of getFile. Raises `ApiError` for what is too large to be downloaded."""
    if stored.size > MAX_DOWNLOAD:
        raise bad_request("file is too big")
    return stored.reference() | {"file_path": stored.path}


def media_object(stored: StoredFile) -> Json:
    """The field of a message that holds the file: its one key is the kind, or two for an animation."""
    media, reference = stored.media, stored.reference()
    mime = media.mime or mimetypes.guess_type(media.name or "")[0] or TYPES.get(media.kind)
    named = {"file_name": media.name} if media.name else {}
    typed = {"mime_type": mime} if mime else {}
    picture = {"width": 640, "height": 480}
    match media.kind:
        case "photo":
            small = reference | {"file_unique_id": f"{stored.unique_id}s", "width": 90, "height": 67, "file_size": 1}
            return {"photo": [small, reference | picture]}
        case "document":
            return {"document": reference | named | typed}
        case "voice":
            return {"voice": reference | typed | {"duration": media.duration}}
        case "audio":
            return {"audio": reference | named | typed | {"duration": media.duration}}
        case "sticker":
            shape = {"type": "regular", "width": 512, "height": 512, "is_animated": False, "is_video": False}
            return {"sticker": reference | shape | {"emoji": media.emoji}}
        case "video_note":
            return {"video_note": reference | {"length": 240, "duration": media.duration}}
        case "animation":
            animation = reference | named | typed | picture | {"duration": media.duration}
            return {"animation": animation, "document": reference | named | typed}
        case _:
            return {"video": reference | named | typed | picture | {"duration": media.duration}}
