"""JSON that programs send: one object, read strictly, its texts fit for the database."""

import json
import math
from typing import Any, Final

from gateway.api.errors import ApiError
from gateway.storage.codec import clean_text

MAX_SHOWN: Final = 40
"""Characters that are shown back of what cannot be read."""

MAX_DEPTH: Final = 100
"""Objects and lists within each other: far more than anybody writes, and few enough for all that goes through them."""

TOO_DEEP: Final = "it is nested too deeply"


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body, its texts clean. Raises `ApiError`."""
    try:
        value = json.loads(body, parse_constant=_refuse_constant, parse_float=_finite)
        if not isinstance(value, dict):
            raise ApiError(400, "the body must be a JSON object", code="invalid_json")
        return {clean_text(name): _clean(each, MAX_DEPTH - 1) for name, each in value.items()}
    except (ValueError, RecursionError) as error:
        reason = TOO_DEEP if isinstance(error, RecursionError) else str(error)
        raise ApiError(400, f"the body is not valid JSON: {reason}", code="invalid_json") from error


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:MAX_SHOWN]} is too large a number")
    return number


def _clean(value: Any, depth: int) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, str):
        return clean_text(value)
    if not isinstance(value, list | dict):
        return value
    if depth == 0:
        raise ValueError(TOO_DEEP)
    if isinstance(value, list):
        return [_clean(each, depth - 1) for each in value]
    return {clean_text(name): _clean(each, depth - 1) for name, each in value.items()}
