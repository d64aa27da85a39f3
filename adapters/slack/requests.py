"""Requests from Slack: events, commands and presses that are posted to the gateway's HTTP listener."""

import json
import logging
from typing import Any, Final
from urllib.parse import parse_qs

from slack_sdk.signature import Clock as SignatureClock
from slack_sdk.signature import SignatureVerifier

from adapters.base import AdapterHost, HttpRequest, HttpResponse, NotStoredError
from adapters.slack.constants import COMMAND, EVENT, MAX_REQUEST_BYTES, PRESS
from adapters.slack.intake import Intake

log = logging.getLogger(__name__)

FORM: Final = "application/x-www-form-urlencoded"


class _HostClock(SignatureClock):
    """The injected clock, as the library wants it."""

    def __init__(self, host: AdapterHost) -> None:
        self._host = host

    def now(self) -> float:
        """Seconds since 1970."""
        return self._host.clock.now().timestamp()


class Requests:
    """Takes what Slack posts, if it is Slack that posts it; it hears that something arrived once it is stored here.

    Events, interactivity and commands may all have the same address, or any below `/platforms/slack/`.
    """

    def __init__(self, signing_secret: str, host: AdapterHost, intake: Intake) -> None:
        self._verifier = SignatureVerifier(signing_secret, _HostClock(host))
        self._intake = intake

    async def handle(self, request: HttpRequest) -> HttpResponse:
        """Store what was posted, then say so. 503 lets Slack post an event again."""
        if request.method != "POST":
            return HttpResponse(405, "Slack posts")
        if len(request.body) > MAX_REQUEST_BYTES:
            return HttpResponse(413, "nothing that Slack posts is as large as this")
        if not self._is_signed(request):
            return HttpResponse(401, "the signature is missing, wrong, or older than five minutes")
        try:
            kind, payload = _read(request)
        except (ValueError, KeyError, TypeError):
            return HttpResponse(400, "the body is none of Slack's")
        if payload.get("type") == "url_verification":
            return HttpResponse(200, str(payload.get("challenge", "")))
        try:
            await self._intake.take(kind, payload)
        except NotStoredError as error:
            log.warning("an event from Slack is left with Slack, which posts it again: %s", error)
            return HttpResponse(503, "it could not be stored")
        return HttpResponse(200)

    def _is_signed(self, request: HttpRequest) -> bool:
        """https://docs.slack.dev/authentication/verifying-requests-from-slack; compared in constant time."""
        try:
            return bool(self._verifier.is_valid_request(request.body, request.headers))
        except (ValueError, TypeError, OverflowError):
            return False


def _read(request: HttpRequest) -> tuple[str, dict[str, Any]]:
    """What was posted, and of which kind. Raises ValueError, KeyError and TypeError."""
    if not request.headers.get("content-type", "").startswith(FORM):
        payload = json.loads(request.body)
        if not isinstance(payload, dict):
            raise TypeError
        return EVENT, payload
    fields = parse_qs(request.body.decode(), keep_blank_values=True)
    if "payload" in fields:
        payload = json.loads(fields["payload"][0])
        if not isinstance(payload, dict):
            raise TypeError
        return PRESS, payload
    return COMMAND, {name: values[0] for name, values in fields.items()}
