"""The main job, with the real program and the real model: a chat that streams, remembers, and survives a restart."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gateway.agents.local_process import LocalServer, LocalServerSettings, find_model
from gateway.clock import SystemClock
from tests.support.recording_proxy import RecordingProxy

pytestmark = pytest.mark.model

ROOT = Path(__file__).resolve().parents[2]


@pytest_asyncio.fixture
async def model(tmp_path: Path) -> AsyncIterator[RecordingProxy]:
    server = LocalServer(LocalServerSettings(find_model(), 4096), tmp_path, SystemClock())
    await server.ensure()
    try:
        async with RecordingProxy(server.base_url, server.api_key) as proxy:
            yield proxy
    finally:
        await server.stop()


def write_config(home: Path, base_url: str) -> None:
    home.mkdir(mode=0o700, exist_ok=True)
    (home / "gateway.yaml").write_text(
        "agent: assistant\n"
        "agents:\n"
        "  assistant:\n"
        "    type: model\n"
        "    model: openai:SmolLM2-135M-Instruct\n"
        f"    base_url: {base_url}\n"
        "    max_output_tokens: 48\n"
    )


async def chat(home: Path, lines: str, *arguments: str) -> list[dict[str, Any]]:
    """Run the chat in a pipe; the JSON objects that it printed."""
    environment = {"PATH": os.environ["PATH"], "HERMES_GATEWAY_HOME": str(home)}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "hermes_gateway.py"),
        "chat",
        "--json",
        *arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=home,
    )
    out, err = await asyncio.wait_for(process.communicate(lines.encode()), 100)
    assert process.returncode == 0, err.decode()
    return [json.loads(line) for line in out.decode().splitlines()]


def texts(request: dict[str, Any], role: str) -> list[str]:
    return [message["content"] for message in request["messages"] if message["role"] == role]


async def test_a_chat_streams_remembers_and_survives_a_restart(model: RecordingProxy, tmp_path: Path) -> None:
    home = tmp_path / "home"
    write_config(home, model.base_url)

    printed = await chat(home, "My name is Ann.\nWhat is my name?\n")

    replies = [item for item in printed if item["type"] == "message"]
    assert len(replies) == 2
    assert len(model.requests) == 2
    assert all(pieces > 3 for pieces in model.chunks), "the model answered in one piece"
    assert sum(item["type"] == "delta" for item in printed) > 4, "the answer was not shown piece by piece"
    assert texts(model.requests[1], "user") == ["My name is Ann.", "What is my name?"]
    assert texts(model.requests[1], "assistant") == [replies[0]["text"]]

    again = await chat(home, "And who are you?\n")

    assert texts(model.requests[2], "user") == ["My name is Ann.", "What is my name?", "And who are you?"]
    assert texts(model.requests[2], "assistant") == [reply["text"] for reply in replies]
    assert {item["session_id"] for item in printed} == {item["session_id"] for item in again}


async def test_without_a_configuration_the_small_model_answers(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)

    printed = await chat(home, "Say hello.\n")

    reply = printed[-1]
    assert reply["type"] == "message"
    assert reply["text"].strip()
    assert reply["text"].strip() != "Say hello.", "the echo agent answered"
    deltas = [item for item in printed if item["type"] == "delta"]
    assert len(deltas) > 1, "the answer was not shown piece by piece"
    assert not any(item.get("replace") for item in deltas)
    assert "".join(item["text"] for item in deltas) == reply["text"]
