"""The requests that bots make: their bodies read, and a log of all of them with their times."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import BodyPartReader, web

from adapters.testing.discord.accounts import Bot, Json
from adapters.testing.discord.channel import Channel
from adapters.testing.discord.errors import ApiError, bad_request, invalid_form, too_large
from adapters.testing.discord.files import MAX_REQUEST


@dataclass(frozen=True, slots=True)
class Upload:
    """A file in a multipart request."""

    name: str
    mime: str | None
    data: bytes = field(repr=False)


@dataclass(slots=True, eq=False)
class Request:
    """One request, and what became of it. The readers below raise `ApiError` for a value of the wrong type."""

    name: str
    """The name of its route, as in `create_message`."""
    method: str
    path: str
    bot: Bot | None
    """Whose token it had; None for what needs none."""
    ids: Mapping[str, str]
    """What stands in the path, by name, as in `channel_id`."""
    query: Mapping[str, str]
    body: Any
    uploads: Mapping[str, Upload]
    """The files, by the name of their part."""
    at: float
    """Seconds of the server's monotonic clock at which it was read."""
    accepted: bool = False
    """Whether the server did what was asked for, whatever the bot has heard of it."""
    status: int | None = None
    """The HTTP status of the answer; None while there is none, and for ever if none was given."""
    answer: Any = None

    def names(self, channel: Channel) -> bool:
        """Whether it is about this channel."""
        return self.ids.get("channel_id") == str(channel.id)

    def id(self, name: str) -> int:
        """An id from the path."""
        return snowflake(name, self.ids[name])

    def object(self) -> Json:
        """The body as a JSON object."""
        if self.body is None:
            return {}
        if not isinstance(self.body, dict):
            raise invalid_form("_", "DICT_TYPE_CONVERT", "Only dictionaries may be used in a DictType")
        return self.body

    def objects(self) -> list[Json]:
        """The body as a JSON array of objects."""
        if not isinstance(self.body, list) or not all(isinstance(each, dict) for each in self.body):
            raise invalid_form("_", "LIST_TYPE_CONVERT", "Only iterables may be used in a ListType")
        return self.body

    def limit(self, default: int, maximum: int) -> int:
        """The query's `limit`."""
        value = self.query.get("limit", str(default))
        if not value.isdecimal():
            raise invalid_form("limit", "NUMBER_TYPE_COERCE", f'Value "{value}" is not int.')
        if int(value) < 1:
            raise invalid_form("limit", "NUMBER_TYPE_MIN", "int value should be greater than or equal to 1.")
        if int(value) > maximum:
            raise invalid_form("limit", "NUMBER_TYPE_MAX", f"int value should be less than or equal to {maximum}.")
        return int(value)

    def flag(self, name: str) -> bool:
        """A boolean of the query."""
        return self.query.get(name, "").lower() in {"true", "1"}


def snowflake(field_name: str, value: object) -> int:
    """An id; also of the forms that the API takes. Raises `ApiError`."""
    text = str(value)
    if not text.isdecimal():
        raise invalid_form(field_name, "NUMBER_TYPE_COERCE", f'Value "{text}" is not snowflake.')
    return int(text)


class RequestLog:
    """Every request of every bot, in the order of arrival."""

    def __init__(self) -> None:
        self._requests: list[Request] = []

    def __iter__(self) -> Iterator[Request]:
        return iter(self._requests)

    def __len__(self) -> int:
        return len(self._requests)

    def clear(self) -> None:
        """Forget them: for who listens for hours."""
        self._requests.clear()

    def add(self, request: Request) -> None:
        """Log a request."""
        self._requests.append(request)

    def named(self, *names: str, channel: Channel | None = None) -> list[Request]:
        """The requests of these routes, about a channel if one is named."""
        return [each for each in self if each.name in names and (channel is None or each.names(channel))]


async def read_body(http: web.Request) -> tuple[Any, dict[str, Upload]]:
    """The JSON body and the files. Raises `ApiError`
    (https://docs.discord.com/developers/reference#uploading-files)."""
    if http.content_length is not None and http.content_length > MAX_REQUEST:
        raise too_large()
    if http.content_type.startswith("multipart/"):
        return await _multipart(http)
    raw = await http.read()
    return (_parsed(raw) if raw else None), {}


def _parsed(raw: bytes) -> Any:  # noqa: ANN401
    try:
        return json.loads(raw)
    except ValueError:
        raise bad_request(50109, "The request body contains invalid JSON.") from None


async def _multipart(http: web.Request) -> tuple[Any, dict[str, Upload]]:
    body: Any = None
    uploads: dict[str, Upload] = {}
    size = 0
    async for part in await http.multipart():
        if not isinstance(part, BodyPartReader) or part.name is None:
            raise ApiError(400, 50109, "The request body contains invalid JSON.")
        data = bytes(await part.read(decode=False))
        size += len(data)
        if size > MAX_REQUEST:
            raise too_large()
        if part.name == "payload_json":
            body = _parsed(data)
        elif part.filename is not None:
            uploads[part.name] = Upload(part.filename, part.headers.get("Content-Type"), data)
    return body, uploads
