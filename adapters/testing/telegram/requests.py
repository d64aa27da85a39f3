"""The requests that bots make: their parameters read, and a log of all of them with their times."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import BodyPartReader, web
from multidict import CIMultiDictProxy

from adapters.testing.telegram.accounts import Bot, Json
from adapters.testing.telegram.chat import Chat
from adapters.testing.telegram.errors import ApiError, bad_request
from adapters.testing.telegram.files import MAX_UPLOAD

MAX_BODY = MAX_UPLOAD + 2**20
"""Bytes of one request: the largest file, and something around it."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A file in a multipart request."""

    name: str
    mime: str | None
    data: bytes = field(repr=False)


@dataclass(slots=True, eq=False)
class Request:
    """One request, and what became of it.

    Parameters come as text, or as JSON values from a JSON body; the readers below take both
    (https://core.telegram.org/bots/api#making-requests). They raise `ApiError` for a value of the wrong type.
    """

    method: str
    bot: Bot
    parameters: Mapping[str, Any]
    uploads: Mapping[str, Upload]
    at: float
    """Seconds of the server's monotonic clock at which it was read."""
    accepted: bool = False
    """Whether the server did what was asked for, whatever the bot has heard of it."""
    status: int | None = None
    """The HTTP status of the answer; None while there is none, and for ever if none was given."""
    answer: Mapping[str, Any] | None = None

    @property
    def chat_id(self) -> str | None:
        """The chat that it names, as text."""
        value = self.parameters.get("chat_id")
        return None if value is None else str(value)

    def names(self, chat: Chat) -> bool:
        """Whether it is about this chat."""
        return self.chat_id == str(chat.id) or (chat.username is not None and self.chat_id == f"@{chat.username}")

    def text(self, name: str, default: str = "") -> str:
        """A text."""
        value = self.parameters.get(name)
        return default if value is None else str(value)

    def integer(self, name: str, default: int | None = None) -> int | None:
        """A whole number."""
        value = self.parameters.get(name)
        if value is None or value == "":
            return default
        try:
            return int(value)
        except (TypeError, ValueError):
            raise bad_request(f"can't parse {name}: expected an Integer") from None

    def number(self, name: str) -> float:
        """A number that has to be there."""
        try:
            return float(self.parameters[name])
        except (KeyError, TypeError, ValueError):
            raise bad_request(f"wrong {name} specified") from None

    def flag(self, name: str) -> bool:
        """True or false; false where nothing is said."""
        return str(self.parameters.get(name, "")).lower() in {"true", "1", "yes", "t", "y"}

    def objects(self, name: str) -> list[Json]:
        """A list of JSON objects; empty where nothing is said."""
        value = self.object(name) or []
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            raise bad_request(f"can't parse {name}: expected an Array of Objects")
        return value

    def object(self, name: str) -> Any:  # noqa: ANN401
        """A JSON value; None where nothing is said."""
        value = self.parameters.get(name)
        if not isinstance(value, str):
            return value
        if not value.strip():
            return None
        try:
            return json.loads(value)
        except ValueError:
            raise bad_request(f"can't parse {name} JSON object") from None


class RequestLog:
    """Every request of every bot, in the order of arrival."""

    def __init__(self) -> None:
        self._requests: list[Request] = []

    def __iter__(self) -> Iterator[Request]:
        return iter(tuple(self._requests))

    def __len__(self) -> int:
        return len(self._requests)

    def clear(self) -> None:
        """Forget them: for who listens for hours."""
        self._requests.clear()

    def add(self, request: Request) -> None:
        """Note a request."""
        self._requests.append(request)

    def of(self, *methods: str, chat: Chat | None = None, bot: Bot | None = None) -> tuple[Request, ...]:
        """Those of these methods (any, if none is named), about a chat, by a bot."""
        names = {name.lower() for name in methods}
        return tuple(
            request
            for request in self._requests
            if (not names or request.method.lower() in names)
            and (chat is None or request.names(chat))
            and (bot is None or request.bot.id == bot.id)
        )


async def read_parameters(request: web.Request) -> tuple[dict[str, Any], dict[str, Upload]]:
    """Parameters and files, from the query and any of the four kinds of body. Raises `ApiError`."""
    parameters: dict[str, Any] = dict(request.query)
    if request.content_length is not None and request.content_length > MAX_BODY:
        raise ApiError(413, "Request Entity Too Large")
    if request.content_type == "application/json" and request.body_exists:
        try:
            body = await request.json()
        except ValueError:
            raise bad_request("can't parse JSON object") from None
        if not isinstance(body, dict):
            raise bad_request("expected an Object")
        return parameters | body, {}
    if request.content_type == "multipart/form-data":
        fields, uploads = await _multipart(request)
        return parameters | fields, uploads
    form: CIMultiDictProxy[Any] | Mapping[str, Any] = await request.post()
    return parameters | dict(form), {}


async def _multipart(request: web.Request) -> tuple[dict[str, str], dict[str, Upload]]:
    fields: dict[str, str] = {}
    uploads: dict[str, Upload] = {}
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader) or part.name is None:
            raise bad_request("unexpected part of a multipart body")
        data = bytes(await part.read(decode=False))
        if part.filename is None:
            fields[part.name] = data.decode("utf-8")
        else:
            uploads[part.name] = Upload(part.filename, part.headers.get("Content-Type"), data)
    return fields, uploads
