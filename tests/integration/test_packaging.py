"""The wheel: what is in it, and that it works in an empty environment, away from its source."""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("adapters", "config", "gateway")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def run(
    *command: str | Path, cwd: Path, env: Mapping[str, str] | None = None, text: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=env,
        input=text,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def hermes_gateway(
    scripts: Path, *arguments: str, home: Path, cwd: Path, text: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the installed command with a home of its own and nothing else of this process's environment."""
    env = {"PATH": os.defpath, "LANG": "C.UTF-8", "HOME": str(home), "HERMES_GATEWAY_HOME": str(home)}
    return run(scripts / "hermes-gateway", *arguments, cwd=cwd, env=env, text=text)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    built = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script folder of an environment that holds the locked packages and the wheel, and nothing else."""
    venv = tmp_path_factory.mktemp("venv")
    created = run(sys.executable, "-m", "venv", venv, cwd=venv)
    assert created.returncode == 0, created.stderr
    scripts = venv / "bin"
    locked: list[str | Path] = ["--no-deps", "--require-hashes", "-r", ROOT / "requirements" / "base.txt"]
    uv = shutil.which("uv", path=str(Path(sys.executable).parent))
    pip: list[str | Path] = [scripts / "python", "-m", "pip", "install", "-q", "--no-compile"]
    # uv is quick, but knows no index that only pip was told of.
    if uv is None or run(uv, "pip", "install", "--python", scripts / "python", *locked, cwd=venv).returncode:
        result = run(*pip, *locked, cwd=venv)
        assert result.returncode == 0, result.stderr[-4000:]
    result = run(*pip, "--no-deps", wheel, cwd=venv)
    assert result.returncode == 0, result.stderr[-4000:]
    return scripts


def test_the_wheel_holds_all_of_the_product(names: set[str]) -> None:
    tracked = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for pattern in ("*.py", "*.sql", "py.typed")
        for path in (ROOT / package).rglob(pattern)
    }
    assert {f"{package}/py.typed" for package in PACKAGES} <= tracked
    assert any(name.startswith("gateway/storage/migrations/") for name in tracked)
    assert tracked | {"hermes_gateway.py"} <= names


def test_the_wheel_holds_nothing_else(names: set[str]) -> None:
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {*PACKAGES, "hermes_gateway.py"}
    assert not [name for name in names if "__pycache__" in name]


def test_the_wheel_states_its_license_and_commands(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (entry_points,) = [name for name in archive.namelist() if name.endswith("/entry_points.txt")]
        text = archive.read(entry_points).decode()
        assert [name for name in archive.namelist() if name.endswith("/licenses/LICENSE")]
    assert "hermes-gateway = hermes_gateway:main" in text
    assert "[hermes_gateway.adapters]" in text
    assert "[hermes_gateway.agents]" in text


def test_the_installed_command_says_its_version(installed: Path, tmp_path: Path) -> None:
    result = hermes_gateway(installed, "--version", home=tmp_path, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.split()[-1].count(".") == 2


def test_the_installed_command_helps(installed: Path, tmp_path: Path) -> None:
    result = hermes_gateway(installed, "--help", home=tmp_path, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert {"run", "chat", "status", "doctor"} <= set(result.stdout.split())


def test_the_installed_command_chats(installed: Path, tmp_path: Path) -> None:
    empty, home = tmp_path / "empty", tmp_path / "home"
    empty.mkdir()
    result = hermes_gateway(installed, "chat", "--agent", "echo", home=home, cwd=empty, text="hi\n")
    assert result.returncode == 0, result.stderr
    assert "hi" in result.stdout
    assert list(empty.iterdir()) == []
    assert (home / "gateway.db").is_file()
