"""Each operation on a session, in a process that is killed in it: at the next start it is done, once and whole."""

import json
import multiprocessing
import signal
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from config import Home
from tests.support.operations_child import CASES, live
from tests.support.settings import Settings

STEPS = (
    ("writer.before-commit", 1), ("writer.after-commit", 1), ("writer.before-commit", 2), ("writer.after-commit", 2),
    ("command.before-end", 1), ("command.ended", 1),
)  # fmt: skip
"""The message is taken; the command is carried out and ends in one commit."""

QUICK = (("writer.before-commit", 2), ("command.ended", 1))
"""Right before that commit, and right after it."""

SUMMARY = (("agent.asked", 1), ("agent.half", 1))
"""The agent is to write a summary, and has written half of it."""

TOOL_STEPS = (
    ("turn.begun", 1), ("turn.calls", 1), ("turn.started", 1), ("writer.before-commit", 5), ("turn.tool-ran", 1),
    ("turn.result", 1), ("turn.before-end", 1), ("turn.ended", 1),
)  # fmt: skip

PAGES = (("writer.after-commit", 3), ("writer.after-commit", 4), ("writer.before-commit", 5))
"""A session is deleted in several commits: it is marked first, and its record goes last."""

THOROUGH = ("compact", "compact-undo")
SECONDS = 120.0


def points() -> list[tuple[str, str, int]]:
    found: list[tuple[str, str, int]] = []
    steps: tuple[tuple[str, int], ...]
    for case in CASES:
        if case.startswith("tool-"):
            steps = TOOL_STEPS if Settings.read().long else (("turn.started", 1), ("turn.tool-ran", 1))
        else:
            steps = STEPS if Settings.read().long or case in THOROUGH else QUICK
        more: dict[str, tuple[tuple[str, int], ...]] = {
            "compact": SUMMARY,
            "delete": PAGES,
            "retry": (("turn.begun", 1), ("turn.ended", 1)),
        }
        found += [(case, step, hit) for step, hit in (*steps, *more.get(case, ()))]
    return found


def one_life(home: Path, case: str, step: str | None = None, hit: int = 1) -> tuple[int | None, Path]:
    """How a process ended, and where it has left its picture if it came to that."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.operations_child"])
    picture = home.with_name(f"{home.name}.json")
    process = context.Process(target=live, args=(str(home), case, step, hit, str(picture)))
    process.start()
    process.join(SECONDS)
    assert process.exitcode is not None, "it did not end"
    return process.exitcode, picture


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What an operation comes to in a process that lives on."""

    @cache
    def of(case: str) -> Any:
        code, picture = one_life(tmp_path_factory.mktemp(case) / "home", case)
        assert code == 0
        return json.loads(picture.read_text())

    return of


@pytest.mark.parametrize(("case", "step", "hit"), points())
def test_an_operation_whose_process_is_killed_in_it_is_done_once(
    undisturbed: Any, home: Home, case: str, step: str, hit: int
) -> None:
    code, _picture = one_life(home.path, case, step, hit)
    # Jobs that come together are one commit: a later one may not come about.
    assert code == -signal.SIGKILL or (code == 0 and (step, hit) in PAGES), "it did not come to that step"
    code, picture = one_life(home.path, case)
    assert code == 0
    assert same(case, json.loads(picture.read_text())) == same(case, undisturbed(case))


def same(case: str, picture: dict[str, Any]) -> dict[str, Any]:
    """A picture as two that are the same have it: a tool whose result was lost runs again, and tells how it is then; so
    does a command to delete what is gone by then."""
    if case == "delete":
        return {**picture, "said": len(picture["said"])}
    if not case.startswith("tool-"):
        return picture
    asking = picture["sessions"][-1][0]
    others = [said for said in picture["messages"] if said[0] != asking]
    roles = [said[1] for said in picture["messages"] if said[0] == asking]
    return {**picture, "messages": [others, roles], "said": len(picture["said"])}


def test_each_operation_does_something(undisturbed: Any) -> None:
    pictures = {case: json.dumps(undisturbed(case)) for case in CASES}
    assert len(set(pictures.values())) == len(CASES)
    for case, picture in pictures.items():
        found = json.loads(picture)
        assert (found["broken"], found["whole"], found["open"]) == ([], [["ok"]], [])
        assert all(state in ("answered", "ignored") for _text, state in found["inbound"]), case
        assert len(found["sessions"]) == {"delete": 0, "fork": 2}.get(case, 1 + ("/new" in CASES[case])) - (
            case == "tool-delete"
        )
