"""Whether a message whose send had no answer is there.

A bot cannot read a chat. But it can ask for an edit that changes nothing, and the refusal tells what is under an id:
"message is not modified" for one of its own, "message can't be edited" for somebody else's, "message to edit not
found" for none. This is observed behaviour of the Bot API server, not documented: any other answer leaves it unknown.
A look counts as a message where Telegram limits how many a bot may send.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Final

from telegram.error import TelegramError

from adapters.base import (
    AdapterHost,
    Delivery,
    Found,
    OutcomeUnknownError,
    Rate,
    RetryLaterError,
    SearchOutcome,
)
from adapters.connection import Sleep
from adapters.memory import Memory
from adapters.telegram.client import SERVER_FAULT, CallError, Client
from adapters.telegram.constants import (
    FIND_LOOKS,
    FIND_LOOKS_IN_GROUPS,
    FIND_REFUSALS,
    FIND_SECONDS,
    FIND_WINDOW,
)
from adapters.telegram.failures import FLOOD, NOT_MODIFIED, delivery_error, refuses_token
from adapters.telegram.send import keyboard, topic_of_direct
from adapters.telegram.wording import Account

_OTHERS: Final = ("message can't be edited",)
_NOTHING: Final = ("message to edit not found", "MESSAGE_ID_INVALID")

_OWN_IDS: Final = ("-100", "@")
"""How the ids and names of supergroups and channels begin (https://core.telegram.org/api/bots/ids)."""

_SEES_ALL: Final = ("administrator", "creator")


class _Seen(Enum):
    """What is under an id."""

    OURS = auto()
    OTHERS = auto()
    NOTHING = auto()
    UNCLEAR = auto()


_CLEAR: Final = (_Seen.OTHERS, _Seen.NOTHING)


@dataclass(slots=True)
class _Progress:
    """How far the search for one part has got: what was seen, and how often the server would not say."""

    lowest: int
    seen: dict[int, _Seen] = field(default_factory=dict)
    refusals: int = 0
    asked: bool = False
    """Whether the last thing done in the chat is a look of ours."""


class Finder:
    """Searches for messages of one account.

    `rates` says what a chat takes: looks keep to it. `sleep` waits for seconds. A search that the server interrupts
    goes on where it stopped when it is asked for again; one that is interrupted too often is over.
    """

    def __init__(self, host: AdapterHost, rates: Callable[[str], Sequence[Rate]], sleep: Sleep) -> None:
        self._host = host
        self._rates = rates
        self._sleep = sleep
        self._under_way: Memory[tuple[int, int], _Progress] = Memory()

    async def find(self, client: Client, account: Account, delivery: Delivery) -> Found | SearchOutcome:
        """Look under the ids that the message can have: those above the highest that was there when its send began.

        Where none is known, it is the first that it answers: others can have come into its turn later. No one sees the
        search. Raises `DeliveryError`.
        """
        lowest = max(_numbers(delivery.before) or sorted(_numbers(delivery.answers))[:1], default=None)
        if lowest is None:
            return SearchOutcome.UNKNOWN
        key = (delivery.id, delivery.part)
        progress = self._under_way.get(key)
        if progress is None or progress.lowest != lowest:
            progress = self._under_way[key] = _Progress(lowest)
        if progress.refusals >= FIND_REFUSALS:
            outcome: Found | SearchOutcome = SearchOutcome.UNKNOWN
        else:
            outcome = await self._interruptible(_Search(client, account, delivery, progress))
        self._under_way.pop(key, None)
        return outcome

    async def _interruptible(self, search: "_Search") -> Found | SearchOutcome:
        """The search, which ends in good time. Raises `DeliveryError`."""
        progress, pause = search.progress, self._pause(search.chat)
        progress.asked = False
        try:
            async with asyncio.timeout(FIND_SECONDS):
                return await search.run(lambda: self._sleep(pause))
        except TimeoutError:
            return SearchOutcome.UNKNOWN
        except TelegramError as error:
            failure = await delivery_error(error, search.delivery.target, self._host)
            if isinstance(failure, OutcomeUnknownError):
                # A search may be made again: it shows nothing.
                failure = RetryLaterError(f"the search had no answer: {error}")
            progress.refusals += isinstance(failure, RetryLaterError)
            raise failure from None

    def _pause(self, chat_id: str) -> float:
        """Seconds from one look to the next."""
        return max((rate.seconds / rate.messages for rate in self._rates(chat_id)), default=0.0)


class _Search:
    """One try of a search."""

    def __init__(self, client: Client, account: Account, delivery: Delivery, progress: _Progress) -> None:
        self._client = client
        self._account = account
        self.delivery = delivery
        self.progress = progress

    @property
    def chat(self) -> str:
        """The chat's id."""
        return self.delivery.target.chat_id

    async def run(self, pause: Callable[[], Awaitable[object]]) -> Found | SearchOutcome:
        """Look, with pauses: between looks, and before a send that follows. Raises TelegramError.

        A message is absent only in a supergroup in which the bot sees everything, if nothing of ours is under any id
        below one that is surely later: there the ids follow one another. In private chats and basic groups they are
        those of all such chats of the bot together (https://core.telegram.org/constructor/message). In a channel
        nothing can be told at all: an administrator can edit the posts of others there
        (https://core.telegram.org/bots/api#chatadministratorrights), nor in its direct messages, which administrators
        write in its name.
        """
        lowest, known = self.progress.lowest, _numbers(self.delivery.before) | _numbers(self.delivery.others)
        own_ids = self.chat.startswith(_OWN_IDS)
        if topic_of_direct(self.delivery.target) is not None:
            return SearchOutcome.UNKNOWN
        if max(known, default=lowest) - lowest > FIND_WINDOW or (own_ids and await self._is_channel()):
            return SearchOutcome.UNKNOWN
        later = min((number for number in _numbers(self.delivery.later) if number > lowest), default=None)
        last = lowest + FIND_WINDOW if later is None else later - 1
        candidates = [number for number in range(lowest + 1, last + 1) if number not in known]
        looks = FIND_LOOKS_IN_GROUPS if self.chat.startswith(("-", "@")) else FIND_LOOKS
        for number in candidates[:looks]:
            if number not in self.progress.seen:
                if self.progress.asked:
                    await pause()
                self.progress.asked = True
                self.progress.seen[number] = await self._look(number)
            if self.progress.seen[number] is _Seen.OURS:
                return Found(str(number))
        clear = later is not None and all(self.progress.seen.get(number) in _CLEAR for number in candidates)
        absent = clear and own_ids and await self._sees_all()
        if self.progress.asked:
            await pause()
        return SearchOutcome.ABSENT if absent else SearchOutcome.UNKNOWN

    async def _look(self, number: int) -> _Seen:
        """What is under an id. The keyboard is the one that the message was sent with, so that nothing changes."""
        try:
            await self._client.bot.edit_message_reply_markup(self.chat, number, reply_markup=keyboard(self.delivery))
        except CallError as error:
            if error.says(NOT_MODIFIED):
                return _Seen.OURS
            if error.says(*_OTHERS):
                return _Seen.OTHERS
            if error.says(*_NOTHING):
                return _Seen.NOTHING
            if _is_interruption(error):
                raise
            return _Seen.UNCLEAR
        # It did change something, so the message is ours, and nobody knew of it.
        return _Seen.OURS

    async def _is_channel(self) -> bool:
        """Whether it is a channel, or may be one."""
        return str((await self._ask("getChat")).get("type")) != "supergroup"

    async def _sees_all(self) -> bool:
        """Whether Telegram shows the bot everything in this chat."""
        if self._account.reads_all:
            return True
        member = await self._ask("getChatMember", user_id=self._account.id)
        return member.get("status") in _SEES_ALL

    async def _ask(self, method: str, **parameters: object) -> dict[str, Any]:
        """What a method tells of the chat; nothing where it is refused. Raises TelegramError."""
        try:
            answer = await self._client.call(method, chat_id=self.chat, **parameters)
        except CallError as error:
            if _is_interruption(error):
                raise
            return {}
        return answer if isinstance(answer, dict) else {}


def _is_interruption(error: CallError) -> bool:
    """Whether a refusal tells nothing of what was asked for, but of the server, the chat or the account."""
    if error.migrate_to is not None or error.retry_after is not None or not error.is_verdict:
        return True
    return error.code >= SERVER_FAULT or error.code == FLOOD or refuses_token(error)


def _numbers(ids: tuple[str, ...]) -> set[int]:
    return {int(each) for each in ids if each.isdigit()}
