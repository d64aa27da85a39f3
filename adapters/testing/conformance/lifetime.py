"""From one start to the next: what is under way survives, what fails fails alone, and an account that is refused is
told once."""

import asyncio

from adapters.testing.conformance.agent import answer_to
from adapters.testing.conformance.harness import Ability, PlaceKind
from adapters.testing.conformance.needs import Staged, needs
from adapters.testing.conformance.terminal import Terminal
from adapters.testing.conformance.trial import Trial

NONSENSE = "0000:no-such-secret-anywhere-0000000000"


class Lifetime(Staged):
    """Starts, stops, and accounts."""

    async def test_a_stop_lets_answers_be_finished(self, trial: Trial) -> None:
        """What is being written is written to its end, and shown."""
        place, go_on = trial.harness.place(PlaceKind.DM), asyncio.Event()
        trial.agent.on("tell me", "It begins", go_on, " and ends.")
        trial.harness.write(place, "tell me")
        await trial.heard("tell me")
        stopping = asyncio.create_task(trial.stop())
        await asyncio.sleep(0)
        go_on.set()
        await stopping
        await trial.shows(place, "It begins and ends.")

    async def test_a_restart_in_the_middle_loses_nothing(self, trial: Trial) -> None:
        """The daemon ends within a turn, with more waiting; over the same home, all is answered once, in order."""
        place, go_on = trial.harness.place(PlaceKind.DM), asyncio.Event()
        trial.agent.on("one", go_on, answer_to("one"))
        for text in ("one", "two", "three"):
            trial.harness.write(place, text)
        await trial.heard("one")
        await trial.taken_in("two", "three")
        await trial.stop(at_once=True)
        go_on.set()
        await trial.start()
        await trial.connected()
        await trial.shows(place, *map(answer_to, ("one", "two", "three")))
        await trial.idle()
        assert len(trial.harness.shown(place)) == 3

    async def test_a_restart_repeats_nothing(self, trial: Trial) -> None:
        """What was answered before it stays answered."""
        place = trial.harness.place(PlaceKind.DM)
        await trial.ask(place, "before")
        await trial.restart()
        await trial.ask(place, "after")
        await trial.idle()
        assert [heard.inputs for heard in trial.agent.heard] == ["before", "after"]
        assert len(trial.harness.shown(place)) == 2

    @needs(Ability.BACKLOG)
    async def test_what_was_written_while_we_were_away_is_answered(self, trial: Trial) -> None:
        """Where the platform keeps it."""
        place = trial.harness.place(PlaceKind.DM)
        await trial.ask(place, "before")
        await trial.stop()
        texts = [f"meanwhile {number}" for number in range(3)]
        for text in texts:
            trial.harness.write(place, text)
        await trial.start()
        await trial.shows(place, *map(answer_to, ("before", *texts)))
        await trial.idle()
        assert [heard.inputs for heard in trial.agent.heard] == ["before", *texts]

    @needs(Ability.ACCOUNTS)
    async def test_a_wrong_secret_fails_alone(self, offline: Trial) -> None:
        """The status names the setting to mend, it is not tried again, and the terminal goes on."""
        offline.expected_errors = ("gateway.connections",)
        await offline.start(**{offline.harness.account_setting: NONSENSE})
        await self._fails_alone(offline)
        assert offline.harness.logins() == 1

    @needs(Ability.ACCOUNTS)
    async def test_a_secret_that_is_revoked_fails_alone(self, trial: Trial) -> None:
        """The same, in the middle; the answer that is being written waits for a secret that is valid."""
        trial.expected_errors = ("gateway.connections", "gateway.outbox")
        place, go_on = trial.harness.place(PlaceKind.DM), asyncio.Event()
        trial.agent.on("during", go_on, answer_to("during"))
        trial.harness.write(place, "during")
        await trial.heard("during")
        trial.harness.revoke()
        await self._fails_alone(trial)
        go_on.set()
        await trial.stop()
        await trial.start()
        await trial.connected()
        await trial.shows(place, answer_to("during"))
        await trial.ask(place, "after")
        await trial.idle()
        assert len(trial.harness.shown(place)) == 2

    async def _fails_alone(self, trial: Trial) -> None:
        await trial.until(lambda: trial.state_is("failed"), "the platform has failed")
        state = await trial.state()
        assert trial.harness.account_setting in state["reason"]
        assert state["next_try"] is None
        refused = trial.harness.logins()
        async with Terminal(trial.home.socket) as terminal:
            for text in ("one", "two"):
                assert await terminal.ask(text) == answer_to(text)
        assert trial.harness.logins() == refused
