"""Events, commands and interactions as signed requests, and what an app answers by a `response_url`."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs

import aiohttp
import pytest
from aiohttp import web as http
from slack_sdk.signature import SignatureVerifier
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.webhook.async_client import AsyncWebhookClient

from adapters.testing.slack import SlackServer, signed_headers
from tests.unit.testing.slack.support import FAST


class Endpoint:
    """An app's addresses: verifies every request, and answers what it is told to."""

    def __init__(self, secret: str) -> None:
        self.verifier = SignatureVerifier(secret)
        self.taken: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.statuses: list[int] = []
        self.headers: dict[str, str] = {}
        self.body: dict[str, Any] = {}
        self.delays: list[float] = []
        self.url = ""

    async def take(self, request: http.Request) -> http.Response:
        raw = await request.read()
        assert self.verifier.is_valid_request(raw, dict(request.headers))
        if request.content_type == "application/json":
            body = json.loads(raw)
        else:
            form = {name: values[0] for name, values in parse_qs(raw.decode(), keep_blank_values=True).items()}
            body = json.loads(form["payload"]) if "payload" in form else form
        if body.get("type") == "url_verification":
            return http.json_response({"challenge": body["challenge"]})
        self.taken.append((dict(request.headers), body))
        await asyncio.sleep(self.delays.pop(0) if self.delays else 0.0)
        return http.json_response(
            self.body, status=self.statuses.pop(0) if self.statuses else 200, headers=self.headers
        )


@pytest.fixture
async def endpoint(server: SlackServer) -> AsyncIterator[Endpoint]:
    endpoint = Endpoint(server.app.secret)
    app = http.Application()
    app.router.add_post("/{where}", endpoint.take)
    runner = http.AppRunner(app, shutdown_timeout=0.05)
    await runner.setup()
    await http.TCPSite(runner, "127.0.0.1", 0).start()
    endpoint.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    server.app.socket_mode = False
    urls = server.events.urls
    urls.events, urls.commands = f"{endpoint.url}/events", f"{endpoint.url}/commands"
    urls.interactivity = f"{endpoint.url}/interactivity"
    yield endpoint
    await runner.cleanup()


async def test_an_address_has_to_answer_the_challenge(server: SlackServer, endpoint: Endpoint) -> None:
    assert await server.events.urls.verify(f"{endpoint.url}/events")
    assert not await server.events.urls.verify("http://127.0.0.1:1/")


async def test_an_event_is_signed_and_posted(server: SlackServer, endpoint: Endpoint) -> None:
    ann = server.person("Ann")
    ann.writes(server.direct(ann), "hello & more")
    (envelope,) = server.events.all
    await server.until(lambda: envelope.acknowledged)
    ((headers, body),) = endpoint.taken
    assert body["event"]["text"] == "hello &amp; more"
    assert "X-Slack-Retry-Num" not in headers
    assert server.violations == []


async def test_a_slow_or_broken_address_gets_it_again(server: SlackServer, endpoint: Endpoint) -> None:
    ann = server.person("Ann")
    endpoint.statuses = [500]
    ann.writes(server.direct(ann), "hello")
    await server.until(lambda: server.events.all[0].acknowledged)
    headers = endpoint.taken[1][0]
    assert (headers["X-Slack-Retry-Num"], headers["X-Slack-Retry-Reason"]) == ("1", "http_error")
    endpoint.delays = [FAST.deadline + 0.3]
    ann.writes(server.direct(ann), "slow")
    await server.until(lambda: server.events.all[1].acknowledged)
    assert endpoint.taken[3][0]["X-Slack-Retry-Reason"] == "http_timeout"
    assert ["not acknowledged" in each for each in server.violations] == [True]


async def test_an_app_may_refuse_retries(server: SlackServer, endpoint: Endpoint) -> None:
    endpoint.statuses, endpoint.headers = [503], {"X-Slack-No-Retry": "1"}
    ann = server.person("Ann")
    ann.writes(server.direct(ann), "hello")
    await server.until(lambda: server.events.all[0].given_up)
    assert len(endpoint.taken) == 1


async def test_nobody_listens(server: SlackServer) -> None:
    server.app.socket_mode = False
    server.events.urls.events = "http://127.0.0.1:1/"
    ann = server.person("Ann")
    ann.writes(server.direct(ann), "hello")
    await server.until(lambda: server.events.all[0].given_up)
    assert {each.failure for each in server.events.all[0].attempts} == {"connection_failed"}


async def test_a_command_and_its_answers(server: SlackServer, endpoint: Endpoint) -> None:
    server.app.commands.add("/hermes")
    ann = server.person("Ann")
    general = server.channel("general", ann)
    endpoint.body = {"text": "for you"}
    used = ann.commands(general, "/hermes", "status now")
    await server.until(lambda: used.responses)
    form = endpoint.taken[0][1]
    assert (form["command"], form["text"], form["channel_name"]) == ("/hermes", "status now", "general")
    assert [(each.user, each.content.text) for each in general.ephemerals] == [(ann.id, "for you")]
    with pytest.raises(ValueError, match="not a valid command"):
        ann.commands(general, "/other")

    hook = AsyncWebhookClient(form["response_url"])
    assert (await hook.send(text="for all", response_type="in_channel")).body == "ok"
    assert [each.text for each in server.shown(general)] == ["for all"]
    for _ in range(3):
        await hook.send(text="more")
    last = await hook.send(text="too much")
    assert (last.status_code, last.body) == (404, "used_url")


async def test_a_button_and_the_message_behind_it(server: SlackServer, endpoint: Endpoint, web: AsyncWebClient) -> None:
    ann = server.person("Ann")
    chat = server.direct(ann)
    options = [{"text": {"type": "plain_text", "text": each}, "value": each} for each in ("one", "two")]
    select = {"type": "static_select", "action_id": "pick", "options": options}
    await web.chat_postMessage(channel=chat.id, text="?", blocks=[{"type": "actions", "elements": [select]}])
    (shown,) = server.shown(chat)
    with pytest.raises(ValueError, match="cannot be selected"):
        ann.selects(shown, "pick", "three")
    chosen = ann.selects(shown, "pick", "two")
    await server.until(lambda: chosen.envelope and chosen.envelope.acknowledged)
    payload = endpoint.taken[-1][1]
    assert payload["actions"][0]["selected_option"]["value"] == "two"
    hook = AsyncWebhookClient(payload["response_url"])
    await hook.send(text="two it is", replace_original=True)
    assert shown.texts[-1] == "two it is"
    await hook.send(delete_original=True)
    assert server.shown(chat) == ()


async def test_an_app_that_does_not_acknowledge_a_command(server: SlackServer, endpoint: Endpoint) -> None:
    server.app.commands.add("/hermes")
    ann = server.person("Ann")
    endpoint.delays = [FAST.deadline + 0.3]
    used = ann.commands(server.channel("general", ann), "/hermes")
    await server.until(lambda: used.error)
    assert (used.error, len(endpoint.taken)) == ("operation_timeout", 1)


def test_a_signature_that_a_test_makes_itself(server: SlackServer) -> None:
    verifier = SignatureVerifier("s")
    assert not verifier.is_valid_request(b"{}", signed_headers("s", b"{}", at=0))
    now = verifier.clock.now()
    assert verifier.is_valid_request(b"{}", signed_headers("s", b"{}", at=now))
    assert not verifier.is_valid_request(b"{} ", signed_headers("s", b"{}", at=now))


async def test_an_address_that_is_gone_after_a_while(endpoint: Endpoint, session: aiohttp.ClientSession) -> None:
    ticks = [1000.0]
    async with SlackServer(monotonic=lambda: ticks[0]) as server:
        server.app.commands.add("/hermes")
        ann = server.person("Ann")
        used = ann.commands(server.channel("general", ann), "/hermes")
        ticks[0] += 1801
        async with session.post(used.url, json={"text": "late"}) as answer:
            assert (answer.status, await answer.text()) == (404, "expired_url")
