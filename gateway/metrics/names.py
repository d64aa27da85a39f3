"""The values that labels have: each is there from the start, at zero, so that a monitor sees the first of its kind."""

from typing import Final

PREFIX: Final = "hermes_gateway_"
"""What the name of each metric begins with, but for those of the process, which have the names that all programs give
them (https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics)."""

INBOUND: Final = ("accepted", "refused", "ignored", "duplicate", "not_stored")
"""What becomes of a message that comes in."""

TURNS: Final = ("answered", "stopped", "failed", "dead")
"""How a turn ends."""

DELIVERIES: Final = ("sent", "dead")
"""How a delivery ends."""

OTHER: Final = "other"
"""An agent that the configuration has no more."""

SINGLE: Final = {
    "turns.retried": ("turn_retries", "Turns whose agent failed and that were put off to be tried again."),
    "turns.stalled": ("turns_stalled", "Attempts that were given up because the agent showed no sign of life."),
    "turns.abandoned": ("turns_abandoned", "Runs of an agent that did not end when they were cancelled."),
    "outbox.repeated": ("delivery_repeats", "Deliveries that may have been seen before, and say so."),
}
"""Counters that are a metric each: its name, and what it says."""

DENIALS: Final = {"access.kept_out": "stranger", "access.limited": "limit", "access.bot_loops": "bot_loop"}
"""Counters of whom the gateway did not hear, and the reason that each stands for."""

TOLD_WITH_LABELS: Final = frozenset({*(f"turns.{outcome}" for outcome in TURNS), "outbox.dead"})
"""Counters of which `Meters` knows more."""

ERRORS: Final = (
    "adapters.errors",
    "agents.start_errors",
    "api.prune_errors",
    "commands.errors",
    "control.errors",
    "lanes.errors",
    "lifecycle.errors",
    "media.errors",
    "memory.errors",
    "memory.recall_errors",
    "memory.start_errors",
    "memory.storage_errors",
    "memory.sync_errors",
    "mirror.errors",
    "naming.errors",
    "outbox.adapter_errors",
    "outbox.errors",
    "reload.errors",
    "retention.errors",
    "search.errors",
    "storage.recovery_errors",
    "tools.errors",
    "tools.storage_errors",
    "turns.agent_errors",
    "turns.tool_errors",
)
"""Counters of faults that were caught where they arose."""


def part_of(counter: str) -> str:
    """What part of the gateway a counter of faults belongs to: `outbox.adapter_errors` is `outbox.adapter`."""
    return counter.removesuffix("errors").rstrip("._")
