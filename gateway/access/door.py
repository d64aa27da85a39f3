"""What becomes of a message before it is stored: the decision, the limits, and what its sender is told."""

import math
import sqlite3
from collections import Counter, OrderedDict
from collections.abc import Hashable
from dataclasses import replace
from datetime import datetime
from typing import Final

from config import GatewayConfig, LiveConfig
from gateway import audit
from gateway.access.decision import Role, Verdict
from gateway.access.gate import Gate, Sender
from gateway.access.people import person_of
from gateway.audit import AuditEntry
from gateway.delivery import NewDelivery
from gateway.limits import LATE, MAX_REMEMBERED, Buckets, Limited, Limits, Recent
from gateway.pairing import STRANGER, Pairing
from gateway.ports import Clock, InboundMessage
from gateway.session.pii import redact_phones
from gateway.values import value

STRANGERS_NOTED_PER_HOUR: Final = 60
"""Strangers who were kept out that the audit takes in an hour: a crowd must not fill the disk."""

HOUR: Final = 3_600.0

LOOP_PAUSE: Final = 600.0
"""Seconds without a message of a bot that end a row of them in all threads of a chat: bots that answer each other do it
sooner, and one that opens a thread each time would otherwise begin a new row each time."""

TO_BE_PAIRED: Final = f"{STRANGER} Write me a direct message: there you get a code to be let in by."


@value
class Ruling:
    """What becomes of a message. `kept`: some of it is stored, its sender being let in. `notice` is what they are
    told; `noted` goes to the audit."""

    verdict: Verdict
    reason: str
    role: Role | None = None
    kept: bool = False
    notice: str | None = None
    noted: AuditEntry | None = None


class Door:
    """Rules on each message, and carries out in its commit what follows. `pairing`: strangers can be given codes.
    `secret` is the installation's: what stands for a phone number is keyed by it."""

    def __init__(
        self,
        config: GatewayConfig | LiveConfig,
        clock: Clock,
        *,
        gate: Gate | None = None,
        pairing: Pairing | None = None,
        limits: Limits | None = None,
        counters: Counter[str] | None = None,
        secret: bytes | None = None,
    ) -> None:
        self._config = LiveConfig.of(config)
        self._clock = clock
        self.gate = gate or Gate(self._config)
        self._pairing = pairing
        self._counters = Counter() if counters is None else counters
        self._limits = limits or Limits(self._config, clock)
        self._secret = secret
        self._told = Recent()
        self._noted = Recent()
        self._strangers = Buckets(HOUR)
        self._bots: OrderedDict[Hashable, tuple[int, float]] = OrderedDict()
        """Messages of bots in a row and when the last one came, by chat, and by thread of a chat."""

    def rule(self, sender: Sender, *, urgent: bool = False, sent_at: datetime | None = None) -> Ruling:
        """What becomes of a message, on the event loop and at once. `urgent`: it is a command that waits for no
        turn. Raises `StorageError` where that cannot be known at present."""
        decision = self.gate.decide(sender)
        self.gate.check(sender, decision)
        if decision.verdict is Verdict.REFUSE:
            return self._refused(sender, decision.reason)
        if decision.verdict is Verdict.PAIR:
            return Ruling(Verdict.PAIR, decision.reason)
        if decision.verdict is not Verdict.ALLOW:
            return Ruling(decision.verdict, decision.reason, noted=self._knock(sender, decision.reason))
        if not self._breaks_loop(sender):
            return Ruling(Verdict.IGNORE, "bots have answered each other for long enough here", decision.role)
        late = sent_at is not None and sent_at.tzinfo is not None and self._clock.now() - sent_at > LATE
        limited = None if decision.role is Role.OWNER else self._limits.take(sender.source, urgent=urgent, late=late)
        if limited is not None:
            return self._limited(sender, limited, decision.role)
        return Ruling(Verdict.ALLOW, decision.reason, decision.role, kept=True)

    def disguise(self, message: InboundMessage) -> InboundMessage:
        """The message as the agent may have it: with `redact_pii`, names of others in it are no phone numbers."""
        quote = message.quote
        if not self._config.current.redact_pii or quote is None or quote.author is None:
            return message
        return replace(message, quote=replace(quote, author=redact_phones(quote.author, self._secret)))

    def over_day(
        self, connection: sqlite3.Connection, sender: Sender, role: Role | None, now: datetime
    ) -> Limited | None:
        """The limit on a day's tokens that keeps a message out, as part of a job of the writer."""
        return None if role is Role.OWNER else self._limits.over_day(connection, sender.source, now)

    def welcome(
        self, connection: sqlite3.Connection, sender: Sender, account: str, now: datetime
    ) -> tuple[NewDelivery, ...]:
        """What is sent because a stranger wrote who may be paired, as part of a job of the writer."""
        return () if self._pairing is None else self._pairing.request(connection, sender, account, now)

    def _refused(self, sender: Sender, reason: str) -> Ruling:
        """A stranger in a group who may be paired elsewhere."""
        noted = self._knock(sender, reason)
        told = self._told.first(("stranger", *_whose(sender)), self._clock.monotonic())
        return Ruling(Verdict.REFUSE, reason, notice=TO_BE_PAIRED if told else None, noted=noted)

    def _knock(self, sender: Sender, reason: str) -> AuditEntry | None:
        """What the audit takes of a stranger: once in a while, and of so many."""
        person = person_of(sender.source)
        if not sender.addressed or person is None:
            return None
        self._counters["access.kept_out"] += 1
        now = self._clock.monotonic()
        if not self._strangers.has("all", STRANGERS_NOTED_PER_HOUR, now) or not self._noted.first(_whose(sender), now):
            return None
        self._strangers.take("all", STRANGERS_NOTED_PER_HOUR, now)
        return AuditEntry("refused", str(sender.source.platform), person, detail=reason)

    def _limited(self, sender: Sender, limited: Limited, role: Role | None) -> Ruling:
        self._counters["access.limited"] += 1
        told = self._told.first((limited.limit, *_whose(sender)), self._clock.monotonic())
        reason = f"over limits.{limited.limit}"
        noted = limited_entry(sender, limited) if told else None
        return Ruling(Verdict.REFUSE, reason, role, kept=True, notice=limited.words if told else None, noted=noted)

    def _breaks_loop(self, sender: Sender) -> bool:
        """Count a bot's message, in its thread and in its chat; a person's ends the count. Whether it may be
        answered."""
        source = sender.source
        chat = (source.platform, source.chat_id)
        thread = (*chat, source.thread_id)
        if not sender.bot:
            for key in (chat, thread):
                self._bots.pop(key, None)
            return True
        now = self._clock.monotonic()
        rows = [self._in_a_row(chat, now, LOOP_PAUSE), self._in_a_row(thread, now)]
        if max(rows) > self._config.current.access.bot_replies:
            self._counters["access.bot_loops"] += 1
            return False
        return True

    def _in_a_row(self, key: Hashable, now: float, pause: float = math.inf) -> int:
        """How many messages of bots came here in a row, with this one; a row ends after a pause, in seconds."""
        count, last = self._bots.get(key, (0, now))
        count = count + 1 if now - last < pause else 1
        self._bots[key] = (count, now)
        self._bots.move_to_end(key)
        if len(self._bots) > MAX_REMEMBERED:
            self._bots.popitem(last=False)
        return count


def limited_entry(sender: Sender, limited: Limited) -> AuditEntry:
    """What the audit takes of a limit that was reached."""
    source = sender.source
    person = person_of(source) or source.chat_id or ""
    return AuditEntry("limited", str(source.platform), person, detail=f"limits.{limited.limit}")


def note(connection: sqlite3.Connection, entry: AuditEntry | None, now: datetime) -> None:
    """Note what there is to be noted."""
    if entry is not None:
        audit.note(connection, entry, now)


def _whose(sender: Sender) -> tuple[Hashable, ...]:
    source = sender.source
    return (source.platform, person_of(source) or source.chat_id)
