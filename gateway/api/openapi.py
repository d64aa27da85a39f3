"""The description of the HTTP interface, as OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.0)."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from pydantic import BaseModel

from gateway.api.wire import ChatRequest, ResponseRequest, SendRequest
from gateway.version import program_version

_TEXT: Final = {"type": "string"}
_COUNT: Final = {"type": "integer", "minimum": 0}
_NULLABLE_TEXT: Final = {"type": ["string", "null"]}

ERRORS: Final[Mapping[int, str]] = {
    400: "The request cannot be read, or asks for what there is not.",
    401: "The key is missing, wrong or revoked.",
    403: "The key is not good for this, or its holder is not let in.",
    404: "There is no such thing.",
    405: "The path has no such method.",
    408: "The body takes too long.",
    409: "It cannot be done yet, or not any more.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    421: "The request is for a host of another name.",
    422: "The Idempotency-Key was used for another request.",
    429: "The holder of the key asks for more than the limits allow.",
    502: "The agent failed.",
    503: "It cannot be taken or looked up at present.",
    504: "The answer takes longer than is waited for.",
}
"""Every error, and what it means."""

_ASKING: Final = (400, 401, 403, 404, 408, 409, 413, 415, 421, 422, 429, 502, 503, 504)
_GETTING: Final = (400, 401, 403, 404, 409, 421, 502, 503)
_LOOKING: Final = (401, 403, 404, 421)
_SENDING: Final = (400, 401, 403, 404, 408, 413, 415, 421, 422, 429, 503)
_POSTING: Final = (400, 401, 403, 404, 408, 409, 413, 415, 421, 429, 503)


@cache
def description() -> dict[str, Any]:
    """All that can be called, with every answer that it can give."""
    schemas = {**_schemas(), **_models(ChatRequest, ResponseRequest, SendRequest)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Hermes Gateway",
            "version": program_version(),
            "description": "Ask the agents behind the gateway, as with OpenAI's own API; send messages to people.",
        },
        "security": [{"key": []}],
        "paths": _paths(),
        "components": {
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "From `hermes-gateway keys create NAME`."}
            },
            "schemas": schemas,
            "responses": {str(status): _error(status, words) for status, words in ERRORS.items()},
        },
    }


def _paths() -> dict[str, Any]:
    by_id = {"name": "id", "in": "path", "required": True, "schema": _TEXT}
    session = {
        "name": "X-Hermes-Session-Id",
        "in": "header",
        "description": "The conversation that the request belongs to; its earlier messages are kept by the gateway.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:@+=-]{1,128}$"},
    }
    once = {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "The same request with the same key gets the one answer, for a day.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    }
    asking = [session, once]
    return {
        "/v1/chat/completions": {
            "post": _operation(
                "createChatCompletion",
                "Have a conversation answered.",
                "ChatCompletion",
                _ASKING,
                parameters=asking,
                body="ChatRequest",
            )
        },
        "/v1/chat/completions/{id}": {
            "get": _operation(
                "getChatCompletion", "Get an answer again.", "ChatCompletion", _GETTING, parameters=[by_id]
            )
        },
        "/v1/responses": {
            "post": _operation(
                "createResponse",
                "Have an input answered.",
                "Response",
                _ASKING,
                parameters=asking,
                body="ResponseRequest",
            )
        },
        "/v1/responses/{id}": {
            "get": _operation(
                "getResponse", "Get a response, also one that is under way.", "Response", _GETTING, parameters=[by_id]
            )
        },
        "/v1/models": {"get": _operation("listModels", "See which agents there are.", "Models", _LOOKING)},
        "/v1/models/{id}": {"get": _operation("getModel", "See one agent.", "Model", _LOOKING, parameters=[by_id])},
        "/api/send": {
            "post": _taking(
                "sendMessage", "Send a message to people.", "Sent", _SENDING, parameters=[once], body="SendRequest"
            )
        },
        "/webhooks/{name}": {
            "post": {
                **_taking(
                    "postWebhook",
                    "Post to a webhook of the configuration, which says how that is signed.",
                    "Posted",
                    _POSTING,
                    parameters=[{**by_id, "name": "name"}, {**once, "description": "The same request is taken once."}],
                    body="PostedBody",
                ),
                "security": [],
            }
        },
        "/openapi.json": {"get": _operation("describe", "Get this description.", "Description", _LOOKING)},
        "/health": {"get": _operation("health", "Whether the gateway is alive.", "Health", (421,), key=False)},
        "/ready": {
            "get": _operation(
                "ready", "Whether messages can be taken and answered.", "Health", (421,), key=False, unready=True
            )
        },
        "/metrics": {"get": _metrics()},
    }


def _metrics() -> dict[str, Any]:
    operation = _operation("metrics", "How the gateway does, for a monitor.", "Error", (401, 403, 421))
    words = "Prometheus' text format."
    operation["responses"]["200"] = {"description": words, "content": {"text/plain": {"schema": _TEXT}}}
    return operation


def _operation(
    name: str,
    summary: str,
    schema: str,
    errors: tuple[int, ...],
    *,
    parameters: list[dict[str, Any]] | None = None,
    body: str | None = None,
    key: bool = True,
    unready: bool = False,
) -> dict[str, Any]:
    answers: dict[str, Any] = {"200": _answer(summary, schema, streams=body is not None)}
    answers |= {str(status): {"$ref": f"#/components/responses/{status}"} for status in errors}
    if unready:
        answers["503"] = _answer("They cannot; `reasons` says why.", schema)
    operation: dict[str, Any] = {"operationId": name, "summary": summary, "responses": answers}
    if parameters:
        operation["parameters"] = parameters
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": _ref(body)}}}
    return operation if key else {**operation, "security": []}


def _taking(
    name: str, summary: str, schema: str, errors: tuple[int, ...], *, parameters: list[dict[str, Any]], body: str
) -> dict[str, Any]:
    """An operation that takes a message in: it is durable when the answer comes."""
    operation = _operation(name, summary, schema, errors, parameters=parameters, body=body)
    operation["responses"] |= {
        "200": _answer("It was taken before, or is left alone.", schema),
        "202": _answer("It is taken, and on disk.", schema),
    }
    return operation


def _answer(words: str, schema: str, *, streams: bool = False) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": _ref(schema)}}
    if streams:
        content["text/event-stream"] = {"schema": _ref("Event")}
    return {"description": words, "content": content}


def _error(status: int, words: str) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "description": words,
        "content": {"application/json": {"schema": _ref("Error")}},
    }
    if status == 401:
        answer["headers"] = {"WWW-Authenticate": {"required": True, "schema": _TEXT}}
    return answer


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _models(*models: type[BaseModel]) -> dict[str, Any]:
    """The schemas of what is read, with all that they are made of."""
    found: dict[str, Any] = {}
    for model in models:
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        found |= schema.pop("$defs", {})
        found[model.__name__] = schema
    return found


def _object(properties: Mapping[str, Any], **more: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON schema
    return {"type": "object", "required": list(properties), "properties": dict(properties), **more}


def _schemas() -> dict[str, Any]:
    """The schemas of what is answered."""
    call = _object(
        {
            "id": _TEXT,
            "type": {"const": "function"},
            "function": _object({"name": _TEXT, "arguments": _TEXT}),
        }
    )
    message = _object({"role": {"const": "assistant"}, "content": _NULLABLE_TEXT, "refusal": {"type": "null"}})
    message["properties"]["tool_calls"] = {"type": "array", "items": call}
    choice = _object(
        {
            "index": {"const": 0},
            "message": message,
            "logprobs": {"type": "null"},
            "finish_reason": {"enum": ["stop", "length", "content_filter", "tool_calls"]},
        }
    )
    about = _object(
        {
            "session_id": _NULLABLE_TEXT,
            "turn_id": _NULLABLE_TEXT,
            "stopped": {"type": "boolean"},
            "notices": {"type": "array", "items": _TEXT},
        }
    )
    model = _object(
        {
            "id": _TEXT,
            "object": {"const": "model"},
            "created": _COUNT,
            "owned_by": _TEXT,
            "hermes": _object({"model": _NULLABLE_TEXT}),
        }
    )
    return {
        "Error": _object(
            {"error": _object({"message": _TEXT, "type": _TEXT, "param": _NULLABLE_TEXT, "code": _NULLABLE_TEXT})}
        ),
        "Event": _object({"data": {**_TEXT, "description": "JSON, or [DONE]."}}),
        "Health": _object({"status": {"enum": ["ok", "ready", "not ready"]}}),
        "Description": _object({"openapi": _TEXT, "info": {"type": "object"}, "paths": {"type": "object"}}),
        "Sent": _object({"status": {"enum": ["accepted", "duplicate"]}, "target": _TEXT}),
        "PostedBody": {"type": "object", "description": "What the sender makes of it."},
        "Posted": _object({"status": {"enum": ["accepted", "duplicate", "ignored"]}, "id": _NULLABLE_TEXT}),
        "Model": model,
        "Models": _object({"object": {"const": "list"}, "data": {"type": "array", "items": _ref("Model")}}),
        "ChatCompletion": _object(
            {
                "id": {"type": "string", "pattern": "^chatcmpl-[0-9a-f]{32}$"},
                "object": {"const": "chat.completion"},
                "created": _COUNT,
                "model": _TEXT,
                "choices": {"type": "array", "items": choice, "minItems": 1, "maxItems": 1},
                "usage": _object({"prompt_tokens": _COUNT, "completion_tokens": _COUNT, "total_tokens": _COUNT}),
                "hermes": about,
            }
        ),
        "Response": _object(
            {
                "id": {"type": "string", "pattern": "^resp_[0-9a-f]{32}$"},
                "object": {"const": "response"},
                "created_at": _COUNT,
                "status": {"enum": ["in_progress", "completed", "incomplete", "failed"]},
                "error": {"type": ["object", "null"]},
                "incomplete_details": {"type": ["object", "null"]},
                "model": _TEXT,
                "output": {
                    "type": "array",
                    "items": _object({"id": _TEXT, "type": {"enum": ["message", "function_call"]}, "status": _TEXT}),
                },
                "usage": {
                    "anyOf": [
                        _object({"input_tokens": _COUNT, "output_tokens": _COUNT, "total_tokens": _COUNT}),
                        {"type": "null"},
                    ]
                },
                "hermes": {"anyOf": [about, {"type": "null"}]},
            }
        ),
    }
