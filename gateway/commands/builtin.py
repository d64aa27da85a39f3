"""The whole table, of all families."""

from collections.abc import Sequence

from gateway.commands.basic import BasicCommands
from gateway.commands.conversation import ConversationCommands
from gateway.commands.knowledge import KnowledgeCommands
from gateway.commands.services import CommandServices
from gateway.commands.sessions import SessionCommands
from gateway.commands.table import Command, CommandTable


def builtin_commands(services: CommandServices, more: Sequence[Command] = ()) -> CommandTable:
    """Every command, in the order in which help and menus list them; `more` stand before those about the gateway."""

    def whole() -> CommandTable:
        return table

    table = CommandTable(
        [
            *ConversationCommands(services, whole).commands(),
            *SessionCommands(services).commands(),
            *KnowledgeCommands(services).commands(),
            *more,
            *BasicCommands(services, whole).commands(),
        ]
    )
    return table
