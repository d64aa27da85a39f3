"""Owns what the environment and the command line set: their names, and how their text is read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from pydantic import SecretStr

from config.document import read_value
from config.errors import Problem
from config.fields import suggestion
from config.home import HOME_VARIABLE
from config.schema import ROOT, Shape, child, known_keys
from config.tree import Entry, Leaf, Origin, Rank, Tree, at_path, dotted, merged

PREFIX: Final = "HERMES_GATEWAY__"
"""Start of the variables that name any key: the parts of the key follow, joined by two underscores."""

API_KEY_VARIABLE: Final = "HERMES_GATEWAY_API_KEY"

CUSTOMARY: Final[Mapping[str, tuple[str, ...]]] = {
    "TELEGRAM_BOT_TOKEN": ("platforms", "telegram", "token"),
    "TELEGRAM_ALLOWED_USERS": ("platforms", "telegram", "allowed_users"),
    "TELEGRAM_API_BASE_URL": ("platforms", "telegram", "api_base_url"),
    "DISCORD_BOT_TOKEN": ("platforms", "discord", "token"),
    "DISCORD_ALLOWED_USERS": ("platforms", "discord", "allowed_users"),
    "DISCORD_API_BASE_URL": ("platforms", "discord", "api_base_url"),
    "DISCORD_GATEWAY_URL": ("platforms", "discord", "gateway_url"),
    "SLACK_BOT_TOKEN": ("platforms", "slack", "bot_token"),
    "SLACK_APP_TOKEN": ("platforms", "slack", "app_token"),
    "SLACK_SIGNING_SECRET": ("platforms", "slack", "signing_secret"),
    "SLACK_ALLOWED_USERS": ("platforms", "slack", "allowed_users"),
    "SLACK_API_BASE_URL": ("platforms", "slack", "api_base_url"),
    API_KEY_VARIABLE: ("http", "api_key"),
}
"""Variables that go by the names people know, with the keys that they set."""


@dataclass(frozen=True, slots=True)
class _Unknown:
    """A path that leads nowhere: the part that is unknown, and what could stand there."""

    path: tuple[str, ...]
    known: tuple[str, ...]


def variable_of(path: Sequence[str]) -> str:
    """Return the environment variable that sets the key at `path`."""
    return PREFIX + "__".join(path).upper().replace("-", "_")


def customary_of(path: Sequence[str]) -> str | None:
    """Return the customary variable of the key at `path`, if it has one."""
    return next((name for name, target in CUSTOMARY.items() if target == tuple(path)), None)


def read_environment(environ: Mapping[str, str], tree: Tree) -> tuple[Tree, tuple[Problem, ...]]:
    """Return the tree that the environment sets, and its problems. Empty variables count as not set.

    Args:
        environ: the environment.
        tree: what the file sets; names of agents are matched to it, whatever their case.
    """
    result: Tree = {}
    problems: list[Problem] = []
    for name, text, path in _customary(environ, tree):
        result = merged(result, _set(path, text, Origin(Rank.ENVIRONMENT, name), tree, problems))
    # An agent's type decides which keys it has: it comes first.
    for name in sorted(environ, key=lambda name: (not name.upper().endswith("__TYPE"), name)):
        if name.upper().startswith(PREFIX) and environ[name].strip() and name != HOME_VARIABLE:
            path = tuple(part.lower() for part in name[len(PREFIX) :].split("__"))
            origin = Origin(Rank.ENVIRONMENT, name)
            result = merged(result, _set(path, environ[name], origin, merged(tree, result), problems))
    return result, tuple(problems)


def read_overrides(overrides: Mapping[str, object], tree: Tree) -> tuple[Tree, tuple[Problem, ...]]:
    """Return the tree that the command line sets, and its problems. None counts as not given.

    Args:
        overrides: dotted key to value; text is read as the environment's is.
        tree: what stands below: names of agents are matched to it, whatever their case.
    """
    result: Tree = {}
    problems: list[Problem] = []
    for key, value in overrides.items():
        if value is None:
            continue
        path = tuple(key.split("."))
        origin = Origin(Rank.COMMAND_LINE)
        result = merged(result, _set(path, _as_text(value), origin, merged(tree, result), problems))
    return result, tuple(problems)


def _as_text(value: object) -> str:
    if isinstance(value, str | PurePath):
        return str(value)
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return json.dumps(value)


def _customary(environ: Mapping[str, str], tree: Tree) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield the customary variables that apply.

    Credentials switch their platform on. The others only complete a platform that is on: an address
    alone is no reason to connect.
    """
    given = {name: path for name, path in CUSTOMARY.items() if environ.get(name, "").strip()}
    on = {path[1] for path in given.values() if path[0] == "platforms" and _is_credential(path)}
    platforms = tree.get("platforms")
    if platforms is not None and isinstance(platforms.content, Mapping):
        on |= set(platforms.content)
    prefix = f"{PREFIX}PLATFORMS__"
    on |= {name[len(prefix) :].split("__")[0].lower() for name in environ if name.upper().startswith(prefix)}
    for name, path in given.items():
        if path[0] != "platforms" or path[1] in on:
            yield name, environ[name], path


def _is_credential(path: tuple[str, ...]) -> bool:
    return path[-1].endswith(("token", "secret"))


def _set(path: tuple[str, ...], text: str, origin: Origin, tree: Tree, problems: list[Problem]) -> Tree:
    """Return the tree of one value, empty if the path leads nowhere or the value cannot be read."""
    resolved = _resolve(path, tree)
    if isinstance(resolved, _Unknown):
        close = suggestion(resolved.path[-1], resolved.known) if resolved.known else "remove it"
        problems.append(origin.problem(dotted(resolved.path), "unknown key", close))
        return {}
    target, shape = resolved
    entry, faults = _read(text, shape, origin, target)
    problems.extend(faults)
    return at_path(target, entry) if entry is not None else {}


def _resolve(path: tuple[str, ...], tree: Tree) -> tuple[tuple[str, ...], Shape] | _Unknown:
    """Follow `path` through the models, matching the names that operators choose to those in `tree`."""
    shape = ROOT
    found: tuple[str, ...] = ()
    here: Tree = tree
    for part in path:
        key = _spelled(part, (*known_keys(shape), *here))
        below = here.get(key)
        content = below.content if below is not None else None
        here = content if isinstance(content, Mapping) else {}
        written = {name: e.content.text for name, e in here.items() if isinstance(e.content, Leaf)}
        deeper = child(shape, key, written)
        if deeper is None:
            return _Unknown((*found, key), known_keys(shape))
        found, shape = (*found, key), deeper
    return found, shape


def _spelled(part: str, names: tuple[str, ...]) -> str:
    """Return the one of `names` that `part` stands for: variables have neither case nor hyphens."""
    return next((name for name in names if name.lower().replace("-", "_") == part.lower()), part)


def _read(text: str, shape: Shape, origin: Origin, path: tuple[str, ...]) -> tuple[Entry | None, tuple[Problem, ...]]:
    """Read the text of one value by its shape."""
    if shape.is_text or shape.is_secret:
        return Entry(Leaf(text, text), origin), ()
    if shape.type is tuple and not text.lstrip().startswith("["):
        words = (word.strip() for word in text.split(","))
        return Entry([Entry(Leaf(word, word), origin) for word in words if word], origin), ()
    return read_value(text, origin, path=path)
