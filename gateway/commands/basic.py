"""The commands that every conversation has: help, a new session, status, stop, leave."""

import sqlite3
from collections.abc import Callable
from datetime import datetime

from gateway.commands.table import ESCAPE, Command, CommandTable, Effect, say
from gateway.ids import Ids
from gateway.inbound import InboundRecord
from gateway.ports import Clock
from gateway.session import records, slots
from gateway.session.entry import SessionEntry
from gateway.session.key import SlotIdentity
from gateway.transcript import STOPPED, stop


class BasicCommands:
    """Builds the table. `stop` ends the slot's turn and gives the number of its first message; `status_of` tells what
    it is doing; `agent` names the default agent."""

    def __init__(
        self,
        clock: Clock,
        ids: Ids,
        *,
        stop: Callable[[SlotIdentity], int | None],
        status_of: Callable[[SlotIdentity], str],
        agent: Callable[[], str],
    ) -> None:
        self._clock = clock
        self._ids = ids
        self._stop = stop
        self._status_of = status_of
        self._agent = agent

    def table(self) -> CommandTable:
        """The commands, in the order in which help lists them."""
        table = CommandTable(
            [
                Command("help", "Show what you can tell me", lambda _record, _rest: say(help_text), immediate=True),
                Command("new", "End this conversation and begin a new one", self._new, aliases=("reset",)),
                Command("stop", "Stop the answer that is being written", self._stop_turn, immediate=True),
                Command("status", "Show this conversation and what it is doing", self._show_status, immediate=True),
                Command("quit", "Leave the terminal chat", lambda _record, _rest: say("Goodbye."), immediate=True),
            ]
        )
        help_text = _help(table)
        return table

    def _new(self, record: InboundRecord, _rest: str) -> Effect:
        now = self._clock.now()
        new_id = self._ids.session(now)
        return lambda connection: _begin_new(connection, record, new_id, now)

    def _stop_turn(self, record: InboundRecord, _rest: str) -> Effect:
        stopped = self._stop(record.identity)
        if stopped is None:
            return say("Nothing is running here.")

        def effect(connection: sqlite3.Connection) -> str:
            stop(connection, stopped, STOPPED)
            return "Stopping."

        return effect

    def _show_status(self, record: InboundRecord, _rest: str) -> Effect:
        doing, agent = self._status_of(record.identity), self._agent()

        def effect(connection: sqlite3.Connection) -> str:
            slot = slots.slot_row(connection, record.identity)
            entry = records.load_entry(connection, slot["session_id"]) if slot["session_id"] else None
            return _status(record.identity.key, entry, agent, doing)

        return effect


def _begin_new(connection: sqlite3.Connection, record: InboundRecord, new_id: str, now: datetime) -> str:
    slot = slots.slot_row(connection, record.identity)
    entry = records.begin_fresh(connection, slot, new_id, now)
    if entry is None:
        return "This is a new conversation already."
    return f"A new conversation begins. The one before is kept as session {entry.predecessor_id}."


def _help(table: CommandTable) -> str:
    lines = [f"- `/{name}`: {text}" for name, text in table.menu]
    agent = f"Everything else goes to the agent. To tell it something that begins like a command, write `{ESCAPE}`."
    return "\n".join(["You can tell me:", "", *lines, "", agent])


def _status(key: str, entry: SessionEntry | None, agent: str, doing: str) -> str:
    lines = [f"- conversation: `{key}`", f"- agent: {agent}", f"- now: {doing}"]
    if entry is None:
        return "\n".join([*lines, "- session: none yet; your next message begins one"])
    return "\n".join(
        [
            *lines,
            f"- session: `{entry.session_id}`, {entry.title or 'no title yet'}",
            f"- messages: {entry.message_count}",
            f"- tokens: {entry.total_tokens:,}",
            f"- since: {entry.created_at:%Y-%m-%d %H:%M} UTC",
        ]
    )
