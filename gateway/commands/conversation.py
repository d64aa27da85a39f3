"""The commands about what is being said: begin anew, try again, take back, stop, and how a message is to be taken."""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from gateway.commands.compact import Summaries
from gateway.commands.services import CommandServices, counted, current
from gateway.commands.table import (
    Arguments,
    Command,
    CommandRefusedError,
    CommandTable,
    Effect,
    Parameter,
    Reply,
    Resend,
    Run,
    as_message,
    buttons,
    in_family,
    say,
)
from gateway.inbound import Extra, InboundRecord
from gateway.ports import Attachment, Quote
from gateway.session import cuts, records, slots
from gateway.session.cuts import Repeat
from gateway.session.errors import NothingToRetry, NothingToUndo, UnknownSession
from gateway.session.text import flatten_text, preview_of
from gateway.transcript import STOPPED, stop

FAMILY: Final = "This conversation"

MOST_AT_ONCE: Final = 50
"""Turns that one /undo takes back."""


class ConversationCommands:
    """Commands of the conversation of a chat. `table` gives the whole table, for what is to be said again; `summaries`
    are those that can be stopped."""

    def __init__(self, services: CommandServices, table: Callable[[], CommandTable], summaries: Summaries) -> None:
        self._services = services
        self._table = table
        self._summaries = summaries

    def commands(self) -> list[Command]:
        """In the order in which help lists them."""
        many = Parameter("n", "number", most=MOST_AT_ONCE)
        anything = Parameter("text", "text")
        return in_family(
            FAMILY,
            [
                Command("new", "End this conversation and begin a new one", self._new, aliases=("reset",)),
                Command("retry", "Have the last message answered again", self._retry, aliases=("again",)),
                Command("undo", "Take back the last message and its answer", self._undo, parameters=(many,)),
                Command("redo", "Bring back what was taken back last", self._redo),
                Command("stop", "Stop the answer that is being written", self._stop, immediate=True,
                        parameters=(anything,)),
                Command("queue", "Have a message wait for its own turn", self._bare("queue"), immediate=True,
                        parameters=(anything,)),
                Command("steer", "Have a message join the running turn", self._bare("steer"), immediate=True,
                        parameters=(anything,)),
            ],
        )  # fmt: skip

    def _new(self, record: InboundRecord, _given: Arguments) -> Effect:
        now = self._services.clock.now()
        new_id = self._services.ids.session(now)

        def effect(connection: sqlite3.Connection) -> str | Reply:
            slot = slots.slot_row(connection, record.identity)
            entry = records.begin_fresh(connection, slot, new_id, now)
            if entry is None:
                return "This is a new conversation already."
            before = entry.predecessor_id
            words = f"A new conversation begins. The one before is kept as session {before}; /resume goes back to it."
            return Reply(words, buttons([("Back to it", f"/resume {before}")]) if before else ())

        return effect

    def _retry(self, record: InboundRecord, _given: Arguments) -> Effect:
        now = self._services.clock.now()

        def effect(connection: sqlite3.Connection) -> Resend:
            session_id = current(connection, record).session_id
            try:
                repeat = cuts.take_for_repeat(connection, session_id, record.received_at, now)
            except (NothingToRetry, UnknownSession):
                raise CommandRefusedError("There is no message here that could be answered again.") from None
            return resend(self._table(), record, repeat)

        return effect

    def _undo(self, record: InboundRecord, given: Arguments) -> Effect:
        now, number = self._services.clock.now(), given.number("n", 1)

        def effect(connection: sqlite3.Connection) -> Reply:
            session_id = current(connection, record).session_id
            cut = cuts.cut_turns(connection, session_id, number, now)
            if cut is None:
                raise NothingToUndo
            preview = preview_of(" ".join(flatten_text(cut.message.get("content")).split()))
            what = "Taken back" if cut.turns == 1 else f"{counted(cut.turns, 'turn')} taken back, from"
            words = f"{what}: “{preview}” ({counted(cut.removed, 'message')}). /redo brings it back."
            return Reply(words, buttons([("Bring it back", "/redo")]))

        return effect

    def _redo(self, record: InboundRecord, _given: Arguments) -> Effect:
        now = self._services.clock.now()

        def effect(connection: sqlite3.Connection) -> str:
            restored = cuts.put_back(connection, current(connection, record).session_id, now)
            return f"{counted(restored, 'message')} brought back."

        return effect

    def _stop(self, record: InboundRecord, _given: Arguments) -> Effect:
        stopped = self._services.work.stop_turn(record.identity)
        if stopped is None:
            return say("Stopping." if self._summaries.stop(record.identity) else "Nothing is running here.")

        def effect(connection: sqlite3.Connection) -> str:
            stop(connection, stopped, STOPPED)
            return "Stopping."

        return effect

    def _bare(self, name: str) -> Run:
        """With a text after it, the message is the agent's and comes to no command: see `busy_of`."""

        def run(record: InboundRecord, _given: Arguments) -> Effect:
            doing = self._services.work.describe(record.identity)
            return say(f"This conversation is {doing}. Write `/{name} your message`.")

        return run


def resend(table: CommandTable, record: InboundRecord, repeat: Repeat) -> Resend:
    """The command's own message as the one that is said again, with the files of that."""
    if not repeat.given_up:
        text = as_message(table, flatten_text(repeat.content))
        extra = replace(record.extra, content=repeat.content, retry_of=repeat.turn_id or "")
        return Resend(text, extra)
    extras = [Extra.load(extra) for _text, extra in repeat.given_up]
    attachments: Sequence[Attachment] = [each for extra in extras for each in extra.attachments]
    quote: Quote | None = next((extra.quote for extra in extras if extra.quote is not None), None)
    text = "\n\n".join(text for text, _extra in repeat.given_up)
    kept = replace(record.extra, attachments=tuple(attachments), quote=quote, retry_of=repeat.turn_id)
    return Resend(text, kept)
