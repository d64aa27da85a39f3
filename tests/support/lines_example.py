"""The example for authors of adapters, as if it were installed."""

import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from config.platform import installed_names

FOLDER: Final = Path(__file__).resolve().parents[2] / "examples" / "lines"
MODULES: Final = ("hermes_lines", "lines_server", "test_lines")


@contextmanager
def installed_lines(site: Path) -> Iterator[None]:
    """Its modules can be imported, and it has the entry points that its pyproject.toml states."""
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text())["project"]
    name, version = project["name"], project["version"]
    information = site / f"{name.replace('-', '_')}-{version}.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    groups = [
        "\n".join([f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())])
        for group, entries in project["entry-points"].items()
    ]
    (information / "entry_points.txt").write_text("\n".join(groups) + "\n")
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(str(site))
            patch.syspath_prepend(str(FOLDER))
            installed_names.cache_clear()
            yield
    finally:
        for module in MODULES:
            sys.modules.pop(module, None)
        installed_names.cache_clear()
