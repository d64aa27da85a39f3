"""An OpenAI-compatible server on loopback that says what a script tells it to, and fails where it is told to.

    script = [Reply("Hello"), Reply(calls=[ToolCall("clock", {})]), Fault(429, headers={"Retry-After": "7"})]
    async with ScriptedOpenAI(script) as server:
        ...  # agents.NAME.base_url = server.base_url
    assert server.requests[0]["messages"][-1]["content"] == "Hi"

Each request takes the next answer of the script; a text is short for a `Reply`. A function in its place is
called with the request's body for every request, and never used up. A request beyond the script is answered
by `otherwise`, or with a 500 that says so.
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeAlias

from aiohttp import web

Chunk: TypeAlias = str | float | asyncio.Event
"""A piece of text, a pause in seconds, or an event to wait for."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the model asks for; arguments given as a text are sent as they are."""

    name: str
    arguments: Mapping[str, Any] | str = field(default_factory=dict)
    id: str | None = None

    def arguments_text(self) -> str:
        return self.arguments if isinstance(self.arguments, str) else json.dumps(self.arguments)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. By default its text goes out word by word, and usage is counted in words.

    `cut_after` breaks the connection after that many pieces of text; `end_after` ends the stream there in
    good order, but without its end; `hang_after` falls silent there. `usage` is `(prompt, completion)` or
    `(prompt, completion, cached)` tokens; None reports none.
    """

    text: str | Sequence[Chunk] = ""
    calls: Sequence[ToolCall] = ()
    finish: str | None = None
    usage: tuple[int, ...] | Callable[[Mapping[str, Any]], tuple[int, ...]] | None = field(
        default=lambda body: (words_in(body), 5)
    )
    cut_after: int | None = None
    end_after: int | None = None
    hang_after: int | None = None
    model: str | None = None

    def chunks(self) -> list[Chunk]:
        """The pieces in which the text goes out."""
        if not isinstance(self.text, str):
            return list(self.text)
        words = self.text.split(" ")
        return [word if last else f"{word} " for last, word in _mark_last(words)] if self.text else []


@dataclass(frozen=True, slots=True)
class Fault:
    """An error in place of an answer, in OpenAI's form unless `body` says otherwise."""

    status: int = 500
    message: str = "scripted fault"
    code: str | None = None
    type: str = "server_error"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None


@dataclass(frozen=True, slots=True)
class Hang:
    """No answer at all: the request stays open until the client gives up or the server ends."""


@dataclass(frozen=True, slots=True)
class Drop:
    """The connection breaks before a byte of an answer."""


Answer: TypeAlias = Reply | Fault | Hang | Drop | str
Script: TypeAlias = Iterable[Answer] | Callable[[dict[str, Any]], Answer]


def rate_limited(retry_after: str = "7") -> Fault:
    """A 429; `retry_after` is seconds or an HTTP date."""
    return Fault(429, "Rate limit reached", "rate_limit_exceeded", "requests", headers={"Retry-After": retry_after})


def context_exceeded(limit: int = 4096) -> Fault:
    """A prompt that is too long, as OpenAI says it."""
    return Fault(
        400,
        f"This model's maximum context length is {limit} tokens.",
        "context_length_exceeded",
        "invalid_request_error",
    )


def words_in(body: Mapping[str, Any]) -> int:
    """The words of a request's messages."""
    return sum(len(str(message.get("content") or "").split()) for message in body.get("messages", ()))


def characters_in(body: Mapping[str, Any]) -> int:
    """The characters of a request's messages."""
    return sum(len(str(message.get("content") or "")) for message in body.get("messages", ()))


class ScriptedOpenAI:
    """The server. `requests` holds the bodies of all completions that were asked for, `headers` their
    headers.

    With `most_characters` a longer prompt is refused as `overflow` says, whatever the script holds, and
    without using it up. With `api_key` any other key is refused with a 401.
    """

    def __init__(
        self,
        script: Script = (),
        *,
        otherwise: Answer | None = None,
        most_characters: int | None = None,
        overflow: Fault | None = None,
        api_key: str | None = None,
    ) -> None:
        self._choose = script if callable(script) else None
        self._script = [] if callable(script) else list(script)
        self._otherwise = otherwise
        self._most_characters = most_characters
        self._overflow = overflow or context_exceeded()
        self._api_key = api_key
        self._runner: web.AppRunner | None = None
        self._closing = asyncio.Event()
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.arrived = asyncio.Event()
        """Set whenever a request has come in; a test clears it to wait for the next."""
        self.base_url = ""
        self.port = 0

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/v1/chat/completions", self._complete)
        app.router.add_get("/v1/models", self._models)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.base_url = f"http://127.0.0.1:{self.port}/v1"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        assert self._runner is not None
        await self._runner.cleanup()

    def add(self, *answers: Answer) -> None:
        """Put more answers at the script's end."""
        self._script.extend(answers)

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "scripted", "object": "model"}]})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.requests.append(body)
        self.headers.append(dict(request.headers))
        self.arrived.set()
        answer = self._answer(body, request.headers.get("Authorization", ""))
        if isinstance(answer, str):
            answer = Reply(answer)
        match answer:
            case Fault():
                return _fault(answer)
            case Hang():
                await self._closing.wait()
                return web.Response(status=503)
            case Drop():
                _break(request)
                return web.Response(status=503)
            case Reply():
                if body.get("stream"):
                    return await self._stream(request, body, answer)
                return web.json_response(_whole(body, answer))

    def _answer(self, body: dict[str, Any], authorization: str) -> Answer:
        if self._api_key is not None and authorization != f"Bearer {self._api_key}":
            return Fault(401, "Incorrect API key provided.", "invalid_api_key", "invalid_request_error")
        if self._most_characters is not None and characters_in(body) > self._most_characters:
            return self._overflow
        if self._choose is not None:
            return self._choose(body)
        if self._script:
            return self._script.pop(0)
        return self._otherwise or Fault(500, "the script holds no further answer", "script_over")

    async def _stream(self, request: web.Request, body: dict[str, Any], reply: Reply) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)

        async def send(delta: Mapping[str, Any] | None, finish: str | None = None, **extra: Any) -> None:
            choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
            frame = {**_head(body, reply, "chat.completion.chunk"), "choices": choices, **extra}
            await response.write(f"data: {json.dumps(frame)}\n\n".encode())

        await send({"role": "assistant", "content": ""})
        for sent, chunk in enumerate([*reply.chunks(), None]):
            if sent == reply.cut_after:
                _break(request)
                return response
            if sent == reply.end_after:
                return response
            if sent == reply.hang_after:
                await self._closing.wait()
                return response
            match chunk:
                case str():
                    await send({"content": chunk})
                case float() | int():
                    await asyncio.sleep(chunk)
                case asyncio.Event():
                    await chunk.wait()
                case None:
                    break
        for index, call in enumerate(reply.calls):
            for piece in _call_pieces(index, call, len(self.requests)):
                await send({"tool_calls": [piece]})
        await send({}, finish=reply.finish or ("tool_calls" if reply.calls else "stop"))
        usage = _usage(body, reply)
        if usage is not None:
            await send(None, usage=usage)
        await response.write(b"data: [DONE]\n\n")
        return response


def _mark_last(words: Sequence[str]) -> list[tuple[bool, str]]:
    return [(index == len(words) - 1, word) for index, word in enumerate(words)]


def _break(request: web.Request) -> None:
    """Break the connection in the middle, as a crash does."""
    if request.transport is not None:
        request.transport.abort()


def _fault(fault: Fault) -> web.Response:
    body = fault.body
    if body is None:
        body = {"error": {"message": fault.message, "type": fault.type, "code": fault.code, "param": None}}
    if isinstance(body, str):
        return web.Response(status=fault.status, text=body, headers=fault.headers)
    return web.json_response(body, status=fault.status, headers=fault.headers)


def _head(body: Mapping[str, Any], reply: Reply, kind: str) -> dict[str, Any]:
    return {
        "id": "chatcmpl-scripted",
        "object": kind,
        "created": 1_700_000_000,
        "model": reply.model or body.get("model", "scripted"),
    }


def _usage(body: Mapping[str, Any], reply: Reply) -> dict[str, Any] | None:
    counted = reply.usage(body) if callable(reply.usage) else reply.usage
    if counted is None:
        return None
    prompt, completion, *cached = counted
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached[0] if cached else 0},
    }


def _call_id(call: ToolCall, index: int, request: int) -> str:
    return call.id if call.id is not None else f"call_{request}_{index}"


def _call_pieces(index: int, call: ToolCall, request: int) -> list[dict[str, Any]]:
    """A call as a stream has it: its name first, then its arguments in two pieces."""
    text = call.arguments_text()
    middle = len(text) // 2
    first = {"name": call.name, "arguments": ""}
    return [
        {"index": index, "id": _call_id(call, index, request), "type": "function", "function": first},
        {"index": index, "function": {"arguments": text[:middle]}},
        {"index": index, "function": {"arguments": text[middle:]}},
    ]


def _whole(body: Mapping[str, Any], reply: Reply) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(chunk for chunk in reply.chunks() if isinstance(chunk, str)),
    }
    if reply.calls:
        message["tool_calls"] = [
            {
                "id": _call_id(call, index, 0),
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments_text()},
            }
            for index, call in enumerate(reply.calls)
        ]
    finish = reply.finish or ("tool_calls" if reply.calls else "stop")
    whole = {
        **_head(body, reply, "chat.completion"),
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
    }
    usage = _usage(body, reply)
    return whole if usage is None else whole | {"usage": usage}
