"""The requests that apps make: their parameters read, and a log of all of them with their times."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

from adapters.testing.slack.accounts import App, Bot, Json
from adapters.testing.slack.channel import Channel
from adapters.testing.slack.errors import ApiError, missing_argument

MAX_BODY: Final = 64 * 2**20
"""Bytes of one request to this server, file uploads included."""
BEARER: Final = "Bearer "


@dataclass(slots=True, eq=False)
class Request:
    """One request, and what became of it.

    Parameters come as text from a form or the query, or as JSON values (https://docs.slack.dev/apis/web-api); the
    readers below take both. They raise `ApiError` for a value of the wrong type.
    """

    method: str
    parameters: Mapping[str, Any]
    at: float
    """Seconds of the server's monotonic clock at which it was read."""
    token: str | None = field(default=None, repr=False)
    bot: Bot | None = None
    """Whose token it came with; None for that of an app, and for one that is not good."""
    app: App | None = None
    accepted: bool = False
    """Whether the server did what was asked for, whatever the app has heard of it."""
    status: int | None = None
    """The HTTP status of the answer; None while there is none, and for ever if none was given."""
    answer: Mapping[str, Any] | None = None

    @property
    def channel_id(self) -> str | None:
        """The conversation that it names."""
        value = self.parameters.get("channel") or self.parameters.get("channel_id")
        return None if value is None else str(value)

    @property
    def error(self) -> str | None:
        """The error that was answered."""
        return None if self.answer is None else self.answer.get("error")

    def names(self, channel: Channel) -> bool:
        """Whether it is about this conversation."""
        return self.channel_id == channel.id

    def text(self, name: str, default: str = "") -> str:
        """A text."""
        value = self.parameters.get(name)
        return default if value is None else str(value)

    def needed(self, name: str) -> str:
        """A text that has to be there."""
        value = self.text(name)
        if not value:
            raise missing_argument(name)
        return value

    def integer(self, name: str, default: int) -> int:
        """A whole number."""
        value = self.parameters.get(name)
        if value is None or value == "":
            return default
        try:
            return int(value)
        except (TypeError, ValueError):
            raise ApiError("invalid_arguments", messages=[f"[ERROR] must be a number: {name}"]) from None

    def flag(self, name: str) -> bool:
        """True or false; false where nothing is said."""
        return str(self.parameters.get(name, "")).lower() in {"true", "1"}

    def object(self, name: str, error: str = "invalid_arguments") -> Any:  # noqa: ANN401
        """A JSON value, also as text; None where nothing is said."""
        value = self.parameters.get(name)
        if not isinstance(value, str):
            return value
        if not value.strip():
            return None
        try:
            return json.loads(value)
        except ValueError:
            raise ApiError(error) from None

    def objects(self, name: str, error: str = "invalid_arguments") -> list[Json]:
        """A list of JSON objects; empty where nothing is said."""
        value = self.object(name, error) or []
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            raise ApiError(error)
        return value

    def words(self, name: str) -> list[str]:
        """A list, as JSON or with commas."""
        value = self.parameters.get(name)
        if isinstance(value, list):
            return [str(each) for each in value]
        return [each.strip() for each in str(value or "").split(",") if each.strip()]


class RequestLog:
    """Every request, in the order of arrival."""

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

    def of(self, *methods: str, channel: Channel | None = None, bot: Bot | None = None) -> tuple[Request, ...]:
        """Those of these methods (any, if none is named), about a conversation, by a bot."""
        return tuple(
            request
            for request in self._requests
            if (not methods or request.method in methods)
            and (channel is None or request.names(channel))
            and (bot is None or request.bot is bot)
        )


async def read_parameters(http: web.Request) -> tuple[dict[str, Any], str | None]:
    """Parameters from the query and the body, and the token. Raises `ApiError`."""
    parameters: dict[str, Any] = dict(http.query)
    if http.content_type == "application/json" and http.body_exists:
        try:
            body = await http.json()
        except ValueError:
            raise ApiError("invalid_json") from None
        if not isinstance(body, dict):
            raise ApiError("json_not_object")
        parameters |= body
    elif http.body_exists:
        parameters |= dict(await http.post())
    token = parameters.pop("token", None)
    header = http.headers.get("Authorization", "")
    return parameters, header.removeprefix(BEARER) if header.startswith(BEARER) else token
