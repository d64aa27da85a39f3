"""Reading the configuration again: what changed comes into force as a whole; what is wrong changes nothing."""

import asyncio
import contextlib
import functools
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from config import AgentConfig, GatewayConfig, Home, LiveConfig, load_settings
from gateway.connections import AdapterPool
from gateway.host import HostServices
from gateway.logs import MASK, Redactor
from gateway.ports import Agent, AgentError, Clock
from gateway.reload import ConfigSource, Reloader, ReloadResult, Trigger
from gateway.roster import AgentRoster
from tests.support.fakes import FakeAgent, ManualClock

QUICK = 0.01


class Rig:
    """A reloader over a real file, with real agents and no platforms."""

    def __init__(self, home: Home, text: str | None) -> None:
        self.file = home.config_file
        if text is not None:
            self.file.write_text(text)
        source = ConfigSource.open(lambda: load_settings(environ={"HERMES_GATEWAY_HOME": str(home.path)}))
        self.live = LiveConfig(source.settings.config)
        self.counters: Counter[str] = Counter()
        self.redact = Redactor()
        self.told: list[GatewayConfig] = []
        self.asked = asyncio.Event()
        clock = ManualClock()
        services = HostServices(
            clock=clock,
            inbox=lambda: pytest.fail("nothing comes in"),
            corrections=lambda: pytest.fail("nothing is corrected"),
            updates=lambda: pytest.fail("nothing is kept"),
            banner=tuple,
            commands=tuple,
            serve=lambda _service, _handler: None,
            on_connected=lambda _platform, _account: None,
        )
        self.roster = AgentRoster(self.live, home, clock)
        self.pool = AdapterPool(self.live, [], services, self.counters)
        self.reloader = Reloader(
            self.live,
            source,
            self.roster,
            self.pool,
            clock,
            self.counters,
            self.redact,
            asked=self.asked,
            platforms=lambda config: config.enabled_platforms[1:],
            on_change=self.told.append,
        )
        self.home = home

    def write(self, text: str) -> None:
        """Write the file in place, with a time of its own."""
        self.file.write_text(text)

    def replace(self, text: str) -> None:
        """As careful editors do: a new file takes the name."""
        new = self.file.with_suffix(".new")
        new.write_text(text)
        new.replace(self.file)

    async def reload(self) -> ReloadResult:
        return await self.reloader.reload("request")

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.reloader.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(QUICK / 4)

    async def rest(self) -> None:
        """Long enough for several looks at the files."""
        await asyncio.sleep(QUICK * 10)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.reload.CONFIG_WATCH_SECONDS", QUICK)
    monkeypatch.setattr("gateway.reload.CONFIG_RETRY_SECONDS", QUICK)


@pytest.fixture
async def rig(home: Home) -> AsyncIterator[Rig]:
    built = Rig(home, "busy: queue\nagents: {a: {type: echo}}\n")
    yield built
    await built.roster.close()


async def test_what_changed_comes_into_force_and_is_told(rig: Rig) -> None:
    rig.write("busy: steer\nagents: {a: {type: echo}}\nhttp: {port: 1}\n")
    result = await rig.reload()
    assert (result.ok, result.applied, result.needs_restart) == (True, ("busy",), ("http.port",))
    assert rig.live.current.busy == "steer"
    assert rig.live.current.http.port == GatewayConfig().http.port
    assert rig.told == [rig.live.current]
    assert rig.reloader.last == result
    again = await rig.reload()
    assert (again.applied, again.needs_restart) == ((), ("http.port",))
    assert len(rig.told) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("busy: steer\nbusi: queue\n", ("gateway.yaml:2", "busi", "busy")),
        ("busy: [steer\n", ("gateway.yaml:",)),
        ("busy: steer\nagent: nobody\n", ("gateway.yaml:2", "agent")),
        ("busy: steer\nplatforms: {telegram: {token_file: nowhere}}\n", ("gateway.yaml:2", "token_file", "nowhere")),
        ("busy: steer\nplatforms: {irc: {}}\n", ("gateway.yaml", "platforms.irc", "no adapter")),
        ("", ("gateway.yaml", "empty")),
        (None, ("gateway.yaml", "no such file any more")),
    ],
)
async def test_a_bad_file_changes_nothing_and_says_where(
    rig: Rig, caplog: pytest.LogCaptureFixture, text: str | None, words: tuple[str, ...]
) -> None:
    before = rig.live.current
    if text is None:
        rig.file.unlink()
    else:
        rig.write(text)
    result = await rig.reload()
    assert not result.ok
    assert rig.live.current is before
    assert rig.told == []
    assert all(any(word in problem for problem in result.problems) for word in words), result.problems
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == len(result.problems)
    assert rig.reloader.last == result


async def test_an_agent_that_does_not_start_rejects_everything(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(FakeAgent):
        async def start(self) -> None:
            raise AgentError("the key sk-of-this-agent-is-wrong")

    def create(_name: str, _config: AgentConfig, _home: Home, _clock: Clock, **_more: object) -> Agent:
        agent: Agent = Broken()
        return agent

    monkeypatch.setattr("gateway.roster.create_agent", create)
    before = rig.live.current
    rig.write("busy: steer\nagents:\n  a: {type: echo}\n  b: {type: model, model: 'x:y', api_key: of-this-agent-is}\n")
    result = await rig.reload()
    assert not result.ok
    (problem,) = result.problems
    assert "gateway.yaml:4: agents.b: " in problem
    assert "of-this-agent" not in problem
    assert MASK in problem
    assert rig.live.current is before


async def test_a_new_secret_is_known_before_anything_can_tell_it(rig: Rig) -> None:
    rig.write("http: {api_key: hunter-two}\nagents: {a: {type: echo}}\n")
    assert (await rig.reload()).ok
    assert rig.redact("it is hunter-two") == f"it is {MASK}"


async def test_without_a_file_there_is_nothing_to_read(rig: Rig) -> None:
    services = object.__new__(AdapterPool)
    bare = Reloader(
        rig.live, None, rig.roster, services, ManualClock(), Counter(), Redactor(),
        asked=asyncio.Event(), platforms=lambda _config: (), on_change=lambda _config: None,
    )  # fmt: skip
    assert "did not come from a file" in (await bare.reload("request")).problems[0]
    assert bare.file is None


async def test_a_gateway_that_stops_takes_over_nothing(rig: Rig) -> None:
    rig.write("busy: steer\n")
    rig.reloader.close()
    result = await rig.reload()
    assert result.problems == ("the gateway is stopping",)
    assert rig.live.current.busy == "queue"


# --- by itself -----------------------------------------------------------------------------------------


async def test_a_change_of_the_file_is_noticed(rig: Rig) -> None:
    async with rig.watching():
        rig.write("busy: steer\n")
        await rig.until(lambda: rig.live.current.busy == "steer")
        rig.replace("busy: interrupt\n")
        await rig.until(lambda: rig.live.current.busy == "interrupt")
        rig.file.rename(rig.file.with_suffix(".bak"))  # what some editors do before they write
        await rig.until(lambda: rig.reloader.last and not rig.reloader.last.ok)
        assert rig.live.current.busy == "interrupt"
        rig.write("busy: queue\n")
        await rig.until(lambda: rig.live.current.busy == "queue")


async def test_a_signal_has_it_read(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.reload.CONFIG_WATCH_SECONDS", 60.0)
    async with rig.watching():
        rig.write("busy: steer\n")
        rig.asked.set()
        await rig.until(lambda: rig.live.current.busy == "steer")
        assert rig.reloader.last is not None
        assert rig.reloader.last.trigger == "signal"


async def test_what_an_operator_asks_for_tries_refused_accounts_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    trigger: Trigger
    for trigger in ("signal", "request", "file"):
        monkeypatch.setattr(rig.pool, "try_again", functools.partial(asked.append, trigger))
        assert (await rig.reloader.reload(trigger)).ok
    assert asked == ["signal", "request"]


async def test_what_does_not_change_is_not_read(rig: Rig) -> None:
    async with rig.watching():
        await rig.rest()
    assert rig.reloader.last is None


async def test_a_file_that_is_being_written_is_left_alone_until_it_is_whole(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    whole = "busy: steer\nagents: {a: {type: echo, delay_ms: 5}}\nturns: {attempts: 9}\n"
    async with rig.watching():
        with rig.file.open("w") as file:
            for letter in whole:
                file.write(letter)
                file.flush()
                await asyncio.sleep(QUICK / 10)
        await rig.until(lambda: rig.live.current.turns.attempts == 9)
    assert len(rig.told) == 1
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_half_written_file_is_read_again_before_it_is_reported(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gateway.reload.CONFIG_RETRY_SECONDS", QUICK * 20)
    async with rig.watching():
        rig.write("busy: [ste")
        await rig.rest()
        rig.write("busy: steer\n")
        await rig.until(lambda: rig.live.current.busy == "steer")
    assert rig.reloader.last is not None
    assert rig.reloader.last.ok
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_bad_file_is_reported_once_and_its_correction_noticed(rig: Rig) -> None:
    async with rig.watching():
        rig.write("busi: steer\n")
        await rig.until(lambda: rig.reloader.last)
        await rig.rest()
        assert rig.counters["reload.refused"] == 1
        rig.write("busy: steer\n")
        await rig.until(lambda: rig.live.current.busy == "steer")


async def test_a_file_of_a_secret_is_watched_too(rig: Rig) -> None:
    def key() -> str:
        found = rig.live.current.http.api_key
        return found.get_secret_value() if found else ""

    secret = rig.home.path / "key"
    async with rig.watching():
        rig.write("http: {api_key_file: key}\n")
        await rig.until(lambda: rig.reloader.last)
        assert rig.reloader.last is not None
        assert not rig.reloader.last.ok
        secret.write_text("first\n")
        await rig.until(lambda: key() == "first")
        link = rig.home.path / "next"
        (rig.home.path / "other").write_text("second\n")
        link.symlink_to("other")
        link.replace(secret)
        await rig.until(lambda: key() == "second")


async def test_a_file_that_comes_into_being_is_noticed(home: Home) -> None:
    rig = Rig(home, None)
    async with rig.watching():
        rig.write("busy: steer\n")
        await rig.until(lambda: rig.live.current.busy == "steer")
    await rig.roster.close()


async def test_a_folder_that_goes_and_comes_back_is_coped_with(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").ensure()
    rig = Rig(home, "busy: steer\n")
    async with rig.watching():
        home.path.rename(tmp_path / "away")
        await rig.until(lambda: rig.reloader.last and not rig.reloader.last.ok)
        assert rig.live.current.busy == "steer"
        (tmp_path / "away").rename(home.path)
        rig.write("busy: interrupt\n")
        await rig.until(lambda: rig.live.current.busy == "interrupt")
    await rig.roster.close()


async def test_a_fault_of_the_reload_itself_ends_no_watching(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = [RuntimeError("a mistake")]
    prepare = rig.roster.prepare

    async def fail(config: GatewayConfig) -> object:
        if faults:
            raise faults.pop()
        return await prepare(config)

    monkeypatch.setattr(rig.roster, "prepare", fail)
    async with rig.watching():
        rig.write("busy: steer\n")
        await rig.until(lambda: rig.counters["reload.errors"] == 1)
        rig.write("busy: interrupt\n")
        await rig.until(lambda: rig.live.current.busy == "interrupt")
