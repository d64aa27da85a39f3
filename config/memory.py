"""Owns the section `memory`: whether the gateway remembers conversations, where, and within which bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from config.fields import Float, Int, Section


class MemoryConfig(Section):
    """What is remembered from one conversation to the next."""

    provider: str = Field(
        default="none",
        min_length=1,
        description="What remembers: nothing (none), Markdown files in the home folder's memory/ (notes), what an"
        " installed package announces by this name, or a class by its place, as in my_package.memory:MyMemory.",
    )
    options: Mapping[str, Any] = Field(
        default_factory=dict, description="Settings for a provider that an installed package brings."
    )
    groups: bool = Field(
        default=True,
        description="Remember conversations in groups and channels too. What was said there is recalled there only;"
        " what was said in private never is elsewhere.",
    )
    ask_model: bool = Field(
        default=True,
        description="Let the agent's own model pick out what is worth keeping, where it can; false: keep the first"
        " words of what people wrote.",
    )
    recall_chars: Int = Field(
        default=4_000, ge=0, le=100_000, description="Characters of notes that the agent is given with a turn; 0: none."
    )
    recall_seconds: Float = Field(
        default=3.0, gt=0, description="Seconds that recalling may take; then the turn goes on without."
    )
    quiet_minutes: Float = Field(
        default=30.0,
        gt=0,
        description="Minutes without a message after which a conversation that goes on is remembered as well.",
    )
    commit_seconds: Float = Field(
        default=120.0, gt=0, description="Seconds that remembering a part of a conversation may take."
    )
    drain_seconds: Float = Field(
        default=10.0,
        ge=0,
        description="Seconds that remembering may take when the gateway is told to stop; the rest follows at the next"
        " start.",
    )
    retry_seconds: Float = Field(
        default=30.0, ge=0, description="Seconds before a second try; doubles with each further one."
    )
    retry_max_seconds: Float = Field(default=3600.0, ge=0, description="Longest wait between two tries, in seconds.")
    max_file_kb: Int = Field(
        default=64,
        ge=4,
        le=1_024,
        description="Kilobytes that one file of notes may have; the oldest that the gateway wrote in it makes room.",
    )
