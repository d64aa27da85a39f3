"""From what Slack has sent to what the core is told of it."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from adapters.base import Accepted, AdapterHost, Attachment, InboundMessage, InboundState, NotStoredError, RawUpdate
from adapters.slack.constants import EVENT, PRESS
from adapters.slack.context import ThreadContext
from adapters.slack.mentions import Mentions
from adapters.slack.names import NameBook
from adapters.slack.normalise import (
    Names,
    Rules,
    Written,
    command_of,
    is_addressed,
    is_called,
    message_of,
    press_of,
    read_deletion,
    read_message,
)
from adapters.slack.positions import Positions
from adapters.slack.rooms import Rooms
from adapters.slack.stubs import Stubs
from adapters.slack.wording import Account
from adapters.strangers import Strangers

log = logging.getLogger(__name__)

LONGEST_PROBLEM: Final = 300
"""Characters of what is noted about something that cannot be read."""

MESSAGES: Final = frozenset({"message", "app_mention"})
REVOKED: Final = frozenset({"tokens_revoked", "app_uninstalled"})

NOBODY: Final = Names({})


def problem_of(error: Exception) -> str:
    """What is noted about something that cannot be read."""
    return f"it cannot be read: {type(error).__name__}: {error}"[:LONGEST_PROBLEM]


class Gate(Protocol):
    """What keeps messages back that came while older ones are still to be fetched."""

    def holds(self, channel: str, update: RawUpdate) -> bool:
        """Whether the update has to wait; it is then handed on again later."""


@dataclass(frozen=True, slots=True)
class Signals:
    """Who is told: our token may be void, somebody has opened our pane, a message is stored and will be answered."""

    revoked: Callable[[], None]
    pane_opened: Callable[[Mapping[str, Any]], None]
    waiting: Callable[[str, str], None]


class Receiver:
    """Tells the host what there is in it. `rules` gives those in force; `prefix` stands before the ids of files."""

    def __init__(
        self,
        host: AdapterHost,
        account: Account,
        rules: Callable[[], Rules],
        names: NameBook,
        positions: Positions,
        context: ThreadContext,
        rooms: Rooms,
        signals: Signals,
        prefix: str = "",
    ) -> None:
        self._host = host
        self._account = account
        self._rules = rules
        self._names = names
        self._positions = positions
        self._context = context
        self._rooms = rooms
        self._signals = signals
        self._prefix = prefix
        self._strangers = Strangers(log)
        self.gate: Gate | None = None
        self.mentions: Mentions | None = None
        self.stubs: Stubs | None = None

    # --- before it is stored ---------------------------------------------------------------------------------

    def glance(self, kind: str, payload: Mapping[str, Any]) -> bool:
        """Whether something has to be stored. What we do ourselves, and what nobody has written, comes often."""
        if kind != EVENT:
            return True
        event = payload.get("event") or {}
        match event.get("type"):
            case happened if happened in MESSAGES:
                read = read_deletion(event, self._account) or read_message(event, self._account)
                return isinstance(read, Written)
            case happened if happened in REVOKED:
                self._signals.revoked()
            case "assistant_thread_started":
                self._signals.pane_opened(event.get("assistant_thread") or {})
            case "channel_rename" | "user_change":
                thing = event.get("channel") or event.get("user") or {}
                self._names.forget(str(thing.get("id") if isinstance(thing, Mapping) else thing))
        return False

    def is_ours(self, payload: Mapping[str, Any]) -> bool:
        """Whether an event is for this bot: an app can be in several workspaces, each with a bot of its own."""
        given = payload.get("authorizations") or ()
        users = {each.get("user_id") for each in given if each.get("is_bot", True)}
        return not users or self._account.user_id in users or payload.get("team_id") == self._account.team_id

    def is_meant(self, event: Mapping[str, Any]) -> bool:
        """Whether a message mentions this bot, or is in a thread that it was called into."""
        written = read_deletion(event, self._account) or read_message(event, self._account)
        if isinstance(written, str):
            return False
        return is_called(written, self._account) or self._positions.is_ours(written.channel, written.thread)

    # --- after that ------------------------------------------------------------------------------------------

    async def process(self, update: RawUpdate) -> None:
        """Hand on one thing. One that cannot be read, or is refused, is set aside, and blocks no other.

        Raises `NotStoredError`.
        """
        try:
            kept = json.loads(update.payload)
            await self._tell(update, str(kept["kind"]), kept["payload"])
        except NotStoredError:
            raise
        except Exception as error:
            log.exception("%s from Slack cannot be read; it is set aside", update.id)
            await self._host.settle(update.id, problem_of(error))

    async def _tell(self, update: RawUpdate, kind: str, payload: Mapping[str, Any]) -> None:
        if kind == EVENT:
            gone = read_deletion(payload["event"], self._account)
            if gone is not None:
                await self._withdraw(gone, update)
                return
            written = read_message(payload["event"], self._account)
            if isinstance(written, str):
                await self._host.settle(update.id)
            elif not self._waits(written, update):
                await self.message(written, update.id)
            return
        message = await self._act(kind, payload)
        if message is None:
            await self._host.settle(update.id)
        else:
            cursor = self._positions.meet(message.source.chat_id or "") if self._prefix else None
            told = replace(message, update_id=update.id, cursor=cursor)
            self._strangers.note(message, await self._host.accept(told))

    async def _withdraw(self, gone: Written, update: RawUpdate) -> None:
        """Hand on that a message was deleted, after the message itself. Raises `NotStoredError`."""
        if self.gate is not None and self.gate.holds(gone.channel, update):
            return
        if self.stubs is None or not self.stubs.holds(gone.channel, {}, update):
            await self._host.withdraw(gone.channel, gone.ts, update.id)

    def _waits(self, written: Written, update: RawUpdate) -> bool:
        """Whether something else has to come first."""
        if self.gate is not None and self.gate.holds(written.channel, update):
            return True
        if self.mentions is not None and self.mentions.holds(written.event, update):
            return True
        ours = self._positions.is_ours(written.channel, written.thread)
        addressed = is_addressed(written, self._account, self._rules(), ours=ours)
        # What is not for us is taken in as it is: nobody looks at its files.
        return self.stubs is not None and self.stubs.holds(written.channel, written.event if addressed else {}, update)

    def note(self, written: Written) -> None:
        """A message that was taken in before was seen again: it may be further than what is known of its place."""
        ours, rules = self._positions.is_ours(written.channel, written.thread), self._rules()
        addressed = is_addressed(written, self._account, rules, ours=ours)
        message = message_of(written, self._account, rules, NOBODY, addressed=addressed)
        self._positions.note(written, ours=self._joins(message, ours=ours))

    def _joins(self, message: InboundMessage, *, ours: bool) -> bool:
        """Whether we are in a message's thread from now on: not because a stranger, who is not answered, calls us."""
        return message.addressed and (ours or self._host.admits(message))

    async def message(self, written: Written, update_id: str | None = None) -> Accepted | None:
        """Hand on a message, or the edit of one. Raises `NotStoredError`."""
        ours = self._positions.is_ours(written.channel, written.thread)
        rules = self._rules()
        addressed = is_addressed(written, self._account, rules, ours=ours)
        names = await self._names.of(written.people(), written.channels()) if addressed else NOBODY
        if self.stubs is not None:
            written = replace(written, event=self.stubs.completed(written.event))
        message = message_of(written, self._account, rules, names, addressed=addressed)
        message = replace(message, update_id=update_id, attachments=self._named(message.attachments))
        into = addressed and not (ours or written.is_dm or written.changed) and message.quote is None
        if into and self._host.admits(message):
            message = replace(message, quote=await self._context.before(written))
        if written.changed:
            await self._host.amend(message)
            return None
        cursor = self._positions.note(written, ours=self._joins(message, ours=ours))
        accepted = await self._host.accept(replace(message, cursor=cursor))
        if accepted.state is InboundState.PENDING and not accepted.duplicate:
            self._signals.waiting(written.channel, written.ts)
        self._strangers.note(message, accepted)
        return accepted

    async def _act(self, kind: str, payload: Mapping[str, Any]) -> InboundMessage | None:
        """A command, or something that was pressed."""
        user = payload.get("user_id") or (payload.get("user") or {}).get("id") or ""
        channel = payload.get("channel_id") or (payload.get("channel") or {}).get("id") or ""
        if kind != PRESS and user and channel:
            room = await self._rooms.for_command(str(channel), str(user))
            if room != channel:
                channel, payload = room, {**payload, "channel_id": room}
        names = await self._names.of([str(user)], [] if str(channel).startswith("D") else [str(channel)])
        if kind == PRESS:
            return press_of(payload, self._account, names)
        return command_of(payload, self._account, self._rules(), names)

    def _named(self, attachments: tuple[Attachment, ...]) -> tuple[Attachment, ...]:
        """Files by an id that tells where they are."""
        if not self._prefix:
            return attachments
        return tuple(replace(each, id=f"{self._prefix}{each.id}") for each in attachments)
