"""How the process keeps house in its memory."""

import gc
from collections.abc import Iterator

import pytest

from gateway.memory import YOUNG_OBJECTS, settle


@pytest.fixture
def collector() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


@pytest.mark.usefixtures("collector")
def test_what_stays_is_looked_at_no_more() -> None:
    kept = [[number] for number in range(1000)]
    settle()
    assert gc.get_freeze_count() > len(kept)
    assert gc.get_threshold()[0] == YOUNG_OBJECTS
    assert not any(found is kept for found in gc.get_objects())
