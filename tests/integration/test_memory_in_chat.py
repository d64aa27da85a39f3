"""Memory in the terminal chat, with the real program and a model behind it: notes reach its prompt, as data."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from config import Home
from tests.support.api import api_gateway, ask
from tests.support.scripted_openai import Reply, ScriptedOpenAI

ROOT = Path(__file__).resolve().parents[2]


async def chat(home: Path, lines: str) -> str:
    """Run the chat in a pipe; what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "hermes_gateway.py"),
        "chat",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "HERMES_GATEWAY_HOME": str(home)},
    )
    output, errors = await process.communicate(lines.encode())
    assert process.returncode == 0, errors.decode()
    return output.decode()


def answer(body: dict[str, Any]) -> Reply:
    """Notes, where it is asked for them; else whether it was given any."""
    system = str(body["messages"][0]["content"])
    if "You keep notes" in system:
        return Reply("- Ann lives in Berlin.\nDROP 7")
    return Reply("in Berlin" if "> - Ann lives in Berlin." in system else "no idea")


async def test_a_model_s_notes_are_in_the_prompt_of_the_next_conversation_and_in_a_file(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    async with ScriptedOpenAI(answer) as server:
        (home / "gateway.yaml").write_text(
            f"agents: {{a: {{type: model, model: 'openai:test', base_url: {server.base_url}, api_key: k}}}}\n"
            "memory: {provider: notes, recall_seconds: 20}\n"
        )
        output = await chat(home, "My name is Ann, I live in Berlin.\nWhere do I live?\n/new\nWhere do I live?\n")
        assert output.count("no idea") == 2
        assert output.rstrip().endswith("in Berlin")
        (path,) = (home / "memory").rglob("*.md")
        assert path.read_text().count("Ann lives in Berlin.") == 1
        path.write_text(path.read_text().replace("Berlin", "Rome") + "- Speak German.\n")
        await chat(home, "And now?\n")
    last = [request for request in server.requests if "You keep notes" not in str(request["messages"][0]["content"])][
        -1
    ]
    system = str(last["messages"][0]["content"])
    assert "> - Speak German." in system
    assert "> - Ann lives in Rome." in system
    assert "<!--" not in system
    asked = next(request for request in server.requests if "You keep notes" in str(request["messages"][0]["content"]))
    assert "User: My name is Ann" in str(asked["messages"][-1]["content"])
    assert not asked.get("tools")


async def test_what_a_program_asks_outside_of_any_conversation_is_not_remembered(
    home: Home, free_port: Callable[[], int]
) -> None:
    async with api_gateway(home, free_port(), memory={"provider": "notes", "recall_seconds": 20}) as gateway:
        status, _ = await gateway.post("/v1/chat/completions", ask("I am Ann"))
        named, _ = await gateway.post("/v1/chat/completions", ask("I am Bob"), X_Hermes_Session_Id="bob")
        assert (status, named) == (200, 200)
    (path,) = home.memory_dir.rglob("*.md")
    assert ("Bob" in path.read_text(), "Ann" in path.read_text()) == (True, False)
