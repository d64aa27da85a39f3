"""Requests for answers: each is a message that goes in like any other, and is waited for."""

import asyncio
import hashlib
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from config import LiveConfig, Platform, PlatformConfig
from gateway.api.errors import DO_NOT_RETRY, ApiError
from gateway.api.keys import Holder
from gateway.api.ledger import CHAT_PREFIX, OVER, RESPONSE_PREFIX, Answer, Asked, Ledger
from gateway.api.orders import Order
from gateway.api.platform import ApiPlatform
from gateway.api.waiting import TooManyWaitingError, Waiter, WaitingRoom
from gateway.logs import redacted
from gateway.ports import AdapterHost, Clock, InboundMessage, InboundState, NotStoredError, StorageBusyError
from gateway.roster import AgentRoster
from gateway.source import SessionSource
from gateway.storage.codec import to_micros
from gateway.storage.errors import StorageError
from gateway.transcript import TurnEnd

__all__ = ["ANSWERS_KEPT", "Service", "Submission", "refusal"]

log = logging.getLogger(__name__)

ANSWERS_KEPT: Final = timedelta(days=1)
"""How long the answer to a request can be had again. The ids of messages are known for longer."""

LOOK_SECONDS: Final = 10.0
"""How often somebody who waits is looked after: a stream then says that it is alive, and it is looked up whether the
message has come to its end without an answer."""

MAX_REFUSED: Final = 4_096
"""Requests of which it is remembered how often they were refused; for another one it is looked up again."""

UNANSWERED: Final = frozenset({InboundState.REFUSED, InboundState.EXPIRED, InboundState.FAILED, InboundState.DEAD})
"""States in which a request has come to an error, and to nothing that could be gone on from."""

OF_THE_DAY: Final = frozenset({"over limits.tokens_per_day", "over limits.chat_tokens_per_day"})
"""Why a message is refused that nobody can have answered before tomorrow."""

BUSY: Final = "as many clients wait for answers as may (http.max_waiting): try again later"
STOPPED: Final = "the gateway stops; the answer is made once it runs again: ask for it then"
PREFIXES: Final = {"chat": CHAT_PREFIX, "response": RESPONSE_PREFIX}


@dataclass(frozen=True, slots=True)
class Submission:
    """A request that has gone in, and whoever waits for it."""

    asked: Asked
    order: Order
    waiter: Waiter
    deadline: float
    """By the event loop's clock."""

    def left(self) -> float:
        """Seconds until nobody waits for it any more."""
        return self.deadline - asyncio.get_running_loop().time()


class Service:
    """Takes requests in, and finds their answers. `ledger` and `room` are shared with the platform that the core
    delivers to; that is built by `platform`, anew where its settings change."""

    def __init__(
        self,
        ledger: Ledger,
        config: LiveConfig,
        clock: Clock,
        roster: AgentRoster,
        *,
        random_hex: Callable[[int], str] = secrets.token_hex,
    ) -> None:
        self._ledger = ledger
        self._room = WaitingRoom()
        self._config = config
        self._clock = clock
        self._roster = roster
        self._random_hex = random_hex
        self._redact: Callable[[str], str] = str
        self._host: AdapterHost | None = None
        self._stopped = False
        self._refused: OrderedDict[str, int] = OrderedDict()
        """How often requests with an Idempotency-Key were refused, those that are made again."""

    def platform(self, config: PlatformConfig, host: AdapterHost) -> ApiPlatform:
        """The adapter of the platform that this is."""
        self._host = host
        return ApiPlatform(config, host, ledger=self._ledger, room=self._room)

    def hide(self, redact: Callable[[str], str]) -> None:
        """Have this take secrets out of what is kept of a request, and repeated in its answer."""
        self._redact = redact

    @property
    def waiting(self) -> int:
        """How many clients wait."""
        return len(self._room)

    def models(self) -> Mapping[str, str | None]:
        """The agents that can be asked, each with the model behind it where that is known."""
        return {name: self._roster.model(name) for name in self._roster.names}

    # --- going in ----------------------------------------------------------------------------------------------

    @contextmanager
    def place(self, asked: Asked) -> Iterator[Waiter]:
        """A place among those who wait. Raises `ApiError`."""
        try:
            with self._room.enter(asked.id, asked.chat, self._config.current.http.max_waiting) as waiter:
                waiter.asked = waiter.asked or asked
                yield waiter
        except TooManyWaitingError as error:
            raise ApiError(503, BUSY, code="busy", headers={"Retry-After": "5"}) from error

    async def ask(self, holder: Holder, order: Order, print_: str, idempotency: str | None) -> Asked:
        """What a request is noted as; nothing is yet. Raises `ApiError`."""
        if order.model not in self._roster.names:
            known = ", ".join(self._roster.names)
            words = f"there is no model {order.model!r}; there are {known}"
            raise ApiError(404, words, code="model_not_found", param="model")
        if idempotency is None:
            request_id = f"{PREFIXES[order.kind]}{self._random_hex(16)}"
        else:
            request_id, known_as = await self._named(holder, order, idempotency)
            if known_as is not None:
                return _same(known_as, print_)
        chat = await self._chat(holder, order, request_id)
        # One that came at the same time may wait already, and not be noted yet.
        if (waiter := self._room.find(request_id)) is not None and waiter.asked is not None:
            return _same(waiter.asked, print_)
        fields = {**redacted(order.fields, self._redact), "model": order.model}
        return Asked(request_id, holder.name, order.kind, chat, print_, fields, self._clock.now())

    async def _named(self, holder: Holder, order: Order, key: str) -> tuple[str, Asked | None]:
        """The id of a request that has an Idempotency-Key, and the request if there is one already.

        A key is good for as long as answers are kept, and then for a new request. The inbox knows an id for longer, so
        the period of that length in which a request came is in its id.
        """
        now = self._clock.now()
        period = to_micros(now) // (ANSWERS_KEPT // timedelta(microseconds=1))
        chat = await self._chat_before(holder, order)
        for each in (period - 1, period):
            named = (holder.name, order.kind, key, str(each))
            request_id, known_as = await self._latest(PREFIXES[order.kind], "\0".join(named), chat)
            if known_as is not None and now - known_as.created_at < ANSWERS_KEPT:
                return request_id, known_as
        return request_id, None

    async def _chat_before(self, holder: Holder, order: Order) -> str | None:
        """The conversation that a request goes on with, as far as it is known."""
        if order.conversation is not None:
            return f"{holder.name}/{order.conversation}"
        before = None if order.previous is None else await self._find(order.previous)
        return None if before is None else before.chat

    async def _latest(self, prefix: str, named: str, chat: str | None) -> tuple[str, Asked | None]:
        """The id of the latest try at a request, and the request if there is one already. One that was refused was
        never begun, and can be made again: under a new id, since the inbox knows the old one."""
        while True:
            tries = self._refused.get(named, 0)
            text = f"{named}\0{tries}"
            request_id = f"{prefix}{hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}"
            if (waiter := self._room.find(request_id)) is not None and waiter.asked is not None:
                return request_id, waiter.asked
            if not await self._is_refused(request_id, chat or request_id):
                return request_id, await self._find(request_id)
            self._refused[named] = tries + 1
            if len(self._refused) > MAX_REFUSED:
                self._refused.popitem(last=False)

    async def _is_refused(self, request_id: str, chat: str) -> bool:
        found = await self._state(request_id, chat)
        return found is not None and found[0] is InboundState.REFUSED

    async def _chat(self, holder: Holder, order: Order, request_id: str) -> str:
        """The conversation: the one that is named, that of the response before, or one of its own."""
        if order.conversation is not None:
            return f"{holder.name}/{order.conversation}"
        if order.previous is None:
            return request_id
        before = await self._find(order.previous)
        if before is None or before.holder != holder.name or before.kind != "response":
            words = f"there is no response {order.previous}, or it is older than can be gone on from"
            raise ApiError(404, words, code="previous_response_not_found", param="previous_response_id")
        seen = self._room.noted
        if not await self._is_last(before, request_id) or self._room.has_newer(before, request_id, seen):
            words = "the conversation has gone on since that response: go on from the latest one"
            raise ApiError(409, words, code="previous_response_not_last", headers=DO_NOT_RETRY)
        return before.chat

    async def submit(self, asked: Asked, order: Order, waiter: Waiter) -> Submission:
        """Have the message taken in; it is durable then. Raises `ApiError`."""
        if self._host is None:
            raise ApiError(503, "the gateway is starting: try again", code="starting", headers={"Retry-After": "1"})
        seconds = self._config.current.http.answer_seconds
        submission = Submission(asked, order, waiter, asyncio.get_running_loop().time() + seconds)
        try:
            noted = self._ledger.note(asked)
            accepted = await self._host.accept(_message(asked, order))
            await noted
            self._room.note(waiter, asked)
        except (NotStoredError, StorageError) as error:
            raise ApiError(503, str(error), code="not_stored", headers={"Retry-After": "2"}) from error
        if accepted.state in OVER:
            await self._settle(waiter, accepted.state, accepted.reason)
        return submission

    async def _settle(self, waiter: Waiter, state: InboundState, reason: str | None) -> None:
        """What came of a message that has come to its end. Raises `ApiError` where it was not let in."""
        refused = refusal(state, reason)
        # What a person would be told of a refusal is no answer.
        if state is not InboundState.REFUSED and (answer := await self._answer(waiter.id)) is not None:
            waiter.finish(answer)
        elif refused is not None:
            raise refused

    # --- coming out --------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """No turn goes on any more: whoever still waits is told so, rather than cut off without a word."""
        self._stopped = True
        self._room.wake()

    async def news(self, submission: Submission) -> bool:
        """Wait a while for more of the answer; False if there is nothing new. Raises `ApiError`."""
        waiter, left = submission.waiter, submission.left()
        if waiter.answer is not None:
            return True
        if self._stopped:
            raise ApiError(503, STOPPED, code="stopping", headers={**DO_NOT_RETRY, "Retry-After": "10"})
        if left <= 0:
            words = "the answer takes longer than is waited for (http.answer_seconds); it is still being made"
            raise ApiError(504, f"{words}: ask for it later", code="still_under_way", headers=DO_NOT_RETRY)
        if await waiter.change(min(left, LOOK_SECONDS)):
            return True
        await self._look_after(submission)
        return waiter.answer is not None

    async def _look_after(self, submission: Submission) -> None:
        """A message may come to its end without anything that is delivered. Raises `ApiError`."""
        found = await self._state(submission.asked.id, submission.asked.chat)
        if found is not None and found[0] in OVER:
            await self._settle(submission.waiter, *found)

    def turn_ended(self, end: TurnEnd) -> None:
        """Tell whoever waits that a turn has ended where no delivery does: its answer is calls of their own tools."""
        for record in end.inbound if end.is_wordless else ():
            if (waiter := self._room.find(record.message_id)) is not None:
                waiter.finish(Answer.of_turn(end))

    async def answer(self, submission: Submission, is_there: Callable[[], bool]) -> Answer | None:
        """Wait for the answer, as long as somebody is there who does; None if nobody is. Raises `ApiError`."""
        while submission.waiter.answer is None:
            if not is_there():
                return None
            await self.news(submission)
        return submission.waiter.answer

    async def get(self, holder: Holder, request_id: str, kind: str) -> tuple[Asked, Answer | None]:
        """A request of this holder, and its answer if there is one yet. Raises `ApiError`."""
        asked = await self._find(request_id)
        if asked is not None and asked.kind == kind and asked.holder == holder.name:
            answer = await self._answer(request_id)
            if answer is not None or await self._is_coming(asked):
                return asked, answer
        raise ApiError(404, f"there is no {kind} {request_id}, or it is older than a day", code="not_found")

    async def _is_coming(self, asked: Asked) -> bool:
        """Whether a request that has no answer may have one yet. Raises `ApiError` where it was not let in."""
        found = await self._state(asked.id, asked.chat)
        if found is None:
            return self._room.find(asked.id) is not None
        state, reason = found
        if state is InboundState.IGNORED and (refused := refusal(state, reason)) is not None:
            raise refused
        return state not in OVER or self._clock.now() - asked.created_at < ANSWERS_KEPT

    # --- the records, in the terms of the interface ---------------------------------------------------------------

    async def _find(self, request_id: str) -> Asked | None:
        with _reading():
            return await self._ledger.find(request_id)

    async def _answer(self, request_id: str) -> Answer | None:
        with _reading():
            return await self._ledger.answer(request_id)

    async def _state(self, request_id: str, chat: str) -> tuple[InboundState, str | None] | None:
        with _reading():
            return await self._ledger.state(request_id, chat)

    async def _is_last(self, asked: Asked, following: str) -> bool:
        """Whether nothing but the request with this id was asked in a conversation since. One that came to nothing does
        not count: its program may go on from the one before."""
        with _reading():
            for later in await self._ledger.since(asked):
                if later in (asked.id, following):
                    return True
                found = await self._state(later, asked.chat)
                if found[0] not in UNANSWERED if found is not None else self._room.find(later) is not None:
                    return False
        return True


def _same(known_as: Asked, print_: str) -> Asked:
    """The request that has this key already. Raises `ApiError` if that is another one."""
    if known_as.fingerprint != print_:
        words = "this Idempotency-Key was used for another request: take a new one"
        raise ApiError(422, words, code="idempotency_key_reused", param="Idempotency-Key")
    return known_as


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except (StorageError, StorageBusyError) as error:
        words = "what was asked before cannot be looked up at present: try again later"
        raise ApiError(503, words, code="not_readable", headers={"Retry-After": "2"}) from error


def failure(answer: Answer) -> ApiError | None:
    """The error that an answer is, if it is one."""
    if answer.error is None:
        return None
    if answer.astray:
        return ApiError(400, answer.error, code="invalid_value")
    return ApiError(502, answer.error, code="agent_failed", headers=DO_NOT_RETRY)


def refusal(state: InboundState, reason: str | None) -> ApiError | None:
    """Why a message that came to no turn was not taken, where that is not told by a delivery."""
    reason = reason or "not let in"
    if state is InboundState.IGNORED:
        return ApiError(403, f"the message was not taken: {reason}", code="not_let_in")
    if state is not InboundState.REFUSED:
        return None
    if reason in OF_THE_DAY:
        words = f"the message was not taken: {reason}; more is taken tomorrow"
        return ApiError(429, words, code="insufficient_quota", headers=DO_NOT_RETRY)
    if reason.startswith("over limits.") or reason == "queue full":
        words = f"the message was not taken: {reason}; try again later"
        return ApiError(429, words, code="rate_limit_exceeded", headers={"Retry-After": "30"})
    if reason in ("too long", "empty"):
        return ApiError(400, f"the message was not taken: it is {reason}", code="invalid_value")
    return ApiError(403, f"the message was not taken: {reason}", code="not_let_in")


def _message(asked: Asked, order: Order) -> InboundMessage:
    """The message that goes in."""
    name = None if asked.own_chat else asked.chat.partition("/")[2] or None
    source = SessionSource(
        platform=Platform.API_SERVER,
        chat_id=asked.chat,
        chat_name=name,
        chat_type="dm",
        user_id=asked.holder,
        user_name=asked.holder,
    )
    return InboundMessage(source, asked.id, order.inbound_text, brought=order.brought())
