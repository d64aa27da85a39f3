"""Values: what holds at run time, and what for the type checker alone."""

from dataclasses import FrozenInstanceError, dataclass, field, replace

import pytest

from gateway.values import maker, value


@value
class Point:
    x: int
    names: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Kept:
    x: int
    y: str = "y"


def test_a_value_is_a_dataclass() -> None:
    point = Point(1)
    assert point == Point(1)
    assert hash(point) == hash(Point(1))
    assert replace(point, names=("a",)) == Point(1, ("a",))
    assert repr(point) == "Point(x=1, names=())"
    with pytest.raises(AttributeError):
        point.other = 1  # type: ignore[attr-defined]


def test_what_a_maker_makes_is_as_if_its_class_had_been_called() -> None:
    made = maker(Kept)(1, "z")
    assert made == Kept(1, "z")
    assert type(made) is Kept
    assert replace(made, x=2) == Kept(2, "z")
    with pytest.raises(FrozenInstanceError):
        made.x = 2  # type: ignore[misc]
    with pytest.raises(TypeError):
        maker(Kept)(1)
