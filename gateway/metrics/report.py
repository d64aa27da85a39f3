"""Gathers what a monitor is told: nothing is kept for it but `Meters`, all else is asked when it asks."""

import asyncio
import logging
import platform
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar

from gateway.counts import counts
from gateway.metrics.reading import Reading
from gateway.parts import Parts
from gateway.ports import StorageBusyError
from gateway.storage.errors import StorageError
from gateway.version import program_version

log = logging.getLogger(__name__)

T = TypeVar("T")

READ_SECONDS: Final = 5.0
"""How long a database may take to count before its counts are left out: half of what a monitor waits by default
(https://prometheus.io/docs/prometheus/latest/configuration/configuration/#configuration-file)."""


async def read(
    parts: Parts, counters: Mapping[str, int], ready: Callable[[], tuple[bool, Mapping[str, Any]]]
) -> Reading:
    """How the gateway stands now. Raises nothing that a fault of the storage would."""
    is_ready, told = ready()
    last = parts.reloader.last
    known = Reading(
        version=program_version(),
        python=platform.python_version(),
        ready=is_ready,
        degraded=bool(told.get("degraded")),
        adapters={name: str(state["state"]) for name, state in parts.adapters.states.items()},
        agents=parts.roster.names,
        meters=parts.http.meters.copy(),
        counters=dict(counters),
        turns=parts.lanes.counts,
        storage=parts.database.state,
        queued=parts.database.writer.queued,
        commits=parts.database.writer.commits.copy(),
        reloaded=last.ok if last else None,
    )
    # The database comes last: what has been counted is on disk, so it is never behind the counters.
    counted, updates, mirror, memory = await asyncio.gather(
        _known(counts(parts.database)),
        _known(parts.updates.counts()),
        _known(parts.mirror.status()),
        _known(parts.memory.status()),
    )
    return replace(
        known,
        counted=counted or {},
        set_aside=(updates or {}).get("set_aside"),
        behind=(mirror or {}).get("behind"),
        unremembered=(memory or {}).get("waiting_turns"),
    )


async def report(
    parts: Parts, counters: Mapping[str, int], ready: Callable[[], tuple[bool, Mapping[str, Any]]]
) -> bytes:
    """The same, in the words of a monitor: see `gateway.metrics.families`."""
    return await asyncio.to_thread(_write, await read(parts, counters, ready))


def _write(reading: Reading) -> bytes:
    """Off the loop: the library is loaded when somebody asks first, and some hundred lines take milliseconds."""
    from gateway.metrics.families import as_text

    return as_text(reading)


async def _known(asked: Awaitable[T]) -> T | None:
    """What the database says; None where it cannot be asked at present."""
    try:
        async with asyncio.timeout(READ_SECONDS):
            return await asked
    except (StorageError, StorageBusyError, TimeoutError) as error:
        log.debug("some metrics are left out: %s", str(error) or "the database takes too long")
        return None
