"""Owns the change of single keys in a configuration file: its comments, its order and everything else stay."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import yaml

from config.document import mask_references, read_document
from config.show import in_yaml
from config.tree import Entry, Leaf, Origin, Rank, Tree

Path: TypeAlias = tuple[str, ...]

_DORMANT: Final = re.compile(r"(?P<indent> *)#(?P<key>[A-Za-z0-9_-]+):(?: .*)?")
"""A key that is commented out, as in the file that `config init` writes: no space before its name."""

_REFERENCE: Final = re.compile(r"\$\{[^{}\n]*\}")
_STEP: Final = "  "


@dataclass(frozen=True, slots=True)
class Put:
    """The key is to have this value. A text may be a reference to the environment, written `${NAME}`."""

    value: str | bool


@dataclass(frozen=True, slots=True)
class Add:
    """The list under the key is to have these ids too."""

    values: tuple[str, ...]


Change: TypeAlias = Put | Add


class CannotEditError(Exception):
    """The file is written in a way that cannot be changed without touching the rest; `str()` is the key."""


def edited(text: str, changes: Mapping[Path, Change]) -> str:
    """The text with these keys changed and nothing else. A key that is commented out is used where it stands.

    Raises `CannotEditError`; then the text is left to its author.
    """
    crlf = "\r\n" in text
    lines = _Lines(text.replace("\r\n", "\n"))
    for path, change in changes.items():
        key = ".".join(path)
        before = _plain(lines.text, key)
        try:
            if isinstance(change, Add):
                lines.add(path, change.values)
            else:
                lines.put(path, written(change.value))
        except yaml.YAMLError as error:
            raise CannotEditError(key) from error
        if _plain(lines.text, key) != _expected(before, path, change):
            raise CannotEditError(key)
    return lines.text.replace("\n", "\r\n") if crlf else lines.text


def written(value: str | bool) -> str:
    """A value as the file has it; `$` is doubled but in a reference."""
    if isinstance(value, bool):
        return in_yaml(value)
    if _REFERENCE.fullmatch(value):
        return value
    return in_yaml(value.replace("$", "$$"))


def values_in(text: str) -> dict[Path, str]:
    """Every value of a file that can be read, by its path; the entries of a list have a number at the end."""
    return _plain(text, "")


def _expected(before: Mapping[Path, str], path: Path, change: Change) -> dict[Path, str]:
    if isinstance(change, Add):
        have = [value for key, value in before.items() if key[:-1] == path]
        new = [value for value in change.values if value not in have]
        return {**before, **{(*path, str(len(have) + n)): value for n, value in enumerate(new)}}
    kept = {key: value for key, value in before.items() if key[: len(path)] != path}
    value = change.value
    return kept | {path: in_yaml(value) if isinstance(value, bool) else value}


def _plain(text: str, key: str) -> dict[Path, str]:
    """What the file says, as flat data; a key without a value says nothing. Raises `CannotEditError`."""
    tree, problems = read_document(text, Origin(Rank.FILE, ""), lambda name: f"${{{name}}}")
    if problems:
        raise CannotEditError(key)
    return dict(_flat(tree, ()))


def _flat(tree: Tree, above: Path) -> Iterator[tuple[Path, str]]:
    for name, entry in tree.items():
        yield from _flat_entry(entry, (*above, name))


def _flat_entry(entry: Entry, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(entry.content, Leaf):
        if entry.content.text:
            yield path, entry.content.text
    elif isinstance(entry.content, Mapping):
        yield from _flat(entry.content, path)
    else:
        for number, below in enumerate(entry.content):
            yield from _flat_entry(below, (*path, str(number)))


class _Lines:
    """The text, and where its keys stand."""

    def __init__(self, text: str) -> None:
        self.text = text

    def put(self, path: Path, value: str) -> None:
        """Write a value under a key."""
        above, key = self._above(path)
        if key is None:
            self._new(path, above, f" {value}")
            return
        node = key[1]
        start, end = node.start_mark.index, node.end_mark.index
        if isinstance(node, yaml.ScalarNode) and start < end:
            end = start + len(self.text[start:end].rstrip())
            self._replace(start, end, value)
        elif isinstance(node, yaml.ScalarNode):
            self._replace(self._after_colon(key[0]), self._after_colon(key[0]), f" {value}")
        else:
            raise CannotEditError(".".join(path))

    def add(self, path: Path, values: Sequence[str]) -> None:
        """Add to a list of ids; those that it has are left out."""
        above, key = self._above(path)
        if key is None:
            self._new(path, above, f" {_flow(values)}")
            return
        node = key[1]
        if isinstance(node, yaml.SequenceNode):
            have = {str(item.value) for item in node.value}
            new = [value for value in values if value not in have]
            if new:
                self._extend(node, new)
        elif isinstance(node, yaml.ScalarNode) and node.start_mark.index == node.end_mark.index:
            self._replace(self._after_colon(key[0]), self._after_colon(key[0]), f" {_flow(values)}")
        else:
            raise CannotEditError(".".join(path))

    def _extend(self, node: yaml.SequenceNode, new: Sequence[str]) -> None:
        if node.flow_style:
            close = self.text.rindex("]", node.start_mark.index, node.end_mark.index)
            comma = ", " if node.value else ""
            self._replace(close, close, comma + ", ".join(written(value) for value in new))
            return
        last = node.value[-1]
        end = last.start_mark.index + len(self.text[last.start_mark.index : last.end_mark.index].rstrip())
        line_end = self.text.find("\n", end)
        line_end = len(self.text) if line_end < 0 else line_end
        dash = " " * node.start_mark.column
        self._replace(line_end, line_end, "".join(f"\n{dash}- {written(value)}" for value in new))

    # --- finding -------------------------------------------------------------------------------------------

    def _above(self, path: Path) -> tuple[_Section, tuple[yaml.ScalarNode, yaml.Node] | None]:
        """The section that a key belongs in, made where it is missing, and the key if it is there."""
        section = self._root()
        for depth in range(len(path) - 1):
            section = self._enter(path[: depth + 1], section)
        return section, section.find(path[-1])

    def _root(self) -> _Section:
        node = yaml.compose(mask_references(self.text), Loader=yaml.SafeLoader)
        if node is not None and not isinstance(node, yaml.MappingNode):
            raise CannotEditError("")
        if node is not None and node.flow_style:
            raise CannotEditError("")
        return _Section(node, 0, len(self.text.split("\n")), -1)

    def _enter(self, path: Path, above: _Section) -> _Section:
        found = above.find(path[-1])
        if found is None:
            self._new(path, above, "")
            return self._enter(path, self._again(path[:-1]))
        key, value = found
        line, column = key.start_mark.line, key.start_mark.column
        if isinstance(value, yaml.MappingNode) and value.flow_style and not value.value:
            self._replace(self._after_colon(key), value.end_mark.index, "")
            return self._enter(path, self._again(path[:-1]))
        node = value if isinstance(value, yaml.MappingNode) and not value.flow_style else None
        empty = isinstance(value, yaml.ScalarNode) and value.start_mark.index == value.end_mark.index
        if node is None and not empty:
            raise CannotEditError(".".join(path))
        return _Section(node, line + 1, self._end_of(line, column), column)

    def _again(self, path: Path) -> _Section:
        """The section at `path`, which is there, after a change of the text."""
        section = self._root()
        for depth in range(len(path)):
            section = self._enter(path[: depth + 1], section)
        return section

    def _end_of(self, line: int, column: int) -> int:
        """The line at which the section ends that a key on `line` opens: where a key no further right stands."""
        lines = self.text.split("\n")
        for number in range(line + 1, len(lines)):
            one = lines[number]
            dormant = _DORMANT.fullmatch(one)
            if dormant is None and (not one.strip() or one.lstrip().startswith("#")):
                continue
            if len(one) - len(one.lstrip(" ")) <= column:
                return number
        return len(lines)

    def _after_colon(self, key: yaml.ScalarNode) -> int:
        return self.text.index(":", key.end_mark.index) + 1

    # --- writing -------------------------------------------------------------------------------------------

    def _new(self, path: Path, above: _Section, value: str) -> None:
        """A key that is not there: where it is commented out, or after the last one of its section."""
        lines = self.text.split("\n")
        dormant = self._dormant(path[-1], above, lines)
        if dormant is not None:
            indent = lines[dormant][: len(lines[dormant]) - len(lines[dormant].lstrip(" "))]
            lines[dormant] = f"{indent}{path[-1]}:{value}"
        else:
            line = f"{above.indent(lines)}{path[-1]}:{value}"
            if above.column < 0:
                while lines and not lines[-1].strip():
                    lines.pop()
                lines += ["", line, ""] if lines else [line, ""]
            else:
                lines.insert(above.after_last(), line)
        self.text = "\n".join(lines)

    def _dormant(self, name: str, above: _Section, lines: Sequence[str]) -> int | None:
        indent = above.indent(lines)
        for number in range(above.start, above.end):
            match = _DORMANT.fullmatch(lines[number])
            if match and match["key"] == name and match["indent"] == indent:
                return number
        return None

    def _replace(self, start: int, end: int, new: str) -> None:
        self.text = f"{self.text[:start]}{new}{self.text[end:]}"


@dataclass(frozen=True, slots=True)
class _Section:
    """A mapping in the text: its lines from `start` to before `end`, and the column of its own key, -1 for all."""

    node: yaml.MappingNode | None
    start: int
    end: int
    column: int

    def find(self, name: str) -> tuple[yaml.ScalarNode, yaml.Node] | None:
        """Its key of this name."""
        pairs = self.node.value if self.node is not None else ()
        return next((pair for pair in pairs if isinstance(pair[0], yaml.ScalarNode) and pair[0].value == name), None)

    def after_last(self) -> int:
        """The line below its last key, in use; where it has none, below its own."""
        if self.node is None or not self.node.value:
            return self.start
        key, value = self.node.value[-1]
        while isinstance(value, yaml.CollectionNode) and not value.flow_style and value.value:
            last = value.value[-1]
            value = last[1] if isinstance(value, yaml.MappingNode) else last
        if isinstance(value, yaml.ScalarNode) and value.style in ("|", ">"):
            return self.start
        return int(max(key.end_mark.line, value.end_mark.line)) + 1

    def indent(self, lines: Sequence[str]) -> str:
        """How its keys are indented: as its first one is, in use or commented out."""
        if self.node is not None and self.node.value:
            return " " * int(self.node.value[0][0].start_mark.column)
        if self.column < 0:
            return ""
        found = (_DORMANT.fullmatch(line) for line in lines[self.start : self.end])
        widths = [len(match["indent"]) for match in found if match and len(match["indent"]) > self.column]
        return " " * min(widths) if widths else " " * self.column + _STEP


def _flow(values: Sequence[str]) -> str:
    return f"[{', '.join(written(value) for value in values)}]"
