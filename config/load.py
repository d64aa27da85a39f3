"""Owns the loading of the configuration: sources, precedence, and one error that names every fault."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from config.assemble import Assembler, exact
from config.document import read_document
from config.environment import read_environment, read_overrides
from config.errors import ConfigError, Problem
from config.explain import explain
from config.home import Home
from config.models import GatewayConfig
from config.schema import FILE_SUFFIX
from config.tree import Entry, Leaf, Origin, Rank, Tree, merged


@dataclass(frozen=True, slots=True)
class Settings:
    """A loaded configuration, and where each value comes from.

    Attributes:
        config: the configuration.
        origin: by dotted key: `command line`, `environment NAME`, `file:line`, or `default`.
        path: the file that was read, or None if there is none.
        files: every file that decides: the configuration file, also where it is not there yet, and those of secrets.
    """

    config: GatewayConfig
    origin: Mapping[str, str]
    path: Path | None
    files: tuple[Path, ...] = ()


def load_config(
    path: str | os.PathLike[str] | None = None,
    *,
    overrides: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
) -> GatewayConfig:
    """Return the configuration that holds: command line over environment over file over defaults.

    Args:
        path: the file; without one, the home folder's `gateway.yaml` if it is there.
        overrides: what the command line sets, by dotted key; None counts as not given.
        environ: the environment; the process's own if not given.

    Raises:
        ConfigError: with every fault that was found.
    """
    return load_settings(path, overrides=overrides, environ=environ).config


def load_settings(
    path: str | os.PathLike[str] | None = None,
    *,
    overrides: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Return the configuration with the origin of each value; see `load_config`.

    Raises:
        ConfigError: with every fault that was found.
    """
    environ = os.environ if environ is None else environ
    place = Home.locate(environ).config_file if path is None else Path(path)
    text = _read_file(place, required=path is not None)
    file = None if text is None else place
    tree: Tree = {}
    problems: list[Problem] = []
    if file is not None and text is not None:
        tree, faults = read_document(text, Origin(Rank.FILE, str(file)), environ.get)
        problems.extend(faults)
    added, faults = read_environment(environ, tree)
    problems.extend(faults)
    tree = merged(tree, added)
    added, faults = read_overrides(overrides or {}, tree)
    problems.extend(faults)
    tree = merged(tree, added)
    config, secrets = _validate(tree, problems, place)
    return Settings(config, dict(_origins(config, tree)), file, (place, *secrets))


def _read_file(file: Path, *, required: bool) -> str | None:
    """Return the file's text; None if it is not there and need not be."""
    try:
        return file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        if not required:
            return None
        advice = "check the path, or create the file with: hermes-gateway config init"
        raise ConfigError([Problem(str(file), None, "", "there is no such file", advice)], [file]) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        fault = Problem(str(file), line, "", "is not UTF-8 text", "save the file as UTF-8")
        raise ConfigError([fault], [file]) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        message, advice = f"cannot be read ({reason})", "check the path and its permissions"
        fault = Problem(str(file), None, "", message, advice)
        raise ConfigError([fault], [file]) from error


def _validate(tree: Tree, problems: list[Problem], file: Path) -> tuple[GatewayConfig, tuple[Path, ...]]:
    """Return the configuration of the merged tree, and the files of secrets that it names.

    Raises:
        ConfigError: with `problems`, and with those that are found now.
    """
    assembler = Assembler()
    plain = assembler.assemble(tree)
    problems = [*problems, *assembler.problems]
    config: GatewayConfig | None = None
    try:
        config = GatewayConfig.model_validate(plain)
    except ValidationError as error:
        # The chain would show pydantic's own account beside the one that says what to do.
        known = {problem.key for problem in problems}
        problems.extend(fault for fault in explain(error, plain, tree) if fault.key not in known)
    if config is None or problems:
        raise ConfigError(sorted(problems, key=_place), [file, *assembler.files])
    return config, tuple(assembler.files)


def _place(problem: Problem) -> tuple[bool, str, int]:
    return (problem.file is None, problem.place if problem.file is None else "", problem.line or 0)


def _origins(config: GatewayConfig, tree: Tree) -> Iterator[tuple[str, str]]:
    for path in leaf_paths(config):
        entry = exact(tree, path)
        if entry is None or entry.is_null or _is_empty(entry):
            entry = exact(tree, (*path[:-1], path[-1] + FILE_SUFFIX))
        yield ".".join(path), "default" if entry is None else str(entry.origin)


def _is_empty(entry: Entry) -> bool:
    return isinstance(entry.content, Leaf) and not entry.content.text and entry.content.unset is None


def leaf_paths(section: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:  # noqa: ANN401
    """Yield the path of every single value below a section: what has no keys of its own."""
    for name, value in items(section):
        below = (*above, name)
        if isinstance(value, Mapping) or hasattr(value, "__pydantic_fields__"):
            yield from leaf_paths(value, below)
        else:
            yield below


def items(section: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    """Yield the keys of a section as an operator writes them, with their values.

    Keys that a platform has no use for are left out; those of other packages stand beside the rest.
    """
    if isinstance(section, Mapping):
        yield from ((str(name), value) for name, value in section.items())
        return
    for name in section.__pydantic_fields__:
        if name in getattr(section, "unused", {}):
            continue
        value = getattr(section, name)
        if name == "options":
            yield from items(value)
        else:
            yield name, value
