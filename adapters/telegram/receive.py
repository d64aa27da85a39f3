"""From an update that is kept to what the core is told of it, one at a time and in order."""

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from telegram import Update
from telegram.error import TelegramError

from adapters.background import Background
from adapters.base import AdapterHost, InboundMessage, InboundState, NotStoredError, RawUpdate
from adapters.memory import Memory
from adapters.strangers import Strangers
from adapters.telegram.client import CallError, Client
from adapters.telegram.normalise import Accept, Action, Amend, Ignore, Move, Normaliser, Press

log = logging.getLogger(__name__)

KEPT_OUT: Final = "That was not taken in: you are not among those whom this bot answers here."

LONGEST_PROBLEM: Final = 300
"""Characters of what is noted about an update that cannot be read."""


def raw_update(update: Mapping[str, Any]) -> RawUpdate | None:
    """An update as it is kept; None for what has no id, and so is none."""
    update_id = update.get("update_id")
    if not isinstance(update_id, int) or isinstance(update_id, bool):
        return None
    return RawUpdate(str(update_id), json.dumps(update, ensure_ascii=False, separators=(",", ":")))


class Receiver:
    """Tells the host what kept updates say."""

    def __init__(self, client: Client, host: AdapterHost, normaliser: Normaliser, background: Background) -> None:
        self._client = client
        self._host = host
        self._normaliser = normaliser
        self._background = background
        self._strangers = Strangers(log)
        self._albums: Memory[tuple[str, str], bool] = Memory()

    async def process(self, update: RawUpdate) -> None:
        """Hand on one update. One that cannot be read, or is refused, is set aside, and blocks no other.

        Raises `NotStoredError`.
        """
        try:
            await self._tell(update.id, self._read(update))
        except NotStoredError:
            raise
        except Exception as error:
            log.exception("update %s from Telegram cannot be read; it is set aside", update.id)
            problem = f"it cannot be read: {type(error).__name__}: {error}"
            await self._host.settle(update.id, problem[:LONGEST_PROBLEM])

    def _read(self, update: RawUpdate) -> Action:
        raw = json.loads(update.payload)
        parsed = Update.de_json(raw)
        return self._normaliser.action(parsed, raw)

    async def _tell(self, update_id: str, action: Action) -> None:
        match action:
            case Accept(message):
                message = await self._with_album(message)
                self._strangers.note(message, await self._host.accept(message))
            case Amend(message):
                await self._host.amend(message)
            case Move(old, new):
                await self._host.move_chat(old, new, update_id)
            case Press(callback_id, message, words, by):
                if message is None:
                    await self._host.settle(update_id)
                elif by is not None and not self._is_let_in(replace(message, source=by)):
                    await self._host.settle(update_id)
                    words = KEPT_OUT
                elif (await self._host.accept(message)).state is InboundState.IGNORED:
                    words = KEPT_OUT
                self._background.start(self._answer(callback_id, words), "the answer to a pressed button")
            case Ignore(reason):
                log.debug("update %s from Telegram is left alone: %s", update_id, reason)
                await self._host.settle(update_id)

    def _is_let_in(self, message: InboundMessage) -> bool:
        """Whether who is said to have written a message is let in. Raises `NotStoredError` where that is not known."""
        if self._host.admits(message):
            return True
        if self._host.bars(message):
            return False
        raise NotStoredError("It is not known at present whether somebody is let in.")

    async def _with_album(self, message: InboundMessage) -> InboundMessage:
        """A picture without a mention is for us if the album is, whose beginning an earlier process may have seen.

        Raises `NotStoredError`.
        """
        chat_id, group_id = message.source.chat_id, message.group_id
        if message.addressed or chat_id is None or group_id is None:
            return message
        known = self._albums.get((chat_id, group_id))
        if known is None:
            known = self._albums[chat_id, group_id] = await self._host.is_group_known(chat_id, group_id)
        return replace(message, addressed=True) if known else message

    async def _answer(self, callback_id: str, words: str | None) -> None:
        """End the sign of waiting on the button; tell who pressed it what there is to say."""
        try:
            await self._client.bot.answer_callback_query(callback_id, words)
        except CallError as error:
            log.debug("a pressed button could not be answered: %s", error)
        except TelegramError as error:
            log.info("a pressed button could not be answered: %s", error)
