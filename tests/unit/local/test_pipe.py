"""The chat of a script: what goes where, exit codes, restarts of the gateway, and input of every kind."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from adapters.local import chat
from adapters.local.pipe import REPEATED_MARK
from gateway.ports import InboundState
from tests.unit.local.support import FakeGateway, Store, Streams, delivery, echo, options


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s"


async def stream(text: str) -> AsyncIterator[str]:
    for piece in ("One ", "two ", f"three: {text}"):
        yield piece
        await asyncio.sleep(0.01)


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


async def run(path: Path, text: str | bytes, **changes: Any) -> tuple[int, Streams]:
    streams = Streams(text)
    async with asyncio.timeout(20):
        code = await chat(options(path, streams, **changes))
    return code, streams


async def test_each_line_is_a_message_and_waits_for_the_reply_before(path: Path) -> None:
    async with FakeGateway(path, script=stream) as gateway:
        code, streams = await run(path, "first\n\n   \nsecond\n")
    assert code == 0
    assert streams.out == "One two three: first\nOne two three: second\n"
    assert streams.err == ""
    assert gateway.store.texts == ["first", "second"]


@pytest.mark.parametrize(
    ("typed", "messages"),
    [
        ("a\\\nb\\\nc\n", ["a\nb\nc"]),
        ("ends\\", ["ends"]),
        ("path\\\\\nnext\n", ["path\\\\", "next"]),
        ("\\\n\\\n", []),
        ("no line end", ["no line end"]),
        ("windows\r\nlines\r\n", ["windows", "lines"]),
        (b"\xef\xbb\xbfmarked\n", ["marked"]),
        (b"caf\xe9 \xff\n", ["caf\N{REPLACEMENT CHARACTER} \N{REPLACEMENT CHARACTER}"]),
        ("before\n/quit\nafter\n", ["before"]),
        ("", []),
    ],
)
async def test_input_becomes_messages(path: Path, typed: str | bytes, messages: list[str]) -> None:
    async with FakeGateway(path, script=echo) as gateway:
        code, _ = await run(path, typed)
    assert code == 0
    assert gateway.store.texts == messages


async def test_one_message_from_the_command_line(path: Path) -> None:
    async with FakeGateway(path, script=echo) as gateway:
        code, streams = await run(path, "not read\n", message="two\nlines")
    assert (code, streams.out) == (0, "you said: two\nlines\n")
    assert gateway.store.texts == ["two\nlines"]


async def test_json_objects(path: Path) -> None:
    async with FakeGateway(path, script=stream):
        code, streams = await run(path, "héllo\n", json_mode=True)
    assert code == 0
    got = objects(streams.out)
    *deltas, message = got
    assert message == {"type": "message", "text": "One two three: héllo", "session_id": "s1", "turn_id": "t1"}
    assert {one["type"] for one in deltas} == {"delta"}
    assert "".join(one["text"] for one in deltas) == message["text"]
    assert len(deltas) > 1


async def one_message(path: Path, gateway: FakeGateway, **changes: Any) -> tuple["asyncio.Task[int]", Streams, str]:
    """A chat with one message that has arrived; returns it, its streams and the message's id."""
    streams = Streams("question\n")
    task = asyncio.create_task(chat(options(path, streams, **changes)))
    message = await asyncio.wait_for(gateway.host.arrived.get(), 5)
    return task, streams, message.message_id


async def test_a_text_that_was_replaced_is_marked_as_json(path: Path) -> None:
    async with FakeGateway(path) as gateway:
        task, streams, asked = await one_message(path, gateway, json_mode=True)
        await gateway.adapter.send(delivery(1, "wrong", final=False))
        await gateway.adapter.edit(delivery(1, "right", final=False))
        await gateway.adapter.edit(delivery(1, "right!", answers=(asked,)))
        assert await task == 0
    assert [(one["type"], one["text"], one.get("replace")) for one in objects(streams.out)] == [
        ("delta", "wrong", None),
        ("delta", "right", True),
        ("delta", "!", None),
        ("message", "right!", None),
    ]


async def test_notices_and_errors_go_to_standard_error(path: Path) -> None:
    async with FakeGateway(path) as gateway:
        task, streams, asked = await one_message(path, gateway)
        await gateway.adapter.send(delivery(1, "A new session began.", kind="notice"))
        await gateway.adapter.send(delivery(2, "The model is away.", kind="error", answers=(asked,)))
        assert await task == 1
    assert streams.out == ""
    assert streams.err == "A new session began.\nerror: The model is away.\n"


async def test_notices_and_errors_as_json(path: Path) -> None:
    async with FakeGateway(path) as gateway:
        task, streams, asked = await one_message(path, gateway, json_mode=True)
        await gateway.adapter.send(delivery(1, "A new session began.", kind="notice"))
        await gateway.adapter.send(delivery(2, "The model is away.", kind="error", answers=(asked,)))
        assert await task == 1
    assert [one["type"] for one in objects(streams.out)] == ["notice", "error"]


async def test_a_repeated_reply_says_so(path: Path) -> None:
    async with FakeGateway(path) as gateway:
        task, streams, asked = await one_message(path, gateway)
        await gateway.adapter.send(delivery(1, "again", repeated=True))
        await gateway.adapter.send(delivery(2, "mine", repeated=True, answers=(asked,)))
        assert await task == 0
    assert streams.out == f"{REPEATED_MARK}\nagain\nmine\n", "what this process asked, it has not shown before"


async def test_a_reply_to_somebody_else_stays_out_of_standard_output(path: Path) -> None:
    async with FakeGateway(path) as gateway:
        task, streams, asked = await one_message(path, gateway)
        await gateway.adapter.send(delivery(1, "for another terminal", answers=("other",)))
        await gateway.adapter.send(delivery(2, "mine", answers=(asked,)))
        assert await task == 0
    assert streams.out == "mine\n"
    assert "for another terminal" in streams.err


async def test_refused_messages_do_not_end_the_chat(path: Path) -> None:
    async with FakeGateway(path, script=echo) as gateway:
        gateway.host.refuse["no"] = "Too many messages wait."
        code, streams = await run(path, "no\nnul \0 here\n" + "x" * 600_000 + "\nyes\n")
    assert code == 1
    assert streams.out == "you said: yes\n"
    refused, nul, long = streams.err.splitlines()
    assert refused == "error: Too many messages wait."
    assert "NUL" in nul
    assert "longest permitted" in long
    assert len(long) < 300


async def test_a_refusal_is_one_object_as_json(path: Path) -> None:
    async with FakeGateway(path, script=echo) as gateway:
        gateway.host.refuse["no"] = "Too many messages wait."
        code, streams = await run(path, "no\nyes\n", json_mode=True)
    assert code == 1
    got = [(one["type"], one["text"]) for one in objects(streams.out)]
    assert got[0] == ("error", "Too many messages wait.")
    assert [kind for kind, _ in got].count("error") == 1
    assert got[-1] == ("message", "you said: yes")


async def test_a_refusal_that_no_delivery_tells_of_ends_the_wait(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.local.client.SETTLE_SECONDS", 0.1)
    async with FakeGateway(path, script=echo) as gateway:
        gateway.host.refuse["no"] = "never told"
        gateway.host.refused.put_nowait = lambda item: None  # type: ignore[method-assign]
        code, streams = await run(path, "no\nyes\n")
    assert (code, streams.out) == (1, "you said: yes\n")
    assert "hermes-gateway unanswered" in streams.err


async def test_an_endless_line_takes_no_endless_memory(path: Path) -> None:
    async with FakeGateway(path, script=echo):
        code, streams = await run(path, "x" * 5_000_000 + "\nafter\n")
    assert code == 1
    assert streams.out == "you said: after\n"


async def test_busy_storage_delays_and_loses_nothing(path: Path) -> None:
    async with FakeGateway(path, script=echo) as gateway:
        gateway.host.busy = 3
        code, streams = await run(path, "hello\n")
    assert (code, streams.out) == (0, "you said: hello\n")
    assert streams.err.count("Not stored yet") == 1
    assert gateway.store.texts == ["hello"]


async def test_no_gateway_is_said_in_one_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.local.client.FIRST_CONNECT_SECONDS", 0.2)
    code, streams = await run(path, "hello\n")
    assert code == 1
    assert streams.out == ""
    assert "hermes-gateway status" in streams.err
    assert streams.err.count("\n") == 1


async def test_a_gateway_that_is_not_ready_yet_is_waited_for(path: Path) -> None:
    async with FakeGateway(path, script=echo) as gateway:
        gateway.adapter._serving = False
        asyncio.get_running_loop().call_later(0.3, setattr, gateway.adapter, "_serving", True)
        code, streams = await run(path, "hello\n")
    assert (code, streams.out, streams.err) == (0, "you said: hello\n", "")


async def test_another_version_is_said_and_ends_the_chat(path: Path) -> None:
    async with FakeGateway(path, script=echo, version="9.9") as gateway:
        code, streams = await run(path, "hello\n")
    assert code == 1
    assert "9.9" in streams.err
    assert "1.2.3" in streams.err
    assert gateway.store.texts == []


async def test_a_reader_that_has_gone_ends_the_chat_quietly(path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    streams = Streams("one\ntwo\n")
    streams.stdout = os.fdopen(writing, "w", encoding="utf-8")
    async with FakeGateway(path, script=echo):
        assert await chat(options(path, streams)) == 0
    streams.stdout.close()
    assert streams.err == ""


async def test_a_reader_that_pages_slowly_gets_the_reply_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.local.client.HELD_SECONDS", 0.05)
    reading, writing = os.pipe()
    streams = Streams()
    streams.stdout = os.fdopen(writing, "w", encoding="utf-8")
    text = "y" * 300_000
    async with FakeGateway(path, script=echo, acknowledge_seconds=0.4) as gateway:
        task = asyncio.create_task(chat(options(path, streams, message=text)))
        await asyncio.sleep(1.0)
        assert not task.done()
        got = b""
        while len(got) < len(text) + 11:
            got += await asyncio.to_thread(os.read, reading, 65536)
        assert await task == 0
    assert got.decode() == f"you said: {text}\n"
    assert gateway.store.repeats == 0
    streams.stdout.close()
    os.close(reading)


# --- restarts of the gateway ---------------------------------------------------------------------------


async def test_a_restart_in_the_middle_of_a_reply(path: Path) -> None:
    store, streams = Store(), Streams("question\n")

    async def slow(text: str) -> AsyncIterator[str]:
        yield "The beginning"
        await asyncio.sleep(30)

    async def whole(text: str) -> AsyncIterator[str]:
        yield f"The answer to {text}"

    task = asyncio.create_task(chat(options(path, streams)))
    async with FakeGateway(path, store=store, script=slow) as gateway:
        await attached_some(gateway)
        await asyncio.sleep(0.1)
    async with FakeGateway(path, store=store, script=whole):
        assert await asyncio.wait_for(task, 10) == 0
    assert streams.out == "The answer to question\n"
    assert streams.err.count("connection to the gateway is lost") == 1
    assert store.texts == ["question"]


async def attached_some(gateway: FakeGateway) -> None:
    async with asyncio.timeout(5):
        while not gateway.adapter._attached:
            await asyncio.sleep(0.005)


def joined(objects_: list[dict[str, Any]]) -> str:
    """The deltas, from the last one that replaces those before it."""
    text = ""
    for one in objects_:
        if one["type"] == "delta":
            text = one["text"] if one.get("replace") else text + one["text"]
    return text


async def cut_short(path: Path, before: list[str], after: list[str]) -> list[dict[str, Any]]:
    """What a script gets of one reply whose gateway ends in the middle of it, and says `after` in its next life."""
    store, streams = Store(), Streams("question\n")
    task = asyncio.create_task(chat(options(path, streams, json_mode=True)))
    async with FakeGateway(path, store=store) as gateway:
        asked = (await asyncio.wait_for(gateway.host.arrived.get(), 5)).message_id
        await gateway.adapter.send(delivery(1, before[0], final=False))
        for text in before[1:]:
            await gateway.adapter.edit(delivery(1, text, final=False))
            await asyncio.sleep(0.02)
    async with FakeGateway(path, store=store) as gateway:
        await attached_some(gateway)
        for text in after:
            await gateway.adapter.edit(delivery(1, text, final=False))
            await asyncio.sleep(0.02)
        await gateway.adapter.edit(delivery(1, after[-1], answers=(asked,)))
        assert await asyncio.wait_for(task, 10) == 0
    return objects(streams.out)


async def test_a_turn_that_comes_to_the_same_words_again_takes_nothing_back(path: Path) -> None:
    got = await cut_short(
        path, ["One ", "One  two ", "One  two  three "], ["One ", "One  two ", "One  two  three  four "]
    )
    assert [one["text"] for one in got] == ["One ", " two ", " three ", " four ", "One  two  three  four "]
    assert not any(one.get("replace") for one in got)


async def test_a_turn_that_comes_to_other_words_says_so(path: Path) -> None:
    got = await cut_short(path, ["One ", "One  two "], ["One ", "One  too ", "One  too many "])
    assert [(one["text"], one.get("replace")) for one in got if one["type"] == "delta"] == [
        ("One ", None),
        (" two ", None),
        ("One  too ", True),
        ("many ", None),
    ]
    assert joined(got) == got[-1]["text"] == "One  too many "


async def test_a_turn_that_ends_with_less_than_was_shown_says_so(path: Path) -> None:
    got = await cut_short(path, ["One ", "One  two "], ["One "])
    assert [(one["type"], one["text"], one.get("replace")) for one in got][-2:] == [
        ("delta", "One ", True),
        ("message", "One ", None),
    ]


async def test_a_complete_reply_that_is_replaced_says_so(path: Path) -> None:
    store, streams = Store(), Streams("question\nnext\n")
    async with FakeGateway(path, store=store) as gateway:
        task = asyncio.create_task(chat(options(path, streams, json_mode=True)))
        asked = (await asyncio.wait_for(gateway.host.arrived.get(), 5)).message_id
        await gateway.adapter.send(delivery(1, "wrong", answers=(asked,)))
        second = (await asyncio.wait_for(gateway.host.arrived.get(), 5)).message_id
        await gateway.adapter.send(delivery(1, "right", answers=(asked,)))
        await gateway.adapter.send(delivery(2, "done", answers=(second,)))
        assert await asyncio.wait_for(task, 10) == 0
    assert [(one["type"], one["text"], one.get("replace")) for one in objects(streams.out)] == [
        ("message", "wrong", None),
        ("message", "right", True),
        ("message", "done", None),
    ]


async def test_an_object_is_one_line_for_every_reader(path: Path) -> None:
    async with FakeGateway(path, script=echo):
        code, streams = await run(path, "a\u2028b\u2029c\u0085d\x0be\x1ef\n", json_mode=True)
    assert code == 0
    assert objects(streams.out)[-1]["text"] == "you said: a\u2028b\u2029c\u0085d\x0be\x1ef"


async def test_a_lost_receipt_makes_no_second_turn(path: Path) -> None:
    """The message was stored, and the gateway died before it could say so."""
    store, streams = Store(), Streams("question\n")
    task = asyncio.create_task(chat(options(path, streams)))
    async with FakeGateway(path, store=store) as gateway:
        hold = asyncio.Event()
        accept = gateway.host.accept

        async def stuck(message: Any) -> Any:
            await accept(message)
            hold.set()
            await asyncio.sleep(30)

        gateway.host.accept = stuck  # type: ignore[method-assign]
        await asyncio.wait_for(hold.wait(), 5)
    async with FakeGateway(path, store=store, script=echo):
        assert await asyncio.wait_for(task, 10) == 0
    assert store.texts == ["question"]
    assert streams.out == "you said: question\n"


async def test_a_lost_acknowledgement_shows_nothing_twice(path: Path) -> None:
    """The reply was shown, and the gateway died before it knew: it sends the reply again."""
    store, streams = Store(), Streams("question\nnext\n")
    task = asyncio.create_task(chat(options(path, streams)))
    async with FakeGateway(path, store=store) as gateway:
        asked = (await asyncio.wait_for(gateway.host.arrived.get(), 5)).message_id
        gateway.adapter._note_shown = lambda *_: None  # type: ignore[method-assign]
        reply = delivery(1, "once", answers=(asked,))
        sending = asyncio.create_task(gateway.adapter.send(reply))
        await asyncio.sleep(0.2)
        sending.cancel()
        store.states[asked] = InboundState.ANSWERED
        store.outbox.append(reply)
    next(store.ids)
    async with FakeGateway(path, store=store, script=echo):
        assert await asyncio.wait_for(task, 10) == 0
    assert streams.out == "once\nyou said: next\n"
    assert store.repeats == 0


async def test_a_reply_that_was_not_shown_before_a_restart_comes_once_and_unmarked(path: Path) -> None:
    store, streams = Store(), Streams("question\n")
    task = asyncio.create_task(chat(options(path, streams)))
    async with FakeGateway(path, store=store) as gateway:
        asked = (await asyncio.wait_for(gateway.host.arrived.get(), 5)).message_id
        await asyncio.sleep(0.05)
        store.states[asked] = InboundState.ANSWERED
        store.outbox.append(delivery(1, "late", answers=(asked,)))
    async with FakeGateway(path, store=store, script=echo):
        assert await asyncio.wait_for(task, 10) == 0
    assert streams.out == "late\n"
    assert store.repeats == 0


async def test_an_answer_given_to_another_terminal_ends_the_wait(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.local.client.SETTLE_SECONDS", 0.2)
    store, streams = Store(), Streams("question\n")
    task = asyncio.create_task(chat(options(path, streams)))
    async with FakeGateway(path, store=store) as gateway:
        asked = (await asyncio.wait_for(gateway.host.arrived.get(), 5)).message_id
        store.states[asked] = InboundState.ANSWERED
    async with FakeGateway(path, store=store):
        assert await asyncio.wait_for(task, 10) == 0
    assert "another terminal" in streams.err


async def test_a_gateway_that_stays_away_is_given_up(path: Path) -> None:
    streams = Streams("question\n")
    task = asyncio.create_task(chat(options(path, streams, patience=0.3)))
    async with FakeGateway(path) as gateway:
        await asyncio.wait_for(gateway.host.arrived.get(), 5)
    assert await asyncio.wait_for(task, 10) == 1
    assert "cannot be reached" in streams.err


@pytest.mark.parametrize("seed", range(3))
async def test_restarts_at_any_moment_lose_and_repeat_nothing(path: Path, seed: int) -> None:
    """The gateway dies again and again, at moments that differ; each question gets one answer, in order."""
    store, streams = Store(), Streams("".join(f"question {number}\n" for number in range(12)))
    task = asyncio.create_task(chat(options(path, streams)))
    lives = 0
    while not task.done():
        async with FakeGateway(path, store=store, script=stream, acknowledge_seconds=1):
            lives += 1
            await asyncio.wait({task}, timeout=0.03 + 0.017 * ((seed * 7 + lives * 5) % 11) if lives < 12 else 20)
    assert await task == 0
    assert streams.out == "".join(f"One two three: question {number}\n" for number in range(12))
    assert lives > 3


async def test_a_line_terminal_has_a_prompt_and_says_who_answers(path: Path) -> None:
    async with FakeGateway(path, script=echo):
        code, streams = await run(path, "hi\n", interactive=True, environ={"TERM": "dumb"})
    assert code == 0
    assert streams.out.startswith("The agent is echo")
    assert "> you said: hi\n> " in streams.out
