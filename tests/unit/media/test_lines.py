"""Lines that name a file: found where they are meant, and never in code."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from gateway.media.lines import GrowingMedia, media_lines, paths_in, split_media


def take_all(_path: str) -> bool:
    return True


@pytest.mark.parametrize(
    ("text", "shown", "paths"),
    [
        ("Here it is.\n\nMEDIA:/a/b.png", "Here it is.", ["/a/b.png"]),
        ("MEDIA:/a/b.png", "", ["/a/b.png"]),
        ("MEDIA:/a/my plot.png  \r\nDone.", "Done.", ["/a/my plot.png"]),
        ("  MEDIA:/a\nMEDIA:/b\nMEDIA:/a\nend", "end", ["/a", "/b"]),
        ("see MEDIA:/a/b.png", "see MEDIA:/a/b.png", []),
        ("MEDIA:a.png", "MEDIA:a.png", []),
        ("MEDIA: /a.png", "MEDIA: /a.png", []),
        ("media:/a.png", "media:/a.png", []),
        ("    MEDIA:/a.png", "    MEDIA:/a.png", []),
        ("```\nMEDIA:/a\n```\nMEDIA:/b", "```\nMEDIA:/a\n```", ["/b"]),
        ("~~~ text\n```\nMEDIA:/a\n~~~~\nMEDIA:/b", "~~~ text\n```\nMEDIA:/a\n~~~~", ["/b"]),
        ("````\n```\nMEDIA:/a\n", "````\n```\nMEDIA:/a\n", []),
        ("- ```\n  MEDIA:/a\n  ```\n\nMEDIA:/b", "- ```\n  MEDIA:/a\n  ```", ["/b"]),
        ("> ```\n> MEDIA:/a\n> ```\nMEDIA:/b", "> ```\n> MEDIA:/a\n> ```", ["/b"]),
        ("``` not a fence ```\nMEDIA:/a", "``` not a fence ```", ["/a"]),
        ("```\n    ```\nMEDIA:/a", "```\n    ```\nMEDIA:/a", []),
        ("1. one\n\n   ~~~\n   MEDIA:/a\n   ~~~\n", "1. one\n\n   ~~~\n   MEDIA:/a\n   ~~~\n", []),
        ("MEDIA:/", "MEDIA:/", []),
        ("", "", []),
        ("trailing\n\n", "trailing\n\n", []),
    ],
)
def test_lines_are_taken_off(text: str, shown: str, paths: list[str]) -> None:
    assert split_media(text, take_all) == shown
    assert paths_in(text) == paths


def test_what_is_not_taken_stays_as_it_is() -> None:
    text = "a\nMEDIA:/x\nMEDIA:/y\n"
    assert split_media(text, lambda path: path == "/y") == "a\nMEDIA:/x"
    assert split_media(text, lambda _path: False) == text


def test_a_growing_text_shows_no_line_that_may_be_one() -> None:
    whole = "Mind you:\nMEDIA:/a/b.png\nMore."
    growing = GrowingMedia()
    seen = [growing.visible(whole[:end], take_all) for end in range(len(whole) + 1)]
    assert all("MEDIA" not in text for text in seen)
    assert seen[1] == ""
    assert seen[len("Mind")] == "Mind"
    assert seen[-1] == "Mind you:\nMore."


def test_a_growing_text_waits_for_what_is_not_known() -> None:
    text = "a\nMEDIA:/x\nb\n"
    assert GrowingMedia().visible(text, lambda _path: None) == "a\n"
    assert GrowingMedia().visible(text, lambda _path: False) == text
    assert GrowingMedia().visible(text, lambda _path: True) == "a\nb\n"


def test_a_growing_text_is_read_for_code_once_a_line() -> None:
    asked: list[str] = []

    def code(text: str) -> tuple[int, ...]:
        asked.append(text)
        return ()

    growing = GrowingMedia()
    for end in range(1, 100):
        assert growing.visible("MEDIA:/a\n" + "word\n" * end, take_all, code) == "word\n" * end
    assert asked == ["MEDIA:/a\n"]
    assert growing.visible("begun anew\nMEDIA:/b\n", take_all, code) == "begun anew\n"


def test_a_growing_text_waits_for_its_code_to_be_known() -> None:
    known: list[tuple[int, ...]] = []
    growing = GrowingMedia()

    def code(_text: str) -> tuple[int, ...] | None:
        return known[0] if known else None

    text = "```\nMEDIA:/a\n```\nMEDIA:/b\nend\n"
    assert growing.visible(text, take_all, code) == "```\n"
    known.append((0, 1, 2))
    assert growing.visible(text + "more", take_all, code) == "```\nMEDIA:/a\n```\nend\nmore"


pieces = st.sampled_from(
    ["MEDIA:/a\n", "MEDIA:/b", "M", "MED", "word", "\n", "\n\n", "```\n", "```py\n", "~~~~\n", "    ", "- ", "> ", " "]
)
texts = st.lists(pieces, max_size=30).map("".join)


@given(texts)
def test_nothing_is_lost_but_the_lines_that_are_taken(text: str) -> None:
    assert "".join(line for line, _path in media_lines(text)) == text
    taken = [line for line, path in media_lines(text) if path is not None]
    left = [line for line, path in media_lines(text) if path is None]
    whole = split_media(text, take_all)
    assert "".join(left).rstrip() == whole.rstrip()
    assert all(re.fullmatch(r" {0,3}MEDIA:/[ab][^\n]*\n?", line) for line in taken)


@given(texts, st.sampled_from([True, False]))
def test_a_growing_text_only_grows(text: str, verdict: bool) -> None:
    shown, growing = "", GrowingMedia()
    for end in range(len(text) + 1):
        now = growing.visible(text[:end], lambda _path: verdict)
        assert now == GrowingMedia().visible(text[:end], lambda _path: verdict)
        assert now.startswith(shown)
        shown = now
    assert split_media(text, lambda _path: verdict).rstrip().startswith(shown.rstrip())


@given(texts)
def test_no_line_of_a_code_block_is_taken(text: str) -> None:
    """What the parser that shows answers takes for fenced code is never looked at."""
    lines = text.split("\n")
    taken = [path is not None for _line, path in media_lines(text)]
    for token in MarkdownIt("commonmark").parse(text):
        if token.type == "fence" and token.map is not None:
            first, last = token.map
            assert not any(taken[first:last]), (lines, token.map)
