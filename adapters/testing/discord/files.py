"""Files: attachments, and the addresses from which they are downloaded.

https://docs.discord.com/developers/reference#signed-attachment-cdn-urls
"""

import mimetypes
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from adapters.testing.discord.accounts import Json

MAX_FILE: Final = 10 * 1024 * 1024
"""The largest file that a bot uploads where the guild has no boosts, in bytes
(https://docs.discord.com/developers/reference#uploading-files)."""
MAX_REQUEST: Final = 25 * 1024 * 1024
"""The largest request that sends a message, in bytes
(https://docs.discord.com/developers/resources/message#create-message)."""
MAX_ATTACHMENTS: Final = 10
LINK_SECONDS: Final = 24 * 3600
"""How long a signed address is good for. How long the real ones are is not documented; a day is what is seen."""


@dataclass(frozen=True, slots=True)
class File:
    """A file that somebody sends. `size` makes it claim more bytes than `data` has."""

    name: str
    data: bytes = b"\x00"
    mime: str | None = None
    description: str | None = None
    size: int | None = None
    seconds: float | None = None
    """The length, for a voice message."""

    @property
    def content_type(self) -> str | None:
        """Its media type, as Discord guesses it from the name where none is given."""
        return self.mime or mimetypes.guess_type(self.name)[0]


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file in a message."""

    id: int
    channel_id: int
    file: File

    @property
    def path(self) -> str:
        """Its place on the CDN."""
        return f"/attachments/{self.channel_id}/{self.id}/{self.file.name}"


class Cdn:
    """Serves files. `base_url` is asked each time, because the port is known late; `clock` is in seconds since 1970."""

    def __init__(self, clock: Callable[[], float], base_url: Callable[[], str]) -> None:
        self._clock = clock
        self._base_url = base_url
        self._files: dict[str, Attachment] = {}

    def add(self, attachment: Attachment) -> None:
        """Keep a file."""
        self._files[attachment.path] = attachment

    def at(self, path: str, query: Mapping[str, str]) -> Attachment | None:
        """The file of a signed address; None if there is none, or the signature is missing, wrong or too old."""
        attachment = self._files.get(path)
        if attachment is None:
            return None
        try:
            expiry = int(query.get("ex", ""), 16)
        except ValueError:
            return None
        good = query.get("hm") == _signature(attachment, expiry) and self._clock() < expiry
        return attachment if good else None

    def object(self, attachment: Attachment) -> Json:
        """The attachment object (https://docs.discord.com/developers/resources/message#attachment-object)."""
        issued = int(self._clock())
        expiry = issued + LINK_SECONDS
        query = f"ex={expiry:x}&is={issued:x}&hm={_signature(attachment, expiry)}"
        url, file = f"{self._base_url()}{attachment.path}?{query}", attachment.file
        body: Json = {
            "id": str(attachment.id),
            "filename": file.name,
            "size": len(file.data) if file.size is None else file.size,
            "url": url,
            "proxy_url": url,
        }
        if file.content_type is not None:
            body["content_type"] = file.content_type
            if file.content_type.startswith("image/"):
                body |= {"width": 640, "height": 480}
        if file.description is not None:
            body["description"] = file.description
        if file.seconds is not None:
            body |= {"duration_secs": file.seconds, "waveform": b64encode(bytes(64)).decode()}
        return body


def _signature(attachment: Attachment, expiry: int) -> str:
    return f"{(attachment.id * 31 + expiry) % 2**64:016x}"
