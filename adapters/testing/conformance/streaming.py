"""An answer while it is being written: what people see of it, and that the end is the whole."""

import asyncio
from typing import Final

import pytest

from adapters.testing.conformance.conversation import long_text
from adapters.testing.conformance.harness import Ability, Place, PlaceKind
from adapters.testing.conformance.needs import Staged, needs
from adapters.testing.conformance.trial import Trial, bare
from gateway.ports import AgentError

ORNAMENTS: Final = "…▌█▍⏳✍️"
"""What may stand at the end of a text that is not complete."""


def seen(trial: Trial, place: Place) -> list[str]:
    """Every text that was seen in a place, drafts included, without ornaments and white space."""
    messages = [text for shown in trial.harness.shown(place) for text in shown.texts]
    return [bare(text).rstrip(ORNAMENTS) for text in (*messages, *trial.harness.passing(place).drafts)]


def shows_some(trial: Trial, place: Place, text: str) -> bool:
    """Whether this much of an answer has been seen."""
    return any(each.startswith(bare(text)) for each in seen(trial, place))


class Streaming(Staged):
    """Growth."""

    @needs(Ability.STREAMING)
    @pytest.mark.parametrize("kind", list(PlaceKind))
    async def test_an_answer_grows(self, trial: Trial, kind: PlaceKind) -> None:
        """The first text is a real one, each further one goes on from it, and the last is the whole answer, once."""
        place = trial.harness.place(kind)
        pieces = ("It begins with this", ", goes on with that", ", and ends here.")
        gates = [asyncio.Event() for _ in pieces]
        trial.agent.on("tell me", pieces[0], gates[0], pieces[1], gates[1], pieces[2])
        trial.harness.write(place, "tell me")
        so_far = ""
        for piece, gate in zip(pieces[:2], gates[:2], strict=True):
            so_far += piece
            await trial.until(lambda: shows_some(trial, place, so_far), f"{so_far!r} is seen")  # noqa: B023
            gate.set()
        await trial.shows(place, "".join(pieces))
        await trial.idle()
        assert all(each and bare("".join(pieces)).startswith(each) for each in seen(trial, place))
        assert len(trial.harness.shown(place)) == 1

    @needs(Ability.STREAMING, Ability.PARTS)
    async def test_a_long_answer_grows_over_several_messages(self, trial: Trial) -> None:
        """What is complete of it stays as it is."""
        place, go_on = trial.harness.place(PlaceKind.DM), asyncio.Event()
        begin = long_text(int(1.4 * (trial.capabilities.max_length or 0)))
        end = "\n\n" + long_text(trial.capabilities.max_length or 0)
        trial.agent.on("tell me", begin, go_on, end)
        trial.harness.write(place, "tell me")
        await trial.until(
            lambda: any(each and each in bare(begin) for each in seen(trial, place)), "some of it is seen"
        )
        go_on.set()
        await trial.shows(place, begin + end)
        await trial.idle()
        assert not any(shown.marked for shown in trial.harness.shown(place))

    @needs(Ability.STREAMING, Ability.PARTS, Ability.SHRINKING)
    async def test_messages_that_an_answer_does_not_need_are_taken_back(self, trial: Trial) -> None:
        """A run of the agent that failed had said more than the one that went through."""
        place = trial.harness.place(PlaceKind.GROUP if Ability.GROUPS in trial.harness.supports else PlaceKind.DM)
        go_on = asyncio.Event()
        begin = long_text(int(1.4 * (trial.capabilities.max_length or 0)))
        trial.agent.on("tell me", begin, go_on, AgentError("it broke off", retryable=True))
        trial.agent.on("tell me", "all is well")
        trial.harness.write(place, "tell me")
        await trial.until(lambda: len(trial.standing(place)) >= 2, "two messages of it are seen")
        go_on.set()
        await trial.shows(place, "all is well")

    @needs(Ability.TYPING)
    async def test_people_see_that_an_answer_is_being_written(self, trial: Trial) -> None:
        """From before its first text on."""
        place, go_on = trial.harness.place(PlaceKind.DM), asyncio.Event()
        trial.agent.on("think", go_on, "done")
        trial.harness.write(place, "think")
        await trial.until(lambda: trial.harness.passing(place).typing > 0, "it is seen that an answer is written")
        go_on.set()
        await trial.shows(place, "done")
