"""Fixtures of the crash tests."""

from collections.abc import Callable
from typing import Any

import pytest

from adapters.local import client
from config import Home
from tests.crash.rig import Rig
from tests.support.daemon_launcher import DaemonLauncher

RigMaker = Callable[..., Rig]


@pytest.fixture
def rig(daemon_launcher: DaemonLauncher, home: Home, monkeypatch: pytest.MonkeyPatch) -> RigMaker:
    """Makes the one rig of a test. Terminals come back at once: a daemon that was killed is soon there again."""
    monkeypatch.setattr(client, "MAX_RETRY_SECONDS", 0.05)

    def make(**options: Any) -> Rig:
        return Rig(daemon_launcher, home, **options)

    return make
