"""Requests from Slack while the adapter comes and goes."""

import asyncio
import json
import time
from collections.abc import Sequence

import pytest

from adapters.base import HttpRequest, RawUpdate
from adapters.testing.slack import Person, SlackServer, signed_headers
from tests.support.platform_host import FakeHost
from tests.unit.slack.support import built, running


def posted(server: SlackServer, chat: str, person: str, text: str) -> HttpRequest:
    event = {"type": "message", "channel": chat, "channel_type": "im", "user": person, "text": text}
    ts = f"{time.time():.6f}"
    body = json.dumps({"event_id": f"Ev{text}", "team_id": server.home.team.id, "event": event | {"ts": ts}}).encode()
    headers = {name.lower(): value for name, value in signed_headers(server.app.secret, body, time.time()).items()}
    return HttpRequest("POST", "events", headers, body)


async def test_what_is_posted_while_the_adapter_starts_anew_is_handed_on(
    server: SlackServer, ann: Person, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat, kept, looked, go = server.direct(ann), host.kept, asyncio.Event(), asyncio.Event()
    adapter = built(server, host, mode="http", signing_secret=server.app.secret)
    async with running(adapter, host):
        assert host.http is not None
        assert (await host.http(posted(server, chat.id, ann.id, "before"))).status == 200
        await host.until(lambda: host.texts == ["before"])

    async def slow() -> Sequence[RawUpdate]:
        left = await kept()
        looked.set()
        await go.wait()
        return left

    monkeypatch.setattr(host, "kept", slow)
    host.states.clear()
    restarted = asyncio.create_task(adapter.run())
    try:
        await looked.wait()
        assert (await host.http(posted(server, chat.id, ann.id, "meanwhile"))).status == 200
        go.set()
        await host.until(lambda: host.texts == ["before", "meanwhile"])
    finally:
        restarted.cancel()
        await asyncio.gather(restarted, return_exceptions=True)
