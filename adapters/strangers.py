"""People who write to a bot and are not let in."""

import logging

from adapters.base import Accepted, InboundMessage, InboundState
from adapters.memory import Memory


class Strangers:
    """Tells the operator in the log of an adapter, once for each, who wrote and is not let in: their id is what has to
    be put down."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._told: Memory[str, bool] = Memory()

    def note(self, message: InboundMessage, accepted: Accepted) -> None:
        """See what came of a message."""
        source = message.source
        person = source.user_id or source.chat_id or ""
        if accepted.state is not InboundState.IGNORED or not message.addressed or person in self._told:
            return
        self._told[person] = True
        words = "%r (id %s) wrote to the bot and is not let in: %s"
        if source.user_id is None:
            words = "the channel %r (id %s) is not let in: %s; allowed_chats lets channels in"
        self._log.info(words, source.user_name or source.chat_name, person, accepted.reason)
