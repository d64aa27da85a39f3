"""The inbox: makes each message durable, once and in order of receipt, before its platform is told so."""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import replace
from datetime import datetime
from typing import Final

from config import GatewayConfig, LiveConfig
from gateway.access import Role, Sender, Verdict
from gateway.access.door import Door, limited_entry, note
from gateway.audit import AuditEntry
from gateway.delivery import NewDelivery, add_delivery
from gateway.inbound import Extra, InboundRecord, record_from_row, target_of, without_secrets
from gateway.metrics.meters import Meters
from gateway.ports import Accepted, Clock, InboundMessage, InboundState, StorageBusyError, Target
from gateway.session.key import SlotIdentity
from gateway.session.slots import present_identity, slot_number
from gateway.session.store import SessionStore
from gateway.source import SessionSource
from gateway.storage import inbound_queries, outbox_queries, queries
from gateway.storage.codec import clean_text, dump, to_micros
from gateway.storage.database import Database
from gateway.storage.probe import Probe, no_probe
from gateway.updates import drop_update
from gateway.values import value

log = logging.getLogger(__name__)

RECENT_INBOUND: Final = 1_000
"""Messages back from the newest among which the rest of a group is looked for: its parts come within seconds."""

PAGE: Final = 500
KEPT_OF_REFUSED: Final = 500
"""Characters that are kept of a message refused for its length, so that people recognise it."""


class InvalidMessageError(ValueError):
    """An adapter handed over a message that can be neither answered nor refused: it names no chat, or has no id."""


@value
class _Admission:
    """What is decided about a message before it is stored. `key` keeps a notice from being given twice; `urgent`: it
    does not wait in its session's queue."""

    state: InboundState
    text: str | None
    reason: str | None = None
    notice: str | None = None
    key: str | None = None
    pairs: bool = False
    role: Role | None = None
    noted: AuditEntry | None = None
    urgent: bool = False


@value
class _Stored:
    """A receipt, the slot and source of the message as its chat is called now, and whether its sender is told
    something."""

    accepted: Accepted
    identity: SlotIdentity
    source: SessionSource
    told: tuple[Target, ...] = ()


class Inbox:
    """Takes messages in. `on_message` gets each one that is to be answered, `on_delivery` the place of each notice of
    refusal, both in order of receipt and after the commit. `is_urgent` says of a text that it does not wait in its
    session's queue (`/stop`), so that a full one does not keep it out. `is_full` says that too much waits in all
    sessions together. `door` decides who is let in; by default the configuration alone does. `redact` takes secrets
    of the configuration out of a text: they are for no agent, and for no transcript.
    """

    def __init__(
        self,
        database: Database,
        store: SessionStore,
        config: GatewayConfig | LiveConfig,
        clock: Clock,
        *,
        on_message: Callable[[InboundRecord], None],
        on_delivery: Callable[[Target], object],
        is_urgent: Callable[[str], bool] = lambda _text: False,
        is_full: Callable[[], bool] = lambda: False,
        door: Door | None = None,
        redact: Callable[[str], str] = str,
        probe: Probe = no_probe,
        meters: Meters | None = None,
    ) -> None:
        self._database = database
        self._store = store
        self._config = LiveConfig.of(config)
        self._clock = clock
        self._on_message = on_message
        self._on_delivery = on_delivery
        self._is_urgent = is_urgent
        self._is_full = is_full
        self._door = door or Door(self._config, clock)
        self._redact = redact
        self._probe = probe
        self._meters = meters or Meters()

    def accept(self, message: InboundMessage, *, operator: bool) -> "asyncio.Future[Accepted]":
        """Queue the message to the database before returning; the future ends once it is durable.

        Raises `InvalidMessageError`, `StorageBusyError` and `StorageError`; the future raises `StorageError`.
        """
        check_ids(message)
        urgent = self._is_urgent(message.text)
        if self._is_full() and not urgent:
            raise StorageBusyError("too many messages wait for an answer: hand this one over again later")
        received_at = self._clock.now()
        identity = self._store.identity(message.source)
        message = self.clean(message)
        extra = Extra.of(message, operator=operator)
        sender = Sender.of_message(message, operator=operator)
        admission = self._admit(message, sender, urgent=urgent)
        stored = self._database.write(
            lambda connection: self._store_message(connection, message, sender, identity, extra, admission, received_at)
        )
        result: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        stored.add_done_callback(lambda done: self._announce(done, result, message, extra, received_at))
        return result

    def clean(self, message: InboundMessage) -> InboundMessage:
        """What may be kept of a message, whether it is new or was edited: it is for the agent, and for transcripts."""
        return self._door.disguise(without_secrets(message, self._redact))

    def admits(self, message: InboundMessage, *, operator: bool) -> bool:
        """Whether who wrote a message is let in at present, and it is meant for us."""
        return self._door.gate.decide(Sender.of_message(message, operator=operator)).allowed

    def bars(self, message: InboundMessage, *, operator: bool) -> bool:
        """Whether who wrote a message is not let in, for sure."""
        return self._door.gate.bars(Sender.of_message(message, operator=operator))

    async def knows_group(self, platform: str, account: str, chat: str, group_id: str) -> bool:
        """Whether a message of this group was taken in lately, and not ignored. Raises `StorageError`,
        `StorageBusyError`."""

        def job(connection: sqlite3.Connection) -> bool:
            values = (RECENT_INBOUND, platform, account, chat, group_id)
            return connection.execute(inbound_queries.RECENT_GROUP, values).fetchone() is not None

        return await self._database.write(job)

    async def known(self, platform: str, account: str, chat: str, message_ids: Collection[str]) -> frozenset[str]:
        """Those of these messages of a chat that were taken in. Raises `StorageError`, `StorageBusyError`."""
        values = (platform, account, chat, dump(list(message_ids)))

        def job(connection: sqlite3.Connection) -> frozenset[str]:
            return frozenset(row[0] for row in connection.execute(inbound_queries.KNOWN_INBOUND, values))

        return await self._database.write(job)

    async def pending(self) -> AsyncIterator[InboundRecord]:
        """All messages that wait, in order of receipt: what an earlier process left."""
        after = 0
        while True:
            rows = await self._database.read(queries.PENDING_INBOUND, (after, PAGE))
            for row in rows:
                try:
                    yield record_from_row(row)
                except (ValueError, TypeError, LookupError) as error:
                    # An adapter that is not installed any more, say; the message waits until it is again.
                    log.warning("message %d cannot be read, it stays in the inbox: %s", row["id"], error)
            if len(rows) < PAGE:
                return
            after = rows[-1]["id"]

    def _admit(self, message: InboundMessage, sender: Sender, *, urgent: bool) -> _Admission:
        ruling = self._door.rule(sender, urgent=urgent, sent_at=message.sent_at)
        role, noted = ruling.role, ruling.noted
        if not ruling.kept:
            pairs = ruling.verdict is Verdict.PAIR
            return _Admission(InboundState.IGNORED, None, ruling.reason, ruling.notice, pairs=pairs, noted=noted)
        if ruling.verdict is not Verdict.ALLOW:
            kept = clean_text(message.text[:KEPT_OF_REFUSED])
            return _Admission(InboundState.REFUSED, kept, ruling.reason, ruling.notice, noted=noted)
        limit = self._config.current.inbox.max_message_chars
        if len(message.text) > limit:
            notice = (
                f"Your message has {len(message.text):,} characters; at most {limit:,} are taken. "
                "Send it in parts, or as a file."
            )
            kept = clean_text(message.text[:KEPT_OF_REFUSED])
            return _Admission(InboundState.REFUSED, kept, "too long", notice)
        text = clean_text(message.text)
        if not text.strip() and not message.attachments:
            return _Admission(
                InboundState.REFUSED, text, "empty", "Your message was empty: there is nothing to answer."
            )
        return _Admission(InboundState.PENDING, text, role=role, urgent=urgent)

    def _store_message(
        self,
        connection: sqlite3.Connection,
        message: InboundMessage,
        sender: Sender,
        identity: SlotIdentity,
        extra: Extra,
        admission: _Admission,
        received_at: datetime,
    ) -> _Stored:
        platform, account, source = str(message.source.platform), message.account, message.source
        if message.cursor is not None:
            cursor = (platform, account, message.cursor.name, message.cursor.value)
            connection.execute(queries.PUT_CURSOR, cursor)
        drop_update(connection, platform, account, message.update_id)
        kept = admission.state is not InboundState.IGNORED
        if kept and (present := present_identity(connection, identity)) is not identity:
            identity, source = present, replace(source, chat_id=present.chat)
        slot_id = slot_number(connection, identity) if kept else None
        if admission.state is InboundState.PENDING and not admission.urgent:
            admission = self._bound_queue(connection, slot_id, admission)
            admission = self._bound_tokens(connection, sender, admission, received_at)
        ended_at = None if admission.state is InboundState.PENDING else to_micros(received_at)
        key = (platform, account, message.source.chat_id, message.message_id)
        added = connection.execute(
            queries.ADD_INBOUND,
            (
                *key,
                slot_id,
                self._store.origin_of(source) if kept else None,
                admission.text,
                message.group_id if kept else None,
                to_micros(received_at),
                admission.state,
                admission.reason,
                ended_at,
                extra.dump() if kept else None,
            ),
        )
        if not added.rowcount:
            row = connection.execute(queries.FIND_INBOUND, key).fetchone()
            state = InboundState(row["state"])
            return _Stored(Accepted(row["id"], state, duplicate=True, reason=row["reason"]), identity, source)
        accepted = Accepted(added.lastrowid or 0, admission.state, reason=admission.reason)
        note(connection, admission.noted, received_at)
        notices = self._notices(connection, message, sender, source, admission, received_at)
        for notice in notices:
            add_delivery(connection, notice, received_at)
        return _Stored(accepted, identity, source, told=tuple(notice.target for notice in notices))

    def _notices(
        self,
        connection: sqlite3.Connection,
        message: InboundMessage,
        sender: Sender,
        source: SessionSource,
        admission: _Admission,
        received_at: datetime,
    ) -> tuple[NewDelivery, ...]:
        """What is said about a message that comes to no turn: to its sender, and to who can let them in."""
        if admission.pairs:
            return self._door.welcome(connection, sender, message.account, received_at)
        if admission.notice is None:
            return ()
        answers, thread = ((message.message_id,), message.reply_thread) if source is message.source else ((), None)
        target = target_of(source, message.account, thread)
        return (NewDelivery(target, "error", admission.notice, answers=answers, key=admission.key),)

    def _bound_queue(self, connection: sqlite3.Connection, slot_id: int | None, admission: _Admission) -> _Admission:
        limit = self._config.current.inbox.max_queued_per_session
        (waiting,) = connection.execute(queries.COUNT_QUEUED, (slot_id,)).fetchone()
        if waiting < limit:
            return admission
        notice = f"{waiting} of your messages still wait for an answer; this one was not taken. Send it again later."
        return _Admission(InboundState.REFUSED, admission.text, "queue full", notice)

    def _bound_tokens(
        self, connection: sqlite3.Connection, sender: Sender, admission: _Admission, received_at: datetime
    ) -> _Admission:
        if admission.state is not InboundState.PENDING:
            return admission
        limited = self._door.over_day(connection, sender, admission.role, received_at)
        if limited is None:
            return admission
        reason, kept = f"over limits.{limited.limit}", (admission.text or "")[:KEPT_OF_REFUSED]
        told = connection.execute(outbox_queries.HAS_KEY, (limited.key,)).fetchone() is not None
        noted = None if told else limited_entry(sender, limited)
        return _Admission(InboundState.REFUSED, kept, reason, None if told else limited.words, limited.key, noted=noted)

    def _announce(
        self,
        done: "asyncio.Future[_Stored]",
        result: "asyncio.Future[Accepted]",
        message: InboundMessage,
        extra: Extra,
        received_at: datetime,
    ) -> None:
        """On the loop, right after the commit and in its order; nobody need wait for `result` any more."""
        error, platform = done.exception(), message.source.platform
        if error is not None:
            self._meters.inbound[platform, "not_stored"] += 1
            if not result.done():
                result.set_exception(error)
            return
        self._probe("inbox.accepted")
        stored = done.result()
        self._meters.inbound[platform, _outcome(stored.accepted)] += 1
        try:
            self._pass_on(stored, message, extra, received_at)
        except Exception:
            log.exception(
                "message %d is stored, but was not passed on; the next start does", stored.accepted.inbound_id
            )
        if not result.done():
            result.set_result(stored.accepted)

    def _pass_on(self, stored: _Stored, message: InboundMessage, extra: Extra, received_at: datetime) -> None:
        accepted = stored.accepted
        for target in stored.told:
            self._on_delivery(target)
        if accepted.duplicate or accepted.state is not InboundState.PENDING:
            return
        record = InboundRecord(
            id=accepted.inbound_id,
            message_id=message.message_id,
            identity=stored.identity,
            source=stored.source,
            account=message.account,
            text=clean_text(message.text),
            group_id=message.group_id,
            received_at=received_at,
            extra=extra,
            moved=stored.source is not message.source,
        )
        self._on_message(record)


def _outcome(accepted: Accepted) -> str:
    """What became of a message, in the words of `gateway.metrics.names.INBOUND`."""
    if accepted.duplicate:
        return "duplicate"
    return "accepted" if accepted.state is InboundState.PENDING else accepted.state.value


def check_ids(message: InboundMessage) -> None:
    """Raises `InvalidMessageError` for a message that cannot be told from others."""
    if not message.source.chat_id:
        raise InvalidMessageError("the message names no chat: its answer would have no place to go")
    if not message.message_id:
        raise InvalidMessageError("the message has no id: it could not be told from a copy of itself")
    if any(part != clean_text(part) for part in _ids(message)):
        raise InvalidMessageError("an id in the message is no text: it has NUL or half of a surrogate pair")


def _ids(message: InboundMessage) -> list[str]:
    source = message.source
    ids = (source.chat_id, source.thread_id, source.user_id, source.user_id_alt, message.reply_thread)
    return [part for part in (*ids, message.message_id, message.account, message.group_id) if part]
