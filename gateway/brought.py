"""What a program brings with its message: where it belongs in a prompt, and which of its tools it is asked to run."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from gateway.ports import Brought, Call, ClientTool, Message

STRAY: Final = "these are results of calls that the session does not have"
"""Why a turn failed that had nothing to answer but results, see `are_stray_results`."""


def brought_from(values: Mapping[str, Any]) -> Brought:
    """What `dataclasses.asdict` made of it. Raises ValueError, KeyError and TypeError for anything else."""
    return Brought(
        messages=tuple(values.get("messages", ())),
        instructions=values.get("instructions"),
        tools=tuple(ClientTool(**tool) for tool in values.get("tools", ())),
        agent=values.get("agent"),
    )


def newest_exchange(messages: Sequence[Message]) -> int:
    """Where the newest part of a conversation begins: what is to be answered now, and cannot be left out.

    That is the last message of a person; or, where results of tools come last, the step that asked for them.
    """
    for number in range(len(messages) - 1, -1, -1):
        role = messages[number].get("role")
        if role == "user" or (role == "assistant" and messages[number].get("tool_calls")):
            return number
    return 0


def open_calls(messages: Sequence[Message]) -> tuple[Call, ...]:
    """The calls of the last step that have no result: those of tools that the program is to run."""
    answered: set[str] = set()
    for message in reversed(messages):
        if message.get("role") == "tool":
            answered.add(str(message.get("tool_call_id")))
        elif message.get("role") == "assistant":
            calls = message.get("tool_calls") or ()
            return tuple(_call(call) for call in calls if str(call.get("id")) not in answered)
        else:
            break
    return ()


def are_stray_results(messages: Sequence[Message]) -> bool:
    """Whether what is to be answered are results of tools alone, and of no call that the last step made: the session
    was begun anew, say, while the program ran its tool."""
    results: set[str] = set()
    for message in reversed(messages):
        if message.get("role") != "tool":
            made = message.get("tool_calls") or () if message.get("role") == "assistant" else ()
            return bool(results) and results.isdisjoint(str(call.get("id")) for call in made)
        results.add(str(message.get("tool_call_id")))
    return bool(results)


def split_calls(calls: Iterable[Call], tools: Iterable[ClientTool]) -> tuple[tuple[Call, ...], tuple[Call, ...]]:
    """The calls that the gateway runs, and those that the program does."""
    theirs = {tool.name for tool in tools}
    calls = tuple(calls)
    own = tuple(call for call in calls if call.name not in theirs)
    return own, tuple(call for call in calls if call.name in theirs)


def _call(call: Mapping[str, Any]) -> Call:
    function = call.get("function") or {}
    return Call(str(call.get("id")), str(function.get("name")), str(function.get("arguments") or "{}"))
