"""From a stranger's first message to an answer, through the whole gateway: by the command line, and in chat."""

import asyncio
import json
from pathlib import Path

import pytest

import hermes_gateway
from config import Home, Platform
from gateway.source import SessionSource
from tests.support.fakes import FakeAgent, Pause
from tests.support.letting_in import OWNER, STRANGER, configured, gateway


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("HERMES_GATEWAY_HOME", str(tmp_path))
    return Home(tmp_path).ensure()


async def test_a_stranger_is_let_in_on_the_command_line_and_talks(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    async with gateway(home) as running:
        network = running.network
        await network.say("my secret diary")
        code = await network.code("666")
        assert await running.rows("SELECT text, source, slot_id FROM inbound") == [
            {"text": None, "source": None, "slot_id": None}
        ]
        assert not running.agent.turns
        assert await running.cli("pairing", "approve", code) == 0
        assert "Mallory (telegram:666) is let in, as user." in capsys.readouterr().err
        assert (await network.read("666", 2))[-1].startswith("You have been let in.")
        await network.say("hello")
        assert (await network.read("666", 3))[-1] == "re: hello"
        assert await running.cli("pairing", "list", "--json") == 0
        listing = json.loads(capsys.readouterr().out)
        assert [(one["person"], one["role"], one["let_in_by"]) for one in listing["people"]] == [
            ("telegram:666", "user", "terminal")
        ]
        assert listing["requests"] == []


async def test_an_admin_lets_in_with_a_button(home: Home) -> None:
    config = configured({"home_channel": {"chat_id": "1"}}, access={"admins": ["telegram:1"]}, owners=[])
    async with gateway(home, config) as running:
        network = running.network
        await network.say("hello", STRANGER)
        await network.code("666")
        asked = await network.read("1", 1)
        assert asked == ["`Mallory` (`telegram:666`) wrote to me and asks to be let in. An admin can answer here."]
        (let_in, refuse) = next(sent.buttons[0] for sent in network.of("send") if sent.target.chat_id == "1")
        assert (let_in.label, refuse.label) == ("Let in", "Refuse")
        await network.say(let_in.command, STRANGER)
        await network.say(let_in.command, OWNER)
        assert (await network.read("1", 2))[-1] == "`Mallory` (`telegram:666`) is let in, as user."
        assert (await network.read("666", 2))[-1].startswith("You have been let in.")
        assert [(row["event"], row["actor"]) for row in await running.rows("SELECT * FROM audit ORDER BY id")] == [
            ("asked", "gateway"),
            ("let in", "telegram:1"),
        ]


async def test_revoking_stops_what_runs_and_refuses_what_waits(home: Home) -> None:
    pause = Pause("half an answ", "er")
    async with gateway(home, agent=FakeAgent(pause)) as running:
        network = running.network
        await network.say("hello")
        await running.cli("pairing", "approve", await network.code("666"))
        await network.say("tell me all")
        await network.say("and then more")
        await pause.reached.wait()
        assert await running.cli("pairing", "revoke", "telegram:666") == 0
        await pause.ended.wait()
        assert "You are not let in any more: I do not answer you from now on." in await network.read("666", 5)
        shown = "\n".join(network.texts("666"))
        assert "Stopped because you are not let in any more" in shown
        assert len(running.agent.turns) == 1
        states = {row["text"]: row["state"] for row in await running.rows("SELECT text, state FROM inbound")}
        assert states["and then more"] == "refused"
        await network.say("please")
        assert len(running.agent.turns) == 1


async def test_the_command_line_decides_without_a_gateway(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    async with gateway(home) as running:
        await running.network.say("hello")
        code = await running.network.code("666")
    assert (
        await asyncio.to_thread(hermes_gateway.main, ["pairing", "approve", code.lower().replace("-", ""), "--json"])
        == 0
    )
    assert json.loads(capsys.readouterr().out) == {"person": "telegram:666", "role": "user", "name": "Mallory"}
    async with gateway(home) as running:
        assert (await running.network.read("666", 1))[-1].startswith("You have been let in.")
        await running.network.say("hello")
        assert (await running.network.read("666", 2))[-1] == "re: hello"
    assert await asyncio.to_thread(hermes_gateway.main, ["audit", "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    assert [(entry["event"], entry["person"], entry["actor"]) for entry in entries] == [
        ("let in", "666", "terminal"),
        ("asked", "666", "gateway"),
    ]


async def test_a_revoked_person_stays_out_after_a_restart_in_a_turn(home: Home) -> None:
    pause = Pause("half", "")
    async with gateway(home, agent=FakeAgent(pause), config=configured(drain_seconds=0)) as running:
        await running.network.say("hello")
        await running.cli("pairing", "approve", await running.network.code("666"))
        await running.network.say("tell me all")
        await pause.reached.wait()
    assert await asyncio.to_thread(hermes_gateway.main, ["pairing", "revoke", "telegram:666"]) == 0
    async with gateway(home) as running:
        await running.network.read("666", 1)
        await running.network.say("hello", OWNER)
        await running.network.read("1", 1)
        assert [turn.source.user_id for turn in running.agent.turns] == ["1"]


async def test_what_the_command_line_says(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    async with gateway(home) as running:
        assert await running.cli("pairing", "list") == 0
        assert "Nobody asks to be let in" in capsys.readouterr().err
        await running.network.say("hello")
        await running.network.code("666")
        assert await running.cli("pairing", "list") == 0
        listed = capsys.readouterr()
        assert "telegram:666" in listed.out
        assert "wait for it to be approved" in listed.err
        assert await running.cli("pairing", "approve", "AAAA-AAAA") == 1
        assert "that is no code that waits" in capsys.readouterr().err
        assert await running.cli("pairing", "approve", "telegram:666", "--role", "owner") == 1
        assert "owners are named in the configuration" in capsys.readouterr().err
        assert await running.cli("pairing", "approve", "telegram:666", "--role", "guest") == 0
        assert await running.cli("pairing", "role", "telegram:666", "admin") == 0
        assert "Mallory (telegram:666) is admin from now on." in capsys.readouterr().err
        assert await running.cli("pairing", "revoke", "telegram:1") == 1
        assert "was not paired" in capsys.readouterr().err
        assert await running.cli("pairing", "refuse", "telegram:666") == 1
        assert await running.cli("audit") == 0
        audited = capsys.readouterr().out
        assert [word in audited for word in ("let in", "promoted", "telegram:666", "terminal")] == [True] * 4


async def test_an_admin_in_chat_goes_no_further_than_an_admin(home: Home) -> None:
    admin = SessionSource(Platform.TELEGRAM, chat_id="2", chat_type="dm", user_id="2", user_name="Adam")
    config = configured(access={"admins": ["telegram:2"]})
    async with gateway(home, config) as running:
        network = running.network
        await network.say("hello")
        code = await network.code("666")
        said = [
            (admin, "/pairing", "They ask to be let in:"),
            (admin, f"/pairing approve {code} admin", "Only an owner makes admins."),
            (OWNER, f"/pairing approve {code} admin", "`Mallory` (`telegram:666`) is let in, as admin."),
            (admin, "/pairing revoke telegram:666", "Only an owner decides about admins."),
            (admin, "/pairing role telegram:666 user", "Only an owner decides about admins."),
            (OWNER, "/pairing revoke telegram:666", "`Mallory` (`telegram:666`) is not let in any more."),
        ]
        for source, command, words in said:
            before = len(network.texts(source.chat_id))
            await network.say(command, source)
            assert (await network.read(source.chat_id or "", before + 1))[-1].startswith(words)
        assert await running.rows("SELECT * FROM people") == []
