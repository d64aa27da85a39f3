"""Whether messages can be taken and answered at present, and if not, why."""

from collections.abc import Mapping
from typing import Any

from gateway.storage.database import Database

USABLE = ("connected", "degraded")
"""States of a connection in which messages come and go."""


def readiness(
    adapters: Mapping[str, Mapping[str, Any]], database: Database, mirror_trouble: str | None
) -> tuple[bool, Mapping[str, Any]]:
    """Whether all is well enough to answer, with `reasons` why not, and what works no better than `degraded`.

    `adapters` are the states of the connections by platform, as a status shows them.
    """
    reasons = [
        f"{name} is {state['state']}" + (f": {state['reason']}" if state["reason"] else "")
        for name, state in adapters.items()
        if state["state"] not in USABLE
    ]
    storage = database.state
    if not database.writer.is_alive:
        reasons.append("the database's writer has ended: restart the gateway")
    if storage.mode == "none":
        reasons.append(f"nothing can be stored: {storage.reason}")
    degraded = []
    if storage.mode == "spool":
        degraded.append(f"the database is out of use since {storage.since}, the spool is used: {storage.reason}")
    if mirror_trouble is not None:
        degraded.append(f"the mirror of the transcripts falls behind: {mirror_trouble}")
    return not reasons, {"reasons": reasons, "degraded": degraded}
