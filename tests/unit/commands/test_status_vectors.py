"""What /status and /usage tell, by the cases that are known for them."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.ports import Usage
from tests.support.fakes import FakeAdapter, FakeAgent, Pause, core
from tests.unit.commands.support import Chat, chatting

VECTORS = Path(__file__).parents[2] / "vectors" / "status_usage.json"
CASES: dict[str, dict[str, Any]] = {case["id"]: case for case in json.loads(VECTORS.read_text("utf-8"))["cases"]}


async def test_a_turn_that_died_with_its_process_does_not_count_as_running(tmp_path: Path) -> None:
    expected = CASES["status_usage-001"]["expected"]
    adapter, pause = FakeAdapter(), Pause()
    async with core(tmp_path, FakeAgent(pause, resumable=False), adapter) as gateway:
        chat = Chat(gateway, adapter)
        await chat.write("question")
        await pause.reached.wait()
        await gateway.die()
    async with core(tmp_path, FakeAgent(resumable=False), adapter) as gateway:
        await gateway.settled()
        chat = Chat(gateway, adapter)
        await chat.write("/status", "later")
        await gateway.settled()
        told = adapter.texts()[-1]
        assert ("now: answering" in told) is expected["agent_running"]
        assert "now: idle" in told


@pytest.mark.parametrize("case", ["status_usage-002"])
async def test_usage_adds_up_and_an_unknown_cost_stays_unknown(tmp_path: Path, case: str) -> None:
    expected = CASES[case]["expected"]
    async with chatting(tmp_path) as chat:
        entry = await chat.gateway.store.get_or_create_session(chat.source)
        usage = Usage(expected["input_tokens"], expected["output_tokens"], model=expected["model"])
        await chat.gateway.store.append_turn(entry.session_id, [{"role": "user", "content": "a"}], usage=usage)
        told = await chat.says("/usage")
        for line in (
            f"in: {expected['input_tokens']} tokens",
            f"out: {expected['output_tokens']} tokens",
            f"together: {expected['total_tokens']} tokens",
            f"model: {expected['model']}",
        ):
            assert f"- {line}" in told
        assert expected["estimated_cost"] is None
        assert "cost: not known" in told
