"""The desk: ends the messages that come to no turn. Commands are run, and what cannot be answered is told so."""

import inspect
import logging
import sqlite3
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from config import LiveConfig
from gateway.access import Decision, Gate, Role, Sender, Verdict
from gateway.access.rights import Rights
from gateway.commands.table import Command, CommandRefusedError, CommandTable, Effect, Reply, Resend, busy_of, say
from gateway.delivery import NewDelivery, add_delivery
from gateway.inbound import InboundRecord
from gateway.media.words import describe_file
from gateway.outbox import Outbox
from gateway.ports import Clock, DeliveryKind, InboundState, StorageBusyError
from gateway.session.errors import SessionError
from gateway.session.slots import parts, slot_row
from gateway.storage import inbound_queries, queries
from gateway.storage.codec import to_micros
from gateway.storage.database import Database
from gateway.storage.errors import StorageError, UnreadableNowError
from gateway.storage.probe import Probe

log = logging.getLogger(__name__)


class Desk:
    """Ends messages without a turn."""

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        config: LiveConfig,
        clock: Clock,
        counters: Counter[str],
        probe: Probe,
        gate: Gate | None = None,
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._config = config
        self._clock = clock
        self._counters = counters
        self._probe = probe
        self.gate = gate or Gate(config)
        self._rights = Rights(config, self.gate)
        self._commands = CommandTable(())

    def use(self, commands: CommandTable) -> None:
        """Set the commands."""
        self._commands = commands

    def find(self, text: str) -> tuple[Command, str] | None:
        """The command that a message is, and the text after it."""
        return self._commands.find(text)

    def is_expired(self, record: InboundRecord) -> bool:
        """Whether a message has waited too long for its turn."""
        waited, hours = self._clock.now() - record.received_at, self._config.current.inbox.expire_hours
        return hours > 0 and waited > timedelta(hours=hours)

    async def settle(self, record: InboundRecord) -> InboundRecord | None:
        """End a message that has waited too long, or is a command; what is for the agent is given back.

        A command may make its message one for the agent: then that is given.
        """
        if self.is_expired(record):
            words = "Your message waited too long for its turn and was not answered. Send it again."
            await self._end(record, InboundState.EXPIRED, "waited too long", say(words), "error")
            return None
        found = self.find(record.text)
        sender = Sender.of_record(record)
        decision = self.gate.decide(sender, None if found is None else found[0].role)
        self.gate.check(sender, decision)
        if not decision.allowed:
            await self._refuse(record, decision)
            return None
        if found is not None and not self._rights.may_run(record, found[0].name):
            reason = "no command for your role in this place"
            await self._refuse(record, Decision(Verdict.REFUSE, reason, decision.role))
            return None
        if not await self._finds_its_session(record):
            await self._end(record, InboundState.REFUSED, "the session is not live there any more", say(""), "error")
            return None
        if found is None:
            return record
        return await self._run(record, *found)

    async def _finds_its_session(self, record: InboundRecord) -> bool:
        """Whether the session that an agent wrote to is live where its message waits. People write to a slot."""
        relay = record.extra.relay
        if relay is None:
            return True
        rows = await self._database.read(queries.LIVE_SESSION_BRIEF, parts(record.identity))
        return bool(rows) and rows[0]["id"] == relay.to_session

    def decide(self, record: InboundRecord, needs: Role | None = None) -> Decision:
        """Whether a message may go on, as things stand now: its sender may have been let in no more since it came."""
        return self.gate.decide(Sender.of_record(record), needs)

    def bars(self, record: InboundRecord) -> bool:
        """Whether who wrote a message is not let in any more, for sure."""
        return self.gate.bars(Sender.of_record(record))

    def may_join(self, record: InboundRecord, other: InboundRecord) -> bool:
        """Whether a message may become part of another one's turn: what that may do, its sender may do too."""
        role, least = self.decide(record).role, self.decide(other).role
        return role is not None and (least is None or role >= least)

    def joining(self, waiting: Iterable[object], first: InboundRecord) -> list[InboundRecord]:
        """Of what waits in the lane of a running turn, the messages that may join it, first to last.

        Where people have not set up that messages do, only one that says so itself does, and it overtakes those that
        do not; nothing overtakes a command, or what needs the lane for itself.
        """
        records: list[InboundRecord] = []
        overtaking = False
        for item in waiting:
            if not isinstance(item, InboundRecord) or item.account != first.account:
                break
            if self.is_expired(item) or self.find(item.text) is not None or not self.may_join(item, first):
                break
            busy, asked = busy_of(item.text, self._config.current.busy)
            if busy == "steer" and (asked or not overtaking):
                records.append(item)
            else:
                overtaking = True
        return records

    async def _refuse(self, record: InboundRecord, decision: Decision) -> None:
        """End a message that may not go on. Who may not even write any more is told nothing: they know already."""
        if decision.role is not None:
            words = f"That is not for you: {decision.reason}."
            await self._end(record, InboundState.REFUSED, decision.reason, say(words), "error")
            return
        values = (InboundState.REFUSED, decision.reason, to_micros(self._clock.now()), record.id)
        await self._database.write(lambda connection: connection.execute(queries.END_INBOUND, values).rowcount)

    async def give_up(self, record: InboundRecord, reason: str) -> None:
        """End a message at which the gateway itself failed again and again."""
        words = "I could not answer: something is wrong inside the gateway. Its operator finds the reason in the log."
        await self._end(record, InboundState.DEAD, reason, say(words), "error")

    async def _run(self, record: InboundRecord, command: Command, rest: str) -> InboundRecord | None:
        """Run a command; one that is refused says why, one that fails by itself ends its message as failed."""
        try:
            prepared = command.run(record, command.parse(rest))
            effect = await prepared if inspect.isawaitable(prepared) else prepared
            return await self._end(record, InboundState.ANSWERED, None, effect, "reply")
        except CommandRefusedError as error:
            return await self._end(record, InboundState.ANSWERED, None, say(str(error), error.reply.buttons), "reply")
        except (SessionError, UnreadableNowError) as error:
            return await self._end(record, InboundState.ANSWERED, None, say(str(error)), "reply")
        except Exception as error:
            if is_outage(error):
                raise
            log.exception("the command %s failed", command.name)
            self._counters["commands.errors"] += 1
            words = f"/{command.name} failed. The gateway's operator finds the reason in its log."
            return await self._end(record, InboundState.FAILED, f"/{command.name} failed", say(words), "error")

    async def _end(
        self, record: InboundRecord, state: InboundState, reason: str | None, effect: Effect, kind: DeliveryKind
    ) -> InboundRecord | None:
        """The effect, the message's end and the reply are one commit. A message that is to go to the agent instead
        does not end by it, and is given as it is then."""
        now = self._clock.now()

        def job(connection: sqlite3.Connection) -> tuple[Reply | None, InboundRecord | None]:
            if connection.execute(queries.TURN_OF_INBOUND, (record.id,)).fetchone() is None:
                return None, None
            outcome = effect(connection)
            if isinstance(outcome, Resend):
                extra = replace(outcome.extra.of_sender(record.extra), reply_thread=record.extra.reply_thread)
                connection.execute(inbound_queries.AMEND_INBOUND, (outcome.text, extra.dump(), record.id))
                return None, replace(record, text=outcome.text, extra=extra)
            connection.execute(queries.END_INBOUND, (state, reason, to_micros(now), record.id))
            reply = outcome if isinstance(outcome, Reply) else Reply(outcome)
            self._put_out(connection, record, reply, kind, now)
            return reply, None

        self._probe("command.before-end")
        reply, remains = await self._database.write(job)
        self._probe("command.ended")
        if reply is not None:
            if reply.then is not None:
                reply.then()
            self._outbox.offer(record.target)
        return remains

    def _put_out(
        self, connection: sqlite3.Connection, record: InboundRecord, reply: Reply, kind: DeliveryKind, now: datetime
    ) -> None:
        """Put the reply in the outbox; of one with a file, that comes first. An agent that wrote is told by itself."""
        if record.extra.relay is not None:
            return
        session_id = slot_row(connection, record.identity)["session_id"]
        if reply.file is not None:
            described = describe_file(reply.file)
            sent = NewDelivery(record.target, "file", described, session_id=session_id, file=reply.file)
            add_delivery(connection, sent, now)
        delivery = NewDelivery(
            record.target, kind, reply.text, record.answerable, session_id=session_id, buttons=reply.buttons
        )
        add_delivery(connection, delivery, now)


def is_outage(error: Exception) -> bool:
    """Whether the database cannot work at present; else the fault lies in what was asked of it."""
    if isinstance(error, StorageBusyError):
        return True
    asked = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.DataError)
    return isinstance(error, StorageError) and not isinstance(error.__cause__, asked)
