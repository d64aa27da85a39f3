"""What Slack sends as the core has it."""

from typing import Any

import pytest

from adapters.base import InboundMessage, MediaKind
from adapters.slack.normalise import (
    Names,
    Rules,
    Written,
    attachments_in,
    command_of,
    completed,
    is_addressed,
    message_of,
    press_of,
    read_deletion,
    read_message,
    stubs_in,
)
from adapters.slack.wording import Account

ME = Account("U00", "B00", "T00", "Bot")
RULES = Rules(commands=frozenset({"help", "new", "title"}))
NAMES = Names({"U01": "Ann", "C01": "general"})


def event(**fields: Any) -> dict[str, Any]:
    return {"type": "message", "channel": "C01", "user": "U01", "ts": "1700000000.000100", "text": "hi"} | fields


def read(**fields: Any) -> Written:
    written = read_message(event(**fields), ME)
    assert isinstance(written, Written)
    return written


def message(rules: Rules = RULES, *, ours: bool = False, **fields: Any) -> InboundMessage:
    written = read(**fields)
    addressed = is_addressed(written, ME, rules, ours=ours)
    return message_of(written, ME, rules, NAMES, addressed=addressed)


# --- places --------------------------------------------------------------------------------------------


def test_a_direct_message_has_no_thread_but_its_own() -> None:
    source = message(channel="D01", channel_type="im").source
    assert (source.chat_type, source.chat_id, source.thread_id, source.user_name) == ("dm", "D01", None, "Ann")
    assert message(channel="D01", thread_ts="1.000001").source.thread_id == "1.000001"


def test_a_message_in_a_channel_opens_its_thread() -> None:
    source = message(text="<@U00> hi").source
    assert (source.chat_type, source.chat_id, source.chat_name) == ("group", "C01", "general")
    assert source.thread_id == "1700000000.000100"
    assert message(text="<@U00> hi", thread_ts="1700000000.000100").source.thread_id == "1700000000.000100"
    assert message(text="<@U00> hi", thread_ts="1.000001").source.thread_id == "1.000001"


def test_the_time_and_the_workspace() -> None:
    made = message()
    assert made.sent_at is not None
    assert made.sent_at.timestamp() == pytest.approx(1700000000.0001)
    assert (made.message_id, made.team) == ("1700000000.000100", "T00")


# --- who it is for -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "ours", "addressed"),
    [
        ({"text": "hi"}, False, False),
        ({"text": "so <@U00> said"}, False, True),
        ({"text": "/help"}, False, True),
        ({"text": "/unknown"}, False, False),
        ({"text": "/tmp new files again"}, False, False),
        ({"thread_ts": "1.000001"}, False, False),
        ({"thread_ts": "1.000001"}, True, True),
        ({"thread_ts": "1.000001", "text": "<@U02> you?"}, True, False),
        ({"thread_ts": "1.000001", "text": "<@U02> or <@U00>?"}, True, True),
        ({"thread_ts": "1.000001", "parent_user_id": "U00"}, False, True),
        ({"text": "<!channel> hi"}, False, False),
        ({"channel": "D01"}, False, True),
    ],
)
def test_what_is_for_us(fields: dict[str, Any], ours: bool, addressed: bool) -> None:
    assert message(ours=ours, **fields).addressed is addressed


def test_rules_for_channels() -> None:
    assert message(Rules(require_mention=False)).addressed
    assert message(Rules(free_channels=frozenset({"C01"}))).addressed
    assert not message(Rules(follow_threads=False), ours=True, thread_ts="1.000001").addressed


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("<@U00> help", "/help"),
        ("<@U00>: NEW", "/new"),
        ("<@U00> /title My plan", "/title My plan"),
        ("<@U00> /hermes title My plan", "/title My plan"),
        ("/hermes new", "/new"),
        ("/new", "/new"),
        ("<@U00> new ideas?", "new ideas?"),
        ("help", "help"),
        ("<@U00> /etc/passwd", "/etc/passwd"),
        ("<@U00> /etc/fstab help me with this", "/etc/fstab help me with this"),
        ("/bot new", "/new"),
    ],
)
def test_commands(text: str, command: str) -> None:
    assert message(channel="D01", text=text).text == command


# --- what is none --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"user": "U00"},
        {"user": "U05", "bot_id": "B00", "text": "<@U00>"},
        {"bot_id": "B05"},
        {"subtype": "bot_message", "bot_id": "B05", "user": None},
        {"subtype": "channel_join"},
        {"subtype": "message_deleted", "deleted_ts": "1.0"},
        {"subtype": "tombstone", "user": "USLACKBOT"},
        {"subtype": "assistant_app_thread"},
        {"user": "USLACKBOT"},
        {"user": None},
        {"ts": None},
    ],
)
def test_what_nobody_has_written(fields: dict[str, Any]) -> None:
    assert isinstance(read_message(event(**fields), ME), str)


def test_a_bot_that_calls_us_is_told_as_one() -> None:
    assert message(bot_id="B05", user="U05", text="<@U00> hi").from_bot
    old = message(subtype="bot_message", bot_id="B05", user=None, text="<@U00> hi")
    assert (old.from_bot, old.source.user_id) == (True, "B05")
    assert not message().from_bot


def changed(now: dict[str, Any], before: dict[str, Any]) -> Written | str:
    base = {"type": "message", "user": "U01", "ts": "1700000000.000100"}
    return read_message(
        {
            "type": "message",
            "subtype": "message_changed",
            "hidden": True,
            "channel": "C01",
            "channel_type": "channel",
            "ts": "1700000001.000100",
            "message": base | now,
            "previous_message": base | before,
        },
        ME,
    )


def test_edits() -> None:
    edited = {"edited": {"user": "U01", "ts": "1"}}
    written = changed({"text": "two"} | edited, {"text": "one"})
    assert isinstance(written, Written)
    assert (written.ts, written.text, written.changed, written.channel) == ("1700000000.000100", "two", True, "C01")
    assert isinstance(changed({"text": "one", "attachments": [{"from_url": "x"}]}, {"text": "one"}), str)
    assert isinstance(changed({"text": "one"} | edited, {"text": "one"} | edited), str)
    assert isinstance(changed({"subtype": "tombstone", "text": "gone"}, {"text": "one"}), str)
    assert isinstance(changed({"text": "two", "bot_id": "B00", "user": "U00"} | edited, {"text": "one"}), str)


# --- what it holds -------------------------------------------------------------------------------------


def test_files() -> None:
    files: list[dict[str, Any]] = [
        {"id": "F1", "name": "a.png", "mimetype": "image/png", "size": 5},
        {"id": "F2", "title": "b", "mimetype": "audio/mp4", "subtype": "slack_audio"},
        {"id": "F3", "name": "c.pdf", "mimetype": "application/pdf"},
        {"id": "F4", "name": "d", "mode": "tombstone"},
        {"id": "F5", "name": "e", "is_external": True, "url_private": "https://drive.example/e"},
    ]
    kinds = [(each.id, each.kind, each.name, each.size) for each in attachments_in(files)]
    assert kinds == [
        ("F1", MediaKind.IMAGE, "a.png", 5),
        ("F2", MediaKind.VOICE, "b", None),
        ("F3", MediaKind.DOCUMENT, "c.pdf", None),
    ]
    text = message(channel="D01", text="look", files=files, subtype="file_share").text
    assert text.startswith("look\n[a file, d, which is gone")
    assert "https://drive.example/e" in text


def test_files_of_a_shared_message_come_with_it() -> None:
    shared = [
        {"id": "F2", "name": "plan.pdf", "mimetype": "application/pdf", "size": 7},
        {"id": "F3", "name": "old.txt", "mode": "tombstone"},
    ]
    share = {"is_share": True, "is_msg_unfurl": True, "text": "the plan", "author_id": "U01", "files": shared}
    page = {"title": "A page", "files": [{"id": "F9"}]}
    got = message(channel="D01", text="sum it up", files=[{"id": "F1"}], attachments=[share, page])
    assert [(each.id, each.name, each.size) for each in got.attachments] == [("F1", None, None), ("F2", "plan.pdf", 7)]
    assert got.text == "sum it up\n[a file, old.txt, which is gone, or which the workspace's plan hides]"


def test_what_is_told_of_a_file_later_completes_it() -> None:
    stub = {"id": "F2", "mode": "file_access", "file_access": "check_file_info"}
    told = {"F2": {"id": "F2", "name": "a.png", "mimetype": "image/png", "mode": "hosted", "file_access": "visible"}}
    whole = {"id": "F1", "name": "b", "file_access": "visible"}
    given = event(files=[whole, stub], attachments=[{"is_share": True, "files": [stub]}, {"title": "A page"}])
    assert stubs_in(given) == ["F2", "F2"]
    got = completed(given, told)
    assert got == given | {
        "files": [whole, told["F2"]],
        "attachments": [{"is_share": True, "files": [told["F2"]]}, {"title": "A page"}],
    }
    assert completed(given, {}) == given
    assert completed(got, {}) is got


def test_a_shared_message_is_a_quote() -> None:
    share = {"is_share": True, "text": "see &lt;this&gt; <@U01>", "author_id": "U00", "ts": "1.000001"}
    quote = message(channel="D01", attachments=[share]).quote
    assert quote is not None
    assert (quote.text, quote.ours, quote.message_id) == ("see <this> @Ann", True, "1.000001")
    assert message(channel="D01", attachments=[{"from_url": "https://example.org", "title": "x"}]).quote is None


def test_each_of_several_shared_messages_is_told() -> None:
    first = {"is_share": True, "text": "the plan", "author_id": "U01", "ts": "1.000001"}
    second = {"is_msg_unfurl": True, "text": "no\n[an aside] <@U01>", "author_name": "Bo [x]", "ts": "1.000002"}
    third = {"is_share": True, "text": "y" * 1200, "author_id": "U00", "ts": "1.000003"}
    got = message(channel="D01", text="compare", attachments=[first, second, {"title": "A page"}, third])
    assert got.quote is not None
    assert got.quote.text == "the plan"
    assert got.text == (
        "compare\n[also shared: a message of Bo (x)]\n> no\n> [an aside] @Ann"
        f"\n[also shared: your own message]\n> {'y' * 1000}…"
    )


def test_a_message_that_only_shares_is_not_empty() -> None:
    share = {"is_share": True, "text": "the plan", "author_id": "U01", "ts": "1.000001"}
    assert message(channel="D01", text="", attachments=[share]).text == "[a message is shared]"


def test_a_message_without_text_says_so() -> None:
    assert message(channel="D01", text="").text == "[a message without text]"
    assert message(channel="D01", text="", attachments=[{"fallback": "a card"}]).text == "a card"


def test_a_deletion_that_does_not_say_of_what() -> None:
    gone = read_deletion({"subtype": "message_deleted", "channel": "D01", "deleted_ts": "1.000001"}, ME)
    assert gone is not None
    assert (gone.channel, gone.ts, gone.is_dm) == ("D01", "1.000001", True)
    assert read_deletion({"channel": "D01", "ts": "1.000001", "user": "U01", "text": "hello"}, ME) is None


# --- presses and commands ------------------------------------------------------------------------------


def press(**action: Any) -> dict[str, Any]:
    return {
        "type": "block_actions",
        "trigger_id": "t1",
        "user": {"id": "U01"},
        "channel": {"id": "C01"},
        "container": {"message_ts": "5.000001", "thread_ts": "1.000001"},
        "actions": [{"action_ts": "9.1"} | action],
    }


def test_presses() -> None:
    made = press_of(press(value="/new"), ME, NAMES)
    assert made is not None
    assert (made.text, made.message_id, made.source.thread_id) == ("/new", "press:5.000001:U01:9.1", "1.000001")
    chosen = press_of(press(selected_option={"value": "/title x"}), ME, NAMES)
    assert chosen is not None
    assert chosen.text == "/title x"
    assert press_of(press(value="rm -rf"), ME, NAMES) is None
    for channel in ("D01", "C01"):  # on what stands outside of threads, and was replied to
        root = {"message_ts": "5.000001", "thread_ts": "5.000001"}
        below = press_of(press(value="/new") | {"channel": {"id": channel}, "container": root}, ME, NAMES)
        assert below is not None
        assert below.source.thread_id is None
    assert press_of({"type": "view_submission", "user": {"id": "U01"}}, ME, NAMES) is None


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("new", "/new"), ("title a b", "/title a b"), ("", "/help"), ("tell me", "tell me"), ("a &lt; b", "a < b")],
)
def test_slash_commands(text: str, wanted: str) -> None:
    payload = {"channel_id": "D01", "user_id": "U01", "trigger_id": "t1", "text": text, "channel_name": "directmessage"}
    made = command_of(payload, ME, RULES, NAMES)
    assert made is not None
    assert (made.text, made.message_id, made.source.chat_type) == (wanted, "command:t1", "dm")
    elsewhere = command_of(payload | {"channel_id": "C01", "channel_name": "general"}, ME, RULES, NAMES)
    assert elsewhere is not None
    assert (elsewhere.source.chat_type, elsewhere.source.chat_name) == ("group", "general")


def test_a_channel_is_no_private_place_by_its_name() -> None:
    payload = {"channel_id": "C01", "user_id": "U01", "trigger_id": "t1", "channel_name": "directmessage"}
    made = command_of(payload, ME, RULES, NAMES)
    assert made is not None
    assert made.source.chat_type == "group"
