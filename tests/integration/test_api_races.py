"""The interface where two come at once, where a client has gone, and where an answer cannot be waited for."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import openai
import pytest
from aiohttp import web

from config import GatewayConfig, Home, LiveConfig
from gateway.access import People
from gateway.api import service, sse
from gateway.api.keys import Keys
from gateway.api.ledger import Asked
from gateway.clock import SystemClock
from gateway.erasure import EraseError, Eraser
from gateway.inbox import Inbox
from gateway.ports import (
    Agent,
    AgentCapabilities,
    AgentEvent,
    AgentTurn,
    Done,
    InboundMessage,
    StorageBusyError,
    Text,
)
from gateway.session.text import flatten_text
from gateway.storage.database import Database
from tests.support.api import KEY, api_gateway, ask


class Held(Agent):
    """Says what was said, once it is let go on."""

    capabilities = AgentCapabilities()

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.begun = asyncio.Event()

    async def start(self) -> None:
        return

    async def run(self, turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        self.begun.set()
        await self.go_on.wait()
        yield Text(flatten_text(turn.inputs[-1]["content"]))
        yield Done()

    async def close(self) -> None:
        return


def _busy(_inbox: Inbox, _message: InboundMessage, *, operator: bool) -> NoReturn:
    del operator
    raise StorageBusyError("too much waits to be stored")


class Later(SystemClock):
    """Two days on."""

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(days=2)


async def test_a_client_that_has_left_takes_no_place(
    home: Home, free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "LOOK_SECONDS", 0.02)
    agent = Held()
    async with api_gateway(home, free_port(), given={"held": agent}, http={"max_waiting": 1}) as gateway:
        leaving = asyncio.create_task(gateway.post("/v1/chat/completions", ask("x", "held"), Idempotency_Key="k"))
        await agent.begun.wait()
        leaving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await leaving
        parts = gateway.daemon._parts
        assert parts is not None
        async with asyncio.timeout(5):
            while parts.http.service.waiting:
                await asyncio.sleep(0.01)
        agent.go_on.set()
        status, body = await gateway.post("/v1/chat/completions", ask("x", "held"), Idempotency_Key="k")
        assert (status, body["choices"][0]["message"]["content"]) == (200, "x")


async def test_a_key_that_two_requests_use_at_once_is_for_one_of_them(home: Home, free_port: Callable[[], int]) -> None:
    agent = Held()
    async with api_gateway(home, free_port(), given={"held": agent}) as gateway:
        asked = [
            asyncio.create_task(
                gateway.post("/v1/chat/completions", ask(text, "held"), Idempotency_Key="k", X_Hermes_Session_Id=text)
            )
            for text in ("one", "two")
        ]
        done, _rest = await asyncio.wait(asked, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        assert [task.result()[0] for task in done] == [422]
        agent.go_on.set()
        answers = await asyncio.gather(*asked)
        assert sorted(status for status, _ in answers) == [200, 422]
        for text, (status, body) in zip(("one", "two"), answers, strict=True):
            assert status == 422 or body["choices"][0]["message"]["content"] == text


async def test_of_two_that_go_on_from_one_response_at_once_one_is_refused(
    home: Home, free_port: Callable[[], int]
) -> None:
    agent = Held()
    agent.go_on.set()
    async with api_gateway(home, free_port(), given={"held": agent}) as gateway:
        _, first = await gateway.post("/v1/responses", {"model": "held", "input": "x"})
        agent.go_on.clear()
        body = {"model": "held", "previous_response_id": first["id"]}
        asked = [
            asyncio.create_task(gateway.post("/v1/responses", {**body, "input": text}, Idempotency_Key=text))
            for text in ("one", "one", "two")
        ]
        done, _rest = await asyncio.wait(asked, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        assert {task.result()[0] for task in done} == {409}
        agent.go_on.set()
        answers = await asyncio.gather(*asked)
    statuses = [status for status, _ in answers]
    assert statuses in ([200, 200, 409], [409, 409, 200])
    assert answers[0] == answers[1], "the same request got two answers"


async def test_an_answer_that_takes_too_long_in_a_stream_is_an_error_that_the_client_knows(
    home: Home, free_port: Callable[[], int]
) -> None:
    agent = Held()
    async with api_gateway(home, free_port(), given={"held": agent}, http={"answer_seconds": 0.2}) as gateway:
        async with openai.AsyncOpenAI(api_key=KEY, base_url=f"{gateway.url}/v1") as sdk:
            stream = await sdk.responses.create(model="held", input="x", stream=True)
            events = [event async for event in stream]
        agent.go_on.set()
    last = events[-1]
    assert last.type == "error"
    assert (last.code, last.sequence_number) == ("still_under_way", len(events) - 1)


class Joined(Held):
    """Takes what joins its turn once it is let go on, answers that, and holds the end of its answer back."""

    capabilities = AgentCapabilities(steering=True)

    def __init__(self) -> None:
        super().__init__()
        self.to_end = asyncio.Event()

    async def run(self, turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        yield Text("one")
        self.begun.set()
        await self.go_on.wait()
        for message in await turn.take_steering():
            yield Text(f", {flatten_text(message['content'])}")
        await self.to_end.wait()
        yield Text(", three")
        yield Done()


async def test_a_request_that_joins_a_running_turn_sees_its_answer_grow(
    home: Home, free_port: Callable[[], int]
) -> None:
    agent = Joined()
    async with api_gateway(home, free_port(), given={"joined": agent}, busy="steer") as gateway:
        client = openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0)
        headers = {"X-Hermes-Session-Id": "talk"}
        first = asyncio.create_task(gateway.post("/v1/chat/completions", ask("x", "joined"), **headers))
        await agent.begun.wait()
        async with client, asyncio.timeout(10):
            stream = await client.chat.completions.create(
                model="joined", messages=[{"role": "user", "content": "two"}], stream=True, extra_headers=headers
            )
            agent.go_on.set()
            said = ""
            async for chunk in stream:
                said += chunk.choices[0].delta.content or ""
                if said == "one, two":
                    agent.to_end.set()
        assert said == (await first)[1]["choices"][0]["message"]["content"] == "one, two, three"


@pytest.mark.parametrize("name", ["resp_bot", "chatcmpl-bot"])
async def test_what_a_program_has_named_is_kept_whatever_its_key_is_called(
    home: Home, free_port: Callable[[], int], name: str
) -> None:
    async with Database.open(home.database) as database:
        _, token = await Keys(database, LiveConfig(GatewayConfig()), SystemClock(), People()).create(name, ["chat"])
    async with api_gateway(home, free_port()) as gateway:
        headers = {"X_Hermes_Session_Id": "kept", "Authorization": f"Bearer {token}"}
        _, kept = await gateway.post("/v1/chat/completions", ask("x"), **headers)
        parts = gateway.daemon._parts
        assert parts is not None
        parts.http._clock = Later()
        await parts.http.prune_once(parts.eraser)
        session_id = kept["hermes"]["session_id"]
        assert session_id in {entry.session_id for entry in await parts.store.list_sessions()}
        (row,) = await parts.database.read("SELECT archived FROM sessions WHERE id = ?", (session_id,))
        assert not row["archived"]


class Refusing:
    """Deletes nothing so many times, and then what it is asked to."""

    def __init__(self, eraser: Eraser, times: int) -> None:
        self._eraser = eraser
        self._times = times

    async def erase(self, session_id: str) -> None:
        self._times -= 1
        if self._times >= 0:
            raise EraseError("its reply is still on its way")
        await self._eraser.erase(session_id)


async def test_a_session_that_cannot_be_removed_yet_is_removed_later(home: Home, free_port: Callable[[], int]) -> None:
    async with api_gateway(home, free_port()) as gateway:
        bodies = [(await gateway.post("/v1/chat/completions", ask("x")))[1] for _ in range(3)]
        parts = gateway.daemon._parts
        assert parts is not None
        parts.http._clock = Later()
        # It has the shape of one.
        eraser: Any = Refusing(parts.eraser, 1)
        left = []
        for _ in range(2):
            await parts.http.prune_once(eraser)
            rows = await parts.database.read("SELECT id FROM sessions")
            left.append({row["id"] for row in rows} & {body["hermes"]["session_id"] for body in bodies})
        assert [len(each) for each in left] == [1, 0]
        assert await parts.database.read("SELECT id FROM api_requests") == []


@pytest.mark.parametrize("removable", [True, False])
@pytest.mark.parametrize("headers", [{}, {"X_Hermes_Session_Id": "named"}])
async def test_a_key_is_for_a_new_request_once_the_answer_is_not_kept_any_more(
    home: Home, free_port: Callable[[], int], headers: dict[str, str], removable: bool
) -> None:
    async with api_gateway(home, free_port(), http={"answer_seconds": 5}) as gateway:
        _, first = await gateway.post("/v1/chat/completions", ask("x"), Idempotency_Key="k", **headers)
        parts = gateway.daemon._parts
        assert parts is not None
        parts.http._clock = parts.http.service._clock = Later()
        # It has the shape of one.
        eraser: Any = Refusing(parts.eraser, 0 if removable else 1)
        await parts.http.prune_once(eraser)
        status, body = await gateway.get(f"/v1/chat/completions/{first['id']}")
        assert (status, body["error"]["code"]) == (404, "not_found")
        answers = [
            await gateway.post("/v1/chat/completions", ask("y"), Idempotency_Key="k", **headers) for _ in range(2)
        ]
        assert [status for status, _ in answers] == [200, 200]
        assert {body["choices"][0]["message"]["content"] for _, body in answers} == {"y"}
        assert len({first["id"], *(body["id"] for _, body in answers)}) == 2


class At(SystemClock):
    """At one instant."""

    def __init__(self, instant: datetime) -> None:
        self._instant = instant

    def now(self) -> datetime:
        return self._instant


@pytest.mark.parametrize("begun", [False, True])
async def test_a_repeated_request_is_the_same_one_whenever_the_first_came(
    home: Home, free_port: Callable[[], int], begun: bool
) -> None:
    agent = Held()
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    async with api_gateway(home, free_port(), given={"held": agent}) as gateway:
        parts = gateway.daemon._parts
        assert parts is not None
        parts.http.service._clock = At(midnight - timedelta(seconds=1))
        first = asyncio.create_task(gateway.post("/v1/chat/completions", ask("x", "held"), Idempotency_Key="k"))
        await agent.begun.wait()
        if not begun:
            agent.go_on.set()
            await first
        bodies = []
        for later in (timedelta(), timedelta(hours=23)):
            parts.http.service._clock = At(midnight + later)
            again = asyncio.create_task(gateway.post("/v1/chat/completions", ask("x", "held"), Idempotency_Key="k"))
            await asyncio.sleep(0.05)
            agent.go_on.set()
            bodies.append((await again)[1])
        assert {body["id"] for body in bodies} == {(await first)[1]["id"]}


async def test_what_was_refused_can_be_asked_again_under_its_key(home: Home, free_port: Callable[[], int]) -> None:
    agent = Held()
    inbox = {"max_queued_per_session": 1}
    async with api_gateway(home, free_port(), given={"held": agent}, inbox=inbox) as gateway:

        async def post(text: str) -> tuple[int, dict[str, Any]]:
            headers = {"X_Hermes_Session_Id": "room", "Idempotency_Key": text}
            return await gateway.post("/v1/chat/completions", ask(text, "held"), **headers)

        first = asyncio.create_task(post("first"))
        await agent.begun.wait()
        second = asyncio.create_task(post("second"))
        parts = gateway.daemon._parts
        assert parts is not None
        async with asyncio.timeout(5):
            while not await parts.database.read("SELECT 1 FROM inbound WHERE text = 'second'"):
                await asyncio.sleep(0.01)
        refused = [await post("third") for _ in range(3)]
        assert [(status, body["error"]["code"]) for status, body in refused] == [(429, "rate_limit_exceeded")] * 3
        agent.go_on.set()
        assert [status for status, _ in await asyncio.gather(first, second)] == [200, 200]
        parts.http.service._refused.clear()  # as in another process
        answers = [await post("third") for _ in range(2)]
        assert [status for status, _ in answers] == [200, 200]
        assert answers[0] == answers[1]


class Stumbling(Held):
    """Fails at its second turn."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = 0
        self.go_on.set()

    async def run(self, turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        self.turns += 1
        if self.turns == 2:
            raise RuntimeError("once")
        async for event in super().run(turn):
            yield event


async def test_a_response_that_failed_can_be_asked_for_again(home: Home, free_port: Callable[[], int]) -> None:
    agent = Stumbling()
    async with api_gateway(home, free_port(), given={"held": agent}, turns={"attempts": 1}) as gateway:
        body: dict[str, Any] = {"model": "held", "input": "x"}
        _, first = await gateway.post("/v1/responses", body)
        body["previous_response_id"] = first["id"]
        for status in (502, 502):
            assert (await gateway.post("/v1/responses", body, Idempotency_Key="failed"))[0] == status
        async with gateway.session.post("/v1/responses", json=body, headers={"Idempotency-Key": "failed"}) as failed:
            request_id = failed.headers["X-Request-Id"]
        assert [(await gateway.post("/v1/responses", body))[0] for _ in range(2)] == [200, 409]
        assert (await gateway.post("/v1/responses", body, Idempotency_Key="failed"))[0] == 502
        assert (await gateway.get(f"/v1/responses/{request_id}"))[1]["status"] == "failed"
        assert agent.turns == 3


async def test_a_response_that_was_not_let_in_is_not_under_way(home: Home, free_port: Callable[[], int]) -> None:
    async with api_gateway(home, free_port(), access={"dm": "closed"}) as gateway:
        async with gateway.session.post("/v1/responses", json={"model": "echo", "input": "x"}) as refused:
            assert refused.status == 403
        status, body = await gateway.get(f"/v1/responses/{refused.headers['X-Request-Id']}")
        assert (status, body["error"]["code"]) == (403, "not_let_in")


async def test_a_response_that_could_not_be_taken_in_ends_no_conversation(
    home: Home, free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with api_gateway(home, free_port()) as gateway:
        _, first = await gateway.post("/v1/responses", {"model": "echo", "input": "one"})
        body = {"model": "echo", "input": "two", "previous_response_id": first["id"]}
        with monkeypatch.context() as patched:
            # The request is noted before its message is taken in: what comes between leaves the one without the other.
            patched.setattr(Inbox, "accept", _busy)
            async with gateway.session.post("/v1/responses", json=body) as refused:
                assert refused.status == 503
        assert (await gateway.get(f"/v1/responses/{refused.headers['X-Request-Id']}"))[0] == 404
        status, second = await gateway.post("/v1/responses", body)
        assert (status, second.get("status")) == (200, "completed")
        assert (await gateway.post("/v1/responses", body))[0] == 409


async def test_an_error_names_the_request_so_that_its_answer_can_be_had_later(
    home: Home, free_port: Callable[[], int]
) -> None:
    agent = Held()
    async with api_gateway(home, free_port(), given={"held": agent}, http={"answer_seconds": 1}) as gateway:
        body = {"model": "held", "input": "x"}
        async with gateway.session.post("/v1/responses", json=body) as late:
            assert late.status == 504
        agent.go_on.set()
        async with asyncio.timeout(5):
            while (await gateway.get(f"/v1/responses/{late.headers['X-Request-Id']}"))[1]["status"] != "completed":
                await asyncio.sleep(0.01)
        status, _ = await gateway.post("/v1/responses", {**body, "previous_response_id": late.headers["X-Request-Id"]})
        assert status == 200


async def test_a_response_that_was_refused_ends_no_conversation(home: Home, free_port: Callable[[], int]) -> None:
    async with api_gateway(home, free_port(), inbox={"max_message_chars": 50}) as gateway:

        async def post(text: str, previous: str | None = None, **headers: str) -> tuple[int, dict[str, Any]]:
            body = {"model": "echo", "input": text, "previous_response_id": previous}
            return await gateway.post("/v1/responses", body, **headers)

        _, first = await post("one")
        refused = [await post("x" * 51, first["id"], **named) for named in ({}, {}, {"Idempotency_Key": "k"})]
        assert [status for status, _ in refused] == [400] * 3
        status, second = await post("two", first["id"], Idempotency_Key="k")
        assert (status, second["output"][0]["content"][0]["text"]) == (200, "two")
        assert (await post("two", first["id"], Idempotency_Key="k"))[1] == second
        status, body = await post("three", first["id"])
        assert (status, body["error"]["code"]) == (409, "previous_response_not_last")


async def test_a_conversation_goes_on_where_the_clock_goes_back(home: Home, free_port: Callable[[], int]) -> None:
    now = datetime.now(UTC)
    async with api_gateway(home, free_port()) as gateway:
        parts = gateway.daemon._parts
        assert parts is not None

        async def post(text: str, previous: str | None, minutes: int) -> tuple[int, dict[str, Any]]:
            parts.http.service._clock = At(now + timedelta(minutes=minutes))
            body = {"model": "echo", "input": text, "previous_response_id": previous}
            return await gateway.post("/v1/responses", body)

        _, first = await post("one", None, 0)
        _, second = await post("two", first["id"], -10)
        status, body = await post("another", first["id"], -9)
        assert (status, body["error"]["code"]) == (409, "previous_response_not_last")
        status, third = await post("three", second["id"], -8)
        assert (status, third["output"][0]["content"][0]["text"]) == (200, "three")


async def test_two_do_not_go_on_from_one_response_where_one_is_noted_while_the_other_looks(
    home: Home, free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = Held()
    async with api_gateway(home, free_port(), given={"held": agent}) as gateway:
        parts = gateway.daemon._parts
        assert parts is not None
        agent.go_on.set()
        _, first = await gateway.post("/v1/responses", {"model": "held", "input": "one"})
        agent.go_on.clear()
        body = {"model": "held", "input": "two", "previous_response_id": first["id"]}
        ledger, room = parts.http.service._ledger, parts.http.service._room
        look, others = ledger.since, list[asyncio.Task[tuple[int, dict[str, Any]]]]()

        async def looked(asked: Asked) -> Sequence[str]:
            seen = await look(asked)
            if not others:
                others.append(asyncio.create_task(gateway.post("/v1/responses", body)))
                async with asyncio.timeout(5):
                    while not any(waiter.asked and waiter.asked.noted for waiter in room._waiters.values()):
                        await asyncio.sleep(0.01)
            return seen

        monkeypatch.setattr(ledger, "since", looked)
        late = asyncio.create_task(gateway.post("/v1/responses", body))
        await asyncio.wait([late], timeout=2)
        agent.go_on.set()
        assert [(await each)[0] for each in (*others, late)] == [200, 409]


async def test_a_session_that_somebody_pinned_stays(home: Home, free_port: Callable[[], int]) -> None:
    async with api_gateway(home, free_port()) as gateway:
        _, body = await gateway.post("/v1/chat/completions", ask("x"))
        parts = gateway.daemon._parts
        assert parts is not None
        session_id = body["hermes"]["session_id"]
        await parts.database.write(
            lambda connection: connection.execute("UPDATE sessions SET pinned = 1 WHERE id = ?", (session_id,)).rowcount
        )
        parts.http._clock = Later()
        await parts.http.prune_once(parts.eraser)
        assert await parts.database.read("SELECT id FROM sessions WHERE id = ?", (session_id,))
        assert await parts.database.read("SELECT id FROM api_requests") == []


@pytest.mark.parametrize("number", ["1e999", "-1e400"])
async def test_a_number_that_json_cannot_give_back_is_refused(
    home: Home, free_port: Callable[[], int], number: str
) -> None:
    tool = f'{{"type": "function", "name": "f", "parameters": {{"maximum": {number}}}}}'
    body = f'{{"model": "echo", "input": "x", "tools": [{tool}]}}'
    async with api_gateway(home, free_port()) as gateway:
        headers = {"Content-Type": "application/json"}
        async with gateway.session.post("/v1/responses", data=body, headers=headers) as response:
            answer = json.loads(await response.text(), parse_constant=pytest.fail)
            assert (response.status, answer["error"]["code"]) == (400, "invalid_json")


async def test_a_client_that_does_not_take_the_end_is_let_go() -> None:
    class Stalled(web.StreamResponse):
        async def write_eof(self, data: bytes = b"") -> None:
            await asyncio.Event().wait()

    async with asyncio.timeout(5):
        with pytest.raises(ConnectionError):
            await sse.EventWriter(Stalled(), named=False, seconds=0.01).end()
