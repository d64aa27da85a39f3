"""The home folder: where it is, what it holds, and that only its owner can read it."""

import os
import stat
from pathlib import Path

import pytest

from config import Home


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_environment_names_it(tmp_path: Path) -> None:
    assert Home.locate({"HERMES_GATEWAY_HOME": str(tmp_path)}).path == tmp_path


@pytest.mark.parametrize("environ", [{}, {"HERMES_GATEWAY_HOME": ""}])
def test_default_is_in_the_users_folder(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Home.locate(environ).path == tmp_path / ".hermes-gateway"


def test_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HERMES_GATEWAY_HOME", str(tmp_path))
    assert Home.locate().path == tmp_path


def test_relative_path_is_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert Home.locate({"HERMES_GATEWAY_HOME": "here"}).path == tmp_path / "here"


def test_names_of_what_it_holds(tmp_path: Path) -> None:
    home = Home(tmp_path)
    paths = (home.config_file, home.database, home.sessions_dir, home.media_dir, home.socket, home.lock)
    assert [path.name for path in (*paths, home.logs_dir)] == [
        "gateway.yaml",
        "gateway.db",
        "sessions",
        "media",
        "gateway.sock",
        "gateway.lock",
        "logs",
    ]
    assert {path.parent for path in paths} == {tmp_path}


def test_ensure_creates_closed_folders_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        home = Home(tmp_path / "a" / "home").ensure()
    finally:
        os.umask(before)
    for folder in (home.path, home.sessions_dir, home.media_dir, home.logs_dir):
        assert mode(folder) == 0o700


def test_ensure_closes_an_open_folder_and_keeps_what_is_in_it(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.path.mkdir(mode=0o755)
    home.path.chmod(0o755)
    home.config_file.write_text("busy: queue\n")
    home.ensure()
    home.ensure()
    assert mode(home.path) == 0o700
    assert home.config_file.read_text() == "busy: queue\n"
