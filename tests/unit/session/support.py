"""What the tests of sessions share: the vector cases and sources made from them."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark import ParameterSet

from gateway.session import SessionSource

VECTORS = Path(__file__).parents[2] / "vectors"


def cases(suite: str, *, only: Collection[str] = ()) -> list[ParameterSet]:
    """The cases of a suite, each under its id; those marked "drop" are left out."""
    data = json.loads((VECTORS / f"{suite}.json").read_text(encoding="utf-8"))
    assert data["suite"] == suite
    return [
        pytest.param(case, id=case["id"])
        for case in data["cases"]
        if case["mark"] != "drop" and (not only or case["id"] in only)
    ]


def source(fields: Mapping[str, Any]) -> SessionSource:
    """A source made directly, as an adapter makes it."""
    return SessionSource(**{"chat_id": None, **fields})
