"""Transcripts as pydantic-ai has them, and histories that every provider takes."""

import string
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

from gateway.agents.messages import (
    BEGINNING,
    CUT_OFF,
    GO_ON,
    NO_TEXT,
    repaired,
    step_calls,
    to_model_messages,
    to_rows,
    unanswered_calls,
    with_unique_ids,
)
from gateway.ports import Call, Message
from tests.unit.agents.support import assistant, result, user


def roles(rows: Sequence[Message]) -> list[Any]:
    return [row["role"] for row in to_rows(repaired(to_model_messages(rows)))]


def test_a_transcript_survives_both_ways() -> None:
    rows: list[Message] = [
        user("what time is it?"),
        assistant("I look.", ("c1", "clock", '{"zone": "UTC"}'), ("c2", "clock", "{}")),
        result("c1", "clock", "noon"),
        result("c2", "clock", "one"),
        assistant("Noon."),
        {"role": "system", "content": "The session was renamed."},
        user("thanks"),
    ]
    assert to_rows(to_model_messages(rows)) == rows
    assert to_rows(repaired(to_model_messages(rows))) == rows


def test_contents_of_any_form_become_text() -> None:
    rows: list[Message] = [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}]},
        {"role": "user", "content": None},
        {"role": "session_meta", "content": "not for models"},
        {"role": "assistant", "content": None},
        {"content": "no role"},
    ]
    assert to_rows(to_model_messages(rows)) == [user("a"), user(NO_TEXT)]


def test_a_call_without_a_result_gets_one_that_says_so() -> None:
    rows = [user("go"), assistant("", ("c1", "clock", "{}"), ("c2", "clock", "{}")), result("c2", "clock", "x")]
    fixed = to_rows(repaired(to_model_messages([*rows, user("and?")])))
    assert [row["role"] for row in fixed] == ["user", "assistant", "tool", "tool", "user"]
    by_id = {row["tool_call_id"]: row["content"] for row in fixed if row["role"] == "tool"}
    assert by_id["c2"] == "x"
    assert "interrupted" in by_id["c1"]


def test_a_result_without_a_call_is_left_out() -> None:
    rows = [user("go"), result("c9", "clock", "stray"), assistant("hi"), result("c1", "clock", "late"), user("?")]
    assert roles(rows) == ["user", "assistant", "user"]


def test_a_result_without_an_id_belongs_to_the_first_open_call() -> None:
    rows = [user("go"), assistant("", ("c1", "clock", "{}")), {"role": "tool", "content": "noon"}, user("?")]
    (tool,) = [row for row in to_rows(repaired(to_model_messages(rows))) if row["role"] == "tool"]
    assert (tool["tool_call_id"], tool["tool_name"], tool["content"]) == ("c1", "clock", "noon")


def test_ids_that_return_in_a_later_step_stay_with_their_step() -> None:
    rows = [
        user("go"),
        assistant("", ("call_0", "clock", "{}")),
        result("call_0", "clock", "first"),
        assistant("", ("call_0", "clock", "{}")),
        result("call_0", "clock", "second"),
        user("?"),
    ]
    fixed = to_rows(repaired(to_model_messages(rows)))
    assert [row["content"] for row in fixed if row["role"] == "tool"] == ["first", "second"]


def test_arguments_that_are_no_json_are_sent_as_an_object() -> None:
    (_, response) = to_model_messages([user("go"), assistant("", ("c1", "clock", '{"zone": "U'))])
    part = response.parts[0]
    assert isinstance(part, ToolCallPart)
    assert "U" in str(part.args_as_dict())
    assert step_calls(response) == (Call("c1", "clock", '{"zone": "U'),)  # type: ignore[arg-type]


def test_an_answer_that_was_cut_off_says_so() -> None:
    (_, row) = to_rows(to_model_messages([user("go"), assistant("Once upon", partial=True)]))
    assert row["content"] == f"Once upon\n\n{CUT_OFF}"


def test_neighbours_of_one_role_become_one_message() -> None:
    rows = [user("a"), user("b"), assistant("c"), assistant("d"), user("e"), user("f")]
    fixed = to_rows(repaired(to_model_messages(rows)))
    assert fixed == [user("a\n\nb"), assistant("c\n\nd"), user("e\n\nf")]


def test_a_history_begins_and_ends_with_a_person() -> None:
    fixed = to_rows(repaired(to_model_messages([assistant("Good morning!")])))
    assert fixed == [user(BEGINNING), assistant("Good morning!"), user(GO_ON)]
    assert to_rows(repaired([])) == [user(NO_TEXT)]


def test_unanswered_calls_are_those_of_the_last_step() -> None:
    step = assistant("", ("c1", "clock", "{}"), ("c2", "clock", '{"zone": 1}'))
    rows = [assistant("", ("c0", "clock", "{}")), step, result("c1", "clock", "x")]
    assert unanswered_calls(rows) == (Call("c2", "clock", '{"zone": 1}'),)
    assert unanswered_calls([*rows, result("c2", "clock", "y")]) == ()
    assert unanswered_calls([assistant("text only")]) == ()
    assert unanswered_calls([]) == ()


def test_ids_are_unique_within_a_turn() -> None:
    used = {"call_0"}
    response = ModelResponse(parts=[ToolCallPart("a", {}, "call_0"), ToolCallPart("b", {}, "call_0")])
    ids = [call.id for call in step_calls(with_unique_ids(response, used))]
    assert len({*ids, "call_0"}) == 3
    assert used == {"call_0", *ids}


IDS = st.sampled_from(["1", "2", "3"])
ROWS = st.lists(
    st.one_of(
        st.builds(user, st.text(string.ascii_letters, max_size=3)),
        st.builds(
            lambda text, ids: assistant(text, *((i, "clock", "{}") for i in ids)),
            st.text(string.ascii_letters, max_size=3),
            st.lists(IDS, max_size=2, unique=True),
        ),
        st.builds(lambda i: result(i, "clock", "x"), IDS),
        st.just({"role": "system", "content": "note"}),
    ),
    max_size=12,
)


@given(ROWS)
def test_every_repaired_history_is_one_that_providers_take(rows: list[Message]) -> None:
    history = repaired(to_model_messages(rows))
    assert isinstance(history[0], ModelRequest)
    assert isinstance(history[-1], ModelRequest)
    waiting: list[str] = []
    for before, message in zip([None, *history], history, strict=False):
        assert type(before) is not type(message)
        if isinstance(message, ModelResponse):
            assert not waiting
            assert message.parts
            waiting = [part.tool_call_id for part in message.parts if isinstance(part, ToolCallPart)]
        else:
            answered = _check_request(message)
            assert sorted(answered) == sorted(waiting)
            waiting = []
    assert not waiting


def _check_request(message: ModelMessage) -> list[str]:
    """Results come first, and a person's words stand together; returns the ids that are answered."""
    kinds = [type(part) for part in message.parts]
    results = [part.tool_call_id for part in message.parts if isinstance(part, ToolReturnPart)]
    assert kinds[: len(results)] == [ToolReturnPart] * len(results)
    assert not any(a is b is UserPromptPart for a, b in pairwise(kinds))
    assert set(kinds) <= {ToolReturnPart, UserPromptPart, SystemPromptPart}
    assert TextPart not in kinds
    return results
