"""The watch over secrets in tests: it finds what a test leaves behind, and nothing else."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from tests.support.leaks import Leaks
from tests.support.settings import is_users

ROOT: Final = Path(__file__).resolve().parents[2]
ECHO: Final = (sys.executable, "-c", "import sys; print(sys.stdin.read())")

LEAKING: Final = """
import asyncio, subprocess, sys
from pydantic import SecretStr
from config import GatewayConfig

SECRET = "12345678:of/a\\"test"
SHOWS = [sys.executable, "-c", "import os; print(os.environ['MY_TOKEN'])"]

def configured():
    GatewayConfig.model_validate({"platforms": {"telegram": {"token": SECRET}}})

def test_file(tmp_path):
    configured()
    (tmp_path / "x.log").write_text(SECRET)

def test_home(home):
    (home.path / "gateway.yaml").write_text("http: {api_key: of-a-file}")
    (home.path / "sessions" / "s.json").parent.mkdir(exist_ok=True)
    (home.path / "sessions" / "s.json").write_text("of-a-file")

def test_address(capsys):
    configured()
    print("12345678%3Aof%2Fa%22test")
    capsys.readouterr()

def test_captured():
    configured()
    print(SECRET)

def test_child():
    subprocess.run(SHOWS, env={"MY_TOKEN": "of-the-environment"}, capture_output=True)

async def test_async_child():
    child = await asyncio.create_subprocess_exec(*SHOWS, env={"MY_TOKEN": "of-the-environment"}, stdout=subprocess.PIPE)
    await child.communicate()

def test_sound(tmp_path):
    configured()
    (tmp_path / "gateway.yaml").write_text(SECRET)
    (tmp_path / "gateway.log").write_text("12345678")
    print("no secret")
"""


def test_each_place_is_searched(tmp_path: Path) -> None:
    """A run of its own, in which each test but one leaks."""
    (tmp_path / "test_leaking.py").write_text(LEAKING)
    (tmp_path / "conftest.py").write_text("from tests.conftest import *\n")
    kept = {name: value for name, value in os.environ.items() if not is_users(name) and not name.startswith("PYTEST_")}
    words = ("-q", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto", f"--basetemp={tmp_path / 'base'}")
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *words, str(tmp_path / "test_leaking.py")],
        cwd=ROOT,
        env=kept | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    leaking = [line.split("::")[1].split(" ")[0] for line in result.stdout.splitlines() if line.startswith("ERROR")]
    assert leaking == ["test_file", "test_home", "test_address", "test_captured", "test_child", "test_async_child"]
    assert "7 passed" in result.stdout


def test_a_secret_that_is_known_only_later_is_found_too(tmp_path: Path) -> None:
    watch = Leaks()
    watch.begin()
    watch.heard("output", "here is later-known")
    watch.know("later-known")
    assert watch.end([tmp_path], []) == ["output: late…"]


def test_what_was_a_secret_of_another_test_is_none() -> None:
    watch = Leaks()
    watch.know("of-a-module")
    watch.begin()
    watch.know("of-one-test")
    watch.end([], [])
    watch.begin()
    assert watch.end([], [("output", "of-one-test"), ("output", "of-a-module")]) == ["output: of-a…"]


async def test_programs_are_given_what_they_are_given() -> None:
    """The watch changes nothing of what tests see."""
    child = await asyncio.create_subprocess_exec(*ECHO, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert (await child.communicate(b"hello"))[0] == b"hello\n"
    assert subprocess.run(ECHO, input="hello", capture_output=True, text=True, check=True).stdout == "hello\n"
    assert SecretStr("a").get_secret_value() == "a"
