"""The error of the Web API: its name, what comes with it, and the status it comes under."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any


class ApiError(Exception):
    """An answer with `ok: false` (https://docs.slack.dev/apis/web-api#responses).

    Slack answers 200 to a request that it refuses; only what is too much gets 429, and what is broken 5xx.
    """

    def __init__(
        self,
        error: str,
        *,
        status: int = HTTPStatus.OK,
        retry_after: int | None = None,
        messages: Sequence[str] = (),
        **fields: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(error)
        self.error = error
        self.status = int(status)
        self.retry_after = retry_after
        """Whole seconds to wait, in the header `Retry-After`."""
        self.messages = tuple(messages)
        """What is said of single arguments, in `response_metadata`."""
        self.fields = fields

    def body(self) -> dict[str, Any]:
        """The JSON object that the app gets."""
        answer: dict[str, Any] = {"ok": False, "error": self.error} | self.fields
        return answer | ({"response_metadata": {"messages": list(self.messages)}} if self.messages else {})


def missing_argument(name: str) -> ApiError:
    """An argument that has to be there is not."""
    return ApiError("invalid_arguments", messages=[f"[ERROR] missing required field: {name}"])


def missing_scope(needed: str, provided: str) -> ApiError:
    """The token has not been granted a scope (https://docs.slack.dev/reference/scopes)."""
    return ApiError("missing_scope", needed=needed, provided=provided)


def too_many_requests(error: str, retry_after: int) -> ApiError:
    """429: nothing was done (https://docs.slack.dev/apis/web-api/rate-limits)."""
    return ApiError(error, status=HTTPStatus.TOO_MANY_REQUESTS, retry_after=retry_after)
