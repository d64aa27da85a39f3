"""What comes live waits for what was missed before it, though not for ever."""

from dataclasses import replace

import pytest

from adapters.slack.positions import CHANNEL, Position
from adapters.testing.slack import Person, SlackServer
from tests.support.platform_host import FakeHost
from tests.support.slack import TIMING
from tests.unit.slack.support import built, running


async def test_nobody_waits_for_ever_for_a_history_without_an_answer(
    server: SlackServer, ann: Person, host: FakeHost, caplog: pytest.LogCaptureFixture
) -> None:
    chat = server.direct(ann)
    server.events.lose(2)
    before = ann.writes(chat, "before")
    host.positions[f"{CHANNEL}{chat.id}"] = Position(before.ts).dump()
    ann.writes(chat, "missed")
    gate = server.gate("conversations.history")
    async with running(built(server, host, timing=replace(TIMING, answer=20.0, hold=0.3)), host):
        await gate.reached.wait()
        ann.writes(chat, "live")
        await host.until(lambda: host.texts == ["live"])
        assert f"what comes in {chat.id} goes on before what was missed there" in caplog.text
        gate.open()
        await host.until(lambda: len(host.texts) >= 3)
        assert host.texts == ["live", "before", "missed"]
