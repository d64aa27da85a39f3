"""When a session ends by its reset policy: pure functions of the policy, the last activity, now and the zone.

Real time is what counts: every instant is compared in UTC. Only the daily boundary is a matter of the wall
clock: it is the first instant at which the clocks of the zone show the hour of that day or later. So where
clocks skip the hour it falls on the first valid instant after the gap (on a skipped day too), and where they
show it twice, on the first time.
"""

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from itertools import islice
from typing import Final, Literal, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from config import SessionResetPolicy

ResetReason: TypeAlias = Literal["idle", "daily"]

_TICK: Final = timedelta.resolution
_TICKS_A_MINUTE: Final = timedelta(minutes=1) // _TICK
_FOR_EVER: Final = 2**61
_SECOND: Final = timedelta(seconds=1)
_DAYS_AHEAD: Final = 2
"""A zone can go back across midnight, by a day at most: a later date's boundary may have passed already."""


def reset_reason(
    policy: SessionResetPolicy, updated_at: datetime, now: datetime, timezone: tzinfo | str
) -> ResetReason | None:
    """Why a session that was last active at `updated_at` is over at `now`, or None while it goes on.

    Idle: strictly more than `idle_minutes` of real time have passed. Daily: the latest boundary, `at_hour` in
    `timezone` (a zone or its IANA name), is later than the last activity. With both, idle is the reason given
    first. A clock that went back resets nothing. Raises ValueError for naive datetimes and unknown zones.
    """
    updated_at, now = _in_utc(updated_at, "updated_at"), _in_utc(now, "now")
    zone = _zone(timezone)
    elapsed = (now - updated_at) // _TICK
    if policy.mode in ("idle", "both") and elapsed > policy.idle_minutes * _TICKS_A_MINUTE:
        return "idle"
    if policy.mode in ("daily", "both") and updated_at < daily_boundary(now, policy.at_hour, zone):
        return "daily"
    return None


def quiet_limit(policy: SessionResetPolicy) -> int | None:
    """For how many microseconds a session may be quiet and go on whatever the hour is; None if the hour matters."""
    if policy.mode == "none":
        return _FOR_EVER
    return min(policy.idle_minutes * _TICKS_A_MINUTE, _FOR_EVER) if policy.mode == "idle" else None


def next_reset_at(policy: SessionResetPolicy, updated_at: datetime, timezone: tzinfo | str) -> datetime | None:
    """The instant, in UTC, that divides "goes on" from "is over" for a session last active at `updated_at`.

    `reset_reason` is None at every instant before it and a reason at every instant after it. At the instant
    itself a daily boundary is a reason already, an idle deadline not yet. None if the policy never resets,
    or not within the calendar. Raises ValueError as `reset_reason` does.
    """
    updated_at = _in_utc(updated_at, "updated_at")
    zone = _zone(timezone)
    candidates: list[datetime] = []
    if policy.mode in ("idle", "both"):
        with suppress(OverflowError):
            candidates.append(updated_at + timedelta(minutes=policy.idle_minutes))
    if policy.mode in ("daily", "both"):
        later = (b for b in _boundaries_near(updated_at, policy.at_hour, zone) if b > updated_at)
        candidates.extend(islice(later, 1))
    return min(candidates, default=None)


def daily_boundary(now: datetime, at_hour: int, timezone: tzinfo | str) -> datetime:
    """The latest daily boundary at or before `now`, in UTC. `at_hour` is 0 to 23, on the clocks of the zone.

    It never goes back as `now` goes on. Raises ValueError for a naive `now` and for an unknown zone.
    """
    now = _in_utc(now, "now")
    return max(b for b in _boundaries_near(now, at_hour, _zone(timezone)) if b <= now)


def _boundaries_near(instant: datetime, at_hour: int, zone: tzinfo) -> Iterator[datetime]:
    """The boundaries from the one that is surely not after the instant to one that surely is, in order."""
    today = instant.date()
    with suppress(OverflowError):
        today = instant.astimezone(zone).date()
    for days in range(-1, _DAYS_AHEAD + 1):
        with suppress(OverflowError):  # a day at either end of the calendar has no boundary
            yield _boundary_on(today + timedelta(days=days), at_hour, zone)


def _boundary_on(day: date, at_hour: int, zone: tzinfo) -> datetime:
    """The first instant, in UTC, at which the zone's clocks show `at_hour` of this day or later."""
    wall = datetime.combine(day, time(at_hour))
    # In a gap, fold 0 counts with the offset before it, which gives an instant after the gap; fold 1 the
    # reverse.
    late = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if _wall_clock(late, zone) == wall:
        return late
    early = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    while late - early > _SECOND:
        middle = early + (late - early) // _SECOND // 2 * _SECOND
        if _wall_clock(middle, zone) < wall:
            early = middle
        else:
            late = middle
    return late


def _wall_clock(instant: datetime, zone: tzinfo) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)


def _in_utc(instant: datetime, name: str) -> datetime:
    if instant.tzinfo is None or instant.utcoffset() is None:
        raise ValueError(f"{name} must be an aware datetime: without a zone it names no instant")
    return instant.astimezone(UTC)


def _zone(timezone: tzinfo | str) -> tzinfo:
    if isinstance(timezone, tzinfo):
        return timezone
    try:
        return ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"unknown time zone {timezone!r}: use an IANA name such as Europe/Berlin") from error
