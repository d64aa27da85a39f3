"""Owns the question "how is the gateway?" as it is asked of the process that runs."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gateway.frames import FrameError, connect

STATUS_TIMEOUT_SECONDS: Final = 5.0
"""How long a gateway that runs may take to answer; its loop never stalls, so this is ample."""


class StatusError(Exception):
    """The socket cannot be reached, or who listens there does not answer as a gateway does."""


async def ask(socket: Path) -> Mapping[str, Any] | None:
    """What the gateway that listens on `socket` says of itself, None if none does. Raises `StatusError`."""
    try:
        async with asyncio.timeout(STATUS_TIMEOUT_SECONDS):
            return await _converse(socket)
    except TimeoutError as error:
        raise StatusError(
            f"the gateway does not answer on {socket}; `hermes-gateway doctor` says which process that is"
        ) from error


async def _converse(socket: Path) -> Mapping[str, Any] | None:
    try:
        connection = await connect(str(socket))
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except OSError as error:
        raise StatusError(f"cannot reach {socket}: {error}; `hermes-gateway doctor` says more") from error
    try:
        await connection.send({"service": "control", "op": "status"})
        answer = await connection.receive()
    except (ConnectionError, FrameError):
        return None
    finally:
        await connection.close()
    if answer is None:
        return None
    status = answer.get("status")
    if not isinstance(status, Mapping):
        raise StatusError(f"the gateway on {socket} answers: {answer.get('error') or answer.get('text')}")
    return status
