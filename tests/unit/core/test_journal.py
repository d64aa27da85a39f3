"""The journal: what it tells of a turn is what the turn was."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.journal import BETWEEN_STEPS, Progress, Step
from gateway.ports import AgentEvent, Call, Done, Notice, Text, ToolCalls, ToolResult, ToolStarted, Usage
from gateway.storage.codec import clean_text

NAMES = st.sampled_from("abc")
EVENTS: st.SearchStrategy[AgentEvent] = st.one_of(
    st.builds(Text, st.text(max_size=5)),
    st.builds(ToolCalls, st.text(max_size=5), st.tuples(st.builds(Call, NAMES, NAMES, st.just("{}")))),
    st.builds(ToolStarted, NAMES),
    st.builds(ToolResult, NAMES, NAMES, st.text(max_size=5)),
    st.builds(Usage, st.integers(0, 9), st.integers(0, 9), cost_usd=st.none() | st.just(0.5)),
    st.builds(Notice, NAMES),
    st.just(Done()),
)


def grown(events: list[AgentEvent]) -> tuple[Progress, list[Step]]:
    progress, steps = Progress(), []
    for event in events:
        step = progress.note(event)
        if step is not None:
            progress.take(step)
            steps.append(step)
    return progress, steps


@given(st.lists(EVENTS))
def test_a_replay_comes_to_what_was_journalled(events: list[AgentEvent]) -> None:
    progress, steps = grown(events)
    again = Progress.replay(steps)
    assert again.messages == progress.messages
    assert (again.begun, again.results) == (progress.begun, progress.results)
    if steps and not any(isinstance(event, Usage) for event in events[-1:]):
        last = max(
            index for index, event in enumerate(events) if isinstance(event, ToolCalls | ToolStarted | ToolResult)
        )
        assert again.usage == grown(events[: last + 1])[0].usage


def test_a_step_changes_nothing_before_it_is_taken() -> None:
    progress = Progress()
    progress.note(Text("looking"))
    step = progress.note(ToolCalls("looking", (Call("a", "look", "{}"),)))
    assert step is not None
    assert (progress.messages, progress.step_text) == ([], "looking")
    progress.take(step)
    assert (progress.messages[0]["content"], progress.step_text) == ("looking", "")


def test_usage_adds_up_and_an_unknown_cost_changes_none() -> None:
    progress, _ = grown([Usage(1, 2, cost_usd=0.5, model="m"), Usage(3, last_prompt_tokens=9), Usage(cost_usd=0.25)])
    assert progress.usage == Usage(4, 2, last_prompt_tokens=9, model="m", cost_usd=0.75)


TEXT = st.text().map(clean_text)


@given(TEXT, TEXT)
def test_what_people_saw_is_recalled(said: str, more: str) -> None:
    progress, _ = grown([Text(said), ToolCalls(said, ())])
    shown = Progress.replay([]) if not said.strip() else progress
    seen = BETWEEN_STEPS.join(part for part in (shown.visible_text, more) if part.strip())
    progress.recall(seen)
    assert progress.visible_text.startswith(shown.visible_text)
    assert progress.visible_text == seen or not more.strip()


def test_what_people_saw_of_another_wording_is_not_mixed_in() -> None:
    progress, _ = grown([Text("Hello")])
    progress.recall("Good morning, friend")
    assert progress.visible_text == "Hello"


def test_a_partial_answer_is_marked() -> None:
    progress, _ = grown([Text("half")])
    assert progress.final_messages(partial=True) == [{"role": "assistant", "content": "half", "partial": True}]
    assert progress.final_messages(partial=False) == [{"role": "assistant", "content": "half"}]
    assert grown([Text(" \n")])[0].final_messages(partial=True) == []
