"""The session tools over MCP, with the official client: over HTTP and over standard input and output."""

import asyncio
import contextlib
import json
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from config import GatewayConfig, Home
from gateway.daemon import Daemon
from gateway.mcp.stdio import GatewayClient
from gateway.ports import AgentTurn, InboundMessage
from gateway.session.key import SlotIdentity
from gateway.source import SessionSource
from gateway.tools.toolkit import TOOLS
from tests.unit.tools.support import ToolAgent

KEY = "key-of-this-test"
TERMINAL = SessionSource.local_cli()
SECONDS = 20.0


@dataclass(frozen=True)
class Running:
    """A gateway that runs, and its agent."""

    daemon: Daemon
    agent: ToolAgent
    home: Home
    url: str

    @property
    def parts(self) -> Any:
        assert self.daemon._parts is not None
        return self.daemon._parts

    async def session(self, source: SessionSource = TERMINAL) -> str:
        """The id of a place's live session."""
        entry = await self.parts.store.get_or_create_session(source)
        return str(entry.session_id)


@contextlib.asynccontextmanager
async def running(
    home: Home, free_port: Callable[[], int], agent: ToolAgent | None = None, **sections: Any
) -> AsyncIterator[Running]:
    agent, port = agent or ToolAgent(), free_port()
    values = {
        "agent": "a",
        "agents": {"a": {"type": "echo"}},
        "http": {"enabled": True, "port": port, "api_key": KEY},
        "platforms": {"local": {}},
        "drain_seconds": 1,
        **sections,
    }
    daemon = Daemon(GatewayConfig.model_validate(values), home, agents={"a": agent})
    ready = asyncio.Event()
    task = asyncio.create_task(daemon.run(ready.set))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED, timeout=SECONDS)
    waiting.cancel()
    try:
        if task.done():
            await task
        yield Running(daemon, agent, home, f"http://127.0.0.1:{port}/mcp")
    finally:
        daemon.stop()
        await task


@contextlib.asynccontextmanager
async def over_http(gateway: Running, token: str = KEY, **headers: str) -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {token}", **headers}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=SECONDS) as http,
        Client(streamable_http_client(gateway.url, http_client=http)) as client,
    ):
        yield client


@contextlib.asynccontextmanager
async def over_stdio(gateway: Running, *arguments: str, **environment: str) -> AsyncIterator[Client]:
    program = Path(__file__).parents[2] / "hermes_gateway.py"
    env = {**os.environ, "HERMES_GATEWAY_HOME": str(gateway.home.path), **environment}
    server = StdioServerParameters(command=sys.executable, args=[str(program), "mcp", *arguments], env=env)
    async with Client(stdio_client(server)) as client:
        yield client


@contextlib.asynccontextmanager
async def over(transport: str, gateway: Running) -> AsyncIterator[Client]:
    async with over_http(gateway) if transport == "http" else over_stdio(gateway) as client:
        yield client


async def call(client: Client, tool: str, /, **arguments: Any) -> dict[str, Any]:
    """A tool's result; that what is said in words is the same."""
    result = await client.call_tool(tool, arguments)
    found = dict(result.structured_content or {})
    assert json.loads(getattr(result.content[0], "text", "")) == found
    assert result.is_error == ("error" in found)
    return found


@pytest.mark.parametrize("transport", ["http", "stdio"])
async def test_the_official_client_lists_and_uses_the_tools(
    transport: str, home: Home, free_port: Callable[[], int]
) -> None:
    agent = ToolAgent({"ping — 🐚": "pong"})
    async with running(home, free_port, agent) as gateway, over(transport, gateway) as client:
        listed = (await client.list_tools()).tools
        assert {tool.name for tool in listed} == set(TOOLS)
        assert all(tool.description and tool.input_schema["properties"] for tool in listed)
        made = await call(client, "create_session", name="Résumé [1]", model="a")
        sent = await call(client, "send_to_session", session_id=made["session_id"], message="ping — 🐚")
        assert sent == {"session_id": made["session_id"], "session_name": "Résumé [1]", "response": "pong"}
        shown = await call(client, "list_sessions", filter="RÉSUMÉ")
        assert f"[Résumé \\[1\\]](#session-{made['session_id']})" in shown["results"]
        asked = await call(client, "manage_session", content=f"rename\n{made['session_id']}\nOther")
        assert asked["results"] == "Session renamed to 'Other'"
        while made["session_id"] not in (await call(client, "search_sessions", query="ping"))["results"]:
            await asyncio.sleep(0.05)
        assert "on its way" in (await call(client, "send_message", message="hello"))["results"]
        (row,) = await gateway.parts.database.read("SELECT text FROM outbox WHERE kind = 'notice'")
        assert row["text"] == "hello"
        gone = await call(client, "manage_session", action="delete", session_id=made["session_id"])
        assert gone["results"] == "Session 'Other' deleted"


@pytest.mark.parametrize("transport", ["http", "stdio"])
async def test_nonsense_is_answered_and_breaks_nothing(
    transport: str, home: Home, free_port: Callable[[], int]
) -> None:
    async with running(home, free_port) as gateway, over(transport, gateway) as client:
        assert "no tool" in (await call(client, "frobnicate"))["error"]
        assert "not found" in (await call(client, "send_to_session", session_id="../etc", message="x"))["error"]
        assert "not found" in (await call(client, "send_to_session", session_id="20990101_x", message="x"))["error"]
        assert "error" in await call(client, "send_to_session", session_id=7, message=None)
        assert "error" in await call(client, "list_sessions", filter={"a": [1]})
        assert "error" in await call(client, "manage_session", action="rename", session_id="\u202e\0x", value="y")
        made = await call(client, "create_session", name="Big")
        huge = await call(client, "send_to_session", session_id=made["session_id"], message="x" * 1_500_000)
        assert "1,500,000 characters" in huge["error"]
        assert "results" in await call(client, "list_sessions")


async def test_without_a_credential_nothing_is_answered(home: Home, free_port: Callable[[], int]) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    accept = {"Accept": "application/json, text/event-stream"}
    async with running(home, free_port) as gateway, aiohttp.ClientSession(headers=accept) as session:
        key = {"Authorization": f"Bearer {KEY}"}
        good = gateway.url.replace("http://", "").replace("/mcp", "")
        for headers, status in (
            ({}, 401),
            ({"Authorization": "Bearer wrong"}, 401),
            ({"Authorization": f"Basic {KEY}"}, 401),
            ({"Authorization": f"Bearer {'0' * 24}.{'0' * 64}"}, 401),
            ({**key, "Host": "evil.example"}, 421),
            ({**key, "Origin": "http://evil.example"}, 403),
            ({**key, "Origin": "http://127.0.0.1.evil.example:80"}, 403),
            ({**key, "Origin": "null"}, 403),
            ({**key, "Hermes-Session": "nobody"}, 401),
            ({**key, "Origin": f"http://{good}"}, 200),
            (key, 200),
        ):
            async with session.post(gateway.url, json=body, headers=headers) as response:
                assert (headers, response.status) == (headers, status), await response.text()
                assert ("create_session" in await response.text()) == (status == 200)


async def test_without_a_key_in_the_configuration_nobody_is_the_operator(
    home: Home, free_port: Callable[[], int]
) -> None:
    http = {"enabled": True, "port": free_port()}
    async with running(home, free_port, http=http) as gateway, aiohttp.ClientSession() as session:
        for token in ("", "None", KEY):
            headers = {"Authorization": f"Bearer {token}"}
            async with session.post(f"http://127.0.0.1:{http['port']}/mcp", json={}, headers=headers) as response:
                assert response.status == 401
        assert gateway.parts is not None


class Asking(ToolAgent):
    """Waits in its turn until it is let go on, so that a test can act for it."""

    def __init__(self) -> None:
        super().__init__()
        self.reached: asyncio.Queue[AgentTurn] = asyncio.Queue()
        self.go = asyncio.Event()

    async def run(self, turn: AgentTurn) -> AsyncIterator[Any]:
        if str(turn.inputs[-1]["content"]).endswith("wait"):
            self.reached.put_nowait(turn)
            await self.go.wait()
        async for event in super().run(turn):
            yield event


async def write(gateway: Running, text: str, source: SessionSource) -> None:
    """Somebody who may do everything writes there, as if through an adapter."""
    inbox = gateway.parts.lanes._inbox()
    await inbox.accept(InboundMessage(source, f"m {text}", text), operator=True)


@pytest.mark.parametrize("transport", ["http", "stdio"])
async def test_a_turns_token_binds_to_its_person_and_ends_with_the_turn(
    transport: str, home: Home, free_port: Callable[[], int]
) -> None:
    agent = Asking()
    async with running(home, free_port, agent) as gateway:
        await write(gateway, "of the terminal", TERMINAL)
        ann = SessionSource("api_server", chat_id="ann/1", chat_type="dm", user_id="ann")  # type: ignore[arg-type]
        other = await gateway.session(TERMINAL)
        await write(gateway, "wait", ann)
        turn = await agent.reached.get()
        token = gateway.parts.door.token(turn.turn_id)

        @contextlib.asynccontextmanager
        async def connected() -> AsyncIterator[Client]:
            if transport == "http":
                async with over_http(gateway, token) as client:
                    yield client
            else:
                async with over_stdio(gateway, HERMES_GATEWAY_MCP_TOKEN=token) as client:
                    yield client

        async with connected() as client:
            shown = (await call(client, "list_sessions"))["results"]
            assert turn.session_id in shown
            assert other not in shown
            refused = await call(client, "send_to_session", session_id=other, message="x")
            assert refused == {"error": f"Session '{other}' not found"}
            missing = await call(client, "send_to_session", session_id="a" * 20, message="x")
            assert missing == {"error": f"Session '{'a' * 20}' not found"}
            itself = await call(client, "send_to_session", session_id=turn.session_id, message="x")
            assert "that you are in" in itself["error"]
            agent.go.set()
            while await gateway.parts.database.read("SELECT 1 FROM turns WHERE ended_at IS NULL"):
                await asyncio.sleep(0.02)
            if transport == "http":
                with pytest.raises(MCPError):
                    await client.call_tool("list_sessions", {})
            else:
                assert "no open turn" in (await call(client, "list_sessions"))["error"]
        headers = {"Authorization": f"Bearer {token}"}
        async with aiohttp.ClientSession() as session, session.post(gateway.url, json={}, headers=headers) as response:
            assert response.status == 401


async def test_the_same_call_of_a_turn_that_is_tried_again_is_one_call(
    home: Home, free_port: Callable[[], int]
) -> None:
    agent = Asking()
    async with running(home, free_port, agent) as gateway:
        await write(gateway, "wait", TERMINAL)
        turn = await agent.reached.get()
        async with over_http(gateway, gateway.parts.door.token(turn.turn_id)) as client:
            first = await call(client, "create_session", name="One")
            second = await call(client, "create_session", name="One")
            await gateway.parts.database.write(
                lambda connection: connection.execute("UPDATE turns SET attempts = attempts + 1").rowcount
            )
            again = await call(client, "create_session", name="One")
            assert first["session_id"] == again["session_id"] != second["session_id"]
        agent.go.set()


async def sent_texts(gateway: Running) -> list[str]:
    rows = await gateway.parts.database.read("SELECT text FROM outbox WHERE kind = 'notice' ORDER BY id")
    return [row["text"] for row in rows]


@pytest.mark.parametrize("transport", ["http", "stdio"])
async def test_a_call_with_a_key_is_carried_out_once(transport: str, home: Home, free_port: Callable[[], int]) -> None:
    async with running(home, free_port) as gateway:
        async with over(transport, gateway) as client:
            listed = {tool.name: tool.input_schema["properties"] for tool in (await client.list_tools()).tools}
            assert {name for name, properties in listed.items() if "idempotency_key" in properties} == {
                "create_session", "send_to_session", "manage_session", "send_message",
            }  # fmt: skip
            made = await call(client, "create_session", name="One", idempotency_key="a")
            other = await call(client, "create_session", name="Two", idempotency_key="a")
            target = {"session_id": made["session_id"], "message": "x"}
            first = await call(client, "send_to_session", **target, idempotency_key="b")
            for text in ("hello", "hello", "other"):
                await call(client, "send_message", message=text, idempotency_key="c")
            for _ in range(2):
                await call(client, "send_message", content="origin\nin lines", idempotency_key="d")
                await call(client, "send_message", message="without")
            for wrong in ("", "x" * 256, 7):
                assert (
                    "idempotency_key"
                    in (await call(client, "create_session", name="x", idempotency_key=wrong))["error"]
                )
        async with over(transport, gateway) as client:
            assert (await call(client, "create_session", name="One", idempotency_key="a")) == made
            assert (await call(client, "send_to_session", **target, idempotency_key="b")) == first
        assert made["session_id"] != other["session_id"]
        assert await sent_texts(gateway) == ["hello", "other", "in lines", "without", "without"]
        rows = await gateway.parts.database.read("SELECT count(*) FROM messages WHERE role = 'user'")
        assert rows[0][0] == 1


async def test_a_change_with_a_key_is_made_once_though_the_session_goes_on(
    home: Home, free_port: Callable[[], int]
) -> None:
    async with running(home, free_port) as gateway, over_http(gateway) as client:
        session_id = (await call(client, "create_session", name="One"))["session_id"]
        asked = {"session_id": session_id, "message": "x"}
        await call(client, "send_to_session", **asked)
        cut = {"action": "truncate", "session_id": session_id, "value": 1, "keep": "first", "idempotency_key": "cut"}
        first = await call(client, "manage_session", **cut)
        await call(client, "send_to_session", **asked)
        assert await call(client, "manage_session", **cut) == first
        assert first["messages_removed"] == 1
        assert len(await gateway.parts.store.load_transcript(session_id)) == 3
        gone = {"action": "delete", "session_id": session_id}
        deleted = await call(client, "manage_session", **gone, idempotency_key="gone")
        assert await call(client, "manage_session", **gone, idempotency_key="gone") == deleted
        assert "error" in await call(client, "manage_session", **gone)


async def test_a_request_with_a_key_in_its_header_is_carried_out_once(home: Home, free_port: Callable[[], int]) -> None:
    body = {
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "send_message", "arguments": {"message": "hello"}},
    }  # fmt: skip
    headers = {"Authorization": f"Bearer {KEY}", "Accept": "application/json, text/event-stream"}
    async with running(home, free_port) as gateway, aiohttp.ClientSession(headers=headers) as session:
        for given in ({"Idempotency-Key": "one"}, {"Idempotency-Key": "one"}, {"Idempotency-Key": "two"}, {}, {}):
            async with session.post(gateway.url, json=body, headers=given) as response:
                assert "on its way" in await response.text()
        assert len(await sent_texts(gateway)) == 4


async def test_a_client_that_leaves_before_its_answer_is_no_error(
    home: Home, free_port: Callable[[], int], caplog: pytest.LogCaptureFixture
) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "list_sessions", "arguments": {}}}
    headers = {"Authorization": f"Bearer {KEY}", "Accept": "application/json, text/event-stream"}
    async with running(home, free_port) as gateway:
        for _ in range(5):
            async with aiohttp.ClientSession(headers=headers) as session:
                response = await session.post(gateway.url, json=body)
                response.close()
        async with over_http(gateway) as client:
            assert "results" in await call(client, "list_sessions")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_call_that_waits_for_an_answer_does_not_hold_up_a_stop(
    home: Home, free_port: Callable[[], int], caplog: pytest.LogCaptureFixture
) -> None:
    agent = Asking()
    headers = {"Authorization": f"Bearer {KEY}", "Accept": "application/json, text/event-stream"}
    async with (
        running(home, free_port, agent, drain_seconds=0.05) as gateway,
        aiohttp.ClientSession(headers=headers) as session,
    ):
        async with over_http(gateway) as client:
            made = await call(client, "create_session", name="other", model="a")
        arguments = {"session_id": made["session_id"], "message": "wait"}
        params = {"name": "send_to_session", "arguments": arguments}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        waiting = asyncio.create_task(_read(session, gateway.url, body))
        await agent.reached.get()
        gateway.daemon.stop()
        async with asyncio.timeout(4):  # less than the HTTP library's own patience with those that are still served
            with pytest.raises(aiohttp.ClientError):
                await waiting
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def _read(session: aiohttp.ClientSession, url: str, body: Mapping[str, Any]) -> str:
    async with session.post(url, json=body) as response:
        return await response.text()


async def test_a_request_that_comes_again_under_its_id_is_one_call(home: Home, free_port: Callable[[], int]) -> None:
    agent = Asking()
    async with running(home, free_port, agent) as gateway:
        await write(gateway, "wait", TERMINAL)
        turn = await agent.reached.get()
        of_turn = {"token": gateway.parts.door.token(turn.turn_id)}
        for hello in ({}, of_turn):
            one, other = GatewayClient(home.socket, hello), GatewayClient(home.socket, hello)
            for client, request_id in ((one, 1), (one, 1), (one, 2), (one, "1"), (other, 1)):
                assert "results" in await client.call("send_message", {"message": "hello"}, request_id)
        agent.go.set()
        assert len(await sent_texts(gateway)) == 8


async def test_a_call_whose_answer_is_lost_is_made_again(home: Home, free_port: Callable[[], int]) -> None:
    """The connection ends between the gateway's work and its answer, as when it is started anew."""
    answers: list[dict[str, Any]] = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_unix_connection(str(home.socket))
        for _ in range(2):
            ours.write(await reader.readline())
            answer = await theirs.readline()
            answers.append(json.loads(answer))
            if len(answers) != 2:
                writer.write(answer)
        for each in (writer, ours):
            each.close()

    async with running(home, free_port) as gateway:
        between = home.path / "between.sock"
        server = await asyncio.start_unix_server(relay, str(between))
        async with server:
            client = GatewayClient(between, {}, pauses=(0.0,))
            assert "results" in await client.call("send_message", {"message": "hello"}, 1)
        assert [len(answers), await sent_texts(gateway)] == [4, ["hello"]]


async def test_the_operator_works_in_the_place_of_whoever_has_a_session(
    home: Home, free_port: Callable[[], int]
) -> None:
    async with running(home, free_port) as gateway:
        ann = SessionSource("api_server", chat_id="ann/1", chat_type="dm", user_id="ann")  # type: ignore[arg-type]
        hers, mine = await gateway.session(ann), await gateway.session(TERMINAL)
        async with over_stdio(gateway, "--session", hers) as client:
            shown = (await call(client, "list_sessions"))["results"]
        async with over_http(gateway, **{"Hermes-Session": hers}) as client:
            assert (await call(client, "list_sessions"))["results"] == shown
        assert hers in shown
        assert mine not in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [((), "start it"), (("--session", "nobody"), "there is no session nobody")],
)
async def test_the_command_says_why_it_cannot_serve(
    arguments: tuple[str, ...], words: str, home: Home, free_port: Callable[[], int]
) -> None:
    async def tried() -> tuple[int | None, str]:
        program = Path(__file__).parents[2] / "hermes_gateway.py"
        env: Mapping[str, str] = {**os.environ, "HERMES_GATEWAY_HOME": str(home.path)}
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(program), "mcp", *arguments, env=env,
            stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _out, said = await process.communicate()
        return process.returncode, said.decode()

    if arguments:
        async with running(home, free_port):
            code, said = await tried()
    else:
        code, said = await tried()
    assert (code, words in said, said.count("\n")) == (1, True, 1), said


def test_the_terminals_place_is_the_one_that_people_write_in() -> None:
    identity = SlotIdentity("main", "local", "dm", TERMINAL.chat_id or "")
    assert identity.key == "agent:main:local:dm:cli"


async def test_an_agent_gets_the_address_and_a_token_for_its_turn(home: Home, free_port: Callable[[], int]) -> None:
    agent = Asking()
    async with running(home, free_port, agent) as gateway:
        await write(gateway, "wait", TERMINAL)
        turn = await agent.reached.get()
        server = gateway.parts.roster._mcp(turn.turn_id)
        assert server.url == gateway.url
        async with over_http(gateway, server.token) as client:
            assert turn.session_id in (await call(client, "list_sessions"))["results"]
        agent.go.set()


async def test_a_change_with_a_key_that_is_asked_for_twice_at_once_is_made_once(
    home: Home, free_port: Callable[[], int]
) -> None:
    async with running(home, free_port) as gateway, over_http(gateway) as client, over_http(gateway) as other:
        session_id = (await call(client, "create_session", name="One"))["session_id"]
        gone = {"action": "delete", "session_id": session_id, "idempotency_key": "gone"}
        first, second = await asyncio.gather(*(call(each, "manage_session", **gone) for each in (client, other)))
        assert first == second
        assert first["results"] == "Session 'One' deleted"


async def test_a_change_with_a_key_is_known_though_who_asked_for_it_has_gone(
    home: Home, free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(home, free_port) as gateway, over_http(gateway) as client:
        session_id = (await call(client, "create_session", name="One"))["session_id"]
        gone = {"action": "delete", "session_id": session_id, "idempotency_key": "gone"}
        door, tools, done, go = gateway.parts.door, gateway.parts.door._sessions, asyncio.Event(), asyncio.Event()
        carry_out = tools.call

        async def slowly(*call: Any) -> Any:
            result = await carry_out(*call)
            done.set()
            await go.wait()
            return result

        monkeypatch.setattr(tools, "call", slowly)
        asking = asyncio.create_task(door.call(await door.of_operator(), "manage_session", gone))
        await done.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        go.set()
        assert (await call(client, "manage_session", **gone))["results"] == "Session 'One' deleted"


async def test_what_nobody_can_ask_for_again_is_not_remembered(home: Home, free_port: Callable[[], int]) -> None:
    async with running(home, free_port) as gateway, over_http(gateway) as client:
        for key in ({}, {"idempotency_key": "one"}, {}):
            assert "results" in await call(client, "manage_session", action="list", **key)
        assert len(gateway.parts.door._done) == 1
