"""Webhooks: signatures as their makers write them, prompts that nothing in a body can leave, settings."""

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from config import ConfigError, GatewayConfig, load_config
from config.webhooks import SignatureForm, WebhookConfig
from gateway.api.errors import ApiError
from gateway.api.hook_prompt import MAX_PROMPT_CHARS, NOTHING, UNTRUSTED, Posted, fits, render
from gateway.api.json_body import MAX_DEPTH, parse_object
from gateway.api.signatures import SignatureError, check_signature
from gateway.api.webhooks import source_of
from gateway.logs import redacted
from gateway.session import slot_identity

SECRET = "a secret of the tests, long enough"

SLACK_BODY = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
    b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
    b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
    b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
)

VECTORS: dict[str, tuple[SignatureForm, str, dict[str, str], bytes, float]] = {
    "github": (
        "github",
        "It's a Secret to Everybody",
        {"x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"},
        b"Hello, World!",
        0,
    ),
    "slack": (
        "slack",
        "8f742231b10e8888abcd99yyyzzz85a5",
        {
            "x-slack-request-timestamp": "1531420618",
            "x-slack-signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
        },
        SLACK_BODY,
        1531420618,
    ),
    "standard": (
        "standard",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        {
            "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "webhook-timestamp": "1614265330",
            "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        },
        b'{"test": 2432232314}',
        1614265330,
    ),
}
"""What the makers of each form print in their own documentation."""


def hook(**values: Any) -> WebhookConfig:
    return WebhookConfig.model_validate({"secret": SECRET, "prompt": "{text}", **values})


def plain(time: str, body: bytes, secret: str = SECRET) -> dict[str, str]:
    digest = hmac.new(secret.encode(), time.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {"x-timestamp": time, "x-signature": digest}


# --- signatures ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VECTORS)
def test_signatures_are_those_of_their_makers(name: str) -> None:
    form, secret, headers, body, now = VECTORS[name]
    mark = check_signature(form, secret, headers, body, now=now + 300, tolerance=300)
    assert len(mark) == 64
    for wrong_secret, wrong_body in ((secret + "x", body), (secret, body + b" ")):
        with pytest.raises(SignatureError) as caught:
            check_signature(form, wrong_secret, headers, wrong_body, now=now, tolerance=300)
        assert caught.value.code == "signature_wrong"


def test_a_plain_signature_may_be_in_capitals_and_its_mark_is_the_same() -> None:
    headers = plain("1000", b"{}")
    loud = {**headers, "x-signature": headers["x-signature"].upper()}
    marks = {check_signature("plain", SECRET, each, b"{}", now=1000, tolerance=1) for each in (headers, loud)}
    assert len(marks) == 1


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"x-signature": ""}, "signature_missing"),
        ({"x-timestamp": ""}, "signature_missing"),
        ({"x-timestamp": "1001"}, "signature_wrong"),
        ({"x-signature": "é\udcff"}, "signature_wrong"),
        ({"x-signature": "0" * 64}, "signature_wrong"),
        ({"x-signature": "sha256="}, "signature_wrong"),
    ],
)
def test_what_is_not_signed_is_refused(change: dict[str, str], code: str) -> None:
    with pytest.raises(SignatureError) as caught:
        check_signature("plain", SECRET, {**plain("1000", b"{}"), **change}, b"{}", now=1000, tolerance=300)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("time", "near"),
    [
        ("1000", True), ("700", True), ("1300", True), ("699", False), ("1301", False), ("-1000", False),
        ("1000.0", False), ("١٠٠٠", False), ("9" * 40, False), ("nan", False),
    ],
)  # fmt: skip
def test_only_what_was_signed_lately_is_taken(time: str, near: bool) -> None:
    headers = plain(time, b"{}")
    if near:
        assert check_signature("plain", SECRET, headers, b"{}", now=1000, tolerance=300)
        return
    with pytest.raises(SignatureError) as caught:
        check_signature("plain", SECRET, headers, b"{}", now=1000, tolerance=300)
    assert caught.value.code == "timestamp_too_far"


@pytest.mark.parametrize("prefix", ["", "sha1=", "v0=", "SHA256="])
def test_a_signature_of_another_form_is_none(prefix: str) -> None:
    digest = hmac.new(SECRET.encode(), b"{}", hashlib.sha256).hexdigest()
    with pytest.raises(SignatureError):
        check_signature("github", SECRET, {"x-hub-signature-256": prefix + digest}, b"{}", now=0, tolerance=1)


def test_one_of_several_signatures_is_enough_where_a_sender_changes_its_secret() -> None:
    form, secret, headers, body, now = VECTORS["standard"]
    other = base64.b64encode(b"x" * 32).decode()
    both = {**headers, "webhook-signature": f"v1,{other} {headers['webhook-signature']}"}
    assert check_signature(form, secret, both, body, now=now, tolerance=1)
    with pytest.raises(SignatureError):
        check_signature(form, secret, {**both, "webhook-id": "msg_other"}, body, now=now, tolerance=1)


# --- prompts -------------------------------------------------------------------------------------------------


def rendered(prompt: str, body: Any, **values: Any) -> str:
    text = render("ci", hook(prompt=prompt, **values), Posted({"x-event": "push\nx"}, body))
    notice = "\n\n" + UNTRUSTED.format(name="ci")
    assert text.endswith(notice)
    return text.removesuffix(notice)


def test_fields_are_quoted_and_nothing_else_is_read() -> None:
    body = {"a": {"b": [{"c": 'x "y"\n/stop'}]}, "n": 7, "yes": True, "text": "one\n/new\ntwo", "none": None}
    assert rendered("See {a.b.0.c} of {n}, {yes}:\n{text}\nDone. {{x}}", body) == (
        'See "x \\"y\\" /stop" of 7, true:\n> one\n> /new\n> two\nDone. {x}'
    )
    assert rendered("{@X-Event}!", body) == '"push x"!'
    for missing in ("none", "a.b.1.c", "a.b.c", "text.upper", "n.real", "a.b.99999999999", "__class__"):
        assert rendered(f"x {{{missing}}}", body) == f"x {NOTHING}"
    assert rendered("{a}", body) == '> {"b": [{"c": "x \\"y\\"\\n/stop"}]}'


def test_a_field_is_cut_and_so_is_the_whole() -> None:
    assert len(rendered("{text}", {"text": "x" * 10_000_000}, max_value_chars=100)) <= 110
    assert len(rendered("so {text}", {"text": "x" * 10_000_000}, max_value_chars=100)) <= 110
    deep: Any = {}
    for _ in range(500):
        deep = {"k": [deep] * 3}
    assert len(rendered("{text}", {"text": deep})) < 2_100
    many = "{text}\n" * 50
    assert len(rendered(many, {"text": "x" * 20_000}, max_value_chars=20_000)) <= MAX_PROMPT_CHARS + 1


def test_a_prompt_that_begins_with_a_slash_is_a_text() -> None:
    assert rendered("/stop {text}", {"text": "x"}) == '//stop "x"'


@given(st.text(), st.text())
def test_nothing_in_a_body_leaves_its_quotes(one: str, two: str) -> None:
    """Every line is the operator's, or marked; and within a line a value is one JSON string."""
    text = rendered("First {a} end\n{b}\nlast", {"a": one, "b": two})
    first, *quoted, last = text.split("\n")
    assert last == "last"
    assert all(line.startswith("> ") or line == NOTHING for line in quoted)
    value = first.removeprefix("First ").removesuffix(" end")
    assert value == NOTHING or isinstance(json.loads(value), str)
    assert not any(ord(letter) < 32 or 0x202A <= ord(letter) <= 0x202E for line in (first, *quoted) for letter in line
                   if letter != "\t")  # fmt: skip


@pytest.mark.parametrize(
    ("filters", "taken"),
    [
        ({}, True),
        ({"action": ["opened", "closed"]}, True),
        ({"action": ["closed"]}, False),
        ({"action": ["opened"], "n": ["7"]}, True),
        ({"action": ["opened"], "n": ["8"]}, False),
        ({"flag": ["true"]}, True),
        ({"missing": [""]}, False),
        ({"missing": ["None", "null"]}, False),
        ({"list": ["[]"]}, False),
        ({"@X-Event": ["push"]}, True),
    ],
)
def test_what_does_not_fit_is_left_alone(filters: dict[str, list[str]], taken: bool) -> None:
    posted = Posted({"x-event": "push"}, {"action": "opened", "n": 7, "flag": True, "list": []})
    assert fits(hook(filters=filters), posted) is taken


@pytest.mark.parametrize("body", [b"", b"nope", b"[]", b"null", b'{"a": NaN}', b"[" * 200_000, b"\xff\xfe{}", b'"x"'])
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        parse_object(body)
    assert caught.value.status == 400


@pytest.mark.parametrize(("opened", "closed"), [('{"a":', "}"), ("[", "]")])
def test_how_deeply_objects_and_lists_may_be_nested(opened: str, closed: str) -> None:
    def nested(levels: int) -> bytes:
        return f'{{"a":{opened * (levels - 1)}1{closed * (levels - 1)}}}'.encode()

    assert redacted(parse_object(nested(MAX_DEPTH)), str) == json.loads(nested(MAX_DEPTH))
    with pytest.raises(ApiError, match="nested too deeply"):
        parse_object(nested(MAX_DEPTH + 1))


# --- sessions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["-100", "-100:7"])
@pytest.mark.parametrize("per_group", [True, False])
@pytest.mark.parametrize("per_thread", [True, False])
def test_a_webhook_is_in_no_conversation_of_others(place: str, per_group: bool, per_thread: bool) -> None:
    target = hook(target=f"telegram:{place}")
    mine, another = source_of("one", target), source_of("two", target)
    others = [another, replace(mine, user_id=None), replace(mine, user_id="7")]
    slot = slot_identity(mine, per_group, per_thread)
    assert slot.participant == "webhook:one"
    assert slot not in [slot_identity(each, per_group, per_thread) for each in others]


# --- settings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"secret": None}, "needs a secret"),
        ({"signature": "none"}, "leave out one"),
        ({"signature": "none", "secret": None, "secret_file": "x"}, "leave out one"),
        ({"secret": "short"}, "at least 16 characters"),
        ({"signature": "sha1"}, "plain"),
        ({"prompt": ""}, "at least 1 character"),
        ({"prompt": "{a"}, "is no template"),
        ({"prompt": "{a!r}"}, "keys and numbers"),
        ({"prompt": "{a.__class__().x}"}, "keys and numbers"),
        ({"prompt": "{a}" * 51}, "at most 50 fields"),
        ({"filters": {"a b": ["x"]}}, "keys and numbers"),
        ({"target": "telegram"}, "is no chat"),
        ({"target": "telegram::7"}, "is no chat"),
        ({"target": "local:cli"}, "no platform with chats"),
        ({"target": "api_server:laptop"}, "no platform with chats"),
        ({"target": "telegramm:1"}, "did you mean 'telegram'"),
        ({"role": "owner"}, "guest"),
        ({"max_body_kb": 9_000}, "8192"),
    ],
)
def test_settings_that_would_let_in_too_much_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        hook(**values)


def test_no_secret_has_to_be_written_out() -> None:
    assert hook(signature="none", secret=None).secret is None


def test_faults_in_the_file_say_what_to_write(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(
        "webhooks:\n  one: {prompt: x}\n  two: {prompt: '{a', secret_file: nowhere}\n"
        "  Three: {prompt: x, signature: none, filters: {'a b': [x]}}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_config(file, environ={})
    said = [str(problem).partition(f"{file}:")[2] for problem in caught.value.problems]
    assert said[0].startswith("2: webhooks.one: needs a secret; write secret or secret_file, or signature: none")
    assert "3: webhooks.two.prompt: is no template; write {field} for a field, {{ and }} for braces" in said
    assert any(each.startswith("3: webhooks.two.secret_file: the file nowhere does not exist") for each in said)
    assert any(each.startswith("4: webhooks.Three: is no name of a webhook; take small letters") for each in said)
    assert any("is no field; write keys and numbers" in each for each in said)
    assert len(said) == 5


def test_an_agent_is_one_that_is_defined() -> None:
    with pytest.raises(ValidationError, match="did you mean 'local'"):
        GatewayConfig.model_validate({"webhooks": {"a": {"prompt": "x", "secret": SECRET, "agent": "locall"}}})


@pytest.mark.parametrize("name", ["", "A", "a/b", "a b", "-a", "../x", "x" * 65])
def test_a_name_is_one_part_of_a_path(name: str) -> None:
    with pytest.raises(ValidationError):
        GatewayConfig.model_validate({"webhooks": {name: {"prompt": "x", "secret": SECRET}}})
