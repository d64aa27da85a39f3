"""What went wrong at a model's server, in words for the person who asked and advice for the operator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic_ai.exceptions import (
    ContentFilterError,
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelContextWindowExceededError,
    ModelHTTPError,
    ModelNotFoundError,
    ModelQuotaExceededError,
    ModelRateLimitError,
    ModelRequestRejectedError,
    ModelServerError,
    ModelTimeoutError,
    ModelUnavailableError,
    UnexpectedModelBehavior,
    UserError,
)

from gateway.ports import AgentError


class UnreadableAnswerError(Exception):
    """What a server sent has another shape than its provider's library knows; the cause is what that made of it."""


RequestError = ModelAPIError | UnexpectedModelBehavior | UserError | OSError | UnreadableAnswerError
"""What a request to a model may raise; `TimeoutError` is an `OSError`. Anything else is a fault of our own."""

REQUEST_ERRORS: Final = (ModelAPIError, UnexpectedModelBehavior, UserError, OSError, UnreadableAnswerError)

_OVERFLOW_WORDS: Final = (
    "exceed_context_size",
    "context_length_exceeded",
    "available context size",
    "maximum context",
    "context length",
    "context window",
    "context limit",
    "prompt is too long",
    "input is too long",
    "too many input tokens",
    "maximum number of tokens",
    "reduce the length",
    "reduce your message size",
)
"""How servers say that a prompt does not fit: OpenAI, llama.cpp, vLLM, Anthropic, Bedrock, Google, Groq."""

_OVERFLOW_STATUSES: Final = (400, 413, 422, 500)
"""With these; 500 is what llama.cpp answered before it had an error of its own for it."""

_UNSUPPORTED_STATUSES: Final = (400, 404, 415, 422, 500, 501)
_UNSUPPORTED_WORDS: Final = (
    "support",
    "requires --jinja",
    "requires --enable-auto-tool-choice",
    "not a multimodal model",
    "content must be a string",
    "unknown variant `image_url`",
    "mmproj",
)
"""How servers say that a model, or its server as it was started, lacks an ability: Ollama, llama.cpp, vLLM, OpenRouter,
Groq, DeepSeek. Most say "does not support", or "not supported"."""

_BAD_IMAGE_WORDS: Final = (
    "unsupported image",
    "supported image format",
    "invalid image",
    "invalid_image",
    "image_parse_error",
    "image is not valid",
    "does not represent a valid image",
    "could not process image",
    "unable to process input image",
    "cannot identify image",
    "load image",
    "decode image",
    "image exceeds",
    "image dimensions",
)
"""How servers say that one image is none, or is not as they take them: OpenAI, Anthropic, Google, vLLM, llama.cpp."""

_RETRYABLE_STATUSES: Final = (408, 409, 425)
"""Request timeout, conflict, too early: refused for now, not for good."""

_QUOTED: Final = 200
"""Characters of a server's own words that are shown."""


def is_overflow(error: Exception) -> bool:
    """Whether a server refused a prompt because it is longer than the model's context."""
    if isinstance(error, ModelContextWindowExceededError):
        return True
    if not isinstance(error, ModelAPIError) or isinstance(error, ModelConnectionError | ModelRateLimitError):
        return False
    if isinstance(error, ModelHTTPError) and error.status_code not in _OVERFLOW_STATUSES:
        return False
    said = f"{error.provider_error_code} {error.provider_error_type} {error} {error.body}".lower()
    return any(words in said for words in _OVERFLOW_WORDS)


def refuses_images(error: Exception) -> bool:
    """Whether a server says that the model takes no images."""
    return _says(error, ("image", "vision", "multimodal", "image_url"))


def is_bad_image(error: Exception) -> bool:
    """Whether a server says that an image of the prompt is a bad one, and not that its model takes none."""
    return _says(error, ("image",), _BAD_IMAGE_WORDS)


def refuses_tools(error: Exception) -> bool:
    """Whether a server says that the model calls no tools."""
    return _says(error, ("tool",))


def _says(error: Exception, subjects: tuple[str, ...], wanted: tuple[str, ...] = _UNSUPPORTED_WORDS) -> bool:
    if not isinstance(error, ModelHTTPError) or error.status_code not in _UNSUPPORTED_STATUSES:
        return False
    said = f"{error} {error.body}".lower()
    return any(subject in said for subject in subjects) and any(words in said for words in wanted)


@dataclass(frozen=True, slots=True)
class ErrorWords:
    """Puts errors of one agent's requests into words."""

    agent: str
    """The name of the section under `agents`, for advice."""
    model: str
    """The model as the configuration names it."""
    server: str
    """The server's name or address, for people."""
    timeout: float
    """Seconds without progress after which a request is given up."""
    own_server: bool = False
    """Whether the configuration names the server's address."""
    secrets: tuple[str, ...] = ()
    """What must not be repeated, wherever a server echoes it."""

    def explain(self, error: RequestError) -> AgentError:
        """The error to raise in place of `error`; raise it without a cause if that may hold a secret."""
        if isinstance(error, ModelConnectionError):
            return self._connection(error)
        if isinstance(error, ModelAPIError):
            return self._refusal(error) or self._fault(error)
        if isinstance(error, UnreadableAnswerError):
            return AgentError(
                f"The answer of {self.server} could not be read ({error}).{self._address_advice()}",
                retryable=True,
            )
        if isinstance(error, TimeoutError):
            return AgentError(
                f"The model gave no sign of life for {self.timeout:g} seconds, so the request was given up.",
                retryable=True,
            )
        if isinstance(error, OSError):
            return AgentError(f"The connection to {self.server} failed ({error}).", retryable=True)
        if isinstance(error, ContentFilterError):
            return AgentError("The model's provider refused to answer this (content filter).")
        if isinstance(error, UserError):
            return AgentError(f"The request does not suit the model {self.model}: {self._quote(str(error))}")
        return AgentError(
            f"{self.server} ended its answer before it said anything.{self._address_advice()}", retryable=True
        )

    def cut_short(self) -> AgentError:
        """The stream ended, in good order as far as HTTP goes, before the answer was complete."""
        return AgentError(f"The connection to {self.server} ended before the answer was complete.", retryable=True)

    def failed_inside(self) -> AgentError:
        """The server ended an answer by saying that it failed."""
        return AgentError(f"{self.server} reported a failure in the middle of its answer.", retryable=True)

    def too_long(self, tokens: int | None, limit: int | None) -> AgentError:
        """What has to be said in this turn does not fit the model, whatever else is left out."""
        size = f" It takes about {tokens} tokens." if tokens else ""
        most = f" The model reads at most {limit} tokens at once, its answer included." if limit else ""
        return AgentError(
            f"This message is too long for the model, even with nothing before it.{size}{most} "
            "Shorten it, or send it in parts."
        )

    def holds_secret(self, error: BaseException) -> bool:
        """Whether a traceback of this error would show a secret."""
        seen: BaseException | None = error
        while seen is not None:
            text = f"{seen} {getattr(seen, 'body', '')}"
            if any(secret in text for secret in self.secrets):
                return True
            seen = seen.__cause__ or seen.__context__
        return False

    def _connection(self, error: ModelConnectionError) -> AgentError:
        if error.phase in ("connect", "pool"):
            told = f"{self.server} cannot be reached.{self._address_advice()}"
        elif isinstance(error, ModelTimeoutError):
            told = f"{self.server} did not answer in time."
        else:
            told = f"The connection to {self.server} broke before the answer was complete."
        return AgentError(told, retryable=True, retry_after=error.retry_after)

    def _refusal(self, error: ModelAPIError) -> AgentError | None:
        """Words for what stays wrong until someone changes something."""
        status = f" (HTTP {error.status_code})" if isinstance(error, ModelHTTPError) else ""
        if isinstance(error, ModelAuthenticationError):
            return AgentError(
                f"{self.server} did not accept the key{status}. Set or correct agents.{self.agent}.api_key."
            )
        if isinstance(error, ModelNotFoundError):
            address = f" and agents.{self.agent}.base_url" if self.own_server else ""
            return AgentError(
                f"{self.server} does not know the model {self.model}{status}. Check agents.{self.agent}.model{address}."
            )
        if isinstance(error, ModelQuotaExceededError):
            return AgentError(
                f"The account at {self.server} has no credit or quota left{status}. "
                f"Top it up, or set another agents.{self.agent}.api_key."
            )
        if isinstance(error, ModelRequestRejectedError):
            if self._is_content_filter(error):
                return AgentError("The model's provider refused to answer this (content filter).")
            return AgentError(f"{self.server} refused the request{status}: {self._said(error)}")
        return None

    def _fault(self, error: ModelAPIError) -> AgentError:
        """Words for what may pass by itself, and for what is not known."""
        after = error.retry_after
        if isinstance(error, ModelRateLimitError):
            wait = f" It asks to wait {after:.0f} seconds." if after else ""
            return AgentError(
                f"{self.server} is getting too many requests (HTTP 429).{wait}",
                retryable=True,
                retry_after=after,
            )
        status = error.status_code if isinstance(error, ModelHTTPError) else None
        if isinstance(error, ModelUnavailableError | ModelServerError) or (status or 0) >= 500:
            number = f" (HTTP {status})" if status else ""
            return AgentError(
                f"{self.server} has a problem of its own{number}. Try again in a while.",
                retryable=True,
                retry_after=after,
            )
        if status is not None:
            return AgentError(
                f"{self.server} refused the request (HTTP {status}): {self._said(error)}",
                retryable=status in _RETRYABLE_STATUSES,
                retry_after=after,
            )
        return AgentError(
            f"The answer of {self.server} could not be read: {self._said(error)}{self._address_advice()}",
            retryable=True,
            retry_after=after,
        )

    def _is_content_filter(self, error: ModelAPIError) -> bool:
        said = f"{error.provider_error_code} {error.provider_error_type}"
        return "content_filter" in said or "content_policy" in said

    def _said(self, error: ModelAPIError) -> str:
        """The server's own words, shortened, without secrets."""
        body = error.body
        if isinstance(body, Mapping):
            inner = body.get("error")
            body = (inner if isinstance(inner, Mapping) else body).get("message")
        return self._quote(body if isinstance(body, str) and body.strip() else error.message)

    def _quote(self, text: str) -> str:
        for secret in self.secrets:
            text = text.replace(secret, "***")
        text = " ".join(text.split())
        return text if len(text) <= _QUOTED else f"{text[:_QUOTED]}…"

    def _address_advice(self) -> str:
        return f" Check agents.{self.agent}.base_url." if self.own_server else ""
