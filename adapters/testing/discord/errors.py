"""The errors of the REST API: HTTP status, JSON code and message.

Codes and messages: https://docs.discord.com/developers/topics/opcodes-and-status-codes#json
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any


class ApiError(Exception):
    """An answer that is an error. `headers` go out with it; `code` is None where the answer has none."""

    def __init__(
        self,
        status: int,
        code: int | None,
        message: str,
        *,
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = int(status)
        self.code = code
        self.message = message
        self.extra = dict(extra or {})
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The JSON object that the client gets."""
        code = {} if self.code is None else {"code": self.code}
        return {"message": self.message} | code | self.extra


UNKNOWN = {
    "Application": 10002, "Channel": 10003, "Guild": 10004, "Member": 10007, "Message": 10008, "User": 10013,
    "Emoji": 10014, "Webhook": 10015, "interaction": 10062, "application command": 10063,
}  # fmt: skip


def unknown(what: str) -> ApiError:
    """404: there is no such thing, as far as this bot can see."""
    status = HTTPStatus.BAD_REQUEST if what == "Emoji" else HTTPStatus.NOT_FOUND
    return ApiError(status, UNKNOWN[what], f"Unknown {what}")


def unauthorized() -> ApiError:
    """401: the token is wrong or missing."""
    return ApiError(HTTPStatus.UNAUTHORIZED, 0, "401: Unauthorized")


def missing_access() -> ApiError:
    """403: the bot does not see the channel, or lacks a privileged intent in its settings."""
    return ApiError(HTTPStatus.FORBIDDEN, 50001, "Missing Access")


def missing_permissions() -> ApiError:
    """403: the bot sees the channel, and may not do this in it."""
    return ApiError(HTTPStatus.FORBIDDEN, 50013, "Missing Permissions")


def forbidden(code: int, message: str) -> ApiError:
    """403 for another reason."""
    return ApiError(HTTPStatus.FORBIDDEN, code, message)


def bad_request(code: int, message: str) -> ApiError:
    """400 with a code of its own."""
    return ApiError(HTTPStatus.BAD_REQUEST, code, message)


def too_large() -> ApiError:
    """413: a file or the whole request has too many bytes."""
    return ApiError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, 40005, "Request entity too large")


def invalid_form(field: str, code: str, message: str) -> ApiError:
    """400 with 50035: a field is wrong; `field` is its path, with dots
    (https://docs.discord.com/developers/reference#error-messages)."""
    errors: dict[str, Any] = {"_errors": [{"code": code, "message": message}]}
    for name in reversed(field.split(".")):
        errors = {name: errors}
    return ApiError(HTTPStatus.BAD_REQUEST, 50035, "Invalid Form Body", extra={"errors": errors})


def too_long(field: str, limit: int) -> ApiError:
    """A text has too many characters."""
    return invalid_form(field, "BASE_TYPE_MAX_LENGTH", f"Must be {limit} or fewer in length.")
