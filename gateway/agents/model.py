"""The agent that answers with a language model of any provider, or of an OpenAI-compatible server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from config import AgentConfig, ModelAgentConfig
from config.addresses import address_secrets
from gateway.ports import AgentCapabilities, AgentEnvironment, AgentError, AgentEvent, AgentTurn

if TYPE_CHECKING:
    from gateway.agents.engine import ModelEngine
    from gateway.agents.providers import ModelClient


@dataclass(frozen=True, slots=True)
class _Ready:
    engine: ModelEngine
    client: ModelClient


class ModelAgent:
    """Answers with `agents.NAME.model`; streams, calls tools, takes steering at tool boundaries.

    Turns may run side by side. The libraries it needs are imported by `start`, on a thread.
    """

    def __init__(self, config: AgentConfig, environment: AgentEnvironment) -> None:
        if not isinstance(config, ModelAgentConfig):
            raise TypeError(f"agents.{environment.name} is not a model agent's section")
        self.capabilities = AgentCapabilities(
            resumable=True, steering=True, images=config.images is not False, summaries=True
        )
        self._config = config
        self._environment = environment
        self._ready: _Ready | None = None

    async def start(self) -> None:
        """Import the libraries and build the client; nothing is sent. Raises `AgentError`."""
        if self._ready is None:
            self._ready = await asyncio.to_thread(self._build)

    async def run(self, turn: AgentTurn) -> AsyncGenerator[AgentEvent, None]:
        """Answer one turn; see `Agent.run`. Raises `AgentError`."""
        if self._ready is None:
            raise AgentError(f"The agent {self._environment.name} has not been started.")
        if not turn.aside:
            prompt = "\n\n".join(part for part in (self._system_prompt(), turn.system_prompt) if part)
            turn = replace(turn, system_prompt=prompt)
        async with aclosing(self._ready.engine.run(turn)) as events:
            async for event in events:
                yield event

    async def close(self) -> None:
        """Close the connections to the model's server."""
        ready, self._ready = self._ready, None
        if ready is not None:
            await ready.client.close()

    def _system_prompt(self) -> str:
        return self._config.system_prompt or self._environment.default_system_prompt

    def _build(self) -> _Ready:
        name, config = self._environment.name, self._config
        try:
            from gateway.agents.engine import EngineOptions, ModelEngine
            from gateway.agents.errors import ErrorWords
            from gateway.agents.providers import build_model
        except ImportError as error:
            raise AgentError(
                f"agents.{name} needs packages that are not installed ({error}). "
                'Install them: pip install "pydantic-ai-slim[openai]"'
            ) from error
        key = self._key()
        client = build_model(name, config.model, config.base_url, key)
        options = EngineOptions(
            timeout=config.timeout,
            max_tool_rounds=config.max_tool_rounds,
            context_tokens=config.context_tokens,
            max_output_tokens=config.max_output_tokens,
            temperature=config.temperature,
            prices_from=config.base_url,
            settings=client.settings(),
            images=None if config.images == "auto" else config.images,
        )
        secrets = (key, client.key(), *address_secrets(config.base_url or ""))
        words = ErrorWords(
            agent=name,
            model=config.model,
            server=client.server,
            timeout=config.timeout,
            own_server=config.base_url is not None,
            secrets=tuple({secret for secret in secrets if secret}),
        )
        return _Ready(ModelEngine(client.model, options, words), client)

    def _key(self) -> str | None:
        """The key, from the configuration or from the file that it names."""
        if self._config.api_key is not None:
            return self._config.api_key.get_secret_value().strip() or None
        if self._config.api_key_file is None:
            return None
        try:
            return Path(self._config.api_key_file).expanduser().read_text(encoding="utf-8").strip() or None
        except (OSError, UnicodeDecodeError) as error:
            raise AgentError(
                f"The file that agents.{self._environment.name}.api_key_file names cannot be read ({error}). "
                "Correct the path, or make the file readable to the gateway."
            ) from error
