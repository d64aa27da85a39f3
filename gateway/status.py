"""Owns the questions that are asked of the process that runs: how it is, and to read its configuration again."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gateway.frames import FrameError, connect

STATUS_TIMEOUT_SECONDS: Final = 5.0
"""How long a gateway that runs may take to answer; its loop never stalls, so this is ample."""


RELOAD_TIMEOUT_SECONDS: Final = 300.0
"""How long a reload may take: agents are started in it, and a local model has to load."""


DELETE_TIMEOUT_SECONDS: Final = 3600.0
"""How long the deletion of a session may take: a purge writes the whole database anew, and each copy of it."""


OTHER_VERSION: Final = (
    "the gateway that runs does not know this command, so it is of another version: stop it, and start it again"
)
"""Why nothing came of a request, where people upgraded and the gateway of before still runs."""


_NOT_KNOWN: Final = ("unknown operation", "the first frame must name a service")
"""How the answer of a gateway begins that does not know what it is asked; it goes on with what it knows."""


class StatusError(Exception):
    """The socket cannot be reached, or who listens there does not answer as a gateway does.

    `what` is what was found, without `further`: where the person can read more.
    """

    def __init__(self, what: str, further: str = "") -> None:
        super().__init__(f"{what}; {further}" if further else what)
        self.what = what


async def ask(socket: Path) -> Mapping[str, Any] | None:
    """What the gateway that listens on `socket` says of itself, None if none does. Raises `StatusError`."""
    return await _request(socket, "status", STATUS_TIMEOUT_SECONDS)


async def ask_to_reload(socket: Path) -> Mapping[str, Any] | None:
    """Have the gateway that listens on `socket` read its configuration again; what that came to, None if none does.

    Raises `StatusError`.
    """
    return await _request(socket, "reload", RELOAD_TIMEOUT_SECONDS)


async def ask_to_delete(socket: Path, session_id: str, *, purge: bool, force: bool) -> Mapping[str, Any] | None:
    """Have the gateway that listens on `socket` delete a session; its answer, None if none listens.

    The answer has `erased`, or, where it was not done, `error`. Raises `StatusError`.
    """
    request = {"session_id": session_id, "purge": purge, "force": force}
    return await _answer(socket, "sessions.delete", DELETE_TIMEOUT_SECONDS, request)


async def ask_to_change(socket: Path, request: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Have the gateway that listens on `socket` change a session; its answer, None if none listens.

    The answer has `session`, or, where it was not done, `error`. Raises `StatusError`.
    """
    return await _answer(socket, str(request["op"]), STATUS_TIMEOUT_SECONDS, {**request, "service": "sessions"})


async def ask_about_people(socket: Path, operation: str, request: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Have the gateway that listens on `socket` carry out a decision about people, or list them; its answer, None if
    none listens.

    The answer has `outcome` or `listing`, or, where it was not done, `error`. Raises `StatusError`.
    """
    return await _answer(socket, operation, STATUS_TIMEOUT_SECONDS, request)


async def ask_to_send(socket: Path, request: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Have the gateway that listens on `socket` send a message; its answer, None if none listens.

    The answer has `status` and `target`, or, where it was not taken, `error`. Raises `StatusError`.
    """
    return await _answer(socket, "send", STATUS_TIMEOUT_SECONDS, {**request, "service": "send"})


def reason_of(answer: Mapping[str, Any]) -> str:
    """Why a gateway has not done what it was asked to, for the person who asked."""
    said = str(answer.get("error") or answer.get("text"))
    return OTHER_VERSION if said.startswith(_NOT_KNOWN) else said


async def _request(socket: Path, operation: str, seconds: float) -> Mapping[str, Any] | None:
    answer = await _answer(socket, operation, seconds)
    if answer is None:
        return None
    told = answer.get(operation)
    if not isinstance(told, Mapping):
        reason = reason_of(answer)
        raise StatusError(reason if reason is OTHER_VERSION else f"the gateway on {socket} answers: {reason}")
    return told


async def _answer(
    socket: Path, operation: str, seconds: float, request: Mapping[str, Any] | None = None
) -> Mapping[str, Any] | None:
    try:
        async with asyncio.timeout(seconds):
            return await _converse(socket, {"service": "control", **(request or {}), "op": operation})
    except TimeoutError as error:
        raise StatusError(
            f"the gateway does not answer on {socket}", "`hermes-gateway doctor` says which process that is"
        ) from error


async def _converse(socket: Path, request: Mapping[str, Any]) -> Mapping[str, Any] | None:
    try:
        connection = await connect(str(socket))
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except OSError as error:
        raise StatusError(f"cannot reach {socket}: {error}", "`hermes-gateway doctor` says more") from error
    try:
        await connection.send(request)
        return await connection.receive()
    except (ConnectionError, FrameError):
        return None
    finally:
        await connection.close()
