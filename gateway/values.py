"""Values: frozen data that is made in great numbers."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, make_dataclass
from typing import Any, TypeVar, cast, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(cls: type[T]) -> type[T]:
    """A dataclass that is frozen for the type checker alone.

    A dataclass that is frozen at run time as well stores each field through `object.__setattr__`, which takes ten times
    as long as a plain store; a message makes some fifty objects. This is for those that a message makes and nobody
    keeps for long, among them what adapters and agents are handed. What is kept, as the key of a cache, say, is frozen
    at run time too.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)


def maker(cls: type[T]) -> Callable[..., T]:
    """What makes objects of a dataclass with slots, frozen at run time, from the values of all its fields, in order.

    Nothing is checked, and no default is filled in. It makes an open object of the same shape and gives it its class
    then: a third of the time of calling the class, which whoever lists many of them notices.
    """
    twin = make_dataclass(f"Open{cls.__name__}", [each.name for each in fields(cls)], slots=True)  # type: ignore[arg-type]

    def make(*values: object) -> T:
        made: Any = twin(*values)
        made.__class__ = cls
        return cast("T", made)

    return make
