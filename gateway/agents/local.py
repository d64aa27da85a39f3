"""The agent that answers with a small language model on this machine: no key, no account, no network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Final

from config import AgentConfig, LocalAgentConfig
from gateway.agents.local_process import MODEL_ALIAS, LocalServer, LocalServerSettings, find_model
from gateway.ports import (
    AgentCapabilities,
    AgentEnvironment,
    AgentError,
    AgentEvent,
    AgentTurn,
    Message,
)
from gateway.session.text import flatten_text

if TYPE_CHECKING:
    from gateway.agents.engine import ModelEngine
    from gateway.agents.providers import ModelClient

SYSTEM_PROMPT: Final = "You are a friendly, helpful assistant. Answer briefly and clearly."
"""What the model is told about itself. With 135 million parameters it follows no longer instructions: what
the gateway says about the session would only confuse it, so it is left out."""

RECALLED_CHARS: Final = 1_500
"""Characters of what is remembered that the model is given: more would leave too little of its context."""

TEMPERATURE: Final = 0.2
"""What the makers of the model recommend for it."""

_SAMPLING: Final = {"top_p": 0.9, "repeat_penalty": 1.1}
"""Against the loops that so small a model falls into; fields of llama.cpp's server."""

LocalServerFactory = Callable[[LocalServerSettings], LocalServer]


class LocalAgent:
    """Answers with SmolLM2-135M-Instruct, served by a child process.

    It shows that everything works; it is not clever, and it calls no tools. A process that has died is
    started again by the next turn.
    """

    capabilities = AgentCapabilities(resumable=True, steering=False)

    def __init__(
        self,
        config: AgentConfig,
        environment: AgentEnvironment,
        *,
        make_server: LocalServerFactory | None = None,
    ) -> None:
        if not isinstance(config, LocalAgentConfig):
            raise TypeError(f"agents.{environment.name} is not a local agent's section")
        self._config = config
        self._environment = environment
        self._make_server = make_server or self._own_server
        self._server: LocalServer | None = None
        self._client: ModelClient | None = None
        self._engine: ModelEngine | None = None
        self._generation = 0
        self._lock = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """The id of the model's process while it runs."""
        return self._server.pid if self._server is not None else None

    async def start(self) -> None:
        """Start the model's process and wait until it serves. Raises `AgentError`."""
        if self._server is None:
            model = await asyncio.to_thread(find_model)
            settings = LocalServerSettings(model=model, context_tokens=self._config.context_tokens)
            self._server = self._make_server(settings)
        # Importing the client takes as long as loading the model, and neither needs the other.
        await asyncio.gather(asyncio.to_thread(_import_client), self._server.ensure())
        await self._ready(self._server)

    async def run(self, turn: AgentTurn) -> AsyncGenerator[AgentEvent, None]:
        """Answer one turn; see `Agent.run`. Raises `AgentError`."""
        server = self._server
        if server is None:
            raise AgentError(f"The agent {self._environment.name} has not been started.")
        engine = await self._ready(server)
        try:
            async with aclosing(engine.run(self._simplified(turn))) as events:
                async for event in events:
                    yield event
        except AgentError as error:
            if error.retryable and await server.has_died():
                raise AgentError(
                    "The local model stopped in the middle of its answer. The next try starts it again.",
                    retryable=True,
                ) from error
            raise

    async def close(self) -> None:
        """End the model's process and close the connections to it."""
        server, self._server = self._server, None
        await self._drop_client()
        if server is not None:
            await server.stop()

    def _own_server(self, settings: LocalServerSettings) -> LocalServer:
        return LocalServer(settings, self._environment.home.logs_dir, self._environment.clock)

    async def _ready(self, server: LocalServer) -> ModelEngine:
        """The engine for the process that runs now; starts the process if there is none."""
        async with self._lock:
            await server.ensure()
            if self._engine is not None and self._generation == server.generation:
                return self._engine
            await self._drop_client()
            engine, client = await asyncio.to_thread(self._build, server)
            self._engine, self._client, self._generation = engine, client, server.generation
            return engine

    async def _drop_client(self) -> None:
        client, self._client, self._engine = self._client, None, None
        if client is not None:
            await client.close()

    def _build(self, server: LocalServer) -> tuple[ModelEngine, ModelClient]:
        from gateway.agents.engine import EngineOptions, ModelEngine
        from gateway.agents.errors import ErrorWords
        from gateway.agents.providers import build_model

        name, config = self._environment.name, self._config
        client = build_model(name, MODEL_ALIAS, server.base_url, server.api_key)
        options = EngineOptions(
            timeout=config.timeout,
            max_tool_rounds=0,
            context_tokens=config.context_tokens,
            max_output_tokens=min(config.max_output_tokens, config.context_tokens // 2),
            temperature=TEMPERATURE,
            free=True,
            extra_body=_SAMPLING,
        )
        words = ErrorWords(
            agent=name,
            model=MODEL_ALIAS,
            server="The local model",
            timeout=config.timeout,
            secrets=(server.api_key,),
        )
        return ModelEngine(client.model, options, words), client

    def _simplified(self, turn: AgentTurn) -> AgentTurn:
        """The turn as the model can understand it: a short prompt, what was said, and no tools."""
        return replace(
            turn,
            system_prompt="\n\n".join(
                filter(None, (self._config.system_prompt or SYSTEM_PROMPT, turn.recalled[:RECALLED_CHARS]))
            ),
            history=_said(turn.history),
            resumed=_said(turn.resumed),
            tools=(),
            client_tools=(),
        )


def _import_client() -> None:
    import_module("gateway.agents.engine")
    import_module("gateway.agents.providers")


def _said(rows: Sequence[Message]) -> list[Message]:
    """What people and the assistant said; tools and their results, perhaps another agent's, are left out."""
    return [
        {key: value for key, value in row.items() if key != "tool_calls"}
        for row in rows
        if row.get("role") in ("user", "assistant") and flatten_text(row.get("content")).strip()
    ]
