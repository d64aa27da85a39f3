"""Owns the names of model providers, so that a wrong one is told without loading the libraries behind them."""

import difflib
from typing import Final

PROVIDERS: Final = (
    "alibaba",
    "anthropic",
    "azure",
    "azure-responses",
    "bedrock",
    "bedrock-mantle",
    "cerebras",
    "cohere",
    "crusoe",
    "deepseek",
    "fireworks",
    "github",
    "github-copilot",
    "google",
    "google-cloud",
    "groq",
    "heroku",
    "huggingface",
    "litellm",
    "meta",
    "mistral",
    "moonshotai",
    "nebius",
    "ollama",
    "openai",
    "openai-chat",
    "openai-responses",
    "openrouter",
    "ovhcloud",
    "sambanova",
    "snowflake",
    "together",
    "vercel",
    "vllm",
    "xai",
    "zai",
)
"""Providers of chat models that pydantic-ai knows by name; a newer one may know more."""

USUAL: Final = ("openai", "anthropic", "google", "groq", "mistral", "openrouter", "ollama")
"""What is named where nothing is near."""


def provider_advice(provider: str) -> str:
    """What to write instead of a provider that is unknown: the nearest one, or the usual ones."""
    close = difflib.get_close_matches(provider.lower(), PROVIDERS, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(USUAL)} and more"
