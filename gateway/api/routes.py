"""The routes of the OpenAI-compatible API."""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from aiohttp import web

from gateway.api.chat import ChatStream, completion
from gateway.api.errors import ApiError
from gateway.api.guard import BODY_SECONDS, HOLDER, json_response, needs, read_json
from gateway.api.openapi import description
from gateway.api.orders import Order, chat_order, fingerprint, read_shape, response_order
from gateway.api.references import resolved
from gateway.api.responses import ResponseStream, response
from gateway.api.service import Service, failure
from gateway.api.sse import Events, stream
from gateway.api.wire import ChatRequest, ResponseRequest
from gateway.ports import Clock

SESSION_HEADER: Final = "X-Hermes-Session-Id"
"""Names the conversation that a request belongs to; the gateway then keeps what was said."""

IDEMPOTENCY_HEADER: Final = "Idempotency-Key"
"""Makes a request one that can be repeated: it gets the one answer
(https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/)."""

MAX_IDEMPOTENCY_CHARS: Final = 255

CLIENT_LEFT: Final = 499
"""The status of what nobody reads, as proxies note it."""

CONVERSATION: Final = re.compile(r"[A-Za-z0-9._:@+=-]{1,128}")


class OpenAiRoutes:
    """Serves `/v1/…`. `body_seconds` is how long a body may take to arrive."""

    def __init__(self, service: Service, clock: Clock, *, body_seconds: float = BODY_SECONDS) -> None:
        self._service = service
        self._started = int(clock.now().timestamp())
        self._body_seconds = body_seconds

    def add_to(self, app: web.Application) -> None:
        """Add the routes."""
        chat, either = needs("chat"), needs("chat", "read")
        routes: list[tuple[str, str, Callable[[web.Request], Awaitable[web.StreamResponse]]]] = [
            ("POST", "/v1/chat/completions", chat(self._bound(OpenAiRoutes._create_chat))),
            ("GET", "/v1/chat/completions/{id}", chat(self._bound(OpenAiRoutes._get_chat))),
            ("POST", "/v1/responses", chat(self._bound(OpenAiRoutes._create_response))),
            ("GET", "/v1/responses/{id}", chat(self._bound(OpenAiRoutes._get_response))),
            ("GET", "/v1/models", either(self._bound(OpenAiRoutes._list_models))),
            ("GET", "/v1/models/{id}", either(self._bound(OpenAiRoutes._get_model))),
            ("GET", "/openapi.json", needs("chat", "read", "send")(self._bound(OpenAiRoutes._describe))),
        ]
        for method, path, handler in routes:
            app.router.add_route(method, path, handler)

    def _bound(
        self, method: Callable[["OpenAiRoutes", web.Request], Awaitable[web.StreamResponse]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """A handler that can be marked: a bound method cannot."""

        async def handler(request: web.Request) -> web.StreamResponse:
            return await method(self, request)

        return handler

    # --- answers -----------------------------------------------------------------------------------------------

    async def _create_chat(self, request: web.Request) -> web.StreamResponse:
        body = await read_json(request, seconds=self._body_seconds)
        conversation = _conversation(request)
        order = chat_order(read_shape(ChatRequest, body), conversation)
        return await self._answer(request, order, fingerprint(body, conversation))

    async def _create_response(self, request: web.Request) -> web.StreamResponse:
        body = await read_json(request, seconds=self._body_seconds)
        conversation = _conversation(request)
        asked_for = await resolved(self._service, request[HOLDER], read_shape(ResponseRequest, body))
        order = response_order(asked_for, conversation)
        return await self._answer(request, order, fingerprint(body, conversation))

    async def _answer(self, request: web.Request, order: Order, print_: str) -> web.StreamResponse:
        """Have a request answered: whole, or piece by piece."""
        asked = await self._service.ask(request[HOLDER], order, print_, _idempotency_key(request))
        headers = {"X-Request-Id": asked.id}
        if order.conversation is not None:
            headers[SESSION_HEADER] = order.conversation
        chat = order.kind == "chat"
        try:
            with self._service.place(asked) as waiter:
                submission = await self._service.submit(asked, order, waiter)
                if order.stream:
                    usage = order.include_usage
                    events: Events = ChatStream(asked, include_usage=usage) if chat else ResponseStream(asked)
                    return await stream(request, self._service, submission, events, named=not chat, headers=headers)
                answer = await self._service.answer(submission, lambda: request.transport is not None)
            if answer is None:
                return web.Response(status=CLIENT_LEFT)
            if (failed := failure(answer)) is not None:
                raise failed
        except ApiError as error:
            error.headers.update(headers)
            raise
        return json_response(completion(asked, answer) if chat else response(asked, answer), headers=headers)

    async def _get_chat(self, request: web.Request) -> web.StreamResponse:
        asked, answer = await self._service.get(request[HOLDER], request.match_info["id"], "chat")
        if answer is None:
            raise ApiError(409, "the answer is still being made: ask again", code="still_under_way")
        if (failed := failure(answer)) is not None:
            raise failed
        return json_response(completion(asked, answer))

    async def _get_response(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("stream", "false").lower() not in ("false", "0"):
            words = "stream: a response that is got again comes whole; ask without it"
            raise ApiError(400, words, code="invalid_value", param="stream")
        asked, answer = await self._service.get(request[HOLDER], request.match_info["id"], "response")
        return json_response(response(asked, answer))

    # --- what there is -----------------------------------------------------------------------------------------

    async def _list_models(self, _request: web.Request) -> web.StreamResponse:
        models = [self._model(name, behind) for name, behind in self._service.models().items()]
        return json_response({"object": "list", "data": models})

    async def _get_model(self, request: web.Request) -> web.StreamResponse:
        name, models = request.match_info["id"], self._service.models()
        if name not in models:
            raise ApiError(404, f"there is no model {name!r}", code="model_not_found", param="id")
        return json_response(self._model(name, models[name]))

    def _model(self, name: str, behind: str | None) -> Mapping[str, Any]:
        return {
            "id": name,
            "object": "model",
            "created": self._started,
            "owned_by": "hermes-gateway",
            "hermes": {"model": behind},
        }

    async def _describe(self, _request: web.Request) -> web.StreamResponse:
        return json_response(description())


def _conversation(request: web.Request) -> str | None:
    """The conversation that a header names. Raises `ApiError`."""
    name = request.headers.get(SESSION_HEADER)
    if name is None:
        return None
    if not CONVERSATION.fullmatch(name):
        words = f"{SESSION_HEADER}: letters, digits and ._:@+=- name a conversation, 128 of them at most"
        raise ApiError(400, words, code="invalid_value", param=SESSION_HEADER)
    return name


def _idempotency_key(request: web.Request) -> str | None:
    """The key that makes a request one that can be repeated. Raises `ApiError`."""
    key = request.headers.get(IDEMPOTENCY_HEADER)
    if key is None:
        return None
    if not 1 <= len(key) <= MAX_IDEMPOTENCY_CHARS:
        words = f"{IDEMPOTENCY_HEADER}: 1 to {MAX_IDEMPOTENCY_CHARS} characters"
        raise ApiError(400, words, code="invalid_value", param=IDEMPOTENCY_HEADER)
    return key
