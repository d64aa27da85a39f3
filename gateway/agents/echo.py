"""The agent that answers with what it was told: for trying out a set-up, and for tests."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from typing import Final

from config import AgentConfig, EchoAgentConfig
from gateway.ports import (
    AgentCapabilities,
    AgentEnvironment,
    AgentEvent,
    AgentTurn,
    Done,
    Text,
    Usage,
)
from gateway.session.text import flatten_text

_WORD: Final = re.compile(r"\s*\S+\s*")


class EchoAgent:
    """Repeats the inputs of a turn word by word; a word counts as a token, and costs nothing."""

    capabilities = AgentCapabilities(resumable=True, steering=False)

    def __init__(self, config: AgentConfig, environment: AgentEnvironment) -> None:
        if not isinstance(config, EchoAgentConfig):
            raise TypeError(f"agents.{environment.name} is not an echo agent's section")
        self._delay = config.delay_ms / 1000

    async def start(self) -> None:
        """Nothing to get ready."""

    async def run(self, turn: AgentTurn) -> AsyncGenerator[AgentEvent, None]:
        """Answer with the texts of the inputs, a line break between two; goes on after what was said."""
        asked = "\n".join(flatten_text(message.get("content")) for message in turn.inputs)
        said = "".join(
            flatten_text(message.get("content")) for message in turn.resumed if message.get("role") == "assistant"
        )
        answer = asked.removeprefix(said)
        words = _WORD.findall(answer)
        for position, word in enumerate(words):
            if position and self._delay:
                await asyncio.sleep(self._delay)
            yield Text(word)
        asked_words = len(asked.split())
        yield Usage(
            input_tokens=asked_words,
            output_tokens=len(words),
            last_prompt_tokens=asked_words,
            model="echo",
            cost_usd=0.0,
            cost_status="estimated",
        )
        yield Done()

    async def close(self) -> None:
        """Nothing to release."""
