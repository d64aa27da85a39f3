"""One trial of an adapter: what people see of it, and the verdict in the end."""

from adapters.testing.conformance.agent import answer_to
from adapters.testing.conformance.harness import Message, Place, Shown
from adapters.testing.conformance.run import GatewayRun


class Trial(GatewayRun):
    """Runs the gateway against a harness. `check` gives the verdict on the whole."""

    # --- what people see -----------------------------------------------------------------------------------

    def texts(self, place: Place) -> list[str]:
        """The texts that stand in a place."""
        return [shown.text for shown in self.standing(place) if shown.text]

    def standing(self, place: Place) -> list[Shown]:
        """Our messages that stand in a place."""
        return [shown for shown in self.harness.shown(place) if not shown.gone]

    def whole(self, place: Place) -> str:
        """All texts that stand in a place, without white space: platforms cut it off where a message ends."""
        return bare("".join(self.texts(place)))

    async def shows(self, place: Place, *texts: str) -> None:
        """Wait until exactly these texts stand in a place, each in a message or in several."""
        wanted = bare("".join(texts))
        try:
            await self.until(lambda: self.whole(place) == wanted, "the right texts stand there")
        except AssertionError as error:
            raise AssertionError(f"{self.harness.shown(place)} stands there, not {list(texts)}: {error}") from None

    async def ask(self, place: Place, text: str) -> Message:
        """The person writes, and the answer comes, below what stands there already."""
        before = self.texts(place)
        message = self.harness.write(place, text)
        await self.shows(place, *before, answer_to(text))
        return message

    async def heard(self, text: str, times: int = 1) -> None:
        """Wait until the agent has been asked this so often."""
        await self.until(lambda: self.agent.runs(text) >= times, f"the agent is asked {text!r}")

    # --- the verdict ---------------------------------------------------------------------------------------

    async def check(self) -> None:
        """What has to hold after any test, whatever it was about. Raises AssertionError."""
        status = repr(await self.status()) if self._running is not None else ""
        await self.stop()
        wrong = [f"the adapter broke a rule: {violation}" for violation in self.harness.violations]
        wrong += [f"the gateway logged an error: {line}" for line in self.log.errors(self.expected_errors)]
        for secret in self.harness.secrets:
            wrong += [f"a secret is {where}" for where in self._places_of(secret, status)]
        assert not wrong, "\n".join(wrong)

    def _places_of(self, secret: str, status: str) -> list[str]:
        places = ["in the log"] if any(secret in line for line in self.log.lines) else []
        if secret in status:
            places.append("in the status")
        files = [path for path in self.home.path.rglob("*") if path.is_file()]
        return places + [f"in {path.name}" for path in files if secret.encode() in path.read_bytes()]


def bare(text: str) -> str:
    """A text without white space."""
    return "".join(text.split())
