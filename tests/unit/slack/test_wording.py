"""Slack's texts as the agent reads them."""

import pytest

from adapters.slack.wording import called_first, plain, without_call

NAMES = {"U01": "Ann", "C01": "general"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 &lt; 2 &amp;&amp; 3 &gt; 2", "1 < 2 && 3 > 2"),
        ("&amp;lt;", "&lt;"),
        ("<@U01> and <@U02|bo> and <@U03>", "@Ann and @bo and @U03"),
        ("<#C01> <#C02|random> <#C03>", "#general #random #C03"),
        ("<!here> <!channel|@channel> <!everyone>", "@here @channel @everyone"),
        ("<!subteam^S01|@team> <!subteam^S02>", "@team @subteam"),
        ("<!date^1392734382^{date}|Feb 18>", "Feb 18"),
        ("<https://example.org/?a=1&amp;b=2>", "https://example.org/?a=1&b=2"),
        ("<https://example.org|the &lt;site&gt;>", "the <site> (https://example.org)"),
        ("<http://example.org|example.org>", "http://example.org"),
        ("<mailto:a@b.org|a@b.org>", "mailto:a@b.org"),
        ("a < b", "a < b"),
    ],
)
def test_what_stands_in_brackets_becomes_words(text: str, words: str) -> None:
    assert plain(text, NAMES.get) == words


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("<@U01> hello", "hello"),
        (" <@U01>: hello", "hello"),
        ("<@U01|me>, hello <@U01>", "hello <@U01>"),
        ("<@U02> hello", "<@U02> hello"),
        ("hello <@U01>", "hello <@U01>"),
        ("<@U01>", ""),
    ],
)
def test_a_call_at_the_start_is_left_out(text: str, rest: str) -> None:
    assert without_call(text, "U01") == rest


def test_whom_a_text_calls_first() -> None:
    assert called_first("  <@U02> what do you say, <@U01>?") == "U02"
    assert called_first("<#C01> <@U01>") is None
