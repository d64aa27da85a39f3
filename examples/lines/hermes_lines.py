"""An adapter for Lines, a chat over TCP in lines of JSON. `lines_server.py` has a server, and the protocol in words."""

import asyncio
import itertools
import json
from datetime import timedelta
from typing import Any

from adapters import base
from adapters.markup.rendered import Rendered
from adapters.markup.split import Limits, Parts, split
from config import Platform, PlatformConfig

LONGEST = 1000


class LinesComposer(base.Composer):
    """Cuts a text into messages that are short enough. Lines shows Markdown as it is."""

    def update(self, text: str, *, final: bool, shown: int) -> base.Composed:
        parts = split(Rendered(text), Limits(LONGEST))
        assert isinstance(parts, Parts)
        return base.Composed(tuple(part.text for part in parts.parts), parts.settled)


class LinesAdapter(base.Adapter):
    """One account on one server."""

    capabilities = base.Capabilities(
        edit=True, delete=True, find=True, typing=True, threads=True, max_length=LONGEST, edit_interval=0.1
    )

    def __init__(self, config: PlatformConfig, host: base.AdapterHost) -> None:
        options: dict[str, Any] = dict(getattr(config, "options", {}))
        self._address = options.get("server", "127.0.0.1"), int(options.get("port", 7070))
        self._patience = float(options.get("patience_seconds", 15))  # the longest silence of a server that is there
        self._token = config.token.get_secret_value() if config.token else ""
        self._host = host
        self._writer: asyncio.StreamWriter | None = None
        self._refs = itertools.count(1)
        self._calls: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def run(self) -> None:
        pause = 0.05
        while True:
            try:
                async with asyncio.timeout(self._patience):
                    reader, self._writer = await asyncio.open_connection(*self._address)
                self._put(op="login", token=self._token)
                while True:
                    async with asyncio.timeout(self._patience):  # a connection that is open and silent is dead
                        frame = json.loads(await reader.readline() or '{"op": "closed"}')
                    await self._take(frame)
                    pause = 0.05
            except (OSError, TimeoutError) as error:
                next_try = self._host.clock.now() + timedelta(seconds=pause)
                reason = str(error) or "the server keeps silent"
                self._host.set_state(base.AdapterState.CONNECTING, reason, next_try=next_try)
            finally:
                self._hang_up()
            await asyncio.sleep(pause)
            pause = min(2 * pause, 60.0)

    async def _take(self, frame: dict[str, Any]) -> None:
        match frame["op"]:
            case "welcome":
                self._host.set_state(base.AdapterState.CONNECTED)
            case "denied":
                raise base.AccountError("the server does not know this token: set platforms.lines.token to a valid one")
            case "answer":
                if (call := self._calls.get(frame["ref"])) and not call.done():
                    call.set_result(frame)
            case "closed":
                raise ConnectionError("the server ended the connection")
            case "message" | "edited":
                kind = "group" if frame["group"] else "dm"
                source = base.SessionSource(
                    Platform("lines"), frame["room"], None, kind, frame["user"], frame["name"], frame["thread"]
                )
                message = base.InboundMessage(source, frame["id"], frame["text"], addressed=not frame["ours"])
                await (self._host.accept(message) if frame["op"] == "message" else self._host.amend(message))
                self._put(op="seen", number=frame["number"])  # only now may the server forget it

    def composer(self) -> base.Composer:
        return LinesComposer()

    async def send(self, delivery: base.Delivery) -> str:
        return str((await self._call("post", delivery, text=_text(delivery)))["id"])

    async def edit(self, delivery: base.Delivery) -> None:
        await self._call("edit", delivery, text=_text(delivery))

    async def delete(self, delivery: base.Delivery) -> None:
        await self._call("delete", delivery)

    async def find(self, delivery: base.Delivery) -> base.Found | base.SearchOutcome:
        found = (await self._call("find", delivery))["id"]
        return base.Found(found) if found else base.SearchOutcome.ABSENT

    async def typing(self, target: base.Target) -> None:
        self._put(op="typing", room=target.chat_id, thread=target.thread_id)

    async def _call(self, op: str, delivery: base.Delivery, **fields: object) -> dict[str, Any]:
        if self._writer is None:
            raise base.NotConnectedError("there is no connection to the server")
        call = self._calls[ref := next(self._refs)] = asyncio.get_running_loop().create_future()
        target, key = delivery.target, f"{delivery.id}.{delivery.part}"  # by the key the server finds a message
        place = {"room": target.chat_id, "thread": target.thread_id, "key": key, "id": delivery.message_id}
        self._put(op=op, ref=ref, **place, **fields)
        try:
            async with asyncio.timeout(self._patience):
                answer: dict[str, Any] = await call
        except (ConnectionError, TimeoutError) as error:
            raise base.OutcomeUnknownError("the server did not answer") from error
        finally:
            del self._calls[ref]
        if answer.get("error") == "slow down":
            raise base.RetryLaterError("the server asks us to wait", answer["seconds"])
        if "error" in answer:  # it does not say how far it came
            raise base.OutcomeUnknownError(answer["error"])
        return answer

    def _put(self, **frame: object) -> None:
        if self._writer is not None:
            self._writer.write(json.dumps(frame).encode() + b"\n")

    def _hang_up(self) -> None:
        for call in self._calls.values():
            if not call.done():
                call.set_exception(ConnectionError("the connection has ended"))
        if self._writer is not None:
            self._writer.transport.abort()
            self._writer = None


def _text(delivery: base.Delivery) -> str:
    return f"(Perhaps a repeat) {delivery.content}" if delivery.repeated else str(delivery.content)
