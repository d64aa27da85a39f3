"""The whole table, of all families."""

from collections.abc import Sequence

from gateway.commands.basic import BasicCommands
from gateway.commands.compact import CompactCommands, Summaries
from gateway.commands.conversation import ConversationCommands
from gateway.commands.knowledge import KnowledgeCommands
from gateway.commands.marks import MarkCommands
from gateway.commands.services import CommandServices
from gateway.commands.sessions import SessionCommands
from gateway.commands.table import Command, CommandTable


def builtin_commands(
    services: CommandServices, more: Sequence[Command] = (), summaries: Summaries | None = None
) -> CommandTable:
    """Every command, in the order in which help and menus list them; `more` stand before those about the gateway."""

    def whole() -> CommandTable:
        return table

    summaries = summaries or Summaries(services)
    table = CommandTable(
        [
            *ConversationCommands(services, whole, summaries).commands(),
            *CompactCommands(services, summaries).commands(),
            *SessionCommands(services).commands(),
            *MarkCommands(services).commands(),
            *KnowledgeCommands(services).commands(),
            *more,
            *BasicCommands(services, whole, summaries).commands(),
        ]
    )
    return table
