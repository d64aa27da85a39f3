"""Owns the text of the effective configuration: YAML with secrets masked and, on demand, origins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import yaml
from pydantic import SecretStr

from config.addresses import without_secrets
from config.load import Settings, items
from config.schema import FILE_SUFFIX, SECRET_NAME

MASK: Final = "***"

_WIDEST: Final = 60
"""Column that origins are aligned to at most, so that one long value does not push all of them away."""


def render(settings: Settings, *, origin: bool) -> str:
    """Return the effective values as YAML, secrets as `***`.

    Args:
        settings: what was loaded.
        origin: add to each line, as a comment, where its value comes from.
    """
    config = settings.config
    decided = {name: config.platform(name) for name in config.platforms}
    lines = list(_lines(config.model_copy(update={"platforms": decided}), (), settings.origin))
    if not origin:
        return "".join(f"{text}\n" for text, _source in lines)
    width = min(_WIDEST, max(len(text) for text, source in lines if source))
    return "".join(f"{text:<{width}}  # {_one_line(source)}\n" if source else f"{text}\n" for text, source in lines)


def _lines(section: Any, path: tuple[str, ...], origin: Mapping[str, str]) -> Iterator[tuple[str, str]]:  # noqa: ANN401
    """Yield each line of a section with the origin of its value, empty for the sections themselves."""
    indent = "  " * len(path)
    for name, value in items(section):
        below = (*path, name)
        if isinstance(value, Mapping) or hasattr(value, "__pydantic_fields__"):
            lines = list(_lines(value, below, origin))
            yield f"{indent}{in_yaml(name)}:{'' if lines else ' {}'}", ""
            yield from lines
        elif value is not None or not name.endswith(FILE_SUFFIX):
            yield f"{indent}{in_yaml(name)}: {in_yaml(masked(name, value))}", origin.get(".".join(below), "")


def masked(name: str, value: object) -> object:
    """Return a value as it may be shown: secrets, those in addresses too, and what is named like one, are masked."""
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, Mapping):
        return {key: masked(str(key), below) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return [masked(name, below) for below in value]
    if value is not None and SECRET_NAME.search(name):
        return MASK
    return without_secrets(value, MASK) if isinstance(value, str) else value


class _OneLine(yaml.SafeDumper):
    """Writes a string with line ends, or other characters that do not show, in quotes with escapes."""

    def represent_scalar(self, tag: str, value: Any, style: str | None = None) -> yaml.ScalarNode:  # noqa: ANN401
        hidden = isinstance(value, str) and not value.isprintable()
        return super().represent_scalar(tag, value, '"' if hidden else style)


def in_yaml(value: object) -> str:
    """Return a value as YAML on one line."""
    if isinstance(value, str):
        value = str(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, tuple):
        value = list(value)
    text: str = yaml.dump(
        value, Dumper=_OneLine, default_flow_style=True, width=float("inf"), allow_unicode=True, sort_keys=False
    )
    return text.removesuffix("\n").removesuffix("\n...")


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else "�" for letter in text)
