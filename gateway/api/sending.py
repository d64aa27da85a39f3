"""Messages that programs and scripts send to people: each put in the outbox, once."""

import hashlib
import logging
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from config import LiveConfig, Platform
from gateway.api.errors import ApiError
from gateway.control import answer
from gateway.delivery import NewDelivery, add_delivery
from gateway.homes import Homes, places_to_send
from gateway.limits import Buckets
from gateway.outside import one_line
from gateway.ports import Clock, FrameConnection, NotStoredError, Target
from gateway.storage import api_queries
from gateway.storage.codec import clean_text
from gateway.storage.database import Database
from gateway.storage.errors import StorageError

log = logging.getLogger(__name__)

SERVICE: Final = "send"
"""The name of the service on the gateway's socket."""

MAX_CHARS: Final = 100_000
"""Characters of one message: what is longer is for a file."""

MAX_TARGET_CHARS: Final = 200
MAX_KEY_CHARS: Final = 255

PER_MINUTE: Final = 120
"""Messages that the holder of one key may send in a minute. Platforms take fewer, and what is sent waits for them."""

SOCKET: Final = "the machine's owner"
"""Who sends over the socket: whoever reaches that holds the machine. No key has this name."""

RETRY: Final[Mapping[str, str]] = {"Retry-After": "2"}


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that is on its way, on disk. `duplicate`: it was so before."""

    target: Target
    duplicate: bool

    def to_dict(self) -> dict[str, str]:
        """Plain data for programs."""
        place = ":".join(part for part in (self.target.chat_id, self.target.thread_id) if part)
        return {"status": "duplicate" if self.duplicate else "accepted", "target": f"{self.target.platform}:{place}"}


class Sender:
    """Puts messages in the outbox. `tell` is told where there is something to deliver, `redact` takes secrets out."""

    def __init__(
        self,
        database: Database,
        config: LiveConfig,
        clock: Clock,
        homes: Homes,
        tell: Callable[[Target], object],
        redact: Callable[[str], str],
    ) -> None:
        self._database = database
        self._config = config
        self._clock = clock
        self._homes = homes
        self._tell = tell
        self._redact = redact
        self._buckets = Buckets()

    async def send(self, holder: str, target: str, text: str, once: str | None = None) -> Sent:
        """Send a text to a chat, or to a platform's home channel. It is durable then; under the same `once` the same
        holder sends one message to each target. Raises `ApiError`."""
        text = self._redact(clean_text(text))
        if not text.strip():
            raise ApiError(400, "text: there is nothing to send", code="invalid_value", param="text")
        if len(text) > MAX_CHARS:
            words = f"text: it has {len(text):,} characters; at most {MAX_CHARS:,} are taken"
            raise ApiError(400, words, code="invalid_value", param="text")
        if once is not None and not 1 <= len(once) <= MAX_KEY_CHARS:
            words = f"Idempotency-Key: 1 to {MAX_KEY_CHARS} characters"
            raise ApiError(400, words, code="invalid_value", param="Idempotency-Key")
        place = self.target(target)
        self._bound(holder)
        try:
            duplicate = await self._put(place, text, None if once is None else _key(holder, once, target))
        except (NotStoredError, StorageError) as error:
            raise ApiError(503, str(error), code="not_stored", headers=RETRY) from error
        if not duplicate:
            self._tell(place)
        return Sent(place, duplicate)

    def target(self, wanted: str) -> Target:
        """The chat that is meant by `platform:chat[:thread]`, or by a platform that has a home channel. Raises
        `ApiError`."""
        name, colon, place = clean_text(wanted.strip()).partition(":")
        enabled = places_to_send(self._config.current)
        platform = next((each for each in enabled if str(each) == name.casefold()), None)
        if platform is None or len(wanted) > MAX_TARGET_CHARS:
            known = ", ".join(map(str, enabled))
            raise _no_target(f"there is no platform {one_line(name, 40)!r}; there are {known}")
        if not colon:
            return self._home(platform)
        chat, _, thread = place.partition(":")
        if not chat:
            raise _no_target("a target is a platform and a chat's id, as in telegram:123456789")
        return Target(platform, chat, thread or None)

    def _home(self, platform: Platform) -> Target:
        home = self._homes.get(platform)
        if home is None:
            raise _no_target(f"{platform} has no home channel: write {platform}: and a chat's id")
        return Target(platform, home.chat_id, home.thread_id)

    def _bound(self, holder: str) -> None:
        now = self._clock.monotonic()
        if holder == SOCKET:
            return
        if not self._buckets.has(holder, PER_MINUTE, now):
            words = f"more than {PER_MINUTE} messages in a minute: try again later"
            raise ApiError(429, words, code="rate_limit_exceeded", headers={"Retry-After": "10"})
        self._buckets.take(holder, PER_MINUTE, now)

    async def _put(self, target: Target, text: str, key: str | None) -> bool:
        """Put it in the outbox; whether it is there already. Raises `ApiError`."""
        delivery, now = NewDelivery(target, "notice", text, key=key), self._clock.now()

        def job(connection: sqlite3.Connection) -> str | None:
            before = None if key is None else connection.execute(api_queries.SENT_UNDER_KEY, (key,)).fetchone()
            if before is None:
                add_delivery(connection, delivery, now)
                return None
            return str(before["text"])

        before = await self._database.write(job)
        # What was sent long ago has no text any more.
        if before is not None and before not in (text, ""):
            words = "this id was used for another message: take a new Idempotency-Key, or --once"
            raise ApiError(422, words, code="idempotency_key_reused", param="Idempotency-Key")
        return before is not None

    async def serve(self, connection: FrameConnection, hello: Mapping[str, Any]) -> None:
        """Send what a client of the socket asks for, and tell it what became of that."""
        given = [hello.get(name) for name in ("target", "text")]
        once = hello.get("once")
        if not all(isinstance(each, str) for each in given) or not (once is None or isinstance(once, str)):
            await answer(connection, {"ok": False, "error": "target and text are to be texts"})
            return
        try:
            sent = await self.send(SOCKET, str(given[0]), str(given[1]), once)
        except ApiError as error:
            await answer(connection, {"ok": False, "error": str(error)})
        else:
            await answer(connection, {"ok": True, **sent.to_dict()})


def _no_target(words: str) -> ApiError:
    return ApiError(400, f"target: {words}", code="invalid_value", param="target")


def _key(holder: str, once: str, wanted: str) -> str:
    """What stands for a message. The target is in it as it was named: the id of its chat, or which one is the home
    channel, may change before the same is sent again."""
    platform, colon, place = wanted.strip().partition(":")
    named = "\0".join((holder, once, f"{platform.casefold()}{colon}{place}"))
    return f"send:{hashlib.sha256(named.encode('utf-8', 'surrogateescape')).hexdigest()}"
