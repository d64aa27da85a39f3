"""A loopback proxy that keeps what goes through it: what a model's server received, and what it streamed back."""

import json
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web


class RecordingProxy:
    """Forwards to `upstream` (an OpenAI-compatible `…/v1` address).

    `requests` holds the bodies, `chunks` how many events each answer had."""

    def __init__(self, upstream: str, api_key: str) -> None:
        self._upstream = upstream.rstrip("/")
        self._api_key = api_key
        self.requests: list[dict[str, Any]] = []
        self.chunks: list[int] = []
        self.base_url = ""

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=16 * 2**20)
        app.router.add_post("/v1/{path:.*}", self._forward)
        self._session = aiohttp.ClientSession()
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.base_url = f"http://127.0.0.1:{port}/v1"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.requests.append(json.loads(body))
        headers = {"Authorization": f"Bearer {self._api_key}", "Content-Type": "application/json"}
        url = f"{self._upstream}/{request.match_info['path']}"
        async with self._session.post(url, data=body, headers=headers) as answer:
            response = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type})
            await response.prepare(request)
            pieces = 0
            async for line in answer.content:
                pieces += line.startswith(b"data:")
                await response.write(line)
            self.chunks.append(pieces)
            await response.write_eof()
            return response
