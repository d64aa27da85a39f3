"""The unit of systemd, the image, and the words that a unit is made of."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.setup.unit import Unit, place, program_words

ROOT = Path(__file__).resolve().parents[3]
CONTAINERFILE = (ROOT / "Containerfile").read_text()


@pytest.fixture
def program(tmp_path: Path) -> str:
    path = tmp_path / "bin dir" / "hermes-gateway"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("account", [None, "root"])
@pytest.mark.parametrize("home", ["/srv/gateway", '/srv/a b/100%/"q"/$x'])
def test_systemd_finds_no_fault(tmp_path: Path, program: str, account: str | None, home: str) -> None:
    path = tmp_path / "hermes-gateway.service"
    path.write_text(Unit(Path(home), (program,), account, Path("/etc/a b.yaml")).render())
    found = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(["--user"] if account is None else []), str(path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)},
    )
    ours = [line for line in found.stderr.splitlines() if "hermes-gateway" in line]
    assert ours == []


def test_it_restarts_what_hangs_and_not_what_is_wrong(program: str) -> None:
    text = Unit(Path("/srv/g"), (program,), drain_seconds=120).render()
    assert "Type=notify\n" in text
    assert re.search(r"^WatchdogSec=\d+$", text, re.MULTILINE)
    assert "RestartPreventExitStatus=2 78\n" in text
    assert "TimeoutStopSec=180\n" in text, "the answers that are under way may take drain_seconds"


def test_words_are_what_systemd_reads() -> None:
    text = Unit(Path('/srv/a b/100%/$x"q"'), ("/bin/hermes gateway$x",), "hermes", Path("/etc/x=${HOME}")).render()
    assert 'ExecStart="/bin/hermes gateway$$x" run --config "/etc/x=$${HOME}"\n' in text
    assert 'Environment="HERMES_GATEWAY_HOME=/srv/a b/100%%/$x\\"q\\""\n' in text
    assert "User=hermes\n" in text


def test_a_unit_of_ones_own_has_no_account() -> None:
    text = Unit(Path("/srv/g"), ("/bin/hermes-gateway",)).render()
    assert "User=" not in text
    assert "WantedBy=default.target\n" in text


def test_places() -> None:
    assert place(system=True) == Path("/etc/systemd/system/hermes-gateway.service")
    assert place(system=False, config_home="/c") == Path("/c/systemd/user/hermes-gateway.service")
    assert place(system=False) == Path.home() / ".config/systemd/user/hermes-gateway.service"


def test_it_is_started_again_as_it_was(program: str) -> None:
    assert program_words(program) == (program,)
    assert program_words("/x/hermes_gateway.py") == (sys.executable, "-m", "hermes_gateway")


def instructions() -> list[tuple[str, str]]:
    joined = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", CONTAINERFILE, flags=re.MULTILINE))
    pairs = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [(name, words) for name, words in pairs]


def test_the_image_is_made_of_what_is_there() -> None:
    known = {
        "FROM",
        "ENV",
        "WORKDIR",
        "RUN",
        "COPY",
        "USER",
        "VOLUME",
        "STOPSIGNAL",
        "HEALTHCHECK",
        "ENTRYPOINT",
        "CMD",
    }
    assert {name for name, _ in instructions()} <= known
    sources = [word for name, words in instructions() if name == "COPY" for word in words.split()[:-1]]
    mine = [source for source in sources if not source.startswith(("--from", "/opt"))]
    assert mine
    assert [source for source in mine if not (ROOT / source).exists()] == []
    kept = {line[1:] for line in (ROOT / ".containerignore").read_text().splitlines() if line.startswith("!")}
    assert {source.partition("/")[0] for source in mine} == kept


def test_the_image_does_not_run_as_root() -> None:
    names = [name for name, _ in instructions()]
    assert dict(instructions())["USER"] == "hermes"
    assert names.index("USER") < names.index("ENTRYPOINT")


@pytest.mark.slow
def test_a_wheel_is_built_of_what_the_image_copies(tmp_path: Path) -> None:
    for name, words in instructions():
        if name != "COPY" or words.startswith("--from"):
            continue
        *sources, target = words.split()
        for source in sources:
            goal = tmp_path / (target if (ROOT / source).is_dir() else f"{target}/{Path(source).name}")
            goal.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, goal, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / source, goal)
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / "wheel"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    assert len(list((tmp_path / "wheel").glob("hermes_gateway-*.whl"))) == 1
