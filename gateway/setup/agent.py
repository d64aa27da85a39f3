"""Owns the questions about the agent that answers, and what a server of models says to its key."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.setup.ask import Dialogue
from gateway.setup.draft import Draft
from gateway.setup.tokens import RefusedError, tested
from gateway.setup.web import Answer, UnreachableError, Web

OWN_SERVER: Final = "http://127.0.0.1:11434/v1"
"""Where Ollama listens, the server that most people have."""

_SHOWN: Final = 12
_REFUSED: Final = (400, 401, 403)


@dataclass(frozen=True, slots=True)
class Provider:
    """Who has models. `header` carries the key; `package` is what has to be installed, by the extra of its `name`."""

    name: str
    title: str
    address: str
    keys_at: str
    model: str = ""
    header: str = "Authorization"
    package: str = "openai"


PROVIDERS: Final = (
    Provider("openai", "OpenAI", "https://api.openai.com/v1", "https://platform.openai.com/api-keys", "gpt-5-mini"),
    Provider(
        "anthropic",
        "Anthropic",
        "https://api.anthropic.com/v1",
        "https://platform.claude.com/settings/keys",
        header="x-api-key",
        package="anthropic",
    ),
    Provider(
        "google",
        "Google",
        "https://generativelanguage.googleapis.com/v1beta",
        "https://aistudio.google.com/apikey",
        header="x-goog-api-key",
        package="google.genai",
    ),
    Provider("groq", "Groq", "https://api.groq.com/openai/v1", "https://console.groq.com/keys", package="groq"),
    Provider(
        "mistral", "Mistral", "https://api.mistral.ai/v1", "https://console.mistral.ai/api-keys", package="mistralai"
    ),
)

_OTHERS: Final = (
    "A server of your own, or another service with OpenAI's API: Ollama, llama.cpp, vLLM, OpenRouter …",
    "The small model that runs on this machine: no account, no key, and not clever",
    "An echo, to try out everything else: it answers with what it was told",
)


def set_up(draft: Draft, talk: Dialogue, web: Web, installed: Callable[[str], bool] | None = None) -> bool:
    """Ask which agent answers; whether one was chosen. `installed` tells whether a package can be imported."""
    installed = installed or _is_installed
    talk.title("The agent")
    talk.tell("Whose model answers?")
    names = [provider.title for provider in PROVIDERS]
    choice = talk.choose("Number", (*names, *_OTHERS), default=_default(draft))
    if choice < len(PROVIDERS):
        return _of_provider(draft, talk, web, PROVIDERS[choice], installed)
    match choice - len(PROVIDERS):
        case 0:
            return _of_server(draft, talk, web)
        case 1:
            if not installed("xllamacpp"):
                talk.hint("Its packages are not installed here; `make run` in the source installs them.")
            draft.put(("agent",), "local")
        case _:
            draft.put(("agent",), "echo")
    return True


def _default(draft: Draft) -> int:
    """What the Enter key chooses: what the file has, or the first."""
    agent = draft.current("agent")
    if agent in ("local", "echo"):
        return len(PROVIDERS) + (1 if agent == "local" else 2)
    if draft.current("agents", agent, "base_url"):
        return len(PROVIDERS)
    provider = draft.current("agents", agent, "model").partition(":")[0]
    return next((number for number, one in enumerate(PROVIDERS) if one.name == provider), 0)


def _of_provider(draft: Draft, talk: Dialogue, web: Web, provider: Provider, installed: Callable[[str], bool]) -> bool:
    if not installed(provider.package):
        talk.hint(f'Its package is not installed here yet: pip install "hermes-gateway[{provider.name}]"')
    name = _section(draft, provider.name, "")
    talk.tell(f"A key is made at {provider.keys_at}")
    address = provider.address
    if provider.name == "openai":
        address = (draft.environ.get("OPENAI_BASE_URL") or address).rstrip("/")

    def test(key: str) -> Sequence[str]:
        return _models(web, address, provider.header, key, provider.title)

    key, models = tested(draft, talk, ("agents", name, "api_key"), "Key", test)
    if not key:
        return False
    if models is not None:
        talk.good(f"{provider.title} takes it.")
    before = draft.written("agents", name, "model").partition(":")[2]
    model = _model(talk, models or (), before or provider.model)
    if not model:
        return False
    _put(draft, name, f"{provider.name}:{model}")
    return True


def _of_server(draft: Draft, talk: Dialogue, web: Web) -> bool:
    address = _address(draft, talk)
    name = _section(draft, "openai", address)
    models: Sequence[str] | None
    try:
        models = _models(web, address, "Authorization", "", "the server")
        talk.good("It answers, and wants no key.")
    except UnreachableError as error:
        talk.bad(f"{error}.")
        if talk.choose("What now", ("another address", "keep it without a test")) == 0:
            return _of_server(draft, talk, web)
        models = ()
    except RefusedError:
        key, models = tested(
            draft, talk, ("agents", name, "api_key"), "Its key",
            lambda key: _models(web, address, "Authorization", key, "the server"),
        )  # fmt: skip
        if not key:
            return False
        talk.good("It takes the key.")
    model = _model(talk, models or (), draft.written("agents", name, "model").partition(":")[2])
    if not model:
        return False
    draft.put(("agents", name, "base_url"), address)
    _put(draft, name, f"openai:{model}")
    return True


def _address(draft: Draft, talk: Dialogue) -> str:
    held = draft.current("agents", draft.current("agent") or "assistant", "base_url")
    while True:
        address = talk.ask("Address of the server", held or OWN_SERVER).rstrip("/")
        try:
            parts = urlsplit(address)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
        if good and not parts.username:
            return address
        talk.bad("That is no web address. It looks like http://127.0.0.1:11434/v1")


def _put(draft: Draft, name: str, model: str) -> None:
    draft.put(("agents", name, "type"), "model")
    draft.put(("agents", name, "model"), model)
    draft.put(("agent",), name)


def _section(draft: Draft, provider: str, address: str) -> str:
    """The name of the agent: one that goes to the same place, or a new one; what another one holds stays."""
    for name in ("assistant", provider, *(f"{provider}{number}" for number in range(2, 100))):
        if not draft.has("agents", name):
            return name
        model = draft.written("agents", name, "model")
        if model.startswith(f"{provider}:") and draft.written("agents", name, "base_url").rstrip("/") == address:
            return name
    raise AssertionError("a hundred agents of one provider")


def _models(web: Web, address: str, header: str, key: str, title: str) -> Sequence[str]:
    """The names of the models that a key may use. Raises `RefusedError` and `UnreachableError`."""
    headers = {"anthropic-version": "2023-06-01"} if header == "x-api-key" else {}
    if key:
        headers[header] = f"Bearer {key}" if header == "Authorization" else key
    answer = web.call("GET", f"{address}/models", headers=headers)
    if answer.status in _REFUSED:
        raise RefusedError(f"{title} refuses this key. Is it whole, and of the right account?")
    if answer.status == 404:
        raise UnreachableError(f"{address} has no list of models (HTTP 404); does the address end as in /v1?")
    if answer.status != 200:
        raise UnreachableError(f"{title} answers {answer.status}")
    return [name for entry in _entries(answer) if (name := _name(entry))]


def _entries(answer: Answer) -> Sequence[Any]:
    listed = answer.get("data") or answer.get("models")
    return listed if isinstance(listed, list) else ()


def _name(entry: Any) -> str:  # noqa: ANN401 - JSON of a server
    if not isinstance(entry, Mapping):
        return ""
    return str(entry.get("id") or str(entry.get("name") or "").removeprefix("models/"))


def _model(talk: Dialogue, models: Sequence[str], default: str) -> str:
    """Which of them; what is not among them is asked about again."""
    if not models:
        while not (model := talk.ask("Name of the model", default)):
            talk.bad("Without a model nothing answers.")
        return model
    if len(models) <= _SHOWN:
        start = models.index(default) if default in models else 0
        return models[talk.choose("Which model", models, default=start)]
    talk.tell(f"It has {len(models)} models, such as {', '.join(models[:5])}.")
    while True:
        model = talk.ask("Which model", default if default in models else "")
        if model in models:
            return model
        near = difflib.get_close_matches(model, models, n=5, cutoff=0.4)
        others = f"; near it: {', '.join(near)}" if near else ""
        talk.bad(f"There is none of that name{others}.")


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):
        return False
