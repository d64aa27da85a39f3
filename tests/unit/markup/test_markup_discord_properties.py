"""For any Markdown: Discord's clients show every part as it is meant, nothing is lost, nobody is called."""

import re
from collections import Counter
from urllib.parse import unquote

from hypothesis import given
from hypothesis import strategies as st

from adapters.markup.discord import JOINER, DiscordMarkup, DiscordMessage
from adapters.markup.messages import Messages
from adapters.markup.rendered import Look, Rendered
from tests.property.profile import effort
from tests.unit.markup.any_markup import BLANK, hold_words, settle, show_all
from tests.unit.markup.discord_rules import read
from tests.unit.markup.markdown_texts import markdown, sound

MARKUP = DiscordMarkup()
BY_LENGTH = {length: DiscordMarkup(max_length=length) for length in (120, 400, 2000)}
lengths = st.sampled_from([120, 400, 2000])


def messages_of(markup: DiscordMarkup, text: str) -> Messages[DiscordMessage]:
    messages = markup.messages(text)
    assert isinstance(messages, Messages)
    return messages


def visible(text: str) -> str:
    """A text without what has no width, and without blank lines; addresses may be written in two ways."""
    lines = (line.strip() for line in unquote(text.replace(JOINER, "")).split("\n"))
    return "\n".join(line for line in lines if line)


@given(markdown, lengths)
@effort(500, 1)
def test_every_part_is_a_message_that_the_server_takes(text: str, length: int) -> None:
    for message in messages_of(BY_LENGTH[length], text).messages:
        assert 0 < len(message.content) <= length
        assert message.content == message.content.strip(" \n")
        assert not BLANK.fullmatch(message.text)


@given(markdown, lengths)
@effort(500, 1)
def test_a_client_shows_what_is_meant(text: str, length: int) -> None:
    for message in messages_of(BY_LENGTH[length], text).messages:
        shown = read(message.content)
        assert visible(shown.text) == visible(message.text)


@given(markdown, lengths)
@effort(500, 1)
def test_the_parts_joined_show_what_the_whole_shows(text: str, length: int) -> None:
    markup = BY_LENGTH[length]
    show_all((message.text for message in messages_of(markup, text).messages), markup.render(text).text)


def looks_of(rendered: Rendered) -> Counter[str]:
    """The looks that a whole text should have. Of italics some are left out, where no mark would hold."""
    looks: Counter[str] = Counter()
    for span in rendered.spans:
        covered = rendered.text[span.start : span.end].replace(JOINER, "")
        if not BLANK.fullmatch(covered) and span.look not in (Look.ITALIC, Look.HEADING, Look.BOLD, Look.LINK):
            looks[span.look] += 1
    return looks


@given(markdown)
@effort(500, 1)
def test_a_client_shows_the_looks(text: str) -> None:
    shown: Counter[str] = Counter()
    for message in messages_of(MARKUP, text).messages:
        shown.update(look.split()[0] for look, covered in read(message.content).looks if not BLANK.fullmatch(covered))
    if len(messages_of(MARKUP, text).messages) == 1:
        for look in ("italic", "heading", "bold", "link"):
            shown.pop(look, None)
        assert shown == looks_of(MARKUP.render(text))


@given(markdown)
@effort(500, 1)
def test_nobody_is_called_and_no_mark_is_left(text: str) -> None:
    for message in messages_of(MARKUP, text).messages:
        assert read(message.content).calls == []
        outside = re.sub(r"```[\s\S]*?```|(`+)[^`][\s\S]*?\1", "", message.content)
        assert not re.search(r"@(everyone|here)|<@[!&]?[0-9]", outside)


@given(sound)
@effort(500, 1)
def test_no_word_vanishes(text: str) -> None:
    hold_words("\n".join(message.content for message in messages_of(MARKUP, text).messages), text)


@given(markdown, st.lists(st.integers(1, 25), min_size=1), lengths)
@effort(300, 1)
def test_what_is_settled_stays_while_the_text_grows(text: str, steps: list[int], length: int) -> None:
    settle(BY_LENGTH[length], text, steps)
