"""The loopback Discord server: HTTP and WebSockets in front of the world, with faults, limits and waits."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, TypeVar

from aiohttp import web

from adapters.testing.changes import Changes
from adapters.testing.discord import account_api, channel_api, interaction_api, message_api
from adapters.testing.discord.accounts import Bot
from adapters.testing.discord.channel import Channel
from adapters.testing.discord.errors import ApiError, unauthorized
from adapters.testing.discord.files import Cdn, File
from adapters.testing.discord.gateway import Gateway
from adapters.testing.discord.intents import PRIVILEGED, Intents
from adapters.testing.discord.interactions import ANSWER_SECONDS, TOKEN_SECONDS
from adapters.testing.discord.limits import Buckets, RateLimits
from adapters.testing.discord.message import Message
from adapters.testing.discord.method import Call, Reply, Route, Settings
from adapters.testing.discord.network import Network
from adapters.testing.discord.people import Person
from adapters.testing.discord.requests import Request, RequestLog, read_body
from adapters.testing.discord.world import World
from adapters.testing.faults import Fault, FaultKind, FaultRule, Faults, Gate
from adapters.testing.wire import SHUTDOWN, disconnected, slowly

T = TypeVar("T")

ROUTES: Final[tuple[Route, ...]] = (
    *message_api.ROUTES,
    *channel_api.ROUTES,
    *account_api.ROUTES,
    *interaction_api.ROUTES,
)
"""What is routed first comes first: `@me` before any id."""

DOWNLOAD: Final = "download"
"""The name by which tests call the CDN's route."""
NAMES: Final = frozenset({DOWNLOAD, *(route.name for route in ROUTES)})
MAX_BODY: Final = 2**26
"""Bytes that are read of a request at all; what the API refuses is less."""
LAST_REQUESTS: Final = 5
"""How many requests a wait that failed tells of."""
HEARTBEAT_SECONDS: Final = 41.25
"""The interval that the real gateway names."""
SESSION_SECONDS: Final = 180.0
"""How long a session can be resumed: "a few minutes"
(https://docs.discord.com/developers/events/gateway#initiating-a-disconnect)."""
NONCE_SECONDS: Final = 300.0
"""How long a nonce is remembered: "the past few minutes"
(https://docs.discord.com/developers/resources/message#create-message)."""
KEPT_EVENTS: Final = 1000
"""Events that a session can be sent again; the real number is not documented."""
RESUME_PATH: Final = "/resume"


class DiscordServer(Network):
    """A Discord on 127.0.0.1 for bots under test: REST v10, the gateway, and the CDN.

    `clock` gives seconds since 1970, `monotonic` those by which requests, limits, nonces and sessions are timed.
    Without `limits` nothing is refused as too much. The server may be stopped and started again; it keeps its port and
    its state.
    """

    def __init__(
        self,
        *,
        limits: RateLimits | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        username: str = "hermes",
        privileged: Intents = PRIVILEGED,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        session_seconds: float = SESSION_SECONDS,
        kept_events: int = KEPT_EVENTS,
        nonce_seconds: float = NONCE_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self.requests = RequestLog()
        """Every request that came with a valid token, for a route that there is."""
        self.violations: list[str] = []
        """What bots did wrong and a real server would not tell them, or would punish later: did not wait, sent no
        heartbeat, identified too often."""
        self.faults: Faults[Request] = Faults()
        changes = Changes()
        self.gateway = Gateway(
            changes,
            monotonic,
            self.violations.append,
            limits,
            heartbeat_seconds=heartbeat_seconds,
            session_seconds=session_seconds,
            kept_events=kept_events,
        )
        """Its connections and sessions, and what goes wrong with them."""
        self.resume_status: int | None = None
        """What the address for resuming answers instead of a connection."""
        world = World(clock, self.gateway, changes, Cdn(clock, lambda: self.base_url))
        self.gateway.ready, self.gateway.members = world.ready, world.members
        self._buckets = Buckets(limits, clock, monotonic, self.violations.append)
        self._settings = Settings(nonce_seconds, answer_seconds, TOKEN_SECONDS, monotonic, lambda: self.gateway_url)
        self._port = 0
        self._runner: web.AppRunner | None = None
        self._stopping = asyncio.Event()
        super().__init__(world, monotonic, username, privileged)

    async def __aenter__(self) -> "DiscordServer":
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def base_url(self) -> str:
        """The root of everything over HTTP."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def api_url(self) -> str:
        """The REST API; in discord.py it is `discord.http.Route.BASE`."""
        return f"{self.base_url}/api/v10"

    @property
    def gateway_url(self) -> str:
        """The gateway; in discord.py it is `DiscordWebSocket.DEFAULT_GATEWAY`."""
        return f"ws://127.0.0.1:{self._port}/gateway"

    async def start(self) -> None:
        """Listen; after a stop, on the same port again."""
        self._stopping.clear()
        app = web.Application(client_max_size=MAX_BODY)
        for route in ROUTES:
            app.router.add_route(route.method, "/api/v{version:9|10}" + route.path, self._handler(route))
        app.router.add_get("/attachments/{channel_id}/{attachment_id}/{name}", self._download)
        app.router.add_get("/gateway", self._connect)
        app.router.add_get(RESUME_PATH, self._connect)
        app.router.add_route("*", "/{rest:.*}", _not_found)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=SHUTDOWN)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self._port).start()
        self._runner = runner
        self._port = int(runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening and break every connection; requests that wait are broken off. Sessions can be resumed."""
        self._stopping.set()
        self.gateway.cut()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def shown(self, channel: Channel, by: Bot | Person | None = None, to: Person | None = None) -> tuple[Message, ...]:
        """What everyone sees in a channel now, oldest first, and what only `to` sees; what was deleted is in
        `channel.messages` only."""
        return tuple(
            message
            for message in channel.messages
            if message.deleted_at is None
            and (by is None or message.author.id == by.user.id)
            and (message.ephemeral_for is None or (to is not None and message.ephemeral_for == to.id))
        )

    async def until(self, condition: Callable[[], T], timeout: float = 5.0) -> T:
        """Wait until a condition holds, and return its value. Raises TimeoutError, which tells the last requests."""
        return await self.world.changes.until(condition, timeout, self._last_requests)

    def inject(
        self, fault: Fault, *routes: str, channel: Channel | None = None, times: int | None = 1, skip: int = 0
    ) -> FaultRule[Request]:
        """Let a fault strike requests of these routes (any, if none is named); `times` None: all of them."""
        unknown = set(routes) - NAMES
        if unknown:
            raise ValueError(f"no such routes: {sorted(unknown)}; there are {sorted(NAMES)}")

        def matches(request: Request) -> bool:
            return (not routes or request.name in routes) and (channel is None or request.names(channel))

        return self.faults.add(FaultRule(fault, matches, times, skip))

    def gate(self, *routes: str, channel: Channel | None = None, times: int | None = 1, skip: int = 0) -> Gate[Request]:
        """A gate between accepting and answering such requests."""
        gate: Gate[Request] = Gate()
        self.inject(Fault.call(gate.hold), *routes, channel=channel, times=times, skip=skip)
        return gate

    def revoke(self, bot: Bot) -> None:
        """Make a bot's token invalid from now on: requests get 401, connections are closed with 4004."""
        self.gateway.bots.pop(bot.token, None)
        self.gateway.end(bot)

    def forget_nonces(self) -> None:
        """Let it be some minutes later, as far as nonces go."""
        self.world.nonces.clear()

    def _last_requests(self) -> str:
        last = ", ".join(f"{each.name} {each.status}" for each in list(self.requests)[-LAST_REQUESTS:])
        return f"the last requests: {last or 'none'}"

    async def _connect(self, http: web.Request) -> web.StreamResponse:
        if http.path == RESUME_PATH and self.resume_status is not None:
            return web.Response(status=self.resume_status)
        return await self.gateway.serve(http, f"ws://127.0.0.1:{self._port}{RESUME_PATH}")

    def _handler(self, route: Route) -> Callable[[web.Request], Any]:
        async def handle(http: web.Request) -> web.StreamResponse:
            try:
                bot = None if route.open_ else self._bot(http.headers.get("Authorization", ""))
                body, uploads = await read_body(http)
            except ApiError as error:
                return _answered(error.status, error.body(), error.headers)
            ids = {name: value for name, value in http.match_info.items() if name != "version"}
            request = Request(
                route.name, http.method, http.path, bot, ids, dict(http.query), body, uploads, self._monotonic()
            )
            return await self._fulfil(http, request, lambda: self._act(request, route))

        return handle

    def _bot(self, authorization: str) -> Bot:
        bot = self.gateway.bots.get(authorization.removeprefix("Bot "))
        if bot is None or not authorization.startswith("Bot "):
            raise unauthorized()
        return bot

    async def _fulfil(self, http: web.Request, request: Request, act: Callable[[], Any]) -> web.StreamResponse:
        """Faults before, the request itself, faults after, the answer."""
        self.requests.add(request)
        self.world.changes.note()
        faults: list[Fault] = []
        headers: dict[str, str] = {}
        try:
            headers = self._buckets.check(request)
            faults = self.faults.take(request)
            broken = await self._strike(http, request, faults, accepted=False)
            if broken is not None:
                return broken
            status, body = act()
            request.accepted = True
            broken = await self._strike(http, request, faults, accepted=True)
            if broken is not None:
                return broken
        except ApiError as error:
            status, body = error.status, error.body()
            headers |= error.headers
        request.status, request.answer = status, body
        self.world.changes.note()
        slow = next((fault.seconds for fault in faults if fault.kind is FaultKind.SLOW), 0.0)
        answer = _answered(status, body, headers)
        if slow == 0.0 or not isinstance(answer.body, bytes):
            return answer
        return await slowly(http, status, answer.body, answer.headers, slow)

    def _act(self, request: Request, route: Route) -> tuple[int, Any]:
        result = route.handler(Call(request, self.world, self._settings))
        if isinstance(result, Reply):
            return result.status, result.body
        return (204, None) if result is None else (200, result)

    async def _strike(
        self, http: web.Request, request: Request, faults: list[Fault], *, accepted: bool
    ) -> web.StreamResponse | None:
        """Let the faults of one stage happen; an answer is returned once the connection is gone. Raises `ApiError`."""
        struck = [fault for fault in faults if fault.accepted is accepted]
        for fault in sorted(struck, key=lambda fault: fault.kind is not FaultKind.HOOK):
            match fault.kind:
                case FaultKind.HOOK:
                    assert fault.hook is not None
                    await fault.hook(request)
                case FaultKind.FLOOD:
                    raise self._buckets.refuse(request, fault.seconds, everywhere=fault.everywhere)
                case FaultKind.ERROR:
                    raise ApiError(fault.status, 0, f"{fault.status}: {fault.description}")
                case FaultKind.SILENCE:
                    await self._stopping.wait()
                    return disconnected(http, reset=False)
                case FaultKind.DROP | FaultKind.RESET:
                    return disconnected(http, reset=fault.kind is FaultKind.RESET)
                case FaultKind.SLOW:
                    pass
        return None

    async def _download(self, http: web.Request) -> web.StreamResponse:
        attachment = self.world.cdn.at(http.path, http.query)
        ids = dict(http.match_info)
        request = Request(DOWNLOAD, "GET", http.path, None, ids, dict(http.query), None, {}, self._monotonic())

        def act() -> tuple[int, Any]:
            if attachment is None:
                raise ApiError(404, None, "This content is no longer available.")
            return 200, attachment.file

        return await self._fulfil(http, request, act)


async def _not_found(_: web.Request) -> web.Response:
    return _answered(404, {"message": "404: Not Found", "code": 0}, {})


def _answered(status: int, body: Any, headers: Mapping[str, str]) -> web.Response:  # noqa: ANN401
    """JSON without a charset: clients compare the content type as a whole."""
    if status == 204:
        return web.Response(status=204, headers=dict(headers))
    if isinstance(body, File):
        kind = (body.content_type or "application/octet-stream").partition(";")[0]
        return web.Response(body=body.data, content_type=kind)
    return web.Response(
        status=status, body=json.dumps(body).encode(), headers=dict(headers), content_type="application/json"
    )
