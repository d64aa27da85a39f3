"""Commands: what a person tells the gateway itself."""

from pathlib import Path

import pytest

from gateway.commands.table import Command, CommandTable, say
from tests.support.fakes import ALICE, BOB, FakeAdapter, FakeAgent, Pause, core

TABLE = CommandTable(
    [
        Command("new", "Begin anew", lambda _record, _rest: say("new"), aliases=("reset",)),
        Command("stop", "Stop", lambda _record, _rest: say("stop"), immediate=True),
    ]
)


@pytest.mark.parametrize(
    ("text", "name", "rest"),
    [
        ("/new", "new", ""),
        (" /NEW ", "new", ""),
        ("/reset", "new", ""),
        ("/new a  b ", "new", "a  b"),
        ("/new\na\nb", "new", "a\nb"),
        ("/new\ta", "new", "a"),
        ("new", None, ""),
        ("/nova", None, ""),
        ("//new", None, ""),
        ("/new2", None, ""),
        ("/etc/passwd", None, ""),
        ("/ok/new", None, ""),
        ("/", None, ""),
        ("", None, ""),
        ("say /new", None, ""),
    ],
)
def test_what_is_a_command(text: str, name: str | None, rest: str) -> None:
    found = TABLE.find(text)
    assert (found and found[0].name) == name
    assert found is None or found[1] == rest


@pytest.mark.parametrize("text", ["/sotp", "/STOPP", " /stopp now"])
def test_a_misspelt_command_is_answered_with_the_right_one(text: str) -> None:
    found = TABLE.find(text)
    assert found is not None
    command, _rest = found
    assert command.immediate
    assert "/stop?" in command.help
    assert f"write /{text.split(maxsplit=1)[0].casefold()}." in command.help
    assert command.name == "stop"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("//new", "/new"),
        (" //staus of it", "/staus of it"),
        ("//new/er", "//new/er"),
        ("//", "//"),
        ("// comment", "// comment"),
        ("///new", "///new"),
        ("/etc/hosts", "/etc/hosts"),
        ("/plan a trip", "/plan a trip"),
    ],
)
async def test_what_is_no_command_reaches_the_agent(tmp_path: Path, text: str, told: str) -> None:
    agent = FakeAgent()
    async with core(tmp_path, agent) as gateway:
        await gateway.say(text)
        await gateway.settled()
        assert [message["content"] for message in agent.turns[0].inputs] == [told]


async def test_a_misspelt_command_reaches_no_agent_and_waits_for_no_turn(tmp_path: Path) -> None:
    adapter, pause = FakeAdapter(), Pause(after="done")
    agent = FakeAgent(pause)
    async with core(tmp_path, agent, adapter) as gateway:
        await gateway.say("1")
        await pause.reached.wait()
        await gateway.say("/sotp please")
        while not adapter.texts():
            await gateway.rows("SELECT 1")
        assert "Did you mean /stop?" in adapter.texts()[0]
        pause.go.set()
        await gateway.settled()
        assert await gateway.ends() == {"1": "answered", "/sotp please": "answered"}
        assert len(agent.turns) == 1


def test_the_menu_lists_each_command_once() -> None:
    assert TABLE.menu == [("new", "Begin anew"), ("stop", "Stop")]


async def said(tmp_path: Path, *texts: str) -> list[str]:
    adapter = FakeAdapter()
    async with core(tmp_path, adapter=adapter) as gateway:
        for text in texts:
            await gateway.say(text)
            await gateway.settled()
        assert set((await gateway.ends()).values()) == {"answered"}
    return adapter.texts()


async def test_help_names_all_commands(tmp_path: Path) -> None:
    (text,) = await said(tmp_path, "/help")
    for name in ("help", "new", "stop", "status", "quit"):
        assert f"`/{name}`" in text


async def test_new_ends_the_session_and_keeps_it(tmp_path: Path) -> None:
    adapter = FakeAdapter()
    async with core(tmp_path, adapter=adapter) as gateway:
        for text in ("1", "/new", "2"):
            await gateway.say(text)
        await gateway.say("other", source=BOB)
        await gateway.settled()
        assert await gateway.transcript() == [("user", "2"), ("assistant", "re: 2")]
        sessions = await gateway.rows("SELECT id, end_reason, successor_id FROM sessions ORDER BY rowid")
        old = next(row for row in sessions if row["end_reason"])
        assert old["successor_id"] is not None
        assert any(old["id"] in text for text in adapter.texts("1"))
        assert len(await gateway.store.load_transcript(old["id"])) == 2


async def test_new_waits_for_the_turn_that_runs(tmp_path: Path) -> None:
    pause = Pause(after="done")
    async with core(tmp_path, FakeAgent(pause)) as gateway:
        await gateway.say("1")
        await pause.reached.wait()
        await gateway.say("/new")
        assert (await gateway.ends())["/new"] == "pending"
        pause.go.set()
        await gateway.settled()
        (old,) = await gateway.rows("SELECT id, message_count FROM sessions WHERE ended_at IS NOT NULL")
        assert old["message_count"] == 2


async def test_new_without_a_session_says_so(tmp_path: Path) -> None:
    assert await said(tmp_path, "/new") == ["This is a new conversation already."]


async def test_status_says_what_goes_on_while_it_goes_on(tmp_path: Path) -> None:
    adapter, pause = FakeAdapter(), Pause(after="done")
    async with core(tmp_path, FakeAgent(pause), adapter) as gateway:
        await gateway.say("/status", "before")
        await gateway.settled()
        await gateway.say("1")
        await pause.reached.wait()
        await gateway.say("/status", "during")
        while len(adapter.texts()) < 2:
            assert not pause.go.is_set()
            await gateway.rows("SELECT 1")
        pause.go.set()
        await gateway.settled()
        before, during = adapter.texts()[:2]
        assert "session: none yet" in before
        assert "answering" in during
        assert gateway.store.identity(ALICE).key in during


async def test_a_command_is_run_once_and_its_reply_survives_a_crash(tmp_path: Path) -> None:
    adapter = FakeAdapter()
    pause = Pause()
    async with core(tmp_path, FakeAgent(pause), adapter) as gateway:
        await gateway.say("1")
        await pause.reached.wait()
        await gateway.say("/new")
        await gateway.die()
    for _ in range(2):
        async with core(tmp_path, adapter=adapter) as gateway:
            await gateway.settled()
    assert len([text for text in adapter.texts() if "new conversation begins" in text]) == 1
