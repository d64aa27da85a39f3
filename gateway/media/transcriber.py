"""Writes down what is said in a file, by a server that speaks OpenAI's transcriptions."""

import asyncio
import logging
from importlib import import_module
from typing import Final

from config import GatewayConfig, LiveConfig
from gateway.media.files import StoredFile
from gateway.ports import MediaError
from gateway.quiet import quiet_loggers

log = logging.getLogger(__name__)

MAX_BYTES: Final = 25 * 1000 * 1000
"""The largest file that OpenAI's servers take (https://platform.openai.com/docs/guides/speech-to-text)."""

TRIES_AGAIN: Final = 2
"""How often the client asks again after a fault that may pass."""


class Transcriber:
    """Asks the server that `media.transcriber` names. Its client is imported when it is first used."""

    def __init__(self, config: GatewayConfig | LiveConfig) -> None:
        self._config = LiveConfig.of(config)

    @property
    def enabled(self) -> bool:
        """Whether there is one."""
        return self._config.current.media.transcriber.model is not None

    async def transcribe(self, file: StoredFile) -> str:
        """What is said in a file. Raises `MediaError`."""
        if file.size > MAX_BYTES:
            raise MediaError("it is too long for that")
        openai = await asyncio.to_thread(import_module, "openai")
        quiet_loggers()
        settings = self._config.current.media.transcriber
        key = settings.api_key.get_secret_value() if settings.api_key else "none"
        try:
            audio = await asyncio.to_thread(file.path.open, "rb")
            with audio:
                async with (
                    asyncio.timeout(settings.timeout),
                    openai.AsyncOpenAI(
                        base_url=settings.base_url, api_key=key, max_retries=TRIES_AGAIN, timeout=settings.timeout
                    ) as client,
                ):
                    answer = await client.audio.transcriptions.create(
                        file=(file.path.name, audio, file.type.media_type),
                        model=settings.model or "",
                        language=settings.language or openai.omit,
                    )
        except TimeoutError as error:
            raise MediaError(f"the server took longer than {settings.timeout:g} seconds", retryable=True) from error
        except (openai.OpenAIError, OSError) as error:
            log.warning("a transcription failed: %s", type(error).__name__)
            status = getattr(error, "status_code", None)
            words = f"HTTP {status}" if status else type(error).__name__
            raise MediaError(f"the server of media.transcriber failed ({words})", retryable=True) from None
        return str(answer.text).strip()
