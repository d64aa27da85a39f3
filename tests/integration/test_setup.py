"""`hermes-gateway setup` through a pseudo-terminal, against loopback servers: from nothing to a first answer."""

import asyncio
import os
import re
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pexpect
import pytest
from aiohttp import web

from adapters.testing.discord import DiscordServer
from adapters.testing.slack import SlackServer
from adapters.testing.telegram import TelegramServer
from config import Home, Platform, load_config
from gateway.cli import reports
from gateway.doctor import examine
from gateway.storage.database import Database

ROOT: Final = Path(__file__).resolve().parents[2]
PROGRAM: Final = str(ROOT / "hermes_gateway.py")
SECONDS: Final = 20
NO_SUCH_TOKEN: Final = "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1"

pytestmark = pytest.mark.timeout(120)

Run = Callable[..., Awaitable["Person"]]


class Person:
    """Somebody at a terminal in which the program runs."""

    def __init__(self, child: "pexpect.spawn[str]") -> None:
        self._child = child
        self.screen = ""

    async def sees(self, text: str) -> None:
        """Wait until the screen shows this, after all that was waited for before."""
        await asyncio.to_thread(self._child.expect_exact, text, SECONDS)
        self.screen += f"{self._child.before}{self._child.after}"

    async def types(self, text: str) -> None:
        await asyncio.to_thread(self._child.sendline, text)

    async def answers(self, question: str, text: str) -> None:
        await self.sees(question)
        await self.types(text)

    async def interrupts(self) -> None:
        await asyncio.to_thread(self._child.sendintr)

    async def leaves(self) -> int | None:
        """Wait for the end; the exit code."""
        await asyncio.to_thread(self._child.expect, pexpect.EOF, SECONDS)
        self.screen += str(self._child.before)
        await asyncio.to_thread(self._child.wait)
        return self._child.exitstatus

    def close(self) -> None:
        self._child.close(force=True)


def environment(home: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "VIRTUAL_ENV")}
    return kept | {
        "HOME": str(home.parent),
        "HERMES_GATEWAY_HOME": str(home),
        "HERMES_GATEWAY__HTTP__ENABLED": "false",
        "TERM": "xterm-256color",
        "LC_ALL": "C.UTF-8",
        **more,
    }


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
async def run(home: Path) -> AsyncIterator[Run]:
    opened: list[Person] = []

    async def run(*arguments: str, **more: str) -> Person:
        child = pexpect.spawn(
            sys.executable,
            [PROGRAM, *arguments],
            env=environment(home, **more),
            cwd=str(ROOT),
            encoding="utf-8",
            dimensions=(50, 200),
        )
        opened.append(Person(child))
        return opened[-1]

    yield run
    for person in opened:
        person.close()


def call(home: Path, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, PROGRAM, *arguments],
        env=environment(home),
        cwd=ROOT,
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def test_from_nothing_to_a_first_answer(home: Path, run: Run) -> None:
    """Ann makes a bot, writes to it while the set-up waits, starts the gateway, and what she wrote is answered."""
    async with TelegramServer() as server:
        address = {"TELEGRAM_API_BASE_URL": server.base_url}
        ann = server.person("Ann", username="ann")
        chat = server.private(ann)
        person = await run("setup", **address)
        await person.answers("Numbers:", "1")
        await person.answers("Number [1]:", "8")
        await person.sees("https://t.me/BotFather")
        await person.answers("stays hidden", NO_SUCH_TOKEN)
        await person.sees("Telegram refuses this token (Unauthorized)")
        await person.answers("stays hidden", server.bot.token)
        await person.sees("This is Hermes (@hermes_bot)")
        await person.sees("Waiting for it")
        ann.writes(chat, "what is the capital of France?")
        await person.answers(f"Is that you: Ann (id {ann.id}, @ann)?", "")
        await person.sees("platforms.telegram.token: ***")
        await person.answers("Write ", "y")
        await person.sees("hermes-gateway run")
        assert await person.leaves() == 0
        assert server.bot.token not in person.screen
        file = home / "gateway.yaml"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert file.read_text().count("\n  # ") > 50, "the file explains its keys"
        assert [path.name for path in home.iterdir() if path.name.startswith(".")] == []

        gateway = await run("run", **address)
        await gateway.sees("ready:")
        await server.until(
            lambda: any("capital of France" in each.text for each in server.shown(chat, by=server.bot)), timeout=SECONDS
        )
        await gateway.interrupts()
        assert await gateway.leaves() == 0


async def test_an_existing_file_keeps_all_else(home: Path, run: Run) -> None:
    """A comment, an order, a value of the operator's: the difference is shown, and the old file is kept."""
    before = "# mine\ntimezone: Europe/Berlin  # here\nplatforms:\n  telegram:\n    token: ''  # later\nagent: echo\n"
    file = home / "gateway.yaml"
    file.write_text(before)
    async with TelegramServer() as server:
        ann = server.person("Ann")
        ann.writes(server.private(ann), "hello")
        person = await run("setup", "telegram", TELEGRAM_API_BASE_URL=server.base_url)
        await person.answers("stays hidden", server.bot.token)
        await person.answers("Is that you", "y")
        await person.sees("+    token: ***  # later")
        await person.answers("Write ", "y")
        assert await person.leaves() == 0
    after = file.read_text()
    assert after.startswith(
        "# mine\ntimezone: Europe/Berlin  # here\nplatforms:\n  telegram:\n"
        f"    token: {server.bot.token}  # later\nagent: echo\n"
    )
    assert load_config(file, environ={}).owners == (f"telegram:{ann.id}",)
    assert (home / "gateway.yaml.bak").read_text() == before
    assert stat.S_IMODE((home / "gateway.yaml.bak").stat().st_mode) == 0o600


async def test_a_token_of_the_environment_stays_there(home: Path, run: Run) -> None:
    async with TelegramServer() as server:
        known = {"TELEGRAM_API_BASE_URL": server.base_url, "TELEGRAM_BOT_TOKEN": server.bot.token}
        person = await run("setup", "telegram", **known)
        await person.answers("TELEGRAM_BOT_TOKEN is set in the environment", "y")
        await person.sees("Waiting for it")
        await person.types("")
        await person.answers("Your id", "42")
        await person.answers("Write ", "y")
        assert await person.leaves() == 0
    text = (home / "gateway.yaml").read_text()
    assert "    token: ${TELEGRAM_BOT_TOKEN}\n" in text
    assert server.bot.token not in text


async def test_no_network_can_be_waited_for_or_passed_over(home: Path, run: Run) -> None:
    person = await run("setup", "telegram", TELEGRAM_API_BASE_URL="http://127.0.0.1:9")
    await person.answers("stays hidden", NO_SUCH_TOKEN)
    await person.sees("127.0.0.1 cannot be reached (connection refused)")
    await person.answers("What now", "1")
    await person.sees("127.0.0.1 cannot be reached")
    await person.answers("What now", "2")
    await person.answers("Your id", "")
    await person.sees("pairing approve")
    await person.answers("Write ", "y")
    assert await person.leaves() == 0
    assert NO_SUCH_TOKEN not in person.screen
    telegram = load_config(home / "gateway.yaml", environ={}).platforms[Platform.TELEGRAM]
    assert telegram.token is not None
    assert telegram.token.get_secret_value() == NO_SUCH_TOKEN


@pytest.mark.parametrize(
    "question", ["Numbers:", "Number [1]:", "stays hidden", "Waiting for it", "Is that you", "Write "]
)
async def test_ctrl_c_leaves_nothing_half(home: Path, run: Run, question: str) -> None:
    """At whatever question: no file, no copy, no rest of one, and a terminal that shows what is typed."""
    async with TelegramServer() as server:
        ann = server.person("Ann")
        person = await run("setup", TELEGRAM_API_BASE_URL=server.base_url)
        steps = {"Numbers:": "1", "Number [1]:": "8", "stays hidden": server.bot.token, "Is that you": "y"}
        for step in ("Numbers:", "Number [1]:", "stays hidden", "Waiting for it", "Is that you", "Write "):
            await person.sees(step)
            if step == question:
                break
            if step in steps:
                await person.types(steps[step])
            else:
                ann.writes(server.private(ann), "hello")
        await asyncio.sleep(0.2)
        await person.interrupts()
        assert await person.leaves() == 130
        assert "Nothing was written." in person.screen
        assert "Traceback" not in person.screen
    assert {path.name for path in home.iterdir()} <= {"logs", "media", "sessions"}


async def test_discord_tells_what_is_missing(home: Path, run: Run) -> None:
    async with DiscordServer() as server:
        person = await run("setup", "discord", DISCORD_API_BASE_URL=server.api_url)
        await person.answers("stays hidden", "nonsense")
        await person.sees("Discord refuses this token")
        await person.answers("stays hidden", server.bot.token)
        await person.sees("This is hermes")
        await person.answers("Is that you: operator", "y")
        await person.answers("Write ", "y")
        assert await person.leaves() == 0
        config = load_config(home / "gateway.yaml", environ={})
        token = config.platforms[Platform.DISCORD].token
        assert token is not None
        assert token.get_secret_value() == server.bot.token
    assert config.owners == ("discord:1",)


async def test_slack_has_two_tokens_and_names_missing_scopes(home: Path, run: Run) -> None:
    async with SlackServer() as server:
        ann = server.person("Ann")
        person = await run("setup", "slack", SLACK_API_BASE_URL=server.api_url)
        await person.sees("manifest_json=")
        await person.answers("Bot token", server.app.token)
        await person.sees("Slack refuses this token (not_allowed_token_type)")
        await person.answers("Bot token", server.bot.token)
        await person.sees("This is hermes in the workspace Home")
        await person.answers("App-level token", server.app.token)
        await person.sees("Slack gives it a connection")
        await person.answers("Is that you: ", "y")
        await person.answers("Write ", "y")
        assert await person.leaves() == 0
    config = load_config(home / "gateway.yaml", environ={})
    assert config.owners == (f"slack:{ann.id}",)


async def test_discord_from_nothing_to_a_first_answer(home: Path, run: Run) -> None:
    """Ann is not who made the application: she gives her id, and writes to the bot once the gateway runs."""
    async with DiscordServer() as server:
        address = {"DISCORD_API_BASE_URL": server.api_url, "DISCORD_GATEWAY_URL": server.gateway_url}
        ann = server.person("Ann")
        chat = server.dm(ann)
        person = await run("setup", **address)
        await person.answers("Numbers:", "2")
        await person.answers("Number [1]:", "8")
        await person.answers("stays hidden", server.bot.token)
        await person.answers("Is that you: operator", "n")
        await person.answers("Your id", str(ann.id))
        await person.answers("May operator (id 1, owns the application) talk to the agent too?", "")
        await person.answers("Write ", "y")
        await person.sees("hermes-gateway run")
        assert await person.leaves() == 0
        assert server.bot.token not in person.screen

        async with started(run, **address):
            await server.until(lambda: any(server.world.commands.values()), SECONDS)
            ann.writes(chat, "what is the capital of France?")
            await server.until(
                lambda: any("capital of France" in each.text for each in server.shown(chat, by=server.bot)), SECONDS
            )


async def test_slack_from_nothing_to_a_first_answer(home: Path, run: Run) -> None:
    async with SlackServer() as server:
        address = {"SLACK_API_BASE_URL": server.api_url}
        ann = server.person("Ann")
        chat = server.direct(ann)
        person = await run("setup", **address)
        await person.answers("Numbers:", "3")
        await person.answers("Number [1]:", "8")
        await person.answers("Bot token", server.bot.token)
        await person.answers("App-level token", server.app.token)
        await person.answers("Is that you: ", "y")
        await person.answers("Write ", "y")
        await person.sees("hermes-gateway run")
        assert await person.leaves() == 0
        assert server.bot.token not in person.screen

        async with started(run, **address):
            await server.until(lambda: server.events.sockets.live, SECONDS)
            ann.writes(chat, "what is the capital of France?")
            await server.until(
                lambda: any("capital of France" in each.text for each in server.shown(chat, by=server.bot)), SECONDS
            )


@asynccontextmanager
async def started(run: Run, **address: str) -> AsyncIterator[None]:
    """The gateway, in a terminal of its own, as the set-up left it; stopped by Ctrl-C in the end."""
    gateway = await run("run", **address)
    await gateway.sees("ready:")
    yield
    await gateway.interrupts()
    assert await gateway.leaves() == 0


@asynccontextmanager
async def model_server(key: str) -> AsyncIterator[str]:
    """A server with two models, for who has the key."""

    async def models(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {key}":
            return web.json_response({"error": {"message": "wrong key"}}, status=401)
        return web.json_response({"data": [{"id": "small"}, {"id": "large"}]})

    app = web.Application()
    app.router.add_get("/v1/models", models)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


async def test_an_agent_on_a_server_of_ones_own(home: Path, run: Run) -> None:
    async with model_server("sk-right-key-of-the-test") as address:
        person = await run("setup", "agent")
        await person.answers("Number [1]:", "6")
        await person.answers("Address of the server", "not an address")
        await person.sees("That is no web address")
        await person.answers("Address of the server", address)
        await person.answers("Its key", "wrong")
        await person.sees("refuses this key")
        await person.answers("Its key", "sk-right-key-of-the-test")
        await person.sees("It takes the key")
        await person.answers("Which model", "2")
        await person.answers("Write ", "y")
        assert await person.leaves() == 0
    text = (home / "gateway.yaml").read_text()
    assert "\nagent: assistant\n" in text
    assert f"    base_url: {address}\n" in text
    assert "    model: openai:large\n" in text
    assert call(home, "config", "check").returncode == 0


@pytest.mark.parametrize(("more", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
async def test_colours_are_for_terminals_that_want_them(
    home: Path, run: Run, more: dict[str, str], coloured: bool
) -> None:
    person = await run("setup", "agent", **more)
    await person.sees("Number [1]:")
    await person.interrupts()
    await person.leaves()
    assert bool(re.search(r"\x1b\[[0-9;]*m", person.screen)) is coloured


def test_without_a_terminal_it_says_what_to_do(home: Path) -> None:
    done = call(home, "setup", text="1\n")
    assert done.returncode == 1
    assert "config init" in done.stderr
    assert "TELEGRAM_BOT_TOKEN" in done.stderr
    assert not (home / "gateway.yaml").exists()


async def test_a_file_that_cannot_be_edited_is_left_alone(home: Path, run: Run) -> None:
    file = home / "gateway.yaml"
    file.write_text("{agent: local}\n")
    person = await run("setup", "agent")
    await person.answers("Number [7]:", "8")
    await person.sees("agent: echo")
    assert await person.leaves() == 1
    assert file.read_text() == "{agent: local}\n"


async def test_a_file_that_is_no_yaml_is_left_alone(home: Path, run: Run) -> None:
    file = home / "gateway.yaml"
    file.write_text("agent: [\n")
    person = await run("setup", "agent")
    await person.sees("config check")
    assert await person.leaves() == 1
    assert file.read_text() == "agent: [\n"


# --- the screens in docs/setup.md --------------------------------------------------------------------------


def block(command: str) -> list[str]:
    """What the document shows after a command."""
    text = (ROOT / "docs" / "setup.md").read_text(encoding="utf-8")
    return text.partition(f"$ {command}\n")[2].partition("```")[0].splitlines()


def test_the_help_in_the_document_is_what_the_chat_says(home: Path) -> None:
    done = subprocess.run(
        [sys.executable, PROGRAM, "chat", "--agent", "echo", "/help"],
        env=environment(home),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    document = (ROOT / "docs" / "setup.md").read_text(encoding="utf-8")
    shown = document.partition("> /help\n")[2].partition("> /help new")[0]
    assert COMMAND.findall(shown) == COMMAND.findall(done.stdout)
    assert len(COMMAND.findall(shown)) > 20


COMMAND: Final = re.compile(r"/(\w+)`?: (.+)")


def test_the_status_in_the_document_is_how_it_is_printed() -> None:
    up = {"state": "connected"}
    found = {
        "running": True,
        "version": "0.1.0",
        "pid": 24661,
        "started_at": (datetime.now(UTC) - timedelta(minutes=3)).isoformat(),
        "agent": "echo",
        "adapters": {"local": up, "api_server": up, "telegram": up},
        "http": "127.0.0.1:8642",
        "sessions": {"total": 1, "live": 1},
        "turns": {"running": 0, "queued": 0, "put_off": 0},
        "storage": {"mode": "sqlite"},
    }
    lines = [f"{name:<13}{value}" for name, value, _ in reports._status_lines(found)]
    assert lines == block("hermes-gateway status")


async def test_the_doctor_in_the_document_finds_what_it_finds(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERMES_GATEWAY_HOME", str(home))
    token = "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1"
    file = home / "gateway.yaml"
    file.write_text(
        f"agent: echo\nhttp: {{port: 0}}\nowners: [telegram:1]\nplatforms: {{telegram: {{token: '{token}'}}}}\n"
    )
    file.chmod(0o600)
    async with Database.open(Home(home).database):
        pass
    found = [(str(finding.level), finding.subject) for finding in await examine(Home(home))]
    shown = [re.match(r"(\w+) +(.+?): ", line) for line in block("hermes-gateway doctor")]
    access = ("ok", "access")
    assert [each.groups() for each in shown if each is not None] == [each for each in found if each != access]


def test_help_loads_no_client(home: Path) -> None:
    code = (
        "import sys; from hermes_gateway import main; main(['setup', '--help']);"
        " print([name for name in ('httpx', 'aiohttp', 'telegram', 'discord', 'slack_sdk') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(home), cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert "hermes-gateway setup telegram" in done.stdout
