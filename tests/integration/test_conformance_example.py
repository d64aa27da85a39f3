"""The example for authors of adapters: found as an installed package is, it passes the suite."""

import importlib
import re
from collections.abc import Iterator
from dataclasses import fields
from importlib.metadata import entry_points

import pytest

from adapters.base import Capabilities
from adapters.testing.conformance import AdapterConformance, Harness
from config import ADAPTER_GROUP, GatewayConfig, Platform
from tests.support.lines_example import FOLDER, installed_lines

DOCUMENT = FOLDER.parents[1] / "docs" / "adapters.md"
LONGEST = 120
"""Lines of code: an example that is longer is not read."""


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with installed_lines(tmp_path_factory.mktemp("site")):
        yield


class TestLines(AdapterConformance):
    @pytest.fixture
    def harness(self) -> Harness:
        harness: Harness = importlib.import_module("test_lines").LinesHarness()
        return harness


def test_the_platform_is_known_by_its_entry_point() -> None:
    assert Platform("lines") == "lines"
    (entry,) = entry_points(group=ADAPTER_GROUP, name="lines")
    assert entry.value == "hermes_lines:LinesAdapter"
    config = GatewayConfig.model_validate({"platforms": {"lines": {"token": "x", "port": 7}}})
    assert "lines" in config.enabled_platforms


def test_the_example_is_small() -> None:
    lines = (FOLDER / "hermes_lines.py").read_text().splitlines()
    assert sum(bool(line.strip()) for line in lines) <= LONGEST


@pytest.mark.parametrize("name", ["pyproject.toml", "hermes_lines.py"])
def test_the_document_shows_what_is_tested(name: str) -> None:
    assert f"\n{(FOLDER / name).read_text().strip()}\n```\n" in DOCUMENT.read_text()


def test_the_document_names_every_capability() -> None:
    _, table = DOCUMENT.read_text().split("### Capabilities\n")
    named = set(re.findall(r"`(\w+)", "".join(re.findall(r"^\|(.*?)\|", table.split("###")[0], re.MULTILINE))))
    assert named - {"field"} - {"rates"} == {field.name for field in fields(Capabilities)}
