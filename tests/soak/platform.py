"""The platform of the soak: it keeps what people wrote until it is accepted, and what they saw, over all lives of the
gateway; and it says of both what is wrong."""

import asyncio
import itertools
import random
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.soak.child import answer_to
from tests.soak.wire import LINE_LIMIT, Report, lines, put

ENDS_WITHOUT_TEXT: Final = "/"
"""A message that begins so is a command: what it is answered is not looked at."""


@dataclass(slots=True, eq=False)
class Written:
    """What someone wrote. `place` is its place among all that was written in the chat."""

    id: str
    chat: str
    text: str
    place: int
    answered: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class Chat:
    """A chat: what the gateway has not accepted yet, how much was written, and the place of the latest answer."""

    unaccepted: deque[Written] = field(default_factory=deque)
    written: int = 0
    answered: int = -1


@dataclass(slots=True)
class Seen:
    """A delivery as it stands in a chat."""

    message_id: str
    text: str
    final: bool = False


@dataclass(slots=True)
class Weather:
    """How likely each call of the adapter is to be refused for now, or to be shown with its answer lost; and each
    message to be handed over twice."""

    later: float = 0.0
    unknown: float = 0.0
    twice: float = 0.0


class Platform:
    """Serves one gateway at a time. `wrong` is everything that should not have been."""

    def __init__(self, socket: Path, chance: random.Random) -> None:
        self._socket = socket
        self._chance = chance
        self._writer: asyncio.StreamWriter | None = None
        self._report: asyncio.Future[Report] | None = None
        self._chats: dict[str, Chat] = {}
        self._seen: dict[int, Seen] = {}
        self._ids = itertools.count(1)
        self.weather = Weather()
        self.written: dict[str, Written] = {}
        self.accepted: set[str] = set()
        self.connected = asyncio.Event()
        self.repeated = 0
        self.calls: Counter[str] = Counter()
        self.wrong: list[str] = []

    async def open(self) -> asyncio.Server:
        """Listen; the caller closes what it gets."""
        return await asyncio.start_unix_server(self._serve, self._socket, limit=LINE_LIMIT)

    @property
    def unanswered(self) -> list[Written]:
        """What still waits for an answer."""
        return [message for message in self.written.values() if not message.answered.is_set()]

    def write(self, chat_id: str, text: str) -> Written:
        """Someone writes; it reaches the gateway after what was written there before."""
        chat = self._chats.setdefault(chat_id, Chat())
        message = Written(f"w{len(self.written) + 1}", chat_id, text, chat.written)
        chat.written += 1
        self.written[message.id] = message
        chat.unaccepted.append(message)
        if len(chat.unaccepted) == 1:
            self._hand_over(message)
        return message

    def hang_up(self) -> None:
        """Cut the connection."""
        if self._writer is not None:
            self._writer.transport.abort()

    async def report(self) -> Report:
        """What the gateway's process holds."""
        assert self._writer is not None
        self._report = asyncio.get_running_loop().create_future()
        put(self._writer, {"op": "report"})
        return await self._report

    # --- the gateway's side --------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.connected.set()
        for chat in self._chats.values():
            if chat.unaccepted:
                self._hand_over(chat.unaccepted[0])
        try:
            async for frame in lines(reader):
                self._take(writer, frame)
        finally:
            if self._writer is writer:
                self._writer = None
                self.connected.clear()
            writer.close()

    def _take(self, writer: asyncio.StreamWriter, frame: dict[str, Any]) -> None:
        match frame["op"]:
            case "accepted":
                self._note_accepted(frame["id"], frame["state"])
            case "busy":
                asyncio.get_running_loop().call_later(0.1, self._hand_over, self.written[frame["id"]])
            case "call":
                result = self._call(frame["do"], frame["delivery"])
                put(writer, {"op": "result", "call": frame["call"], **result})
            case "report":
                del frame["op"]
                if self._report is not None and not self._report.done():
                    self._report.set_result(Report(**frame))

    def _hand_over(self, message: Written) -> None:
        if self._writer is None or message.id in self.accepted:
            return
        frame = {"op": "message", "id": message.id, "chat": message.chat, "text": message.text}
        for _ in range(1 + (self._chance.random() < self.weather.twice)):
            put(self._writer, frame)

    def _note_accepted(self, message_id: str, state: str) -> None:
        if message_id in self.accepted:
            return
        if state not in ("pending", "running", "answered"):
            self.wrong.append(f"refused: {message_id} is {state}")
        self.accepted.add(message_id)
        waiting = self._chats[self.written[message_id].chat].unaccepted
        waiting.popleft()
        if waiting:
            self._hand_over(waiting[0])

    # --- what people see -----------------------------------------------------------------------------------

    def _call(self, name: str, delivery: dict[str, Any]) -> dict[str, Any]:
        self.calls[name] += 1
        if name == "find":
            seen = self._seen.get(delivery["id"])
            return {"message_id": None if seen is None else seen.message_id}
        luck = self._chance.random()
        if luck < self.weather.later:
            return {"error": "later"}
        seen = self._send(delivery) if name == "send" else self._edit(delivery)
        if delivery["final"]:
            self._note_complete(seen, delivery)
        if luck < self.weather.later + self.weather.unknown:
            return {"error": "unknown"}
        return {"message_id": seen.message_id}

    def _send(self, delivery: dict[str, Any]) -> Seen:
        if delivery["id"] in self._seen:
            self.repeated += 1
            if not delivery["repeated"]:
                self.wrong.append(f"repeated: delivery {delivery['id']} is in {delivery['chat']} twice, without a mark")
        seen = self._seen[delivery["id"]] = Seen(f"p{next(self._ids)}", delivery["text"])
        return seen

    def _edit(self, delivery: dict[str, Any]) -> Seen:
        seen = self._seen.get(delivery["id"])
        if seen is None or seen.message_id != delivery["message_id"]:
            self.wrong.append(
                f"invented: delivery {delivery['id']} edits {delivery['message_id']}, which is not its own"
            )
            seen = self._seen[delivery["id"]] = Seen(str(delivery["message_id"]), "")
        if seen.final and seen.text != delivery["text"]:
            self.wrong.append(f"changed: delivery {delivery['id']} was complete and is changed")
        seen.text = delivery["text"]
        return seen

    def _note_complete(self, seen: Seen, delivery: dict[str, Any]) -> None:
        again, seen.final = seen.final, True
        for message_id in delivery["answers"]:
            message = self.written[message_id]
            if message.answered.is_set():
                if not again and not delivery["repeated"]:
                    self.wrong.append(f"doubled: {message_id} is answered again, by delivery {delivery['id']}")
                continue
            message.answered.set()
            chat = self._chats[message.chat]
            if message.place != chat.answered + 1:
                self.wrong.append(f"order: {message_id} is number {message.place}, answered after {chat.answered}")
            chat.answered = message.place
            if not message.text.startswith(ENDS_WITHOUT_TEXT) and seen.text != answer_to(message.text):
                self.wrong.append(f"differs: {message_id} ({message.text}) was answered {seen.text!r}")
