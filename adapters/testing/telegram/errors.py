"""The error of the Bot API: its code, its description, and what a bot may do about it."""

from collections.abc import Mapping
from http import HTTPStatus

NOT_MODIFIED = (
    "message is not modified: specified new message content and reply markup are exactly the same as a current "
    "content and reply markup of the message"
)


class ApiError(Exception):
    """An answer with `ok: false` (https://core.telegram.org/bots/api#making-requests)."""

    def __init__(self, code: int, description: str, parameters: Mapping[str, int] | None = None) -> None:
        super().__init__(description)
        self.code = int(code)
        self.description = description
        self.parameters = dict(parameters or {})
        """The fields of `ResponseParameters`: `retry_after` in seconds, `migrate_to_chat_id`."""

    def body(self) -> dict[str, object]:
        """The JSON object that the bot gets."""
        answer: dict[str, object] = {"ok": False, "error_code": self.code, "description": self.description}
        return answer | ({"parameters": self.parameters} if self.parameters else {})


def bad_request(reason: str, **parameters: int) -> ApiError:
    """400: the request cannot be fulfilled as it is."""
    return ApiError(HTTPStatus.BAD_REQUEST, f"Bad Request: {reason}", parameters)


def forbidden(reason: str) -> ApiError:
    """403: the bot may not do this here."""
    return ApiError(HTTPStatus.FORBIDDEN, f"Forbidden: {reason}")


def conflict(reason: str) -> ApiError:
    """409: somebody else takes this bot's updates."""
    return ApiError(HTTPStatus.CONFLICT, f"Conflict: {reason}")


def too_many_requests(retry_after: int) -> ApiError:
    """429: nothing was done; `retry_after` whole seconds have to pass before the next try."""
    return ApiError(
        HTTPStatus.TOO_MANY_REQUESTS, f"Too Many Requests: retry after {retry_after}", {"retry_after": retry_after}
    )
