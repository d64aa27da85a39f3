"""Names of providers: our list is right, and a wrong name is told by the nearest one."""

import contextlib

import pytest
from pydantic_ai.providers import infer_provider_class

from gateway.agents.names import PROVIDERS, USUAL, provider_advice
from gateway.agents.providers import is_provider


@pytest.mark.parametrize("name", PROVIDERS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_name_is_one_that_the_library_knows(name: str) -> None:
    with contextlib.suppress(ImportError):  # known, and its packages are not installed here
        infer_provider_class(name)
    assert set(USUAL) <= set(PROVIDERS)


@pytest.mark.parametrize(("name", "nearest"), [("opnai", "openai"), ("Antropic", "anthropic"), ("mistal", "mistral")])
def test_the_nearest_name_is_told(name: str, nearest: str) -> None:
    assert not is_provider(name)
    assert provider_advice(name) == f"did you mean {nearest!r}?"


def test_where_nothing_is_near_the_usual_ones_are_told() -> None:
    assert provider_advice("foo").startswith("known are openai, ")
