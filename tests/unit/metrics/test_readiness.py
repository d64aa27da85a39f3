"""Every reason for which the gateway is not ready, or no better than makeshift."""

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.readiness import readiness
from gateway.reload import ReloadResult
from gateway.storage.state import StorageState

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BROKEN = replace(StorageState(), since=NOON, reason="disk I/O error")


def parts(**changed: Any) -> Any:
    standing: dict[str, Any] = {
        "states": {"telegram": {"state": "connected", "reason": None}},
        "agent": None,
        "alive": True,
        "writer_full": False,
        "storage": StorageState(),
        "lanes_full": False,
        "mirror": None,
        "reload": None,
    } | changed
    writer = SimpleNamespace(is_alive=standing["alive"], is_full=standing["writer_full"])
    return SimpleNamespace(
        adapters=SimpleNamespace(states=standing["states"]),
        roster=SimpleNamespace(trouble=standing["agent"]),
        database=SimpleNamespace(writer=writer, state=standing["storage"]),
        lanes=SimpleNamespace(is_full=standing["lanes_full"]),
        mirror=SimpleNamespace(trouble=standing["mirror"]),
        reloader=SimpleNamespace(last=standing["reload"]),
    )


def test_where_all_is_well_there_are_none() -> None:
    assert readiness(cast("Any", parts())) == (True, {"reasons": [], "degraded": []})


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"states": {"slack": {"state": "failed", "reason": "no route"}}}, "slack is failed: no route"),
        ({"states": {"slack": {"state": "connecting", "reason": None}}}, "slack is connecting"),
        ({"agent": "the agent ada is not started"}, "the agent ada is not started"),
        ({"alive": False}, "the database's writer has ended: restart the gateway"),
        ({"writer_full": True}, "the database cannot keep up: messages are not taken until it has"),
        ({"storage": replace(BROKEN, mode="none")}, "nothing can be stored: disk I/O error"),
        ({"lanes_full": True}, "too many messages wait for an answer: no more are taken until some have one"),
    ],
)
def test_each_reason_not_to_be_ready(changed: dict[str, Any], reason: str) -> None:
    assert readiness(parts(**changed)) == (False, {"reasons": [reason], "degraded": []})


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"states": {"slack": {"state": "degraded", "reason": "slow"}}}, "slack is degraded: slow"),
        (
            {"storage": replace(BROKEN, mode="spool")},
            f"the database is out of use since {NOON}, the spool is used: disk I/O error",
        ),
        ({"mirror": "disk full"}, "the mirror of the transcripts falls behind: disk full"),
        (
            {"reload": ReloadResult(NOON, "file", ok=False, problems=("x",))},
            "the configuration's last change was not taken over: `hermes-gateway status` says why",
        ),
    ],
)
def test_each_thing_that_is_makeshift(changed: dict[str, Any], word: str) -> None:
    assert readiness(parts(**changed)) == (True, {"reasons": [], "degraded": [word]})


def test_several_are_all_told() -> None:
    ready, told = readiness(parts(lanes_full=True, alive=False, mirror="disk full"))
    assert (ready, len(told["reasons"]), len(told["degraded"])) == (False, 2, 1)


def test_a_reload_that_was_taken_over_is_no_trouble() -> None:
    assert readiness(parts(reload=ReloadResult(NOON, "file", ok=True)))[1]["degraded"] == []
