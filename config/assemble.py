"""Owns the step from a tree of entries to plain values: types, unset references, files of secrets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from config.agents import IMPLICIT_AGENTS, AgentConfig
from config.environment import customary_of, variable_of
from config.errors import Problem
from config.fields import suggestion
from config.platforms import PlatformConfig, platform_model
from config.schema import FILE_SUFFIX, ROOT, Shape, child, fields_of, item, shape_of
from config.tree import Entry, Leaf, Rank, Tree, dotted

MAX_SECRET_BYTES: Final = 65_536
"""Largest file that is taken for a secret's."""

_OFF: Final = frozenset({"false", "no", "off", "n", "f", "0"})


class Assembler:
    """Turns a merged tree into what the models validate; `problems` holds what it could not.

    `files` holds the files of secrets that were read or looked for.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.files: list[Path] = []

    def assemble(self, tree: Tree) -> dict[str, Any]:
        """Return the plain values of the whole configuration."""
        plain = self._keys(tree, ROOT, (), lenient=False)
        self._check_credentials(tree, plain)
        self._check_agent(tree, plain)
        return plain

    def _keys(self, tree: Tree, shape: Shape, path: tuple[str | int, ...], *, lenient: bool) -> dict[str, Any]:
        lenient = lenient or (_is_platform(shape) and is_off(tree))
        result: dict[str, Any] = {}
        for key, entry in tree.items():
            below = child(shape, key, _texts(entry))
            if below is None:
                # Kept, even without a value, for the models to refuse.
                result[key] = self._value(entry, Shape(object, name=key), (*path, key), lenient=True)
                continue
            value = self._value(entry, below, (*path, key), lenient=lenient)
            if value is not None:
                result[key] = value
        if shape.is_section:
            self._read_secrets(tree, shape, path, result, lenient=lenient)
        return result

    def _value(self, entry: Entry, shape: Shape, path: tuple[str | int, ...], *, lenient: bool) -> Any:  # noqa: ANN401
        """Return the plain value of an entry, or None if it counts as left out."""
        content = entry.content
        if isinstance(content, Mapping):
            return self._keys(content, shape, path, lenient=lenient)
        if isinstance(content, Leaf):
            return self._leaf(entry, content, shape, path, lenient=lenient)
        entries = (self._value(e, item(shape), (*path, n), lenient=lenient) for n, e in enumerate(content))
        return list(entries)

    def _leaf(self, entry: Entry, leaf: Leaf, shape: Shape, path: tuple[str | int, ...], *, lenient: bool) -> Any:  # noqa: ANN401
        if leaf.unset is not None:
            if not shape.is_secret and not lenient:
                self._report_unset(entry, leaf.unset, path)
            return None
        if leaf.value is None:
            return {} if _is_platform(shape) or _is_agent(shape) else None
        if shape.is_secret:
            return self._secret(entry, leaf.text.strip(), path, lenient=lenient)
        return leaf.text if shape.is_text else leaf.value

    def _secret(self, entry: Entry, text: str, path: tuple[str | int, ...], *, lenient: bool) -> str | None:
        """Return a secret, or None for an empty one. Bytes that are no text come as characters that have no bytes."""
        try:
            text.encode()
        except UnicodeEncodeError:
            if not lenient:
                advice = "write it anew; its letters, digits and marks are UTF-8"
                self.problems.append(entry.origin.problem(dotted(path), "is not UTF-8 text", advice))
            return None
        return text or None

    def _report_unset(self, entry: Entry, name: str, path: tuple[str | int, ...]) -> None:
        message = f"the environment variable {name} is not set"
        advice = f"set it, or write a default: ${{{name}:-…}}"
        self.problems.append(entry.origin.problem(dotted(path), message, advice))

    def _read_secrets(
        self,
        tree: Tree,
        shape: Shape,
        path: tuple[str | int, ...],
        result: dict[str, Any],
        *,
        lenient: bool,
    ) -> None:
        """Fill in the secrets that files hold: `token` from `token_file`."""
        for name, info in fields_of(shape.type).items():
            file_key = name + FILE_SUFFIX
            if not shape_of(info.annotation, info, name).is_secret or not result.get(file_key):
                continue
            of_file = tree[file_key].origin
            of_value = tree[name].origin if name in result else None
            if of_value is not None and of_value.rank > of_file.rank:
                continue
            if of_value is not None and of_value.rank == of_file.rank:
                message = f"stands beside {file_key}"
                self.problems.append(of_value.problem(dotted((*path, name)), message, "keep one of them"))
                continue
            secret = self._read_secret(tree[file_key], str(result[file_key]), (*path, file_key), lenient=lenient)
            if secret:
                result[name] = secret

    def _read_secret(self, entry: Entry, named: str, path: tuple[str | int, ...], *, lenient: bool) -> str | None:
        file = Path(named)
        try:
            file = file.expanduser()
            if entry.origin.rank is Rank.FILE:
                file = Path(entry.origin.name).parent / file
            self.files.append(file)
            with file.open("rb") as stream:
                secret = stream.read(MAX_SECRET_BYTES + 1)
            if len(secret) > MAX_SECRET_BYTES:
                raise ValueError("is larger than any secret")
            text = secret.decode("utf-8-sig").strip()
            if not text:
                raise ValueError("is empty")
        except FileNotFoundError:
            fault = "does not exist"
        except OSError as error:
            fault = f"cannot be read ({error.strerror})"
        except UnicodeDecodeError:
            fault = "is not UTF-8 text"
        except (ValueError, RuntimeError) as error:
            fault = str(error)
        else:
            return text
        if not lenient:
            advice = "write the path of a file that holds the secret and nothing else"
            self.problems.append(entry.origin.problem(dotted(path), f"the file {named} {fault}", advice))
        return None

    def _check_credentials(self, tree: Tree, plain: Mapping[str, Any]) -> None:
        """Report each platform that is on and lacks what it needs to connect."""
        written = tree.get("platforms")
        sections = plain.get("platforms")
        if written is None or not isinstance(sections, Mapping) or not isinstance(written.content, Mapping):
            return
        platforms = shape_of(ROOT.type.model_fields["platforms"].annotation, name="platforms")
        for name, section in sections.items():
            shape = child(platforms, name)
            entry = written.content[name]
            if shape is None or not isinstance(section, Mapping) or is_off(_tree(entry)):
                continue
            for key in shape.type.required(section):
                if key not in section:
                    self._report_missing(entry, ("platforms", name, key))

    def _check_agent(self, tree: Tree, plain: Mapping[str, Any]) -> None:
        """Report an `agent` without a definition, even where another agent's definition is wrong."""
        name, agents = plain.get("agent"), plain.get("agents", {})
        if not isinstance(name, str) or not isinstance(agents, Mapping):
            return
        known = (*agents, *IMPLICIT_AGENTS)
        if name not in known:
            advice = suggestion(name, known)
            self.problems.append(tree["agent"].origin.problem("agent", "no agent has this name", advice))

    def _report_missing(self, section: Entry, path: tuple[str, ...]) -> None:
        key = dotted(path)
        if any(problem.key in (key, key + FILE_SUFFIX) for problem in self.problems):
            return
        entry = _tree(section).get(path[-1])
        if entry is not None and isinstance(entry.content, Leaf) and entry.content.unset:
            name = entry.content.unset
            message, advice = f"the environment variable {name} is not set", "set it, or write enabled: false"
        else:
            name = customary_of(path) or variable_of(path)
            message = f"is missing, and {path[1]} cannot be reached without it"
            in_file = path[-1] + FILE_SUFFIX
            keys = f"{path[-1]} or {in_file}" if in_file in platform_model(path[1]).model_fields else path[-1]
            advice = f"write {keys}, or set {name}; or write enabled: false"
        self.problems.append((entry or section).origin.problem(key, message, advice))


def is_off(section: Tree) -> bool:
    """Whether a platform's section says `enabled: false`."""
    entry = section.get("enabled")
    return entry is not None and isinstance(entry.content, Leaf) and entry.content.text.lower() in _OFF


def _tree(entry: Entry) -> Tree:
    return entry.content if isinstance(entry.content, Mapping) else {}


def _texts(entry: Entry) -> Mapping[str, str]:
    return {key: e.content.text for key, e in _tree(entry).items() if isinstance(e.content, Leaf)}


def _is_platform(shape: Shape) -> bool:
    return isinstance(shape.type, type) and issubclass(shape.type, PlatformConfig)


def _is_agent(shape: Shape) -> bool:
    return isinstance(shape.type, type) and issubclass(shape.type, AgentConfig)


def exact(tree: Tree, path: Sequence[str]) -> Entry | None:
    """Return the entry at `path` itself, or None if nothing is written there."""
    entry: Entry | None = None
    for key in path:
        entry = tree.get(key)
        if entry is None:
            return None
        tree = _tree(entry)
    return entry
