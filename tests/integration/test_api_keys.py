"""Keys on the command line: without a gateway, beside one that runs, and what programs can do with them."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

import hermes_gateway
from config import GatewayConfig, Home, HomeChannel, LiveConfig, Platform
from gateway.homes import Homes
from gateway.storage import failover as failover_module
from gateway.storage import writer as writer_module
from gateway.storage.database import Database
from tests.support.api import api_gateway, ask
from tests.support.faults import LockHolder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("HERMES_GATEWAY_HOME", str(tmp_path))
    return Home(tmp_path).ensure()


async def cli(*arguments: str) -> int:
    return await asyncio.to_thread(hermes_gateway.main, ["keys", *arguments])


async def test_a_key_from_the_command_line_opens_the_interface_until_it_is_revoked(
    home: Home, free_port: Callable[[], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert await cli("list") == 0
    assert "There are no keys" in capsys.readouterr().err
    assert await cli("create", "before") == 0
    before = capsys.readouterr().out.strip()
    async with api_gateway(home, free_port(), http={"api_key": None}) as gateway:
        assert await cli("create", "while", "--scope", "read", "--json") == 0
        made = json.loads(capsys.readouterr().out)
        assert made["scopes"] == ["read"]
        statuses = [
            (await gateway.post("/v1/chat/completions", ask("x"), Authorization=f"Bearer {token}"))[0]
            for token in (before, made["token"], "wrong")
        ]
        assert statuses == [200, 403, 401]
        assert await cli("list") == 0
        shown = capsys.readouterr().out
        assert "before" in shown
        assert before not in shown
        assert await cli("revoke", "before") == 0
        assert (await gateway.post("/v1/chat/completions", ask("x"), Authorization=f"Bearer {before}"))[0] == 401
    assert await cli("revoke", "before") == 1
    assert "there is no key before" in capsys.readouterr().err


async def test_a_start_that_cannot_read_the_database_knows_keys_and_homes_once_it_can(
    home: Home, free_port: Callable[[], int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (writer_module, failover_module):
        monkeypatch.setattr(module, "SQLITE_BUSY_SECONDS", 0.02)
    monkeypatch.setattr(failover_module, "RETRY_MAX_SECONDS", 0.1)
    assert await cli("create", "laptop") == 0
    token = {"Authorization": f"Bearer {capsys.readouterr().out.strip()}"}
    async with Database.open(home.database) as database:
        await (await Homes.open(database, LiveConfig(GatewayConfig()))).set(Platform.LOCAL, HomeChannel(chat_id="cli"))
    holder = LockHolder(home.database, whole=True)
    assert holder.hold()
    # Where others reach it: there may be a key, so that is no reason not to start.
    async with api_gateway(home, free_port(), http={"api_key": None, "host": "0.0.0.0"}) as gateway:
        status, body = await gateway.post("/v1/chat/completions", ask("x"), **token)
        assert (status, body["error"]["code"]) == (503, "not_ready")
        holder.release()
        async with asyncio.timeout(20):
            while (await gateway.post("/v1/chat/completions", ask("x"), **token))[0] == 503:
                await asyncio.sleep(0.05)
        assert (await gateway.post("/v1/chat/completions", ask("x"), **token))[0] == 200
        assert await asyncio.to_thread(hermes_gateway.main, ["send", "--to", "local", "hello"]) == 0


@pytest.mark.parametrize("arguments", [("create", "Not A Name"), ("create", "x", "--scope", "everything")])
async def test_what_cannot_be_made_is_said_in_a_line(
    home: Home, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    assert home.path.exists()
    assert await cli(*arguments) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
