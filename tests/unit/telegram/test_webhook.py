"""Receiving by webhook: who may post, what is stored before it is acknowledged, and how trouble is noticed."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from adapters.base import AccountError, AdapterState, HttpRequest, RawUpdate
from adapters.telegram.constants import MAX_UPDATE_BYTES, Timing
from adapters.telegram.webhook import SECRET_HEADER
from adapters.testing.telegram import Fault, TelegramServer
from tests.support.platform_host import FakeHost
from tests.unit.telegram.support import built, running

SECRET = "a-secret_of-32-characters-or-more"
CHECKED_OFTEN = Timing(
    poll=2,
    margin=0.5,
    answer=0.5,
    connect=2.0,
    first_wait=0.02,
    longest_wait=0.1,
    webhook_check=0.05,
    refusal_check=0.02,
)


class Listener:
    """The gateway's HTTP listener, as far as an adapter sees it."""

    def __init__(self, host: FakeHost) -> None:
        self.host = host
        self.url = ""
        self.statuses: list[int] = []

    async def serve(self, request: web.Request) -> web.Response:
        assert self.host.http is not None
        headers = {name.lower(): value for name, value in request.headers.items()}
        asked = HttpRequest(request.method, request.match_info["path"], headers, await request.read())
        answer = await self.host.http(asked)
        self.statuses.append(answer.status)
        return web.Response(status=answer.status, text=answer.body)


@pytest.fixture
async def listener(host: FakeHost) -> AsyncIterator[Listener]:
    listener = Listener(host)
    app = web.Application()
    app.router.add_route("*", "/platforms/telegram/{path:.*}", listener.serve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    listener.url = f"http://127.0.0.1:{runner.addresses[0][1]}/platforms/telegram/updates"
    yield listener
    await runner.cleanup()


def settings(listener: Listener) -> dict[str, Any]:
    return {"mode": "webhook", "webhook_url": listener.url, "secret_token": SECRET}


def post(body: bytes, secret: str | None = SECRET, method: str = "POST") -> HttpRequest:
    headers = {} if secret is None else {SECRET_HEADER: secret}
    return HttpRequest(method, "updates", headers, body)


async def test_messages_come_in_order(server: TelegramServer, host: FakeHost, listener: Listener) -> None:
    ann = server.person("Ann")
    chat = server.private(ann)
    async with running(built(server, host, **settings(listener)), host):
        for text in ("one", "two", "three"):
            ann.writes(chat, text)
        await host.until(lambda: host.texts == ["one", "two", "three"])
        await server.until(lambda: not server.updates.waiting)
    assert server.requests.of("getUpdates") == ()
    assert listener.statuses == [200, 200, 200]
    webhook = server.updates.webhook
    assert webhook is not None
    assert (webhook.url, webhook.secret, webhook.max_connections) == (listener.url, SECRET, 1)


async def test_what_cannot_be_stored_is_sent_again(server: TelegramServer, host: FakeHost, listener: Listener) -> None:
    ann = server.person("Ann")
    host.broken = {"keep": 2, "accept": 1}
    async with running(built(server, host, **settings(listener)), host):
        ann.writes(server.private(ann), "hello")
        await host.until(lambda: host.texts == ["hello"])
        await host.until(lambda: host.state is AdapterState.CONNECTED)
    assert listener.statuses == [503, 503, 200]


async def test_what_an_earlier_process_kept_comes_first(
    server: TelegramServer, host: FakeHost, listener: Listener
) -> None:
    ann = server.person("Ann")
    chat = server.private(ann)
    ann.writes(chat, "kept")
    first = server.updates.all[0]
    server.updates.confirm(first.id)
    host.updates[str(first.id)] = RawUpdate(str(first.id), json.dumps(first.object()))
    async with running(built(server, host, **settings(listener)), host):
        ann.writes(chat, "new")
        await host.until(lambda: host.texts == ["kept", "new"])


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (post(b"{}", secret=None), 401),
        (post(b"{}", secret="wrong"), 401),
        (post(b"{}", secret=SECRET + "x"), 401),
        (post(b"{}", secret="ä"), 401),
        (post(b"{}", secret=b"\xff\xfe".decode(errors="surrogateescape")), 401),
        (post(b"", method="GET"), 405),
        (post(b" " * (MAX_UPDATE_BYTES + 1)), 413),
        (post(b"{"), 400),
        (post(b"[" * 200_000), 400),
        (post(b'{"update_id": 5, "message": ' + b"[" * 200_000), 400),
        (post(b"[]"), 400),
        (post(b'{"update_id": "x"}'), 400),
        (post(b'{"update_id": true}'), 400),
        (post(b'{"update_id": 5}'), 200),
    ],
)
async def test_who_may_post(
    server: TelegramServer, host: FakeHost, listener: Listener, request_: HttpRequest, status: int
) -> None:
    async with running(built(server, host, **settings(listener)), host):
        assert host.http is not None
        answer = await host.http(request_)
        assert answer.status == status
        assert SECRET not in answer.body
        assert bool(host.updates or host.settled) is (status == 200)


async def test_webhook_that_telegram_refuses(server: TelegramServer, host: FakeHost, listener: Listener) -> None:
    server.inject(Fault.error(400, "Bad Request: bad webhook: HTTPS url must be provided"), "setWebhook")
    with pytest.raises(AccountError, match=r"platforms\.telegram\.webhook_url"):
        await built(server, host, **settings(listener)).run()


async def test_name_that_telegram_cannot_look_up_for_a_moment(
    server: TelegramServer, host: FakeHost, listener: Listener
) -> None:
    ann = server.person("Ann")
    for words in ("Temporary failure in name resolution", "Name or service not known"):
        server.inject(Fault.error(400, f"Bad Request: bad webhook: Failed to resolve host: {words}"), "setWebhook")
    async with running(built(server, host, timing=CHECKED_OFTEN, **settings(listener)), host):
        assert any("name resolution" in reason for reason in host.reasons)
        ann.writes(server.private(ann), "hello")
        await host.until(lambda: host.texts == ["hello"])


async def test_posts_that_do_not_arrive_are_noticed(server: TelegramServer, host: FakeHost, listener: Listener) -> None:
    ann = server.person("Ann")
    host.broken = {"keep": 10}
    adapter = built(server, host, timing=CHECKED_OFTEN, **settings(listener))
    async with running(adapter, host):
        ann.writes(server.private(ann), "hello")
        await host.until(lambda: any("cannot deliver" in reason for reason in host.reasons))
        await host.until(lambda: host.texts == ["hello"])
        await host.until(lambda: host.state is AdapterState.CONNECTED)


async def test_webhook_that_another_program_changes(server: TelegramServer, host: FakeHost, listener: Listener) -> None:
    adapter = built(server, host, timing=CHECKED_OFTEN, **settings(listener))
    async with running(adapter, host):
        await server.world.webhooks.set(server.bot.id, server.updates, None)
        await host.until(lambda: any("changed by another program" in reason for reason in host.reasons))


async def test_token_revoked_meanwhile(server: TelegramServer, host: FakeHost, listener: Listener) -> None:
    adapter = built(server, host, timing=CHECKED_OFTEN, **settings(listener))
    task = asyncio.create_task(adapter.run())
    await host.until(lambda: host.state is AdapterState.CONNECTED)
    server.revoke(server.bot)
    with pytest.raises(AccountError, match="any more"):
        await task


async def test_webhook_needs_its_settings(server: TelegramServer, host: FakeHost) -> None:
    with pytest.raises(AccountError, match="webhook_url and secret_token"):
        await built(server, host, mode="webhook").run()
