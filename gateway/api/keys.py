"""The keys of the HTTP interface: made once, kept as hashes, each with a name and scopes; and whom a key stands for."""

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import re
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from config import LiveConfig, Platform
from gateway.access import People, Role
from gateway.access.people import Member
from gateway.ports import Clock, StorageBusyError
from gateway.storage import api_queries
from gateway.storage.codec import clean_text, dump, from_micros, optional_instant, to_micros
from gateway.storage.database import Database
from gateway.storage.errors import StorageError

log = logging.getLogger(__name__)

SCOPES: Final[Mapping[str, str]] = {
    "chat": "ask for answers, and get one's own again",
    "read": "see the models and how the gateway stands",
    "send": "have messages sent to people",
    "admin": "everything",
}
"""What a key can be good for. `admin` has the others in it; in conversations its holder is an admin."""

CONFIGURED: Final = "http.api_key"
"""The holder of the key that stands in the configuration; it is good for everything."""

TOKEN: Final = re.compile(r"sk-hermes-([0-9a-f]{12})-([A-Za-z0-9_-]{43})")
"""What a key looks like: programs that check for the form of an OpenAI key take it, and logs know to hide it."""

NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")

USE_NOTED_AFTER: Final = timedelta(minutes=1)
"""How old the last use on record may be: each request noting its own would be a commit more."""

NO_HASH: Final = "0" * 64
"""What a key that does not exist is compared with, so that it takes as long as one that does."""


class KeyRefusedError(Exception):
    """A key cannot be made or revoked as asked. `str()` says what to do."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Whom a request comes from: the name of its key, and what that is good for."""

    name: str
    scopes: frozenset[str]

    def may(self, scope: str) -> bool:
        """Whether the key has a scope."""
        return scope in self.scopes or "admin" in self.scopes


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it is kept; its secret is not."""

    id: str
    name: str
    secret_hash: str
    scopes: frozenset[str]
    created_at: datetime
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> "Key":
        """From the database."""
        return cls(
            row["id"],
            row["name"],
            row["secret_hash"],
            frozenset(json.loads(row["scopes"])),
            from_micros(row["created_at"]),
            optional_instant(row["last_used_at"]),
            optional_instant(row["revoked_at"]),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for people and programs; nothing in it opens anything."""
        return {
            "name": self.name,
            "id": self.id,
            "scopes": [scope for scope in SCOPES if scope in self.scopes],
            "created_at": self.created_at.isoformat(),
            "last_used_at": self.last_used_at.isoformat() if self.last_used_at else None,
            "revoked_at": self.revoked_at.isoformat() if self.revoked_at else None,
        }


class Keys:
    """Knows every key, and lets those in who hold one. Changed on the event loop, after the commit that says the same.

    `people` learns who may talk to the agent, `on_change` is called when that changes.
    """

    def __init__(
        self,
        database: Database,
        config: LiveConfig,
        clock: Clock,
        people: People,
        *,
        on_change: Callable[[], object] = lambda: None,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._database = database
        self._config = config
        self._clock = clock
        self._people = people
        self._on_change = on_change
        self._random_bytes = random_bytes
        self._keys: dict[str, Key] = {}
        self.complete = True
        """Whether all that the database has are known: it may have been out of use when they were read."""

    async def load(self) -> None:
        """Take the keys that the database has. Raises `StorageError`."""
        rows = await self._database.read(api_queries.API_KEYS)
        self._keys, self.complete = {row["id"]: Key.from_row(row) for row in rows}, self._database.state.complete
        self.let_in()

    async def take_up(self) -> None:
        """Take those that an outage of the database has hidden. Raises `StorageError`."""
        if not self.complete:
            await self.load()
            self._on_change()

    def let_in(self) -> None:
        """Have everyone known who may talk to the agent by a key, and nobody else."""
        self._people.lend({Member(Platform.API_SERVER, name): role for name, role in self._roles().items()})

    def _roles(self) -> Mapping[str, Role]:
        holders = [Holder(key.name, key.scopes) for key in self._keys.values() if key.revoked_at is None]
        if self._configured() is not None:
            holders.append(Holder(CONFIGURED, frozenset(SCOPES)))
        return {
            holder.name: Role.ADMIN if holder.may("admin") else Role.USER for holder in holders if holder.may("chat")
        }

    def _configured(self) -> str | None:
        secret = self._config.current.http.api_key
        return (secret.get_secret_value() or None) if secret is not None else None

    @property
    def any(self) -> bool:
        """Whether there is, or may be, a key that opens something."""
        if not self.complete:
            return True
        return self._configured() is not None or any(key.revoked_at is None for key in self._keys.values())

    def verify(self, token: str) -> Holder | None:
        """Whom a key stands for; None for one that is wrong or revoked. Takes the same time wherever two differ."""
        configured = self._configured()
        given = token.encode("utf-8", "surrogateescape")
        if configured is not None and hmac.compare_digest(given, configured.encode()):
            return Holder(CONFIGURED, frozenset(SCOPES))
        found = TOKEN.fullmatch(token)
        key = self._keys.get(found[1]) if found else None
        expected = key.secret_hash if key is not None and key.revoked_at is None else NO_HASH
        if not hmac.compare_digest(_hash(found[2] if found else ""), expected) or key is None:
            return None
        self._note_use(key)
        return Holder(key.name, key.scopes)

    def _note_use(self, key: Key) -> None:
        """Note once in a while that a key is used; that this fails keeps nobody out."""
        now = self._clock.now()
        if key.last_used_at is not None and now - key.last_used_at < USE_NOTED_AFTER:
            return
        self._keys[key.id] = replace(key, last_used_at=now)
        values = (to_micros(now), key.id)
        try:
            noted = self._database.write(
                lambda connection: connection.execute(api_queries.USE_API_KEY, values).rowcount
            )
        except (StorageError, StorageBusyError) as error:
            log.info("the use of key %s is not noted: %s", key.name, error)
        else:
            noted.add_done_callback(_log_failure)

    # --- what operators do ---------------------------------------------------------------------------------------

    async def create(self, name: str, scopes: Iterable[str]) -> tuple[Key, str]:
        """Make a key; it, and its token, which nobody can be shown again.

        Raises `KeyRefusedError`, `StorageError`, `StorageBusyError`.
        """
        wanted = frozenset(scopes) or frozenset({"chat"})
        if not NAME.fullmatch(name):
            raise KeyRefusedError(
                f"{name!r} is no name for a key: take small letters, digits, - and _, 64 at most, as in my-laptop"
            )
        if unknown := sorted(wanted - set(SCOPES)):
            raise KeyRefusedError(f"{unknown[0]!r} is no scope; there are {', '.join(SCOPES)}")
        key_id, secret = self._random_bytes(6).hex(), _as_text(self._random_bytes(32))
        key = Key(key_id, name, _hash(secret), wanted, self._clock.now())

        def job(connection: sqlite3.Connection) -> bool:
            if connection.execute(api_queries.API_KEY_BY_NAME, (name,)).fetchone() is not None:
                return False
            row = (key.id, name, key.secret_hash, dump(sorted(wanted)), to_micros(key.created_at))
            connection.execute(api_queries.ADD_API_KEY, row)
            return True

        if not await self._database.write(job):
            raise KeyRefusedError(f"there is a key {name} already: take another name, or revoke that one first")
        self._changed(key)
        return key, f"sk-hermes-{key_id}-{secret}"

    async def revoke(self, name: str) -> Key:
        """Let a key count no more; answers that its holder waits for are stopped. Raises the same."""
        now = self._clock.now()

        def job(connection: sqlite3.Connection) -> Key | None:
            row = connection.execute(api_queries.API_KEY_BY_NAME, (name,)).fetchone()
            if row is None:
                return None
            connection.execute(api_queries.REVOKE_API_KEY, (to_micros(now), row["id"]))
            return replace(Key.from_row(row), revoked_at=now)

        key = await self._database.write(job)
        if key is None:
            raise KeyRefusedError(f"there is no key {name}; `hermes-gateway keys list` shows those that there are")
        self._changed(key)
        return key

    async def listing(self) -> list[Key]:
        """Every key there ever was, the oldest first. Raises `StorageError`."""
        rows = await self._database.read(api_queries.API_KEYS)
        return sorted(map(Key.from_row, rows), key=lambda key: key.created_at)

    def _changed(self, key: Key) -> None:
        self._keys[key.id] = key
        self.let_in()
        self._on_change()

    async def serve(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out what a client of the socket asks for; what is answered."""
        operation, name = str(request.get("op")), clean_text(str(request.get("name") or ""))
        try:
            if operation == "keys.list":
                return {"ok": True, "keys": [key.to_dict() for key in await self.listing()]}
            if operation == "keys.create":
                key, token = await self.create(name, map(str, request.get("scopes") or ()))
                return {"ok": True, "key": {**key.to_dict(), "token": token}}
            if operation == "keys.revoke":
                return {"ok": True, "key": (await self.revoke(name)).to_dict()}
        except KeyRefusedError as error:
            return {"ok": False, "error": str(error)}
        except (StorageError, StorageBusyError) as error:
            return {"ok": False, "error": f"it could not be stored: {error}; try it again"}
        return {"ok": False, "error": "unknown operation; known: keys.create, keys.list, keys.revoke"}


def _as_text(random: bytes) -> str:
    """Random bytes as letters and digits, 43 characters for 32 bytes."""
    return base64.urlsafe_b64encode(random).rstrip(b"=").decode()


def _hash(secret: str) -> str:
    """Of 256 random bits a plain hash cannot be turned back; there is no password in it that could be guessed."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def _log_failure(noted: "asyncio.Future[int]") -> None:
    if not noted.cancelled() and (error := noted.exception()) is not None:
        log.info("the use of a key is not noted: %s", error)
