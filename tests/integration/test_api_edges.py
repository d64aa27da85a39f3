"""The interface where clients leave, repeat themselves, read slowly, or have no business here."""

import asyncio
import json
import logging
import resource
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from config import AgentConfig, GatewayConfig, Home, LiveConfig
from gateway.access import People
from gateway.api import ListenError, guard, routes, sse
from gateway.api.app import create_app, serve
from gateway.api.guard import MAX_BODY_BYTES
from gateway.api.keys import Keys
from gateway.clock import SystemClock
from gateway.ports import Agent, AgentCapabilities, AgentEnvironment, AgentEvent, AgentTurn, Done, Text
from gateway.session.text import flatten_text
from gateway.storage.database import Database
from tests.support.api import KEY, ApiGateway, OneKey, api_gateway, ask, user


class Held(Agent):
    """Says one word, and the rest once it is let go on; counts its turns."""

    capabilities = AgentCapabilities()

    def __init__(self, config: AgentConfig | None = None, environment: AgentEnvironment | None = None) -> None:
        del config, environment
        self.go_on = asyncio.Event()
        self.begun = asyncio.Event()
        self.turns = 0

    async def start(self) -> None:
        return

    async def run(self, turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        self.turns += 1
        asked = flatten_text(turn.inputs[-1]["content"])
        yield Text(f"{asked}: ")
        self.begun.set()
        await self.go_on.wait()
        yield Text("done")
        yield Done()

    async def close(self) -> None:
        return


class Endless(Held):
    """Says as much as it is told to, in pieces of 1,000 characters."""

    async def run(self, turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        self.turns += 1
        for _ in range(int(flatten_text(turn.inputs[-1]["content"]))):
            yield Text("x" * 999 + "\n")
            await asyncio.sleep(0)
        yield Done()


@pytest.fixture
async def gateway(home: Home, free_port: Callable[[], int]) -> AsyncIterator[ApiGateway]:
    async with api_gateway(home, free_port()) as running:
        yield running


# --- leaving, and repeating ----------------------------------------------------------------------------------


async def test_a_repeated_request_gets_the_one_answer(home: Home, free_port: Callable[[], int]) -> None:
    agent = Held()
    agent.go_on.set()
    async with api_gateway(home, free_port(), given={"held": agent}) as gateway:
        body = ask("x", "held")
        answers = [await gateway.post("/v1/chat/completions", body, Idempotency_Key="k1") for _ in range(3)]
        assert agent.turns == 1
        assert [status for status, _ in answers] == [200] * 3
        assert answers[0] == answers[1] == answers[2]
        other, _ = await gateway.post("/v1/chat/completions", ask("y", "held"), Idempotency_Key="k1")
        assert other == 422
        named, _ = await gateway.post("/v1/chat/completions", body, Idempotency_Key="k1", X_Hermes_Session_Id="s")
        assert named == 422
        fresh = await gateway.post("/v1/chat/completions", body, Idempotency_Key="k2")
        assert fresh[1]["id"] != answers[0][1]["id"]
        assert agent.turns == 2


async def test_requests_that_are_repeated_while_they_wait_share_the_answer(
    home: Home, free_port: Callable[[], int]
) -> None:
    agent = Held()
    async with api_gateway(home, free_port(), given={"held": agent}) as gateway:
        asked = [
            asyncio.create_task(gateway.post("/v1/chat/completions", ask("x", "held"), Idempotency_Key="k"))
            for _ in range(3)
        ]
        await agent.begun.wait()
        agent.go_on.set()
        answers = await asyncio.gather(*asked)
    assert agent.turns == 1
    assert {answer["choices"][0]["message"]["content"] for _, answer in answers} == {"x: done"}


async def test_a_client_that_leaves_in_mid_stream_loses_nothing(home: Home, free_port: Callable[[], int]) -> None:
    agent = Held()
    async with api_gateway(home, free_port(), given={"held": agent}) as gateway:
        body = ask("x", "held", stream=True)
        headers = {"Idempotency-Key": "k"}
        async with gateway.session.post("/v1/chat/completions", json=body, headers=headers) as response:
            request_id = response.headers["X-Request-Id"]
            while b"x: " not in await response.content.readline():
                pass
            response.close()
        status, underway = await gateway.get(f"/v1/chat/completions/{request_id}")
        assert (status, underway["error"]["code"]) == (409, "still_under_way")
        agent.go_on.set()
        async with gateway.session.post("/v1/chat/completions", json=body, headers=headers) as response:
            events = [line async for line in response.content if line.startswith(b"data: {")]
        said = "".join(json.loads(line[6:])["choices"][0]["delta"].get("content", "") for line in events)
        assert said == "x: done"
        status, got = await gateway.get(f"/v1/chat/completions/{request_id}")
        assert (status, got["choices"][0]["message"]["content"]) == (200, "x: done")
    assert agent.turns == 1


async def test_an_answer_outlives_the_process(home: Home, free_port: Callable[[], int]) -> None:
    agent = Held()
    agent.go_on.set()
    async with api_gateway(home, free_port(), given={"held": agent}) as gateway:
        first = await gateway.post("/v1/responses", {"model": "held", "input": "x"}, Idempotency_Key="k")
    async with api_gateway(home, free_port(), given={"held": agent}) as gateway:
        again = await gateway.post("/v1/responses", {"model": "held", "input": "x"}, Idempotency_Key="k")
        got = await gateway.get(f"/v1/responses/{first[1]['id']}")
    assert first == again == got
    assert agent.turns == 1


async def test_who_waits_when_the_gateway_stops_is_told_so_and_has_the_answer_later(
    home: Home, free_port: Callable[[], int]
) -> None:
    agent = Held()
    async with api_gateway(home, free_port(), given={"held": agent}, drain_seconds=0.05) as gateway:
        whole = asyncio.create_task(gateway.post("/v1/chat/completions", ask("x", "held"), Idempotency_Key="k"))
        streamed = asyncio.create_task(_text(gateway, "/v1/chat/completions", ask("y", "held", stream=True)))
        while agent.turns < 2:
            await asyncio.sleep(0.01)
        gateway.daemon.stop()
        async with asyncio.timeout(4):  # less than the HTTP library's own patience with those that are still served
            status, body = await whole
            events = (await streamed).split("\n\n")
    assert (status, body["error"]["code"]) == (503, "stopping")
    assert json.loads(events[-3].removeprefix("data: "))["error"]["code"] == "stopping"
    assert events[-2] == "data: [DONE]"
    agent.go_on.set()
    async with api_gateway(home, free_port(), given={"held": agent}) as gateway:
        status, body = await gateway.post("/v1/chat/completions", ask("x", "held"), Idempotency_Key="k")
    assert body["choices"][0]["message"]["content"] == "x: done"


async def _text(gateway: ApiGateway, path: str, body: dict[str, Any]) -> str:
    async with gateway.session.post(path, json=body) as response:
        return await response.text()


async def test_an_answer_that_takes_too_long_can_be_had_later(home: Home, free_port: Callable[[], int]) -> None:
    agent = Held()
    async with api_gateway(home, free_port(), given={"held": agent}, http={"answer_seconds": 0.2}) as gateway:
        status, body = await gateway.post("/v1/chat/completions", ask("x", "held"), Idempotency_Key="k")
        assert (status, body["error"]["code"]) == (504, "still_under_way")
        agent.go_on.set()
        while status == 504:
            status, body = await gateway.post("/v1/chat/completions", ask("x", "held"), Idempotency_Key="k")
    assert body["choices"][0]["message"]["content"] == "x: done"
    assert agent.turns == 1


async def test_no_more_wait_than_may(home: Home, free_port: Callable[[], int]) -> None:
    agent = Held()
    async with api_gateway(home, free_port(), given={"held": agent}, http={"max_waiting": 1}) as gateway:
        first = asyncio.create_task(gateway.post("/v1/chat/completions", ask("x", "held")))
        await agent.begun.wait()
        status, body = await gateway.post("/v1/chat/completions", ask("y", "held"))
        assert (status, body["error"]["code"]) == (503, "busy")
        agent.go_on.set()
        assert (await first)[0] == 200
        assert (await gateway.post("/v1/chat/completions", ask("y", "held")))[0] == 200


async def test_answers_of_one_conversation_come_in_order_each_to_who_asked(
    home: Home, free_port: Callable[[], int]
) -> None:
    agent = Held()
    async with api_gateway(home, free_port(), given={"held": agent}) as gateway:

        async def streamed(text: str) -> str:
            body = ask(text, "held", stream=True)
            named = {"X-Hermes-Session-Id": "one"}
            async with gateway.session.post("/v1/chat/completions", json=body, headers=named) as response:
                events = [line async for line in response.content if line.startswith(b"data: {")]
            return "".join(json.loads(line[6:])["choices"][0]["delta"].get("content", "") for line in events)

        first = asyncio.create_task(streamed("a"))
        await agent.begun.wait()
        second = asyncio.create_task(streamed("b"))
        while (await gateway.daemon.status())["turns"]["queued"] < 1:
            await asyncio.sleep(0.01)
        agent.go_on.set()
        assert (await first, await second) == ("a: done", "b: done")


async def test_commands_work_in_a_conversation_that_is_kept(gateway: ApiGateway) -> None:
    status, body = await gateway.post("/v1/chat/completions", ask("/status"), X_Hermes_Session_Id="kept")
    assert status == 200
    assert "agent: echo" in body["choices"][0]["message"]["content"]
    _, body = await gateway.post("/v1/chat/completions", ask("/status"))
    assert body["choices"][0]["message"]["content"] == "/status", "without a conversation it is a text"


async def test_a_conversation_belongs_to_the_holder_of_the_key(home: Home, free_port: Callable[[], int]) -> None:
    async with Database.open(home.database) as database:
        keys = Keys(database, LiveConfig(GatewayConfig()), SystemClock(), People())
        _, token = await keys.create("other", ["chat"])
    async with api_gateway(home, free_port()) as gateway:
        body = {"model": "echo", "input": "mine", "conversation": "talk"}
        _, mine = await gateway.post("/v1/responses", body)
        _, theirs = await gateway.post("/v1/responses", body, Authorization=f"Bearer {token}")
        assert mine["hermes"]["session_id"] != theirs["hermes"]["session_id"]
        other = {"Authorization": f"Bearer {token}"}
        async with gateway.session.get(f"/v1/responses/{mine['id']}", headers=other) as response:
            assert response.status == 404
        again = {"model": "echo", "input": "x", "previous_response_id": mine["id"]}
        status, _ = await gateway.post("/v1/responses", again, Authorization=f"Bearer {token}")
        assert status == 404
        named = [{"type": "item_reference", "id": mine["output"][0]["id"]}, user("x")]
        status, _ = await gateway.post(
            "/v1/responses", {"model": "echo", "input": named}, Authorization=f"Bearer {token}"
        )
        assert status == 404


async def test_limits_hold_for_programs_too(home: Home, free_port: Callable[[], int]) -> None:
    async with api_gateway(home, free_port(), limits={"messages_per_minute": 1}) as gateway:
        assert (await gateway.post("/v1/chat/completions", ask("a")))[0] == 200
        for _ in range(2):
            async with gateway.session.post("/v1/chat/completions", json=ask("b")) as response:
                body = await response.json()
                assert (response.status, body["error"]["type"]) == (429, "rate_limit_error")


@pytest.mark.parametrize("limit", ["tokens_per_day", "chat_tokens_per_day"])
async def test_what_is_taken_tomorrow_alone_is_not_tried_again(
    home: Home, free_port: Callable[[], int], limit: str
) -> None:
    """OpenAI's client would wait for what Retry-After says, twice, and then tell."""
    async with api_gateway(home, free_port(), limits={limit: 1}) as gateway:
        body = {"model": "echo", "input": "x", "conversation": "talk"}
        status, _ = await gateway.post("/v1/responses", body)
        assert status == 200
        async with gateway.session.post("/v1/responses", json=body) as response:
            error = (await response.json())["error"]
            assert (response.status, error["code"]) == (429, "insufficient_quota")
            assert "tomorrow" in error["message"]
            assert response.headers["x-should-retry"] == "false"
            assert "Retry-After" not in response.headers


# --- who has no business here ------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "localhost.evil"])
async def test_a_request_for_another_host_is_misdirected(gateway: ApiGateway, host: str) -> None:
    for path in ("/v1/models", "/health", "/nowhere"):
        async with gateway.session.get(path, headers={"Host": host}) as response:
            assert response.status == 421
            assert (await response.json())["error"]["code"] == "wrong_host"


@pytest.mark.parametrize("host", ["localhost", "localhost:99", "LOCALHOST", "127.0.0.1", "[::1]:80", "gate.example:1"])
async def test_a_request_for_us_is_taken(home: Home, free_port: Callable[[], int], host: str) -> None:
    async with (
        api_gateway(home, free_port(), http={"allowed_hosts": ["Gate.example"]}) as gateway,
        gateway.session.get("/v1/models", headers={"Host": host}) as response,
    ):
        assert response.status == 200


async def test_nothing_lets_a_foreign_page_read(gateway: ApiGateway) -> None:
    asked = {
        "Origin": "https://evil.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    async with gateway.session.options("/v1/chat/completions", headers=asked) as response:
        assert response.status == 405
        assert not [name for name in response.headers if name.lower().startswith("access-control-")]


async def test_scopes_hold_and_a_revoked_key_opens_nothing(home: Home, free_port: Callable[[], int]) -> None:
    async with Database.open(home.database) as database:
        keys = Keys(database, LiveConfig(GatewayConfig()), SystemClock(), People())
        _, reading = await keys.create("reader", ["read"])
        _, chatting = await keys.create("chatter", ["chat"])
        _, gone = await keys.create("gone", ["admin"])
        await keys.revoke("gone")
    async with api_gateway(home, free_port()) as gateway:
        for token, path_status in ((reading, 403), (chatting, 200), (gone, 401), (chatting[:-1] + "!", 401)):
            status, _ = await gateway.post("/v1/chat/completions", ask("x"), Authorization=f"Bearer {token}")
            assert status == path_status
        async with gateway.session.get("/v1/models", headers={"Authorization": f"Bearer {reading}"}) as response:
            assert response.status == 200


async def test_revoking_a_key_stops_what_its_holder_waits_for(home: Home, free_port: Callable[[], int]) -> None:
    agent = Held()
    async with Database.open(home.database) as database:
        _, token = await Keys(database, LiveConfig(GatewayConfig()), SystemClock(), People()).create("one", ["chat"])
    async with api_gateway(home, free_port(), given={"held": agent}) as gateway:
        asked = asyncio.create_task(
            gateway.post("/v1/chat/completions", ask("x", "held"), Authorization=f"Bearer {token}")
        )
        await agent.begun.wait()
        reader, writer = await asyncio.open_unix_connection(str(home.socket))
        writer.write(b'{"service": "control", "op": "keys.revoke", "name": "one"}\n')
        assert json.loads(await reader.readline())["key"]["revoked_at"]
        writer.close()
        status, body = await asked
        assert (status, body["hermes"]["stopped"]) == (200, True)
        status, _ = await gateway.post("/v1/chat/completions", ask("x", "held"), Authorization=f"Bearer {token}")
        assert status == 401


async def test_other_machines_are_not_let_near_a_listener_without_a_key(
    home: Home, free_port: Callable[[], int]
) -> None:
    open_to_others = {"host": "0.0.0.0", "api_key": None}
    with pytest.raises(BaseExceptionGroup) as caught:
        async with api_gateway(home, free_port(), http=open_to_others):
            pytest.fail("it listens")
    assert caught.group_contains(ListenError, match=r"keys create")


# --- bodies ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b'{"model": NaN}', "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, "application/json", 400),
        (b"{}", "text/plain", 415),
    ],
    ids=["cut", "list", "bytes", "NaN", "deep", "deep object", "text"],
)
async def test_a_body_that_is_none(gateway: ApiGateway, body: bytes, kind: str, status: int) -> None:
    async with gateway.session.post("/v1/chat/completions", data=body, headers={"Content-Type": kind}) as response:
        assert response.status == status
        assert (await response.json())["error"]["message"]


async def test_a_body_that_is_too_large_is_refused_before_it_comes(gateway: ApiGateway) -> None:
    assert b" 413 " in await _first_line(gateway, MAX_BODY_BYTES + 1)


async def _first_line(gateway: ApiGateway, length: int, path: str = "/v1/responses") -> bytes:
    """What a request is answered that says how long it is, and sends one byte."""
    host, port = gateway.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n"
    writer.write(f"{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{{".encode())
    try:
        return await reader.readline()
    finally:
        writer.close()


async def test_texts_of_any_kind_come_back(gateway: ApiGateway) -> None:
    text = "ünïcode 🜁 \u202e x"
    _, body = await gateway.post("/v1/chat/completions", ask(text))
    assert body["choices"][0]["message"]["content"] == text
    raw = json.dumps(ask("half \ud800 and nul \0")).encode()
    named = {"Content-Type": "application/json"}
    async with gateway.session.post("/v1/chat/completions", data=raw, headers=named) as response:
        assert response.status == 200


async def test_a_slow_body_is_not_waited_for(
    home: Home, free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes.OpenAiRoutes.__init__, "__kwdefaults__", {"body_seconds": 0.2})
    async with api_gateway(home, free_port()) as gateway:
        assert b" 408 " in await _first_line(gateway, 100)


async def test_a_slow_body_for_the_tools_is_not_waited_for(
    home: Home, free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard.read_body, "__kwdefaults__", {"seconds": 0.2, "limit": MAX_BODY_BYTES})
    async with api_gateway(home, free_port()) as gateway:
        assert b" 408 " in await _first_line(gateway, 100, "/mcp")


# --- slow heads --------------------------------------------------------------------------------------------

HEAD_SECONDS = 0.3


@asynccontextmanager
async def _connection(wait: float = 0.0) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """To a listener with a route that takes so long to answer."""

    @guard.open_to_all
    async def answer(_request: web.Request) -> web.Response:
        await asyncio.sleep(wait)
        return web.Response(text="here")

    app = create_app(health=dict, ready=lambda: (True, {}), keys=OneKey())
    app.router.add_get("/late", answer)
    async with serve(app, "127.0.0.1", 0, head_seconds=HEAD_SECONDS) as (host, port):
        reader, writer = await asyncio.open_connection(host, port)
        try:
            yield reader, writer
        finally:
            writer.close()


async def _dribble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Send a head that does not end, byte by byte, until the connection is closed; what came back."""
    writer.write(b"GET /late HTTP/1.1\r\nX-Long: ")
    closed = asyncio.create_task(reader.read())
    async with asyncio.timeout(HEAD_SECONDS + 10):
        while not closed.done():
            writer.write(b"x")
            await asyncio.sleep(HEAD_SECONDS / 10)
    return await closed


async def test_a_head_that_dribbles_is_cut_off() -> None:
    async with _connection() as (reader, writer):
        with suppress(ConnectionError):
            assert await _dribble(reader, writer) == b""


async def test_a_second_head_that_dribbles_is_cut_off() -> None:
    async with _connection() as (reader, writer):
        writer.write(b"GET /late HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"here" in await reader.readuntil(b"here")
        with suppress(ConnectionError):
            assert await _dribble(reader, writer) == b""


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /health HTTP/1.1\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nAuthorization: " + b"k" * 9_000 + b"\r\n\r\n",
        (
            b"POST /webhooks/open HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnone"
        ),
    ],
)
async def test_what_cannot_be_read_is_a_line_in_the_log_and_no_error(
    home: Home, free_port: Callable[[], int], caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    hooks = {"open": {"signature": "none", "prompt": "{text}"}}
    async with api_gateway(home, free_port(), webhooks=hooks) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]))
        with caplog.at_level(logging.INFO, "aiohttp.server"):
            writer.write(sent)
            async with asyncio.timeout(5):
                answer = await reader.read()
                while not (said := [record for record in caplog.records if record.name == "aiohttp.server"]):
                    await asyncio.sleep(0.01)
        writer.close()
    assert b" 400 Bad Request" in answer
    (record,) = said
    assert (record.levelno, record.exc_info) == (logging.INFO, None)
    assert "kkk" not in record.getMessage()


@pytest.mark.parametrize("path", [b"/webhooks/open", b"/v1/responses"])
async def test_a_client_that_leaves_in_the_middle_of_its_body_is_a_line_in_the_log_and_no_error(
    home: Home, free_port: Callable[[], int], caplog: pytest.LogCaptureFixture, path: bytes
) -> None:
    hooks = {"open": {"signature": "none", "prompt": "{text}"}}
    head = b" HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50\r\n"
    async with api_gateway(home, free_port(), webhooks=hooks) as gateway:
        _, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]))
        with caplog.at_level(logging.INFO, "aiohttp.server"):
            writer.write(b"POST " + path + head + b"Authorization: Bearer " + KEY.encode() + b'\r\n\r\n{"a')
            await writer.drain()
            await asyncio.sleep(0.1)
            writer.close()
            async with asyncio.timeout(5):
                while not (said := [record for record in caplog.records if record.name == "aiohttp.server"]):
                    await asyncio.sleep(0.01)
    assert [(record.levelno, record.exc_info) for record in said] == [(logging.INFO, None)]


async def test_an_answer_may_take_longer_than_a_head() -> None:
    async with _connection(HEAD_SECONDS * 3) as (reader, writer):
        writer.write(b"GET /late HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"here" in await reader.readuntil(b"here")


# --- slow readers ------------------------------------------------------------------------------------------


async def test_a_client_that_reads_nothing_costs_little_and_slows_nobody(
    home: Home, free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse.EventWriter.__init__, "__kwdefaults__", {"seconds": 0.5})
    agent = Endless()
    async with api_gateway(home, free_port(), given={"endless": agent}) as gateway:
        host, port = gateway.url.removeprefix("http://").split(":")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        writers = [await _stalled(host, int(port), "900") for _ in range(10)]
        status, body = await gateway.post("/v1/chat/completions", ask("3", "endless"))
        assert status == 200
        assert len(body["choices"][0]["message"]["content"]) == 3_000
        async with asyncio.timeout(30):
            while (await gateway.daemon.status())["turns"]["running"]:
                await asyncio.sleep(0.02)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        assert grown < 150, f"{grown:.0f} MiB for ten clients that read nothing"
        for writer in writers:
            writer.close()


async def _stalled(host: str, port: int, text: str) -> socket.socket:
    """A client that asks for a stream and never reads."""
    opened = socket.socket()
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await asyncio.to_thread(opened.connect, (host, port))
    body = json.dumps({"model": "endless", "messages": [user(text)], "stream": True})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n"
    opened.sendall(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
    return opened


async def test_old_requests_and_their_sessions_are_removed(home: Home, free_port: Callable[[], int]) -> None:
    async with api_gateway(home, free_port()) as gateway:
        _, alone = await gateway.post("/v1/chat/completions", ask("x"))
        _, kept = await gateway.post("/v1/chat/completions", ask("x"), X_Hermes_Session_Id="kept")
        parts = gateway.daemon._parts
        assert parts is not None
        await parts.http.prune_once(parts.eraser)
        assert (await gateway.get(f"/v1/chat/completions/{alone['id']}"))[0] == 200, "it is young"

        class Later(SystemClock):
            def now(self) -> datetime:
                return datetime.now(UTC) + timedelta(days=2)

        parts.http._clock = Later()
        await parts.http.prune_once(parts.eraser)
        assert (await gateway.get(f"/v1/chat/completions/{alone['id']}"))[0] == 404
        sessions = {entry.session_id for entry in await parts.store.list_sessions()}
        assert alone["hermes"]["session_id"] not in sessions
        assert kept["hermes"]["session_id"] in sessions
