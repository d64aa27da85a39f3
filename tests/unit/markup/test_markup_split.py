"""Where a long message is cut, and when it becomes a file."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.markup.rendered import LengthUnit, Look, Rendered, Span
from adapters.markup.split import AsFile, Limits, Parts, split
from tests.property.profile import effort

FAMILY = "👩‍👩‍👧‍👦"


def texts(rendered: Rendered | str, limit: int, unit: LengthUnit = "characters") -> list[str]:
    parts = split(Rendered(rendered) if isinstance(rendered, str) else rendered, Limits(limit, unit))
    assert isinstance(parts, Parts)
    return [part.text for part in parts.parts]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one para\n\ntwo para\n\nthree", ["one para\n\ntwo para", "three"]),
        ("one line here\ntwo lines here", ["one line here", "two lines here"]),
        ("A sentence. And another one.", ["A sentence.", "And another one."]),
        ("这是一句话。这是另一句话，很长很长很长很长。", ["这是一句话。这是另一句话，", "很长很长很长很长。"]),
        ("这是很长很长的话，比一条消息长，很长很长很长", ["这是很长很长的话，比一条消息长，", "很长很长很长"]),
        ("only words without any stop here", ["only words without", "any stop here"]),
        ("x" * 45, ["x" * 20, "x" * 20, "x" * 5]),
        ("short", ["short"]),
        ("", []),
        (" \n ", []),
    ],
)
def test_a_cut_is_where_a_reader_would_make_it(text: str, expected: list[str]) -> None:
    assert texts(text, 20) == expected


def test_a_break_near_the_start_leaves_no_tiny_part() -> None:
    text = "Hm\n\n" + "some words that go on and on for long"
    assert texts(text, 30)[0] == "Hm\n\nsome words that go on and"


@pytest.mark.parametrize(
    ("unit", "expected"),
    [("characters", ["🎉🎉🎉🎉", "🎉"]), ("utf16", ["🎉🎉", "🎉🎉", "🎉"]), ("bytes", ["🎉", "🎉", "🎉", "🎉", "🎉"])],
)
def test_length_is_counted_in_the_platforms_unit(unit: LengthUnit, expected: list[str]) -> None:
    assert texts("🎉" * 5, 4, unit) == expected


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        (f"abc{FAMILY}d", 8, ["abc", f"{FAMILY}d"]),
        ("ae\u0301e\u0301", 4, ["ae\u0301", "e\u0301"]),
        ("🇩🇪🇫🇷🇬🇧", 3, ["🇩🇪", "🇫🇷", "🇬🇧"]),
        ("x\u0301" * 1 + "\u0302" * 9, 4, ["x\u0301\u0302\u0302", "\u0302" * 4, "\u0302" * 3]),
        ("word \u0301more", 6, ["word", " \u0301more"]),
        ("一二三四五六。\u0301七八九十", 10, ["一二三四五六。\u0301七八", "九十"]),
    ],
)
def test_what_a_reader_takes_for_one_character_stays_whole(text: str, limit: int, expected: list[str]) -> None:
    assert texts(text, limit) == expected


def test_a_link_moves_to_the_next_part_whole() -> None:
    whole = Rendered("see the long label here", (Span(8, 18, Look.LINK, "https://a.example"),))
    parts = split(whole, Limits(14))
    assert isinstance(parts, Parts)
    assert [part.text for part in parts.parts] == ["see the", "long label", "here"]
    assert [part.spans for part in parts.parts] == [(), (Span(0, 10, Look.LINK, "https://a.example"),), ()]


def test_a_cut_between_words_is_not_in_a_link() -> None:
    text = "some words one two three " + "x" * 20
    assert texts(Rendered(text, (Span(11, 24, Look.LINK, "u"),)), 30) == ["some words one two three", "x" * 20]
    assert texts(Rendered(text[:24] + "x" * 20, (Span(11, 24, Look.LINK, "u"),)), 30)[0] == "some words"


def test_a_link_that_ends_within_a_character_moves_on_with_it() -> None:
    parts = split(Rendered("??alt\U0001f3fb", (Span(2, 5, Look.LINK, "u"),)), Limits(8, "bytes"))
    assert isinstance(parts, Parts)
    assert [part.text for part in parts.parts] == ["??", "alt\U0001f3fb"]


def test_a_link_longer_than_a_part_leads_on_from_both_sides() -> None:
    parts = split(Rendered("x" * 15, (Span(0, 15, Look.LINK, "u"),)), Limits(10))
    assert isinstance(parts, Parts)
    assert [part.spans for part in parts.parts] == [(Span(0, 10, Look.LINK, "u"),), (Span(0, 5, Look.LINK, "u"),)]


def test_code_is_closed_and_opened_again_with_its_language() -> None:
    text = "def a():\n    return 1\n\ndef b():\n    return 2"
    parts = split(Rendered(text, (Span(0, len(text), Look.PRE, "python"),)), Limits(30))
    assert isinstance(parts, Parts)
    assert [part.text for part in parts.parts] == ["def a():\n    return 1", "def b():\n    return 2"]
    assert all(part.spans == (Span(0, len(part.text), Look.PRE, "python"),) for part in parts.parts)


def test_the_indent_of_a_line_of_code_survives_a_cut() -> None:
    text = "if a:\n        first()\n        second()"
    assert texts(Rendered(text, (Span(0, len(text), Look.PRE),)), 25)[1] == "        second()"


def test_code_that_fits_into_the_next_part_is_not_torn() -> None:
    text = "Some words before it.\na = 1\nb = 2\nc = 3"
    assert texts(Rendered(text, (Span(22, len(text), Look.PRE),)), 30) == [
        "Some words before it.",
        "a = 1\nb = 2\nc = 3",
    ]


def test_a_paragraph_ends_before_a_blank_line_of_code() -> None:
    text = "Words before it.\n\nab = 1\n\n" + "c = 2\n" * 10
    assert texts(Rendered(text, (Span(18, len(text), Look.PRE),)), 32)[0] == "Words before it."


def test_looks_are_closed_and_opened_again() -> None:
    parts = split(Rendered("bold words that go on", (Span(0, 21, Look.BOLD), Span(5, 15, Look.ITALIC))), Limits(12))
    assert isinstance(parts, Parts)
    assert parts.parts == (
        Rendered("bold words", (Span(0, 10, Look.BOLD), Span(5, 10, Look.ITALIC))),
        Rendered("that go on", (Span(0, 10, Look.BOLD), Span(0, 4, Look.ITALIC))),
    )


def test_more_parts_than_allowed_become_a_file() -> None:
    text = Rendered("word " * 30)
    assert split(text, Limits(50, max_parts=2)) == AsFile(2)
    assert isinstance(split(text, Limits(50, max_parts=3)), Parts)


def test_a_part_has_no_more_spans_than_allowed() -> None:
    text = "ab " * 40
    spans = tuple(Span(index * 3, index * 3 + 2, Look.BOLD) for index in range(40))
    parts = split(Rendered(text, spans), Limits(None, max_spans=15))
    assert isinstance(parts, Parts)
    assert [len(part.spans) for part in parts.parts] == [15, 15, 10]
    assert " ".join(part.text for part in parts.parts) == text.strip()


def test_without_limits_there_is_one_part() -> None:
    assert split(Rendered("word " * 5_000), Limits(None)) == Parts((Rendered("word " * 5_000),))


def test_the_signs_of_a_span_count_where_they_are_sent() -> None:
    def wire(part: Rendered) -> str:
        return "".join(f"```{span.value}\n\n```" for span in part.spans) + part.text

    text = "\n".join(f"line {number}" for number in range(40))
    parts = split(Rendered(text, (Span(0, len(text), Look.PRE, "python"),)), Limits(60, wire=wire))
    assert isinstance(parts, Parts)
    assert all(len(wire(part)) <= 60 for part in parts.parts)
    assert all(len(wire(part)) > 40 for part in parts.parts[:-1])


@given(st.text("ab .。\n🎉\u0301", min_size=1, max_size=400), st.integers(0, 400))
@effort(500, 1)
def test_parts_of_settled_text_stay_when_text_is_appended(text: str, length: int) -> None:
    limits = Limits(10, "utf16")
    seen: tuple[Rendered, ...] = ()
    for end in sorted({min(length, len(text)), (length + len(text)) // 2, len(text)}):
        parts = split(Rendered(text[:end]), limits, settled=end)
        assert isinstance(parts, Parts)
        assert parts.parts[: len(seen)] == seen
        seen = parts.parts[: parts.settled]


@pytest.mark.parametrize("line", ["some words ", "    value = 1\n"])
def test_enough_settled_text_settles_parts_and_the_rest_can_be_made_alone(line: str) -> None:
    text = line * 40
    whole = Rendered(text, (Span(0, len(text), Look.PRE),) if "=" in line else ())
    parts = split(whole, Limits(50), settled=len(text))
    assert isinstance(parts, Parts)
    assert parts.settled >= len(parts.parts) - 3 > 0
    rest = split(whole, Limits(50), start=parts.resume)
    assert isinstance(rest, Parts)
    assert rest.parts == parts.parts[parts.settled :]


def test_nothing_is_settled_where_nobody_says_so() -> None:
    parts = split(Rendered("word " * 100), Limits(50))
    assert isinstance(parts, Parts)
    assert (parts.settled, parts.resume) == (0, 0)


def test_a_part_before_code_settles_once_it_is_known_whether_the_code_fits_into_the_next() -> None:
    prose = "word " * 40
    settled = []
    for lines in (30, 60, 90):
        text = prose + "\n" + "value = 1\n" * lines
        parts = split(Rendered(text, (Span(201, len(text), Look.PRE),)), Limits(400), settled=len(text) - 10)
        assert isinstance(parts, Parts)
        settled.append(parts.parts[: parts.settled])
    assert settled[0] == ()
    assert settled[2][: len(settled[1])] == settled[1] != ()


def test_many_spans_and_parts_take_little_time() -> None:
    text = "ab " * 20_000
    spans = tuple(Span(index * 3, index * 3 + 2, Look.BOLD) for index in range(20_000))
    parts = split(Rendered(text, spans), Limits(4_096, "utf16", max_spans=100))
    assert isinstance(parts, Parts)
    assert all(first.text and second.text for first, second in pairwise(parts.parts))
