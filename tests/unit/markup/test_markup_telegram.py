"""Telegram's messages: entities, limits, addresses, mentions, and texts that grow."""

import pytest

from adapters.markup.split import AsFile
from adapters.markup.telegram import Entity, TelegramMarkup, TelegramMessage, TelegramMessages
from tests.unit.markup.telegram_rules import annotated, check_message, covered

MARKUP = TelegramMarkup()


def messages(text: str, markup: TelegramMarkup = MARKUP) -> tuple[TelegramMessage, ...]:
    shown = markup.messages(text)
    assert isinstance(shown, TelegramMessages)
    for message in shown.messages:
        check_message(message)
    return shown.messages


def one(text: str, markup: TelegramMarkup = MARKUP) -> TelegramMessage:
    (message,) = messages(text, markup)
    return message


def test_offsets_count_utf16_code_units() -> None:
    message = one("🎉 **a🎉b** `c`")
    assert message == TelegramMessage("🎉 a🎉b c", (Entity("bold", 3, 4), Entity("code", 8, 1)))


def test_an_entity_is_given_as_the_bot_api_takes_it() -> None:
    message = one("[a](https://x.example)\n```py\nb\n```\n**c**")
    assert [entity.to_dict() for entity in message.entities] == [
        {"type": "text_link", "offset": 0, "length": 1, "url": "https://x.example"},
        {"type": "pre", "offset": 2, "length": 1, "language": "py"},
        {"type": "bold", "offset": 4, "length": 1},
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("**a `b` c**", "⟦bold⟧a⟦/bold⟧ ⟦code⟧b⟦/code⟧ ⟦bold⟧c⟦/bold⟧"),
        ("# a **b** c", "⟦bold⟧a b c⟦/bold⟧"),
        ("**[a](https://x.example)**", "⟦text_link https://x.example⟧⟦bold⟧a⟦/bold⟧⟦/text_link⟧"),
        ("[`a`](https://x.example)", "⟦text_link https://x.example⟧a⟦/text_link⟧"),
        ("> a\n> > b\n>\n> `c`", "⟦blockquote⟧a\n> b\n\n⟦code⟧c⟦/code⟧⟦/blockquote⟧"),
        ("```{weird}\na\n```", "⟦pre⟧a⟦/pre⟧"),
        ("```c++\n\n\ta\n\n```\nb", "⟦pre c++⟧\u00a0   a⟦/pre⟧\nb"),
        ("a\tb", "a b"),
        ("a\x00b\x1b[0m&#x202e;c", "a\ufffdb [0mc"),
        ("A\u030angstro\u0308m", "\u00c5ngstro\u0308m"),
        ("one\ntwo  \nthree", "one\ntwo\nthree"),
        ("- \n- a", "• \n• a"),
        ("| a |\n|---|", "⟦pre⟧a\n-⟦/pre⟧"),
    ],
)
def test_what_is_shown(text: str, expected: str) -> None:
    assert annotated(one(text)) == expected


@pytest.mark.parametrize("text", ["", " \n", "#", "```\n```", "\u200b", "&nbsp;", "<!--".replace("<!--", "\u2800")])
def test_nothing_visible_is_no_message(text: str) -> None:
    assert messages(text) == ()


def test_a_long_quote_can_be_folded() -> None:
    assert [entity.type for entity in one("> " + "words " * 200).entities] == ["expandable_blockquote"]


@pytest.mark.parametrize(
    ("url", "links"),
    [
        ("https://example.com", True),
        ("HTTP://Example.com:8080/a?b#c", True),
        ("https://xn--bcher-kva.example/ü", True),
        ("https://1.2.3.4/", True),
        ("tg://resolve?domain=name", True),
        ("tg://user?id=1", False),
        ("tg:user?id=1", False),
        ("tg://openmessage?user_id=1", False),
        ("TG://USER?id=1", False),
        ("http://localhost/", False),
        ("https://", False),
        ("https://a..example", False),
        ("https://example.com:0/", False),
        ("https://example.com:99999/", False),
        ("https://bank.example@evil.example/", False),
        ("https://example.com/" + "a" * 3_000, False),
        ("ftp://example.com", False),
        ("javascript:alert(1)", False),
        ("file:///etc/passwd", False),
        ("docs/page.md", False),
        ("#part", False),
    ],
)
def test_only_addresses_that_telegram_takes_and_that_call_nobody_are_links(url: str, links: bool) -> None:
    message = one(f"[label]({url})")
    assert bool(message.entities) is links
    assert ("(" in message.text) is not links, "an address that is no link has to be shown"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("@name and (@name)", "@\u2060name and (@\u2060name)"),
        ("@**na**me", "@\u2060name"),
        ("[@name](docs)", "@\u2060name (docs)"),
        ("&commat;name", "@\u2060name"),
        ("@\u202aname", "@\u2060name"),
        ("http://x/@name", "http://x/@\u2060name"),
        ("me@example.com, 5 @ 3", "me@example.com, 5 @ 3"),
        ("`@name`", "@name"),
        ("https://example.com/@name", "https://example.com/@name"),
    ],
)
def test_a_model_calls_nobody(text: str, shown: str) -> None:
    assert one(text).text == shown


def test_mentions_can_be_allowed() -> None:
    assert one("hello @name", TelegramMarkup(mentions="keep")).text == "hello @name"


def test_a_table_stands_in_columns_by_display_width() -> None:
    message = one("| 名前 | n |\n|---|--:|\n| 👩‍👩‍👧‍👦 | 10 |\n| abc | 5 |")
    assert message.text.split("\n") == ["名前 |  n", "-----+---", "👩‍👩‍👧‍👦   | 10", "abc  |  5"]
    assert [entity.type for entity in message.entities] == ["pre"]


def test_a_wide_table_becomes_records_with_their_looks() -> None:
    text = "| A | B |\n|---|---|\n| **x** | " + "long " * 20 + "|\n| y | [l](https://x.example) |"
    message = one(text)
    assert message.text == "A: x\nB: " + ("long " * 20).strip() + "\n\nA: y\nB: l"
    assert covered(message, message.entities[-1]) == "l"


def test_an_address_in_a_table_is_written_out() -> None:
    assert one("| a |\n|---|\n| [x](https://x.example) |").text == "a\n---------------------\nx (https://x.example)"


def test_code_goes_on_in_the_next_message_with_its_language() -> None:
    shown = messages("```python\n" + "value = 1\n" * 1_000 + "```")
    assert len(shown) == 3
    assert all(message.entities == (Entity("pre", 0, len(message.text), language="python"),) for message in shown)
    assert "\n".join(message.text for message in shown) == "\n".join(["value = 1"] * 1_000)


def test_no_message_has_more_entities_than_telegram_keeps() -> None:
    shown = messages("**a** b " * 250)
    assert [len(message.entities) for message in shown] == [100, 100, 50]


def test_too_many_messages_become_a_file() -> None:
    markup = TelegramMarkup(max_parts=2)
    assert markup.messages("word " * 3_000) == AsFile(2)
    assert len(messages("word " * 1_500, markup)) == 2


def test_a_draft_shows_the_whole_text_at_every_step() -> None:
    draft = MARKUP.draft()
    steps = [
        "# Ti",
        "# Title\n\nSay **bo",
        "# Title\n\nSay **bold** `co",
        "# Title\n\nSay **bold** `code`\n\n```py\nx =",
    ]
    shown = []
    for text in steps:
        now = draft.update(text)
        assert isinstance(now, TelegramMessages)
        shown += [annotated(message) for message in now.messages]
    assert shown == [
        "⟦bold⟧Ti⟦/bold⟧",
        "⟦bold⟧Title⟦/bold⟧\n\nSay ⟦bold⟧bo⟦/bold⟧",
        "⟦bold⟧Title⟦/bold⟧\n\nSay ⟦bold⟧bold⟦/bold⟧ ⟦code⟧co⟦/code⟧",
        "⟦bold⟧Title⟦/bold⟧\n\nSay ⟦bold⟧bold⟦/bold⟧ ⟦code⟧code⟦/code⟧\n\n⟦pre py⟧x =⟦/pre⟧",
    ]


@pytest.mark.parametrize(
    "line",
    ["A paragraph of some words.\n\n", "value = 1\n", "- an item of a list\n"],
    ids=["paragraphs", "code", "list"],
)
def test_messages_of_a_growing_text_settle(line: str) -> None:
    draft = MARKUP.draft()
    text = "```\n" if line == "value = 1\n" else ""
    settled = [0]
    shown = 0
    for _ in range(600):
        text += line
        now = draft.update(text)
        assert isinstance(now, TelegramMessages)
        settled.append(now.settled)
        shown = len(now.messages)
    assert settled == sorted(settled)
    assert settled[-1] == shown - 1 > 0


def test_a_draft_becomes_a_file_only_when_it_is_final() -> None:
    draft = TelegramMarkup(max_parts=1).draft()
    text = "word " * 2_000
    assert isinstance(draft.update(text), TelegramMessages)
    assert draft.update(text, final=True) == AsFile(1)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x\n\n**b\nc | d\n-|-", "x\n\n**b\nc | d\n-|-x**"),
        ("x\n\n**b\n#", "x\n\n**b\n#c**"),
        ("- a\n- b\n-", "- a\n- b\n--c"),
        ("3. a\n3. b\n3. c\n3. d\n", "3. a\n3. b\n3. c\n3. d\n\n3. e\n\nx\n\n1. y\n1. z\n1. z\n\nw"),
        ("x\n#\ny\n\nz", "x\n#\ny\n\nz\n\nw"),
        ("```\na\n```", "```\na\n```b"),
    ],
)
def test_a_line_may_yet_become_something_else(before: str, after: str) -> None:
    draft = MARKUP.draft()
    draft.update(before)
    draft.update(after)
    final, whole = draft.update(after, final=True), MARKUP.messages(after)
    assert isinstance(final, TelegramMessages)
    assert isinstance(whole, TelegramMessages)
    assert [annotated(message) for message in final.messages] == [annotated(message) for message in whole.messages]


@pytest.mark.parametrize("other", ["another", "**word** " * 40])
def test_a_draft_takes_up_another_text(other: str) -> None:
    markup = TelegramMarkup(max_length=50)
    draft = markup.draft()
    first = draft.update("word " * 60 + "\n\ntwo\n\nthree\n\n")
    assert isinstance(first, TelegramMessages)
    assert first.settled > 3
    now, whole = draft.update(other, final=True), markup.messages(other)
    assert isinstance(now, TelegramMessages)
    assert isinstance(whole, TelegramMessages)
    assert now.messages == whole.messages
