"""The desk: ends the messages that come to no turn. Commands are run, and what cannot be answered is told so."""

import logging
import sqlite3
from collections import Counter
from datetime import timedelta

from config import LiveConfig
from gateway.commands.table import Command, CommandTable, Effect, say
from gateway.delivery import NewDelivery, add_delivery
from gateway.inbound import InboundRecord
from gateway.outbox import Outbox
from gateway.ports import Clock, DeliveryKind, InboundState, StorageBusyError
from gateway.session.slots import slot_row
from gateway.storage import queries
from gateway.storage.codec import to_micros
from gateway.storage.database import Database
from gateway.storage.errors import StorageError
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
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._config = config
        self._clock = clock
        self._counters = counters
        self._probe = probe
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

    async def settle(self, record: InboundRecord) -> bool:
        """End a message that has waited too long, or is a command; False if it is for the agent."""
        if self.is_expired(record):
            words = "Your message waited too long for its turn and was not answered. Send it again."
            await self._end(record, InboundState.EXPIRED, "waited too long", say(words), "error")
            return True
        found = self.find(record.text)
        if found is None:
            return False
        await self._run(record, *found)
        return True

    async def give_up(self, record: InboundRecord, reason: str) -> None:
        """End a message at which the gateway itself failed again and again."""
        words = "I could not answer: something is wrong inside the gateway. Its operator finds the reason in the log."
        await self._end(record, InboundState.DEAD, reason, say(words), "error")

    async def _run(self, record: InboundRecord, command: Command, rest: str) -> None:
        """Run a command; one that fails by itself ends its message as failed."""
        try:
            await self._end(record, InboundState.ANSWERED, None, command.run(record, rest), "reply")
        except Exception as error:
            if is_outage(error):
                raise
            log.exception("the command %s failed", command.name)
            self._counters["commands.errors"] += 1
            words = f"/{command.name} failed. The gateway's operator finds the reason in its log."
            await self._end(record, InboundState.FAILED, f"/{command.name} failed", say(words), "error")

    async def _end(
        self, record: InboundRecord, state: InboundState, reason: str | None, effect: Effect, kind: DeliveryKind
    ) -> None:
        """The effect, the message's end and the reply are one commit."""
        now = self._clock.now()

        def job(connection: sqlite3.Connection) -> bool:
            ended = connection.execute(queries.END_INBOUND, (state, reason, to_micros(now), record.id))
            if not ended.rowcount:
                return False
            text = effect(connection)
            slot = slot_row(connection, record.identity)
            reply = NewDelivery(record.target, kind, text, record.answerable, session_id=slot["session_id"])
            add_delivery(connection, reply, now)
            return True

        self._probe("command.before-end")
        ended = await self._database.write(job)
        self._probe("command.ended")
        if ended:
            self._outbox.offer(record.target)


def is_outage(error: Exception) -> bool:
    """Whether the database cannot work at present; else the fault lies in what was asked of it."""
    if isinstance(error, StorageBusyError):
        return True
    asked = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.DataError)
    return isinstance(error, StorageError) and not isinstance(error.__cause__, asked)
