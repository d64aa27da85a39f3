"""The forms of a transcript."""

import json
from datetime import UTC, datetime
from typing import Any

from gateway.cli.transcripts import MAX_RESULT_LINES, Format, body, render, speaker
from gateway.inspection import SessionSummary, TranscriptMessage
from gateway.session import SessionEntry

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
ENTRY = SessionEntry("agent:main:local:dm:cli", "20260301_120000_00", AT, AT, title="A \x1b[2Jtitle", message_count=3)
SUMMARY = SessionSummary(ENTRY, agent="echo", pinned=True, archived=False)


def said(**message: Any) -> TranscriptMessage:
    return TranscriptMessage(message, "turn1", AT)


MESSAGES = [
    said(role="user", content="What is 2+2?"),
    said(
        role="assistant",
        content=None,
        tool_calls=[{"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}],
    ),
    said(role="tool", tool_call_id="1", tool_name="add", content="```\n4"),
]


def test_json_holds_everything() -> None:
    data = json.loads(render(SUMMARY, MESSAGES, Format.JSON))
    assert data["session"]["session_id"] == "20260301_120000_00"
    assert data["session"]["pinned"] is True
    assert data["messages"][0] == {
        "role": "user",
        "content": "What is 2+2?",
        "timestamp": AT.isoformat(),
        "turn_id": "turn1",
    }
    assert data["messages"][1]["tool_calls"][0]["function"]["name"] == "add"


def test_jsonl_is_a_message_a_line() -> None:
    lines = render(SUMMARY, MESSAGES, Format.JSONL).splitlines()
    assert [json.loads(line)["role"] for line in lines] == ["user", "assistant", "tool"]


def test_markdown_fences_what_is_not_prose() -> None:
    text = render(SUMMARY, MESSAGES, Format.MARKDOWN)
    assert text.startswith("# A �[2Jtitle\n")
    assert "````\n```\n4\n````" in text
    assert "Called `add`:" in text


def test_the_transcript_names_tools_and_cuts_long_results() -> None:
    assert body(MESSAGES[1].message) == '→ add({"a": 2})'
    assert speaker(MESSAGES[2].message) == "Tool add"
    long = {"role": "tool", "content": "\n".join(map(str, range(100)))}
    assert len(body(long).split("\n")) == MAX_RESULT_LINES + 1
    assert "88 more lines" in body(long)


def test_odd_messages_are_shown_all_the_same() -> None:
    assert body({"role": "assistant", "tool_calls": [1, {"function": None}, {"function": {}}]}) == "→ ?()"
    assert body({"role": "user", "content": [{"type": "text", "text": "a\x1bb"}]}) == "a�b"
    assert speaker({"role": "narrator"}) == "narrator"
