"""Webhooks: what other services post, checked, made a message of, and taken in like any other."""

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from config import LiveConfig, Platform, PlatformConfig
from config.webhooks import FieldRef, WebhookConfig
from gateway.access import Gate, People, Role
from gateway.access.people import Member
from gateway.api.calls import Calls, Known
from gateway.api.errors import ApiError
from gateway.api.hook_prompt import Posted, fits, render
from gateway.api.json_body import parse_object
from gateway.api.service import refusal
from gateway.api.signatures import FORMS, UNSIGNED_DELIVERY_ID, SignatureError, check_signature
from gateway.limits import Buckets
from gateway.ports import (
    Adapter,
    AdapterHost,
    AdapterState,
    Brought,
    Capabilities,
    Clock,
    Delivery,
    Found,
    InboundMessage,
    InboundState,
    NotStoredError,
    SearchOutcome,
)
from gateway.source import WEBHOOK_PERSON, SessionSource
from gateway.storage.errors import StorageError

log = logging.getLogger(__name__)

LENDER: Final = "webhooks"

RETRY: Final[Mapping[str, str]] = {"Retry-After": "5"}
LATER: Final[Mapping[str, str]] = {"Retry-After": "30"}
CHALLENGE: Final[Mapping[str, str]] = {"WWW-Authenticate": 'Signature realm="hermes-gateway webhooks"'}
"""What an answer with 401 has to have (https://www.rfc-editor.org/rfc/rfc9110#section-15.5.2)."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request. `challenge` is what Slack wants to hear before it posts anything."""

    status: Literal["accepted", "duplicate", "ignored"]
    id: str | None = None
    challenge: str | None = None


class WebhookPlatform(Adapter):
    """The platform of webhooks without a target. What is said there is in the session, and goes nowhere else."""

    capabilities: Capabilities = Capabilities(find=True, told_when_complete=False)

    def __init__(self, config: PlatformConfig, host: AdapterHost) -> None:
        del config
        self._host = host

    async def run(self) -> None:
        """There is nothing to connect to: requests come by themselves."""
        self._host.set_state(AdapterState.CONNECTED)
        await asyncio.Event().wait()

    async def send(self, delivery: Delivery) -> str:
        """Nobody waits for it."""
        return str(delivery.id)

    async def find(self, delivery: Delivery) -> Found | SearchOutcome:  # noqa: ARG002 - as in the port
        """Sending it again does no harm."""
        return SearchOutcome.ABSENT


class Webhooks:
    """Takes what is posted. Each webhook is somebody who is let in where its answers go, and nowhere else."""

    def __init__(
        self,
        calls: Calls,
        config: LiveConfig,
        clock: Clock,
        people: People,
        gate: Gate,
        *,
        random_hex: Callable[[int], str] = secrets.token_hex,
    ) -> None:
        self.calls = calls
        self._config = config
        self._clock = clock
        self._people = people
        self._random_hex = random_hex
        self._buckets = Buckets()
        self._host: AdapterHost | None = None
        gate.listen(self.let_in)
        self.let_in()

    def platform(self, config: PlatformConfig, host: AdapterHost) -> WebhookPlatform:
        """The adapter of the platform that this is."""
        self._host = host
        return WebhookPlatform(config, host)

    def let_in(self) -> None:
        """Have the webhooks of the configuration let in, each where its answers go."""
        hooks = self._config.current.webhooks.items()
        members = {
            Member(str(source.platform), source.user_id or ""): Role.named(hook.role)
            for source, hook in ((source_of(name, hook), hook) for name, hook in hooks)
        }
        self._people.lend(members, by=LENDER)

    def find(self, name: str) -> WebhookConfig | None:
        """A webhook by its name."""
        return self._config.current.webhooks.get(name)

    async def take(self, name: str, hook: WebhookConfig, headers: Mapping[str, str], body: bytes) -> Outcome:
        """Check a request, and have its message taken in; it is durable then. Names of headers are in small letters.

        Raises `ApiError`.
        """
        mark = self._check(hook, headers, body)
        posted = Posted(headers, parse_object(body))
        if hook.signature == "slack" and posted.body.get("type") == "url_verification":
            return Outcome("ignored", challenge=str(posted.body.get("challenge", ""))[:1_000])
        if not fits(hook, posted):
            return Outcome("ignored")
        delivery = self._delivery(hook, posted, mark)
        try:
            return await self._take(name, hook, posted, mark or delivery, delivery)
        except (NotStoredError, StorageError) as error:
            raise ApiError(503, str(error), code="not_stored", headers=RETRY) from error

    def _check(self, hook: WebhookConfig, headers: Mapping[str, str], body: bytes) -> str | None:
        """What a request is signed with; None where none is. Raises `ApiError`."""
        if hook.signature == "none":
            return None
        if hook.secret is None:
            raise ApiError(503, "the webhook has no secret: set it in the configuration", code="no_secret")
        now, secret = self._clock.now().timestamp(), hook.secret.get_secret_value()
        try:
            return check_signature(hook.signature, secret, headers, body, now=now, tolerance=hook.tolerance_seconds)
        except SignatureError as error:
            raise ApiError(401, str(error), code=error.code, headers=CHALLENGE) from error

    def _delivery(self, hook: WebhookConfig, posted: Posted, mark: str | None) -> str:
        """What stands for a request: a hash of its id; without one, what it is signed with."""
        form = None if hook.signature == "none" else FORMS[hook.signature]
        field = hook.delivery_id or (UNSIGNED_DELIVERY_ID if form is None else form.delivery_id)
        value = posted.find(FieldRef.parse(field))
        if value is None or value == "":
            return mark or self._random_hex(32)
        return hashlib.sha256(str(value).encode("utf-8", "surrogatepass")).hexdigest()

    async def _take(self, name: str, hook: WebhookConfig, posted: Posted, mark: str, delivery: str) -> Outcome:
        host, source = self._host, source_of(name, hook)
        if host is None:
            raise ApiError(503, "the gateway is starting: try again", code="starting", headers=RETRY)
        if not self._config.current.is_on(source.platform):
            words = f"platforms.{source.platform}, where the answer is to go, is switched off"
            raise ApiError(503, words, code="target_off", headers=LATER)
        message_id = f"webhook:{name}:{delivery[:32]}"
        # What is not taken leaves nothing on the disk: a flood would fill it.
        free = self._is_free(name, hook)
        known = await self.calls.note(name, mark, delivery, keep=free)
        if known is Known.REPLAYED:
            log.warning("webhook %s: a request came again under another id, and was not taken", name)
            raise ApiError(409, "this request was made before, under another id", code="replayed")
        if known is Known.TAKEN:
            return Outcome("duplicate", message_id)
        self._bound(name, hook, free=free)
        brought = None if hook.agent is None else Brought(agent=hook.agent)
        text = render(name, hook, posted)
        accepted = await host.accept(InboundMessage(source, message_id, text, brought=brought))
        if accepted.state in (InboundState.REFUSED, InboundState.IGNORED):
            refused = refusal(accepted.state, accepted.reason)
            raise refused or ApiError(403, "the message was not taken", code="not_let_in")
        await self._note_taken(name, mark)
        return Outcome("duplicate" if accepted.duplicate else "accepted", message_id)

    async def _note_taken(self, name: str, mark: str) -> None:
        """The message is in the inbox, which knows its id for a while: a request is not refused for this."""
        try:
            await self.calls.take(name, mark)
        except (NotStoredError, StorageError) as error:
            log.warning("webhook %s: that a request was taken cannot be noted: %s", name, error)

    def _bound(self, name: str, hook: WebhookConfig, *, free: bool) -> None:
        """Count a request; `free`: there was a place for it when it was noted. Raises `ApiError`."""
        most = self._most(hook)
        if not (free and self._is_free(name, hook)):
            words = f"more than {most} requests in a minute (webhooks.{name}.per_minute): try again later"
            raise ApiError(429, words, code="rate_limit_exceeded", headers=LATER)
        self._buckets.take(name, most, self._clock.monotonic())

    def _is_free(self, name: str, hook: WebhookConfig) -> bool:
        return self._buckets.has(name, self._most(hook), self._clock.monotonic())

    def _most(self, hook: WebhookConfig) -> int:
        """Requests in a minute. The limits on messages hold as well: what goes beyond them would not be taken again
        under its id, so it does not come to them."""
        return min(hook.per_minute, self._config.current.limits.messages_per_minute or hook.per_minute)


def source_of(name: str, hook: WebhookConfig) -> SessionSource:
    """Where a webhook's messages come from: it writes in the chat that its answers go to, in a session of its own.

    That is not the conversation that people have there, whether or not they share one: what was said in it is nothing
    that a stranger's text could have the agent repeat.
    """
    platform, _, place = (hook.target or f"{Platform.WEBHOOK}:{name}").partition(":")
    chat, _, thread = place.partition(":")
    return SessionSource(
        Platform(platform),
        chat_id=chat,
        chat_name=name if hook.target is None else None,
        chat_type="channel",
        user_id=f"{WEBHOOK_PERSON}{name}",
        user_name=f"webhook {name}",
        thread_id=thread or None,
    )
