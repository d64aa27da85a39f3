"""No secret gets out: a whole run with all that can be set, and faults that repeat them, is searched for each."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from adapters.testing.telegram import TelegramServer
from tests.support.letting_in import CODE
from tests.support.scripted_openai import Fault, Reply, ScriptedOpenAI, ToolCall

ROOT: Final = Path(__file__).resolve().parents[2]
PROGRAM: Final = (sys.executable, str(ROOT / "hermes_gateway.py"))
SECONDS: Final = 20.0

SECRETS: Final[Mapping[str, str]] = {
    "model": "sk-proj-Zk3vQ8sLrT1uYw5xNb7c",
    "http": "an-http-key-of-nobody",
    "transcriber": "the transcriber's own key",
    "webhook": "a_webhook_secret-0815",
    "environment": "value-of-the-environment-77",
}


def written(secrets: Mapping[str, str], model: str, telegram: str) -> str:
    return json.dumps(
        {
            "agent": "model",
            "agents": {
                "model": {
                    "type": "model",
                    "model": "openai:scripted",
                    "base_url": model,
                    "api_key": secrets["model"],
                    "system_prompt": f"You know {secrets['model']}",
                }
            },
            "owners": [],
            "turns": {"attempts": 1},
            "storage": {"jsonl_mirror": True},
            "http": {"port": 0, "api_key": secrets["http"]},
            "media": {"transcriber": {"api_key": secrets["transcriber"]}},
            "logging": {"level": "debug"},
            "platforms": {
                "telegram": {
                    "token": secrets["telegram"],
                    "secret_token": secrets["webhook"],
                    "api_base_url": telegram,
                }
            },
        }
    )


@asynccontextmanager
async def running(environ: Mapping[str, str], heard: list[str]) -> AsyncIterator[str]:
    """The program while it runs; gives the address of its HTTP listener. What it says goes to `heard`."""
    process = await asyncio.create_subprocess_exec(
        *PROGRAM, "--debug", "run", env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(SECONDS):
            while not (line := (await process.stdout.readline()).decode()).startswith("ready: "):
                heard.append(line)
                assert line, "".join(heard)
        yield line.rsplit("http ", 1)[1].strip()
    finally:
        process.terminate()
        rest, _ = await process.communicate()
        heard.append(rest.decode())


async def call(environ: Mapping[str, str], *words: str) -> str:
    """All that a command prints."""
    process = await asyncio.create_subprocess_exec(
        *PROGRAM, *words, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    return output.decode()


def found(secrets: Mapping[str, str], text: str) -> list[str]:
    """The names of the secrets that are in a text, as they are or as JSON has them."""
    return [name for name, secret in secrets.items() if secret in text or json.dumps(secret)[1:-1] in text]


def script(secrets: Mapping[str, str]) -> list[Any]:
    return [
        Reply(f"The key is {secrets['model']}, and the token {secrets['telegram']}."),
        Fault(400, f"Nothing is to be had for {secrets['model']}", "invalid_request", "invalid_request_error"),
        Reply(calls=[ToolCall("send_file", {"path": f"/{secrets['http']}"})]),
        Reply(["half of ", secrets["http"][:9], secrets["http"][9:]]),
    ]


@pytest.mark.timeout(120)
async def test_no_secret_is_found_after_a_whole_run(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    heard: list[str] = []
    async with TelegramServer() as telegram:
        secrets = {**SECRETS, "telegram": telegram.bot.token}
        async with ScriptedOpenAI(script(secrets)) as model:
            environ = {
                "PATH": os.defpath,
                "HOME": str(tmp_path),
                "HERMES_GATEWAY_HOME": str(home),
                "SOME_SERVICE_TOKEN": secrets["environment"],
            }
            file = home / "gateway.yaml"
            file.write_text(written(secrets, model.base_url, telegram.base_url))
            file.chmod(0o600)
            heard += [await call(environ, *words) for words in (("config", "show"), ("doctor",))]
            ann = telegram.person("Ann")
            chat = telegram.private(ann)

            async def shown(count: int) -> list[str]:
                await telegram.until(lambda: len(telegram.shown(chat, by=telegram.bot)) >= count, SECONDS)
                return [message.text for message in telegram.shown(chat, by=telegram.bot)]

            async with running(environ, heard) as address:
                ann.writes(chat, f"I found {secrets['model']}")
                code = CODE.search((await shown(1))[0])
                assert code is not None
                heard.append(await call(environ, "pairing", "approve", code[0]))
                await shown(2)
                for count, text in enumerate(
                    (f"Is {secrets['telegram']} yours?", f"or {secrets['environment']}?", "send it", "/status"), start=3
                ):
                    ann.writes(chat, text)
                    heard += await shown(count)
                heard += [
                    await call(environ, *words)
                    for words in (
                        ("status", "--json"),
                        ("unanswered", "--json"),
                        ("pairing", "list", "--json"),
                        ("audit", "--json"),
                        ("sessions", "list", "--json"),
                        ("sessions", "search", "key", "--json"),
                        ("config", "reload"),
                    )
                ]
                async with aiohttp.ClientSession(f"http://{address}") as client:
                    for path in ("/health", "/ready", "/metrics", f"/nothing?token={secrets['http']}"):
                        async with client.get(path, headers={"Authorization": f"Bearer {secrets['http']}"}) as answer:
                            heard.append(await answer.text())
            assert len(model.requests) >= 3
    stored = {
        str(path.relative_to(home)): path.read_bytes().decode("latin-1")
        for path in home.rglob("*")
        if path.is_file() and path != file
    }
    assert {name.rsplit("/", 1)[-1] for name in stored} >= {"gateway.db", "gateway.log"}
    assert "Nothing is to be had for" in "".join(stored.values()), "the fault that repeats a secret was not met"
    assert {name: found(secrets, text) for name, text in stored.items() if found(secrets, text)} == {}
    assert [text for text in heard if found(secrets, text)] == []


def test_a_secret_would_be_found() -> None:
    assert found(SECRETS, f"x{SECRETS['transcriber']}y") == ["transcriber"]
