"""A server of Lines for tests, and the protocol: JSON objects, one a line, over TCP.

We say `login` with a token, and hear `welcome` or `denied`. From then on every person's message comes as `message`,
every change of one as `edited`, each with a `number`; it comes again at each login until we have said that it is
`seen`. Our own messages come too (`ours`). A call has a `ref`, and its `answer` the same: `post` a text under a `key`,
`edit`, `delete`, `find` a message by its key. An answer may have an `error`. `typing` has no answer. The server says
`tick` every now and then, so that its silence means something.
"""

import asyncio
import itertools
import json
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

Frame = dict[str, Any]


@dataclass
class Post:
    """A message of our account, with every text that it has shown."""

    id: str
    room: str
    thread: str | None
    key: str
    texts: list[str]
    gone: bool = False


@dataclass
class Trouble:
    """What goes wrong once: with the next post (`posts`), or with the next event for us (`events`)."""

    posts: deque[str] = field(default_factory=deque)
    events: deque[str] = field(default_factory=deque)


class LinesServer:
    """A server on 127.0.0.1. It may be stopped and started again; it keeps its port and all that it knows."""

    def __init__(self, token: str, tick_seconds: float = 0.1) -> None:
        self.token = token
        self.port = 0
        self.posts: list[Post] = []
        self.typing: list[tuple[str, str | None]] = []
        self.trouble = Trouble()
        self.denied = 0
        self._tick_seconds = tick_seconds
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.StreamWriter] = set()
        self._deaf: set[asyncio.StreamWriter] = set()
        self._unseen: dict[int, Frame] = {}
        self._held: list[Frame] = []
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen; after a stop, on the same port again."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Listen no more, and cut every connection."""
        if self._server is None:
            return
        self._server.close()
        self._hang_up()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._server = None

    def renew(self, token: str) -> None:
        """The token of before is no longer valid."""
        self.token = token
        self._hang_up()

    def write(self, room: str, text: str, *, user: str, group: bool = False, thread: str | None = None) -> Frame:
        """A person writes."""
        number = next(self._numbers)
        place = {"room": room, "thread": thread, "group": group, "user": user, "name": user.title(), "ours": False}
        event = {"op": "message", "number": number, "id": f"m{number}", "text": text, **place}
        self._tell(event)
        return event

    def change(self, event: Frame, text: str) -> None:
        """A person changes a message."""
        self._tell({**event, "op": "edited", "number": next(self._numbers), "text": text})

    # --- our account's side

    def _tell(self, event: Frame) -> None:
        self._unseen[event["number"]] = event
        trouble = self.trouble.events.popleft() if self.trouble.events else ""
        if trouble == "deaf":
            self._deaf |= self._clients
        if trouble == "reordered":
            self._held.append(event)
            return
        for each in (event, *self._held, *([event] if trouble == "twice" else [])):
            for client in self._clients:
                self._put(client, each)
        self._held.clear()

    def _put(self, client: asyncio.StreamWriter, frame: Frame) -> None:
        if client not in self._deaf and not client.is_closing():
            client.write(json.dumps(frame).encode() + b"\n")

    def _hang_up(self) -> None:
        for client in self._clients:
            client.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        ticking = asyncio.create_task(self._tick(client))
        try:
            with suppress(ConnectionError):
                while line := await reader.readline():
                    await self._take(client, json.loads(line))
        except asyncio.CancelledError:
            return
        finally:
            ticking.cancel()
            self._clients.discard(client)
            self._deaf.discard(client)
            self._tasks.discard(task)
            client.transport.abort()

    async def _tick(self, client: asyncio.StreamWriter) -> None:
        while True:
            await asyncio.sleep(self._tick_seconds)
            self._put(client, {"op": "tick"})

    async def _take(self, client: asyncio.StreamWriter, frame: Frame) -> None:
        match frame["op"]:
            case "login" if frame["token"] != self.token:
                self.denied += 1
                self._put(client, {"op": "denied"})
            case "login":
                self._clients.add(client)
                for each in ({"op": "welcome"}, *self._unseen.values()):
                    self._put(client, each)
            case "seen":
                self._unseen.pop(frame["number"], None)
            case "typing":
                self.typing.append((frame["room"], frame["thread"]))
            case "post":
                await self._troubled(client, frame, lambda: self._post(frame))
            case "edit" | "delete" | "find":
                self._put(client, {"op": "answer", "ref": frame["ref"], "id": self._found(frame)})

    def _found(self, frame: Frame) -> str | None:
        name = "key" if frame["op"] == "find" else "id"
        post = next((post for post in self.posts if getattr(post, name) == frame[name]), None)
        if post is not None and frame["op"] == "edit":
            post.texts.append(frame["text"])
        if post is not None and frame["op"] == "delete":
            post.gone = True
        return None if post is None else post.id

    async def _troubled(self, client: asyncio.StreamWriter, frame: Frame, post: Callable[[], str]) -> None:
        trouble, answer = self.trouble.posts.popleft() if self.trouble.posts else "", {"op": "answer", **_ref(frame)}
        match trouble:
            case "slow down":
                self._put(client, {**answer, "error": trouble, "seconds": 0.1})
            case "lost":
                self._put(client, {**answer, "error": "internal error"})
            case "failed":
                post()
                self._put(client, {**answer, "error": "internal error"})
            case "silent":
                post()
            case "dropped":
                post()
                client.transport.abort()
            case "slow":
                for piece in _pieces(json.dumps({**answer, "id": post()}).encode() + b"\n"):
                    await asyncio.sleep(self._tick_seconds / 10)
                    client.write(piece)
            case _:
                self._put(client, {**answer, "id": post()})

    def _post(self, frame: Frame) -> str:
        number = next(self._numbers)
        post = Post(f"m{number}", frame["room"], frame["thread"], frame["key"], [frame["text"]])
        self.posts.append(post)
        ours = {"group": True, "user": "hermes", "name": "Hermes", "ours": True}
        event = {"op": "message", "number": number, "id": post.id, "text": frame["text"], **ours}
        self._tell({**event, "room": post.room, "thread": post.thread})
        return post.id


def _ref(frame: Frame) -> Frame:
    return {"ref": frame["ref"]}


def _pieces(data: bytes) -> list[bytes]:
    return [data[start : start + 20] for start in range(0, len(data), 20)]
