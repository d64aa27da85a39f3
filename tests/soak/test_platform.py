"""The soak's platform sees what is wrong."""

import random
from pathlib import Path
from typing import Any

import pytest

from tests.soak.child import answer_to
from tests.soak.platform import Platform, Weather


@pytest.fixture
async def platform(tmp_path: Path) -> Platform:
    return Platform(tmp_path / "unused", random.Random(1))


def told(number: int, text: str, *answers: str, **more: Any) -> dict[str, Any]:
    delivery = {"id": number, "chat": "7", "text": text, "final": True, "message_id": None, "repeated": False}
    return {**delivery, "answers": answers, **more}


async def test_what_is_right(platform: Platform) -> None:
    first, command = platform.write("7", "m1 short"), platform.write("7", "/new")
    sent = platform._call("send", told(1, "That ", final=False))
    assert platform._call("find", told(1, "")) == sent
    assert platform._call("find", told(2, "")) == {"message_id": None}
    platform._call("edit", told(1, answer_to("m1 short"), first.id, **sent))
    platform._call("edit", told(1, answer_to("m1 short"), first.id, **sent))
    platform._call("send", told(2, "A new conversation.", command.id))
    assert platform.wrong == []
    assert platform.unanswered == []


async def test_a_repeat_is_marked(platform: Platform) -> None:
    message = platform.write("7", "m1 short")
    platform._call("send", told(1, answer_to(message.text), message.id))
    platform._call("send", told(1, answer_to(message.text), message.id, repeated=True))
    assert (platform.wrong, platform.repeated) == ([], 1)
    platform._call("send", told(1, answer_to(message.text), message.id))
    assert [fault.partition(":")[0] for fault in platform.wrong] == ["repeated", "doubled"]


async def test_order_within_a_chat(platform: Platform) -> None:
    first, second = platform.write("7", "/one"), platform.write("7", "/two")
    platform._call("send", told(1, "two", second.id))
    platform._call("send", told(2, "one", first.id))
    assert [fault.partition(":")[0] for fault in platform.wrong] == ["order", "order"]


async def test_other_words_than_the_agents(platform: Platform) -> None:
    message = platform.write("7", "m1 short")
    platform._call("send", told(1, "Something else.", message.id))
    assert [fault.partition(":")[0] for fault in platform.wrong] == ["differs"]


async def test_edits_of_what_is_complete_or_anothers(platform: Platform) -> None:
    sent = platform._call("send", told(1, "done"))
    platform._call("edit", told(1, "done, and more", **sent))
    platform._call("edit", told(2, "mine", **sent))
    assert [fault.partition(":")[0] for fault in platform.wrong] == ["changed", "invented"]


async def test_refused_by_the_gateway(platform: Platform) -> None:
    message = platform.write("7", "m1 short")
    platform._note_accepted(message.id, "refused")
    assert [fault.partition(":")[0] for fault in platform.wrong] == ["refused"]


async def test_weather(platform: Platform) -> None:
    platform.weather = Weather(later=1.0)
    assert platform._call("send", told(1, "one")) == {"error": "later"}
    platform.weather = Weather(unknown=1.0)
    assert platform._call("send", told(1, "one")) == {"error": "unknown"}
    assert platform._call("find", told(1, "one"))["message_id"] is not None
    assert platform.wrong == []
