"""The soak's count at the servers: what it takes for right, and each kind of fault it finds."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.soak.child import answer_to
from tests.soak.people import PLANS, Talk, _wrong_in, body_of, is_marked

MARKED = "_(sent again after an interruption; you may have seen it)_"


@dataclass
class Sent:
    """What the bot shows."""

    text: str
    deleted_at: float | None = None
    sent_at: float = 0.0
    texts: list[str] = field(default_factory=list)


def talk(*shown: Sent, asked: int = 2) -> Talk:
    made = Talk("here", str, lambda: shown, lambda _message: True)
    made.asked = {f"m{number}": f"m{number} {plan}" for number, plan in zip(range(9, 9 + asked), PLANS, strict=False)}
    return made


def answers(*labels: str) -> list[Sent]:
    return [Sent(answer_to(f"{label} short")) for label in labels]


@pytest.mark.parametrize(
    "shown",
    [
        answers("m9", "m10"),
        [*answers("m9"), Sent("That ", deleted_at=1.0), *answers("m10")],
        [*answers("m9", "m10"), Sent(f"{MARKED}\n{answer_to('m9 short')}")],
    ],
    ids=["each once", "one taken away", "a marked repeat"],
)
def test_what_is_right(shown: list[Sent]) -> None:
    assert list(_wrong_in(talk(*shown))) == []


@pytest.mark.parametrize(
    ("shown", "faults"),
    [
        (answers("m9"), ["lost"]),
        (answers("m9", "m10", "m9"), ["repeated"]),
        ([Sent("That "), *answers("m9", "m10")], ["stray"]),
        ([Sent("That was m9. And"), *answers("m10")], ["stray", "lost"]),
        (answers("m10", "m9"), ["order"]),
    ],
)
def test_what_is_wrong(shown: list[Sent], faults: list[Any]) -> None:
    assert [fault.partition(":")[0] for fault in _wrong_in(talk(*shown))] == faults


def test_marks() -> None:
    repeat = Sent(f"{MARKED}\nThat was m9.")
    assert (is_marked(repeat), body_of(repeat)) == (True, "That was m9.")
    assert not is_marked(Sent("That was m9."))
