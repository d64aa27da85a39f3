"""The loopback Slack: HTTP and WebSockets in front of the world, with faults, limits and waits."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, TypeVar

from aiohttp import BodyPartReader, web

from adapters.testing.faults import Fault, FaultKind, FaultRule, Faults, Gate
from adapters.testing.slack import (
    account_api,
    chat_api,
    conversations_api,
    files_api,
    stream_api,
    surface_api,
)
from adapters.testing.slack.accounts import App, Bot
from adapters.testing.slack.channel import Channel
from adapters.testing.slack.delivery import DeliveryRules
from adapters.testing.slack.errors import ApiError, missing_scope
from adapters.testing.slack.files import CANVAS
from adapters.testing.slack.interactions import Interactions
from adapters.testing.slack.limits import RateControl, RateLimits
from adapters.testing.slack.message import Message
from adapters.testing.slack.method import Call, Rule
from adapters.testing.slack.people import Person
from adapters.testing.slack.requests import MAX_BODY, Request, RequestLog, read_parameters
from adapters.testing.slack.workspace import Workspace
from adapters.testing.slack.world import World
from adapters.testing.wire import SHUTDOWN, disconnected, slowly

T = TypeVar("T")

METHODS: Final[Mapping[str, Rule]] = {
    name: rule
    for table in (
        account_api.METHODS,
        chat_api.METHODS,
        conversations_api.METHODS,
        files_api.METHODS,
        stream_api.METHODS,
        surface_api.METHODS,
    )
    for name, rule in table.items()
}
LAST_REQUESTS: Final = 5
"""How many requests a wait that failed tells of."""
SIGN_IN: Final = "<!DOCTYPE html><html><head><title>Slack</title></head><body>Sign in to your workspace</body></html>"
"""What comes instead of a file without a good token; under 200, after a redirect."""


class SlackServer:
    """Slack on 127.0.0.1 for apps under test.

    `clock` gives seconds since 1970, `monotonic` those by which requests and limits are timed. Without `limits`
    nothing is refused as too much. The server may be stopped and started again; it keeps its port and its state.
    """

    def __init__(
        self,
        *,
        limits: RateLimits | None = None,
        rules: DeliveryRules | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.violations: list[str] = []
        """What apps did wrong and Slack would not tell them: did not wait, did not acknowledge in time."""
        self.world = World(clock, monotonic, rules or DeliveryRules(), self._violated)
        self.requests = RequestLog()
        """Every request to the Web API, those that were refused too."""
        self.faults: Faults[Request] = Faults()
        self.interactions = Interactions(self.world)
        self.limits = RateControl(limits, monotonic, self._violated)
        self._port = 0
        self._runner: web.AppRunner | None = None
        self._stopping = asyncio.Event()
        self.app = self.add_app("Hermes")
        """The app that there is from the start."""
        self.events = self.world.feeds[self.app.id]
        """All that it is sent; `events.sockets` are its connections, `events.urls` its addresses."""
        self.home = self.add_workspace("Home")
        """The workspace that there is from the start."""
        self.bot = self.home.install(self.app)
        """The app's bot there."""

    async def __aenter__(self) -> "SlackServer":
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def api_url(self) -> str:
        """Where the Web API's methods are, for `AsyncWebClient(base_url=…)`."""
        return f"{self.world.base_url}/api/"

    async def start(self) -> None:
        """Listen; after a stop, on the same port again."""
        self._stopping = asyncio.Event()
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_route("*", "/api/{method}", self._method)
        app.router.add_get("/link/", self._link)
        app.router.add_post("/upload/v1/{file}", self._upload)
        app.router.add_get("/files-pri/{path:.+}", self._download)
        app.router.add_get("/signin", _sign_in)
        app.router.add_post("/response/{path:.+}", self._response)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=SHUTDOWN)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self._port)
        await site.start()
        self._runner = runner
        self._port = int(runner.addresses[0][1])
        self.world.base_url = f"http://127.0.0.1:{self._port}"
        for feed in self.world.feeds.values():
            feed.resume()

    async def stop(self) -> None:
        """Stop listening and close every connection; requests that wait are broken off, events wait for the start."""
        self._stopping.set()
        for feed in self.world.feeds.values():
            await feed.stop()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def add_app(self, name: str) -> App:
        """A further app; its events are in `world.feeds`, by its id."""
        number = f"A{self.world.serial('app'):08d}"
        app = App(number, name, f"xapp-{number}-of-no-value-but-here", f"secret-of-{number}", f"verification-{number}")
        self.world.add_app(app)
        return app

    def add_workspace(self, name: str) -> Workspace:
        """A further workspace, without the app."""
        return Workspace(self.world, self.interactions, name)

    def person(self, name: str) -> Person:
        """A new member of the first workspace."""
        return self.home.person(name)

    def channel(self, name: str, *people: Person, private: bool = False) -> Channel:
        """A channel of the first workspace, with these people and the bot."""
        return self.home.channel(name, *people, self.bot, private=private)

    def direct(self, person: Person) -> Channel:
        """The direct messages of a person and the bot."""
        return self.home.direct(self.bot, person)

    def shown(
        self, channel: Channel, by: Bot | Person | None = None, *, thread: Message | None = None
    ) -> tuple[Message, ...]:
        """What people see in a conversation now, oldest first: with its threads, or of one thread the replies.

        What was deleted is in `channel.messages` only.
        """
        return tuple(
            message
            for message in channel.messages
            if message.deleted_at is None
            and (by is None or message.sender.id == by.id)
            and (thread is None or message.thread_ts == thread.ts)
        )

    async def until(self, condition: Callable[[], T], timeout: float = 5.0) -> T:
        """Wait until a condition holds, and return its value. Raises TimeoutError, which tells the last requests."""

        def tell() -> str:
            last = [f"{each.method} {each.status} {each.error or ''}".rstrip() for each in self.requests]
            return f"the last requests: {', '.join(last[-LAST_REQUESTS:]) or 'none'}"

        return await self.world.changes.until(condition, timeout, tell)

    def inject(
        self, fault: Fault, *methods: str, channel: Channel | None = None, times: int | None = 1, skip: int = 0
    ) -> FaultRule[Request]:
        """Let a fault strike requests of these methods (any, if none is named); `times` None: all of them.

        `Fault.error(200, "fatal_error")` is a refusal as Slack sends one: `ok: false` under 200.
        """

        def matches(request: Request) -> bool:
            return (not methods or request.method in methods) and (channel is None or request.names(channel))

        return self.faults.add(FaultRule(fault, matches, times, skip))

    def gate(
        self, *methods: str, channel: Channel | None = None, times: int | None = 1, skip: int = 0
    ) -> Gate[Request]:
        """A gate between accepting and answering such requests."""
        gate: Gate[Request] = Gate()
        self.inject(Fault.call(gate.hold), *methods, channel=channel, times=times, skip=skip)
        return gate

    def revoke(self, bot: Bot, error: str = "token_revoked") -> None:
        """Make a bot's token invalid from now on (`token_revoked`, `account_inactive`); the app is told."""
        event = {"type": "tokens_revoked", "tokens": {"oauth": [], "bot": [bot.id]}, "event_ts": self.world.event_ts()}
        self.world.emit(bot, "tokens_revoked", event)
        bot.failure = error

    def _violated(self, what: str) -> None:
        self.violations.append(what)
        self.world.changes.note()

    async def _method(self, http: web.Request) -> web.StreamResponse:
        name = http.match_info["method"]
        try:
            parameters, token = await read_parameters(http)
        except ApiError as error:
            return _answered(error.status, error.body(), {})
        request = Request(name, parameters, self.world.monotonic(), token)
        self.requests.add(request)
        self.world.changes.note()
        return await self._fulfil(http, request)

    async def _fulfil(self, http: web.Request, request: Request) -> web.StreamResponse:
        """Faults before, the method itself, faults after, the answer."""
        faults: list[Fault] = []
        headers: dict[str, str] = {}
        try:
            rule = self._admit(request)
            faults = self.faults.take(request)
            broken = await self._strike(http, request, rule, faults, accepted=False)
            if broken is not None:
                return broken
            status, body = self._act(request, rule)
            broken = await self._strike(http, request, rule, faults, accepted=True)
            if broken is not None:
                return broken
        except ApiError as error:
            status, body = error.status, error.body()
            headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
        if request.bot is not None:
            headers["X-OAuth-Scopes"] = ",".join(sorted(request.bot.scopes))
        request.status, request.answer = status, body
        self.world.changes.note()
        slow = next((fault.seconds for fault in faults if fault.kind is FaultKind.SLOW), 0.0)
        if slow == 0.0:
            return _answered(status, body, headers)
        whole = headers | {"Content-Type": "application/json; charset=utf-8"}
        return await slowly(http, status, json.dumps(body).encode(), whole, slow)

    def _admit(self, request: Request) -> Rule:
        """The method, if the token is good for it and the limits allow. Raises `ApiError`."""
        rule = METHODS.get(request.method)
        if rule is None:
            raise ApiError("unknown_method", req_method=request.method)
        if not request.token:
            raise ApiError("not_authed")
        request.app = self.world.apps.get(request.token)
        request.bot = self.world.bots.get(request.token)
        if request.app is None and request.bot is None:
            raise ApiError("invalid_auth")
        if request.bot is not None and request.bot.failure is not None:
            raise ApiError(request.bot.failure)
        if rule.app_level is not (request.app is not None):
            raise ApiError("not_allowed_token_type")
        self.limits.check(request, rule)
        return rule

    def _act(self, request: Request, rule: Rule) -> tuple[int, dict[str, Any]]:
        call = Call(request, self.world)
        try:
            if rule.scopes and not call.bot.scopes.intersection(rule.scopes):
                raise missing_scope(rule.scopes[0], ",".join(sorted(call.bot.scopes)))
            result = rule.run(call)
        except ApiError as error:
            return error.status, error.body()
        request.accepted = True
        return HTTPStatus.OK, {"ok": True} | result

    async def _strike(
        self, http: web.Request, request: Request, rule: Rule, faults: list[Fault], *, accepted: bool
    ) -> web.StreamResponse | None:
        """Let the faults of one stage happen; an answer is returned once the connection is gone. Raises `ApiError`."""
        struck = [fault for fault in faults if fault.accepted is accepted]
        for fault in sorted(struck, key=lambda fault: fault.kind is not FaultKind.HOOK):
            match fault.kind:
                case FaultKind.HOOK:
                    assert fault.hook is not None
                    await fault.hook(request)
                case FaultKind.FLOOD:
                    raise self.limits.refuse(request, rule, fault.seconds)
                case FaultKind.ERROR:
                    raise ApiError(fault.description, status=fault.status)
                case FaultKind.SILENCE:
                    await self._stopping.wait()
                    return disconnected(http, reset=False)
                case FaultKind.DROP | FaultKind.RESET:
                    return disconnected(http, reset=fault.kind is FaultKind.RESET)
                case FaultKind.SLOW:
                    pass
        return None

    async def _link(self, http: web.Request) -> web.StreamResponse:
        """A connection of Socket Mode."""
        feed = self.world.feeds.get(http.query.get("app_id", ""))
        if feed is None or not feed.sockets.redeem(http.query.get("ticket", "")):
            return web.Response(status=HTTPStatus.NOT_FOUND)
        return await feed.sockets.serve(http)

    async def _upload(self, http: web.Request) -> web.StreamResponse:
        """The bytes of a file, raw or as a form (https://docs.slack.dev/messaging/working-with-files)."""
        try:
            stored = self.world.files.get(http.match_info["file"])
        except ApiError as error:
            return web.Response(status=HTTPStatus.NOT_FOUND, text=error.error)
        data = await _uploaded(http)
        if len(data) != stored.length:
            return web.Response(status=HTTPStatus.BAD_REQUEST, text="the length is not what was announced")
        stored.data = data
        return web.Response(text=f"OK - {len(data)}")

    async def _download(self, http: web.Request) -> web.StreamResponse:
        """A file for a bot that may see it; everybody else is led to a page to sign in, which comes under 200."""
        stored = self.world.files.at(http.path)
        token = http.headers.get("Authorization", "").removeprefix("Bearer ")
        bot = self.world.bots.get(token)
        if bot is None or bot.failure is not None or "files:read" not in bot.scopes:
            raise web.HTTPFound("/signin")
        request = Request("files.info", {}, self.world.monotonic(), token, bot)
        if stored is None or not files_api.visible(Call(request, self.world), stored):
            return web.Response(status=HTTPStatus.NOT_FOUND)
        return web.Response(body=stored.data, content_type="text/html" if stored.mime == CANVAS else stored.mime)

    async def _response(self, http: web.Request) -> web.StreamResponse:
        """What an app answers by a `response_url`."""
        try:
            body = json.loads(await http.text())
        except ValueError:
            return web.Response(status=HTTPStatus.BAD_REQUEST, text="invalid_payload")
        status, text = self.interactions.answer(http.path, body)
        return web.Response(status=status, text=text)


def _answered(status: int, body: Mapping[str, Any], headers: Mapping[str, str]) -> web.Response:
    """JSON; what is broken answers with a page instead."""
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        page = f"<html><body>{body.get('error', '')}</body></html>"
        return web.Response(status=status, text=page, content_type="text/html", headers=headers)
    return web.json_response(body, status=status, headers=headers)


async def _sign_in(_: web.Request) -> web.Response:
    return web.Response(text=SIGN_IN, content_type="text/html")


async def _uploaded(http: web.Request) -> bytes:
    if http.content_type != "multipart/form-data":
        return await http.read()
    async for part in await http.multipart():
        if isinstance(part, BodyPartReader) and part.filename is not None:
            return bytes(await part.read(decode=False))
    return b""
