"""Whether messages can be taken and answered at present, and if not, why."""

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.parts import Parts

USABLE = ("connected", "degraded")
"""States of a connection in which messages come and go."""


def readiness(parts: Parts) -> tuple[bool, Mapping[str, Any]]:
    """Whether all is well enough to answer, with `reasons` why not, and what works no better than `degraded`."""
    reasons = list(_reasons(parts))
    return not reasons, {"reasons": reasons, "degraded": list(_makeshifts(parts))}


def _reasons(parts: Parts) -> Iterator[str]:
    for name, state in parts.adapters.states.items():
        if state["state"] not in USABLE:
            yield f"{name} is {state['state']}" + (f": {state['reason']}" if state["reason"] else "")
    if (trouble := parts.roster.trouble) is not None:
        yield trouble
    writer, storage = parts.database.writer, parts.database.state
    if not writer.is_alive:
        yield "the database's writer has ended: restart the gateway"
    elif writer.is_full:
        yield "the database cannot keep up: messages are not taken until it has"
    if storage.mode == "none":
        yield f"nothing can be stored: {storage.reason}"
    if parts.lanes.is_full:
        yield "too many messages wait for an answer: no more are taken until some have one"


def _makeshifts(parts: Parts) -> Iterator[str]:
    storage, last = parts.database.state, parts.reloader.last
    for name, state in parts.adapters.states.items():
        if state["state"] == "degraded":
            yield f"{name} is degraded" + (f": {state['reason']}" if state["reason"] else "")
    if storage.mode == "spool":
        yield f"the database is out of use since {storage.since}, the spool is used: {storage.reason}"
    if (trouble := parts.mirror.trouble) is not None:
        yield f"the mirror of the transcripts falls behind: {trouble}"
    if last is not None and not last.ok:
        yield "the configuration's last change was not taken over: `hermes-gateway status` says why"
