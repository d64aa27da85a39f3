"""What the environment asks of the tests, read before the environment is cleaned."""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

DEFAULT_KILLS: Final = 20
"""Kills of the storm in an ordinary test run."""

DEFAULT_SOAK_SECONDS: Final = 20.0
"""How long the gateway is under load in an ordinary test run."""

SHORT_SEED: Final = 20
"""A short storm is the same each time, as far as a storm can be; a long one looks for new ones."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`require_system`: a missing system tool or model fails. `long`: full counts. `keep`: the home of a test that
    failed stays. `seed` repeats a storm of kills."""

    require_system: bool
    long: bool
    keep: bool
    crash_kills: int
    crash_seed: int
    soak_seconds: float

    @classmethod
    def read(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Raises ValueError for a number that is none."""
        long = bool(environ.get("HERMES_CRASH_KILLS")) or environ.get("HERMES_GATEWAY_TEST_LONG", "") not in ("", "0")
        return cls(
            require_system=environ.get("HERMES_GATEWAY_REQUIRE_SYSTEM", "") not in ("", "0"),
            long=environ.get("HERMES_GATEWAY_TEST_LONG", "") not in ("", "0"),
            keep=environ.get("HERMES_GATEWAY_TEST_KEEP", "") not in ("", "0"),
            crash_kills=int(environ.get("HERMES_CRASH_KILLS") or DEFAULT_KILLS),
            crash_seed=int(environ.get("HERMES_CRASH_SEED") or (secrets.randbelow(10**9) if long else SHORT_SEED)),
            soak_seconds=float(environ.get("HERMES_SOAK_SECONDS") or DEFAULT_SOAK_SECONDS),
        )


def is_users(name: str) -> bool:
    """Whether a variable configures the user's own gateway, or the tests, and must not reach the code under test."""
    return name.startswith("HERMES_") or name.endswith("_BOT_TOKEN")
