"""Owns the forms of a transcript: for reading at a terminal, and as JSON, JSONL or Markdown for export."""

import json
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

from gateway.cli.output import local_time, neutral, neutral_lines
from gateway.inspection import SessionSummary, TranscriptMessage
from gateway.session.text import flatten_text

MAX_RESULT_LINES: Final = 12
"""Lines of a tool's result that are shown; an export has all of them."""

SPEAKERS: Final[Mapping[str, str]] = {"user": "User", "assistant": "Assistant", "system": "System", "tool": "Tool"}


class Format(StrEnum):
    """The forms of an export."""

    JSON = "json"
    JSONL = "jsonl"
    MARKDOWN = "markdown"


SUFFIXES: Final[Mapping[str, Format]] = {
    ".json": Format.JSON,
    ".jsonl": Format.JSONL,
    ".md": Format.MARKDOWN,
    ".markdown": Format.MARKDOWN,
}


def render(summary: SessionSummary, messages: Sequence[TranscriptMessage], form: Format) -> str:
    """A session as the text of a file."""
    match form:
        case Format.JSON:
            whole = {"session": summary.to_dict(), "messages": [message.to_dict() for message in messages]}
            return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"
        case Format.JSONL:
            return "".join(json.dumps(message.to_dict()) + "\n" for message in messages)
        case Format.MARKDOWN:
            return _markdown(summary, messages)


def facts(summary: SessionSummary) -> Iterator[tuple[str, str]]:
    """What is known of a session, as names and values for people."""
    entry = summary.entry
    platform = str(entry.platform) if entry.platform else entry.unknown_platform or "unknown"
    yield "Session", entry.session_id
    yield "Key", entry.session_key
    yield "Place", f"{platform}, {entry.chat_type}{f', {entry.display_name}' if entry.display_name else ''}"
    yield "Started", local_time(entry.created_at)
    yield "Last active", local_time(entry.updated_at)
    if entry.ended_at is not None:
        yield "Ended", f"{local_time(entry.ended_at)}{f' ({entry.end_reason})' if entry.end_reason else ''}"
    if summary.agent or entry.model:
        yield "Answered by", ", ".join(part for part in (summary.agent, entry.model) if part)
    yield "Messages", f"{entry.message_count:,}"
    if entry.total_tokens:
        yield "Tokens", f"{entry.input_tokens:,} in, {entry.output_tokens:,} out"
    if entry.estimated_cost_usd:
        yield "Cost", f"${entry.estimated_cost_usd:.4f} ({entry.cost_status})"
    if entry.predecessor_id:
        yield "Follows", entry.predecessor_id
    if entry.successor_id:
        yield "Goes on in", entry.successor_id


def speaker(message: Mapping[str, Any]) -> str:
    """Who said it, as people read it."""
    role = str(message.get("role"))
    name = SPEAKERS.get(role, role)
    tool = message.get("tool_name")
    return f"{name} {tool}" if role == "tool" and tool else name


def body(message: Mapping[str, Any]) -> str:
    """What was said, and which tools were called, without what could steer a terminal."""
    text = neutral_lines(flatten_text(message.get("content")))
    if message.get("role") == "tool":
        text = _shortened(text)
    calls = [neutral(f"→ {name}({arguments})") for name, arguments in _calls(message)]
    return "\n".join([*([text] if text else []), *calls])


def _shortened(text: str) -> str:
    lines = text.split("\n")
    if len(lines) <= MAX_RESULT_LINES:
        return text
    return "\n".join([*lines[:MAX_RESULT_LINES], f"… ({len(lines) - MAX_RESULT_LINES} more lines; an export has them)"])


def _calls(message: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and arguments of each tool call; what does not have the usual form is passed over."""
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list | tuple) else ():
        function = call.get("function") if isinstance(call, Mapping) else None
        if isinstance(function, Mapping):
            yield str(function.get("name", "?")), str(function.get("arguments", ""))


def _markdown(summary: SessionSummary, messages: Sequence[TranscriptMessage]) -> str:
    lines = [f"# {neutral(summary.entry.title or 'Untitled')}", ""]
    lines += [f"- {name}: {neutral(value)}" for name, value in facts(summary)]
    for each in messages:
        lines += ["", f"## {neutral(speaker(each.message))}, {local_time(each.time)}", ""]
        text = flatten_text(each.message.get("content"))
        if text:
            lines += [_fenced(text) if each.message.get("role") == "tool" else text]
        for name, arguments in _calls(each.message):
            lines += ["", f"Called `{neutral(name)}`:", "", _fenced(arguments)]
    return "\n".join(lines) + "\n"


def _fenced(text: str) -> str:
    """The text as a block of code, in a fence that does not stand in it."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}\n{text}\n{fence}"
