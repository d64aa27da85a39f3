"""Files: what people and apps upload, where, and who may fetch it."""

import mimetypes
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final

from adapters.testing.slack.accounts import Json, Profile
from adapters.testing.slack.errors import ApiError

MAX_UPLOAD: Final = 1_000_000_000
"""The largest file in bytes (https://slack.com/help/articles/201330736-Add-files-to-Slack)."""


CANVAS = "application/vnd.slack-docs"
"""The type that a canvas is told to have; what is downloaded is a page
(https://github.com/stablyai/agent-slack/pull/19)."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that a person sends. `size` makes it claim more bytes than `data` has."""

    name: str
    data: bytes = field(default=b"\x00", repr=False)
    mime: str | None = None
    size: int | None = None
    foreign: bool = False
    """Whether it comes from another workspace, in a channel that is shared with it."""


@dataclass(slots=True, eq=False)
class StoredFile:
    """One file on the server (https://docs.slack.dev/reference/objects/file-object)."""

    id: str
    owner: Profile
    name: str
    mime: str
    length: int
    """Bytes, as they were announced."""
    created: int
    data: bytes | None = field(default=None, repr=False)
    """None as long as nothing has been uploaded."""
    title: str = ""
    completed: bool = False
    foreign: bool = False
    shares: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    """The `ts` of the messages that have it, by `public` or `private` and the channel's id."""

    @property
    def path(self) -> str:
        """Where it is downloaded, below the server's address."""
        return f"/files-pri/{self.owner.team.id}-{self.id}/{self.name}"


class FileStore:
    """Every file that the server has."""

    def __init__(self) -> None:
        self._files: dict[str, StoredFile] = {}

    def announce(self, owner: Profile, name: str, length: int, now: float, mime: str | None = None) -> StoredFile:
        """Make room for a file."""
        number = f"F{len(self._files) + 1:08d}"
        guessed = mime or mimetypes.guess_type(name)[0] or "application/octet-stream"
        stored = StoredFile(number, owner, name, guessed, length, int(now), title=name)
        self._files[number] = stored
        return stored

    def get(self, file_id: str) -> StoredFile:
        """The file of an id. Raises `ApiError`."""
        try:
            return self._files[file_id]
        except KeyError:
            raise ApiError("file_not_found") from None

    def at(self, path: str) -> StoredFile | None:
        """The file that is downloaded from a path."""
        return next((each for each in self._files.values() if each.path == path and each.completed), None)


def told_object(stored: StoredFile, base_url: str) -> Json:
    """The `file` object of an event, which tells nothing of a file from another workspace
    (https://docs.slack.dev/apis/slack-connect/#check_file_info)."""
    if not stored.foreign:
        return file_object(stored, base_url)
    nothing = {"created": 0, "timestamp": 0, "user": ""}
    return {"id": stored.id, "mode": "file_access", "file_access": "check_file_info"} | nothing


def file_object(stored: StoredFile, base_url: str, *, shares: bool = False) -> Json:
    """The `file` object; only files.info tells where it is shared."""
    kind = PurePosixPath(stored.name).suffix.removeprefix(".") or "binary"
    address = f"{base_url}{stored.path}"
    answer: Json = {
        "id": stored.id,
        "created": stored.created,
        "timestamp": stored.created,
        "name": stored.name,
        "title": stored.title,
        "mimetype": stored.mime,
        "filetype": kind,
        "pretty_type": kind.upper(),
        "user": stored.owner.id,
        "user_team": stored.owner.team.id,
        "editable": False,
        "size": stored.length,
        "mode": "hosted",
        "is_external": False,
        "external_type": "",
        "is_public": any(reach == "public" for reach, _ in stored.shares),
        "url_private": address,
        "url_private_download": f"{address}?download=1",
        "permalink": address,
        "file_access": "visible",
    }
    if shares:
        places: Json = {}
        for (reach, channel), ts in stored.shares.items():
            places.setdefault(reach, {})[channel] = [{"ts": each} for each in ts]
        answer["shares"] = places
    return answer
