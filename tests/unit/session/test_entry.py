"""`SessionEntry`: its serialised form, and what it tolerates of entries made elsewhere."""

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from config import Platform
from gateway.session import SessionEntry
from tests.unit.session.support import source

NOW = datetime(2026, 3, 25, 10, tzinfo=UTC)
OLD: dict[str, Any] = {
    "session_key": "agent:main:telegram:dm:9",
    "session_id": "20260325_100000_0123abcd",
    "created_at": "2026-03-25T10:00:00",
    "updated_at": "2026-03-25T10:30:00",
    "platform": "telegram",
    "chat_type": "dm",
    "origin": {"platform": "telegram", "chat_id": "9"},
}


def entry(**changes: Any) -> SessionEntry:
    return replace(SessionEntry("agent:main:telegram:dm:9", "s1", NOW, NOW), **changes)


def test_defaults() -> None:
    made = entry()
    assert made.total_tokens == 0
    assert (made.estimated_cost_usd, made.cost_status) == (0.0, "unknown")
    assert not made.was_auto_reset
    assert made.is_live


def test_total_is_the_sum_of_four() -> None:
    made = entry(input_tokens=11, output_tokens=5, cache_read_tokens=3, cache_write_tokens=2, last_prompt_tokens=7)
    assert made.total_tokens == 21


def test_times_are_kept_in_utc_and_naive_ones_refused() -> None:
    berlin = entry(created_at=NOW.astimezone(ZoneInfo("Europe/Berlin")))
    assert berlin.created_at.utcoffset() == timedelta(0)
    with pytest.raises(ValueError, match="updated_at"):
        entry(updated_at=NOW.replace(tzinfo=None))
    with pytest.raises(ValueError, match="calendar"):
        entry(updated_at=datetime.min.replace(tzinfo=timezone(timedelta(hours=1))))


def test_round_trip_keeps_everything() -> None:
    full = entry(
        origin=source({"platform": "telegram", "chat_id": 9, "user_name": "Ann"}),
        display_name="Ann",
        platform=Platform.TELEGRAM,
        chat_type="group",
        input_tokens=1,
        output_tokens=2,
        cache_read_tokens=3,
        cache_write_tokens=4,
        last_prompt_tokens=5,
        estimated_cost_usd=0.5,
        cost_status="estimated",
        was_auto_reset=True,
        auto_reset_reason="idle",
        reset_had_activity=True,
        message_count=6,
        model="m",
        title="t",
        predecessor_id="p",
        successor_id="s",
        ended_at=NOW,
        end_reason="session_reset",
    )
    unset = {f.name for f in fields(full) if getattr(full, f.name) == f.default}
    assert unset == {"unknown_platform", "unknown_origin"}
    assert SessionEntry.from_dict(full.to_dict()) == full
    assert full.to_dict()["total_tokens"] == 10


def test_reset_notice_survives_storage() -> None:
    stored = entry(was_auto_reset=True, auto_reset_reason="daily", reset_had_activity=True).to_dict()
    again = SessionEntry.from_dict(stored)
    assert (again.was_auto_reset, again.auto_reset_reason, again.reset_had_activity) == (True, "daily", True)


def test_old_index_entry() -> None:
    read = SessionEntry.from_dict(OLD, ZoneInfo("Europe/Berlin"))
    assert read.created_at == datetime(2026, 3, 25, 9, tzinfo=UTC)
    assert read.origin == source(OLD["origin"])
    assert read.platform == Platform.TELEGRAM
    assert SessionEntry.from_dict(OLD).created_at == NOW


def test_unknown_platforms_are_kept_and_unroutable() -> None:
    data = {**OLD, "platform": "gone", "origin": {"platform": "gone", "chat_id": "9"}}
    read = SessionEntry.from_dict(data)
    assert (read.platform, read.origin) == (None, None)
    assert read.unknown_platform == "gone"
    written = read.to_dict()
    assert (written["platform"], written["origin"]) == ("gone", data["origin"])
    assert SessionEntry.from_dict(written) == read


def test_null_values_have_their_defaults() -> None:
    nulls = dict.fromkeys(entry().to_dict())
    required = {name: OLD[name] for name in ("session_key", "session_id", "created_at")}
    read = SessionEntry.from_dict({**nulls, **required})
    assert read == SessionEntry.from_dict(required)
    assert read.updated_at == read.created_at
    assert read.origin is None


@pytest.mark.parametrize("name", ["session_key", "session_id", "created_at"])
def test_required_fields(name: str) -> None:
    with pytest.raises(KeyError):
        SessionEntry.from_dict({k: v for k, v in OLD.items() if k != name})
    with pytest.raises(ValueError, match=name):
        SessionEntry.from_dict({**OLD, name: None})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("created_at", "yesterday"),
        ("updated_at", 5),
        ("input_tokens", "many"),
        ("input_tokens", -1),
        ("message_count", True),
        ("estimated_cost_usd", float("nan")),
        ("title", 7),
    ],
)
def test_wrong_values_are_named(name: str, value: object) -> None:
    with pytest.raises(ValueError):
        SessionEntry.from_dict({**OLD, name: value})
