"""How requests to webhooks are signed, and whether one is: HMAC-SHA256 over the body, compared in constant time."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from config.webhooks import SignatureForm

MAX_TIME_DIGITS: Final = 12
"""Digits of seconds since 1970; what is longer is no time."""


class SignatureError(Exception):
    """A request is not signed as it should be. `code` tells programs why, `str()` people."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(words)
        self.code = code


@dataclass(frozen=True, slots=True)
class Form:
    """One way of signing. Names of headers are in small letters.

    `content` makes what is signed of the id, the time and the body. `signed_id` is the header with the id where that is
    signed too, `delivery_id` the field that tells a request from others where the configuration does not say.
    """

    signature: str
    delivery_id: str
    content: Callable[[bytes, bytes, bytes], bytes]
    prefix: str = ""
    time: str | None = None
    signed_id: str | None = None
    in_base64: bool = False


FORMS: Final[Mapping[SignatureForm, Form]] = {
    "plain": Form("x-signature", "@Idempotency-Key", lambda _id, time, body: time + b"." + body, time="x-timestamp"),
    # https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
    "github": Form("x-hub-signature-256", "@X-GitHub-Delivery", lambda _id, _time, body: body, prefix="sha256="),
    # https://docs.slack.dev/authentication/verifying-requests-from-slack
    "slack": Form(
        "x-slack-signature",
        "event_id",
        lambda _id, time, body: b"v0:" + time + b":" + body,
        prefix="v0=",
        time="x-slack-request-timestamp",
    ),
    # https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    "standard": Form(
        "webhook-signature",
        "@webhook-id",
        lambda id_, time, body: id_ + b"." + time + b"." + body,
        prefix="v1,",
        time="webhook-timestamp",
        signed_id="webhook-id",
        in_base64=True,
    ),
}
"""Every way of signing but none."""

UNSIGNED_DELIVERY_ID: Final = "@Idempotency-Key"


def check_signature(
    form: SignatureForm, secret: str, headers: Mapping[str, str], body: bytes, *, now: float, tolerance: float
) -> str:
    """Whether a request is signed, and lately; what it is signed with, in hex, by our own reckoning.

    Names of headers are in small letters. `now` is in seconds since 1970, `tolerance` in seconds. Raises
    `SignatureError`.
    """
    way = FORMS[form]
    given = headers.get(way.signature, "").strip()
    time = headers.get(way.time, "").strip() if way.time else ""
    signed_id = headers.get(way.signed_id, "") if way.signed_id else ""
    if not given or (way.time and not time) or (way.signed_id and not signed_id):
        names = ", ".join(name for name in (way.signature, way.time, way.signed_id) if name)
        raise SignatureError("signature_missing", f"the request is not signed: it takes {names}")
    content = way.content(_bytes(signed_id), _bytes(time), body)
    digest = hmac.digest(_key(form, secret), content, hashlib.sha256)
    expected = base64.b64encode(digest) if way.in_base64 else digest.hex().encode()
    if not _is_one_of(expected, given, way):
        raise SignatureError("signature_wrong", "the signature is wrong: look at the secret, and at what is signed")
    if way.time and not _is_near(time, now, tolerance):
        words = f"the time of the request is not within {tolerance:g} seconds of ours: set the sender's clock"
        raise SignatureError("timestamp_too_far", words)
    return digest.hex()


def _is_one_of(expected: bytes, given: str, way: Form) -> bool:
    """Whether a header has the signature. Several stand in one where a sender changes its secret."""
    if not way.in_base64:
        text = given.removeprefix(way.prefix).lower() if given.startswith(way.prefix) else ""
        return hmac.compare_digest(expected, _bytes(text))
    right = False
    for each in given.split():
        if each.startswith(way.prefix):
            right |= hmac.compare_digest(expected, _bytes(each.removeprefix(way.prefix)))
    return right


def _is_near(time: str, now: float, tolerance: float) -> bool:
    if not (time.isascii() and time.isdigit() and len(time) <= MAX_TIME_DIGITS):
        return False
    return abs(now - int(time)) <= tolerance


def _key(form: SignatureForm, secret: str) -> bytes:
    if form == "standard" and secret.startswith("whsec_"):
        try:
            return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except (binascii.Error, ValueError):
            return secret.encode()
    return secret.encode()


def _bytes(text: str) -> bytes:
    """What stood in a header, as it came."""
    return text.encode("utf-8", "surrogateescape")
