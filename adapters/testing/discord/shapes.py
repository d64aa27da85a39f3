"""Values of a JSON body by their shape; what has another shape is refused, as the server refuses it.

https://docs.discord.com/developers/reference#error-messages
"""

from typing import Any

from adapters.testing.discord.accounts import Json
from adapters.testing.discord.errors import invalid_form

_COERCE = "NUMBER_TYPE_COERCE"


def whole(field: str, value: object, default: int = 0) -> int:
    """A whole number; the default where nothing is said. Raises `ApiError`."""
    if value is None:
        return default
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    if not isinstance(value, int):
        raise invalid_form(field, _COERCE, f'Value "{value}" is not int.')
    return int(value)


def number(field: str, value: object) -> float | None:
    """A number; None where nothing is said. Raises `ApiError`."""
    if value is None:
        return None
    if not isinstance(value, int | float):
        raise invalid_form(field, _COERCE, f'Value "{value}" is not float.')
    return float(value)


def text(field: str, value: object) -> str:
    """A text; empty where nothing is said. Raises `ApiError`."""
    if value is None:
        return ""
    if isinstance(value, list | dict):
        raise invalid_form(field, "STRING_TYPE_CONVERT", "Could not interpret value as string.")
    return str(value)


def mapping(field: str, value: Any) -> Json:  # noqa: ANN401
    """An object; empty where nothing is said. Raises `ApiError`."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid_form(field, "DICT_TYPE_CONVERT", "Only dictionaries may be used in a DictType")
    return value


def sequence(field: str, value: Any) -> list[Any]:  # noqa: ANN401
    """A list; empty where nothing is said. Raises `ApiError`."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise invalid_form(field, "LIST_TYPE_CONVERT", "Only iterables may be used in a ListType")
    return value


def objects(field: str, value: Any) -> list[Json]:  # noqa: ANN401
    """A list of objects; empty where nothing is said. Raises `ApiError`."""
    return [mapping(f"{field}.{index}", each) for index, each in enumerate(sequence(field, value))]
