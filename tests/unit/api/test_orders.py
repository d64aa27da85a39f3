"""From what a program sends to the message that goes in; and what a stream shows of an answer."""

from typing import Any

import pytest

from gateway.api.emission import BEGUN_ANEW, Emission
from gateway.api.errors import ApiError
from gateway.api.orders import RESULTS, Order, chat_order, fingerprint, read_shape, response_order
from gateway.api.wire import ChatRequest, ResponseRequest
from gateway.brought import newest_exchange, open_calls


def chat(*messages: dict[str, Any], session: str | None = None, **more: Any) -> Order:
    return chat_order(read_shape(ChatRequest, {"model": "m", "messages": list(messages), **more}), session)


def respond(given: Any, session: str | None = None, **more: Any) -> Order:
    return response_order(read_shape(ResponseRequest, {"model": "m", "input": given, **more}), session)


def said(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
ASKED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "42"}


def test_one_text_is_a_message_like_any_other() -> None:
    order = chat(said("user", "hello"))
    assert order.inbound_text == "hello"
    assert order.brought().messages == ()
    assert order.brought().agent == "m"


@pytest.mark.parametrize("text", ["/new", "  /stop", "//x", "/queue x"])
def test_a_slash_is_a_command_only_in_a_conversation_that_is_kept(text: str) -> None:
    alone = chat(said("user", text))
    assert alone.inbound_text == f"/{text}"
    assert [row["content"] for row in alone.brought().messages] == [text]
    kept = chat(said("user", text), session="s")
    assert kept.inbound_text == text
    assert kept.brought().messages == ()


def test_what_was_said_before_goes_along_unless_it_is_kept() -> None:
    messages = [said("system", "be kind"), said("user", "a"), said("assistant", "b"), said("user", "c")]
    alone, kept = chat(*messages), chat(*messages, session="s")
    assert [row["content"] for row in alone.brought().messages] == ["a", "b", "c"]
    assert alone.text == kept.inbound_text == "c"
    assert kept.brought().messages == ()
    assert alone.instructions == kept.instructions == "be kind"


def test_results_of_tools_go_along_in_either_case() -> None:
    messages = [said("user", "a"), ASKED, RESULT]
    alone, kept = chat(*messages), chat(*messages, session="s")
    assert alone.text == kept.text == RESULTS
    assert [row["role"] for row in alone.brought().messages] == ["user", "assistant", "tool"]
    assert kept.brought().messages == ({"role": "tool", "content": "42", "tool_call_id": "c1", "tool_name": "f"},)


def test_neighbouring_messages_of_a_user_are_one_in_a_conversation_that_is_kept() -> None:
    assert chat(said("assistant", "x"), said("user", "a"), said("user", "b"), session="s").inbound_text == "a\n\nb"


def test_the_items_of_a_response_are_the_same_conversation() -> None:
    items = [
        said("developer", "be kind"),
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]},
        {"type": "reasoning", "id": "r", "summary": []},
        said("assistant", [{"type": "output_text", "text": "let me see"}]),
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "42"},
    ]
    order = respond(items, instructions="be brief")
    assert order.instructions == "be brief\n\nbe kind"
    assert [row["role"] for row in order.rows] == ["user", "assistant", "tool"]
    assert order.rows[1]["tool_calls"] == [CALL]
    assert order.rows[1]["content"] == "let me see"


def test_a_conversation_is_named_by_the_body_or_the_header() -> None:
    assert respond("x", conversation="a").conversation == "a"
    assert respond("x", conversation={"id": "a"}, session="b").conversation == "a"
    assert respond("x", session="b").conversation == "b"
    with pytest.raises(ApiError, match="cannot both"):
        respond("x", conversation="a", previous_response_id="resp_1")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": "m"}, "messages"),
        ({"model": 1, "messages": [said("user", "x")]}, "model"),
        ({"model": "m", "messages": [said("robot", "x")]}, "messages.0.role"),
        ({"model": "m", "messages": [{"role": "tool", "content": "x"}]}, "messages.0.tool_call_id"),
        ({"model": "m", "messages": [said("user", [{"type": "image_url"}])]}, "messages.0.content.0.type"),
        ({"model": "m", "messages": [said("user", "x")], "stream": "yes"}, "stream"),
        ({"model": "m", "messages": [said("user", "")]}, "messages"),
        ({"model": "m", "messages": [said("system", "x")]}, "messages"),
    ],
)
def test_an_error_names_the_field(body: dict[str, Any], param: str) -> None:
    with pytest.raises(ApiError) as caught:
        chat_order(read_shape(ChatRequest, body), None)
    assert (caught.value.status, caught.value.param) == (400, param)


def test_requests_are_told_apart_by_body_and_conversation() -> None:
    one = fingerprint({"a": 1, "b": 2}, None)
    assert one == fingerprint({"b": 2, "a": 1}, None)
    assert len({one, fingerprint({"a": 1, "b": 3}, None), fingerprint({"a": 1, "b": 2}, "s")}) == 3


def test_the_newest_exchange_begins_with_the_user_or_with_the_calls() -> None:
    user, assistant = said("user", "a"), said("assistant", "b")
    assert newest_exchange([user, assistant, user]) == 2
    assert newest_exchange([user, ASKED, RESULT]) == 1
    assert newest_exchange([assistant]) == 0


def test_open_calls_are_those_of_the_last_step_without_a_result() -> None:
    second = {**CALL, "id": "c2"}
    step = {"role": "assistant", "content": "", "tool_calls": [CALL, second]}
    assert [call.id for call in open_calls([said("user", "a"), step])] == ["c1", "c2"]
    assert [call.id for call in open_calls([step, RESULT])] == ["c2"]
    assert open_calls([ASKED, RESULT]) == ()
    assert open_calls([ASKED, said("user", "a")]) == ()
    assert open_calls([]) == ()


def test_a_stream_sends_what_is_new_and_never_takes_back() -> None:
    shown = Emission()
    pieces = [shown.more("ab"), shown.more("ab"), shown.more("abcd"), shown.last("abcde")]
    assert pieces == ["ab", "", "cd", "e"]
    failed = Emission()
    assert failed.more("first try") == "first try"
    assert failed.more("sec") == ""
    assert failed.last("second try") == f"{BEGUN_ANEW}second try"
    assert failed.sent == f"first try{BEGUN_ANEW}second try"
    assert Emission().last("") == ""


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ([], "input: List should have at least 1 item"),
        (5, "input: Input should be a valid list"),
        ([{"type": "function_call_output", "call_id": 5, "output": "x"}], "input.0.call_id: "),
        ([{"type": "function_call", "call_id": "a", "name": "two words", "arguments": "{}"}], "input.0.name: "),
        ([{"type": "web_search_call", "id": "msg_1"}], "input.0: Input should be an item whose type is one of "),
    ],
)
def test_what_is_wrong_with_an_input_is_told_of_its_own_field(given: Any, where: str) -> None:
    with pytest.raises(ApiError) as caught:
        respond(given)
    assert str(caught.value).startswith(where)
