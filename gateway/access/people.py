"""The people who were let in by pairing, in memory: what the decision about each message looks at."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.access.decision import Role
from gateway.source import SessionSource
from gateway.storage import access_queries
from gateway.storage.database import Database

PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Member:
    """Someone of a platform, by the id that lasts."""

    platform: str
    person: str

    def __str__(self) -> str:
        return f"{self.platform}:{self.person}"

    @classmethod
    def parse(cls, text: str) -> "Member":
        """Read `platform:id`. Raises ValueError."""
        platform, colon, person = text.strip().partition(":")
        if not (platform and colon and person):
            raise ValueError(f"{text!r} is no person: write platform:id, as in telegram:123456789")
        return cls(platform, person)


def person_of(source: SessionSource) -> str | None:
    """The id that somebody is let in by, and limited by: the one that lasts, where the platform has two."""
    return source.user_id_alt or source.user_id


def ids_of(source: SessionSource) -> tuple[str, ...]:
    """All ids by which the platform names who wrote."""
    return tuple(dict.fromkeys(part for part in (source.user_id_alt, source.user_id) if part))


class People:
    """Who was let in, and as what. Changed on the event loop, right after the commit that says the same.

    `complete` is False while there may be others: the database could not be read. `version` is another one after each
    change.
    """

    def __init__(self, known: Mapping[Member, Role] | None = None) -> None:
        self._roles: dict[Member, Role] = dict(known or {})
        self._lent: dict[str, dict[Member, Role]] = {}
        self.complete = True
        self.version = 0

    @classmethod
    async def loaded(cls, database: Database) -> "People":
        """Those whom the database has. Raises `StorageError`."""
        people = cls()
        await people.load(database)
        return people

    async def load(self, database: Database) -> None:
        """Take those whom the database has. Raises `StorageError`."""
        found: dict[Member, Role] = {}
        after = ("", "")
        while True:
            rows = await database.read(access_queries.PEOPLE, (*after, PAGE))
            for row in rows:
                found[Member(row["platform"], row["person"])] = Role.named(row["role"])
            if len(rows) < PAGE:
                break
            after = (rows[-1]["platform"], rows[-1]["person"])
        self._roles, self.complete = found, database.state.complete
        self.version += 1

    def role(self, source: SessionSource) -> Role | None:
        """As what somebody was let in; None for one who was not."""
        members = [Member(str(source.platform), person) for person in ids_of(source)]
        roles = (known.get(member) for known in (self._roles, *self._lent.values()) for member in members)
        return max((role for role in roles if role is not None), default=None)

    def lend(self, members: Mapping[Member, Role], by: str = "keys") -> None:
        """Let in who is so `by` something else than pairing, a key say: these, and nobody whom that let in before. They
        are not looked up in the database's list of people, and so stay whatever becomes of that."""
        self._lent[by] = dict(members)
        self.version += 1

    def put(self, member: Member, role: Role) -> None:
        """Let someone in, or change their role."""
        self._roles[member] = role
        self.version += 1

    def drop(self, member: Member) -> None:
        """Let someone in no more."""
        self._roles.pop(member, None)
        self.version += 1

    def __iter__(self) -> Iterator[Member]:
        return iter(self._roles)

    def __len__(self) -> int:
        return len(self._roles)
