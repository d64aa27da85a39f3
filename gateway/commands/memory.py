"""The command that shows people what is remembered of conversations in their chat."""

from collections.abc import Sequence

from gateway.access import Role
from gateway.commands.table import Arguments, Command, CommandRefusedError, Effect, in_family, say
from gateway.inbound import InboundRecord
from gateway.ports import RememberError
from gateway.remembering.memory import Memory

FAMILY = "This conversation"


class MemoryCommands:
    """Builds the command."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def commands(self) -> Sequence[Command]:
        """The commands of the family."""
        return in_family(
            FAMILY,
            [Command("memory", "Show what I remember from earlier conversations here", self._show, role=Role.USER)],
        )

    async def _show(self, record: InboundRecord, _given: Arguments) -> Effect:
        if not self._memory.is_on:
            return say("Nothing is remembered here from one conversation to the next.")
        try:
            known = await self._memory.known(record)
        except RememberError as error:
            raise CommandRefusedError("What I remember cannot be read at present. Try it again later.") from error
        return say(known or "I remember nothing from earlier conversations here yet.")
