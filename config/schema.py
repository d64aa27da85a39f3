"""Owns what the models tell about a key: the keys below it, its type in words, whether it is secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from config.agents import AgentConfig, PluginAgentConfig, agent_model
from config.fields import Kind
from config.models import GatewayConfig
from config.platform import Platform, known_platforms
from config.platforms import PlatformConfig, PluginPlatformConfig, platform_model

SECRET_NAME: Final = re.compile(r"(?i)(token|secret|password|passwd|api_?key|private_?key|credential)s?$")
"""Names of keys that are taken for secrets where no model says so: those that other packages define."""

FILE_SUFFIX: Final = "_file"
"""Ending of the key that names the file which holds a secret."""

_PLUGIN_MODELS: Final = (PluginAgentConfig, PluginPlatformConfig)


@dataclass(frozen=True, slots=True)
class Shape:
    """What may stand at a key: a Python type, with the marks that its annotation carries.

    `type` is a model, `Mapping`, `tuple`, `str`, `SecretStr`, `int`, `float`, `bool`, `Literal` or
    `Any`; `args` are its parameters.
    """

    type: Any
    args: tuple[Any, ...] = ()
    marks: tuple[Any, ...] = ()
    name: str = ""
    info: FieldInfo | None = field(default=None, repr=False)

    @property
    def is_section(self) -> bool:
        """Whether keys of the model's own stand below."""
        return hasattr(self.type, "__pydantic_fields__")

    @property
    def is_mapping(self) -> bool:
        """Whether keys stand below that the operator names."""
        return self.type is Mapping

    @property
    def is_secret(self) -> bool:
        """Whether the value must never be shown."""
        return self.type is SecretStr or (self.type is Any and bool(SECRET_NAME.search(self.name)))

    @property
    def is_text(self) -> bool:
        """Whether the value is taken letter by letter, as it is written."""
        if self.type is Literal:
            return all(isinstance(choice, str) for choice in self.args)
        return self.type in (str, SecretStr)

    @property
    def description(self) -> str:
        """What the key means."""
        return (self.info.description or "") if self.info else ""


def shape_of(annotation: Any, info: FieldInfo | None = None, name: str = "") -> Shape:  # noqa: ANN401
    """Return the shape of an annotation; None in a union only says that the key may be left out."""
    marks: tuple[Any, ...] = tuple(info.metadata) if info else ()
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation, *more = get_args(annotation)
            marks = (*marks, *_flat(more))
        elif origin in (Union, UnionType):
            annotation = next(arg for arg in get_args(annotation) if arg is not NoneType)
        else:
            break
    kind = Mapping if origin is not None and origin not in (tuple, Literal) else origin or annotation
    return Shape(kind, get_args(annotation), marks, name, info)


def _flat(marks: list[Any]) -> tuple[Any, ...]:
    parts = (mark.metadata if isinstance(mark, FieldInfo) else (mark,) for mark in marks)
    return tuple(chain.from_iterable(parts))


ROOT: Final = Shape(GatewayConfig)
"""The shape of the whole configuration."""


def fields_of(model: Any) -> Mapping[str, FieldInfo]:  # noqa: ANN401
    """Return the fields that an operator can set in a section."""
    unused = getattr(model, "unused", {})
    fields: Mapping[str, FieldInfo] = model.__pydantic_fields__
    return {
        name: info
        for name, info in fields.items()
        if name not in unused and not (name == "options" and model in _PLUGIN_MODELS)
    }


def known_keys(shape: Shape) -> tuple[str, ...]:
    """Return the keys that may stand below `shape`; none if the operator chooses them."""
    if shape.is_section:
        return tuple(fields_of(shape.type))
    if not shape.is_mapping:
        return ()
    names = shape_of(shape.args[0])
    if names.type is Literal:
        return tuple(names.args)
    return known_platforms() if names.type is Platform else ()


def child(shape: Shape, key: str, section: Mapping[str, Any] | None = None) -> Shape | None:
    """Return the shape of `key` below `shape`, or None if there is no such key.

    `section` holds what is written below `key`, which may decide the model.
    """
    if shape.type is Any:
        return Shape(Any, name=key)
    if shape.is_section:
        info = shape.type.__pydantic_fields__.get(key)
        if info is not None:
            return shape_of(info.annotation, info, key)
        return Shape(Any, name=key) if shape.type in _PLUGIN_MODELS else None
    known = known_keys(shape)
    if not shape.is_mapping or (known and key not in known):
        return None
    value = shape_of(shape.args[1], name=key)
    return Shape(_chosen(value.type, key, section or {}), value.args, value.marks, key)


def _chosen(model: Any, key: str, section: Mapping[str, Any]) -> Any:  # noqa: ANN401
    if model is PlatformConfig:
        return platform_model(key)
    return agent_model(section.get("type")) if model is AgentConfig else model


def item(shape: Shape) -> Shape:
    """Return the shape of an entry of a list."""
    return shape_of(shape.args[0], name=shape.name) if shape.type is tuple else Shape(Any, name=shape.name)


def in_words(shape: Shape) -> str:
    """Return the type of a value as people say it, with its limits."""
    named = {bool: "true or false", int: "whole number", float: "number", str: "text", SecretStr: "secret"}
    if shape.type is Literal:
        choices = [str(choice).lower() for choice in shape.args]
        return choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}"
    if shape.type is tuple:
        entry = item(shape)
        return f"list of {next((str(m) for m in entry.marks if isinstance(m, Kind)), 'text')}s"
    if shape.is_section or shape.is_mapping:
        return "section"
    kind = next((str(mark) for mark in shape.marks if isinstance(mark, Kind)), named.get(shape.type, "any"))
    limits = _limits(shape.marks)
    return f"{kind}, {limits}" if limits else kind


def _limits(marks: tuple[Any, ...]) -> str:
    low, high, above = (_limit(marks, name) for name in ("ge", "le", "gt"))
    if low is not None and high is not None:
        return f"{low} to {high}"
    if above is not None:
        return f"more than {above}"
    return f"at least {low}" if low is not None else ""


def _limit(marks: tuple[Any, ...], name: str) -> int | float | None:
    return next((limit for mark in marks if (limit := getattr(mark, name, None)) is not None), None)
