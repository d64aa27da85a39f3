"""Owns `LiveConfig`, the configuration in force: what parts read at each use, so that none holds a stale copy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from config.models import GatewayConfig


class LiveConfig:
    """Holds the configuration in force. It is replaced as a whole, on the event loop, and never changed in place.

    Whoever reads several settings that belong together takes `current` once and reads them from that.
    """

    __slots__ = ("_current", "_listeners")

    def __init__(self, config: GatewayConfig) -> None:
        self._current = config
        self._listeners: list[Callable[[], object]] = []

    @classmethod
    def of(cls, config: GatewayConfig | Self) -> Self:
        """Return the holder itself, or a new one for a configuration that is never replaced."""
        return config if isinstance(config, cls) else cls(config)  # type: ignore[arg-type]

    @property
    def current(self) -> GatewayConfig:
        """The configuration in force at this moment."""
        return self._current

    def listen(self, listener: Callable[[], object]) -> None:
        """Have this called after each replacement; for parts that something waits in."""
        self._listeners.append(listener)

    def replace(self, config: GatewayConfig) -> None:
        """Put a configuration in force."""
        self._current = config
        for listener in self._listeners:
            listener()
