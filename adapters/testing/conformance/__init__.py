"""The conformance suite: what any adapter must pass, run through the real daemon over a home of its own.

Whoever writes an adapter writes a `Harness`: a counterpart of the platform on this machine, people who write there, and
what they see. Then, in a file of tests:

    class TestMine(AdapterConformance):
        @pytest.fixture
        def harness(self) -> Harness:
            return MyHarness()

Each test is a promise that people and operators get, by name. One is skipped, and says so, where the harness does not
declare what it needs. It takes pytest and pytest-asyncio.
"""

import pytest

TESTS = ("conversation", "lifetime", "media", "people", "streaming", "suite", "trial", "trouble")

pytest.register_assert_rewrite(*(f"{__name__}.{part}" for part in TESTS))

from adapters.testing.conformance.harness import (  # noqa: E402 - asserts have to be registered first
    Ability,
    AdapterFactory,
    Fault,
    File,
    Harness,
    Passing,
    Place,
    PlaceKind,
    Shown,
)
from adapters.testing.conformance.suite import AdapterConformance  # noqa: E402

__all__ = [
    "Ability",
    "AdapterConformance",
    "AdapterFactory",
    "Fault",
    "File",
    "Harness",
    "Passing",
    "Place",
    "PlaceKind",
    "Shown",
]
