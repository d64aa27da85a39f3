"""Text as Slack keeps it: escapes, mentions and links, and how people see it.

The rules are those of https://docs.slack.dev/messaging/formatting-message-text.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

from adapters.testing.slack.accounts import Json

MAX_TEXT: Final = 40_000
"""Characters of a message; what is beyond is cut off (https://docs.slack.dev/reference/methods/chat.postMessage)."""
ADVISED_TEXT: Final = 4_000
"""Characters up to which Slack advises to keep a message; more than that cannot be set by chat.update
(https://docs.slack.dev/reference/methods/chat.update)."""
MAX_MARKDOWN: Final = 12_000
"""Characters of `markdown_text`, of one piece of a stream, and of all markdown blocks of a message together
(https://docs.slack.dev/reference/block-kit/blocks/markdown-block)."""
EVERYONE: Final = frozenset({"channel", "here", "everyone"})
"""The calls that notify a whole channel."""

CONTROL = re.compile(r"<([@#!]?)([^<>|\n]*)(?:\|([^<>\n]*))?>")
"""What stands between raw angle brackets is a mention, a channel, a call or a link."""
TYPED = re.compile(r"https?://[^\s<>]+|@[\w.\-]+|#[\w\-]+")
CALL = re.compile(r"(?<![\w<&])@(channel|everyone|here)\b")
ENTITIES = (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&"))


def escape(text: str) -> str:
    """Replace the three characters that control parsing, and no others."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def unescape(text: str) -> str:
    """What an escaped text shows; anything else that looks like an entity stays as it is."""
    for entity, character in ENTITIES:
        text = text.replace(entity, character)
    return text


def mentions(text: str) -> tuple[str, ...]:
    """Whom a text notifies, in order and as often as it does: ids of users and user groups, `channel`, `here`,
    `everyone`. Quotes and code do not keep a mention from being one."""
    found = (_mentioned(match) for match in CONTROL.finditer(text))
    return tuple(each for each in found if each is not None)


def linked(text: str) -> str:
    """What Slack makes by itself of a text in a block that is not `verbatim`: calls of a channel, too. Which mentions
    are "automatically parsed" is not documented
    (https://docs.slack.dev/reference/block-kit/composition-objects/text-object); here it is those that call the most.
    """
    return CALL.sub(r"<!\1>", text)


def displayed(text: str, names: Callable[[str], str]) -> str:
    """A text as people read it. `names` gives what an id of a user or channel is shown as."""

    def shown(match: re.Match[str]) -> str:
        kind, target, label = match.groups()
        if kind == "@":
            return f"@{names(target)}"
        if kind == "#":
            return f"#{label or names(target)}"
        if kind == "!":
            who = _mentioned(match)
            return f"@{who}" if who is not None else (label or target)
        return label or target

    pieces, end = [], 0
    for match in CONTROL.finditer(text):
        pieces += [text[end : match.start()], shown(match)]
        end = match.end()
    return unescape("".join([*pieces, text[end:]]))


def typed(text: str, users: Mapping[str, str], channels: Mapping[str, str]) -> str:
    """The text that the app of a person sends: `@name` of a known user, calls of a channel, `#channel` and addresses
    become what stands between angle brackets, and everything else is escaped. The maps give ids by names."""

    def encoded(word: str) -> str:
        name, tail = word[1:], ""
        if word.startswith("http"):
            return f"<{escape(word)}>"
        while name and name not in {*users, *channels, *EVERYONE} and name[-1] in ".-_":
            name, tail = name[:-1], name[-1] + tail
        if word[0] == "#" and name in channels:
            return f"<#{channels[name]}|{name}>{tail}"
        if word[0] == "@" and name in EVERYONE:
            return f"<!{name}>{tail}"
        if word[0] == "@" and name in users:
            return f"<@{users[name]}>{tail}"
        return escape(word)

    pieces, end = [], 0
    for match in TYPED.finditer(text):
        pieces += [escape(text[end : match.start()]), encoded(match.group())]
        end = match.end()
    return "".join([*pieces, escape(text[end:])])


def rich_text(text: str) -> Json:
    """The block that comes with a person's message (https://docs.slack.dev/reference/block-kit/blocks/rich-text-block),
    with one section, whatever the text looks like."""
    elements: list[Json] = []
    end = 0
    for match in CONTROL.finditer(text):
        elements += [_words(text[end : match.start()]), _element(match)]
        end = match.end()
    elements.append(_words(text[end:]))
    section = {"type": "rich_text_section", "elements": [each for each in elements if each.get("text") != ""]}
    return {"type": "rich_text", "block_id": "rich", "elements": [section]}


def _words(text: str) -> Json:
    return {"type": "text", "text": unescape(text)}


def _element(match: re.Match[str]) -> Json:
    kind, target, label = match.groups()
    who = _mentioned(match)
    if who is not None and who in EVERYONE:
        return {"type": "broadcast", "range": who}
    if kind == "@":
        return {"type": "user", "user_id": target}
    if kind == "#":
        return {"type": "channel", "channel_id": target}
    if kind == "!":
        return _words(label or target) if who is None else {"type": "usergroup", "usergroup_id": who}
    link: Json = {"type": "link", "url": unescape(target)}
    return link | ({"text": unescape(label)} if label else {})


def _mentioned(match: re.Match[str]) -> str | None:
    kind, target, _ = match.groups()
    if kind == "@":
        return target or None
    if kind == "!" and target in EVERYONE:
        return target
    if kind == "!" and target.startswith("subteam^"):
        return target.removeprefix("subteam^")
    return None
