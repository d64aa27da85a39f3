"""Files: those that people send reach the agent, and those that the agent sends reach people."""

from typing import Final

from adapters.testing.conformance.harness import Ability, File, PlaceKind
from adapters.testing.conformance.needs import Staged, needs
from adapters.testing.conformance.trial import Trial, bare

NOTE: Final = File("note.txt", b"The word is ostrich.\n", "text/plain")
PIXEL: Final = File(
    "pixel.png",
    bytes.fromhex(
        "89504e470d0a1a0a0000000d494844520000000100000001080600000"
        "01f15c4890000000d49444154789c6360606060000000050001"
        "a5f645400000000049454e44ae426082"
    ),
    "image/png",
)
"""A picture of one point."""


class Media(Staged):
    """Files."""

    @needs(Ability.ATTACHMENTS)
    async def test_a_text_file_is_read_by_the_agent(self, trial: Trial) -> None:
        """It gets the caption, and what the file says."""
        place = trial.harness.place(PlaceKind.DM)
        trial.harness.attach(place, NOTE, "please read this")
        await trial.heard("please read this")
        assert "ostrich" in trial.agent.heard[-1].inputs
        await trial.idle()
        assert len(trial.agent.heard) == 1

    @needs(Ability.ATTACHMENTS)
    async def test_a_picture_without_words_is_a_message(self, trial: Trial) -> None:
        """It is answered, and the agent is told that there is one."""
        place = trial.harness.place(PlaceKind.DM)
        trial.harness.attach(place, PIXEL, "")
        await trial.until(lambda: trial.standing(place), "it is answered")
        await trial.idle()
        assert trial.agent.heard[0].inputs

    @needs(Ability.FILES)
    async def test_a_file_of_the_agent_is_shown(self, trial: Trial) -> None:
        """With its name and every byte, in the place where it was asked for, between the texts around it."""
        place = trial.harness.place(PlaceKind.DM)
        path = trial.home.media_dir / PIXEL.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PIXEL.data)
        trial.agent.on("a picture", f"Here it is:\n\nMEDIA:{path}\n\nThat was it.")
        trial.harness.write(place, "a picture")
        await trial.until(lambda: any(shown.file for shown in trial.standing(place)), "a file is shown")
        await trial.idle()
        (file,) = [shown.file for shown in trial.standing(place) if shown.file]
        assert file.data == PIXEL.data
        assert str(path) not in trial.whole(place)
        assert bare("Here it is:") in trial.whole(place)

    @needs(Ability.FILES)
    async def test_a_file_from_elsewhere_is_not_sent(self, trial: Trial) -> None:
        """What lies outside of the allowed folders stays a text."""
        place = trial.harness.place(PlaceKind.DM)
        trial.agent.on("the secrets", f"Here:\n\nMEDIA:{trial.home.database}")
        trial.harness.write(place, "the secrets")
        await trial.until(lambda: trial.standing(place), "it is answered")
        await trial.idle()
        assert not any(shown.file for shown in trial.harness.shown(place))
