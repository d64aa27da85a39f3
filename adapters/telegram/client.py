"""The Bot API over HTTP: the library's bot on a client of our own, which tells what was sent and shows no token."""

import json
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

import httpx
from telegram import Bot
from telegram.error import NetworkError, TelegramError
from telegram.request import BaseRequest, RequestData

from adapters.telegram.constants import CONNECTIONS, PIECE_BYTES, Timing
from adapters.telegram.multipart import Multipart

MASK: Final = "***"

SHORTEST_SECRET: Final = 8
"""Characters of the part of a token behind its colon that is hidden where it stands alone; a shorter one is none."""

SERVER_FAULT: Final = 500
"""HTTP statuses from here on are the server's fault: it may have done what was asked."""

NOT_SENT: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
)
"""What happens before a request leaves."""

_NOISY: Final = ("httpx", "httpcore", "telegram")


class CallError(TelegramError):
    """The server refused a call, or failed at it.

    `code` is the HTTP status, `retry_after` in seconds and `migrate_to` are what it says besides
    (https://core.telegram.org/bots/api#responseparameters). `is_verdict`: it is a Bot API server that says so, not
    something on the way to one.
    """

    def __init__(
        self,
        code: int,
        description: str,
        *,
        retry_after: float | None = None,
        migrate_to: int | None = None,
        is_verdict: bool = True,
    ) -> None:
        super().__init__(description)
        self.message = description
        self.code = code
        self.retry_after = retry_after
        self.migrate_to = migrate_to
        self.is_verdict = is_verdict

    def says(self, *words: str) -> bool:
        """Whether its description holds one of these, in any case."""
        folded = self.message.casefold()
        return any(word.casefold() in folded for word in words)


class NotSentError(NetworkError):
    """The call did not leave this machine."""


class NoAnswerError(NetworkError):
    """The call left, and no answer came that can be read."""


class TelegramRequest(BaseRequest):
    """Makes the library's calls. Every error is one of the three above; none of their texts holds the token."""

    def __init__(self, token: str, timing: Timing, verify: ssl.SSLContext | bool = True) -> None:
        secret = token.partition(":")[2]
        parts = [token, secret] if len(secret) >= SHORTEST_SECRET else [token]
        self._secrets = [written for part in parts for written in (part, quote(part, safe="/:"), quote(part, safe=""))]
        self._timing = timing
        timeout = httpx.Timeout(connect=timing.connect, read=timing.answer, write=timing.answer, pool=timing.connect)
        self._http = httpx.AsyncClient(timeout=timeout, limits=httpx.Limits(max_connections=CONNECTIONS), verify=verify)

    @property
    def read_timeout(self) -> float | None:
        """Seconds to wait for an answer."""
        return self._timing.answer

    async def initialize(self) -> None:
        """Nothing: the client is there from the start."""

    async def shutdown(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def do_request(
        self,
        url: str,
        method: str,
        request_data: RequestData | None = None,
        read_timeout: Any = BaseRequest.DEFAULT_NONE,  # noqa: ANN401 - the library's type is private
        write_timeout: Any = BaseRequest.DEFAULT_NONE,  # noqa: ANN401
        connect_timeout: Any = BaseRequest.DEFAULT_NONE,  # noqa: ANN401
        pool_timeout: Any = BaseRequest.DEFAULT_NONE,  # noqa: ANN401
    ) -> tuple[int, bytes]:
        """Make one call; returns only what is a success. Raises `CallError`, `NotSentError`, `NoAnswerError`."""
        del write_timeout, connect_timeout, pool_timeout
        read = float(read_timeout) if isinstance(read_timeout, int | float) else self._timing.answer
        timeout = self._timeout(read, self._timing.answer)
        if request_data is None:
            request = self._http.build_request(method, url, timeout=timeout)
        elif request_data.contains_files:
            body = Multipart(request_data.json_parameters, request_data.multipart_data)
            # The server answers once it has passed the file on, which takes as long again.
            timeout = self._timeout(self._timing.upload, self._timing.upload)
            request = self._http.build_request(method, url, content=body, headers=body.headers, timeout=timeout)
        else:
            request = self._http.build_request(method, url, data=request_data.json_parameters, timeout=timeout)
        return await self._answer(request)

    async def call(self, url: str, parameters: Mapping[str, Any], *, read_timeout: float | None = None) -> Any:  # noqa: ANN401
        """The `result` of a call as JSON, untouched by the library. Raises as `do_request` does."""
        timeout = self._timeout(read_timeout or self._timing.answer, self._timing.answer)
        _, body = await self._answer(self._http.build_request("POST", url, json=dict(parameters), timeout=timeout))
        return json.loads(body)["result"]

    async def download(self, url: str, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Hand on what is at an address, piece by piece. Raises as `do_request` does, and what `write` raises."""
        try:
            async with self._http.stream("GET", url) as response:
                if not response.is_success:
                    words = f"the server answered {response.status_code}"
                    raise CallError(response.status_code, words, is_verdict=False)
                async for piece in _pieces(response):
                    await write(piece)
        except NOT_SENT as error:
            raise NotSentError(self._in_words(error)) from None
        except httpx.HTTPError as error:
            raise NoAnswerError(self._in_words(error)) from None

    def redacted(self, words: str) -> str:
        """Words of a server, or of something on the way to it, without the token."""
        for secret in self._secrets:
            words = words.replace(secret, MASK)
        return words

    def _in_words(self, error: Exception) -> str:
        return self.redacted(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)

    def _timeout(self, read: float, write: float) -> httpx.Timeout:
        return httpx.Timeout(connect=self._timing.connect, read=read, write=write, pool=self._timing.connect)

    async def _answer(self, request: httpx.Request) -> tuple[int, bytes]:
        if self._http.is_closed:
            raise NotSentError("the connection has ended")
        try:
            response = await self._http.send(request)
        except NOT_SENT as error:
            raise NotSentError(self._in_words(error)) from None
        except (httpx.HTTPError, OSError) as error:
            raise NoAnswerError(self._in_words(error)) from None
        answer = _json(response)
        if response.is_success:
            if answer is None or "result" not in answer:
                raise NoAnswerError("the answer is not one of the Bot API")
            return response.status_code, response.content
        raise self._refusal(response, answer or {})

    def _refusal(self, response: httpx.Response, answer: Mapping[str, Any]) -> CallError:
        parameters = answer.get("parameters")
        parameters = parameters if isinstance(parameters, Mapping) else {}
        retry_after = parameters.get("retry_after") or response.headers.get("Retry-After")
        migrate_to = parameters.get("migrate_to_chat_id")
        said = answer.get("description") or f"the server answered {response.status_code} {response.reason_phrase}"
        return CallError(
            response.status_code,
            self.redacted(str(said)),
            retry_after=_seconds(retry_after),
            migrate_to=migrate_to if isinstance(migrate_to, int) else None,
            is_verdict=answer.get("ok") is False,
        )


async def _pieces(response: httpx.Response) -> AsyncIterator[bytes]:
    async for piece in response.aiter_bytes(PIECE_BYTES):
        yield piece


def _json(response: httpx.Response) -> dict[str, Any] | None:
    try:
        answer = response.json()
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def _seconds(value: object) -> float | None:
    try:
        return float(str(value)) if value is not None else None
    except ValueError:
        return None


class Client:
    """One account on one Bot API server. Building it reads certificates: do so on another thread."""

    def __init__(self, token: str, api_base_url: str, timing: Timing) -> None:
        base = api_base_url.rstrip("/")
        self._timing = timing
        self._methods = f"{base}/bot{token}"
        self._files = f"{base}/file/bot{token}"
        # A server on this machine is spoken to without TLS; reading the certificates of the world takes long.
        verify = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if base.startswith("http://") else True
        self._request = TelegramRequest(token, timing, verify)
        self.bot = Bot(
            token,
            base_url=f"{base}/bot",
            base_file_url=f"{base}/file/bot",
            request=self._request,
            get_updates_request=self._request,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._request.shutdown()

    async def call(self, method: str, **parameters: Any) -> Any:  # noqa: ANN401
        """The `result` of a method as JSON, for what has to be seen as it came. Raises as `TelegramRequest` does."""
        return await self._request.call(f"{self._methods}/{method}", parameters)

    async def updates(self, offset: int | None, kinds: tuple[str, ...], *, wait: int) -> list[dict[str, Any]]:
        """The updates from `offset` on, as they came; those below it are confirmed. Raises as `call` does."""
        parameters = {"timeout": wait, "allowed_updates": list(kinds)} | ({} if offset is None else {"offset": offset})
        result = await self._request.call(
            f"{self._methods}/getUpdates", parameters, read_timeout=wait + self._timing.margin
        )
        return [each for each in result if isinstance(each, dict)] if isinstance(result, list) else []

    def redacted(self, words: str) -> str:
        """Words of a server without the token."""
        return self._request.redacted(words)

    async def download(self, path: str, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Hand on the file at a path that `getFile` gave. Raises as `call` does."""
        await self._request.download(f"{self._files}/{quote(path)}", write)


def quiet_libraries() -> None:
    """Keep the libraries from logging each request: its address holds the token."""
    for name in _NOISY:
        logger = logging.getLogger(name)
        if logger.level < logging.WARNING:
            logger.setLevel(logging.WARNING)
