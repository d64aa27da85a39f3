"""Who is let in, as operators ask for it: on the socket, on the command line without a daemon, and in chat."""

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias

from gateway.access import People, Role
from gateway.pairing import Outcome, Paired, Pairing, PairingError, Request
from gateway.ports import Clock, StorageBusyError, Target
from gateway.storage.codec import clean_text
from gateway.storage.database import Database
from gateway.storage.errors import StorageError

TERMINAL: Final = "terminal"
"""Who decides on the command line of this machine."""

Decide: TypeAlias = Callable[[sqlite3.Connection, datetime], Outcome]


@dataclass(frozen=True, slots=True)
class Listing:
    """Who asks to be let in, and who was."""

    requests: tuple[Request, ...]
    people: tuple[Paired, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "requests": [request.to_dict() for request in self.requests],
            "people": [person.to_dict() for person in self.people],
        }


class Admissions:
    """Carries out decisions about people, and lets everything know: `people` at once after the commit, then
    `on_change`; `on_delivery` gets each place where somebody is told."""

    def __init__(
        self,
        database: Database,
        pairing: Pairing,
        people: People,
        clock: Clock,
        *,
        on_change: Callable[[], object] = lambda: None,
        on_delivery: Callable[[Target], object] = lambda _target: None,
    ) -> None:
        self._database = database
        self._pairing = pairing
        self._people = people
        self._clock = clock
        self._on_change = on_change
        self._on_delivery = on_delivery

    async def take_up(self) -> None:
        """Take those whom an outage of the database has hidden. Raises `StorageError`."""
        if not self._people.complete:
            await self._people.load(self._database)
            self._on_change()

    async def listing(self) -> Listing:
        """Who asks, and who was let in. Raises `StorageError`, `StorageBusyError`."""
        now = self._clock.now()
        return await self._database.write(lambda connection: self.list_in(connection, now))

    async def approve(self, wanted: str, actor: str, role: Role = Role.USER) -> Outcome:
        """Let in whoever has this code, or is named. Raises `PairingError`, `StorageError`, `StorageBusyError`."""
        return await self._decide(lambda connection, now: self._pairing.approve(connection, wanted, actor, now, role))

    async def refuse(self, wanted: str, actor: str) -> Outcome:
        """Take a stranger's code back. Raises the same."""
        return await self._decide(lambda connection, now: self._pairing.refuse(connection, wanted, actor, now))

    async def revoke(self, wanted: str, actor: str) -> Outcome:
        """Let someone in no more; a turn of theirs that runs is stopped. Raises the same."""
        return await self._decide(lambda connection, now: self._pairing.revoke(connection, wanted, actor, now))

    async def set_role(self, wanted: str, role: Role, actor: str) -> Outcome:
        """Give someone who was paired another role. Raises the same."""
        return await self._decide(lambda connection, now: self._pairing.set_role(connection, wanted, role, actor, now))

    def list_in(self, connection: sqlite3.Connection, now: datetime) -> Listing:
        """The listing, as part of a job of the writer."""
        return Listing(tuple(self._pairing.requests(connection, now)), tuple(self._pairing.people(connection)))

    def apply(self, outcome: Outcome) -> None:
        """Let a decision hold that is durable."""
        if outcome.member is None:
            return
        if outcome.role is None:
            self._people.drop(outcome.member)
        else:
            self._people.put(outcome.member, outcome.role)
        self._on_change()
        for target in outcome.told:
            self._on_delivery(target)

    async def _decide(self, decide: Decide) -> Outcome:
        now = self._clock.now()
        outcome = await self._database.write(lambda connection: decide(connection, now))
        if outcome.problem is not None:
            raise PairingError(outcome.problem)
        self.apply(outcome)
        return outcome

    # --- the socket ------------------------------------------------------------------------------------------

    async def serve(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out what a client of the socket asks for; what is answered."""
        operation, wanted = request.get("op"), clean_text(str(request.get("wanted") or ""))
        try:
            if operation == "pairing.list":
                return {"ok": True, "listing": (await self.listing()).to_dict()}
            outcome = await self._asked(str(operation), wanted, request)
        except PairingError as error:
            return {"ok": False, "error": str(error)}
        except (StorageError, StorageBusyError) as error:
            return {"ok": False, "error": f"it could not be stored: {error}; try it again"}
        return {"ok": True, "outcome": outcome.to_dict()}

    async def _asked(self, operation: str, wanted: str, request: Mapping[str, Any]) -> Outcome:
        if operation == "pairing.approve":
            return await self.approve(wanted, TERMINAL, grantable(str(request.get("role") or "user")))
        if operation == "pairing.refuse":
            return await self.refuse(wanted, TERMINAL)
        if operation == "pairing.revoke":
            return await self.revoke(wanted, TERMINAL)
        if operation == "pairing.role":
            return await self.set_role(wanted, grantable(str(request.get("role") or "")), TERMINAL)
        known = "pairing.approve, pairing.list, pairing.refuse, pairing.revoke, pairing.role"
        raise PairingError(f"unknown operation; known: {known}")


def grantable(word: str) -> Role:
    """A role that can be given to somebody. Raises `PairingError`: who is an owner, the configuration alone says."""
    try:
        role = Role.named(word)
    except ValueError as error:
        raise PairingError(str(error)) from error
    if role is Role.OWNER:
        raise PairingError("owners are named in the configuration, under owners")
    return role
