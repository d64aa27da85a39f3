"""What the author of an adapter writes for the suite: the platform's counterpart, its people, and its faults."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeAlias

from config import PlatformConfig
from gateway.ports import Adapter, AdapterHost

AdapterFactory: TypeAlias = Callable[[PlatformConfig, AdapterHost], Adapter]
"""What builds an adapter: its class, as a rule."""


Message: TypeAlias = Any
"""Whatever a harness knows a person's message by."""


class Ability(StrEnum):
    """What a platform can do, as far as people or its server notice. A test that needs one is skipped without it."""

    GROUPS = "groups"
    THREADS = "threads"
    GENERAL = "a thread that is a group's default"
    STRANGERS = "people whom nobody has let in"
    EDITS = "people change what they wrote"
    DELETIONS = "people take back what they wrote"
    ATTACHMENTS = "people send files"
    FILES = "our account sends files"
    LONG_FILES = "very long texts become files"
    BUTTONS = "buttons"
    TYPING = "people see that an answer is being written"
    MENU = "a menu of commands"
    STREAMING = "an answer is seen to grow"
    SHRINKING = "our account takes back its own messages"
    PARTS = "a message has a longest length"
    BACKLOG = "what is written while we are away is kept for us"
    OUTAGES = "the platform's server can be away"
    ACCOUNTS = "an account with a secret"


class Fault(StrEnum):
    """Something that goes wrong. A test about one is skipped where the counterpart cannot do it."""

    RATE_LIMIT = "rate limit"
    """Our next message is refused with a time to wait for."""
    ERROR_BEFORE = "error before accepting"
    """Our next message is not shown, and the server says that it failed."""
    ERROR_AFTER = "error after accepting"
    """Our next message is shown, and the server says that it failed."""
    NO_ANSWER = "no answer after accepting"
    """Our next message is shown, and nothing more is heard of it while the connection stays open."""
    DROPPED = "dropped connection"
    """Our next message is shown, and the connection ends before the server says so."""
    SLOW_BODY = "slow body"
    """Our next message is shown, and the answer to it comes in pieces."""
    HALF_OPEN = "half-open connection"
    """Nothing comes any more on the connection that people's messages come by, and it is not closed."""
    DUPLICATE_UPDATE = "duplicate update"
    """What is written next comes twice."""
    REORDERED_UPDATES = "reordered updates"
    """What is written next comes with what is written after it, and after that."""


class PlaceKind(StrEnum):
    """A kind of place to write in."""

    DM = "dm"
    GROUP = "group"
    THREAD = "thread"
    GENERAL = "general"


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """One person's view of a place. `handle` is whatever the harness knows it by."""

    kind: PlaceKind
    handle: Any


@dataclass(frozen=True, slots=True)
class File:
    """A file with its content. `media_type` is a MIME type."""

    name: str
    data: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class Shown:
    """One message of our account, as people see it: without markup, and without the mark of a repeat.

    `texts` is everything that it has shown, oldest first; a file's are its captions. `gone`: it was taken back.
    `marked`: it says that it may be a repeat. `buttons` are the labels below it.
    """

    id: str
    texts: tuple[str, ...] = ()
    gone: bool = False
    marked: bool = False
    file: File | None = None
    buttons: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """What it shows now."""
        return self.texts[-1] if self.texts else ""


@dataclass(frozen=True, slots=True)
class Passing:
    """What people saw in a place and see no more: `drafts` of messages, oldest first, and how often they were told
    that an answer is being written."""

    drafts: tuple[str, ...] = ()
    typing: int = 0


class Harness(ABC):
    """A platform's counterpart on this machine, under the suite's control.

    Derive from it, and write what `supports` and `faults` name; the rest is never called. The suite makes one for each
    test, starts it, runs the gateway against it, and stops it. Everything in it runs in the test's event loop.
    """

    name: str
    """The platform's name, as in the configuration."""

    supports: frozenset[Ability] = frozenset()
    """What the platform and its counterpart can do. The suite skips, by name, exactly what is missing."""

    faults: frozenset[Fault] = frozenset()
    """What can be made to go wrong."""

    secrets: Sequence[str] = ()
    """What must stand in no log, in no status and in no file of the gateway."""

    account_setting: str = "token"
    """The key of the platform's section that an operator has to mend when the account is refused."""

    violations: Sequence[str] = ()
    """What the adapter did against the platform's rules. It has to stay empty."""

    adapter: AdapterFactory | None = None
    """What builds the adapter; None: the one that is installed for the platform's name. A harness sets its times short
    here, where the configuration cannot."""

    # --- the counterpart -----------------------------------------------------------------------------------

    @abstractmethod
    async def start(self, home: Path) -> None:
        """Start the server; after a stop, with the same address and all that it knew. `home` is the gateway's."""

    @abstractmethod
    async def stop(self) -> None:
        """Stop the server and cut every connection. Safe to call twice."""

    @abstractmethod
    def section(self) -> Mapping[str, Any]:
        """The platform's section of the configuration. Everyone but strangers is in its `allowed_users`."""

    # --- people --------------------------------------------------------------------------------------------

    @abstractmethod
    def place(self, kind: PlaceKind, *, stranger: bool = False) -> Place:
        """A new place of this kind, and a person in it: one who is let in, or a stranger."""

    @abstractmethod
    def write(self, place: Place, text: str) -> Message:
        """The person writes a text that is meant for us; what it returns names the message for `edit` and `delete`."""

    def edit(self, place: Place, message: Message, text: str) -> None:
        """The person changes a message (`Ability.EDITS`)."""
        raise NotImplementedError

    def delete(self, place: Place, message: Message) -> None:
        """The person takes a message back (`Ability.DELETIONS`)."""
        raise NotImplementedError

    def attach(self, place: Place, file: File, caption: str) -> None:
        """The person sends a file (`Ability.ATTACHMENTS`)."""
        raise NotImplementedError

    def press(self, place: Place, shown: Shown, label: str) -> None:
        """The person presses a button (`Ability.BUTTONS`)."""
        raise NotImplementedError

    # --- what is seen --------------------------------------------------------------------------------------

    @abstractmethod
    def shown(self, place: Place) -> Sequence[Shown]:
        """Every message that our account ever sent to a place, in order, as the server has counted them."""

    def passing(self, place: Place) -> Passing:  # noqa: ARG002 - for those that derive from it
        """What passed in a place (`Ability.TYPING`, and drafts where there are any)."""
        return Passing()

    def menu(self) -> Sequence[str]:
        """The names of the commands that people are offered (`Ability.MENU`)."""
        raise NotImplementedError

    # --- what goes wrong -----------------------------------------------------------------------------------

    def inject(self, fault: Fault, place: Place) -> None:
        """Let this go wrong once, with what comes next in a place (`faults`)."""
        raise NotImplementedError

    def revoke(self) -> None:
        """The secret is no longer valid (`Ability.ACCOUNTS`). The next `section` has one that is."""
        raise NotImplementedError

    def logins(self) -> int:
        """How often the account's secret was refused (`Ability.ACCOUNTS`)."""
        raise NotImplementedError
