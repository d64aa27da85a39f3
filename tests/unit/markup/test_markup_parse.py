"""How Markdown is read: what models write, and what is broken or not yet complete."""

from time import process_time

import pytest

from adapters.markup.document import (
    Break,
    Code,
    CodeBlock,
    Heading,
    Image,
    Inline,
    Item,
    Link,
    List,
    Paragraph,
    Placed,
    Quote,
    Rule,
    Style,
    Styled,
    Table,
    Text,
    plain_text,
)
from adapters.markup.parse import MarkdownParser

PARSER = MarkdownParser()


def blocks(text: str, *, complete: bool = True) -> list[object]:
    return [placed.block for placed in PARSER.parse(text, complete=complete).blocks]


def inlines(text: str, *, complete: bool = True) -> tuple[Inline, ...]:
    (paragraph,) = blocks(text, complete=complete)
    assert isinstance(paragraph, Paragraph)
    return paragraph.children


def bold(*children: Inline) -> Styled:
    return Styled(Style.BOLD, children)


def italic(*children: Inline) -> Styled:
    return Styled(Style.ITALIC, children)


@pytest.mark.parametrize(
    "text",
    [
        "5 * 3 * 2",
        "5*3*2",
        "a*b*c",
        "x**2 + y**2",
        "2**10",
        "snake_case_name",
        "__init__ and __init__.py",
        "f(*args, **kwargs)",
        "a || b || c",
        "~5 to ~10",
        "$5 and $10",
        "$a*b*c$",
        "$$a*b$$ and $$ c*d $$",
        r"\(a*b*c\) \[ x*y*z \]",
        "<b>text</b><br>",
        "[not a link] [x][y]",
        "**open",
        "a * b",
    ],
)
def test_text_without_emphasis_stays_as_it_is(text: str) -> None:
    assert inlines(text) == (Text(text),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("**a** *b*", (bold(Text("a")), Text(" "), italic(Text("b")))),
        ("a ~~c~~", (Text("a "), Styled(Style.STRIKE, (Text("c"),)))),
        ("***a***", (italic(bold(Text("a"))),)),
        ("||a **b**||", (Styled(Style.SPOILER, (Text("a "), bold(Text("b")))),)),
        ("**Note:**text", (bold(Text("Note:")), Text("text"))),
        ("是**重点（很）**的", (Text("是"), bold(Text("重点（很）")), Text("的"))),
        ("是*「重」*的", (Text("是"), italic(Text("「重」")), Text("的"))),
        ("**🎉 Wow!**now", (bold(Text("🎉 Wow!")), Text("now"))),
        ("**a *b* c**", (bold(Text("a "), italic(Text("b")), Text(" c")),)),
        ("**a **b** c**", (bold(Text("a b c")),)),
        ("`a ** b` `` ` ``", (Code("a ** b"), Text(" "), Code("`"))),
        ("a\nb  \nc", (Text("a"), Break(hard=False), Text("b"), Break(hard=True), Text("c"))),
        ("$5*2 **b** $", (Text("$5*2 "), bold(Text("b")), Text(" $"))),
        (r"\*a\* &amp;", (Text("*a* &"),)),
        (r"\[1\] Smith", (Text("[1] Smith"),)),
        ("echo $HOME `x` and `$y`", (Text("echo $HOME "), Code("x"), Text(" and "), Code("$y"))),
    ],
)
def test_inlines(text: str, expected: tuple[Inline, ...]) -> None:
    flat = tuple(_without_nested_bold(inline) for inline in inlines(text))
    assert flat == expected


def _without_nested_bold(inline: Inline) -> Inline:
    """Bold in bold is bold: its texts stand apart in the tree, and read as one."""
    if isinstance(inline, Styled) and all(isinstance(child, Text) for child in inline.children):
        return Styled(inline.style, (Text(plain_text(inline.children)),))
    return inline


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a *b*](https://x.example 't')", Link("https://x.example", (Text("a "), italic(Text("b"))))),
        ("https://x.example/a_b_c", Link("https://x.example/a_b_c", (Text("https://x.example/a_b_c"),), bare=True)),
        ("<https://x.example>", Link("https://x.example", (Text("https://x.example"),), bare=True)),
        ("<a@b.example>", Link("mailto:a@b.example", (Text("a@b.example"),), bare=True)),
        ("![alt *text*](i.png)", Image("i.png", "alt text")),
        ("[x](javascript:alert(1))", Link("javascript:alert(1)", (Text("x"),))),
    ],
)
def test_links(text: str, expected: Inline) -> None:
    assert inlines(text) == (expected,)


def test_names_of_files_are_no_links() -> None:
    assert inlines("README.md, main.py, example.com") == (Text("README.md, main.py, example.com"),)


def test_a_list_knows_its_tasks_numbers_and_gaps() -> None:
    (block,) = blocks("7. [x] a\n8. b\n\n9. c\n   - d")
    assert isinstance(block, List)
    assert block.start == 7
    assert [(item.checked, item.spaced) for item in block.items] == [(True, False), (None, False), (None, True)]
    nested = block.items[2].blocks[1].block
    assert isinstance(nested, List)
    assert nested.start is None


def test_a_box_alone_is_no_task() -> None:
    (block,) = blocks("- [x]")
    assert block == List((Item((Placed(Paragraph((Text("[x]"),)), 0, spaced=False),), 0),))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("```py\nx = 1\n```", CodeBlock("x = 1", "py")),
        ("```py title=a\nx = 1", CodeBlock("x = 1", "py")),
        ("~~~\n```\n~~~", CodeBlock("```")),
        ("    a\n\n      b", CodeBlock("a\n\n  b")),
        ("***", Rule()),
        ("### a ###", Heading(3, (Text("a"),))),
        ("$$\na\n- b\n$$", Paragraph((Text("$$\na\n- b\n$$"),))),
        ("\\[\n+ a\n\\]", Paragraph((Text("\\[\n+ a\n\\]"),))),
    ],
)
def test_blocks(text: str, expected: object) -> None:
    assert blocks(text) == [expected]


def test_a_line_of_dashes_makes_no_heading_of_what_was_said() -> None:
    assert blocks("said\n---\nmore") == [Paragraph((Text("said"),)), Rule(), Paragraph((Text("more"),))]


def test_a_ragged_table_loses_no_cell() -> None:
    (table,) = blocks("| a | b |\n|:-:|--:|\n| 1 |\n| 1 | 2 | **3** | 4 |")
    assert table == Table(
        ((Text("a"),), (Text("b"),), (), ()),
        (((Text("1"),), (), (), ()), ((Text("1"),), (Text("2"),), (bold(Text("3")),), (Text("4"),))),
        ("center", "right", "left", "left"),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (">" * 300 + " deep", ["deep"]),
        ("\n".join("  " * depth + f"- item{depth}" for depth in range(80)), [f"item{depth}" for depth in range(80)]),
    ],
)
def test_what_lies_too_deep_is_still_shown(text: str, words: list[str]) -> None:
    shown = repr(PARSER.parse(text))
    assert all(word in shown for word in words)


@pytest.mark.parametrize(
    "text",
    [
        "**a " * 3_000,
        "*(" * 9_000,
        "*" * 9_000 + "a",
        "[" * 90_000,
        "![" * 20_000,
        "<http://" * 9_000,
        "_a_" * 6_000,
        "||" * 9_000,
        "\\(" * 9_000,
        "a`" * 9_000,
        "a](" * 9_000,
        "$a " * 6_000,
        "x\n" * 20_000,
    ],
    ids=lambda text: text[:7],
)
def test_no_text_takes_a_long_time_or_a_deep_stack(text: str) -> None:
    begun = process_time()
    assert plain_text(inlines(text)).strip()
    inlines(text, complete=False)
    assert process_time() - begun < 5


def test_a_paragraph_that_is_no_prose_is_shown_as_it_stands() -> None:
    text = "[x](https://x.example)\n" * 200
    assert plain_text(inlines(text)) == text.strip()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("say **bo", (Text("say "), bold(Text("bo")))),
        ("say **bold *it", (Text("say "), bold(Text("bold "), italic(Text("it"))))),
        ("say ~~no", (Text("say "), Styled(Style.STRIKE, (Text("no"),)))),
        ("say ||no", (Text("say "), Styled(Style.SPOILER, (Text("no"),)))),
        ("say `co", (Text("say "), Code("co"))),
        ("say ``co`", (Text("say "), Code("co"))),
        ("**say `co", (bold(Text("say "), Code("co")),)),
        ("say **", (Text("say"),)),
        ("say [lab", (Text("say [lab"),)),
        ("see [1]", (Text("see [1]"),)),
        ("say `co`", (Text("say "), Code("co"))),
        ("say **bo**", (Text("say "), bold(Text("bo")))),
        ("say **bo*", (Text("say "), bold(Text("bo")))),
        (r"say \*", (Text("say *"),)),
        ("say [lab](https://exa", (Text("say lab"),)),
        ("say ![alt](https://exa", (Text("say alt"),)),
        ("5 * 3", (Text("5 * 3"),)),
    ],
)
def test_an_incomplete_text_shows_its_emphasis_already(text: str, expected: tuple[Inline, ...]) -> None:
    assert inlines(text, complete=False) == expected


def test_only_the_end_of_an_incomplete_text_is_closed() -> None:
    first, second = blocks("**open\n\n*it", complete=False)
    assert first == Paragraph((Text("**open"),))
    assert second == Paragraph((italic(Text("it")),))


def test_line_ends_and_half_characters_are_made_plain() -> None:
    assert inlines("a\r\nb\rc\ud800") == (Text("a"), Break(False), Text("b"), Break(False), Text("c\ufffd"))


def test_a_quote_holds_blocks() -> None:
    (quote,) = blocks("> a\n>\n> - b")
    assert isinstance(quote, Quote)
    assert [(type(placed.block), placed.spaced) for placed in quote.blocks] == [(Paragraph, False), (List, True)]
