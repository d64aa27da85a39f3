"""What the errors of sessions say and what they can be caught as."""

import pickle

import pytest

from gateway.session import AmbiguousSessionKey, NothingToRetry, NothingToUndo, SessionError, SessionInUse
from gateway.session import UnknownSession as Unknown


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (Unknown("s1"), KeyError, ["'s1'"]),
        (AmbiguousSessionKey("agent:main:x", ["s1", "s2"]), SessionError, ["agent:main:x", "s1", "s2"]),
        (SessionInUse("s1", "agent:main:x"), SessionError, ["s1", "agent:main:x", "fork"]),
        (NothingToRetry(), ValueError, ["No previous message to retry."]),
        (NothingToUndo(), ValueError, ["Nothing to undo."]),
    ],
)
def test_error(error: SessionError, kind: type[Exception], words: list[str]) -> None:
    assert isinstance(error, kind)
    assert all(word in str(error) for word in words)
    assert "\n" not in str(error)


@pytest.mark.parametrize("error", [Unknown("s1"), SessionInUse("s1", "k"), AmbiguousSessionKey("k", ["a"])])
def test_errors_survive_pickling(error: SessionError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_hostile_id_stays_on_one_line() -> None:
    assert "\n" not in str(Unknown("a\nb"))
