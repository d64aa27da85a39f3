"""For any Markdown: Telegram takes every part, nothing is lost, nobody is called, and what is settled stays."""

import re

from hypothesis import given
from hypothesis import strategies as st
from wcwidth import iter_graphemes

from adapters.markup.rendered import Look, Rendered
from adapters.markup.split import Limits, Parts, split
from adapters.markup.telegram import JOINER, TelegramMarkup, TelegramMessages
from tests.property.profile import effort
from tests.unit.markup.markdown_texts import lengths, markdown, sound
from tests.unit.markup.telegram_rules import check_message, units

MARKUP = TelegramMarkup()
BY_LENGTH = {length: TelegramMarkup(max_length=length) for length in (8, 20, 50, 120, 400, 4096)}
BLANK = "[\\s\u200b-\u200f\u2060\u2800\u3000\ufffc\ufeff\u00a0\u202e\u180e\U000e0000-\U000e007f]*"
MENTION = re.compile(r"(?<!\w)@[A-Za-z0-9_]")


def messages_of(markup: TelegramMarkup, text: str) -> TelegramMessages:
    messages = markup.messages(text)
    assert isinstance(messages, TelegramMessages)
    return messages


@given(markdown, lengths)
@effort(500, 1)
def test_every_part_is_a_message_that_the_server_takes(text: str, length: int) -> None:
    for message in messages_of(BY_LENGTH[length], text).messages:
        check_message(message, length)


@given(markdown, lengths)
@effort(500, 1)
def test_the_parts_joined_show_what_the_whole_shows(text: str, length: int) -> None:
    whole = MARKUP.render(text).text.replace("\u00a0", " ")
    position = 0
    for message in messages_of(BY_LENGTH[length], text).messages:
        shown = message.text.replace("\u00a0", " ")
        found = re.compile(BLANK).match(whole, position)
        assert found
        start = whole.find(shown, position, found.end() + len(shown))
        assert start >= 0, f"{shown!r} is not what comes next"
        position = start + len(shown)
    assert re.fullmatch(BLANK, whole[position:])


@given(markdown, st.sampled_from([8, 20, 50, 120]), st.sampled_from(["characters", "utf16", "bytes"]))
@effort(500, 1)
def test_a_cut_goes_through_no_link_and_no_character(text: str, length: int, unit: str) -> None:
    whole = MARKUP.render(text)
    parts = split(whole, Limits(length, unit))  # type: ignore[arg-type]
    assert isinstance(parts, Parts)
    boundaries, position = {0}, 0
    for cluster in iter_graphemes(whole.text):
        position += len(cluster)
        boundaries.add(position)
    position = 0
    for part in parts.parts:
        start = whole.text.index(part.text, position)
        position = start + len(part.text)
        for place in (start, position):
            assert place in boundaries or is_too_long(cluster_at(whole.text, place), length)
            for span in whole.spans:
                if span.look is Look.LINK and span.start < place < span.end:
                    end = min(boundary for boundary in boundaries if boundary >= span.end)
                    assert is_too_long(whole.text[span.start : end], length)


def cluster_at(text: str, place: int) -> str:
    position = 0
    for cluster in iter_graphemes(text):
        position += len(cluster)
        if position > place:
            return cluster
    return ""


def is_too_long(text: str, length: int) -> bool:
    """Whether a text can be longer than a part in any unit."""
    return len(text.encode()) > length


@given(sound)
@effort(500, 1)
def test_no_word_vanishes(text: str) -> None:
    lines = [line for line in text.split("\n") if "```" not in line and "~~~" not in line]
    whole = MARKUP.render(text)
    shown = whole.text + " ".join(span.value for span in whole.spans)
    for word in re.findall(r"[qwxyz]{5,}", "\n".join(lines)):
        assert word in shown


@given(markdown)
@effort(500, 1)
def test_nobody_is_called(text: str) -> None:
    for message in messages_of(MARKUP, text).messages:
        raw = message.text.encode("utf-16-le")
        for entity in reversed(message.entities):
            assert not (entity.url or "").lower().startswith("tg://user")
            if entity.type in ("code", "pre", "text_link"):
                blank = "\ue000".encode("utf-16-le") * entity.length
                raw = raw[: entity.offset * 2] + blank + raw[(entity.offset + entity.length) * 2 :]
        assert not MENTION.search(raw.decode("utf-16-le"))


@given(markdown)
@effort(500, 1)
def test_mentions_are_kept_where_the_operator_wants_them(text: str) -> None:
    kept = TelegramMarkup(mentions="keep").render(text).text
    assert MARKUP.render(text).text.replace(f"@{JOINER}", "@") == kept.replace(f"@{JOINER}", "@")


@given(markdown, st.lists(st.integers(1, 25), min_size=1), st.sampled_from([20, 50, 120]))
@effort(500, 1)
def test_what_is_settled_stays_while_the_text_grows(text: str, steps: list[int], length: int) -> None:
    markup = BY_LENGTH[length]
    draft = markup.draft()
    settled: TelegramMessages = TelegramMessages(())
    position = 0
    while position < len(text):
        position += steps[position % len(steps)]
        now = draft.update(text[:position])
        assert isinstance(now, TelegramMessages)
        for message in now.messages:
            check_message(message, length)
        assert now.messages[: settled.settled] == settled.messages[: settled.settled]
        assert now.settled >= settled.settled
        settled = now
    final = draft.update(text, final=True)
    assert isinstance(final, TelegramMessages)
    assert final.messages == messages_of(markup, text).messages
    assert final.messages[: settled.settled] == settled.messages[: settled.settled]


@given(markdown, st.sampled_from([60, 200]), st.sampled_from(["characters", "utf16", "bytes"]))
@effort(200, 1)
def test_what_is_written_for_spans_is_counted(text: str, length: int, unit: str) -> None:
    def wire(part: Rendered) -> str:
        return part.text + "".join("**" * 2 for _ in part.spans)

    limits = Limits(length, unit, wire=wire)  # type: ignore[arg-type]
    parts = split(MARKUP.render(text), limits)
    assert isinstance(parts, Parts)
    for part in parts.parts:
        size = {"characters": len(wire(part)), "utf16": len(units(wire(part))), "bytes": len(wire(part).encode())}[unit]
        assert size <= length
