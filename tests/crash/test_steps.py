"""A daemon that dies at a named step, twice in a row: nothing is lost, and nobody sees anything twice."""

import re
from pathlib import Path

import pytest

from tests.crash.conftest import RigMaker
from tests.support.settings import Settings

GATEWAY = Path(__file__).resolve().parents[2] / "gateway"

PROBE = re.compile(r"""\b_?probe\(f?["']([^"']+)["']\)""")

JOURNALLED = ("calls", "started", "result")
"""The kinds of steps that the step `turn.{step.kind}` stands for."""

STEPS = {
    "writer.before-commit": (6, 2),
    "writer.after-commit": (6, 2),
    "inbox.accepted": (3, 1),
    "turn.begun": (2, 1),
    "turn.text": (9, 3),
    "turn.calls": (1, 1),
    "turn.started": (1, 1),
    "turn.tool-ran": (1, 1),
    "turn.result": (2, 1),
    "turn.before-end": (2, 1),
    "turn.ended": (2, 1),
    "outbox.sending": (2, 1),
    "outbox.shown": (2, 1),
    "outbox.edited": (2, 1),
    "outbox.recorded": (2, 1),
    "command.before-end": (1, 1),
    "command.ended": (2, 1),
    "turn.steer": (1, 1),
}
"""At which hit the daemon dies first, and at which it dies once it is there again."""

SPOOL_STEPS = ("spool.before-append", "spool.appended", "spool.merged")
"""Steps of a daemon whose database is out of use: `test_outage` kills at them."""

MIRROR_STEPS = ("mirror.file-ready", "mirror.file-written", "mirror.files-written", "mirror.verified")
"""Steps of the mirror, which nobody waits for: `tests/unit/storage/test_mirror.py` stops there."""


MEMORY_STEPS = ("memory.captured", "memory.delivered", "memory.settled")
"""Steps of a daemon that remembers: `test_memory` kills at them."""


def cases() -> list[tuple[str, int, int]]:
    long = Settings.read().long
    more = [(step, first, second) for step in STEPS for first in range(1, 8) for second in (1, 2)] if long else []
    return list(dict.fromkeys([(step, *hits) for step, hits in STEPS.items()] + more))


TOOL_STEPS = ("tools.sent", "tools.created", "tools.forked", "tools.message")
"""Where a tool has done its work and not said so; `test_session_tools` ends the process there."""


def steps_in_the_code() -> set[str]:
    found: set[str] = set()
    for path in GATEWAY.rglob("*.py"):
        for name in PROBE.findall(path.read_text()):
            kinds = JOURNALLED if "{" in name else ("",)
            found.update(re.sub(r"\{.*\}", kind, name) for kind in kinds)
    return found


def test_every_step_of_the_code_is_killed_at() -> None:
    assert steps_in_the_code() == {*STEPS, *SPOOL_STEPS, *MIRROR_STEPS, *MEMORY_STEPS, *TOOL_STEPS}


@pytest.mark.parametrize(("step", "first", "second"), cases())
async def test_killed_twice_at_a_step(rig: RigMaker, step: str, first: int, second: int) -> None:
    steers = step == "turn.steer"
    options = {"busy": "steer", "traffic": ("chain", "say", "tools", "say")} if steers else {}
    async with rig(**options) as it:
        it.write_on()
        await it.dies_at(step, first)
        await it.dies_at(step, second)
        evidence = await it.finish()
    assert evidence.marked == 0, "the terminal was there all the time, and could say what it had shown"
    assert len(evidence.inbound) >= 4
    if step in ("turn.started", "turn.tool-ran") and first == 1:  # a call that must not run again
        assert any("unknown" in delivery.text for delivery in evidence.outbox), "the model was not told"


@pytest.mark.parametrize(
    "step", ["turn.text", "turn.ended", "outbox.sending", "outbox.shown", "outbox.edited", "outbox.recorded"]
)
async def test_terminal_dies_with_the_daemon(rig: RigMaker, step: str) -> None:
    async with rig() as it:
        it.write_on()
        await it.dies_at(step, 2)
        await it.client_dies()
        await it.dies_at(step, 2)
        await it.client_dies()
        await it.finish()


@pytest.mark.parametrize(("step", "what"), [("outbox.shown", "/status"), ("outbox.edited", "say")])
async def test_what_a_dead_terminal_had_shown_is_marked_for_the_next(rig: RigMaker, step: str, what: str) -> None:
    """It was complete on a screen that is gone, and the daemon had not noted that: nobody can say so any more."""
    async with rig() as it:
        it.say(what)
        await it.dies_at(step)
        await it.client_dies()
        evidence = await it.finish()
    assert [(shown.life, shown.delivery) for shown in evidence.completed] == [(0, 1), (1, 1)]
    assert evidence.marked == 1


@pytest.mark.parametrize("hit", range(1, 6))
async def test_killed_while_it_takes_up_what_was_left(rig: RigMaker, hit: int) -> None:
    """The terminal stays away until all is taken up, so every commit belongs to the recovery."""
    async with rig(traffic=("chain", "tools", "/status", "say")) as it:
        it.write_on()
        await it.dies_at("turn.result", 2)
        it.be_quiet()
        await it.dies_unseen("writer.before-commit", hit)
        await it.dies_unseen("writer.after-commit", hit)
        evidence = await it.finish()
    assert evidence.marked == 0
