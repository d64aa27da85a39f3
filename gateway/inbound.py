"""A message that is in the inbox: its record in memory, and what the database has of it besides its text."""

import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Final

from gateway.brought import brought_from
from gateway.logs import redacted
from gateway.ports import Attachment, Brought, InboundMessage, MediaKind, Quote, Target
from gateway.session.key import SlotIdentity
from gateway.session.text import Content
from gateway.source import SessionSource
from gateway.storage.codec import clean_text, dump, from_micros
from gateway.values import value

IDENTITY_PARTS: Final = ("agent", "platform", "chat_type", "chat", "thread", "participant")

QUOTED_CHARS: Final = 1_000
"""Characters that are kept of what a message answers: enough to know which message is meant."""

AUTHOR_CHARS: Final = 100
"""Characters that are kept of the name of who wrote what a message answers."""


@dataclass(frozen=True, slots=True)
class Relay:
    """What a message carries that an agent wrote to a session from another one.

    `depth` counts how often it was passed on since somebody wrote, and `root` names the turn where that began.
    """

    to_session: str
    depth: int
    root: str


@value
class Extra:
    """What belongs to a message besides its text. `edits` are the texts that its sender has given earlier messages,
    `edits_of_others` those that other people of the conversation have: the agent is told of them with this one.

    Of a message that repeats a turn, `retry_of` is that turn, and `content` what the agent gets, files and all, as it
    stood in the transcript. `relay` is set where an agent wrote it. `reply_thread` is where in its chat an answer goes.

    The rest is what its sender is let in by, see `gateway.access`: it is decided again when the message's turn comes.
    """

    attachments: tuple[Attachment, ...] = ()
    quote: Quote | None = None
    edits: tuple[str, ...] = ()
    edits_of_others: tuple[str, ...] = ()
    content: Content | None = None
    retry_of: str | None = None
    relay: Relay | None = None
    brought: Brought | None = None
    reply_thread: str | None = None
    roles: tuple[str, ...] = ()
    team: str | None = None
    from_bot: bool = False
    operator: bool = False

    @classmethod
    def of(cls, message: InboundMessage, *, operator: bool = False) -> "Extra":
        """What came with a message, as it is kept. That the terminal is the owner's need not be noted."""
        return cls(
            message.attachments,
            None if message.quote is None else _bounded(message.quote),
            roles=message.roles,
            team=message.team,
            from_bot=message.from_bot,
            brought=message.brought,
            reply_thread=message.reply_thread,
            operator=operator and not message.source.is_local,
        )

    def of_sender(self, other: "Extra") -> "Extra":
        """The same from the sender of another message."""
        return replace(self, roles=other.roles, team=other.team, from_bot=other.from_bot, operator=other.operator)

    def dump(self) -> str | None:
        """As the database has it; None if there is nothing."""
        found: dict[str, Any] = {}
        if self.attachments:
            found["attachments"] = [_filled(asdict(attachment)) for attachment in self.attachments]
        if self.quote is not None:
            found["quote"] = _filled(asdict(self.quote))
        if self.edits:
            found["edits"] = list(self.edits)
        if self.edits_of_others:
            found["edits_of_others"] = list(self.edits_of_others)
        if self.content is not None:
            found["content"] = self.content
        if self.retry_of is not None:
            found["retry_of"] = self.retry_of
        if self.relay is not None:
            found["relay"] = asdict(self.relay)
        if self.brought is not None:
            found["brought"] = asdict(self.brought)
        if self.reply_thread is not None:
            found["reply_thread"] = self.reply_thread
        if self.roles:
            found["roles"] = list(self.roles)
        if self.team is not None:
            found["team"] = self.team
        if self.from_bot:
            found["from_bot"] = True
        if self.operator:
            found["operator"] = True
        return dump(found) if found else None

    @classmethod
    def load(cls, text: str | None) -> "Extra":
        """What `dump` wrote. Raises ValueError, KeyError and TypeError for what it did not write."""
        if text is None:
            return NOTHING
        found = json.loads(text)
        quote = found.get("quote")
        return cls(
            attachments=tuple(_attachment(values) for values in found.get("attachments", ())),
            quote=None if quote is None else Quote(**quote),
            edits=tuple(found.get("edits", ())),
            edits_of_others=tuple(found.get("edits_of_others", ())),
            reply_thread=found.get("reply_thread"),
            roles=tuple(map(str, found.get("roles", ()))),
            team=found.get("team"),
            from_bot=found.get("from_bot") is True,
            operator=found.get("operator") is True,
            content=found.get("content"),
            retry_of=found.get("retry_of"),
            relay=Relay(**found["relay"]) if "relay" in found else None,
            brought=brought_from(found["brought"]) if "brought" in found else None,
        )


NOTHING: Final = Extra()


@value
class InboundRecord:
    """A message that is in the inbox and waits for its turn.

    `moved`: it came in under an id that its chat does not have any more, so that its own id means nothing there.
    """

    id: int
    message_id: str
    identity: SlotIdentity
    source: SessionSource
    account: str
    text: str
    group_id: str | None
    received_at: datetime
    extra: Extra = NOTHING
    moved: bool = False

    @property
    def target(self) -> Target:
        """Where the answer goes. What led there in a chat of another id means nothing in this one."""
        return target_of(self.source, self.account, None if self.moved else self.extra.reply_thread)

    @property
    def silent(self) -> bool:
        """Whether no chat shows what is said in its session: whoever wrote it is told."""
        return self.identity.is_private

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        """The files that came with it."""
        return self.extra.attachments

    @property
    def quote(self) -> Quote | None:
        """What it answers, where it says so."""
        return self.extra.quote

    @property
    def answerable(self) -> tuple[str, ...]:
        """The id by which an answer can name it, if there is one."""
        return () if self.moved else (self.message_id,)

    def at(self, identity: SlotIdentity) -> "InboundRecord":
        """The same message in a slot of the chat's present id."""
        if identity == self.identity:
            return self
        source = replace(self.source, chat_id=identity.chat)
        return replace(self, identity=identity, source=source, moved=True)


@dataclass(frozen=True, slots=True)
class Edited:
    """A message that waits says something else now."""

    record: InboundRecord


@dataclass(frozen=True, slots=True)
class Deleted:
    """A message that waited was deleted where it was written."""

    record: InboundRecord


def without_secrets(message: InboundMessage, redact: Callable[[str], str]) -> InboundMessage:
    """The message, and all that its sender gives along with its text, as `redact` leaves it."""
    changed: dict[str, Any] = {}
    if (text := redact(message.text)) is not message.text:
        changed["text"] = text
    if (quote := message.quote) is not None:
        author = None if quote.author is None else redact(quote.author)
        changed["quote"] = replace(quote, text=redact(quote.text), author=author)
    if message.attachments:
        named = ((each, None if each.name is None else redact(each.name)) for each in message.attachments)
        changed["attachments"] = tuple(replace(each, name=name) for each, name in named)
    if message.brought is not None:
        changed["brought"] = _brought_without_secrets(message.brought, redact)
    return replace(message, **changed) if changed else message


def _brought_without_secrets(brought: Brought, redact: Callable[[str], str]) -> Brought:
    tools = (
        replace(tool, description=redact(tool.description), parameters=redacted(tool.parameters, redact))
        for tool in brought.tools
    )
    instructions = None if brought.instructions is None else redact(brought.instructions)
    messages = tuple(redacted(message, redact) for message in brought.messages)
    return replace(brought, messages=messages, instructions=instructions, tools=tuple(tools))


def target_of(source: SessionSource, account: str, reply_thread: str | None = None) -> Target:
    """Where an answer to this source goes."""
    return Target(source.platform, source.chat_id or "", reply_thread or source.thread_id, account)


def record_from_row(row: sqlite3.Row) -> InboundRecord:
    """The record of a stored message. Raises ValueError, LookupError and TypeError for one that cannot be read."""
    source = SessionSource.from_dict(json.loads(row["source"]))
    return InboundRecord(
        id=row["id"],
        message_id=row["message_id"],
        identity=SlotIdentity(*(row[f"slot_{part}"] for part in IDENTITY_PARTS)),
        source=source,
        account=row["account"],
        text=row["text"],
        group_id=row["group_id"],
        received_at=from_micros(row["received_at"]),
        extra=Extra.load(row["extra"]),
        moved=row["chat"] != source.chat_id,
    )


def _bounded(quote: Quote) -> Quote:
    text, author = clean_text(quote.text), None if quote.author is None else clean_text(quote.author)[:AUTHOR_CHARS]
    if len(text) > QUOTED_CHARS:
        text = f"{text[:QUOTED_CHARS]}…"
    return replace(quote, text=text, author=author)


def _filled(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _attachment(values: Mapping[str, Any]) -> Attachment:
    return Attachment(**{**values, "kind": MediaKind(values["kind"])})
