"""Text as the loopback server takes it: entities checked and found, parse modes."""

import pytest

from adapters.testing.telegram.errors import ApiError
from adapters.testing.telegram.formatting import parsed
from adapters.testing.telegram.text import check_entities, trimmed, with_found


def entity(offset: int, length: int, kind: str = "bold", **more: str) -> dict[str, object]:
    return {"type": kind, "offset": offset, "length": length, **more}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (entity(0, 1, "sparkling"), "Unsupported type specified"),
        (entity(0, 2, "text_link"), 'Can\'t find field "url"'),
        ({"type": "bold", "offset": 0}, 'Can\'t find field "length"'),
        (entity(-1, 1), "incorrect offset -1"),
        (entity(0, -1), "incorrect length -1"),
        (entity(5, 1), "begins after the end of the text at UTF-16 offset 5"),
        (entity(3, 2), "ends after the end of the text at UTF-16 offset 5"),
        (entity(1, 1), "begins in a middle of a UTF-16 symbol"),
        (entity(0, 1), "ends in a middle of a UTF-16 symbol"),
    ],
)
def test_entities_that_are_refused(bad: dict[str, object], reason: str) -> None:
    with pytest.raises(ApiError, match=reason):
        check_entities("👋ab", [bad])


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ([entity(2, 1), entity(0, 1)], "not sorted"),
        ([entity(0, 3), entity(2, 3, "italic")], "bold and italic overlap"),
        ([entity(0, 4), entity(1, 2, "code")], "bold and code may not be nested"),
        ([entity(0, 4, "blockquote"), entity(1, 2, "expandable_blockquote")], "may not be nested"),
    ],
)
def test_entities_that_are_tolerated_and_noted(given: list[dict[str, object]], complaint: str) -> None:
    _, complaints = check_entities("abcdef", given)
    assert complaint in " ".join(complaints)


def test_good_entities_and_those_that_the_server_finds() -> None:
    kept, complaints = check_entities("  a b  ", [entity(2, 3), entity(2, 1, "italic"), entity(0, 1, "mention")])
    assert complaints == ()
    assert trimmed("  a b  ", kept) == ("a b", (entity(0, 3), entity(0, 1, "italic")))
    text = "/go@a_bot see https://x.org/#y, @you_and a/b #tag 👋 me@x.org"
    kinds = [(each["type"], each["offset"], each["length"]) for each in with_found(text, ())]
    assert kinds == [("bot_command", 0, 9), ("url", 14, 16), ("mention", 32, 8), ("hashtag", 45, 4), ("email", 53, 8)]


@pytest.mark.parametrize(
    ("mode", "marked", "text", "kinds"),
    [
        ("HTML", "<b>a<i>b</i></b> &lt;c&gt;", "ab <c>", [("bold", 0, 2), ("italic", 1, 1)]),
        ("HTML", '<a href="http://x">👋</a>', "👋", [("text_link", 0, 2)]),
        ("HTML", '<pre><code class="language-py">x</code></pre>', "x", [("pre", 0, 1)]),
        ("MarkdownV2", "*a _b_* c\\.", "a b c.", [("bold", 0, 3), ("italic", 2, 1)]),
        ("MarkdownV2", "[x](http://y/\\)) `z`", "x z", [("text_link", 0, 1), ("code", 2, 1)]),
        ("MarkdownV2", "```py\nx = 1\n```", "x = 1", [("pre", 0, 5)]),
    ],
)
def test_parse_modes(mode: str, marked: str, text: str, kinds: list[tuple[str, int, int]]) -> None:
    found, entities = parsed(marked, mode)
    assert (found, [(each["type"], each["offset"], each["length"]) for each in entities]) == (text, kinds)


@pytest.mark.parametrize(
    ("mode", "marked"),
    [("HTML", "<b>a"), ("HTML", "<x>a</x>"), ("MarkdownV2", "a."), ("MarkdownV2", "*a"), ("Markdown", "a")],
)
def test_wrong_markup_is_refused(mode: str, marked: str) -> None:
    with pytest.raises(ApiError, match="Bad Request"):
        parsed(marked, mode)
