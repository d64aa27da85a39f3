"""How the gateway stands at one moment, as far as a monitor is told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gateway.metrics.meters import Histogram, Meters
from gateway.storage.state import StorageState


@dataclass(frozen=True, slots=True)
class Reading:
    """How everything stands at one moment. What the database cannot tell at present is None or absent."""

    version: str
    python: str
    ready: bool
    degraded: bool
    adapters: Mapping[str, str]
    """The state of each connection, by platform."""
    agents: Sequence[str]
    meters: Meters
    counters: Mapping[str, int]
    turns: Mapping[str, int]
    storage: StorageState
    queued: int
    """Jobs that wait for the database."""
    commits: Histogram
    reloaded: bool | None
    """Whether the last reload of the configuration was taken over; None if there was none."""
    counted: Mapping[str, Mapping[str, int | None]] = field(default_factory=dict)
    """What is in the database, by kind and state."""
    set_aside: int | None = None
    behind: int | None = None
    unremembered: int | None = None
