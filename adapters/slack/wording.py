"""The text of a message as the agent reads it: what stands between angle brackets becomes words.

https://docs.slack.dev/messaging/formatting-message-text tells what there is.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

CONTROL: Final = re.compile(r"<([@#!]?)([^<>|\n]*)(?:\|([^<>\n]*))?>")

_AFTER_MENTION: Final = " \t\n,:;–—-"
"""What people write between a name that they call and what they want."""


@dataclass(frozen=True, slots=True)
class Account:
    """Our own account: the bot's user (`U…`), its bot (`B…`), and the workspace (`T…`)."""

    user_id: str
    bot_id: str
    team_id: str
    name: str = ""


def people_in(text: str) -> Iterator[str]:
    """The ids of the people who are mentioned."""
    return (found.group(2) for found in CONTROL.finditer(text) if found.group(1) == "@")


def channels_in(text: str) -> Iterator[str]:
    """The ids of the channels that are named without their name standing beside it."""
    return (found.group(2) for found in CONTROL.finditer(text) if found.group(1) == "#" and not found.group(3))


def called_first(text: str) -> str | None:
    """The id of the person whose mention the text begins with."""
    found = CONTROL.match(text.lstrip())
    return found.group(2) if found is not None and found.group(1) == "@" else None


def plain(text: str, name_of: Callable[[str], str | None]) -> str:
    """A text in words. `name_of` gives the name of a person or a channel, None where it is not known."""

    def worded(found: re.Match[str]) -> str:
        kind, target, label = found.groups()
        match kind:
            case "@":
                return f"@{name_of(target) or label or target}"
            case "#":
                return f"#{label or name_of(target) or target}"
            case "!":
                return _special(target, label)
        shown = unescaped(target)
        return shown if not label or _same(label, target) else f"{unescaped(label)} ({shown})"

    pieces, end = [], 0
    for found in CONTROL.finditer(text):
        pieces += [unescaped(text[end : found.start()]), worded(found)]
        end = found.end()
    return "".join([*pieces, unescaped(text[end:])])


def without_call(text: str, user_id: str) -> str:
    """The text without a mention of this person at its start."""
    found = CONTROL.match(text.lstrip())
    if found is None or found.group(1) != "@" or found.group(2) != user_id:
        return text
    return text.lstrip()[found.end() :].lstrip(_AFTER_MENTION)


def unescaped(text: str) -> str:
    """The three characters that Slack escapes."""
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _special(target: str, label: str | None) -> str:
    """A call of a whole channel, a group of people, or a date."""
    if label:
        return unescaped(label)
    return f"@{target.partition('^')[0]}"


def _same(label: str, target: str) -> bool:
    """Whether a label is only the address once more."""
    bare = target.removeprefix("mailto:").removeprefix("https://").removeprefix("http://").rstrip("/")
    return label.rstrip("/") in (bare, target.rstrip("/"))
