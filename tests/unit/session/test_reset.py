"""Reset decisions, against the cases and against an oracle that watches the clock minute by minute."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Literal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from config import SessionResetPolicy
from gateway.session import daily_boundary, next_reset_at, reset_reason
from tests.unit.session.support import cases

REJECTED = {"reset_decisions-026", "reset_decisions-034"}
MINUTE = timedelta(minutes=1)

ZONES = (
    "Africa/Cairo",
    "Africa/Casablanca",
    "America/Havana",
    "America/New_York",
    "America/Sao_Paulo",
    "America/Scoresbysund",
    "America/St_Johns",
    "Antarctica/Casey",
    "Antarctica/Troll",
    "Asia/Beirut",
    "Asia/Gaza",
    "Asia/Kathmandu",
    "Asia/Pyongyang",
    "Asia/Tehran",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Europe/London",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Pacific/Kiritimati",
    "Pacific/Kwajalein",
    "UTC",
)

Mode = Literal["none", "idle", "daily", "both"]
MODES: tuple[Mode, ...] = ("none", "idle", "daily", "both")


def policy(mode: Mode, at_hour: int = 4, idle_minutes: int = 1440) -> SessionResetPolicy:
    return SessionResetPolicy(mode=mode, at_hour=at_hour, idle_minutes=idle_minutes)


# --- the cases -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kathmandu"])
@pytest.mark.parametrize("case", cases("reset_decisions"))
def test_decision(case: dict[str, Any], zone: str) -> None:
    data = case["input"]
    fields = {name: data[name] for name in ("mode", "at_hour", "idle_minutes")}
    if case["id"] in REJECTED:
        with pytest.raises(ValueError):
            SessionResetPolicy(**fields)
        return
    updated_at = datetime.fromisoformat(data["updated_at"])
    now = datetime.fromisoformat(data["now"])
    expected = case["expected"]
    if case["id"] == "reset_decisions-036":
        zone, now, expected = "Europe/Berlin", now.replace(fold=1), "idle"
    else:
        assert case["mark"] == "keep"
    if data["has_active_process"]:
        # What runs is asked about before the policy; the policy alone would reset here.
        expected = data["mode"]
    tz = ZoneInfo(zone)
    decided = reset_reason(SessionResetPolicy(**fields), updated_at.replace(tzinfo=tz), now.replace(tzinfo=tz), tz)
    assert decided == expected


# --- what single rules say -----------------------------------------------------------------------------


def test_idle_counts_real_minutes_when_clocks_go_forward() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    before, after = (
        datetime(2026, 3, 29, 1, 50, tzinfo=berlin),
        datetime(2026, 3, 29, 3, 30, tzinfo=berlin),
    )
    assert reset_reason(policy("idle", idle_minutes=40), before, after, berlin) is None
    assert reset_reason(policy("idle", idle_minutes=39), before, after, berlin) == "idle"


def test_idle_limits_of_any_size_are_understood() -> None:
    endless = policy("idle", idle_minutes=10**15)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    assert reset_reason(endless, start, start + timedelta(days=3650), "UTC") is None
    assert next_reset_at(endless, start, "UTC") is None


def test_an_unreachable_idle_deadline_leaves_the_daily_one() -> None:
    both = policy("both", idle_minutes=10**15)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    assert next_reset_at(both, start, "UTC") == start + timedelta(hours=4)


@pytest.mark.parametrize(
    ("zone", "now", "at_hour", "boundary"),
    [
        # The hour is skipped: the first valid instant after the gap.
        ("Europe/Berlin", "2026-03-29T12:00+02:00", 2, "2026-03-29T03:00+02:00"),
        ("Africa/Cairo", "2024-04-26T12:00+03:00", 0, "2024-04-26T01:00+03:00"),
        ("Asia/Beirut", "2022-03-27T12:00+03:00", 0, "2022-03-27T01:00+03:00"),
        ("Antarctica/Troll", "2026-03-29T12:00+02:00", 1, "2026-03-29T03:00+02:00"),
        ("Australia/Lord_Howe", "2026-10-04T12:00+11:00", 2, "2026-10-04T02:30+11:00"),
        # A day is skipped as a whole.
        ("Pacific/Apia", "2011-12-31T02:00+14:00", 4, "2011-12-31T00:00+14:00"),
        ("Pacific/Apia", "2011-12-31T05:00+14:00", 4, "2011-12-31T04:00+14:00"),
        # The hour is shown twice: the first time.
        ("Europe/Berlin", "2026-10-25T12:00+01:00", 2, "2026-10-25T02:00+02:00"),
        ("Europe/Berlin", "2026-10-25T02:30+01:00", 2, "2026-10-25T02:00+02:00"),
        # Half an hour shown twice does not hold the hour a second time.
        ("Australia/Lord_Howe", "2026-04-05T12:00+10:30", 2, "2026-04-05T02:00+10:30"),
        # Midnight is shown twice: it stays behind while the clocks show the old day once more.
        ("America/Havana", "2026-11-01T00:30-05:00", 0, "2026-11-01T00:00-04:00"),
        ("America/St_Johns", "2009-10-31T23:30-03:30", 0, "2009-11-01T00:00-02:30"),
    ],
)
def test_daily_boundary(zone: str, now: str, at_hour: int, boundary: str) -> None:
    found = daily_boundary(datetime.fromisoformat(now), at_hour, zone)
    assert found == datetime.fromisoformat(boundary)
    assert found.utcoffset() == timedelta(0)


def test_zone_can_be_a_name_a_zone_or_a_fixed_offset() -> None:
    now = datetime(2026, 7, 1, 12, tzinfo=UTC)
    by_name = daily_boundary(now, 4, "Etc/GMT-2")
    assert by_name == daily_boundary(now, 4, ZoneInfo("Etc/GMT-2"))
    assert by_name == daily_boundary(now, 4, timezone(timedelta(hours=2)))


@pytest.mark.parametrize("zone", ["Europe/Berlim", "", "../etc/passwd"])
def test_unknown_zone(zone: str) -> None:
    now = datetime(2026, 7, 1, 12, tzinfo=UTC)
    with pytest.raises(ValueError, match="IANA"):
        reset_reason(policy("daily"), now, now, zone)


def test_naive_times_are_refused() -> None:
    aware = datetime(2026, 7, 1, 12, tzinfo=UTC)
    naive = aware.replace(tzinfo=None)
    with pytest.raises(ValueError, match="updated_at"):
        reset_reason(policy("none"), naive, aware, "UTC")
    with pytest.raises(ValueError, match="now"):
        reset_reason(policy("none"), aware, naive, "UTC")
    with pytest.raises(ValueError, match="updated_at"):
        next_reset_at(policy("none"), naive, "UTC")
    with pytest.raises(ValueError, match="now"):
        daily_boundary(naive, 4, "UTC")


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Pacific/Kiritimati"])
def test_ends_of_the_calendar(zone: str) -> None:
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    now = datetime(2026, 7, 1, 12, tzinfo=UTC)
    assert reset_reason(policy("daily"), first, now, zone) == "daily"
    assert reset_reason(policy("daily"), last, now, zone) is None
    after_first = next_reset_at(policy("daily"), first, zone)
    assert after_first is not None
    assert first < after_first < first + timedelta(days=2)
    assert next_reset_at(policy("both"), last, zone) is None


def test_a_day_that_is_shown_twice_has_one_boundary() -> None:
    # Alaska crossed the date line: its clocks went from the afternoon of the 19th to that of the 18th.
    again_the_18th = datetime(1867, 10, 19, 1, tzinfo=UTC)
    juneau = ZoneInfo("America/Juneau")
    assert again_the_18th.astimezone(juneau).day == 18
    on_the_19th = daily_boundary(again_the_18th, 4, juneau)
    assert on_the_19th < again_the_18th
    assert on_the_19th.astimezone(juneau).replace(tzinfo=None) == datetime(1867, 10, 19, 4)  # noqa: DTZ001
    following = next_reset_at(policy("daily"), again_the_18th, juneau)
    assert following is not None
    assert following.astimezone(juneau).replace(tzinfo=None) == datetime(1867, 10, 20, 4)  # noqa: DTZ001


# --- against the oracle --------------------------------------------------------------------------------


def boundaries_seen(zone: ZoneInfo, start: datetime, end: datetime, at_hour: int) -> list[datetime]:
    """Watch the clocks of a zone, minute by minute; note when they first show a day's hour or a later one."""
    seen = []
    instant = start - timedelta(days=3)
    furthest = instant.astimezone(zone).replace(tzinfo=None)
    while instant < end:
        instant += MINUTE
        shown = instant.astimezone(zone).replace(tzinfo=None)
        if shown <= furthest:
            continue
        mark = shown.replace(hour=at_hour, minute=0)
        reached = [d for d in (mark - timedelta(days=1), mark) if furthest < d <= shown]
        furthest = shown
        if reached and instant >= start:
            seen.append(instant)
    return seen


def transitions(zone: ZoneInfo) -> list[datetime]:
    """Hours of the years 2000 to 2027 after which the zone's offset differs."""
    instant, found = datetime(2000, 1, 1, tzinfo=UTC), []
    step = timedelta(days=5)
    while instant.year < 2028:
        if instant.astimezone(zone).utcoffset() != (instant + step).astimezone(zone).utcoffset():
            hour = instant
            while hour.astimezone(zone).utcoffset() == instant.astimezone(zone).utcoffset():
                hour += timedelta(hours=1)
            found.append(hour)
        instant += step
    return found


TRANSITIONS = {name: transitions(ZoneInfo(name)) for name in ZONES}


@st.composite
def moments(draw: st.DrawFn) -> tuple[ZoneInfo, datetime, datetime]:
    """A zone and two minutes in it, mostly around a change of its clocks."""
    name = draw(st.sampled_from(ZONES))
    anchor = draw(st.sampled_from(TRANSITIONS[name] or [datetime(2026, 3, 1, tzinfo=UTC)]))
    updated_at = anchor + draw(st.integers(-1600, 400)) * MINUTE
    return ZoneInfo(name), updated_at, updated_at + draw(st.integers(0, 2000)) * MINUTE


@settings(max_examples=150, deadline=None)
@given(moments(), st.integers(0, 23), st.integers(0, 2000), st.sampled_from(MODES))
@example(
    (
        ZoneInfo("Pacific/Apia"),
        datetime(2011, 12, 30, 9, tzinfo=UTC),
        datetime(2011, 12, 30, 12, tzinfo=UTC),
    ),
    4,
    60,
    "daily",
)
def test_decision_is_what_a_watcher_of_the_clock_would_say(
    moment: tuple[ZoneInfo, datetime, datetime], at_hour: int, idle_minutes: int, mode: Mode
) -> None:
    zone, updated_at, now = moment
    idle = mode in ("idle", "both") and (now - updated_at) > idle_minutes * MINUTE
    passed = boundaries_seen(zone, updated_at + MINUTE, now, at_hour)
    expected = "idle" if idle else "daily" if mode in ("daily", "both") and passed else None
    local = (updated_at.astimezone(zone), now.astimezone(zone))
    chosen = policy(mode, at_hour, idle_minutes)
    assert reset_reason(chosen, updated_at, now, zone) == expected
    assert reset_reason(chosen, *local, str(zone)) == expected


@settings(max_examples=150, deadline=None)
@given(moments(), st.integers(0, 23), st.integers(0, 4000), st.sampled_from(MODES))
def test_next_reset_divides_before_from_after(
    moment: tuple[ZoneInfo, datetime, datetime], at_hour: int, idle_minutes: int, mode: Mode
) -> None:
    zone, updated_at, now = moment
    chosen = policy(mode, at_hour, idle_minutes)
    at = next_reset_at(chosen, updated_at, zone)
    if at is None:
        assert mode == "none"
        assert reset_reason(chosen, updated_at, now, zone) is None
        return
    tick = timedelta.resolution
    assert at >= updated_at
    assert reset_reason(chosen, updated_at, at - tick, zone) is None
    assert reset_reason(chosen, updated_at, at + tick, zone) is not None
    assume(now != at)
    assert (reset_reason(chosen, updated_at, now, zone) is not None) == (now > at)


@settings(deadline=None)
@given(moments(), st.integers(0, 23))
def test_daily_boundary_never_goes_back(moment: tuple[ZoneInfo, datetime, datetime], at_hour: int) -> None:
    zone, earlier, later = moment
    first, second = daily_boundary(earlier, at_hour, zone), daily_boundary(later, at_hour, zone)
    assert first <= earlier
    assert first <= second <= later
    assert daily_boundary(first, at_hour, zone) == first
