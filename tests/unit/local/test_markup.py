"""Markdown on the terminal: what is complete, what is shown, and that nothing of it can steer the terminal."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from adapters.local.markup import MarkdownBlocks, MarkdownRenderer, plain
from adapters.local.reply import GrowingReply
from adapters.local.screen import Update
from tests.unit.local.support import SAMPLE

ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
PLAIN = MarkdownRenderer({"TERM": "xterm-256color", "NO_COLOR": "1"})
COLOURED = MarkdownRenderer({"TERM": "xterm-256color", "COLORTERM": "truecolor"})


def words(text: str) -> str:
    return "".join(character for character in ESCAPES.sub("", text) if character.isalnum())


def lines_of(rendered: str) -> list[str]:
    return ESCAPES.sub("", rendered).split("\n")


def update(text: str, piece: str, *, replaced: bool = False) -> Update:
    return Update(
        id=1,
        kind="reply",
        text=text,
        piece=piece,
        final=False,
        first=False,
        replaced=replaced,
        repeated=False,
        own=None,
        session_id=None,
        turn_id=None,
    )


@pytest.mark.parametrize("width", [20, 60, 200])
def test_lines_fit_the_width(width: int) -> None:
    for line in COLOURED.render(SAMPLE, width).splitlines():
        assert cell_len(ESCAPES.sub("", line)) <= width
        assert not ESCAPES.sub("", line).endswith(" ")


def test_what_a_person_wrote_is_wrapped_under_its_own_beginning() -> None:
    text = "a line that is wrapped\n  an indented one\n東京タワーはとても高い\n" + "x" * 30
    assert lines_of(PLAIN.quoted(text, "> ", "bold", 18)) == [
        "> a line that is",
        "  wrapped",
        "    an indented",
        "  one",
        "  東京タワーはとて",
        "  も高い",
        "  xxxxxxxxxxxxxxxx",
        "  xxxxxxxxxxxxxx",
        "",
    ]


@pytest.mark.parametrize("width", [60, 200])
def test_nothing_of_the_sample_is_lost(width: int) -> None:
    shown = words(COLOURED.render(SAMPLE, width))
    pieces = ("brawHTMLb", "httpsexampleorgpage", "東京タワー", "名前", "22", "returnquestionupper", "Aquotation")
    for piece in pieces:
        assert piece in shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("one\ntwo", "one\ntwo\n"),
        ("a <b>c</b> <!-- d -->", "a <b>c</b> <!-- d -->\n"),
        ("<div>\nblock\n</div>", "<div>\nblock\n</div>\n"),
        ("[text](http://x.org/a)", "text (http://x.org/a)\n"),
        ("![alt](http://x.org/i.png)", "alt (http://x.org/i.png)\n"),
        ("<http://x.org>", "http://x.org\n"),
        ("[a][1]\n\n[1]: http://x.org", "[a][1]\n\n[1]: http://x.org\n"),
        ("5 * 3 * 2 and a_b_c", "5 * 3 * 2 and a_b_c\n"),
        ("[red]not markup[/red] :smile:", "[red]not markup[/red] :smile:\n"),
        ("```\n  indented\n\n\tcode\n```", "    indented\n\n      code\n"),
        ("3. three\n4. four", " 3 three\n 4 four\n"),
        ("", ""),
        ("  \n\n ", ""),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert ESCAPES.sub("", PLAIN.render(text, 60)) == shown


def test_colour_only_where_it_is_wanted() -> None:
    code = "```python\nreturn 1\n```"
    assert "\x1b[9" in COLOURED.render(code, 60)
    assert not re.search(r"\x1b\[(3|4|9|10)[0-9]", PLAIN.render(code, 60))


def test_words_say_error_without_colour() -> None:
    assert ESCAPES.sub("", PLAIN.styled("error: no", "bold red", 60)) == "error: no\n"


@pytest.mark.parametrize(
    "text", ["\x1b]0;title\x07", "\x1b[2J", "a\x9b31mb", "\x00", "\x08" * 5, "\ud800", "\u202eabc", "\x7f"]
)
def test_no_text_can_steer_the_terminal(text: str) -> None:
    shown = plain(text)
    shown.encode()
    assert not set(shown) & {chr(code) for code in (*range(0x20), *range(0x7F, 0xA0), 0x202E)}


def test_a_table_wider_than_the_window_keeps_its_text() -> None:
    header = "|" + "|".join(f"column{number}" for number in range(12)) + "|"
    text = f"{header}\n{'|---' * 12}|\n|{'|'.join(f'v{number}' for number in range(12))}|\n"
    assert PLAIN.render(text, 30)


@pytest.mark.parametrize(
    ("text", "complete"),
    [
        ("one", ""),
        ("one\n", ""),
        ("one\n\n", ""),
        ("one\n\ntwo", ""),
        ("one\n\ntwo\n", "one\n\n"),
        ("- a\n\n- b\n", ""),
        ("- a\n\n- b\n\nend\n", "- a\n\n- b\n\n"),
        ("```\na\n\nb\n", ""),
        ("```\na\n\nb\n```\n", ""),
        ("```\na\n```\nend\n", "```\na\n```\n"),
        ("text\n#", ""),
        ("|a|\n|-|\n|1|\n", ""),
        ("# head\nbody\n", "# head\n"),
    ],
)
def test_complete_blocks(text: str, complete: str) -> None:
    assert text[: MarkdownBlocks().complete_length(text)] == complete


def test_a_reply_printed_block_by_block_is_the_reply() -> None:
    reply, printed, text = GrowingReply(), [], ""
    for start in range(0, len(SAMPLE), 3):
        piece = SAMPLE[start : start + 3]
        text += piece
        assert not reply.grow(update(text, piece))
        printed.append(reply.take_complete())
    printed.append(reply.take_all())
    assert "".join(printed) == SAMPLE
    assert len([block for block in printed if block]) == 7
    together = "\n".join(PLAIN.render(block, 60) for block in printed if block.strip())
    at_once = PLAIN.render(SAMPLE, 60)
    assert [line for line in lines_of(together) if line] == [line for line in lines_of(at_once) if line]


def test_a_replaced_text_is_printed_again_only_if_what_is_printed_changed() -> None:
    reply = GrowingReply()
    reply.grow(update("one\n\ntwo\n", "one\n\ntwo\n"))
    assert reply.take_complete() == "one\n\n"
    assert not reply.grow(update("one\n\nthree", "one\n\nthree", replaced=True))
    assert reply.tail == "three"
    assert reply.grow(update("other", "other", replaced=True))
    assert reply.take_all() == "other"


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet=st.sampled_from(list("ab 1\n\n-*#>`|[]()!<&_~.\\:東🎉\x1b\t")), max_size=120))
def test_any_text_can_be_rendered_and_split(text: str) -> None:
    shown = plain(text)
    COLOURED.render(shown, 40)
    reply, printed = GrowingReply(), ""
    for end in range(0, len(text) + 1, 7):
        reply.grow(update(text[:end], text[max(end - 7, 0) : end]))
        printed += reply.take_complete()
    assert shown.startswith(printed)
