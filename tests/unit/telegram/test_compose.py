"""What a text becomes: parts that grow, and a file where it is too long."""

import pytest

from adapters.markup.rendered import length_in
from adapters.markup.telegram import MAX_LENGTH, TelegramMessage
from adapters.telegram.compose import REPEATED, TelegramComposer, TextFile, caption_of, marked
from adapters.telegram.constants import MAX_CAPTION

LONG = "\n\n".join(f"Paragraph {number}: " + "😀 word " * 100 for number in range(60))


def test_text_becomes_messages_with_room_for_the_mark() -> None:
    composed = TelegramComposer(4).update(LONG[:9_000], final=True, shown=0)
    assert len(composed.parts) > 1
    for part in composed.parts:
        assert isinstance(part, TelegramMessage)
        assert length_in(marked(part).text, "utf16") <= MAX_LENGTH


def test_nothing_to_show() -> None:
    assert TelegramComposer(4).update("  \n", final=True, shown=0).parts == ()


def test_equal_parts_look_the_same() -> None:
    first, second = (TelegramComposer(4).update("**a** b", final=True, shown=0) for _ in range(2))
    assert first == second


def test_long_text_is_a_file_once_it_is_complete() -> None:
    composer = TelegramComposer(3)
    growing = composer.update(LONG, final=False, shown=2)
    assert len(growing.parts) == 3
    assert growing.settled <= 3
    final = composer.update(LONG, final=True, shown=3)
    assert final.parts[:3] == growing.parts
    assert final.parts[3] == TextFile(LONG)


def test_same_parts_however_many_are_shown() -> None:
    made = {TelegramComposer(3).update(LONG, final=True, shown=shown) for shown in range(6)}
    assert len(made) == 1


def test_text_that_grows_ends_as_the_whole_does() -> None:
    composer = TelegramComposer(4)
    text = LONG[:8_000]
    for end in range(0, len(text), 400):
        growing = composer.update(text[:end], final=False, shown=0)
        later = composer.update(text[: end + 200], final=False, shown=0)
        assert later.parts[: growing.settled] == growing.parts[: growing.settled]
    assert (
        composer.update(text, final=True, shown=0).parts == TelegramComposer(4).update(text, final=True, shown=0).parts
    )


def test_mark_moves_the_entities() -> None:
    (part,) = TelegramComposer(4).update("a **b**", final=True, shown=0).parts
    shown = marked(part)
    bold = next(each for each in shown.entities if each.type == "bold")
    assert shown.text[bold.offset : bold.offset + bold.length] == "b"
    assert shown.text.startswith(REPEATED)


def test_caption_is_rendered_and_calls_nobody() -> None:
    shown = caption_of("**look** @bo_smith", repeated=False)
    assert shown.text == "look @\N{WORD JOINER}bo_smith"
    assert [each.type for each in shown.entities] == ["bold"]


@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize("text", ["x" * 2_000, "😀" * 1_024, "**a** " * 400, "x" * 100_000])
def test_long_caption_is_cut(text: str, repeated: bool) -> None:
    shown = caption_of(text, repeated=repeated)
    assert length_in(shown.text, "utf16") <= MAX_CAPTION
    assert shown.text.endswith("…")
    assert shown.text.startswith(REPEATED) is repeated
    assert all(each.offset + each.length <= length_in(shown.text, "utf16") for each in shown.entities)


def test_caption_without_anything_in_it() -> None:
    assert caption_of("", repeated=False).text == ""
    assert caption_of(" \n", repeated=True).text == REPEATED
