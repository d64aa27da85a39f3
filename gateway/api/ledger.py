"""What was asked through the HTTP interface and what was answered, on disk: so that a repeated request gets the one
answer, and one whose client has left can be had later."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from config import Platform
from gateway.brought import STRAY, open_calls
from gateway.media.words import describe_file
from gateway.ports import Call, Clock, Delivery, InboundState, Usage
from gateway.storage import api_queries, queries
from gateway.storage.codec import clean_text, dump, from_micros, to_micros
from gateway.storage.database import Database
from gateway.transcript import CUT_SHORT_WORDS, TurnEnd

ACCOUNT: Final = "default"
"""The one account of this platform."""

CHAT_PREFIX: Final = "chatcmpl-"
RESPONSE_PREFIX: Final = "resp_"
"""What ids of requests begin with, by kind. A conversation that no program has named has the id of its first one."""

OVER: Final = frozenset(
    {
        InboundState.ANSWERED,
        InboundState.MERGED,
        InboundState.REFUSED,
        InboundState.EXPIRED,
        InboundState.FAILED,
        InboundState.DEAD,
        InboundState.IGNORED,
    }
)
"""States in which nothing more comes."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it is noted. `fields` is what its answer repeats of it, `noted` whether it is on disk."""

    id: str
    holder: str
    kind: str
    chat: str
    fingerprint: str
    fields: Mapping[str, Any]
    created_at: datetime
    noted: bool = False

    @property
    def own_chat(self) -> bool:
        """Whether it began a conversation of its own, rather than going on with one."""
        return self.chat == self.id


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request came to: a text, calls of the program's own tools, or why there is neither."""

    text: str = ""
    calls: tuple[Call, ...] = ()
    error: str | None = None
    astray: bool = False
    """The error is the program's: what it sent are results of calls that the session does not have."""
    stopped: bool = False
    """The answer was cut short by a person."""
    cut: str | None = None
    """Why the model did not end it itself: `length` or `content_filter`."""
    notices: tuple[str, ...] = ()
    usage: Mapping[str, int] | None = None
    session_id: str | None = None
    turn_id: str | None = None

    def dump(self) -> str:
        """As the database has it."""
        return dump(asdict(self))

    @classmethod
    def load(cls, text: str) -> "Answer":
        """What `dump` wrote."""
        values = json.loads(text)
        calls = tuple(Call(**call) for call in values.pop("calls"))
        return cls(**{**values, "calls": calls, "notices": tuple(values["notices"])})

    @classmethod
    def of_turn(cls, end: TurnEnd) -> "Answer":
        """What a turn ended with."""
        failed, astray = end.state is not InboundState.ANSWERED, end.reason == STRAY
        said = [end.reply or "", *(describe_file(file) for file in end.files)]
        return cls(
            text=clean_text("\n\n".join(part for part in said if part)),
            calls=() if failed else open_calls(end.messages),
            error=STRAY if astray else _words(end, "error") if failed else None,
            astray=astray,
            stopped=not failed and end.reason is not None,
            cut=end.done_reason if end.done_reason in CUT_SHORT_WORDS else None,
            notices=tuple(clean_text(text) for kind, text in end.notes if kind == "notice"),
            usage=_usage(end.usage),
            session_id=end.session_id,
            turn_id=end.turn_id,
        )

    @classmethod
    def of_delivery(cls, delivery: Delivery) -> "Answer":
        """What a message of the gateway's own says: to a command, or why there was no turn."""
        wrong = delivery.kind == "error"
        return cls(
            text="" if wrong else delivery.text,
            error=delivery.text if wrong else None,
            session_id=delivery.session_id,
            turn_id=delivery.turn_id,
        )


def is_alone(chat: str) -> bool:
    """Whether a conversation is one chat completion's own: nobody goes on with it."""
    return chat.startswith(CHAT_PREFIX) and not is_named(chat)


def is_named(chat: str) -> bool:
    """Whether a program has named a conversation: the name stands after its holder's, which may begin like an id."""
    return "/" in chat


class Ledger:
    """Reads and writes the records."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def note(self, asked: Asked) -> Any:  # noqa: ANN401 - a future of the writer
        """Note a request; the same one again changes nothing. Await it for durability. Raises `StorageBusyError`."""
        row = (
            asked.id,
            asked.holder,
            asked.kind,
            asked.chat,
            asked.fingerprint,
            dump(dict(asked.fields)),
            to_micros(asked.created_at),
        )
        return self._database.write(lambda connection: connection.execute(api_queries.ADD_API_REQUEST, row).rowcount)

    async def find(self, request_id: str) -> Asked | None:
        """A request by its id. Raises `StorageError`."""
        for row in await self._rows(api_queries.GET_API_REQUEST, request_id):
            return Asked(
                row["id"],
                row["holder"],
                row["kind"],
                row["chat"],
                row["fingerprint"],
                json.loads(row["asked"]),
                from_micros(row["created_at"]),
                noted=True,
            )
        return None

    async def since(self, asked: Asked) -> Sequence[str]:
        """The ids of a request, and of those that were made in its conversation since and did not end in an error, the
        latest first. Raises `StorageError`."""
        place = (str(Platform.API_SERVER), ACCOUNT, asked.chat, asked.id)
        return [str(row["id"]) for row in await self._rows(api_queries.LATER_API_REQUESTS, *place)]

    async def answer(self, request_id: str) -> Answer | None:
        """The answer to a request, if there is one yet. Raises `StorageError`."""
        for row in await self._rows(api_queries.GET_API_ANSWER, request_id):
            return Answer.load(row["answer"])
        return None

    async def _rows(self, sql: str, *values: object) -> Sequence[sqlite3.Row]:
        rows = await self._database.read(sql, values)
        if not rows and self._database.state.mode != "sqlite":
            # What stands in for the database in an outage has only what came since.
            return await self._database.read_file(sql, values)
        return rows

    async def keep(self, request_ids: Sequence[str], answer: Answer) -> None:
        """Note an answer; one that a request has already stands. Raises `StorageError`, `StorageBusyError`."""
        now = self._clock.now()
        await self._database.write(lambda connection: _keep(connection, request_ids, answer, now))

    async def state(self, request_id: str, chat: str) -> tuple[InboundState, str | None] | None:
        """How the message of a request stands, and why. Raises `StorageError`."""
        place = (str(Platform.API_SERVER), ACCOUNT, chat, request_id)
        for row in await self._database.read(queries.FIND_INBOUND, place):
            return InboundState(row["state"]), row["reason"]
        return None

    def note_end(self, connection: sqlite3.Connection, end: TurnEnd, now: datetime) -> None:
        """Note what a turn ended with, in the commit that ends it. See `OnEnd`."""
        if end.inbound[0].source.platform != Platform.API_SERVER:
            return
        _keep(connection, [record.message_id for record in end.inbound], Answer.of_turn(end), now)
        if is_alone(end.inbound[0].source.chat_id or ""):
            # It would only crowd the lists.
            connection.execute(api_queries.ARCHIVE_SESSION, (end.session_id,))


def _keep(connection: sqlite3.Connection, request_ids: Sequence[str], answer: Answer, now: datetime) -> None:
    text = answer.dump()
    for request_id in request_ids:
        connection.execute(api_queries.ADD_API_ANSWER, (request_id, text, to_micros(now)))


def _words(end: TurnEnd, kind: str) -> str:
    return " ".join(text for each, text in end.notes if each == kind) or end.reason or "there was no answer"


def _usage(usage: Usage) -> Mapping[str, int]:
    cached = usage.cache_read_tokens
    return {
        "input": usage.input_tokens + cached + usage.cache_write_tokens,
        "cached": cached,
        "output": usage.output_tokens,
    }
