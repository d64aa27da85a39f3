"""Webhooks and messages of scripts, through a gateway that runs: who is let in, what is taken once, where it goes."""

import asyncio
import hashlib
import hmac
import json
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from config import Home, Platform, PlatformConfig
from gateway.api import hook_routes, sending
from gateway.api.signatures import FORMS
from gateway.daemon import Daemon
from gateway.ports import Adapter, AdapterHost, AdapterState, Agent, Capabilities, Delivery
from gateway.session.text import flatten_text
from tests.support.api import ApiGateway, api_gateway
from tests.support.fakes import FakeAgent

SECRET = "a secret of the tests, long enough"
ROOT = Path(__file__).resolve().parents[2]


def signed(body: bytes, at: float | None = None, secret: str = SECRET) -> dict[str, str]:
    stamp = str(int(time.time() if at is None else at))
    digest = hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {"X-Timestamp": stamp, "X-Signature": digest, "Content-Type": "application/json"}


def github(body: bytes, delivery: str | None = None) -> dict[str, str]:
    digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    headers = {"X-Hub-Signature-256": f"sha256={digest}", "Content-Type": "application/json"}
    return headers if delivery is None else {**headers, "X-GitHub-Delivery": delivery}


HOOKS: dict[str, Any] = {
    "ci": {"secret": SECRET, "prompt": "{text}", "per_minute": 1_000},
    "github": {
        "secret": SECRET,
        "signature": "github",
        "prompt": "{text}",
        "filters": {"action": ["opened"]},
        "target": "telegram:-100:7",
    },
    "small": {"secret": SECRET, "prompt": "{text}", "max_body_kb": 1, "per_minute": 2},
    "slack": {"secret": SECRET, "signature": "slack", "prompt": "{text}"},
    "open": {"signature": "none", "prompt": "{text}"},
}


class Chat(Adapter):
    """A platform whose messages can be looked at."""

    capabilities = Capabilities()

    def __init__(self, _config: PlatformConfig, host: AdapterHost) -> None:
        self._host = host

    sent: list[Delivery] = []  # noqa: RUF012 - each test has a class of its own

    async def run(self) -> None:
        self._host.set_state(AdapterState.CONNECTED)
        await asyncio.Event().wait()

    async def send(self, delivery: Delivery) -> str:
        self.sent.append(delivery)
        return str(delivery.id)


@pytest.fixture
def agent() -> FakeAgent:
    return FakeAgent()


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> type[Chat]:
    """Takes Telegram's place in every gateway of the test."""
    own = type("OwnChat", (Chat,), {"sent": []})
    init = Daemon.__init__

    def build(daemon: Daemon, *args: Any, **more: Any) -> None:
        init(daemon, *args, **{**more, "adapters": {"telegram": own}})

    monkeypatch.setattr(Daemon, "__init__", build)
    return own


def run(home: Home, port: int, agent: Agent, **config: Any) -> Any:
    platforms = {"telegram": {"token": "1:a", "home_channel": {"chat_id": "42", "name": "ops"}}}
    return api_gateway(
        home, port, given={"echo": agent}, agent="echo", webhooks=HOOKS, **{"platforms": platforms, **config}
    )


@pytest.fixture
async def gateway(
    home: Home, free_port: Callable[[], int], agent: FakeAgent, chat: type[Chat]
) -> AsyncIterator[ApiGateway]:
    del chat
    async with run(home, free_port(), agent) as running:
        yield running


async def post(gateway: ApiGateway, name: str, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
    # Nothing that a webhook carries is a key of ours.
    async with gateway.session.post(
        f"/webhooks/{name}", data=body, headers={"Authorization": "", **headers}
    ) as response:
        return response.status, await response.json()


async def until(done: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not done():
            await asyncio.sleep(0.01)


def asked(agent: FakeAgent) -> list[str]:
    return [flatten_text(turn.inputs[-1]["content"]).split("\n")[0] for turn in agent.turns]


# --- who is let in -------------------------------------------------------------------------------------------


async def test_each_request_that_is_not_right_gets_its_status(gateway: ApiGateway, agent: FakeAgent) -> None:
    body = b'{"text": "hello"}'
    now = time.time()
    cases: list[tuple[str, bytes, dict[str, str], int, str]] = [
        ("ci", body, {"Content-Type": "application/json"}, 401, "signature_missing"),
        ("ci", body, signed(body, secret="another secret, as long"), 401, "signature_wrong"),
        ("ci", body + b" ", signed(body), 401, "signature_wrong"),
        ("ci", body, signed(body, now - 330), 401, "timestamp_too_far"),
        ("ci", body, signed(body, now + 330), 401, "timestamp_too_far"),
        ("ci", b"nope", signed(b"nope"), 400, "invalid_json"),
        ("ci", b"[1]", signed(b"[1]"), 400, "invalid_json"),
        ("ci", body, {**signed(body), "Content-Type": "text/plain"}, 415, "unsupported_media_type"),
        ("ci", body, {**signed(body), "Host": "evil.example"}, 421, "wrong_host"),
        ("open", body, {"Content-Type": "application/json", "Host": "evil.example"}, 421, "wrong_host"),
        ("ci", body, {**signed(body), "Content-Encoding": "gzip"}, 400, "invalid_body"),
        ("nobody", body, signed(body), 404, "webhook_not_found"),
        ("CI", body, signed(body), 404, "webhook_not_found"),
        ("small", b"x" * 1_025, signed(b""), 413, "body_too_large"),
        ("github", body, signed(body), 401, "signature_missing"),
    ]
    for name, sent, headers, status, code in cases:
        found, answer = await post(gateway, name, sent, headers)
        assert (found, answer["error"]["code"]) == (status, code), (name, headers)
    async with gateway.session.get("/webhooks/ci") as response:
        assert response.status == 405
    assert agent.turns == []


async def test_a_401_says_how_to_be_let_in(gateway: ApiGateway) -> None:
    async with gateway.session.post("/webhooks/ci", json={}) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith("Signature")


async def test_a_body_without_a_length_is_bounded_and_a_slow_one_is_not_waited_for(
    home: Home, free_port: Callable[[], int], agent: FakeAgent, chat: type[Chat], monkeypatch: pytest.MonkeyPatch
) -> None:
    del chat
    monkeypatch.setattr(hook_routes.HookRoutes.__init__, "__kwdefaults__", {"body_seconds": 0.2})

    async def pieces(seconds: float) -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 100
            await asyncio.sleep(seconds)

    async with run(home, free_port(), agent) as gateway:
        for seconds, status in ((0.0, 413), (0.1, 408)):
            head = "POST /webhooks/small HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            host, port = gateway.url.removeprefix("http://").split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())

            async def feed(to: asyncio.StreamWriter = writer, pause: float = seconds) -> None:
                async for piece in pieces(pause):
                    to.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")

            feeding = asyncio.create_task(feed())
            line = await asyncio.wait_for(reader.readline(), 10)
            feeding.cancel()
            writer.close()
            assert f" {status} ".encode() in line
    assert agent.turns == []


# --- what is taken once --------------------------------------------------------------------------------------


async def test_a_request_that_is_repeated_makes_no_second_turn_not_even_after_a_restart(
    home: Home, free_port: Callable[[], int], agent: FakeAgent, chat: type[Chat]
) -> None:
    body = b'{"text": "hello", "action": "opened"}'
    async with run(home, free_port(), agent) as gateway:
        many = await asyncio.gather(*(post(gateway, "github", body, github(body, "d1")) for _ in range(5)))
        assert sorted(status for status, _ in many) == [200] * 4 + [202]
        assert len({answer["id"] for _, answer in many}) == 1
        replayed = await post(gateway, "github", body, github(body, "d2"))
        await until(lambda: chat.sent)
    async with run(home, free_port(), agent) as gateway:
        again = await post(gateway, "github", body, github(body, "d1"))
        late = await post(gateway, "github", body, github(body, "d3"))
        without = await post(gateway, "github", body, github(body))
        # The inbox forgets its ids after a while; what was signed is known for longer.
        with closing(sqlite3.connect(home.database)) as connection:
            connection.execute("PRAGMA foreign_keys = OFF")
            connection.execute("DELETE FROM inbound")
            connection.commit()
        forgotten = await post(gateway, "github", body, github(body, "d1"))
        fresh = await post(gateway, "github", body + b" ", github(body + b" ", "d9"))
        await until(lambda: len(chat.sent) == 2)
    assert (again[0], forgotten[0], fresh[0]) == (200, 200, 202)
    assert again[1]["status"] == forgotten[1]["status"] == "duplicate"
    assert [(status, answer["error"]["code"]) for status, answer in (replayed, late, without)] == [
        (409, "replayed")
    ] * 3
    assert len(agent.turns) == 2


async def test_the_same_id_is_taken_once_however_it_is_signed(gateway: ApiGateway, agent: FakeAgent) -> None:
    now = time.time()
    body = b'{"text": "hello"}'
    first = await post(gateway, "ci", body, {**signed(body, now), "Idempotency-Key": "a"})
    retry = await post(gateway, "ci", body, {**signed(body, now - 1), "Idempotency-Key": "a"})
    replayed = await post(gateway, "ci", body, {**signed(body, now - 1), "Idempotency-Key": "b"})
    fresh = await post(gateway, "ci", body, {**signed(body, now - 2), "Idempotency-Key": "c"})
    assert [status for status, _ in (first, retry, replayed, fresh)] == [202, 200, 409, 202]
    await until(lambda: len(agent.turns) == 2)


async def test_what_is_accepted_is_on_disk_before_it_is_said(gateway: ApiGateway, home: Home) -> None:
    body = b'{"text": "hello"}'
    status, answer = await post(gateway, "ci", body, signed(body))
    with closing(sqlite3.connect(home.database)) as connection:
        (row,) = connection.execute("SELECT message_id, text FROM inbound WHERE platform = 'webhook'").fetchall()
    assert status == 202
    assert row[0] == answer["id"]
    assert row[1].startswith("> hello")


async def test_more_than_a_minute_s_are_told_to_come_later_and_can(
    gateway: ApiGateway, agent: FakeAgent, home: Home
) -> None:
    bodies = [f'{{"text": "{number}"}}'.encode() for number in range(3)]
    headers = [signed(body) for body in bodies]
    answers = [await post(gateway, "small", body, each) for body, each in zip(bodies, headers, strict=True)]
    assert [status for status, _ in answers] == [202, 202, 429]
    assert (await post(gateway, "small", bodies[0], headers[0]))[1]["status"] == "duplicate"
    # What was not taken is not kept either: whoever reaches a webhook that is not signed could fill the disk.
    with closing(sqlite3.connect(home.database)) as connection:
        assert connection.execute("SELECT count(*) FROM webhook_calls").fetchone() == (2,)
    wrong = await post(gateway, "small", b"{}", signed(b"{}", secret="another secret, as long"))
    assert wrong[0] == 401
    await until(lambda: len(agent.turns) == 2)


# --- where it goes -------------------------------------------------------------------------------------------


async def test_the_answer_goes_to_the_target_and_the_session_is_the_webhook_s_own(
    gateway: ApiGateway, chat: type[Chat], agent: FakeAgent, home: Home
) -> None:
    body = json.dumps({"text": "/stop\nhi", "action": "opened"}).encode()
    assert (await post(gateway, "github", body, github(body, "d1")))[0] == 202
    await until(lambda: chat.sent)
    (delivery,) = chat.sent
    assert (delivery.target.chat_id, delivery.target.thread_id) == ("-100", "7")
    (turn,) = agent.turns
    assert flatten_text(turn.inputs[-1]["content"]).startswith("> /stop\n> hi\n\n[This comes from the webhook github.")
    with closing(sqlite3.connect(home.database)) as connection:
        (slot,) = connection.execute("SELECT chat_type, chat, participant FROM slots").fetchall()
    assert slot == ("channel", "-100", "webhook:github")


async def test_what_does_not_fit_a_filter_is_acknowledged_and_left_alone(
    gateway: ApiGateway, agent: FakeAgent, home: Home
) -> None:
    body = b'{"zen": "x"}'
    assert await post(gateway, "github", body, github(body)) == (200, {"status": "ignored", "id": None})
    with closing(sqlite3.connect(home.database)) as connection:
        assert connection.execute("SELECT count(*) FROM inbound").fetchone() == (0,)
    assert agent.turns == []


async def test_slack_is_told_its_challenge_only_if_it_is_slack(gateway: ApiGateway) -> None:
    body = b'{"type": "url_verification", "challenge": "abc"}'
    stamp = str(int(time.time()))
    content = FORMS["slack"].content(b"", stamp.encode(), body)
    digest = hmac.new(SECRET.encode(), content, hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": "application/json",
        "X-Slack-Request-Timestamp": stamp,
        "X-Slack-Signature": f"v0={digest}",
    }
    assert (await post(gateway, "slack", body, headers))[1]["challenge"] == "abc"
    status, answer = await post(gateway, "slack", body, {**headers, "X-Slack-Signature": "v0=" + "0" * 64})
    assert status == 401
    assert "abc" not in json.dumps(answer)


async def test_a_target_whose_platform_is_off_is_told(
    home: Home, free_port: Callable[[], int], agent: FakeAgent, chat: type[Chat]
) -> None:
    del chat
    body = b'{"text": "hello", "action": "opened"}'
    async with run(home, free_port(), agent, platforms={}) as gateway:
        status, answer = await post(gateway, "github", body, github(body, "d1"))
        own, _ = await post(gateway, "open", body, {"Content-Type": "application/json"})
    assert (status, answer["error"]["code"]) == (503, "target_off")
    assert own == 202


async def test_who_is_kept_out_by_the_policy_is_told(
    home: Home, free_port: Callable[[], int], agent: FakeAgent, chat: type[Chat]
) -> None:
    del chat
    body = b'{"text": "hello"}'
    async with run(home, free_port(), agent, access={"group": "closed"}) as gateway:
        status, answer = await post(gateway, "ci", body, signed(body))
    assert (status, answer["error"]["code"]) == (403, "not_let_in")
    assert agent.turns == []


# --- messages that are sent ----------------------------------------------------------------------------------


async def test_a_program_sends_a_message_once(gateway: ApiGateway, chat: type[Chat], agent: FakeAgent) -> None:
    body = {"target": "telegram:7:9", "text": "done"}
    answers = [await gateway.post("/api/send", body, Idempotency_Key="k") for _ in range(2)]
    assert answers == [
        (202, {"status": "accepted", "target": "telegram:7:9"}),
        (200, {"status": "duplicate", "target": "telegram:7:9"}),
    ]
    other, _ = await gateway.post("/api/send", {**body, "text": "other"}, Idempotency_Key="k")
    assert other == 422
    assert (await gateway.post("/api/send", {"target": "telegram", "text": "home"}))[1]["target"] == "telegram:42"
    await until(lambda: len(chat.sent) == 2)
    assert [(each.target.chat_id, each.target.thread_id, each.text) for each in chat.sent] == [
        ("7", "9", "done"),
        ("42", None, "home"),
    ]
    assert agent.turns == []


async def test_one_id_is_good_for_a_message_to_each_target(gateway: ApiGateway, chat: type[Chat]) -> None:
    targets = ["telegram:7", "telegram:8", "telegram:8:9", "telegram"]
    for expected in (202, 200):
        for target in targets:
            status, _ = await gateway.post("/api/send", {"target": target, "text": "done"}, Idempotency_Key="k")
            assert status == expected
    await until(lambda: len(chat.sent) == len(targets))
    reached = {(each.target.chat_id, each.target.thread_id) for each in chat.sent}
    assert reached == {("7", None), ("8", None), ("8", "9"), ("42", None)}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"target": "telegram:7", "text": " "}, 400),
        ({"target": "telegram:7", "text": 7}, 400),
        ({"target": "telegram:7"}, 400),
        ({"target": "nowhere:7", "text": "x"}, 400),
        ({"target": "discord:7", "text": "x"}, 400),
        ({"target": "telegram:", "text": "x"}, 400),
        ({"target": "telegram::7", "text": "x"}, 400),
        ({"target": "x" * 201, "text": "x"}, 400),
        ({"target": "telegram:7", "text": "x" * 100_001}, 400),
    ],
)
async def test_what_cannot_be_sent_is_refused(gateway: ApiGateway, body: dict[str, Any], status: int) -> None:
    assert (await gateway.post("/api/send", body))[0] == status


@pytest.mark.parametrize("target", ["api_server", "api_server:laptop", "webhook:ci"])
async def test_nothing_is_sent_to_where_nobody_sees_it(
    home: Home, free_port: Callable[[], int], agent: FakeAgent, target: str
) -> None:
    sections = {name: {"home_channel": {"chat_id": "1"}} for name in ("api_server", "webhook")}
    async with run(home, free_port(), agent, platforms=sections) as gateway:
        status, answer = await gateway.post("/api/send", {"target": target, "text": "x"})
    assert (status, answer["error"]["message"].endswith("there are local")) == (400, True)


async def test_sending_takes_a_key_for_it(gateway: ApiGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"target": "telegram:7", "text": "x"}
    made = await gateway.daemon._parts.http.keys.serve({"op": "keys.create", "name": "chatty", "scopes": ["chat"]})  # type: ignore[union-attr]
    sender = await gateway.daemon._parts.http.keys.serve({"op": "keys.create", "name": "sender", "scopes": ["send"]})  # type: ignore[union-attr]
    for token, status in ((None, 401), ("nonsense", 401), (made["key"]["token"], 403), (sender["key"]["token"], 202)):
        answer = await gateway.post("/api/send", body, Authorization=f"Bearer {token}")
        assert answer[0] == status
    monkeypatch.setattr(sending, "PER_MINUTE", 1)
    assert (await gateway.post("/api/send", body))[0] == 202
    assert (await gateway.post("/api/send", body))[0] == 429


async def _command(home: Home, *words: str, text: bytes = b"") -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "hermes_gateway.py"),
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PATH": "/usr/bin:/bin", "HERMES_GATEWAY_HOME": str(home.path)},
    )
    output, _ = await asyncio.wait_for(process.communicate(text), 60)
    return process.returncode or 0, output.decode()


async def test_a_script_sends_what_is_piped_in(gateway: ApiGateway, chat: type[Chat], home: Home) -> None:
    piped = await _command(home, "send", "--to", "telegram", "--once", "a", text="grün\nzwei\n".encode())
    again = await _command(home, "send", "--to", "telegram", "--once", "a", "--json", text="grün\nzwei\n".encode())
    spoken = await _command(home, "send", "--to", "telegram:5", "two", "words")
    nowhere = await _command(home, "send", "--to", "slack:C1", "x")
    nothing = await _command(home, "send", "--to", "telegram")
    assert piped == (0, "On its way to telegram:42.\n")
    assert (again[0], json.loads(again[1])["status"]) == (0, "duplicate")
    assert spoken[0] == 0
    assert (nowhere[0], "there is no platform 'slack'" in nowhere[1]) == (1, True)
    assert (nothing[0], "there is nothing to send" in nothing[1]) == (1, True)
    await until(lambda: len(chat.sent) == 2)
    assert [each.text for each in chat.sent] == ["grün\nzwei", "two words"]
    assert [str(each.target.platform) for each in chat.sent] == [Platform.TELEGRAM] * 2


async def test_a_script_is_told_that_no_gateway_runs(home: Home) -> None:
    code, words = await _command(home, "send", "--to", "telegram:5", "x")
    assert code == 1
    assert "no gateway runs" in words
