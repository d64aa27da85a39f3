"""Owns the comparison of two configurations: which keys differ, and which of those need a restart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from config.load import items
from config.models import GatewayConfig

RESTART_KEYS: Final = (
    "storage.synchronous",
    "storage.jsonl_mirror",
    "storage.reserve_kb",
    "http.enabled",
    "http.host",
    "http.port",
    "logging.format",
    "logging.file",
)
"""Keys that are read once, when the gateway starts: what they open stays open until it ends."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be put in force, and the dotted keys in which it differs from what was.

    Attributes:
        config: the new configuration, with the earlier values of the keys that need a restart.
        applied: keys that change.
        needs_restart: keys whose new values wait for the next start.
    """

    config: GatewayConfig
    applied: tuple[str, ...]
    needs_restart: tuple[str, ...]


def compare(before: GatewayConfig, after: GatewayConfig) -> Changes:
    """Return what changes from one configuration to the next."""
    changed = tuple(".".join(path) for path in changed_keys(before, after))
    waiting = tuple(key for key in changed if key in RESTART_KEYS)
    config = after
    for key in waiting:
        section, name = key.split(".")
        kept = getattr(config, section).model_copy(update={name: getattr(getattr(before, section), name)})
        config = config.model_copy(update={section: kept})
    return Changes(config, tuple(key for key in changed if key not in RESTART_KEYS), waiting)


def changed_keys(before: object, after: object, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every value that differs; of a section that came or went, or became another kind, its own."""
    old, new = dict(items(before)), dict(items(after))
    for name in dict.fromkeys((*old, *new)):
        path = (*above, name)
        if name not in old or name not in new:
            yield path
        elif _is_section(old[name]) and type(old[name]) is type(new[name]):
            yield from changed_keys(old[name], new[name], path)
        elif old[name] != new[name]:
            yield path


def _is_section(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, Mapping) or hasattr(value, "__pydantic_fields__")
