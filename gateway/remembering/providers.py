"""Finds what remembers: what the gateway brings, or what an installed package announces."""

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pkgutil import resolve_name
from typing import Final

from gateway.ports import MemoryEnvironment, MemoryProvider, RememberError

ENTRY_POINT_GROUP: Final = "hermes_gateway.memory"
"""Entry-point group in which packages announce a memory under the name that `memory.provider` chooses it by."""

NONE: Final = "none"
"""The name of no memory at all."""

BUILT_IN: Final[Mapping[str, str]] = {"notes": "gateway.remembering.notes:NotesProvider"}
"""What the gateway brings, so that it also works from a checkout that is not installed."""


def known_providers() -> tuple[str, ...]:
    """The names that can be chosen."""
    return tuple(sorted({NONE, *BUILT_IN, *(entry.name for entry in entry_points(group=ENTRY_POINT_GROUP))}))


def is_place(name: str) -> bool:
    """Whether a name says itself where the class is, as in `my_package.memory:MyMemory`."""
    module, colon, attribute = name.partition(":")
    return bool(colon) and all(part.isidentifier() for part in (*module.split("."), *attribute.split(".")))


def find_provider(name: str) -> Callable[[MemoryEnvironment], MemoryProvider]:
    """What builds the provider of this name, or at this place. Raises `RememberError`."""
    announced = next((entry.value for entry in entry_points(group=ENTRY_POINT_GROUP, name=name)), None)
    target = BUILT_IN.get(name) or announced or (name if is_place(name) else None)
    if target is None:
        known = ", ".join(known_providers())
        raise RememberError(
            f"memory.provider is {name!r}, which is not known; known are {known}. Correct it, or install the package "
            "that brings it"
        )
    try:
        build: Callable[[MemoryEnvironment], MemoryProvider] = resolve_name(target)
    except Exception as error:
        raise _not_loaded(name, error) from error
    return build


def create_provider(name: str, environment: MemoryEnvironment) -> MemoryProvider:
    """Build the provider of this name, or at this place; it still has to be started. Raises `RememberError`."""
    build = find_provider(name)
    try:
        return build(environment)
    except Exception as error:
        raise _not_loaded(name, error) from error


def _not_loaded(name: str, error: Exception) -> RememberError:
    return RememberError(f"the memory {name!r} cannot be loaded ({type(error).__name__}: {error})")
