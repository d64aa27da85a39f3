"""What goes wrong on the way: after each fault everything is there, once, and it goes on."""

import asyncio

import pytest

from adapters.testing.conformance.agent import answer_to
from adapters.testing.conformance.conversation import long_text
from adapters.testing.conformance.harness import Ability, Fault, Place, PlaceKind
from adapters.testing.conformance.needs import Staged, needs
from adapters.testing.conformance.trial import Trial, bare

ON_THE_WAY_OUT = (
    Fault.RATE_LIMIT,
    Fault.ERROR_BEFORE,
    Fault.ERROR_AFTER,
    Fault.NO_ANSWER,
    Fault.DROPPED,
    Fault.SLOW_BODY,
)
OUTCOMES = {
    Fault.ERROR_BEFORE: [(1, 0), (0, 1)],
    Fault.ERROR_AFTER: [(1, 0), (1, 1)],
    Fault.NO_ANSWER: [(1, 0), (1, 1)],
    Fault.DROPPED: [(1, 0), (1, 1)],
}
"""How often a message may stand there, without and with the mark of a repeat, where nobody can know whether it was
shown. After any other fault it stands there once."""


def copies(trial: Trial, place: Place, text: str, *, marked: bool) -> int:
    """How often a text was ever shown in a place, counted at the server."""
    return sum(bare(text) == bare(shown.text) and shown.marked is marked for shown in trial.harness.shown(place))


class Trouble(Staged):
    """Faults."""

    @pytest.mark.parametrize("fault", ON_THE_WAY_OUT)
    async def test_an_answer_survives(self, trial: Trial, fault: Fault) -> None:
        """It is shown once; where nobody can know whether it was, perhaps once more, with a mark."""
        place = trial.harness.place(PlaceKind.DM)
        await trial.ask(place, "before")
        trial.harness.inject(fault, place)
        trial.harness.write(place, "during")
        await trial.until(lambda: bare(answer_to("during")) in trial.whole(place), "it is answered")
        trial.harness.write(place, "after")
        await trial.until(lambda: bare(answer_to("after")) in trial.whole(place), "it goes on")
        await trial.idle()
        once, marked = (copies(trial, place, answer_to("during"), marked=marked) for marked in (False, True))
        assert (once, marked) in OUTCOMES.get(fault, [(1, 0)])
        assert all(copies(trial, place, answer_to(text), marked=False) == 1 for text in ("before", "after"))
        assert [heard.inputs for heard in trial.agent.heard] == ["before", "during", "after"]

    @needs(Ability.PARTS, Ability.STREAMING)
    @pytest.mark.parametrize("fault", ON_THE_WAY_OUT)
    async def test_a_part_of_a_long_answer_survives(self, trial: Trial, fault: Fault) -> None:
        """It is that part alone that is looked for, or repeated."""
        place = trial.harness.place(PlaceKind.GROUP if Ability.GROUPS in trial.harness.supports else PlaceKind.DM)
        paragraphs = long_text(int(2.5 * (trial.capabilities.max_length or 0))).split("\n\n")
        go_on = asyncio.Event()
        trial.agent.on("at length", paragraphs[0], go_on, "\n\n".join(["", *paragraphs[1:]]))
        trial.harness.write(place, "at length")
        await trial.until(lambda: trial.texts(place), "its beginning is shown")
        trial.harness.inject(fault, place)
        go_on.set()
        await trial.until(lambda: bare(paragraphs[-1]) in trial.whole(place), "its end is shown")
        await trial.idle()
        for paragraph in map(bare, paragraphs):
            there = [shown.marked for shown in trial.standing(place) if paragraph in bare(shown.text)]
            assert (there.count(False), there.count(True)) in OUTCOMES.get(fault, [(1, 0)]), paragraph
        assert sum(shown.marked for shown in trial.harness.shown(place)) <= 1

    @pytest.mark.parametrize("fault", [Fault.DUPLICATE_UPDATE])
    async def test_what_comes_twice_is_answered_once(self, trial: Trial, fault: Fault) -> None:
        """It makes one turn."""
        place = trial.harness.place(PlaceKind.DM)
        await trial.ask(place, "before")
        trial.harness.inject(fault, place)
        await trial.ask(place, "twice")
        await trial.ask(place, "after")
        await trial.idle()
        assert [heard.inputs for heard in trial.agent.heard] == ["before", "twice", "after"]
        assert len(trial.harness.shown(place)) == 3

    @pytest.mark.parametrize("fault", [Fault.REORDERED_UPDATES])
    async def test_what_comes_in_another_order_is_all_there(self, trial: Trial, fault: Fault) -> None:
        """Each is answered once."""
        place = trial.harness.place(PlaceKind.DM)
        await trial.ask(place, "before")
        trial.harness.inject(fault, place)
        for text in ("one", "two"):
            trial.harness.write(place, text)
        for text in ("one", "two"):
            await trial.until(lambda: bare(answer_to(text)) in trial.whole(place), f"{text} is answered")  # noqa: B023
        await trial.idle()
        assert sorted(heard.inputs for heard in trial.agent.heard) == ["before", "one", "two"]

    @pytest.mark.parametrize("fault", [Fault.HALF_OPEN])
    async def test_a_connection_that_is_open_and_dead_is_noticed(self, trial: Trial, fault: Fault) -> None:
        """And what was written meanwhile is answered."""
        place = trial.harness.place(PlaceKind.DM)
        await trial.ask(place, "before")
        trial.harness.inject(fault, place)
        await trial.ask(place, "into the dead line")
        await trial.ask(place, "after")
        await trial.idle()
        assert len(trial.harness.shown(place)) == 3

    @needs(Ability.OUTAGES)
    async def test_an_outage_is_told_and_ends(self, trial: Trial) -> None:
        """The status tells of it, and that the connection is back; what waits to be sent is sent then."""
        place = trial.harness.place(PlaceKind.DM)
        await trial.ask(place, "before")
        await trial.harness.stop()
        await trial.until(lambda: trial.state_is("connecting", "degraded", "failed"), "the outage is told")
        await trial.harness.start(trial.home.path)
        await trial.connected()
        await trial.ask(place, "after")
        await trial.idle()
        assert len(trial.harness.shown(place)) == 2

    @needs(Ability.OUTAGES)
    async def test_an_answer_waits_for_the_end_of_an_outage(self, trial: Trial) -> None:
        """It is shown once, when the server is back."""
        place, go_on = trial.harness.place(PlaceKind.DM), asyncio.Event()
        trial.agent.on("during", go_on, answer_to("during"))
        await trial.ask(place, "before")
        trial.harness.write(place, "during")
        await trial.heard("during")
        await trial.harness.stop()
        go_on.set()
        await trial.until(lambda: trial.state_is("connecting", "degraded", "failed"), "the outage is told")
        await trial.harness.start(trial.home.path)
        await trial.shows(place, answer_to("before"), answer_to("during"))
        await trial.ask(place, "after")
        await trial.idle()
        assert len(trial.harness.shown(place)) == 3

    @needs(Ability.OUTAGES)
    async def test_an_outage_at_the_start_is_no_end(self, offline: Trial) -> None:
        """The gateway starts without the platform, and connects once it is there."""
        await offline.harness.stop()
        await offline.start()
        await offline.until(lambda: offline.state_is("connecting", "degraded", "failed"), "the outage is told")
        await offline.harness.start(offline.home.path)
        await offline.connected()
        place = offline.harness.place(PlaceKind.DM)
        await offline.ask(place, "good morning")
