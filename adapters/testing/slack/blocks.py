"""Block Kit: which blocks Slack takes, what people see of them, and what can be pressed.

The limits are those of https://docs.slack.dev/reference/block-kit/blocks, composition-objects and block-elements.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from adapters.testing.slack.accounts import Json
from adapters.testing.slack.errors import ApiError
from adapters.testing.slack.text import MAX_MARKDOWN, displayed, linked, mentions

MAX_BLOCKS: Final = 50
MAX_VIEW_BLOCKS: Final = 100
MAX_SECTION: Final = 3_000
MAX_FIELD: Final = 2_000
MAX_FIELDS: Final = 10
MAX_HEADER: Final = 150
MAX_ELEMENTS: Final = 25
MAX_CONTEXT: Final = 10
MAX_ID: Final = 255
MAX_BUTTON: Final = 75
MAX_VALUE: Final = 2_000
MAX_OPTIONS: Final = 100
MAX_OPTION: Final = 75
MAX_OPTION_VALUE: Final = 150
MAX_PLACEHOLDER: Final = 150

UNCHECKED: Final = frozenset({"call", "divider", "file", "plan", "rich_text", "table", "task_card", "video", "input"})
"""Kinds whose content is taken as it is."""
SELECTS: Final = frozenset({"static_select", "multi_static_select", "radio_buttons", "checkboxes", "overflow"})
OPEN_SELECTS: Final = frozenset(
    {"users_select", "conversations_select", "channels_select", "external_select", "datepicker", "timepicker"}
)
FEEDBACK: Final = frozenset({"feedback_buttons", "icon_button"})


@dataclass(slots=True)
class Checker:
    """Collects what is wrong with blocks, each with a pointer to where."""

    problems: list[str]
    ids: set[str]

    def wrong(self, what: str, where: str) -> None:
        """Note a problem."""
        self.problems.append(f"[ERROR] {what} [json-pointer:{where}]")

    def text(self, value: object, where: str, limit: int, *, plain: bool = False) -> None:
        """A text object, with text."""
        if not isinstance(value, dict) or value.get("type") not in {"plain_text", "mrkdwn"}:
            self.wrong("missing required field: text", where)
            return
        if plain and value["type"] != "plain_text":
            self.wrong("unsupported type: mrkdwn", f"{where}/type")
        self.words(value.get("text"), f"{where}/text", limit)

    def words(self, value: object, where: str, limit: int) -> None:
        """A string with something in it."""
        if not isinstance(value, str) or not value:
            self.wrong("must be more than 0 characters", where)
        elif len(value) > limit:
            self.wrong(f"must be less than {limit + 1} characters", where)

    def items(self, value: object, where: str, limit: int) -> list[Any]:
        """A list with something in it."""
        if not isinstance(value, list) or not value:
            self.wrong("no less than 1 items allowed", where)
            return []
        if len(value) > limit:
            self.wrong(f"no more than {limit} items allowed", where)
        return value

    def identity(self, value: object, where: str) -> None:
        """An id, which may be missing, and which no other block has."""
        if value is None:
            return
        self.words(value, where, MAX_ID)
        if str(value) in self.ids:
            self.wrong(f"block_id already exists: {value}", where)
        self.ids.add(str(value))


def check_blocks(value: object, *, limit: int = MAX_BLOCKS, error: str = "invalid_blocks") -> tuple[Json, ...]:
    """The blocks with an id each, as Slack keeps them. Raises `ApiError`."""
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise ApiError("invalid_blocks_format")
    checker = Checker([], set())
    if len(value) > limit:
        checker.wrong(f"no more than {limit} items allowed", "/blocks")
    for number, block in enumerate(value):
        _check(checker, block, f"/blocks/{number}")
    if checker.problems:
        raise ApiError(error, messages=checker.problems)
    if sum(len(each["text"]) for each in value if each["type"] == "markdown") > MAX_MARKDOWN:
        raise ApiError("msg_blocks_too_long")
    return tuple({"block_id": f"b{number}"} | _with_action_ids(block) for number, block in enumerate(value))


def _check(checker: Checker, block: Json, where: str) -> None:
    checker.identity(block.get("block_id"), f"{where}/block_id")
    kind = block.get("type")
    if isinstance(kind, str) and kind in CHECKS:
        CHECKS[kind](checker, block, where)
    elif kind not in UNCHECKED:
        checker.wrong(f"unsupported type: {kind}", f"{where}/type")


def _section(checker: Checker, block: Json, where: str) -> None:
    if block.get("text") is None and block.get("fields") is None:
        checker.wrong("missing required field: text", where)
    if block.get("text") is not None:
        checker.text(block["text"], f"{where}/text", MAX_SECTION)
    if block.get("fields") is not None:
        for number, each in enumerate(checker.items(block["fields"], f"{where}/fields", MAX_FIELDS)):
            checker.text(each, f"{where}/fields/{number}", MAX_FIELD)
    if block.get("accessory") is not None:
        _element(checker, block["accessory"], f"{where}/accessory")


def _header(checker: Checker, block: Json, where: str) -> None:
    checker.text(block.get("text"), f"{where}/text", MAX_HEADER, plain=True)


def _markdown(checker: Checker, block: Json, where: str) -> None:
    if not isinstance(block.get("text"), str) or not block["text"]:
        checker.wrong("missing required field: text", f"{where}/text")


def _context(checker: Checker, block: Json, where: str) -> None:
    for number, each in enumerate(checker.items(block.get("elements"), f"{where}/elements", MAX_CONTEXT)):
        if not isinstance(each, dict) or each.get("type") != "image":
            checker.text(each, f"{where}/elements/{number}", MAX_FIELD)


def _image(checker: Checker, block: Json, where: str) -> None:
    checker.words(block.get("alt_text"), f"{where}/alt_text", MAX_FIELD)


def _actions(checker: Checker, block: Json, where: str) -> None:
    for number, each in enumerate(checker.items(block.get("elements"), f"{where}/elements", MAX_ELEMENTS)):
        _element(checker, each, f"{where}/elements/{number}")


CHECKS: Final[dict[str, Callable[[Checker, Json, str], None]]] = {
    "section": _section,
    "header": _header,
    "markdown": _markdown,
    "context": _context,
    "image": _image,
    "actions": _actions,
    "context_actions": _actions,
}


def _element(checker: Checker, element: object, where: str) -> None:
    if not isinstance(element, dict):
        checker.wrong("must be an object", where)
        return
    kind = element.get("type")
    if element.get("action_id") is not None:
        checker.words(element["action_id"], f"{where}/action_id", MAX_ID)
    if kind == "button":
        checker.text(element.get("text"), f"{where}/text", MAX_BUTTON, plain=True)
        if element.get("value") is not None:
            checker.words(element["value"], f"{where}/value", MAX_VALUE)
        if element.get("style") not in {None, "primary", "danger"}:
            checker.wrong("invalid value: style", f"{where}/style")
    elif kind in SELECTS:
        _options(checker, element, where)
    elif kind not in OPEN_SELECTS | FEEDBACK | {"image", "workflow_button"}:
        checker.wrong(f"unsupported type: {kind}", f"{where}/type")


def _options(checker: Checker, element: Json, where: str) -> None:
    if element.get("placeholder") is not None:
        checker.text(element["placeholder"], f"{where}/placeholder", MAX_PLACEHOLDER, plain=True)
    for group in element.get("option_groups") or [element]:
        for number, each in enumerate(checker.items(group.get("options"), f"{where}/options", MAX_OPTIONS)):
            place = f"{where}/options/{number}"
            checker.text(each.get("text") if isinstance(each, dict) else None, f"{place}/text", MAX_OPTION)
            checker.words(each.get("value") if isinstance(each, dict) else None, f"{place}/value", MAX_OPTION_VALUE)


def _with_action_ids(block: Json) -> Json:
    """Elements without an action id get one (https://docs.slack.dev/reference/block-kit/block-elements)."""
    if block["type"] in {"actions", "context_actions"}:
        return block | {"elements": [{"action_id": f"a{index}"} | each for index, each in enumerate(block["elements"])]}
    if isinstance(block.get("accessory"), dict):
        return block | {"accessory": {"action_id": "a0"} | block["accessory"]}
    return block


def elements(blocks: tuple[Json, ...]) -> Iterator[tuple[Json, Json]]:
    """Everything in blocks that a person can use, each with its block."""
    for block in blocks:
        inside = block.get("elements", []) if block["type"] in {"actions", "context_actions"} else []
        for element in [*inside, block.get("accessory")]:
            if isinstance(element, dict) and element.get("type") != "image":
                yield block, element


def options(element: Json) -> Iterator[Json]:
    """What can be selected in an element."""
    for group in element.get("option_groups") or [element]:
        yield from group.get("options", [])


def shown_blocks(blocks: tuple[Json, ...], names: Callable[[str], str]) -> str:
    """What people read in blocks, a line each; what can be used is in square brackets. A markdown block is shown as
    it was written."""
    lines = [displayed(text, names) if parsed else text for text, parsed in texts(blocks)]
    labels = [_label(element) for _, element in elements(blocks)]
    return "\n".join([*lines, *(f"[{label}]" for label in labels)])


def block_mentions(blocks: tuple[Json, ...]) -> tuple[str, ...]:
    """Whom blocks notify."""
    found = [each for text, parsed in texts(blocks) if parsed for each in mentions(text)]
    found += [each for block in blocks if block["type"] == "markdown" for each in mentions(block["text"])]
    for block in blocks:
        if block["type"] == "rich_text":
            found += _rich_mentions(block)
    return tuple(found)


def texts(blocks: tuple[Json, ...]) -> Iterator[tuple[str, bool]]:
    """The texts in blocks, each with whether it is parsed for mentions and links."""
    for block in blocks:
        if block["type"] == "markdown":
            yield block["text"], False
        elif block["type"] == "rich_text":
            yield _rich_text(block), False
        parts = [block.get("text"), *(block.get("fields") or [])]
        parts += block.get("elements", []) if block["type"] == "context" else []
        for part in parts:
            if isinstance(part, dict) and isinstance(part.get("text"), str):
                parsed = part.get("type") == "mrkdwn"
                yield linked(part["text"]) if parsed and not part.get("verbatim") else part["text"], parsed


def _label(element: Json) -> str:
    text = element.get("text") or element.get("placeholder") or {}
    return str(text.get("text", element["type"]))


def _rich_parts(node: object) -> Iterator[Json]:
    if isinstance(node, dict):
        if "elements" in node:
            for each in node["elements"]:
                yield from _rich_parts(each)
        else:
            yield node


def _rich_text(block: Json) -> str:
    words = {"user": "user_id", "channel": "channel_id", "broadcast": "range", "usergroup": "usergroup_id"}
    parts = []
    for part in _rich_parts(block):
        kind = str(part.get("type"))
        parts.append(f"@{part.get(words[kind])}" if kind in words else str(part.get("text") or part.get("url") or ""))
    return "".join(parts)


def _rich_mentions(block: Json) -> list[str]:
    keys = {"user": "user_id", "broadcast": "range", "usergroup": "usergroup_id"}
    kinds = [(str(part.get("type")), part) for part in _rich_parts(block)]
    return [str(part.get(keys[kind])) for kind, part in kinds if kind in keys]
