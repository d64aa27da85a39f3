"""A key of a configuration file is changed, and nothing else is."""

import string
from collections.abc import Mapping

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from config.template import render_template
from gateway.setup.edit import Add, CannotEditError, Change, Put, edited, values_in

TOKEN = ("platforms", "telegram", "token")
PRINTABLE = string.ascii_letters + string.digits + string.punctuation + " "
USERS = ("platforms", "telegram", "allowed_users")


@pytest.mark.parametrize(
    ("before", "change", "after"),
    [
        ("", Put("t"), "platforms:\n  telegram:\n    token: t\n"),
        ("a: 1", Put("t"), "a: 1\n\nplatforms:\n  telegram:\n    token: t\n"),
        ("platforms:\n  # none yet\n", Put("t"), "platforms:\n  telegram:\n    token: t\n  # none yet\n"),
        ("platforms: {}  # x\na: 1\n", Put("t"), "platforms:  # x\n  telegram:\n    token: t\na: 1\n"),
        (
            "platforms:\n    telegram:\n        token: old  # why\n        mode: polling\n",
            Put("new"),
            "platforms:\n    telegram:\n        token: new  # why\n        mode: polling\n",
        ),
        (
            "platforms:\n  discord:\n    token: x\n\n# next\nhttp: {port: 1}\n",
            Put("t"),
            "platforms:\n  discord:\n    token: x\n  telegram:\n    token: t\n\n# next\nhttp: {port: 1}\n",
        ),
        (
            "platforms:\n  #telegram:  # example\n    # It.\n    #token: ${T}  # so\n  #discord:\n    #token: y\n",
            Put("t"),
            "platforms:\n  telegram:\n    # It.\n    token: t\n  #discord:\n    #token: y\n",
        ),
        (
            "http: {api_key: ${KEY}}\nplatforms:\n  telegram:\n    token: ${OLD:-x}\n",
            Put("${NEW}"),
            "http: {api_key: ${KEY}}\nplatforms:\n  telegram:\n    token: ${NEW}\n",
        ),
        ("platforms:\n  telegram:\n    token:\n", Put("t"), "platforms:\n  telegram:\n    token: t\n"),
        (
            "platforms:\n  telegram:\n    token: >-\n      folded\n      text\n    mode: polling\n",
            Put("t"),
            "platforms:\n  telegram:\n    token: t\n    mode: polling\n",
        ),
        ("platforms:\r\n  telegram:\r\n    token: a\r\n", Put("t"), "platforms:\r\n  telegram:\r\n    token: t\r\n"),
    ],
)
def test_a_value(before: str, change: Change, after: str) -> None:
    assert edited(before, {TOKEN: change}) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("[]  # x", "['1', '2']  # x"),
        ("['1']  # x", "['1', '2']  # x"),
        ("['1', '2']", "['1', '2']"),
        ("\n      - '1'  # Ann\n      # end", "\n      - '1'  # Ann\n      - '2'\n      # end"),
        ("", " ['1', '2']"),
    ],
)
def test_a_list_grows(before: str, after: str) -> None:
    head = "platforms:\n  telegram:\n    allowed_users:"
    space = "" if before.startswith("\n") or not before else " "
    text = edited(f"{head}{space}{before}\n    mode: polling\n", {USERS: Add(("1", "2"))})
    assert text == f"{head}{space}{after}\n    mode: polling\n"


@pytest.mark.parametrize(
    "text",
    [
        "{platforms: {}}",
        "- a list",
        "platforms: {telegram: {mode: polling}}",
        "platforms: [",
        "x: &a old\nplatforms:\n  telegram:\n    token: *a\n",
        "platforms:\n  telegram: &t\n    mode: polling\n  discord: *t\n",
        "platforms:\n  telegram:\n    token: [a]\n",
        "a: 1\na: 2\n",
        "platforms:\n  telegram:\n    note: |\n      text\n    #token: x\n      more\n",
    ],
)
def test_what_cannot_be_changed_safely_is_refused(text: str) -> None:
    """An alias stands for another place, one line cannot hold two meanings: the author has to do it."""
    with pytest.raises(CannotEditError):
        edited(text, {TOKEN: Put("t")})


def test_the_commented_file_is_used_where_its_keys_stand() -> None:
    template = render_template()
    changes: Mapping[tuple[str, ...], Change] = {
        ("agent",): Put("assistant"),
        ("agents", "assistant", "type"): Put("model"),
        ("agents", "assistant", "api_key"): Put("${KEY}"),
        TOKEN: Put("1:a"),
        ("owners",): Add(("telegram:1",)),
        ("platforms", "slack", "bot_token"): Put("xoxb-1"),
        ("http", "port"): Put("80"),
    }
    text = edited(template, changes)
    assert len(text.splitlines()) == len(template.splitlines())
    assert values_in(text) == {
        ("agent",): "assistant",
        ("agents", "assistant", "type"): "model",
        ("agents", "assistant", "api_key"): "${KEY}",
        TOKEN: "1:a",
        ("owners", "0"): "telegram:1",
        ("platforms", "slack", "bot_token"): "xoxb-1",
        ("http", "port"): "80",
    }


@given(value=st.text(st.sampled_from(PRINTABLE + "äß€🙂\\'\"#:{}[]$%&*"), min_size=1, max_size=40))
def test_any_value_is_read_back(value: str) -> None:
    """Quotes, dollars, colons, signs of YAML: the gateway reads what was typed."""
    text = edited("a: 1\n", {TOKEN: Put(value)})
    assert values_in(text)[TOKEN] == value


@given(
    keys=st.lists(st.sampled_from(["telegram", "discord", "#slack", "# word", ""]), max_size=8, unique=True),
    indent=st.sampled_from([2, 3, 4]),
)
def test_all_else_stays(keys: list[str], indent: int) -> None:
    """Whatever stands around: each line that was there is there, in its order, unless it is the one that was meant."""
    lines = ["platforms:", *(f"{' ' * indent}{key}:" if key and key != "# word" else f"{key}" for key in keys)]
    before = "\n".join([*lines, "http:", "  port: 1", ""])
    after = edited(before, {TOKEN: Put("t")}).split("\n")
    rest = iter(after)
    assert all(line in rest for line in before.split("\n"))
    assert yaml.safe_load("\n".join(after))["http"] == {"port": 1}
