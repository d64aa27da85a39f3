"""The table itself: which text is which command, how arguments are read, what can be completed."""

import pytest

from gateway.commands.table import (
    Arguments,
    Command,
    CommandRefusedError,
    CommandTable,
    Parameter,
    as_message,
    busy_of,
    for_agent,
    say,
)


def command(name: str, *parameters: Parameter, aliases: tuple[str, ...] = (), hidden: bool = False) -> Command:
    return Command(name, name.title(), lambda _record, _given: say(name), aliases, parameters=parameters, hidden=hidden)


NUMBER = Parameter("n", "number", most=20)
WHICH = Parameter("which", "choice", choices=("old", "all"))
TEXT = Parameter("title", "text")
SESSION = Parameter("session", required=True, names=lambda: ["abc", "abd"])


@pytest.mark.parametrize(
    ("parameters", "text", "values"),
    [
        ((), "", {}),
        ((NUMBER,), "", {}),
        ((NUMBER,), "3", {"n": 3}),
        ((NUMBER,), " 20 ", {"n": 20}),
        ((WHICH, NUMBER), "old 2", {"which": "old", "n": 2}),
        ((WHICH, NUMBER), "2", {"n": 2}),
        ((WHICH, NUMBER), "ALL", {"which": "all"}),
        ((TEXT,), "a  b\nc", {"title": "a  b\nc"}),
        ((SESSION, TEXT), "abc the rest of\nit", {"session": "abc", "title": "the rest of\nit"}),
    ],
)
def test_arguments_are_read(parameters: tuple[Parameter, ...], text: str, values: dict[str, object]) -> None:
    assert dict(command("do", *parameters).parse(text.strip()).values) == values


@pytest.mark.parametrize(
    ("parameters", "text", "problem"),
    [
        ((), "x", "/do takes nothing after it. Write it as `/do`."),
        ((NUMBER,), "many", "“many” is not a number from 1 to 20. Write it as `/do [n]`."),
        ((NUMBER,), "0", "“0” is not a number from 1 to 20."),
        ((NUMBER,), "21", "“21” is not"),
        ((NUMBER,), "9" * 5000, "…” is not a number"),
        ((NUMBER,), "²", "is not a number"),
        ((NUMBER,), "1 2", "/do does not take all of that."),
        ((WHICH,), "new", "“new” is none of old, all. Write it as `/do [old|all]`."),
        ((WHICH, NUMBER), "x", "“x” is none of old, all, and not a number from 1 to 20."),
        ((SESSION,), "", "“session” is missing. Write it as `/do <session>`."),
        ((Parameter("words", "text", required=True),), "", "`/do <words…>`"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_usage(
    parameters: tuple[Parameter, ...], text: str, problem: str
) -> None:
    with pytest.raises(CommandRefusedError) as refused:
        command("do", *parameters).parse(text)
    assert problem in str(refused.value)
    assert len(str(refused.value)) < 200


def test_what_is_left_out_has_its_default() -> None:
    assert (Arguments().text("title"), Arguments().number("n", 1)) == ("", 1)


@pytest.mark.parametrize(
    ("typed", "places"),
    [
        ("/do ", [("session", "")]),
        ("/do ab", [("session", "ab")]),
        ("/do  abc  o", [("which", "o"), ("n", "o"), ("title", "o")]),
        ("/do abc all ", [("n", ""), ("title", "")]),
        ("/do abc 3 a b", [("title", "a b")]),
        ("/do abc a b", [("title", "a b")]),
        ("/do abc all 3 a", [("title", "a")]),
        ("/make ", [("session", "")]),
        ("/draw ", []),
        ("/do", []),
        ("/nothing ", []),
        ("do ", []),
    ],
)
def test_what_may_stand_at_the_end(typed: str, places: list[tuple[str, str]]) -> None:
    table = CommandTable([command("do", SESSION, WHICH, NUMBER, TEXT, aliases=("make",)), command("draw")])
    assert [(parameter.name, word) for parameter, word in table.places(typed)] == places


def test_what_is_hidden_works_and_stands_in_no_menu() -> None:
    table = CommandTable([command("do"), command("debug", hidden=True)])
    assert table.menu == [("do", "Do")]
    assert table.find("/debug") is not None


def test_one_name_stands_for_one_command() -> None:
    with pytest.raises(ValueError, match="one name"):
        CommandTable([command("do"), command("make", aliases=("do",))])


@pytest.mark.parametrize(
    ("text", "told", "busy"),
    [
        ("/queue buy milk", "buy milk", "queue"),
        ("/STEER  left", "left", "steer"),
        ("/queue /new", "/new", "queue"),
        ("/queue //new", "/new", "queue"),
        ("/queue", "/queue", None),
        ("/etc/queue up", "/etc/queue up", None),
        ("//queue x", "/queue x", None),
        ("hello", "hello", None),
    ],
)
def test_how_a_message_is_to_be_taken(text: str, told: str, busy: str | None) -> None:
    assert for_agent(text) == told
    assert busy_of(text, "interrupt") == ((busy, True) if busy else ("interrupt", False))
    table = CommandTable([command("queue"), command("new")])
    assert (table.find(text) is None) == (text != "/queue")


@pytest.mark.parametrize("text", ["/do", " /do it", "/od", "hello", "/etc/hosts", "/queue it", "//do"])
def test_what_is_for_the_agent_stays_so(text: str) -> None:
    table = CommandTable([command("do"), command("queue")])
    written = as_message(table, text)
    assert table.find(written) is None
    assert busy_of(written, "queue") == ("queue", False)
