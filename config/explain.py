"""Owns the words for what the models refuse: each fault with its place, and what to write instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from config.errors import Problem
from config.fields import suggestion
from config.models import UNDEFINED_AGENT
from config.platform import nearest
from config.schema import ROOT, Shape, child, in_words, item, known_keys
from config.tree import Origin, Rank, Tree, dotted, find

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_UNKNOWN: Final = ("extra_forbidden", "unexpected_keyword_argument")
_NOT_A_SECTION: Final = (
    "section",
    "model_type",
    "model_attributes_type",
    "dataclass_type",
    "mapping_type",
    "dict_type",
)
_MESSAGES: Final[Mapping[str, str]] = {
    "missing": "is missing",
    "literal_error": "is none of the choices",
    "greater_than": "is too small",
    "greater_than_equal": "is too small",
    "less_than": "is too large",
    "less_than_equal": "is too large",
    "finite_number": "is not a finite number",
    "string_type": "is not text",
    "string_too_short": "is empty",
    "string_pattern_mismatch": "does not have the right form",
    "tuple_type": "is not a list",
    "url": "is not an address of this kind",
    "url_login": "holds a user or password",
    "url_query": "holds a query (?…) or a fragment (#…)",
}


def explain(error: ValidationError, plain: Mapping[str, Any], tree: Tree) -> list[Problem]:
    """Return the problems behind a pydantic error.

    Args:
        error: what the models refused.
        plain: the values that were validated.
        tree: where they were written.
    """
    faults = error.errors(include_url=False, include_input=False)
    # That `agent` names no agent is found before, where other faults do not hide it.
    return [_problem(fault, plain, tree) for fault in faults if fault["type"] != UNDEFINED_AGENT]


def _problem(fault: ErrorDetails, plain: Mapping[str, Any], tree: Tree) -> Problem:
    path = tuple(part for part in fault["loc"] if part != "[key]")
    parent, shape, value = _follow(path, plain)
    entry = find(tree, path)
    origin = entry.origin if entry is not None else Origin(Rank.DEFAULT)
    is_name = fault["loc"][-1:] == ("[key]",) and "hint" not in fault.get("ctx", {})
    if fault["type"] in _UNKNOWN or is_name:
        return origin.problem(dotted(path), "unknown key", _known(str(path[-1]), parent))
    message = _message(fault, shape)
    return origin.problem(dotted(path), message, _advice(fault, shape, value))


def _follow(path: tuple[str | int, ...], plain: Any) -> tuple[Shape, Shape, Any]:  # noqa: ANN401
    """Return the shape above `path`, the shape there, and the value there."""
    parent = shape = ROOT
    value: Any = plain
    for key in path:
        parent = shape
        if isinstance(key, int):
            value = value[key] if isinstance(value, list) and key < len(value) else None
            shape = item(shape)
        else:
            value = value.get(key) if isinstance(value, Mapping) else None
            below = child(shape, key, value if isinstance(value, Mapping) else None)
            shape = below or Shape(object, name=key)
    return parent, shape, value


def _known(key: str, parent: Shape) -> str:
    known = known_keys(parent)
    return suggestion(key, known) if known else "remove it"


def _message(fault: ErrorDetails, shape: Shape) -> str:
    kind = fault["type"]
    if kind in _NOT_A_SECTION:
        return "is not a section"
    if kind in _MESSAGES:
        return _MESSAGES[kind]
    if kind.startswith(("int_", "float_", "bool_", "number_")):
        return f"is not {_with_article(in_words(shape).split(',')[0])}"
    return fault["msg"].partition(": ")[0]


def _advice(fault: ErrorDetails, shape: Shape, value: object) -> str:
    kind, context = fault["type"], fault.get("ctx", {})
    if "hint" in context:
        return str(context["hint"])
    if kind in _NOT_A_SECTION:
        known = known_keys(shape)
        return f"write its keys below it, indented{': ' + ', '.join(known) if known else ''}"
    if kind == "literal_error":
        close = nearest(value, tuple(map(str, shape.args))) if isinstance(value, str) else None
        return f"did you mean {close!r}? Write {in_words(shape)}" if close else f"write {in_words(shape)}"
    if kind == "tuple_type":
        return "write a list: [first, second]"
    if kind in ("url_login", "url_query"):
        return "write the address without them"
    if kind == "url" and "wanted" in context:
        return f"write {context['wanted']}"
    if kind in ("missing", "string_pattern_mismatch") and shape.description:
        return f"write {shape.name}: {shape.description[0].lower()}{shape.description[1:].rstrip('.')}"
    return f"write {_with_article(in_words(shape))}"


def _with_article(words: str) -> str:
    if not words.startswith(("whole", "number", "secret", "section", "path", "web", "Web", "id", "list")):
        return words
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
