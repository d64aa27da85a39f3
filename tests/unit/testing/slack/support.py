"""An app on slack_sdk: a web client without retries, and a listener on Socket Mode."""

import asyncio
from types import TracebackType
from typing import Any

import aiohttp
from slack_sdk.errors import SlackApiError
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.async_client import AsyncBaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse
from slack_sdk.web.async_client import AsyncWebClient

from adapters.testing.slack import Bot, DeliveryRules, SlackServer

FAST = DeliveryRules(deadline=0.4, retry_delays=(0.0, 0.05, 0.1))
"""Long enough for a busy machine to acknowledge in time, short enough for a test to wait for."""


def client_of(server: SlackServer, session: aiohttp.ClientSession, bot: Bot | None = None) -> AsyncWebClient:
    token = (bot or server.bot).token
    return AsyncWebClient(token=token, base_url=server.api_url, session=session, retry_handlers=[])


async def refused(call: Any) -> dict[str, Any]:
    """The answer of a request that Slack refuses."""
    try:
        await call
    except SlackApiError as error:
        answer: dict[str, Any] = error.response.data
        return answer
    raise AssertionError("it was not refused")


class Listener:
    """Takes what comes over Socket Mode, and acknowledges it unless it is told not to."""

    def __init__(self, server: SlackServer, web: AsyncWebClient, *, ping_interval: float = 5.0) -> None:
        self.client = SocketModeClient(server.app.token, web_client=web, ping_interval=ping_interval)
        self.requests: list[SocketModeRequest] = []
        self.answers = True
        self.delay = 0.0
        self.reply: dict[str, Any] | None = None
        self.client.socket_mode_request_listeners.append(self._take)

    async def __aenter__(self) -> "Listener":
        await self.client.connect()  # type: ignore[no-untyped-call]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.client.close()  # type: ignore[no-untyped-call]

    @property
    def events(self) -> list[dict[str, Any]]:
        return [request.payload["event"] for request in self.requests if request.type == "events_api"]

    @property
    def texts(self) -> list[str]:
        return [event["text"] for event in self.events if event["type"] == "message" and "text" in event]

    async def _take(self, client: AsyncBaseSocketModeClient, request: SocketModeRequest) -> None:
        self.requests.append(request)
        if self.delay:
            await asyncio.sleep(self.delay)
        if self.answers:
            payload = self.reply if request.accepts_response_payload else None
            await client.send_socket_mode_response(SocketModeResponse(request.envelope_id, payload))
