"""Message components: rows of buttons and selects, checked as the server checks them.

https://docs.discord.com/developers/components/reference
"""

from collections.abc import Iterator, Sequence
from enum import IntEnum
from itertools import count
from typing import Any, Final

from adapters.testing.discord.accounts import Json
from adapters.testing.discord.errors import invalid_form, too_long
from adapters.testing.discord.shapes import objects, text, whole

MAX_ROWS: Final = 5
MAX_BUTTONS: Final = 5
MAX_TOTAL: Final = 40
"""Components of a message with the flag IS_COMPONENTS_V2, nested ones too."""
MAX_CUSTOM_ID: Final = 100
MAX_LABEL: Final = 80
MAX_OPTIONS: Final = 25
MAX_OPTION_TEXT: Final = 100
MAX_PLACEHOLDER: Final = 150
MAX_TEXT: Final = 4000
"""Characters in all text displays together."""
LINK: Final = 5
PREMIUM: Final = 6


class ComponentType(IntEnum):
    """What a component is."""

    ACTION_ROW = 1
    BUTTON = 2
    STRING_SELECT = 3
    TEXT_INPUT = 4
    USER_SELECT = 5
    CHANNEL_SELECT = 8
    TEXT_DISPLAY = 10


SELECTS: Final = range(ComponentType.USER_SELECT, ComponentType.CHANNEL_SELECT + 1)


def check_components(value: Any, *, version_2: bool) -> tuple[Json, ...]:  # noqa: ANN401
    """The components as they will be shown, each with its number. Raises `ApiError`."""
    rows = objects("components", value)
    _check_shape(rows, "components")
    if version_2:
        _check_version_2(rows)
    else:
        if len(rows) > MAX_ROWS:
            raise invalid_form("components", "BASE_TYPE_BAD_LENGTH", f"Must be between 1 and {MAX_ROWS} in length.")
        for index, row in enumerate(rows):
            if row.get("type") != ComponentType.ACTION_ROW:
                where = f"components.{index}.type"
                raise invalid_form(where, "UNION_TYPE_CHOICES", 'Value of field "type" must be one of (1,).')
    for index, row in enumerate(rows):
        if row.get("type") == ComponentType.ACTION_ROW:
            _check_row(row, f"components.{index}")
    _check_unique(rows)
    numbers = count(1)
    return tuple(_numbered(each, numbers) for each in rows)


def every(components: Sequence[Json]) -> Iterator[Json]:
    """All components, the nested ones after what holds them."""
    for component in components:
        yield component
        yield from every(component.get("components") or [])
        if isinstance(component.get("accessory"), dict):
            yield from every([component["accessory"]])


def _check_shape(components: list[Json], where: str) -> None:
    for index, component in enumerate(components):
        at = f"{where}.{index}"
        whole(f"{at}.type", component.get("type"))
        for name in ("custom_id", "label", "placeholder", "content", "url"):
            text(f"{at}.{name}", component.get(name))
        objects(f"{at}.options", component.get("options"))
        _check_shape(objects(f"{at}.components", component.get("components")), f"{at}.components")


def _check_version_2(value: list[Json]) -> None:
    everything = list(every(value))
    if len(everything) > MAX_TOTAL:
        raise invalid_form("components", "BASE_TYPE_BAD_LENGTH", f"Must be between 1 and {MAX_TOTAL} in length.")
    texts = [str(each.get("content", "")) for each in everything if each.get("type") == ComponentType.TEXT_DISPLAY]
    if sum(map(len, texts)) > MAX_TEXT:
        raise invalid_form(
            "components",
            "COMPONENT_MAX_TOTAL_TEXT_LENGTH_EXCEEDED",
            f"The total displayable text in all components must be at most {MAX_TEXT}.",
        )


def _check_row(row: Json, where: str) -> None:
    inner = row.get("components")
    if not isinstance(inner, list) or not 1 <= len(inner) <= MAX_BUTTONS:
        raise invalid_form(
            f"{where}.components", "BASE_TYPE_BAD_LENGTH", f"Must be between 1 and {MAX_BUTTONS} in length."
        )
    for index, component in enumerate(inner):
        at = f"{where}.components.{index}"
        kind = component.get("type")
        if kind == ComponentType.BUTTON:
            _check_button(component, at)
        elif kind == ComponentType.STRING_SELECT or kind in SELECTS:
            if len(inner) > 1:
                raise invalid_form(
                    where, "COMPONENT_LAYOUT_WIDTH_EXCEEDED", "The specified component exceeds the maximum width"
                )
            _check_select(component, at)
        else:
            raise invalid_form(f"{at}.type", "UNION_TYPE_CHOICES", 'Value of field "type" is not allowed here.')


def _check_button(button: Json, at: str) -> None:
    style = button.get("style")
    if style not in range(1, PREMIUM + 1):
        raise invalid_form(f"{at}.style", "BASE_TYPE_CHOICES", "Value must be one of {1, 2, 3, 4, 5, 6}.")
    if len(str(button.get("label") or "")) > MAX_LABEL:
        raise too_long(f"{at}.label", MAX_LABEL)
    if style != PREMIUM and not button.get("label") and not button.get("emoji"):
        raise invalid_form(at, "BUTTON_COMPONENT_LABEL_OR_EMOJI_REQUIRED", "A button needs a label or an emoji")
    if style == LINK:
        if not button.get("url") or button.get("custom_id"):
            raise invalid_form(f"{at}.url", "BASE_TYPE_REQUIRED", "A url is required")
    elif style != PREMIUM:
        _check_custom_id(button, at)


def _check_select(select: Json, at: str) -> None:
    _check_custom_id(select, at)
    if len(str(select.get("placeholder") or "")) > MAX_PLACEHOLDER:
        raise too_long(f"{at}.placeholder", MAX_PLACEHOLDER)
    if select.get("type") != ComponentType.STRING_SELECT:
        return
    options = select.get("options")
    if not isinstance(options, list) or not 1 <= len(options) <= MAX_OPTIONS:
        raise invalid_form(f"{at}.options", "BASE_TYPE_BAD_LENGTH", f"Must be between 1 and {MAX_OPTIONS} in length.")
    for index, option in enumerate(options):
        for name in ("label", "value"):
            text = option.get(name)
            if not text:
                raise invalid_form(f"{at}.options.{index}.{name}", "BASE_TYPE_REQUIRED", "This field is required")
            if len(str(text)) > MAX_OPTION_TEXT:
                raise too_long(f"{at}.options.{index}.{name}", MAX_OPTION_TEXT)
    values = [option["value"] for option in options]
    if len(set(values)) < len(values):
        raise invalid_form(
            f"{at}.options", "SELECT_COMPONENT_OPTION_VALUE_DUPLICATED", "The specified option value is already used"
        )


def _check_custom_id(component: Json, at: str) -> None:
    custom_id = component.get("custom_id")
    if not custom_id:
        raise invalid_form(f"{at}.custom_id", "BASE_TYPE_REQUIRED", "This field is required")
    if len(str(custom_id)) > MAX_CUSTOM_ID:
        raise too_long(f"{at}.custom_id", MAX_CUSTOM_ID)


def _check_unique(value: list[Json]) -> None:
    ids = [each["custom_id"] for each in every(value) if each.get("custom_id")]
    if len(set(ids)) < len(ids):
        raise invalid_form("components", "COMPONENT_CUSTOM_ID_DUPLICATED", "Component custom id cannot be duplicated")


def _numbered(component: Json, numbers: "count[int]") -> Json:
    shown = component | {"id": component.get("id") or next(numbers)}
    if "components" in component:
        shown["components"] = [_numbered(each, numbers) for each in component["components"]]
    return shown
