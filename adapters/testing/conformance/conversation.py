"""What people and the agent say to each other: both ways, in their place, in order, whole."""

import asyncio
import re
from typing import Final

import pytest

from adapters.testing.conformance.agent import answer_to
from adapters.testing.conformance.harness import Ability, PlaceKind
from adapters.testing.conformance.needs import OF_KIND, Staged, needs
from adapters.testing.conformance.trial import Trial, bare
from gateway.ports import Button

TEXTS: Final = (
    "good morning",
    "two lines\nof one text",
    "漢字とかな, 한국어, हिन्दी",
    "שלום and مرحبا",
    "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 é",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 beyond the basic plane",
)
"""Texts without anything that Markdown makes something of."""

PARAGRAPH: Final = "There is much to say about number {}, and it goes on until the line is long enough to matter. "


def long_text(characters: int) -> str:
    """A text of at least so many characters, of which no two paragraphs are alike."""
    paragraphs: list[str] = []
    length = 0
    while length < characters:
        paragraphs.append(PARAGRAPH.format(len(paragraphs)).strip())
        length += len(paragraphs[-1]) + 2
    return "\n\n".join(paragraphs)


LOOKS: Final = """\
# Heading {0}

Some **bold**, some *italic* and some ~~struck~~ words, `code` among them, number {0}.

- first item {0}
- second item
  1. inner one
  2. inner two

> What was said {0}

```
def function_{0}(argument):
    return argument + {0}
```

| name | value |
|---|---|
| left{0} | right{0} |
"""
"""Markdown of every kind, of which each word is to be seen."""


def words(text: str) -> list[str]:
    """The words of a text, without what stands between them."""
    return re.findall(r"[^\W_]+", text)


class Conversation(Staged):
    """Texts."""

    @pytest.mark.parametrize("text", TEXTS)
    async def test_a_text_goes_both_ways(self, trial: Trial, text: str) -> None:
        """It reaches the agent as it was written, and the answer is shown as it was given, once."""
        place = trial.harness.place(PlaceKind.DM)
        await trial.ask(place, text)
        assert [bare(heard.inputs) for heard in trial.agent.heard] == [bare(text)]
        assert [bare(shown.text) for shown in trial.harness.shown(place)] == [bare(answer_to(text))]

    async def test_an_answer_comes_where_it_was_asked(self, trial: Trial) -> None:
        """In each kind of place that there is, at the same time, and nowhere else."""
        kinds = [kind for kind in PlaceKind if OF_KIND[kind] is None or OF_KIND[kind] in trial.harness.supports]
        places = {kind: trial.harness.place(kind) for kind in kinds}
        for kind, place in places.items():
            trial.harness.write(place, f"this is the {kind}")
        for kind, place in places.items():
            await trial.shows(place, answer_to(f"this is the {kind}"))

    @needs(Ability.THREADS)
    async def test_threads_keep_to_themselves(self, trial: Trial) -> None:
        """What is said in one is neither seen in another nor known there."""
        first, second = trial.harness.place(PlaceKind.THREAD), trial.harness.place(PlaceKind.THREAD)
        await trial.ask(first, "the word is ostrich")
        await trial.ask(second, "what is the word")
        assert "ostrich" not in trial.agent.heard[-1].everything
        assert len({heard.session_id for heard in trial.agent.heard}) == 2
        await trial.ask(first, "and again")
        assert "ostrich" in trial.agent.heard[-1].everything

    async def test_answers_come_in_the_order_of_questions(self, trial: Trial) -> None:
        """Also where all questions come at once."""
        place = trial.harness.place(PlaceKind.DM)
        texts = [f"question {number}" for number in range(8)]
        for text in texts:
            trial.harness.write(place, text)
        await trial.shows(place, *map(answer_to, texts))
        assert [heard.inputs for heard in trial.agent.heard] == texts

    @needs(Ability.EDITS)
    async def test_an_edit_before_the_turn_replaces_the_text(self, trial: Trial) -> None:
        """A message that waits is answered as it stands when its turn comes."""
        place, go_on = trial.harness.place(PlaceKind.DM), asyncio.Event()
        trial.agent.on("first", go_on, "done")
        trial.harness.write(place, "first")
        await trial.heard("first")
        waits = trial.harness.write(place, "meet me at noon")
        trial.harness.write(place, "that is all")
        await trial.taken_in("that is all")
        trial.harness.edit(place, waits, "meet me at dusk")
        await trial.taken_in("dusk")
        go_on.set()
        await trial.shows(place, "done", answer_to("meet me at dusk"), answer_to("that is all"))
        assert trial.agent.runs("noon") == 0

    @needs(Ability.EDITS)
    async def test_an_edit_after_the_turn_began_is_told_with_the_next(self, trial: Trial) -> None:
        """It makes no turn of its own."""
        place, go_on = trial.harness.place(PlaceKind.DM), asyncio.Event()
        trial.agent.on("meet me at noon", go_on, "noon it is")
        message = trial.harness.write(place, "meet me at noon")
        await trial.heard("noon")
        trial.harness.edit(place, message, "meet me at dusk")
        await trial.taken_in("dusk")
        go_on.set()
        await trial.shows(place, "noon it is")
        trial.harness.write(place, "so when")
        await trial.heard("so when")
        assert "dusk" in trial.agent.heard[-1].everything
        await trial.idle()
        assert len(trial.agent.heard) == 2

    @needs(Ability.DELETIONS)
    async def test_a_message_that_is_taken_back_is_answered_all_the_same(self, trial: Trial) -> None:
        """The answer is not lost because what it answers is no longer there."""
        place, go_on = trial.harness.place(PlaceKind.DM), asyncio.Event()
        trial.agent.on("never mind", go_on, "too late")
        message = trial.harness.write(place, "never mind")
        await trial.heard("never mind")
        trial.harness.delete(place, message)
        go_on.set()
        await trial.shows(place, "too late")
        await trial.idle()

    @needs(Ability.PARTS)
    async def test_a_long_answer_is_shown_whole(self, trial: Trial) -> None:
        """In several messages, in order, which joined are the whole; what comes after it stands below it."""
        place = trial.harness.place(PlaceKind.DM)
        text = long_text(int(2.5 * (trial.capabilities.max_length or 0)))
        trial.agent.on("at length", text)
        trial.harness.write(place, "at length")
        trial.harness.write(place, "thank you")
        await trial.shows(place, text, answer_to("thank you"))
        await trial.idle()
        assert len(trial.standing(place)) >= 4
        assert not any(shown.marked for shown in trial.harness.shown(place))

    @needs(Ability.PARTS)
    async def test_no_word_of_a_markdown_text_is_lost(self, trial: Trial) -> None:
        """However it looks on the platform, and wherever it is cut."""
        place, blocks = trial.harness.place(PlaceKind.DM), trial.capabilities.max_length or 0
        text = "\n".join(LOOKS.format(number) for number in range(2 * blocks // len(LOOKS)))
        trial.agent.on("at length", text)
        trial.harness.write(place, "at length")
        await trial.until(lambda: words(text)[-1] in trial.whole(place), "its end is shown")
        await trial.idle()
        shown = words("\n".join(trial.texts(place)))
        assert [word for word in shown if not word.isdigit()] == [word for word in words(text) if not word.isdigit()]

    @needs(Ability.LONG_FILES)
    async def test_a_very_long_answer_becomes_a_file(self, trial: Trial) -> None:
        """The file has all of it, and no flood of messages comes with it."""
        place = trial.harness.place(PlaceKind.DM)
        text = long_text(60 * (trial.capabilities.max_length or 0))
        trial.agent.on("everything", text)
        trial.harness.write(place, "everything")
        await trial.until(lambda: any(shown.file for shown in trial.standing(place)), "a file is shown")
        await trial.idle()
        (file,) = [shown.file for shown in trial.standing(place) if shown.file]
        assert bare(file.data.decode()) == bare(text)
        assert len(trial.standing(place)) < 20

    async def test_a_command_is_answered_by_the_gateway(self, trial: Trial) -> None:
        """The agent hears nothing of it."""
        place = trial.harness.place(PlaceKind.DM)
        trial.harness.write(place, "/help")
        await trial.until(lambda: bare("/status") in trial.whole(place), "help is shown")
        await trial.idle()
        assert trial.agent.heard == []

    @needs(Ability.BUTTONS)
    async def test_pressing_a_button_is_the_same_as_writing(self, trial: Trial) -> None:
        """By whoever presses it, and as often."""
        place = trial.harness.place(PlaceKind.DM)
        await trial.ask(place, "good morning")
        await trial.offer("Shall I?", Button("Begin anew", "/new"), Button("How is it", "/status"))
        await trial.until(lambda: any(shown.buttons for shown in trial.standing(place)), "the buttons are shown")
        (shown,) = [shown for shown in trial.standing(place) if shown.buttons]
        assert (shown.text, shown.buttons) == ("Shall I?", ("Begin anew", "How is it"))
        for presses in (1, 2):
            trial.harness.press(place, shown, "Begin anew")
            await trial.until(lambda: len(trial.texts(place)) == 2 + presses, "the press is answered")  # noqa: B023
            assert "new conversation" in trial.texts(place)[-1]
        assert len(trial.agent.heard) == 1

    @needs(Ability.MENU)
    async def test_the_commands_are_in_the_menu(self, trial: Trial) -> None:
        """People need not know them by heart."""
        wanted = {"help", "new", "stop", "status"}
        await trial.until(lambda: wanted <= {name.lstrip("/") for name in trial.harness.menu()}, "the menu is there")
