"""A client of another maker against the interface, as it comes: pydantic-ai, with tools, streams and responses."""

from collections.abc import Callable

import openai
import pytest
from pydantic_ai import Agent
from pydantic_ai.models import Model
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

from config import Home
from tests.support.api import KEY, api_gateway
from tests.support.scripted_openai import Reply, ScriptedOpenAI, ToolCall


@pytest.mark.parametrize("kind", [OpenAIChatModel, OpenAIResponsesModel])
async def test_pydantic_ai_runs_its_own_tool(
    home: Home, free_port: Callable[[], int], kind: Callable[..., Model]
) -> None:
    script = [Reply(calls=[ToolCall("population", {"city": "Oslo"})]), Reply("Oslo has 700,000 people.")]
    async with ScriptedOpenAI(script) as server:
        section = {"type": "model", "model": "openai:scripted", "base_url": server.base_url, "api_key": "sk-of-model"}
        async with (
            api_gateway(home, free_port(), agent="clever", agents={"clever": section}) as gateway,
            openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=KEY) as transport,
        ):
            provider = OpenAIProvider(openai_client=transport)
            agent = Agent(kind("clever", provider=provider), instructions="Be exact.")
            asked: list[str] = []

            @agent.tool_plain
            def population(city: str) -> int:
                """How many people live in a city."""
                asked.append(city)
                return 700_000

            async with agent.run_stream("How many live in Oslo?") as stream:
                said = await stream.get_output()
    assert asked == ["Oslo"]
    assert said == "Oslo has 700,000 people."
    assert "Be exact." in server.requests[0]["messages"][0]["content"]
    assert server.requests[1]["messages"][-1] == {
        "role": "tool",
        "tool_call_id": server.requests[1]["messages"][-2]["tool_calls"][0]["id"],
        "content": "700000",
    }
