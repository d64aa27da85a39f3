"""What tests of the session store share: a clock that is set by hand, configurations, sources."""

from datetime import UTC, datetime, timedelta
from typing import Any

from config import GatewayConfig, Platform
from gateway.session import SessionSource

START = datetime(2026, 3, 25, 10, tzinfo=UTC)
USER = {"role": "user", "content": "hello"}
ANSWER = {"role": "assistant", "content": "hi"}


class HandClock:
    """A clock that stands still until it is moved."""

    def __init__(self, instant: datetime = START) -> None:
        self.instant = instant

    def now(self) -> datetime:
        """The instant it was set to."""
        return self.instant

    def monotonic(self) -> float:
        """Seconds since the start, on the same clock."""
        return (self.instant - START).total_seconds()

    def advance(self, **by: float) -> None:
        """Move on, or back, by the arguments of a timedelta."""
        self.instant += timedelta(**by)


def resets(mode: str = "idle", *, timezone: str = "UTC", **more: Any) -> GatewayConfig:
    """A configuration with this reset policy; by default sessions end after an hour's rest."""
    policy = {"mode": mode, "idle_minutes": 60, "at_hour": 4, **more}
    return GatewayConfig.model_validate({"timezone": timezone, "sessions": {"reset": policy}})


def dm(chat: str = "9", user: str = "7", name: str | None = "Ann") -> SessionSource:
    """A private chat on Telegram."""
    return SessionSource(Platform.TELEGRAM, chat, chat_name=name, user_id=user, user_name="Ann")


def group(chat: str = "-100", *, user: str | None = "7", thread: str | None = None) -> SessionSource:
    """A group on Telegram."""
    return SessionSource(Platform.TELEGRAM, chat, chat_name="Ops", chat_type="group", user_id=user, thread_id=thread)
