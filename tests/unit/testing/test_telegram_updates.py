"""A bot's updates on the loopback server: polled, posted to a webhook, confirmed, repeated."""

import asyncio

import aiohttp
from aiohttp import web

from adapters.testing.telegram import TelegramServer
from tests.unit.testing.support import Client, Ticks


async def test_an_offset_confirms_only_what_is_below_it(server: TelegramServer, client: Client) -> None:
    ann = server.person("Ann")
    chat = server.private(ann)
    for text in "abcd":
        ann.writes(chat, text)
    first, *_ = await client.result("getUpdates", limit=1)
    assert await client.texts() == list("abcd")
    assert await client.texts(offset=first["update_id"]) == list("abcd")
    assert await client.texts(offset=first["update_id"] + 2, limit=1) == ["c"]
    assert await client.texts() == ["c", "d"]
    assert await client.texts(offset=-1) == ["d"]
    assert await client.texts(offset=first["update_id"] + 4) == []


async def test_a_long_poll_ends_with_an_update_or_its_time(server: TelegramServer, client: Client) -> None:
    ann = server.person("Ann")
    poll = asyncio.create_task(client.texts(timeout=5))
    await server.until(lambda: len(server.requests) == 1)
    await asyncio.sleep(0.02)
    assert not poll.done()
    ann.writes(server.private(ann), "at last")
    assert await poll == ["at last"]


async def test_only_the_kinds_asked_for_come(server: TelegramServer, client: Client) -> None:
    ann = server.person("Ann")
    chat = server.private(ann)
    await client.result("getUpdates", allowed_updates=["edited_message"])
    message = ann.writes(chat, "one")
    ann.edits(message, "two")
    ann.reacts(message, "👍")
    assert await client.texts() == ["two"]
    await client.result("getUpdates", offset=-1, allowed_updates=[])
    ann.writes(chat, "three")
    ann.reacts(message, "🔥")
    assert await client.texts(offset=server.updates.all[0].id + 1) == ["three"]


async def test_updates_are_kept_for_a_day(session: aiohttp.ClientSession) -> None:
    clock = Ticks()
    async with TelegramServer(clock=clock) as server:
        client = Client(server, session, server.bot)
        ann = server.person("Ann")
        ann.writes(server.private(ann), "old")
        clock.now += 12 * 3600
        ann.writes(server.private(ann), "new")
        clock.now += 13 * 3600
        assert await client.texts() == ["new"]


async def test_duplicates_disorder_and_redelivery(server: TelegramServer, client: Client) -> None:
    ann = server.person("Ann")
    for text in "ab":
        ann.writes(server.private(ann), text)
    server.updates.repeat()
    assert await client.texts() == list("aabb")
    server.updates.reverse()
    assert await client.texts() == list("ba")
    last = server.updates.all[-1].id
    assert await client.texts(offset=last + 1) == []
    server.updates.redeliver(server.updates.all)
    assert await client.texts(offset=last + 1) == list("ab")


async def test_a_webhook_gets_each_update_until_it_takes_it(server: TelegramServer, client: Client) -> None:
    taken: list[tuple[str, str | None]] = []
    statuses = iter([500, 404])
    server.world.webhooks.retry_delay = 0.01

    async def receive(request: web.Request) -> web.Response:
        body = await request.json()
        taken.append((body["message"]["text"], request.headers.get("X-Telegram-Bot-Api-Secret-Token")))
        return web.Response(status=next(statuses, 200))

    app = web.Application()
    app.router.add_post("/hook", receive)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        poll = asyncio.create_task(client.refusal("getUpdates", timeout=5))
        await server.until(lambda: server.requests.of("getUpdates"))
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        await client.result("setWebhook", url=url, secret_token="s3cret")
        assert await poll == "Conflict: terminated by setWebhook request"
        ann = server.person("Ann")
        for text in "ab":
            ann.writes(server.private(ann), text)
        await server.until(lambda: not server.updates.waiting)
        assert taken == [("a", "s3cret")] * 3 + [("b", "s3cret")]
        info = await client.result("getWebhookInfo")
        assert (info["url"], info["pending_update_count"]) == (url, 0)
        assert info["last_error_message"] == "Wrong response from the webhook: 404 Not Found"
        assert (await client.refusal("getUpdates")).startswith("Conflict: can't use getUpdates method while webhook")
        await client.result("deleteWebhook")
        assert (await client.result("getWebhookInfo"))["url"] == ""
        ann.writes(server.private(ann), "c")
        assert await client.texts() == ["c"]
    finally:
        await runner.cleanup()
