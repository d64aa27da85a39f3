"""What a test of the suite needs of a platform, and the fixture that skips it by name where that is missing."""

from collections.abc import AsyncIterator, Callable
from typing import ClassVar, Final, TypeVar

import pytest
import pytest_asyncio

from adapters.testing.conformance.harness import Ability, Fault, Harness, PlaceKind
from adapters.testing.conformance.trial import Trial

Test = TypeVar("Test", bound=Callable[..., object])

_ATTRIBUTE: Final = "conformance_needs"

OF_KIND: Final = {
    PlaceKind.DM: None,
    PlaceKind.GROUP: Ability.GROUPS,
    PlaceKind.THREAD: Ability.THREADS,
    PlaceKind.GENERAL: Ability.GENERAL,
}
"""What a platform must have for a kind of place to exist."""


def needs(*abilities: Ability) -> Callable[[Test], Test]:
    """Skip a test, by name, on a platform without these."""

    def note(test: Test) -> Test:
        setattr(test, _ATTRIBUTE, abilities)
        return test

    return note


def missing(harness: Harness, request: pytest.FixtureRequest) -> str | None:
    """What a test needs and this harness has not; None if nothing."""
    wanted: list[Ability | Fault] = list(getattr(request.function, _ATTRIBUTE, ()))
    parameters = request.node.callspec.params.values() if hasattr(request.node, "callspec") else ()
    for value in parameters:
        ability = OF_KIND.get(value) if isinstance(value, PlaceKind) else None
        wanted += [each for each in (value, ability) if isinstance(each, Ability | Fault)]
    have = harness.supports | harness.faults
    return next((str(each) for each in wanted if each not in have), None)


class Staged:
    """Gives each test a trial that is under way. Derive from it, and give a fixture `harness`."""

    pytestmark: ClassVar = [pytest.mark.asyncio]

    @pytest_asyncio.fixture
    async def offline(self, harness: Harness, request: pytest.FixtureRequest) -> AsyncIterator[Trial]:
        """A trial whose daemon is not started yet. What holds for every test is checked after it."""
        lacking = missing(harness, request)
        if lacking is not None:
            pytest.skip(f"{harness.name} lacks: {lacking}")
        async with Trial(harness) as trial:
            yield trial
            await trial.check()

    @pytest_asyncio.fixture
    async def trial(self, offline: Trial) -> Trial:
        """A trial whose platform is connected."""
        await offline.start()
        await offline.connected()
        return offline
