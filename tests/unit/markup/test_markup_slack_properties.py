"""For any Markdown: Slack shows every part as it is meant, nothing is lost, nobody is called."""

import re
from collections import Counter
from urllib.parse import unquote

from hypothesis import given
from hypothesis import strategies as st

from adapters.markup.messages import Messages
from adapters.markup.rendered import Look, Rendered
from adapters.markup.slack import SlackMarkup, SlackMessage, SlackRenderer, harmless
from tests.property.profile import effort
from tests.unit.markup.any_markup import BLANK, hold_words, settle, show_all
from tests.unit.markup.markdown_texts import markdown, sound
from tests.unit.markup.slack_rules import read, visible

MARKUP = SlackMarkup()
BY_LENGTH = {length: SlackMarkup(max_length=length) for length in (150, 400, 4000)}
lengths = st.sampled_from([150, 400, 4000])
called = markdown | st.lists(
    st.sampled_from(["<!channel>", "<!here|x>", "<@U012345>", "<#C012345|n>", "<!subteam^S1>", "&lt;!here&gt;"])
    | st.sampled_from(["&", "|", "`", "```\n", "\n", "*", "[", "](https://example.com/a|b>c)", "\\", "a "])
    | st.sampled_from(["<", ">", "<a@b.org>"]),
    max_size=20,
).map("".join)


def messages_of(markup: SlackMarkup, text: str) -> Messages[SlackMessage]:
    messages = markup.messages(text)
    assert isinstance(messages, Messages)
    return messages


def bare(text: str) -> str:
    """A text without white space and what has no width; addresses may be written in two ways."""
    return "".join(unquote(visible(text).replace("mailto:", "")).split())


@given(called, lengths)
@effort(500, 1)
def test_every_part_is_a_message_that_the_server_takes(text: str, length: int) -> None:
    for message in messages_of(BY_LENGTH[length], text).messages:
        assert 0 < len(message.content.encode("utf-16-le")) // 2 <= length
        assert message.content == message.content.strip(" \n")
        assert not BLANK.fullmatch(message.text)


@given(called, lengths, st.booleans())
@effort(500, 1)
def test_slack_shows_what_is_meant(text: str, length: int, strict: bool) -> None:
    for message in messages_of(BY_LENGTH[length], text).messages:
        assert bare(read(message.content, strict=strict).text) == bare(message.text)


@given(called, lengths)
@effort(500, 1)
def test_the_parts_joined_show_what_the_whole_shows(text: str, length: int) -> None:
    markup = BY_LENGTH[length]
    show_all((message.text for message in messages_of(markup, text).messages), markup.render(text).text)


@given(called, lengths, st.booleans())
@effort(500, 1)
def test_nobody_is_called(text: str, length: int, strict: bool) -> None:
    for message in messages_of(BY_LENGTH[length], text).messages:
        assert read(message.content, strict=strict).calls == []
        assert not re.search("<[@#!]", message.content)
        for piece in message.pieces(100):
            assert not re.search("<[@#!]", piece)


def looks_of(rendered: Rendered) -> Counter[str]:
    """The looks that a whole text should have, but for those that have no mark, or whose lines are marked singly."""
    looks: Counter[str] = Counter()
    for span in rendered.spans:
        covered = rendered.text[span.start : span.end]
        if span.look is Look.PRE or (span.look is Look.LINK and not BLANK.fullmatch(covered)):
            looks[span.look] += 1
    return looks


@given(called, st.booleans())
@effort(500, 1)
def test_code_and_links_stand_where_they_should(text: str, strict: bool) -> None:
    (message, *others) = messages_of(MARKUP, text).messages or (None,)
    if message is None or others:
        return
    shown = Counter(look.split()[0] for look, _ in read(message.content, strict=strict).looks)
    assert Counter({look: shown[look] for look in ("pre", "link") if shown[look]}) == looks_of(MARKUP.render(text))


@given(sound)
@effort(500, 1)
def test_no_word_vanishes(text: str) -> None:
    hold_words("\n".join(message.content for message in messages_of(MARKUP, text).messages), text)


@given(st.lists(called, max_size=3).map("\n\n".join), st.sampled_from([500, 800]))
@effort(200, 1)
def test_pieces_joined_are_the_message(text: str, length: int) -> None:
    for message in messages_of(MARKUP, text).messages:
        pieces = message.pieces(length)
        assert all(len(piece) <= length for piece in pieces)
        assert bare("".join(read(piece, strict=True).text for piece in pieces)) == bare(message.text)


@given(markdown, st.lists(st.integers(1, 25), min_size=1), lengths)
@effort(300, 1)
def test_what_is_settled_stays_while_the_text_grows(text: str, steps: list[int], length: int) -> None:
    settle(BY_LENGTH[length], text, steps)


@given(called, st.integers(0, 400))
def test_markdown_that_calls_nobody_only_grows(text: str, length: int) -> None:
    whole = harmless(text)
    assert whole.startswith(harmless(text[:length]))
    assert not re.search(r"<[!@#]|@(?:here|channel|everyone)|\][(\[:]|&(?:lt|#)", whole)
    assert visible(whole) == visible(SlackRenderer().clean(text))
