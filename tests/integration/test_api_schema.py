"""The description of the interface: it names what there is, and whatever follows it is answered as it says."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis import checks
from schemathesis.generation import GenerationMode

from config import Home
from gateway.api.app import create_app
from gateway.api.hook_routes import HookRoutes
from gateway.api.openapi import ERRORS, description
from gateway.api.routes import OpenAiRoutes
from gateway.api.service import Service
from gateway.api.webhooks import Webhooks
from gateway.clock import SystemClock
from tests.support.api import KEY, ApiGateway, OneKey, api_gateway
from tests.support.settings import Settings

CASES = 500
LONG_CASES = 5_000

WEBHOOKS = {"open": {"signature": "none", "prompt": "{text} and {action}", "per_minute": 100_000}}

CHECKS = (
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.unsupported_method,
)


def test_the_description_has_every_route_and_no_other() -> None:
    app = create_app(health=dict, ready=lambda: (True, {}), keys=OneKey())
    routes = OpenAiRoutes(cast("Service", None), SystemClock())  # nothing is asked of it
    routes.add_to(app)
    HookRoutes(cast("Webhooks", None), lambda: None).add_to(app)
    served = {
        (route.method.lower(), route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    described = {(method, path) for path, methods in description()["paths"].items() for method in methods}
    assert described == served


def test_every_error_of_the_description_is_explained() -> None:
    named = {
        int(status)
        for methods in description()["paths"].values()
        for operation in methods.values()
        for status, answer in operation["responses"].items()
        if "$ref" in answer
    }
    assert named <= set(ERRORS)


async def test_whatever_follows_the_description_is_answered_as_it_says(
    home: Home, free_port: Callable[[], int], settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    total = LONG_CASES if settings.long else CASES
    async with api_gateway(home, free_port(), webhooks=WEBHOOKS) as gateway:
        statuses = await asyncio.to_thread(_fuzz, gateway, total)
    with capsys.disabled():
        print(f"\nschemathesis: {statuses.total()} cases, answered {dict(sorted(statuses.items()))}")
    assert statuses.total() >= total
    assert statuses[202] > total / 20, "hardly any message was taken"
    assert statuses[200] > total / 20, "hardly anything was taken"
    assert statuses[400] > total / 20, "hardly anything was refused"


def _fuzz(gateway: ApiGateway, total: int) -> Counter[int]:
    """Make so many calls; how many were answered how."""
    headers = {"Authorization": f"Bearer {KEY}"}
    described = requests.get(f"{gateway.url}/openapi.json", headers=headers, timeout=30).json()
    for shape in described["components"]["schemas"].values():
        # Fields that nobody reads are taken; making them up takes most of the time.
        if shape.get("additionalProperties") is True:
            shape["additionalProperties"] = False
    schema = schemathesis.openapi.from_dict(described)
    schema.config.update(base_url=gateway.url)
    operations = [cast("Any", found).ok() for found in schema.get_all_operations()]
    asking = [operation for operation in operations if operation.method.lower() == "post"]
    statuses: Counter[int] = Counter()
    with requests.Session() as session:
        for operation in operations:
            each = total // 4 + 1 if operation in asking else total // 50
            _fuzz_one(operation, GenerationMode.POSITIVE, each, session, headers, statuses)
            if operation.path_parameters or operation in asking:
                _fuzz_one(operation, GenerationMode.NEGATIVE, each, session, headers, statuses)
    return statuses


def _fuzz_one(
    operation: Any,
    mode: GenerationMode,
    cases: int,
    session: requests.Session,
    headers: dict[str, str],
    statuses: Counter[int],
) -> None:
    @hypothesis.settings(
        max_examples=cases,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def call(case: Any) -> None:
        body = case.body
        if isinstance(body, dict) and isinstance(body.get("model"), str) and len(body["model"]) % 3:
            case.body = {**body, "model": "echo"}
        if isinstance(body, dict) and isinstance(body.get("target"), str) and len(body["target"]) % 3:
            case.body = {**body, "target": "local:cli"}
        if "name" in case.path_parameters and len(str(case.path_parameters["name"])) % 3:
            case.path_parameters["name"] = "open"
        response = case.call(session=session, headers=headers)
        statuses[response.status_code] += 1
        case.validate_response(response, checks=list(CHECKS))

    call()
