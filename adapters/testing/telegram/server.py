"""The loopback Bot API server: HTTP in front of the world, with faults, limits and waits."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from inspect import isawaitable
from types import TracebackType
from typing import Any, Final, TypeVar

from aiohttp import web

from adapters.testing.faults import Fault, FaultKind, FaultRule, Faults, Gate
from adapters.testing.telegram import account_api, chat_api, editing, sending
from adapters.testing.telegram.accounts import Bot, Profile
from adapters.testing.telegram.chat import Chat, ChatKind, Standing
from adapters.testing.telegram.errors import ApiError
from adapters.testing.telegram.files import MAX_DOWNLOAD
from adapters.testing.telegram.limits import FloodControl, FloodLimits
from adapters.testing.telegram.message import Message
from adapters.testing.telegram.method import Call, Method
from adapters.testing.telegram.people import Person
from adapters.testing.telegram.requests import MAX_BODY, Request, RequestLog, read_parameters
from adapters.testing.telegram.world import FIRST_PERSON, World
from adapters.testing.wire import SHUTDOWN, disconnected, slowly

T = TypeVar("T")

METHODS: Final[Mapping[str, tuple[str, Method]]] = {
    name.lower(): (name, method)
    for table in (account_api.METHODS, chat_api.METHODS, editing.METHODS, sending.METHODS)
    for name, method in table.items()
}
"""Names of methods are case-insensitive (https://core.telegram.org/bots/api#making-requests)."""

FIRST_BOT: Final = 7_000_001
LAST_REQUESTS: Final = 5
"""How many requests a wait that failed tells of."""


class TelegramServer:
    """A Bot API server on 127.0.0.1 for bots under test.

    `clock` gives seconds since 1970, `monotonic` those by which requests and limits are timed. Without `limits`
    nothing is refused as too much. The server may be stopped and started again; it keeps its port and its state.
    """

    def __init__(
        self,
        *,
        limits: FloodLimits | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        username: str = "hermes_bot",
        reads_all: bool = False,
        topics: bool = False,
    ) -> None:
        self.world = World(clock)
        self.requests = RequestLog()
        """Every request that came with a valid token, for a method that there is."""
        self.violations: list[str] = []
        """What bots did wrong and a real server would not tell them: did not wait, sent entities against the rules."""
        self.faults: Faults[Request] = Faults()
        self._monotonic = monotonic
        self._flood = FloodControl(limits, monotonic, self.violations.append)
        self._port = 0
        self._runner: web.AppRunner | None = None
        self._stopping = asyncio.Event()
        self.bot = self.add_bot(username, reads_all=reads_all, topics=topics)
        """The bot that there is from the start."""
        self.updates = self.world.queues[self.bot.id]
        """Its updates; those of another bot are in `world.queues`, by its id."""

    async def __aenter__(self) -> "TelegramServer":
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def base_url(self) -> str:
        """Methods are at `{base_url}/bot{token}/{method}`, files at `{base_url}/file/bot{token}/{path}`."""
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Listen; after a stop, on the same port again."""
        self._stopping.clear()
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_route("*", "/bot{token}/{method}", self._method)
        app.router.add_get("/file/bot{token}/{path:.+}", self._download)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=SHUTDOWN)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self._port)
        await site.start()
        self._runner = runner
        self._port = int(runner.addresses[0][1])
        self.world.webhooks.resume()

    async def stop(self) -> None:
        """Stop listening and close every connection; requests that wait are broken off."""
        self._stopping.set()
        await self.world.webhooks.stop()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def add_bot(self, username: str, *, name: str = "Hermes", reads_all: bool = False, topics: bool = False) -> Bot:
        """A further bot. `reads_all` switches its privacy mode off, `topics` divides its private chats."""
        number = self.world.serial("bot", FIRST_BOT)
        profile = Profile(number, name, is_bot=True, username=username)
        bot = Bot(profile, f"{number}:{'AA-of-no-value-but-here'.ljust(35, '_')}", reads_all, topics)
        self.world.add_bot(bot)
        return bot

    def person(self, name: str, *, username: str | None = None, language: str | None = "en") -> Person:
        """A new person."""
        number = self.world.serial("person", FIRST_PERSON)
        return Person(self.world, Profile(number, name, username=username, language_code=language))

    def private(self, person: Person, bot: Bot | None = None) -> Chat:
        """The conversation of a person with a bot (the first one, if none is named), which they have begun."""
        return self.world.private_chat(bot or self.bot, person.profile)

    def group(self, title: str, *people: Person, bots: Mapping[Bot, Standing] | None = None) -> Chat:
        """A basic group; the first person owns it. Without `bots` the first bot is a member."""
        return self._new_chat(ChatKind.GROUP, title, people, bots)

    def supergroup(
        self,
        title: str,
        *people: Person,
        bots: Mapping[Bot, Standing] | None = None,
        username: str | None = None,
        direct: bool = False,
    ) -> Chat:
        """A supergroup without topics; the same. `direct`: it holds the direct messages of a channel."""
        group = self._new_chat(ChatKind.SUPERGROUP, title, people, bots, username=username)
        group.direct = direct
        return group

    def forum(self, title: str, *people: Person, bots: Mapping[Bot, Standing] | None = None) -> Chat:
        """A supergroup with topics, of which General is there from the start; the same."""
        return self._new_chat(ChatKind.SUPERGROUP, title, people, bots, forum=True)

    def channel(
        self,
        title: str,
        *people: Person,
        bots: Mapping[Bot, Standing] | None = None,
        username: str | None = None,
        group: Chat | None = None,
    ) -> Chat:
        """A channel; the first person owns it. Without `bots` the first bot is an administrator. In the group, a
        supergroup, its posts are commented."""
        present: Mapping[Bot, Standing] = {self.bot: "administrator"} if bots is None else bots
        channel = self._new_chat(ChatKind.CHANNEL, title, people, present, username=username)
        if group is not None:
            channel.linked, group.linked = group, channel
        return channel

    def shown(self, chat: Chat, by: Bot | Person | None = None) -> tuple[Message, ...]:
        """What people see in a chat now, oldest first; what was deleted is in `chat.messages` only."""
        return tuple(
            message
            for message in chat.messages
            if message.deleted_at is None and (by is None or message.sender.id == by.id)
        )

    async def until(self, condition: Callable[[], T], timeout: float = 5.0) -> T:
        """Wait until a condition holds, and return its value. Raises TimeoutError, which tells the last requests."""
        return await self.world.changes.until(condition, timeout, self._last_requests)

    def inject(
        self, fault: Fault, *methods: str, chat: Chat | None = None, times: int | None = 1, skip: int = 0
    ) -> FaultRule[Request]:
        """Let a fault strike requests of these methods (any, if none is named); `times` None: all of them."""
        names = frozenset(method.lower() for method in methods)

        def matches(request: Request) -> bool:
            return (not names or request.method.lower() in names) and (chat is None or request.names(chat))

        return self.faults.add(FaultRule(fault, matches, times, skip))

    def gate(self, *methods: str, chat: Chat | None = None, times: int | None = 1, skip: int = 0) -> Gate[Request]:
        """A gate between accepting and answering such requests."""
        gate: Gate[Request] = Gate()
        self.inject(Fault.call(gate.hold), *methods, chat=chat, times=times, skip=skip)
        return gate

    def revoke(self, bot: Bot) -> None:
        """Make a bot's token invalid from now on: every request gets 401, also the one that waits for updates."""
        self.world.bots.pop(bot.token, None)
        self.world.queues[bot.id].end_poll(ApiError(HTTPStatus.UNAUTHORIZED, "Unauthorized"))

    def _new_chat(
        self,
        kind: ChatKind,
        title: str,
        people: Sequence[Person],
        bots: Mapping[Bot, Standing] | None,
        *,
        forum: bool = False,
        username: str | None = None,
    ) -> Chat:
        present: Mapping[Bot, Standing] = {self.bot: "member"} if bots is None else bots
        standings = {bot.id: standing for bot, standing in present.items()}
        chat = self.world.new_chat(kind, title, [person.profile for person in people], standings, forum=forum)
        chat.username = username
        return chat

    async def _method(self, http: web.Request) -> web.StreamResponse:
        try:
            bot = self._bot(http.match_info["token"])
            name, method = self._known(http.match_info["method"])
            parameters, uploads = await read_parameters(http)
        except ApiError as error:
            return _answered(error.code, error.body())
        request = Request(name, bot, parameters, uploads, self._monotonic())
        self.requests.add(request)
        self.world.changes.note()
        return await self._fulfil(http, request, method)

    def _bot(self, token: str) -> Bot:
        bot = self.world.bots.get(token)
        if bot is None:
            raise ApiError(HTTPStatus.UNAUTHORIZED, "Unauthorized")
        if bot.id in self.world.logged_out:
            raise ApiError(HTTPStatus.BAD_REQUEST, "Logged out")
        return bot

    @staticmethod
    def _known(name: str) -> tuple[str, Method]:
        try:
            return METHODS[name.lower()]
        except KeyError:
            raise ApiError(HTTPStatus.NOT_FOUND, "Not Found: method not found") from None

    async def _fulfil(self, http: web.Request, request: Request, method: Method) -> web.StreamResponse:
        """Faults before, the method itself, faults after, the answer."""
        faults: list[Fault] = []
        try:
            self._flood.check(request, self._named(request))
            faults = self.faults.take(request)
            broken = await self._strike(http, request, faults, accepted=False)
            if broken is not None:
                return broken
            status, body = await self._act(request, method)
            broken = await self._strike(http, request, faults, accepted=True)
            if broken is not None:
                return broken
        except ApiError as error:
            status, body = error.code, error.body()
        request.status, request.answer = status, body
        self.world.changes.note()
        slow = next((fault.seconds for fault in faults if fault.kind is FaultKind.SLOW), 0.0)
        if slow == 0.0:
            return _answered(status, body)
        json_type = {"Content-Type": "application/json"}
        return await slowly(http, status, json.dumps(body).encode(), json_type, slow)

    async def _act(self, request: Request, method: Method) -> tuple[int, dict[str, Any]]:
        try:
            result = method(Call(request, self.world, self.violations.append))
            value = await result if isawaitable(result) else result
        except ApiError as error:
            return error.code, error.body()
        request.accepted = True
        return HTTPStatus.OK.value, {"ok": True, "result": value}

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
                    raise self._flood.refuse(request, int(fault.seconds))
                case FaultKind.ERROR:
                    raise ApiError(fault.status, fault.description)
                case FaultKind.SILENCE:
                    await self._stopping.wait()
                    return disconnected(http, reset=False)
                case FaultKind.DROP | FaultKind.RESET:
                    return disconnected(http, reset=fault.kind is FaultKind.RESET)
                case FaultKind.SLOW:
                    pass
        return None

    def _last_requests(self) -> str:
        last = ", ".join(f"{each.method} {each.status}" for each in list(self.requests)[-LAST_REQUESTS:])
        return f"the last requests: {last or 'none'}"

    def _named(self, request: Request) -> Chat | None:
        try:
            return self.world.chat_of(request.bot, request.chat_id)
        except ApiError:
            return None

    async def _download(self, http: web.Request) -> web.StreamResponse:
        """https://core.telegram.org/bots/api#getfile"""
        try:
            self._bot(http.match_info["token"])
        except ApiError as error:
            return _answered(error.code, error.body())
        stored = self.world.files.at(http.match_info["path"])
        if stored is None or stored.size > MAX_DOWNLOAD:
            return _answered(HTTPStatus.NOT_FOUND, ApiError(HTTPStatus.NOT_FOUND, "Not Found").body())
        return web.Response(body=stored.media.data, content_type="application/octet-stream")


def _answered(status: int, body: Mapping[str, Any]) -> web.Response:
    retry_after = body.get("parameters", {}).get("retry_after")
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return web.json_response(body, status=status, headers=headers)
