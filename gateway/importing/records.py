"""What is handed from whoever reads a foreign home to whoever stores it: plain data that can cross a socket."""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from gateway.ids import is_session_id
from gateway.session.key import DEFAULT_AGENT, SlotIdentity

UNKNOWN_PLATFORM: Final = "unknown"
"""Stands in a slot for the platform of a session of which none is known."""

_LARGEST: Final = 2**62

SessionId: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-z][0-9a-z_]{0,127}$")]
Count: TypeAlias = Annotated[int, Field(ge=0, le=_LARGEST)]
Micros: TypeAlias = Annotated[int, Field(ge=-_LARGEST, le=_LARGEST)]
Row: TypeAlias = tuple[str, str | None, str | None]
"""A message as the store has it: role, text, and the rest as JSON."""


def digest(row: Row) -> str:
    """What tells a message from others: the SHA-256 of what is stored of it."""
    return hashlib.sha256(json.dumps(row).encode()).hexdigest()


class Record(BaseModel):
    """Frozen data that is checked when it is made; a field that is not known is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Place(Record):
    """Where a session was held, in the terms of this gateway's own keys.

    `personal`: the other program kept it for one person, so nobody else may ever share it here either.
    """

    platform: str | None = None
    chat_type: Literal["dm", "group", "channel", "thread"] = "dm"
    chat: str = ""
    thread: str = ""
    person: str = ""
    personal: bool = False

    def identity(self, group_sessions_per_user: bool, thread_sessions_per_user: bool) -> SlotIdentity:
        """The slot that the next message from there belongs to, by the rules of `gateway.session.key`."""
        if self.chat_type == "dm":
            personal = not self.chat
        else:
            alone = not self.thread or thread_sessions_per_user
            personal = self.personal or (group_sessions_per_user and alone)
        person = self.person if personal else ""
        platform = self.platform or UNKNOWN_PLATFORM
        return SlotIdentity(DEFAULT_AGENT, platform, self.chat_type, self.chat, self.thread, person)

    def owner(self, identity: SlotIdentity, session_id: str) -> str:
        """Whose the session is, as `gateway.session.records.owner_of` has it; nobody's where nothing tells."""
        person = identity.participant or (self.person if self.chat_type == "dm" else "")
        if person:
            return f"{identity.platform}:user:{person}"
        if self.chat or self.thread:
            return f"{identity.platform}:{identity.chat_type}:{identity.chat}:{identity.thread}"
        return f"import:session:{session_id}"


class ImportedSession(Record):
    """A session's record. Times are microseconds since 1970 UTC; tokens are counts, the cost is in US dollars.

    `live`: the other program would have gone on with it at the next message from its place.
    """

    id: SessionId
    place: Place
    origin: dict[str, Any] | None = None
    display_name: str | None = None
    title: str | None = None
    model: str | None = None
    created_at: Micros
    updated_at: Micros
    ended_at: Micros | None = None
    end_reason: Literal["session_reset", "session_switch"] | None = None
    predecessor_id: SessionId | None = None
    live: bool = False
    pinned: bool = False
    archived: bool = False
    input_tokens: Count = 0
    output_tokens: Count = 0
    cache_read_tokens: Count = 0
    cache_write_tokens: Count = 0
    last_prompt_tokens: Count = 0
    estimated_cost_usd: float | None = Field(default=None, allow_inf_nan=False)
    cost_status: str = "unknown"


class ImportedMessage(Record):
    """A message as the store will have it, and when it was said."""

    role: str
    content: str | None
    data: str | None
    at: Micros

    @property
    def row(self) -> Row:
        """What makes it the same message."""
        return (self.role, self.content, self.data)


class Piece(Record):
    """A part of one session: its messages from number `first` on, the first of all being 0.

    `after` is the digest of the message before them, by which the store sees that they belong there; `title` is what
    the session is called if it has no name yet; `last`: nothing follows.
    """

    session: ImportedSession
    first: Count = 0
    after: str | None = None
    messages: tuple[ImportedMessage, ...] = ()
    title: str | None = None
    last: bool = True


class Known(Record):
    """How much of a session is here: `imported` messages came from the other program, None for a session that began
    here; `messages` are all that it has."""

    imported: int | None
    messages: int

    @property
    def untouched(self) -> bool:
        """Whether it is still what came in, and nothing else."""
        return self.imported == self.messages


Verdict: TypeAlias = Literal["taken", "opened", "occupied", "busy", "passed_over"]
"""What became of a piece: taken in; taken in, and the session goes on from the next message; the same, but something
goes on in its place already; passed over, since the store has something else there."""


def valid_id(source_id: str) -> str | None:
    """The id itself where it can be one here."""
    return source_id if is_session_id(source_id) else None


def to_wire(pieces: "list[Piece]") -> list[Mapping[str, Any]]:
    """Pieces as plain JSON data."""
    return [piece.model_dump(mode="json", exclude_defaults=True) for piece in pieces]
