"""The routes that messages come by without a conversation: webhooks, and what scripts send to people."""

from collections.abc import Callable

from aiohttp import web

from gateway.api.errors import ApiError
from gateway.api.guard import BODY_SECONDS, HOLDER, json_response, needs, open_to_all, read_body, read_json
from gateway.api.orders import read_shape
from gateway.api.sending import Sender
from gateway.api.webhooks import Webhooks
from gateway.api.wire import SendRequest
from gateway.storage.codec import clean_text

IDEMPOTENCY_HEADER = "Idempotency-Key"


class HookRoutes:
    """Serves `/webhooks/{name}` and `/api/send`. `body_seconds` is how long a body may take to arrive.

    Webhooks carry no key, but are signed. For whom the listener is, by the Host header, is checked for them too: one
    that is not signed would else be open to every page in a browser on this machine.
    """

    def __init__(
        self, webhooks: Webhooks, sender: Callable[[], Sender | None], *, body_seconds: float = BODY_SECONDS
    ) -> None:
        self._webhooks = webhooks
        self._sender = sender
        self._body_seconds = body_seconds

    def add_to(self, app: web.Application) -> None:
        """Add the routes."""

        @open_to_all
        async def post(request: web.Request) -> web.StreamResponse:
            return await self._post(request)

        @needs("send")
        async def send(request: web.Request) -> web.StreamResponse:
            return await self._send(request)

        app.router.add_post("/webhooks/{name}", post)
        app.router.add_post("/api/send", send)

    async def _post(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        hook = self._webhooks.find(name)
        if hook is None:
            raise ApiError(404, "there is no webhook of this name", code="webhook_not_found")
        kind = request.content_type
        if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
            words = "send JSON: the sender has to be set to Content-Type: application/json"
            raise ApiError(415, words, code="unsupported_media_type")
        body = await read_body(request, seconds=self._body_seconds, limit=hook.max_body_kb * 1024)
        headers = {key.lower(): clean_text(value) for key, value in request.headers.items()}
        outcome = await self._webhooks.take(name, hook, headers, body)
        answer = {"status": outcome.status, "id": outcome.id}
        if outcome.challenge is not None:
            answer["challenge"] = outcome.challenge
        return json_response(answer, status=202 if outcome.status == "accepted" else 200)

    async def _send(self, request: web.Request) -> web.StreamResponse:
        asked = read_shape(SendRequest, await read_json(request, seconds=self._body_seconds))
        sender = self._sender()
        if sender is None:
            raise ApiError(503, "the gateway is starting: try again", code="starting", headers={"Retry-After": "1"})
        once = request.headers.get(IDEMPOTENCY_HEADER)
        sent = await sender.send(request[HOLDER].name, asked.target, asked.text, once)
        return json_response(sent.to_dict(), status=200 if sent.duplicate else 202)
