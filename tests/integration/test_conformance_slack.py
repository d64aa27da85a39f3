"""Slack keeps what every platform promises: the real adapter and the unmodified library, over sockets, to the loopback
server, in Socket Mode and with requests to our own listener."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from adapters.base import Adapter, AdapterHost, HttpHandler, HttpRequest
from adapters.testing.conformance import (
    Ability,
    AdapterConformance,
    AdapterFactory,
    Fault,
    File,
    Harness,
    Passing,
    Place,
    PlaceKind,
    Shown,
)
from adapters.testing.slack import Channel, Message, Person, SlackServer, Upload
from adapters.testing.slack import Fault as ServerFault
from config import PlatformConfig
from tests.support.slack import MARK, RULES, QuickSlack

FRIENDS = 8
SENDING = ("chat.postMessage", "chat.startStream")
"""An answer that grows begins as a stream, where there are streams."""

REFUSALS = {"invalid_auth", "token_revoked"}

ON_SENDING = {
    Fault.RATE_LIMIT: ServerFault.flood(1),
    Fault.ERROR_BEFORE: ServerFault.error(),
    Fault.ERROR_AFTER: ServerFault.error(accepted=True),
    Fault.NO_ANSWER: ServerFault.silence(accepted=True),
    Fault.DROPPED: ServerFault.drop(),
    Fault.SLOW_BODY: ServerFault.slow(0.4),
}


@dataclass
class Seat:
    """A person in a conversation, and in a thread of it, which with `opens` their first message opens."""

    channel: Channel
    person: Person
    thread: Message | None = None
    opens: bool = False


class SlackHarness(Harness):
    """Socket Mode. Direct messages are chats in the app's pane, where people see that an answer is being written."""

    name = "slack"
    adapter: AdapterFactory | None = QuickSlack
    account_setting = "bot_token"
    supports = frozenset(Ability) - {Ability.GENERAL, Ability.MENU}
    faults = frozenset(Fault)

    def __init__(self) -> None:
        self._server = SlackServer(rules=RULES)
        self._bot = self._server.bot
        self._friends = [self._server.person(f"Friend{number}") for number in range(FRIENDS)]
        self._free = iter(self._friends)
        self._mallory = self._server.person("Mallory")
        self._ann = next(self._free)
        self._forum = self._server.channel("forum", self._ann)
        self._numbers = itertools.count(1)
        self._to_hold = 0
        self.secrets = [self._bot.token, self._server.app.token, self._server.app.secret]
        self.violations = self._server.violations

    async def start(self, home: Path) -> None:
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop()

    def section(self) -> Mapping[str, Any]:
        return {
            "bot_token": self._bot.token,
            "app_token": self._server.app.token,
            "api_base_url": self._server.api_url,
            "allowed_users": [friend.id for friend in self._friends],
        }

    def place(self, kind: PlaceKind, *, stranger: bool = False) -> Place:
        person = self._mallory if stranger else self._ann
        match kind:
            case PlaceKind.DM:
                person = person if stranger else next(self._free)
                pane = person.opens_assistant(self._server.bot)
                seat = Seat(pane.root.channel, person, pane.root)
            case PlaceKind.GROUP:
                seat = Seat(self._server.channel(f"group-{next(self._numbers)}", person), person)
            case _:
                seat = Seat(self._forum, person, opens=True)
        return Place(kind, seat)

    def write(self, place: Place, text: str) -> Message:
        seat: Seat = place.handle
        if place.kind is not PlaceKind.DM:
            text = f"{self._bot.profile.mention} {text}"
        message = seat.person.writes(seat.channel, text, thread=seat.thread)
        if seat.opens:
            seat.thread = seat.thread or message
        if self._to_hold:
            self._to_hold -= 1
            if not self._to_hold:
                self._server.events.release(reverse=True)
        return message

    def edit(self, place: Place, message: Message, text: str) -> None:
        place.handle.person.edits(message, text)

    def delete(self, place: Place, message: Message) -> None:
        place.handle.person.deletes(message)

    def attach(self, place: Place, file: File, caption: str) -> None:
        seat: Seat = place.handle
        upload = Upload(file.name, file.data, file.media_type)
        seat.person.uploads(seat.channel, upload, text=caption, thread=seat.thread)

    def shown(self, place: Place) -> Sequence[Shown]:
        return [self._shown(message) for message in self._messages(place)]

    def _messages(self, place: Place) -> list[Message]:
        seat: Seat = place.handle
        ours = [message for message in seat.channel.messages if message.sender.id == self._bot.id]
        if seat.thread is None:
            return [] if seat.opens else ours
        return [message for message in ours if message.thread_ts == seat.thread.ts]

    def _shown(self, message: Message) -> Shown:
        labels = tuple(button["text"]["text"] for button in message.buttons)
        below = "".join(f"\n[{label}]" for label in labels)
        texts = (text.removesuffix(below).removeprefix(MARK).lstrip("\n") for text in message.texts if text)
        return Shown(
            message.ts,
            tuple(texts),
            gone=message.deleted_at is not None,
            marked=message.text.startswith((MARK, MARK.strip("_"))),
            file=self._file(message),
            buttons=labels,
        )

    def _file(self, message: Message) -> File | None:
        for stored in message.content.files:
            return File(stored.name, stored.data or b"", stored.mime)
        return None

    def press(self, place: Place, shown: Shown, label: str) -> None:
        message = next(message for message in self._messages(place) if message.ts == shown.id)
        value = next(button["value"] for button in message.buttons if button["text"]["text"] == label)
        place.handle.person.presses(message, value)

    def passing(self, place: Place) -> Passing:
        seat: Seat = place.handle
        thread = None if seat.thread is None else seat.thread.ts
        return Passing((), sum(1 for status in seat.channel.statuses if status.text and status.thread_ts == thread))

    def inject(self, fault: Fault, place: Place) -> None:
        match fault:
            case Fault.DUPLICATE_UPDATE:
                self._server.events.repeat()
            case Fault.REORDERED_UPDATES:
                self._server.events.hold()
                self._to_hold = 2
            case Fault.HALF_OPEN:
                self._server.events.sockets.freeze()
            case _:
                self._server.inject(ON_SENDING[fault], *SENDING, channel=place.handle.channel)

    def revoke(self) -> None:
        self._server.revoke(self._bot)
        self._bot = replace(self._bot, token=f"{self._bot.token}-and-another", failure=None)
        self._server.world.bots[self._bot.token] = self._bot
        self.secrets = [*self.secrets, self._bot.token]

    def logins(self) -> int:
        return sum(request.error in REFUSALS for request in self._server.requests)


class ListeningHost:
    """A host that hands what an adapter wants to serve to a listener of ours; everything else is the gateway's."""

    def __init__(self, host: AdapterHost, take: "SlackHttpHarness") -> None:
        self._host = host
        self._take = take

    def __getattr__(self, name: str) -> Any:
        return getattr(self._host, name)

    def handle_http(self, handler: HttpHandler) -> None:
        self._take.handler = handler


class SlackHttpHarness(SlackHarness):
    """Events as signed requests. The suite's gateway has no HTTP listener, so one stands here."""

    faults = frozenset(Fault) - {Fault.HALF_OPEN}

    def __init__(self) -> None:
        super().__init__()
        self.handler: HttpHandler | None = None
        self._runner: web.AppRunner | None = None
        self.adapter = self._build

    def _build(self, config: PlatformConfig, host: AdapterHost) -> Adapter:
        listening: Any = ListeningHost(host, self)
        return QuickSlack(config, listening)

    async def start(self, home: Path) -> None:
        await super().start(home)
        if self._runner is None:
            app = web.Application()
            app.router.add_post("/{path:.*}", self._serve)
            self._runner = web.AppRunner(app, access_log=None)
            await self._runner.setup()
            await web.TCPSite(self._runner, "127.0.0.1", 0).start()
            url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/events"
            self._server.app.socket_mode = False
            urls = self._server.events.urls
            urls.events = urls.interactivity = urls.commands = url

    async def stop(self) -> None:
        await super().stop()

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def section(self) -> Mapping[str, Any]:
        section = {name: value for name, value in super().section().items() if name != "app_token"}
        return section | {"mode": "http", "signing_secret": self._server.app.secret}

    async def _serve(self, request: web.Request) -> web.Response:
        if self.handler is None:
            return web.Response(status=503)
        headers = {name.lower(): value for name, value in request.headers.items()}
        given = HttpRequest(request.method, request.match_info["path"], headers, await request.read())
        answer = await self.handler(given)
        return web.Response(status=answer.status, text=answer.body, content_type=answer.content_type)


class TestSlack(AdapterConformance):
    @pytest.fixture
    def harness(self) -> Harness:
        return SlackHarness()


class TestSlackOverHttp(AdapterConformance):
    @pytest.fixture
    async def harness(self) -> Any:
        harness = SlackHttpHarness()
        yield harness
        await harness.close()
