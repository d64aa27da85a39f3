"""Builds the client of a model from the configuration's `provider:model`, address and key."""

from __future__ import annotations

import inspect
import ipaddress
import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
from openai import OpenAIError
from pydantic_ai.exceptions import UserError
from pydantic_ai.models import Model, create_async_httpx2_client, infer_model
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel, OpenAIResponsesModelSettings
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers import Provider, infer_provider_class
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider
from pydantic_ai.settings import ModelSettings

from gateway.agents.names import provider_advice
from gateway.ports import AgentError
from gateway.quiet import quiet_loggers

_EXTRAS: Final = ("anthropic", "google", "groq", "mistral")
"""Providers for which the project has an extra of the same name."""

_CHAT_PROVIDERS: Final = ("openai", "openai-chat")
"""With an address of one's own these mean: whatever speaks OpenAI's chat completions there."""

_COMPATIBLE: Final = OpenAIModelProfile(
    openai_chat_supports_max_completion_tokens=False,
    openai_chat_supports_multiple_system_messages=False,
    openai_supports_strict_tool_definition=False,
    supports_inline_system_prompts=False,
)
"""The form that every OpenAI-compatible server takes: `max_tokens`, and one system message, at the start."""

_MISSING: Final = re.compile(r"[A-Z][A-Z0-9_]*_(?P<what>API_KEY|TOKEN|BASE_URL)")
"""The variable that a provider's own words name where it was given neither that nor the setting."""

_LIMITS: Final = httpx2.Limits(max_connections=1000, max_keepalive_connections=100)
"""As the SDKs of OpenAI and Anthropic have them."""


@dataclass(frozen=True, slots=True)
class ModelClient:
    """A model that can be asked, and the connections that have to be closed after it."""

    model: Model
    server: str
    """The server's name for people: its host, or the provider."""
    http_client: httpx2.AsyncClient | None = None
    """A client of our own; where there is none the model owns its connections."""

    def key(self) -> str | None:
        """The key that requests carry, wherever it came from; None where the provider has no such thing."""
        key = getattr(getattr(self.model, "client", None), "api_key", None)
        return key if isinstance(key, str) and key else None

    def settings(self) -> ModelSettings:
        """What this provider's requests need: OpenAI keeps no copy of a conversation that is kept here."""
        if isinstance(self.model, OpenAIResponsesModel):
            return OpenAIResponsesModelSettings(openai_store=False)
        return ModelSettings()

    async def close(self) -> None:
        """Close the connections."""
        if self.http_client is not None:
            await self.http_client.aclose()
        else:
            async with self.model:
                pass  # leaving the model closes the client that it made


def build_model(agent: str, model: str, base_url: str | None, api_key: str | None) -> ModelClient:
    """Build the client for `provider:model`; with a `base_url` the provider may be left out.

    A name whose first part is no provider (`llama3.2:3b`) is, with a `base_url`, the model's whole name.
    Nothing is sent yet.

    Raises:
        AgentError: the provider is unknown or not installed, a key is missing, the address is no address.
    """
    quiet_loggers()
    if base_url is not None:
        _check_address(agent, base_url)
    provider, _, rest = model.partition(":")
    try:
        if base_url is not None and (not rest or provider in _CHAT_PROVIDERS or not is_provider(provider)):
            name = rest if rest and provider in _CHAT_PROVIDERS else model
            return _compatible(name, base_url, api_key)
        return _named(agent, model, base_url, api_key)
    except ImportError as error:
        raise AgentError(
            f"The packages for {provider} models are not installed. Install them: {_install(provider)}"
        ) from error
    except (UserError, OpenAIError) as error:
        raise AgentError(_advice(agent, model, provider, api_key, error)) from None


def _compatible(name: str, base_url: str, api_key: str | None) -> ModelClient:
    host = urlsplit(base_url).hostname or base_url
    if host == "api.openai.com":
        return ModelClient(OpenAIChatModel(name, provider=OpenAIProvider(base_url, api_key)), host)
    # What listens on this machine is not behind the proxy that the environment may name.
    http_client = (
        create_async_httpx2_client(transport=httpx2.AsyncHTTPTransport(limits=_LIMITS)) if _is_loopback(host) else None
    )
    provider = OpenAICompatibleProvider(
        "openai-compatible", base_url=base_url, api_key=api_key, http_client=http_client
    )
    return ModelClient(OpenAIChatModel(name, provider=provider, profile=_COMPATIBLE), host, http_client)


def _named(agent: str, model: str, base_url: str | None, api_key: str | None) -> ModelClient:
    given = {key: value for key, value in (("api_key", api_key), ("base_url", base_url)) if value is not None}

    def make(provider: str) -> Provider[Any]:
        factory = infer_provider_class(provider)
        accepted = inspect.signature(factory).parameters
        for key in given:
            if key not in accepted:
                raise AgentError(f"agents.{agent}.{key} has no meaning for {provider} models. Remove it.")
        return factory(**given)

    provider = model.partition(":")[0]
    if not is_provider(provider):
        raise UserError(f"Unknown model: {model}")
    server = (urlsplit(base_url).hostname if base_url else None) or provider
    return ModelClient(infer_model(model, make), server)


def is_provider(name: str) -> bool:
    """Whether a provider of this name is known, installed or not."""
    try:
        infer_provider_class(name)
    except ValueError:
        return False
    except ImportError:
        return True
    return True


def _check_address(agent: str, base_url: str) -> None:
    try:
        parts = urlsplit(base_url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        httpx2.URL(base_url)
    except (ValueError, httpx2.InvalidURL):
        good = False
    if not good:
        raise AgentError(f"agents.{agent}.base_url is not a web address. Write it as in http://127.0.0.1:8080/v1.")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _install(provider: str) -> str:
    package = "hermes-gateway" if provider in _EXTRAS else "pydantic-ai-slim"
    return f'pip install "{package}[{provider}]"'


def _advice(agent: str, model: str, provider: str, api_key: str | None, error: Exception) -> str:
    if not is_provider(provider):
        return (
            f"agents.{agent}.model is {model!r}, and {provider!r} is not a known provider. "
            f"{_sentence(provider_advice(provider))} "
            "Write provider:model, as in openai:gpt-5-mini, or set "
            f"agents.{agent}.base_url to an OpenAI-compatible server."
        )
    variable = _MISSING.search(str(error))
    if variable is not None and (api_key is None or variable["what"] == "BASE_URL"):
        what, key = ("address", "base_url") if variable["what"] == "BASE_URL" else ("key", "api_key")
        return (
            f"There is no {what} for {provider} models. Set agents.{agent}.{key}, or {variable[0]} in the environment."
        )
    told = str(error).replace(api_key, "***") if api_key else str(error)
    return f"agents.{agent} cannot be used as it is set up: {told}"


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:] + ("" if words.endswith("?") else ".")
