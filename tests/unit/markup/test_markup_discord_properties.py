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
from tests.unit.markup.discord_rules import read
from tests.unit.markup.markdown_texts import markdown, sound

MARKUP = DiscordMarkup()
BY_LENGTH = {length: DiscordMarkup(max_length=length) for length in (120, 400, 2000)}
lengths = st.sampled_from([120, 400, 2000])
BLANK = re.compile("[\\s\u200b-\u200f\u2060\u2800\u3000\u3164\ufeff\u00a0\u202a-\u202e\u180e\U000e0000-\U000e007f]*")


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
    whole = MARKUP.render(text).text
    position = 0
    for message in messages_of(BY_LENGTH[length], text).messages:
        found = BLANK.match(whole, position)
        assert found
        start = whole.find(message.text, position, found.end() + len(message.text))
        assert start >= 0, f"{message.text!r} is not what comes next"
        position = start + len(message.text)
    assert BLANK.fullmatch(whole[position:])


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
    lines = [line for line in text.split("\n") if "```" not in line and "~~~" not in line]
    sent = "\n".join(message.content for message in messages_of(MARKUP, text).messages)
    for word in re.findall(r"[qwxyz]{5,}", "\n".join(lines)):
        assert word in sent


@given(markdown, st.lists(st.integers(1, 25), min_size=1), lengths)
@effort(300, 1)
def test_what_is_settled_stays_while_the_text_grows(text: str, steps: list[int], length: int) -> None:
    markup = BY_LENGTH[length]
    draft = markup.draft()
    settled: Messages[DiscordMessage] = Messages(())
    position = 0
    while position < len(text):
        position += steps[position % len(steps)]
        now = draft.update(text[:position])
        assert isinstance(now, Messages)
        assert now.messages[: settled.settled] == settled.messages[: settled.settled]
        assert now.settled >= settled.settled
        settled = now
    final = draft.update(text, final=True)
    assert isinstance(final, Messages)
    assert final.messages == messages_of(markup, text).messages
