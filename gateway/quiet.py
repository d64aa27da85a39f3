"""Keeps the HTTP clients of models' servers from logging what they send."""

import logging
from typing import Final

_TALKATIVE: Final = ("anthropic", "httpcore", "httpcore2", "httpx", "httpx2", "openai")


def quiet_loggers() -> None:
    """Keep HTTP clients from logging each request: addresses may hold keys, and bodies hold conversations."""
    for name in _TALKATIVE:
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.WARNING)
