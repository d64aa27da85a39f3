"""Items of earlier answers that a program names by their ids, in place of sending them again."""

from collections.abc import Mapping
from typing import Any

from gateway.api.errors import ApiError
from gateway.api.keys import Holder
from gateway.api.responses import response, response_of
from gateway.api.service import Service
from gateway.api.wire import InputCall, InputItem, InputMessage, InputReference, ResponseRequest


async def resolved(service: Service, holder: Holder, request: ResponseRequest) -> ResponseRequest:
    """The request, with each item that it names in its place. Raises `ApiError`."""
    if isinstance(request.input, str):
        return request
    known: dict[str, Mapping[str, Any]] = {}
    items: list[InputItem] = []
    for number, item in enumerate(request.input):
        if isinstance(item, InputReference):
            if item.id not in known:
                known |= await _items_with(service, holder, item.id)
            items.append(_item(known, item.id, f"input.{number}.id"))
        else:
            items.append(item)
    return request.model_copy(update={"input": items})


async def _items_with(service: Service, holder: Holder, item_id: str) -> Mapping[str, Mapping[str, Any]]:
    """All items of the response that one of them is of, by their ids. Raises `ApiError`."""
    response_id = response_of(item_id)
    try:
        found = None if response_id is None else await service.get(holder, response_id, "response")
    except ApiError as error:
        if error.status >= 500:
            raise
        return {}
    return {} if found is None else {str(item["id"]): item for item in response(*found)["output"]}


def _item(known: Mapping[str, Mapping[str, Any]], item_id: str, where: str) -> InputMessage | InputCall:
    """Raises `ApiError` where there is none."""
    item = known.get(item_id)
    if item is None:
        words = f"{where}: there is no item {item_id}, or it is older than a day: send the item itself"
        raise ApiError(404, words, code="item_not_found", param=where)
    return (InputMessage if item["type"] == "message" else InputCall).model_validate(item)
