"""Request URLs: events, commands and interactions as signed HTTP requests.

https://docs.slack.dev/apis/events-api/using-http-request-urls and
https://docs.slack.dev/authentication/verifying-requests-from-slack
"""

import asyncio
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp

from adapters.testing.slack.accounts import App, Json

SUCCESS: Final = 2
"""The first digit of the status of what was taken."""
MAX_REDIRECTS: Final = 2
"""How many redirects are followed (https://docs.slack.dev/apis/events-api#retries)."""
FORM: Final = "application/x-www-form-urlencoded"


def signed_headers(secret: str, body: bytes, at: float, content_type: str = "application/json") -> dict[str, str]:
    """The headers of a request from Slack; `at` is seconds since 1970."""
    timestamp = str(int(at))
    digest = hmac.new(secret.encode(), b"v0:" + timestamp.encode() + b":" + body, hashlib.sha256).hexdigest()
    return {
        "Content-Type": content_type,
        "X-Slack-Request-Timestamp": timestamp,
        "X-Slack-Signature": f"v0={digest}",
        "User-Agent": "Slackbot 1.0 (+https://api.slack.com/robots)",
    }


@dataclass(frozen=True, slots=True)
class Posted:
    """What came of a request: why it failed, or the body that came back."""

    failure: str | None
    body: Any = None


class RequestUrls:
    """Where an app takes HTTP requests, and the posting to there. Requests go out at once, side by side."""

    NO_RETRY: Final = "no_retry"
    """The app has refused with `X-Slack-No-Retry: 1`."""
    TIMED_OUT: Final = "http_timeout"

    def __init__(self, app: App, clock: Callable[[], float]) -> None:
        self._app = app
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None
        self.events: str | None = None
        self.interactivity: str | None = None
        self.commands: str | None = None

    async def verify(self, url: str, timeout: float = 3.0) -> bool:
        """Ask an address to prove that it is the app's (https://docs.slack.dev/reference/events/url_verification)."""
        challenge = f"challenge-{self._app.id}"
        body = {"token": self._app.verification, "challenge": challenge, "type": "url_verification"}
        posted = await self._request(url, json.dumps(body).encode(), "application/json", {}, timeout)
        answer = posted.body.get("challenge") if isinstance(posted.body, dict) else posted.body
        return posted.failure is None and answer == challenge

    async def post(self, kind: str, payload: Json, retry: tuple[int, str] | None, timeout: float) -> Posted:
        """Post something once; `retry` is the number and the reason of one that is repeated."""
        url, body, content_type = self._encoded(kind, payload)
        if url is None:
            return Posted("connection_failed")
        extra = {} if retry is None else {"X-Slack-Retry-Num": str(retry[0]), "X-Slack-Retry-Reason": retry[1]}
        return await self._request(url, body, content_type, extra, timeout)

    async def stop(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _encoded(self, kind: str, payload: Json) -> tuple[str | None, bytes, str]:
        if kind == "events_api":
            return self.events, json.dumps(payload).encode(), "application/json"
        if kind == "slash_commands":
            return self.commands, urlencode(payload).encode(), FORM
        return self.interactivity, urlencode({"payload": json.dumps(payload)}).encode(), FORM

    async def _request(
        self, url: str, body: bytes, content_type: str, extra: Mapping[str, str], timeout: float
    ) -> Posted:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        headers = signed_headers(self._app.secret, body, self._clock(), content_type) | dict(extra)
        try:
            async with (
                asyncio.timeout(timeout),
                self._session.post(url, data=body, headers=headers, max_redirects=MAX_REDIRECTS) as answer,
            ):
                text = await answer.text()
        except TimeoutError:
            return Posted(self.TIMED_OUT)
        except aiohttp.TooManyRedirects:
            return Posted("too_many_redirects")
        except aiohttp.ClientError:
            return Posted("connection_failed")
        if answer.status // 100 != SUCCESS:
            return Posted(self.NO_RETRY if answer.headers.get("X-Slack-No-Retry") == "1" else "http_error")
        return Posted(None, _read(text))


def _read(text: str) -> Any:  # noqa: ANN401
    try:
        return json.loads(text)
    except ValueError:
        return text
