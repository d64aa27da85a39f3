"""Fixtures of the configuration's tests."""

from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from config import platform as platform_module
from config.platform import installed_names
from tests.unit.config.support import Sandbox


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    return Sandbox(tmp_path)


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Announce a name in an entry-point group, as an installed package does."""
    announced: list[EntryPoint] = []

    def entry_points(*, group: str) -> EntryPoints:
        return EntryPoints(announced).select(group=group)

    def announce(group: str, name: str) -> None:
        announced.append(EntryPoint(name=name, group=group, value="somewhere:Thing"))
        installed_names.cache_clear()

    monkeypatch.setattr(platform_module, "entry_points", entry_points)
    installed_names.cache_clear()
    yield announce
    installed_names.cache_clear()
