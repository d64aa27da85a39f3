"""Slack's messages: marks, escapes, limits, addresses, mentions, and texts that grow."""

import os
import re
from pathlib import Path

import pytest

from adapters.markup.messages import Messages
from adapters.markup.slack import SlackMarkup, SlackMessage
from adapters.markup.split import AsFile
from tests.unit.markup.slack_rules import read

MARKUP = SlackMarkup()
CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.md"))
WRITES = bool(os.environ.get("HERMES_GATEWAY_WRITE_CORPUS"))
BETWEEN = "\n=== next message ===\n"


def messages(text: str, markup: SlackMarkup = MARKUP) -> tuple[SlackMessage, ...]:
    shown = markup.messages(text)
    assert isinstance(shown, Messages)
    assert all(len(message.content) <= 4_000 for message in shown.messages)
    return shown.messages


def one(text: str, markup: SlackMarkup = MARKUP) -> str:
    (message,) = messages(text, markup)
    return message.content


@pytest.mark.parametrize("source", CORPUS, ids=lambda path: path.stem)
def test_a_text_is_sent_as_expected(source: Path) -> None:
    text = BETWEEN.join(message.content for message in messages(source.read_text(encoding="utf-8"))) + "\n"
    expected = source.with_suffix(".slack.txt")
    if WRITES:
        expected.write_text(text, encoding="utf-8")
    assert text == expected.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("**bold** *italic* ~~struck~~ ||hidden||", "*bold* _italic_ ~struck~ hidden"),
        ("a**b**c", "a\u200b*b*\u200bc"),
        ("**b***a*", "*b*\u200b_a_"),
        ("***a** b*", "_*a* b_"),
        ("**two\nlines**", "*two*\n*lines*"),
        ("**[x](https://example.com)**: y", "*<https://example.com|x>*: y"),
        ("# C#\nx", "*C#*\nx"),
        ("# a&nbsp;", "*a*\u200b\u00a0"),
        ("- a\n  - b", "• a\n  ◦ b"),
        ("> a\n> b\n> > c", "> a\n> b\n> \u2060&gt; c"),
        ("```c++\n\n\ta < b\n\n```\nb", "```\n    a &lt; b\n```\nb"),
        ("````\n```\n````", "```\n``\u2060`\u2060\n```"),
        ("`<b>` and `list`s", "`&lt;b&gt;` and `list`\u200bs"),
        ("`` a`b ``", "a\u2060`\u2060b"),
        ("snake_case 5 * 3 * 2 a*b & c", "snake_case 5 * 3 * 2 a*b &amp; c"),
        ("\\*a\\* x__init__", "\u2060*a*\u2060 x_\u2060\u2060_init_\u2060\u2060_\u2060"),
        ("\\> a", "\u2060&gt; a"),
        ("[x](https://example.com/a?b&c|d)", "<https://example.com/a?b&amp;c%7Cd|x>"),
        ("https://example.com/a_b.", "<https://example.com/a_b>."),
        ("<a@b.org>", "<mailto:a@b.org|a@b.org>"),
        ("[x](docs/page.md)", "x (docs/page.md)"),
        ("[https://a.example](https://b.example)", "https://a.example (https://b.example)"),
        ("[x](tg://user?id=1)", "x (tg://user?id=1)"),
        ("![alt](https://example.com/i.png)", "<https://example.com/i.png|alt>"),
    ],
)
def test_what_is_sent(text: str, content: str) -> None:
    assert one(text) == content


@pytest.mark.parametrize("text", ["", " \n", "#", "```\n```", "\u200b", "&nbsp;", "\u2800", "\u3164"])
def test_nothing_visible_is_no_message(text: str) -> None:
    assert messages(text) == ()


@pytest.mark.parametrize(
    "call",
    ["<!channel>", "<!here|here>", "<!everyone>", "<@U0123456>", "<#C0123456|x>", "<!subteam^S01|@x>", "<!date^1^x|y>"],
)
@pytest.mark.parametrize(
    "around",
    [
        "{}",
        "`{}`",
        "```\n{}\n```",
        "> {}",
        "**{}**",
        "# {}",
        "[{}](https://example.com)",
        "| a |\n|---|\n| {} |",
        "- {}",
    ],
)
def test_a_model_calls_nobody(call: str, around: str) -> None:
    content = one(around.format(call))
    for strict in (True, False):
        assert read(content, strict=strict).calls == []
    assert call not in content
    assert not re.search("<[@#!]", content)


def test_an_address_cannot_be_a_call() -> None:
    for url in ("!channel", "@U0123456", "https://example.com/|x> <!channel", "https://e.com/<!here>"):
        assert "<!" not in one(f"[x](<{url}>)")


def test_people_can_be_called_where_the_operator_wants_it() -> None:
    markup = SlackMarkup(mentions="users")
    assert one("<@U0123456> a <!here> <@U1> `<@U0123456>`", markup) == (
        "<@U0123456> a &lt;!here&gt; &lt;@U1&gt; `&lt;@U0123456&gt;`"
    )


def test_a_table_stands_in_columns_and_a_wide_one_becomes_records() -> None:
    assert one("| a | b |\n|---|--:|\n| 1 | 22 |") == "```\na |  b\n--+---\n1 | 22\n```"
    wide = "| A | B |\n|---|---|\n| **x** | " + "long " * 20 + "|"
    assert one(wide) == "*A:* *x*\n*B:* " + ("long " * 20).strip()


def test_code_goes_on_in_the_next_message() -> None:
    shown = messages("```python\n" + "value = 1\n" * 1000 + "```")
    assert len(shown) == 3
    assert all(each.content.startswith("```\nvalue") and each.content.endswith("1\n```") for each in shown)
    assert "\n".join(message.text for message in shown) == "\n".join(["value = 1"] * 1000)


def test_what_is_escaped_counts() -> None:
    assert len(messages("a < b & c " * 300)) == 2


def test_a_message_comes_in_pieces_for_fields_that_take_less() -> None:
    (message,) = messages("word < word. " * 200)
    pieces = message.pieces(3_000)
    assert len(pieces) == 2
    assert max(map(len, pieces)) <= 3_000
    assert " ".join(pieces) == message.content
    assert message.pieces(4_000) == (message.content,)


def test_an_address_that_is_too_long_to_be_a_link_is_shown_and_cut() -> None:
    url = "https://example.com/" + "a" * 4_990
    shown = messages(f"[x]({url})")
    assert "".join(message.text for message in shown).replace(" ", "") == f"x({url})"


def test_too_many_messages_become_a_file() -> None:
    markup = SlackMarkup(max_parts=2)
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
