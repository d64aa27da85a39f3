"""Owns the reading of YAML: text into a tree of entries with their lines, and every fault in plain words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

import yaml

from config.errors import ConfigError, Problem
from config.tree import Entry, Leaf, Origin, Rank, Scalar, Tree, dotted

MAX_ENTRIES: Final = 20_000
"""How many entries a document may have, those that aliases repeat counted each time."""

MAX_DEPTH: Final = 50
"""How deep a document may be nested."""

_TAG: Final = "tag:yaml.org,2002:"
_MERGE: Final = f"{_TAG}merge"
_TEXT_TAGS: Final = frozenset(f"{_TAG}{name}" for name in ("str", "timestamp", "value", "binary"))
_TYPED_TAGS: Final = frozenset(f"{_TAG}{name}" for name in ("null", "bool", "int", "float"))

_REFERENCE: Final = re.compile(r"\$\{[^{}\n]*\}")
_SPECIAL: Final = "{}[],:#? "
_MASK: Final = {ord(letter): 0x10_0000 + ord(letter) for letter in _SPECIAL}
_UNMASK: Final = {masked: letter for letter, masked in _MASK.items()}

_SYNTAX: Final[tuple[tuple[str, str, str], ...]] = (
    (
        "mapping values are not allowed",
        "a ':' stands where no key can be",
        "put text with ': ' in it in quotes",
    ),
    ("found character '\\t'", "a tab stands in the indentation", "indent with spaces"),
    (
        "cannot start any token",
        "a value starts with a character that has a meaning",
        "put the value in quotes",
    ),
    ("scanning a quoted scalar", "a quote is opened and not closed", "close it"),
    ("could not find expected ':'", "a line has no ':' after its key", "write key: value"),
    (
        "parsing a flow",
        "a bracket or brace is not closed, or a comma is missing",
        "close it, or add the comma",
    ),
    ("parsing a block mapping", "the indentation does not fit", "indent keys of one section alike"),
    ("parsing a block collection", "the indentation does not fit", "indent the entries of one list alike"),
    ("expected a single document", "a second document begins", "keep one, without a line ---"),
    (
        "undefined alias",
        "a '*' refers to a name that no '&' defines",
        "put text that starts with * in quotes",
    ),
    ("scanning an alias", "a '*' stands without a name", "put text that starts with * in quotes"),
    ("scanning an anchor", "an '&' stands without a name", "put text that starts with & in quotes"),
    ("duplicate anchor", "a name is defined by two '&'", "give each a name of its own"),
)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, for composing nodes and typing scalars."""

    def resolve_plain(self, text: str) -> str:
        """Return the tag of a plain scalar."""
        return str(self.resolve(yaml.ScalarNode, text, (True, False)))  # type: ignore[no-untyped-call]

    def typed(self, node: yaml.ScalarNode) -> Scalar:
        """Return the value of a scalar as YAML types it; text if it is no valid value of that type."""
        if node.tag not in _TYPED_TAGS:
            return str(node.value)
        try:
            value: object = self.construct_object(node)
        except (ValueError, OverflowError, KeyError, yaml.YAMLError):
            return str(node.value)
        return value if isinstance(value, bool | int | float | None) else str(node.value)


@dataclass(frozen=True, slots=True)
class _Source:
    """One text to read: how its places are named, and what its references stand for."""

    origin: Origin
    look_up: Callable[[str], str | None] | None = None
    problems: list[Problem] = field(default_factory=list)
    masked: bool = False

    def at(self, node: yaml.Node) -> Origin:
        """Return the place of a node."""
        if self.origin.rank is not Rank.FILE:
            return self.origin
        return replace(self.origin, line=node.start_mark.line + 1)

    def text(self, node: yaml.ScalarNode) -> str:
        """Return what a scalar says, letter by letter."""
        return str(node.value).translate(_UNMASK) if self.masked else str(node.value)

    def report(self, node: yaml.Node, path: tuple[str | int, ...], message: str, advice: str) -> None:
        """Note a problem at a node."""
        self.problems.append(self.at(node).problem(dotted(path), message, advice))


def read_document(
    text: str, origin: Origin, look_up: Callable[[str], str | None] | None = None
) -> tuple[Tree, tuple[Problem, ...]]:
    """Return the tree of a YAML document, and the problems found in it.

    Args:
        text: the document.
        origin: names the file in problems; lines are added.
        look_up: value of an environment variable for `${NAME}`; without it, references stay as they are.
    """
    entry, problems = read_value(text, origin, look_up)
    if entry is None or entry.is_null:
        return {}, problems
    if isinstance(entry.content, dict):
        return entry.content, problems
    fault = entry.origin.problem("", "the file holds no keys", "write lines like timezone: Europe/Berlin")
    return {}, (*problems, fault)


def read_value(
    text: str, origin: Origin, look_up: Callable[[str], str | None] | None = None, path: tuple[str, ...] = ()
) -> tuple[Entry | None, tuple[Problem, ...]]:
    """Return the entry that a YAML text holds, None if it is empty or broken, and its problems."""
    masked = mask_references(text) if look_up else text
    source = _Source(origin, look_up, masked=masked != text)
    try:
        loader = _Loader(masked)
        node = loader.get_single_node()
    except yaml.YAMLError as error:
        return None, (_syntax_problem(error, text, origin, dotted(path)),)
    except RecursionError:
        return None, (origin.problem(dotted(path), "is nested too deep", "write fewer brackets"),)
    if node is None:
        return None, ()
    try:
        entry = _Builder(loader, source).build(node, path)
    except ConfigError as error:
        return None, error.problems
    return entry, tuple(source.problems)


def mask_references(text: str) -> str:
    """Hide what YAML would read inside of `${…}`, letter for letter, so that places stay right.

    Without this a reference could not stand in a flow mapping, where braces and commas have a meaning.
    """
    if any(chr(masked) in text for masked in _UNMASK):
        return text
    return _REFERENCE.sub(lambda found: found[0].translate(_MASK), text)


class _Builder:
    """Turns composed nodes into entries."""

    def __init__(self, loader: _Loader, source: _Source) -> None:
        self._loader = loader
        self._source = source
        self._entries = 0

    def build(self, node: yaml.Node, path: tuple[str | int, ...]) -> Entry:
        """Return the entry of a node.

        Raises:
            ConfigError: the document is too large or too deep, or contains itself.
        """
        self._entries += 1
        if self._entries > MAX_ENTRIES or len(path) > MAX_DEPTH:
            place = self._source.at(node)
            raise ConfigError(
                [place.problem("", "the document is too large or nested too deep", "remove aliases (*name)")]
            )
        origin = self._source.at(node)
        if isinstance(node, yaml.MappingNode):
            return Entry(self._mapping(node, path), origin)
        if isinstance(node, yaml.SequenceNode):
            return Entry([self.build(below, (*path, n)) for n, below in enumerate(node.value)], origin)
        assert isinstance(node, yaml.ScalarNode)
        return Entry(self._scalar(node, path), origin)

    def _mapping(self, node: yaml.MappingNode, path: tuple[str | int, ...]) -> dict[str, Entry]:
        own: dict[str, Entry] = {}
        inherited: dict[str, Entry] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                inherited = self._inherited(value_node, path) | inherited
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                self._source.report(key_node, path, "a key is not text", "write key: value")
                continue
            key = self._source.text(key_node)
            if key in own:
                self._source.report(
                    key_node, (*path, key), f"is written twice, first {_where(own[key])}", "keep one of them"
                )
            entry = self.build(value_node, (*path, key))
            own[key] = Entry(entry.content, self._source.at(key_node))
        return inherited | own

    def _inherited(self, node: yaml.Node, path: tuple[str | int, ...]) -> dict[str, Entry]:
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        result: dict[str, Entry] = {}
        for below in nodes:
            if not isinstance(below, yaml.MappingNode):
                self._source.report(below, path, "'<<' does not name a section", "write <<: *name")
                continue
            entry = self.build(below, (*path, "<<"))
            assert isinstance(entry.content, dict)
            result = entry.content | result
        return result

    def _scalar(self, node: yaml.ScalarNode, path: tuple[str | int, ...]) -> Leaf:
        if node.tag not in _TEXT_TAGS | _TYPED_TAGS | {_MERGE}:
            self._source.report(node, path, "has a type (!…) that means nothing here", "remove the type")
        text = self._source.text(node)
        if self._source.look_up is None or "$" not in text:
            return Leaf(self._loader.typed(node), text)
        return self._expand(node, text, path, self._source.look_up)

    def _expand(
        self,
        node: yaml.ScalarNode,
        text: str,
        path: tuple[str | int, ...],
        look_up: Callable[[str], str | None],
    ) -> Leaf:
        parts = list(_references(text))
        out: list[str] = []
        unset: str | None = None
        for literal, name, default in parts:
            out.append(literal)
            if name is None:
                continue
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                self._source.report(
                    node,
                    path,
                    "has a '${' that is not a reference",
                    "write ${NAME} or ${NAME:-default}, or $${ for the characters themselves",
                )
                continue
            value = look_up(name)
            if default is not None:
                value = value or default
            if value is None:
                unset = unset or name
            out.append(value or "")
        result = "".join(out)
        if unset is not None:
            return Leaf(None, "", unset)
        single = len(parts) == 1 and parts[0][0] == "" and parts[0][1] is not None
        return Leaf(_typed_text(result) if single else result, result)


def _typed_text(text: str) -> Scalar:
    """Type a text as YAML types a plain scalar."""
    loader = _Loader("")
    return loader.typed(yaml.ScalarNode(loader.resolve_plain(text), text)) if text else None


def _references(text: str) -> Iterator[tuple[str, str | None, str | None]]:
    """Yield literal text, then the name and default of the reference after it; both None at the end.

    `$$` stands for a single `$`. A `${` without an end is yielded as a reference with an empty name.
    """
    literal = ""
    place = 0
    while place < len(text):
        if text.startswith("$$", place):
            literal += "$"
            place += 2
        elif text.startswith("${", place):
            end = text.find("}", place)
            if end < 0:
                yield literal, "", None
                return
            name, colon, default = text[place + 2 : end].partition(":-")
            yield literal, name, default if colon else None
            literal = ""
            place = end + 1
        else:
            literal += text[place]
            place += 1
    if literal:
        yield literal, None, None


def _where(entry: Entry) -> str:
    return f"on line {entry.origin.line}" if entry.origin.line else "before"


def _syntax_problem(error: yaml.YAMLError, text: str, origin: Origin, key: str) -> Problem:
    line, column = _mark(error, text)
    said = f"{getattr(error, 'context', '')} {getattr(error, 'problem', '')}"
    message, advice = next(
        ((message, advice) for part, message, advice in _SYNTAX if part in said),
        ("this is not valid YAML", "write key: value lines, indented with spaces"),
    )
    if isinstance(error, yaml.reader.ReaderError):
        message, advice = (
            "a character stands here that no text file has",
            "remove it, or save the file as UTF-8",
        )
    if origin.rank is not Rank.FILE:
        return origin.problem(key, message, advice)
    return replace(origin, line=line).problem(key, f"{message} (column {column})", advice)


def _mark(error: yaml.YAMLError, text: str) -> tuple[int, int]:
    """Return line and column of a syntax error, both from 1."""
    if isinstance(error, yaml.MarkedYAMLError):
        # An unclosed quote or bracket is noticed at the end of the text; where it was opened helps more.
        opened = error.context is not None and ("quoted" in error.context or "flow" in error.context)
        mark = (error.context_mark if opened else None) or error.problem_mark or error.context_mark
        if mark is not None:
            return mark.line + 1, mark.column + 1
    if isinstance(error, yaml.reader.ReaderError):
        before = text[: error.position]
        return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
    return 1, 1
