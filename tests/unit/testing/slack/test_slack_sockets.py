"""Socket Mode: greetings, acknowledgements and their deadline, retries, and every way in which a connection ends."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from slack_sdk.web.async_client import AsyncWebClient

from adapters.testing.slack import DeliveryRules, SlackServer
from tests.unit.testing.slack.support import FAST, Listener, client_of, refused

PATIENT = DeliveryRules(deadline=2.0, retry_delays=(0.1,) * 40)
"""Retries for longer than a client takes to come back."""


async def address(server: SlackServer, session: aiohttp.ClientSession) -> str:
    web = AsyncWebClient(token=server.app.token, base_url=server.api_url, session=session)
    return str((await web.apps_connections_open(app_token=server.app.token))["url"])


async def connected(
    server: SlackServer, session: aiohttp.ClientSession, extra: str = ""
) -> tuple[aiohttp.ClientWebSocketResponse, dict[str, Any]]:
    socket = await session.ws_connect(await address(server, session) + extra)
    return socket, await socket.receive_json()


async def acknowledge(socket: aiohttp.ClientWebSocketResponse, frame: dict[str, Any]) -> None:
    await socket.send_str(json.dumps({"envelope_id": frame["envelope_id"]}))


async def test_it_greets(server: SlackServer, session: aiohttp.ClientSession) -> None:
    first, hello = await connected(server, session)
    assert (hello["type"], hello["num_connections"]) == ("hello", 1)
    assert hello["connection_info"] == {"app_id": server.app.id}
    assert hello["debug_info"]["approximate_connection_time"] == 3600
    _, second = await connected(server, session, "&debug_reconnects=true")
    assert not first.closed
    assert (second["num_connections"], second["debug_info"]["approximate_connection_time"]) == (2, 360)


async def test_an_address_is_good_once_and_for_an_app_only(server: SlackServer, session: aiohttp.ClientSession) -> None:
    url = await address(server, session)
    await session.ws_connect(url)
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await session.ws_connect(url)
    wrong = AsyncWebClient(token=server.bot.token, base_url=server.api_url, session=session)
    answer = await refused(wrong.apps_connections_open(app_token=server.bot.token))
    assert answer["error"] == "not_allowed_token_type"


async def test_socket_mode_that_is_off_is_said_so(server: SlackServer, session: aiohttp.ClientSession) -> None:
    server.app.socket_mode = False
    web = AsyncWebClient(token=server.app.token, base_url=server.api_url, session=session)
    opened = await web.apps_connections_open(app_token=server.app.token)
    assert opened["response_metadata"]["messages"] == ["[WARN] Socket Mode is not turned on."]


async def test_an_envelope_as_it_is(server: SlackServer, session: aiohttp.ClientSession) -> None:
    socket, _ = await connected(server, session)
    ann = server.person("Ann")
    asked = ann.writes(server.direct(ann), "hello")
    frame = await socket.receive_json()
    assert (frame["type"], frame["accepts_response_payload"]) == ("events_api", False)
    assert (frame["retry_attempt"], frame["retry_reason"]) == (0, "")
    payload = frame["payload"]
    assert (payload["type"], payload["team_id"], payload["api_app_id"]) == (
        "event_callback",
        server.home.team.id,
        server.app.id,
    )
    assert (payload["event"]["ts"], payload["authorizations"][0]["user_id"]) == (asked.ts, server.bot.id)
    await acknowledge(socket, frame)
    (envelope,) = server.events.all
    await server.until(lambda: envelope.acknowledged)
    assert 0 <= envelope.waits[0] < FAST.deadline
    assert server.events.pending == ()


async def test_what_is_not_acknowledged_is_sent_again(server: SlackServer, session: aiohttp.ClientSession) -> None:
    socket, _ = await connected(server, session)
    ann = server.person("Ann")
    ann.writes(server.direct(ann), "hello")
    frames = [await socket.receive_json() for _ in range(3)]
    assert [(each["retry_attempt"], each["retry_reason"]) for each in frames] == [
        (0, ""), (1, "timeout"), (2, "timeout"),
    ]  # fmt: skip
    assert len({each["payload"]["event_id"] for each in frames}) == 1
    assert len({each["envelope_id"] for each in frames}) == 3
    await acknowledge(socket, frames[2])
    (envelope,) = server.events.all
    await server.until(lambda: envelope.acknowledged)
    assert [attempt.failure for attempt in envelope.attempts] == ["timeout", "timeout", None]
    assert not envelope.given_up
    assert (
        server.violations
        == [f"events_api message {envelope.payload['event_id']} was not acknowledged within {FAST.deadline} s"] * 2
    )


async def test_retries_end(server: SlackServer) -> None:
    ann = server.person("Ann")
    ann.writes(server.direct(ann), "nobody is there")
    (envelope,) = server.events.all
    await server.until(lambda: envelope.given_up)
    assert [attempt.number for attempt in envelope.attempts] == [0, 1, 2, 3]
    assert {attempt.failure for attempt in envelope.attempts} == {"connection_failed"}
    assert server.violations == []


async def test_a_late_acknowledgement_is_told(server: SlackServer, listener: Listener) -> None:
    listener.delay = FAST.deadline + 0.1
    ann = server.person("Ann")
    ann.writes(server.direct(ann), "hello")
    (envelope,) = server.events.all
    await server.until(lambda: envelope.acknowledged)
    assert envelope.waits[0] > FAST.deadline
    assert any("too late" in each for each in server.violations)
    await server.until(lambda: len(listener.requests) >= 2)


async def test_wrong_acknowledgements_are_told(server: SlackServer, session: aiohttp.ClientSession) -> None:
    socket, _ = await connected(server, session)
    await acknowledge(socket, {"envelope_id": "none"})
    ann = server.person("Ann")
    ann.writes(server.direct(ann), "hello")
    frame = await socket.receive_json()
    await acknowledge(socket, frame)
    await acknowledge(socket, frame)
    await server.until(lambda: server.events.all[0].acknowledged)
    async with asyncio.timeout(2):
        while len(server.violations) < 2:
            await asyncio.sleep(0.01)
    assert "that there is not: none" in server.violations[0]
    assert "twice" in server.violations[1]


async def test_each_envelope_goes_to_one_of_the_connections(
    server: SlackServer, session: aiohttp.ClientSession
) -> None:
    sockets = [(await connected(server, session))[0] for _ in range(3)]
    ann = server.person("Ann")
    chat = server.direct(ann)
    for number in range(6):
        ann.writes(chat, str(number))
    got = []
    for socket in sockets:
        for _ in range(2):
            frame = await socket.receive_json()
            got.append(frame["payload"]["event"]["text"])
            await acknowledge(socket, frame)
    assert sorted(got) == [str(number) for number in range(6)]
    await server.until(lambda: not server.events.pending)
    assert server.violations == []


async def test_there_are_ten_connections_at_most(server: SlackServer, session: aiohttp.ClientSession) -> None:
    opened = [await connected(server, session) for _ in range(10)]
    assert [hello["num_connections"] for _, hello in opened] == list(range(1, 11))
    socket, refusal = await connected(server, session)
    assert (refusal["type"], refusal["reason"]) == ("disconnect", "too_many_websockets")
    assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
    assert len(server.events.sockets.live) == 10


@pytest.mark.parametrize("reason", ["warning", "refresh_requested", "link_disabled"])
async def test_disconnects_with_a_reason(server: SlackServer, session: aiohttp.ClientSession, reason: str) -> None:
    socket, _ = await connected(server, session)
    ending = asyncio.create_task(server.events.sockets.disconnect(reason, grace=0.05))
    message = await socket.receive_json()
    assert (message["type"], message["reason"]) == ("disconnect", reason)
    ann = server.person("Ann")
    ann.writes(server.direct(ann), "in between")
    assert (await socket.receive_json())["payload"]["event"]["text"] == "in between"
    assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
    await ending
    assert server.events.sockets.live == ()


async def test_the_client_comes_back_after_a_refresh(server: SlackServer, listener: Listener) -> None:
    await server.events.sockets.disconnect("refresh_requested")
    await server.until(lambda: server.events.sockets.live)
    ann = server.person("Ann")
    ann.writes(server.direct(ann), "hello")
    await server.until(lambda: listener.texts == ["hello"])
    assert len(server.events.sockets.all) == 2


@pytest.mark.parametrize("reset", [False, True])
async def test_an_abrupt_end(session: aiohttp.ClientSession, reset: bool) -> None:
    async with (
        SlackServer(rules=PATIENT) as server,
        Listener(server, client_of(server, session), ping_interval=0.1) as listener,
    ):
        await server.until(lambda: server.events.sockets.live)
        server.events.sockets.abort(reset=reset)
        ann = server.person("Ann")
        ann.writes(server.direct(ann), "meanwhile")
        await server.until(lambda: listener.texts)
        assert listener.texts == ["meanwhile"]
        assert (listener.requests[0].retry_attempt or 0) >= 1
        assert server.violations == []


async def test_a_half_open_connection(server: SlackServer, session: aiohttp.ClientSession) -> None:
    socket, _ = await connected(server, session)
    await socket.ping(b"one")
    server.events.sockets.freeze()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await socket.receive()
    ann = server.person("Ann")
    ann.writes(server.direct(ann), "lost on the way")
    (connection,) = server.events.sockets.live
    await server.until(lambda: server.events.all[0].attempts[1:])
    other, _ = await connected(server, session)
    while not server.events.all[0].acknowledged:
        await acknowledge(other, await other.receive_json())
        await asyncio.sleep(0.01)
    assert connection.frozen
    assert server.violations == []


async def test_events_twice_lost_and_in_another_order(server: SlackServer, listener: Listener) -> None:
    ann = server.person("Ann")
    chat = server.direct(ann)
    server.events.repeat()
    ann.writes(chat, "1")
    server.events.lose()
    ann.writes(chat, "2")
    server.events.hold()
    for text in "345":
        ann.writes(chat, text)
    server.events.release(reverse=True)
    await server.until(lambda: len(listener.texts) == 5)
    assert listener.texts == ["1", "1", "5", "4", "3"]
    assert len({request.payload["event_id"] for request in listener.requests[:2]}) == 1
    assert server.events.all[1].lost
    assert [each.text for each in server.shown(chat)] == list("12345")


async def test_what_is_written_while_an_app_is_away_is_in_the_history_only(
    server: SlackServer, web: AsyncWebClient
) -> None:
    ann = server.person("Ann")
    chat = server.direct(ann)
    ann.writes(chat, "before")
    await server.until(lambda: server.events.all[0].given_up)
    async with Listener(server, web) as listener:
        await server.until(lambda: server.events.sockets.live)
        ann.writes(chat, "now")
        await server.until(lambda: listener.texts)
        assert listener.texts == ["now"]
    history = await web.conversations_history(channel=chat.id)
    assert [each["text"] for each in history["messages"]] == ["now", "before"]


async def test_an_outage_keeps_the_port_the_state_and_what_waits(session: aiohttp.ClientSession) -> None:
    async with SlackServer(rules=PATIENT) as server:
        web = client_of(server, session)
        ann = server.person("Ann")
        chat = server.direct(ann)
        async with Listener(server, web, ping_interval=0.1) as listener:
            await server.until(lambda: server.events.sockets.live)
            async with asyncio.timeout(5):
                await server.stop()
            ann.writes(chat, "meanwhile")
            with pytest.raises(aiohttp.ClientError):
                await web.auth_test()
            url = server.api_url
            await server.start()
            assert server.api_url == url
            await server.until(lambda: listener.texts == ["meanwhile"])
        assert [each.text for each in server.shown(chat)] == ["meanwhile"]


async def test_each_app_has_its_own_connections(server: SlackServer, listener: Listener, web: AsyncWebClient) -> None:
    other = server.add_app("Other")
    bot = server.home.install(other, "other")
    ann = server.person("Ann")
    general = server.home.channel("general", ann, server.bot, bot)
    ann.writes(general, "@other hello")
    await server.until(lambda: listener.texts)
    assert [each["type"] for each in listener.events] == ["message"]
    assert [each.event["type"] for each in server.world.feeds[other.id].all] == ["message", "app_mention"]
    await web.chat_postMessage(channel=general.id, text=f"<@{bot.id}> you are meant")
    mention = server.world.feeds[other.id].all[-1].event
    assert (mention["type"], mention["bot_id"]) == ("app_mention", server.bot.bot_id)


async def test_the_rules_of_slack_are_the_default() -> None:
    rules = DeliveryRules()
    assert (rules.deadline, rules.retry_delays) == (3.0, (0.0, 60.0, 300.0))
