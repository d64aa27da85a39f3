"""Owns what the sections are made of: the base model, the checked field types, sections chosen by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from config.platform import nearest

MOST: Final = 1e9
"""The largest number where no smaller limit holds: 30 years of seconds; so many minutes ago is a date still."""

STRICT: Final = ConfigDict(extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)


def _refuse_flag(value: object) -> object:
    """Refuse true and false where a number belongs: Python would read them as 1 and 0."""
    if isinstance(value, bool):
        raise PydanticCustomError("number_type", "Input should be a number")
    return value


def _refuse_endless(value: float) -> float:
    """Refuse a time that no calendar holds."""
    if value > MOST:
        hint = {"hint": f"write at most {MOST:.0f}"}
        raise PydanticCustomError("less_than_equal", "Input should be less", hint)
    return value


def _text_from_number(value: object) -> object:
    """Take a whole number as text: platform ids are often written without quotes."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _check_address(schemes: tuple[str, ...]) -> Callable[[str], str]:
    def check(value: str) -> str:
        try:
            parts = urlsplit(value)
            host, _port, login = parts.hostname, parts.port, parts.username or parts.password
        except ValueError:
            raise PydanticCustomError("url", "Input should be a web address") from None
        if parts.scheme not in schemes or not host:
            wanted = " or ".join(f"{scheme}://…" for scheme in schemes)
            raise PydanticCustomError("url", "Input should be an address like {wanted}", {"wanted": wanted})
        if login:
            raise PydanticCustomError("url_login", "Input should be an address without a user and password")
        return value

    return check


def _check_base(value: str) -> str:
    """Refuse what nothing can be added to: a path at the end of a query would be a part of the query."""
    if "?" in value or "#" in value:
        raise PydanticCustomError("url_query", "Input should be an address without a query")
    return value


class Kind(str):
    """What a field holds, in the words of the reference; a marker in its annotation."""

    __slots__ = ()


Int = Annotated[int, BeforeValidator(_refuse_flag)]
Float = Annotated[float, BeforeValidator(_refuse_flag), AfterValidator(_refuse_endless)]
Id = Annotated[str, Kind("id"), BeforeValidator(_text_from_number), Field(min_length=1)]
HttpUrl = Annotated[str, Kind("web address"), AfterValidator(_check_address(("https", "http")))]
BaseUrl = Annotated[HttpUrl, AfterValidator(_check_base)]
WebSocketUrl = Annotated[str, Kind("WebSocket address"), AfterValidator(_check_address(("wss", "ws")))]
PathText = Annotated[str, Kind("path"), Field(min_length=1)]


class Section(BaseModel):
    """Common to all sections: frozen, unknown keys refused, input never quoted in errors."""

    model_config = STRICT | ConfigDict(frozen=True)


_M = TypeVar("_M", bound=BaseModel)


def collect_options(model: type[BaseModel], data: object) -> object:
    """Move the keys that `model` does not define into its `options`."""
    if not isinstance(data, Mapping):
        return data
    known = {key: value for key, value in data.items() if key in model.model_fields}
    own = {key: value for key, value in data.items() if key not in model.model_fields}
    given = known.get("options", {})
    return {**known, "options": {**given, **own}} if isinstance(given, Mapping) else known


def choose_sections(value: object, base: type[_M], choose: Callable[[object, Mapping[str, Any]], type[_M]]) -> object:
    """Validate each section of a mapping with the model that its name or content calls for.

    Faults keep their place: each is reported under the section's name.
    """
    if not isinstance(value, Mapping):
        return value
    chosen: dict[object, object] = {}
    faults: list[InitErrorDetails] = []
    for name, section in value.items():
        if isinstance(section, base):
            chosen[name] = section
            continue
        if section is None:
            section = {}
        try:
            if not isinstance(section, Mapping):
                raise PydanticCustomError("section", "Input should be a section with keys of its own")
            chosen[name] = choose(name, section).model_validate(section)
        except ValidationError as error:
            faults.extend(_under(str(name), error))
        except PydanticCustomError as error:
            faults.append(InitErrorDetails(type=error, loc=(str(name),), input=None))
    if faults:
        raise ValidationError.from_exception_data("sections", faults, hide_input=True)
    return chosen


def _under(name: str, error: ValidationError) -> list[InitErrorDetails]:
    """Return the faults of `error`, moved under `name`, without the input that caused them."""
    return [
        InitErrorDetails(
            type=PydanticCustomError(fault["type"], "{text}", {**fault.get("ctx", {}), "text": fault["msg"]}),
            loc=(name, *fault["loc"]),
            input=None,
        )
        for fault in error.errors(include_input=False, include_url=False)
    ]


def suggestion(name: str, known: tuple[str, ...]) -> str:
    """Return what to write instead of `name`: the nearest of `known`, or all of them."""
    close = nearest(name, known)
    return f"did you mean {close!r}?" if close else f"known are {', '.join(known)}"
