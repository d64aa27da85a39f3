"""Owns the section `webhooks`: who may post what, how that is checked, and what the agent is asked then."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_core import PydanticCustomError

from config.fields import Float, Int, PathText, Section, suggestion
from config.platform import Platform, known_platforms

SignatureForm = Literal["plain", "github", "slack", "standard", "none"]

MIN_SECRET_CHARS: Final = 16
"""Characters of a secret: whoever sees one signed request can try shorter ones at leisure."""

MAX_FIELDS: Final = 50
"""Fields in one prompt."""

NO_TARGETS: Final = frozenset({Platform.LOCAL, Platform.API_SERVER, Platform.WEBHOOK})
"""Platforms without chats that an answer could go to; whoever writes in the terminal is the owner besides."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_PIECE: Final = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_HEADER: Final = re.compile(r"@[A-Za-z0-9-]{1,64}")
_PATH: Final = re.compile(r"[A-Za-z0-9_-]{1,128}(\.[A-Za-z0-9_-]{1,128}){0,15}")


@dataclass(frozen=True, slots=True)
class FieldRef:
    """A field of a request: the keys that lead to a value of its body, or the name of a header in small letters."""

    path: tuple[str, ...]
    header: str | None = None

    @classmethod
    def parse(cls, text: str) -> FieldRef:
        """Read `issue.title`, `commits.0.message` or `@X-GitHub-Event`. Raises ValueError."""
        if _HEADER.fullmatch(text):
            return cls((), text[1:].lower())
        if _PATH.fullmatch(text):
            return cls(tuple(text.split(".")))
        raise ValueError("write keys and numbers joined by dots, as in issue.title, or a @Header")


def parse_template(text: str) -> tuple[str | FieldRef, ...]:
    """A prompt as texts and fields, in order; `{{` and `}}` stand for braces. Raises ValueError."""
    pieces: list[str | FieldRef] = []
    end = 0
    for found in _PIECE.finditer(text):
        pieces.append(text[end : found.start()])
        end = found.end()
        if found[1] is not None:
            pieces.append(FieldRef.parse(found[1].strip()))
        elif len(found[0]) == 2:
            pieces.append(found[0][0])
        else:
            raise ValueError("write {field} for a field, {{ and }} for braces")
    pieces.append(text[end:])
    if sum(isinstance(piece, FieldRef) for piece in pieces) > MAX_FIELDS:
        raise ValueError(f"write at most {MAX_FIELDS} fields")
    return tuple(piece for piece in pieces if piece)


def _check_template(value: str) -> str:
    try:
        parse_template(value)
    except ValueError as error:
        raise PydanticCustomError("template", "is no template: {hint}", {"hint": str(error)}) from None
    return value


def _check_field(value: str) -> str:
    try:
        FieldRef.parse(value)
    except ValueError as error:
        raise PydanticCustomError("field", "is no field: {hint}", {"hint": str(error)}) from None
    return value


def _check_target(value: str) -> str:
    platform, _, place = value.partition(":")
    if not place.partition(":")[0]:
        hint = "write a platform and a chat's id, as in telegram:123456789"
        raise PydanticCustomError("target", "is no chat: {hint}", {"hint": hint})
    known = tuple(name for name in known_platforms() if name not in NO_TARGETS)
    if platform not in known:
        raise PydanticCustomError("target", "is no platform with chats: {hint}", {"hint": suggestion(platform, known)})
    return value


def _check_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        hint = "take small letters, digits, - and _, at most 64"
        raise PydanticCustomError("webhook_name", "is no name of a webhook: {hint}", {"hint": hint})
    return value


WebhookName = Annotated[str, AfterValidator(_check_name)]
FieldText = Annotated[str, AfterValidator(_check_field)]


class WebhookConfig(Section):
    """What is posted to /webhooks/<name>: who may, and what the agent is asked."""

    signature: SignatureForm = Field(
        default="plain",
        description="How requests are signed: X-Signature over X-Timestamp and the body (plain), as GitHub does"
        " (github), as Slack does (slack), as standardwebhooks.com says (standard), or not at all (none): then whoever"
        " reaches the listener is let in.",
    )
    secret: SecretStr | None = Field(
        default=None, description="What requests are signed with, at least 16 characters; needed but for none."
    )
    secret_file: PathText | None = Field(default=None, description="File that holds the secret.")
    tolerance_seconds: Float = Field(
        default=300.0,
        gt=0,
        description="How far the time of a signed request may be from ours, in seconds; GitHub's have none.",
    )
    prompt: Annotated[str, Field(min_length=1), AfterValidator(_check_template)] = Field(
        description="What the agent is asked. {issue.title} stands for a field of the body, {@X-GitHub-Event} for a"
        " header, {{ and }} for braces.",
    )
    target: Annotated[str, AfterValidator(_check_target)] | None = Field(
        default=None,
        description="Chat that the answer goes to, as in telegram:123456789 or slack:C0123:1700000000.000100 for a"
        " thread; not set: none, the answer stays in the webhook's session.",
    )
    agent: str | None = Field(
        default=None, min_length=1, description="Agent that answers; not set: the one that answers everybody."
    )
    role: Literal["guest", "user"] = Field(
        default="guest", description="Whose rights the agent has meanwhile, see access.roles."
    )
    filters: Mapping[FieldText, tuple[str, ...]] = Field(
        default_factory=dict,
        description="Values by field, all of which have to fit; what does not is acknowledged and left alone.",
    )
    delivery_id: FieldText | None = Field(
        default=None,
        description="Field that tells a request from others; the same id is taken once. Not set: what the form of"
        " signature has, and where that has none, @Idempotency-Key.",
    )
    max_body_kb: Int = Field(default=1_024, ge=1, le=8_192, description="Kilobytes that a body may have.")
    max_value_chars: Int = Field(
        default=2_000, ge=10, le=20_000, description="Characters of one field that stand in the prompt."
    )
    per_minute: Int = Field(
        default=10,
        ge=1,
        description="Requests that are taken in a minute; limits.messages_per_minute holds too.",
    )

    @model_validator(mode="after")
    def _is_signed(self) -> Self:
        """A secret in a file that cannot be read is reported for that file."""
        problem: tuple[str, str] | None = None
        if self.signature == "none":
            if self.secret is not None or self.secret_file is not None:
                problem = "has a secret, and says signature: none", "leave out one of them"
        elif self.secret is None:
            if self.secret_file is None:
                hint = "write secret or secret_file, or signature: none to let in whoever reaches the listener"
                problem = "needs a secret", hint
        elif len(self.secret.get_secret_value()) < MIN_SECRET_CHARS:
            hint = f"write at least {MIN_SECRET_CHARS} characters, as `openssl rand -hex 32` makes them"
            problem = "the secret is too short", hint
        if problem is not None:
            words, hint = problem
            raise PydanticCustomError("webhook_secret", "{words}: {hint}", {"words": words, "hint": hint})
        return self
