"""Who is answered: those who were let in, once; nobody else; never ourselves."""

from adapters.testing.conformance.agent import answer_to
from adapters.testing.conformance.harness import Ability, PlaceKind
from adapters.testing.conformance.needs import Staged, needs
from adapters.testing.conformance.trial import Trial


class People(Staged):
    """Admission."""

    @needs(Ability.STRANGERS)
    async def test_a_stranger_reaches_nothing(self, trial: Trial) -> None:
        """There is no answer, and of what they wrote nothing is kept."""
        stranger, friend = trial.harness.place(PlaceKind.DM, stranger=True), trial.harness.place(PlaceKind.DM)
        trial.harness.write(stranger, "open sesame")
        trial.harness.write(stranger, "/status")
        await trial.ask(friend, "good morning")
        await trial.idle()
        await trial.stop()
        assert trial.harness.shown(stranger) == []
        assert trial.agent.runs("sesame") == 0
        assert "sesame" not in trial.stored()

    @needs(Ability.STRANGERS, Ability.GROUPS)
    async def test_a_stranger_in_a_group_reaches_nothing(self, trial: Trial) -> None:
        """Also where others are let in."""
        stranger, friend = trial.harness.place(PlaceKind.GROUP, stranger=True), trial.harness.place(PlaceKind.GROUP)
        trial.harness.write(stranger, "open sesame")
        await trial.ask(friend, "good morning")
        await trial.idle()
        assert trial.harness.shown(stranger) == []
        assert "sesame" not in trial.stored()

    async def test_our_own_messages_are_not_answered(self, trial: Trial) -> None:
        """Whatever the platform tells us of them."""
        place = trial.harness.place(PlaceKind.DM)
        await trial.ask(place, "one")
        await trial.ask(place, "two")
        await trial.idle()
        assert [heard.inputs for heard in trial.agent.heard] == ["one", "two"]
        assert len(trial.harness.shown(place)) == 2

    @needs(Ability.GROUPS)
    async def test_people_in_a_group_are_told_apart(self, trial: Trial) -> None:
        """Who wrote is known by an id."""
        places = trial.harness.place(PlaceKind.GROUP), trial.harness.place(PlaceKind.DM)
        for place in places:
            await trial.ask(place, "who am I")
        assert all(heard.source.user_id for heard in trial.agent.heard)
        assert trial.texts(places[0]) == [answer_to("who am I")]
