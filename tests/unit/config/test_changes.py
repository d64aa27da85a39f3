"""What differs between two configurations, key by key, and what of it has to wait for a restart."""

from collections.abc import Mapping
from typing import Any

import pytest

from config import GatewayConfig, LiveConfig
from config.changes import RESTART_KEYS, compare
from config.load import leaf_paths


def configured(**sections: Any) -> GatewayConfig:
    return GatewayConfig.model_validate(sections)


def telegram(**keys: Any) -> Mapping[str, Any]:
    return {"telegram": {"token": "t", **keys}}


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ({}, {}, ()),
        ({}, {"busy": "steer"}, ("busy",)),
        ({}, {"timezone": "Europe/Berlin", "allowed_users": ["a"]}, ("timezone", "allowed_users")),
        ({}, {"sessions": {"reset": {"mode": "daily"}}}, ("sessions.reset.mode",)),
        ({}, {"sessions": {"reset_by_type": {"dm": {"mode": "none"}}}}, ("sessions.reset_by_type.dm",)),
        ({"platforms": telegram()}, {}, ("platforms.telegram",)),
        ({"platforms": telegram()}, {"platforms": telegram(token="u")}, ("platforms.telegram.token",)),
        (
            {"platforms": telegram()},
            {"platforms": telegram(home_channel={"chat_id": "1"})},
            ("platforms.telegram.home_channel",),
        ),
        (
            {"platforms": telegram(home_channel={"chat_id": "1"})},
            {"platforms": telegram(home_channel={"chat_id": "2"})},
            ("platforms.telegram.home_channel.chat_id",),
        ),
        ({"agents": {"a": {"type": "echo"}}}, {"agents": {"a": {"type": "local"}}}, ("agents.a",)),
        ({"agents": {"a": {"type": "echo"}}}, {"agents": {"b": {"type": "echo"}}}, ("agents.a", "agents.b")),
        (
            {"agents": {"a": {"type": "echo"}}},
            {"agents": {"a": {"type": "echo", "delay_ms": 1}}},
            ("agents.a.delay_ms",),
        ),
    ],
)
def test_what_changes_is_named(before: Mapping[str, Any], after: Mapping[str, Any], changed: tuple[str, ...]) -> None:
    changes = compare(configured(**before), configured(**after))
    assert changes.applied == changed
    assert changes.needs_restart == ()
    assert changes.config == configured(**after)


def test_what_needs_a_restart_keeps_its_value_and_the_rest_does_not() -> None:
    before = configured(storage={"synchronous": "full"}, http={"port": 1})
    after = configured(storage={"synchronous": "normal", "retention_days": 7}, http={"port": 2, "api_key": "k"})
    changes = compare(before, after)
    assert changes.needs_restart == ("storage.synchronous", "http.port")
    assert changes.applied == ("storage.retention_days", "http.api_key")
    assert (changes.config.storage.synchronous, changes.config.http.port) == ("full", 1)
    assert changes.config.storage.retention_days == 7
    assert compare(changes.config, after).needs_restart == changes.needs_restart
    assert compare(changes.config, before).needs_restart == ()


def test_the_keys_that_need_a_restart_exist() -> None:
    assert set(RESTART_KEYS) <= {".".join(path) for path in leaf_paths(GatewayConfig())}


def test_a_holder_gives_what_is_in_force_and_tells_of_a_replacement() -> None:
    live, told = LiveConfig(GatewayConfig()), list[str]()
    assert LiveConfig.of(live) is live
    live.listen(lambda: told.append(live.current.busy))
    live.replace(configured(busy="steer"))
    assert told == ["steer"]
