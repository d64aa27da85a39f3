"""Discord's messages: marks, escapes, limits, addresses, mentions, and texts that grow."""

import os
from pathlib import Path

import pytest

from adapters.markup.discord import DiscordMarkup, DiscordMessage
from adapters.markup.messages import Messages
from adapters.markup.split import AsFile
from tests.unit.markup.discord_rules import read

MARKUP = DiscordMarkup()
CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.md"))
WRITES = bool(os.environ.get("HERMES_GATEWAY_WRITE_CORPUS"))
BETWEEN = "\n=== next message ===\n"


def messages(text: str, markup: DiscordMarkup = MARKUP) -> tuple[DiscordMessage, ...]:
    shown = markup.messages(text)
    assert isinstance(shown, Messages)
    assert all(len(message.content) <= 2_000 for message in shown.messages)
    return shown.messages


def one(text: str, markup: DiscordMarkup = MARKUP) -> str:
    (message,) = messages(text, markup)
    return message.content


@pytest.mark.parametrize("source", CORPUS, ids=lambda path: path.stem)
def test_a_text_is_sent_as_expected(source: Path) -> None:
    text = BETWEEN.join(message.content for message in messages(source.read_text(encoding="utf-8"))) + "\n"
    expected = source.with_suffix(".discord.txt")
    if WRITES:
        expected.write_text(text, encoding="utf-8")
    assert text == expected.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("**bold** *italic* ~~struck~~ ||hidden||", "**bold** _italic_ ~~struck~~ ||hidden||"),
        ("**b***a*", "**b**_a_"),
        ("*https://a.example/b_c d*", "*<https://a.example/b_c> d*"),
        ("***a** b*", "_**a** b_"),
        ("# One\n## Two\n### Three\n#### Four", "# One\n\n## Two\n\n### Three\n\n**Four**"),
        ("# C#\nx", "# C#\u2060\nx"),
        ("- # title", "• **title**"),
        ("> a\n> b\n> > c", "> a\n> b\n> \\> c"),
        ("> # a\n> ```py\n> b\n> ```", "> # a\n> ```py\n> b\n> ```"),
        ("```c++\n\n\ta\n\n```\nb", "```c++\n    a\n```\nb"),
        ("````\n```\n````", "```\n``\u2060`\u2060\n```"),
        ("`` a`b ``", "``a`b``"),
        ("`` ` ``", "`` ` ``"),
        ("`a``b`", "`a``b`"),
        ("1. a\n2. b", "1\\. a\n2\\. b"),
        ("\\- a\n\\# b\n\\> c\n-# d", "\\- a\n\\# b\n\\> c\n\\-# d"),
        ("snake_case 5*3 a|b ~x \\", "snake\\_case 5\\*3 a\\|b \\~x \\\\"),
        (":100: 10:30 a: b", "\\:100: 10:30 a: b"),
        ("**a\\***", "**a\\*\u2060**"),
        ("||a\\|||", "||a\\|\u2060||"),
        ("[x](https://example.com/a_(b))", "[x](https://example.com/a_%28b%29)"),
        ("https://example.com/a_b.", "<https://example.com/a_b>."),
        ("[x](docs/page.md)", "x (docs/page.md)"),
        ("[a]b](https://example.com)", "\\[a\\]b\\]\\(<https://example.com>)"),
        ("[https://a.example](https://b.example)", "https:\\//a.example (https:\\//b.example)"),
        ("![alt](https://example.com/i.png)", "[alt](https://example.com/i.png)"),
    ],
)
def test_what_is_sent(text: str, content: str) -> None:
    assert one(text) == content


@pytest.mark.parametrize("text", ["", " \n", "#", "```\n```", "\u200b", "&nbsp;", "\u2800", "\u3164"])
def test_nothing_visible_is_no_message(text: str) -> None:
    assert messages(text) == ()


@pytest.mark.parametrize(
    "text",
    [
        "@everyone",
        "@here, look",
        "<@123456789012345678>",
        "<@!123456789012345678>",
        "<@&123456789012345678>",
        "<#123456789012345678>",
        "<:name:123456789012345678>",
        "<t:1700000000:R>",
        "</run:123456789012345678>",
        "@\u202eeveryone",
        "&commat;everyone",
        "@**every**one",
        "[@everyone](https://example.com)",
        "# @here",
    ],
)
def test_a_model_calls_nobody(text: str) -> None:
    content = one(text)
    assert read(content).calls == []
    assert "@everyone" not in content
    assert "@here" not in content
    assert "<@1" not in content


def test_people_can_be_called_where_the_operator_wants_it() -> None:
    markup = DiscordMarkup(mentions="users")
    assert one("<@123456789012345678> a_b @everyone <@&123456789012345678>", markup) == (
        "<@123456789012345678> a\\_b @\u2060everyone \\<@\u2060&123456789012345678>"
    )


def test_a_table_stands_in_columns_and_a_wide_one_becomes_records() -> None:
    assert one("| a | b |\n|---|--:|\n| 1 | 22 |") == "```\na |  b\n--+---\n1 | 22\n```"
    wide = "| A | B |\n|---|---|\n| **x** | " + "long " * 20 + "|"
    assert one(wide) == "**A:** **x**\n**B:** " + ("long " * 20).strip()


def test_code_goes_on_in_the_next_message_with_its_language() -> None:
    shown = messages("```python\n" + "value = 1\n" * 500 + "```")
    assert len(shown) == 3
    assert all(
        message.content.startswith("```python\nvalue") and message.content.endswith("1\n```") for message in shown
    )
    assert "\n".join(message.text for message in shown) == "\n".join(["value = 1"] * 500)


def test_what_is_escaped_counts() -> None:
    shown = messages("a_b " * 450)
    assert len(shown) == 2


def test_an_address_that_is_too_long_to_be_a_link_is_shown_and_cut() -> None:
    url = "https://example.com/" + "a" * 1_990
    shown = messages(f"[x]({url})")
    assert len(shown) == 3
    assert "".join(message.text for message in shown).replace(" ", "") == f"x({url})"


def test_a_link_fits_into_a_short_message() -> None:
    markup = DiscordMarkup(max_length=120)
    shown = messages(f"[label](https://example.com/{'a' * 100}) and more", markup)
    assert all(len(message.content) <= 120 for message in shown)


def test_a_heading_keeps_the_number_sign_at_the_end_of_each_line() -> None:
    assert read(one("# C#\u2028F#")).text == "C#\nF#"
    assert read(one("# a\u2028\u2028b#")).text.split() == ["a", "b#"]


@pytest.mark.parametrize("code", ["```\na](b)\n```", "`a](b)`"])
def test_a_link_ends_before_the_code_behind_it(code: str) -> None:
    shown = read(one(f"[label](https://example.com/a_b)\n{code} "))
    assert ("link https://example.com/a_b", "label") in shown.looks
    assert shown.text.split() == ["label", "a](b)"]


def test_a_language_is_one_that_clients_know_as_one() -> None:
    assert one("~~~Ĳ\na\n~~~") == "```\na\n```"


def test_code_keeps_its_spaces_beside_a_backtick() -> None:
    assert read(one("- ``\t`0``")).text == "•  `0"
    assert read(one("``# ` ``#")).text == "# ` #"


def test_too_many_messages_become_a_file() -> None:
    markup = DiscordMarkup(max_parts=2)
    assert markup.messages("word " * 3_000) == AsFile(2)
    draft = markup.draft()
    assert isinstance(draft.update("word " * 3_000), Messages)
    assert draft.update("word " * 3_000, final=True) == AsFile(2)


def test_messages_of_a_growing_text_settle() -> None:
    draft = MARKUP.draft()
    text, settled, shown = "", [0], 0
    for _ in range(400):
        text += "A paragraph of some words.\n\n"
        now = draft.update(text)
        assert isinstance(now, Messages)
        settled.append(now.settled)
        shown = len(now.messages)
    assert settled == sorted(settled)
    assert settled[-1] == shown - 1 > 0
