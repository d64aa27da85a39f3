"""The lock and its exports: they agree with pyproject.toml and with each other, and name no machine."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "requirements"
EXPORTS = ("base", "build", "lint", "local", "test")
PIN = re.compile(r"^(?P<name>[a-z0-9._-]+)==(?P<version>[^ ;]+)(?: ; (?P<marker>[^\\]+))? \\$")


@pytest.fixture
def uv(system_missing: Callable[[str], NoReturn]) -> str:
    """The locked uv of this environment, else the machine's. What needs no uv to be seen is tested without it."""
    found = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if found is None:
        system_missing("uv is not installed: `make lint` installs it")
    return found


@pytest.fixture(scope="module")
def lock() -> dict[str, dict[str, Any]]:
    """The packages of the lock, by name."""
    packages = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]
    assert len({package["name"] for package in packages}) == len(packages), "a name is locked in two versions"
    return {package["name"]: package for package in packages}


def stated(requirements: Iterable[str]) -> set[tuple[str, str, frozenset[str]]]:
    """Name, specifier and extras of each requirement, as pyproject.toml has them."""
    parsed = [Requirement(requirement) for requirement in requirements]
    return {(canonicalize_name(one.name), str(one.specifier), frozenset(one.extras)) for one in parsed}


def noted(requirements: Iterable[dict[str, Any]]) -> set[tuple[str, str, frozenset[str]]]:
    """The same, as the lock has them."""
    return {
        (one["name"], str(SpecifierSet(one.get("specifier", ""))), frozenset(one.get("extras", ())))
        for one in requirements
    }


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run without what an outer make or uv has put into the environment."""
    ours = {"ARGS", "EXPORTS", "MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PYTHON", "UV", "VIRTUAL_ENV"}
    env = {name: value for name, value in os.environ.items() if name not in ours and not name.startswith("UV_")}
    return subprocess.run(
        command,
        cwd=ROOT,
        env=env | {"UV_PYTHON_DOWNLOADS": "never", "UV_OFFLINE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_lock_was_made_for_what_the_project_states(lock: dict[str, dict[str, Any]]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"].values()
    metadata = lock["hermes-gateway"]["metadata"]
    all_stated = stated([*project["project"]["dependencies"], *(one for extra in extras for one in extra)])
    assert noted(metadata["requires-dist"]) == all_stated, "`make lock` is due"
    for group, requirements in project["dependency-groups"].items():
        assert noted(metadata["requires-dev"][group]) == stated(requirements), "`make lock` is due"


@pytest.mark.parametrize("export", EXPORTS)
def test_an_export_pins_what_is_locked(export: str, lock: dict[str, dict[str, Any]]) -> None:
    text = (REQUIREMENTS / f"{export}.txt").read_text(encoding="utf-8")
    for pin in text.replace("\\\n", "").splitlines():
        if pin.lstrip().startswith("#"):
            continue
        found = PIN.match(pin.partition("--hash")[0].rstrip() + " \\")
        assert found, pin
        package = lock[found["name"]]
        archives = [package["sdist"], *package["wheels"]] if "sdist" in package else package["wheels"]
        assert found["version"] == package["version"], "`make exports` is due"
        assert set(re.findall("sha256:[0-9a-f]+", pin)) == {archive["hash"] for archive in archives}


def test_the_lock_fits_the_project(uv: str, tmp_path: Path) -> None:
    result = run(uv, "lock", "--check", "--python", sys.executable, "--cache-dir", str(tmp_path))
    assert result.returncode == 0, f"`make lock` is due: {result.stderr}"


def test_the_exports_fit_the_lock(uv: str, tmp_path: Path) -> None:
    result = run("make", "exports", f"UV={uv}", f"EXPORTS={tmp_path}")
    assert result.returncode == 0, result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in REQUIREMENTS.iterdir())
    stale = [path.name for path in tmp_path.iterdir() if path.read_bytes() != (REQUIREMENTS / path.name).read_bytes()]
    assert stale == [], "`make exports` is due"


@pytest.mark.parametrize("export", EXPORTS)
def test_every_package_is_pinned_with_hashes(export: str) -> None:
    lines = (REQUIREMENTS / f"{export}.txt").read_text(encoding="utf-8").splitlines()
    starts = [number for number, line in enumerate(lines) if line and line[0] not in " #"]
    assert starts
    for number in starts:
        assert PIN.match(lines[number]), lines[number]
        assert re.match(r"^    --hash=sha256:[0-9a-f]{64}", lines[number + 1]), lines[number]


@pytest.mark.parametrize("export", EXPORTS)
def test_an_export_names_no_index_and_no_machine(export: str) -> None:
    text = (REQUIREMENTS / f"{export}.txt").read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"(^|\s)(/|--index|--extra-index|--find-links|-[ef] )", text, re.MULTILINE)


def test_the_lock_knows_one_index() -> None:
    text = (ROOT / "uv.lock").read_text(encoding="utf-8")
    assert len(set(re.findall(r'registry = "([^"]*)"', text))) == 1
    assert "file:" not in text


def test_the_exports_agree() -> None:
    versions: dict[tuple[str, str], set[str]] = {}
    for export in EXPORTS:
        for line in (REQUIREMENTS / f"{export}.txt").read_text(encoding="utf-8").splitlines():
            if pin := PIN.match(line):
                versions.setdefault((pin["name"], pin["marker"] or ""), set()).add(pin["version"])
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}
