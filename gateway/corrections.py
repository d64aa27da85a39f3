"""What platforms say later about what has come in: a message was edited or deleted, a chat has another id."""

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from config import GatewayConfig, LiveConfig, Platform
from gateway.access import Gate, Sender
from gateway.delivery import NewDelivery, add_delivery
from gateway.inbound import Deleted, Edited, Extra, InboundRecord, record_from_row
from gateway.inbox import check_ids
from gateway.ports import Clock, InboundMessage, InboundState, Target
from gateway.session.key import SlotIdentity
from gateway.session.slots import identity_from_row
from gateway.storage import inbound_queries, queries, upkeep
from gateway.storage.codec import clean_text, to_micros
from gateway.storage.database import Database
from gateway.storage.moves import Move, move_chat
from gateway.storage.shadow import is_hiding
from gateway.updates import drop_update

log = logging.getLogger(__name__)

T = TypeVar("T")

SEEN_BY_THE_AGENT: Final = (
    InboundState.RUNNING,
    InboundState.ANSWERED,
    InboundState.MERGED,
    InboundState.FAILED,
    InboundState.DEAD,
)
"""States of messages that an edit may be told of, where they came to a turn."""


@dataclass(frozen=True, slots=True)
class ChatMove:
    """A chat that has another id now: `slots` are those that have moved, each as it was and as it is."""

    platform: Platform
    account: str
    old: str
    new: str
    slots: tuple[tuple[SlotIdentity, SlotIdentity], ...]


@dataclass(frozen=True, slots=True)
class _Amended:
    """What an edit came to: a message that waits, as it is now, or a place where its sender is told something."""

    record: InboundRecord | None = None
    told: Target | None = None


NOTHING: Final = _Amended()


class Corrections:
    """Puts edits, deletions and moves of chats in force. `on_changed` gets what became of each message that waits,
    `on_moved` each move, `on_delivery` the place of each notice: after the commit, and in the order of the commits.
    `clean` makes of a message what may be kept of it, see `gateway.inbox.Inbox.clean`.
    """

    def __init__(
        self,
        database: Database,
        config: GatewayConfig | LiveConfig,
        clock: Clock,
        *,
        on_changed: Callable[[Edited | Deleted], object],
        on_moved: Callable[[ChatMove], object],
        on_delivery: Callable[[Target], object],
        gate: Gate | None = None,
        clean: Callable[[InboundMessage], InboundMessage] = lambda message: message,
    ) -> None:
        self._database = database
        self._config = LiveConfig.of(config)
        self._gate = gate or Gate(self._config)
        self._clean = clean
        self._clock = clock
        self._on_changed = on_changed
        self._on_moved = on_moved
        self._on_delivery = on_delivery

    # --- edits -----------------------------------------------------------------------------------------------

    def amend(self, message: InboundMessage, *, operator: bool) -> "asyncio.Future[None]":
        """Take in what a message says now: before its turn in place of what it said, later as news for the agent.

        What a stranger does changes nothing, nor does an edit of a message that came to no turn. Raises
        `InvalidMessageError` and `StorageBusyError`; the future raises `StorageError`.
        """
        check_ids(message)
        message = self._clean(message)
        sender = Sender.of_message(message, operator=operator)
        decision = self._gate.decide(sender)
        self._gate.check(sender, decision)
        allowed = decision.allowed

        def job(connection: sqlite3.Connection) -> _Amended:
            platform = str(message.source.platform)
            if message.cursor is not None:
                values = (platform, message.account, message.cursor.name, message.cursor.value)
                connection.execute(queries.PUT_CURSOR, values)
            key = (platform, message.account, message.source.chat_id, message.message_id)
            row = connection.execute(inbound_queries.INBOUND_BY_KEY, key).fetchone()
            if row is not None or not is_hiding(connection):
                # Else the message may be there all the same: its edit is handed over again at the next start.
                drop_update(connection, platform, message.account, message.update_id)
            return self._amend(connection, message, row) if allowed and row is not None else NOTHING

        return self._write(job, self._amended)

    def _amend(self, connection: sqlite3.Connection, message: InboundMessage, row: sqlite3.Row) -> _Amended:
        text = clean_text(message.text)
        if row["state"] == InboundState.PENDING:
            return self._replace(connection, row, message, text)
        if row["state"] in SEEN_BY_THE_AGENT and row["turn_id"] is not None:
            text = text[: self._config.current.inbox.max_message_chars]
            news = None if text == row["text"] or not text.strip() else text
            if news != row["edited"]:
                connection.execute(inbound_queries.NOTE_EDIT, (news, row["id"]))
        return NOTHING

    def _replace(
        self, connection: sqlite3.Connection, row: sqlite3.Row, message: InboundMessage, text: str
    ) -> _Amended:
        """Give a message that waits its new text; one that is too long is told so, and the old one stays."""
        before = record_from_row(row)
        given = Extra.of(message)
        extra = replace(before.extra, attachments=given.attachments, quote=given.quote or before.quote)
        if (text, extra) == (before.text, before.extra) or not (text.strip() or extra.attachments):
            return NOTHING
        limit = self._config.current.inbox.max_message_chars
        if len(text) > limit:
            words = (
                f"Your message has {len(text):,} characters since you edited it; at most {limit:,} are taken. "
                "I go by what it said before."
            )
            notice = NewDelivery(before.target, "error", words, before.answerable)
            add_delivery(connection, notice, self._clock.now())
            return _Amended(told=before.target)
        connection.execute(inbound_queries.AMEND_INBOUND, (text, extra.dump(), before.id))
        return _Amended(record=replace(before, text=text, extra=extra))

    def _amended(self, outcome: _Amended) -> None:
        if outcome.record is not None:
            self._on_changed(Edited(outcome.record))
        if outcome.told is not None:
            self._on_delivery(outcome.told)

    # --- deletions -------------------------------------------------------------------------------------------

    def withdraw(
        self, platform: Platform, account: str, chat: str, message_id: str, update_id: str | None
    ) -> "asyncio.Future[None]":
        """End a message that waits and was deleted, and keep nothing of it but its id; once its turn has begun, or if
        it never came, nothing happens.

        Raises `StorageBusyError`; the future raises `StorageError`.
        """
        key, at = (str(platform), account, chat, message_id), to_micros(self._clock.now())

        def job(connection: sqlite3.Connection) -> InboundRecord | None:
            row = connection.execute(inbound_queries.INBOUND_BY_KEY, key).fetchone()
            if row is not None or not is_hiding(connection):
                # Else the message may be there all the same: its deletion is handed over again at the next start.
                drop_update(connection, str(platform), account, update_id)
            if row is None or row["state"] != InboundState.PENDING:
                return None
            connection.execute(upkeep.WITHDRAW_MESSAGE, (at, row["id"]))
            return record_from_row(row)

        return self._write(job, self._withdrawn)

    def _withdrawn(self, record: InboundRecord | None) -> None:
        if record is not None:
            log.info("a message of %s was deleted before its turn: it is not answered", record.source.platform)
            self._on_changed(Deleted(record))

    # --- moves -----------------------------------------------------------------------------------------------

    def move_chat(
        self, platform: Platform, account: str, old: str, new: str, update_id: str | None
    ) -> "asyncio.Future[None]":
        """Give a chat's sessions, and all that waits for it, the chat's new id. To do it twice changes nothing more.

        Raises ValueError for an id that is none, and `StorageBusyError`; the future raises `StorageError`.
        """
        if any(not chat or chat != clean_text(chat) for chat in (old, new)):
            raise ValueError(f"a chat moves from one id to another, not from {old!r} to {new!r}")
        move = Move(str(platform), account, old, new, to_micros(self._clock.now()))

        def job(connection: sqlite3.Connection) -> ChatMove:
            drop_update(connection, str(platform), account, update_id)
            before = [identity_from_row(row) for row in move_chat(connection, move)]
            slots = tuple((identity, replace(identity, chat=new)) for identity in before)
            return ChatMove(platform, account, old, new, slots)

        return self._write(job, self._moved)

    def _moved(self, move: ChatMove) -> None:
        if move.old == move.new:
            return
        log.info("a chat of %s has another id now; %d conversations went with it", move.platform, len(move.slots))
        if keys := _keys_with(self._config.current, move):
            words = "the configuration still has the old id of a chat of %s, %s: write %s in its place in %s"
            log.warning(words, move.platform, move.old, move.new, ", ".join(keys))
        self._on_moved(move)
        self._on_delivery(target_of_chat(move))

    def _write(self, job: Callable[[sqlite3.Connection], T], then: Callable[[T], None]) -> "asyncio.Future[None]":
        """Queue a job; what follows from it is done on the loop right after its commit, whoever still waits."""
        result: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def finish(done: "asyncio.Future[T]") -> None:
            error = done.exception()
            if error is None:
                try:
                    then(done.result())
                except Exception:
                    log.exception("a correction is stored, but was not passed on; the next start does")
            if not result.done():
                if error is None:
                    result.set_result(None)
                else:
                    result.set_exception(error)

        self._database.write(job).add_done_callback(finish)
        return result


def _keys_with(config: GatewayConfig, move: ChatMove) -> list[str]:
    """The keys of the configuration that mean the chat by the id that it had: what they say holds for it no more."""
    section, keys = config.platforms.get(move.platform), []
    if section is not None and move.old in section.allowed_chats:
        keys.append(f"platforms.{move.platform}.allowed_chats")
    if section is not None and section.home_channel is not None and section.home_channel.chat_id == move.old:
        keys.append(f"platforms.{move.platform}.home_channel")
    for name, rule in config.access.rules.items():
        if move.old in rule.chats and move.platform in (rule.platforms or (move.platform,)):
            keys.append(f"access.rules.{name}.chats")
    for name, hook in config.webhooks.items():
        if (hook.target or "").split(":")[:2] == [str(move.platform), move.old]:
            keys.append(f"webhooks.{name}.target")
    return keys


def target_of_chat(move: ChatMove) -> Target:
    """The chat under its new id."""
    return Target(move.platform, move.new, None, move.account)
