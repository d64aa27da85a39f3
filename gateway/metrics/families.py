"""Says how the gateway stands in the words of Prometheus: names, types and labels are an interface, see the tests."""

from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.metrics.meters import Histogram
from gateway.metrics.names import (
    DELIVERIES,
    DENIALS,
    ERRORS,
    INBOUND,
    OTHER,
    PREFIX,
    SINGLE,
    TOLD_WITH_LABELS,
    TURNS,
    part_of,
)
from gateway.metrics.reading import Reading
from gateway.ports import AdapterState

_Labels = TypeVar("_Labels", bound=tuple[str, ...])

MODES: Final = ("sqlite", "spool", "none")
"""Where data can go."""

TOKENS: Final = ("input", "output", "cache_read", "cache_write")


def as_text(reading: Reading) -> bytes:
    """A reading in Prometheus' text format, version 0.0.4
    (https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format)."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(reading))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


class _Families(Collector):
    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def describe(self) -> list[Metric]:
        """Nothing: a registry that lives for one answer needs not be told what is to come."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every metric but those of the process."""
        yield from _gateway(self._reading)
        yield from _inbound(self._reading)
        yield from _turns(self._reading)
        yield from _deliveries(self._reading)
        yield from _storage(self._reading)
        yield from _faults(self._reading)


def _gateway(reading: Reading) -> Iterator[Metric]:
    build = _gauge("build_info", "The version that runs; always 1.", "version", "python")
    build.add_metric([reading.version, reading.python], 1)
    yield build
    yield _gauge_of("ready", "Whether messages can be taken and answered, as /ready says.", reading.ready)
    yield _gauge_of("degraded", "Whether something works no better than makeshift, as /ready says.", reading.degraded)
    adapters = _gauge("adapter_state", "The state of each connection: 1 for the one it is in.", "platform", "state")
    for platform, state in reading.adapters.items():
        for each in AdapterState:
            adapters.add_metric([platform, each.value], state == each.value)
    yield adapters
    if reading.reloaded is not None:
        words = "Whether the configuration's last reload was taken over; absent if there was none."
        yield _gauge_of("config_reload_ok", words, reading.reloaded)
    yield _histogram("loop_lag_seconds", "By how much the event loop was late, looked at twice a second.",
                     reading.meters.lag)  # fmt: skip


def _inbound(reading: Reading) -> Iterator[Metric]:
    zero = {(platform, outcome): 0 for platform in reading.adapters for outcome in INBOUND}
    yield _counter(
        "inbound_messages", "Messages that came in, by what became of them.", ("platform", "outcome"),
        zero | reading.meters.inbound,
    )  # fmt: skip
    words = "Messages without an answer: they wait, or ended without one and are to be looked at."
    yield from _stored("unanswered_messages", words, reading.counted.get("inbound", {}))
    zero_denials = {(reason,): reading.counters.get(name, 0) for name, reason in DENIALS.items()}
    yield _counter("denials", "Messages that were not heard, by the reason.", ("reason",), zero_denials)
    if reading.set_aside is not None:
        yield _gauge_of("updates_set_aside", "Updates of platforms that could not be read.", reading.set_aside)


def _turns(reading: Reading) -> Iterator[Metric]:
    meters, agents = reading.meters, reading.agents
    outcomes = {(agent, outcome): 0 for agent in agents for outcome in TURNS}
    yield _counter(
        "turns", "Turns that ended, by how.", ("agent", "outcome"), _of_agents(outcomes, meters.turns, reading)
    )
    kinds = {(agent, kind): 0 for agent in agents for kind in TOKENS}
    yield _counter("tokens", "Tokens that models took.", ("agent", "kind"), _of_agents(kinds, meters.tokens, reading))
    free = {(agent, ""): 0.0 for agent in agents}
    dollars = _of_agents(free, {(agent, ""): cost for agent, cost in meters.dollars.items()}, reading)
    spent = {(agent,): cost for (agent, _), cost in dollars.items()}
    yield _counter("cost_dollars", "What they cost, where the price is known.", ("agent",), spent)
    words = "From when a message came in until its agent's first text."
    yield _histogram("first_text_seconds", words, meters.first_text)
    yield _histogram("turn_seconds", "From when a message came in until the end of its turn was on disk.", meters.turn)
    yield _states(
        "turns_open", "Turns that have not ended.", {name: reading.turns[name] for name in ("running", "put_off")}
    )
    yield _gauge_of("messages_waiting", "Messages that wait for their turn.", reading.turns["queued"])
    words = "Conversations: the live one of each place, and those that ended."
    yield from _stored("sessions", words, _sessions(reading))
    if reading.unremembered is not None:
        yield _gauge_of("memory_turns_waiting", "Turns that wait to be remembered.", reading.unremembered)


def _deliveries(reading: Reading) -> Iterator[Metric]:
    meters = reading.meters
    zero = {(platform, outcome): 0 for platform in reading.adapters for outcome in DELIVERIES}
    words = "Deliveries that were shown whole, or given up."
    yield _counter("deliveries", words, ("platform", "outcome"), zero | meters.deliveries)
    retries = {
        (platform,): number for platform, number in (dict.fromkeys(reading.adapters, 0) | meters.retries).items()
    }
    yield _counter("delivery_retries", "How often a delivery was put off to be tried again.", ("platform",), retries)
    words = "Deliveries in the outbox: under way, given up (dead letters), or marked as repeated."
    yield from _stored("outbox_deliveries", words, reading.counted.get("outbox", {}))


def _storage(reading: Reading) -> Iterator[Metric]:
    modes = {mode: int(reading.storage.mode == mode) for mode in MODES}
    mode = _gauge("storage_mode", "Where data goes: 1 for the database, the spool, or nowhere.", "mode")
    for name, value in modes.items():
        mode.add_metric([name], value)
    yield mode
    yield _counter(
        "storage_recoveries", "How often the database came back into use.", (), {(): reading.storage.recovered}
    )
    yield _gauge_of("storage_writer_jobs", "Jobs that are not durable yet.", reading.queued)
    yield _histogram("storage_commit_seconds", "How long a transaction took, until it was durable.", reading.commits)
    if reading.behind is not None:
        yield _gauge_of("mirror_messages_behind", "Messages that the mirror does not have yet.", reading.behind)


def _faults(reading: Reading) -> Iterator[Metric]:
    counters = reading.counters
    for name, (metric, words) in SINGLE.items():
        yield _counter(metric, words, (), {(): counters.get(name, 0)})
    faults = dict.fromkeys(ERRORS, 0) | {name: number for name, number in counters.items() if name.endswith("errors")}
    by_part = {(part_of(name),): number for name, number in faults.items()}
    yield _counter("errors", "Faults that were caught where they arose; the log has each.", ("part",), by_part)
    told = {*SINGLE, *DENIALS, *TOLD_WITH_LABELS, *faults}
    events = {(name,): number for name, number in sorted(counters.items()) if name not in told}
    yield _counter("events", "Whatever else is counted, as `status --json` has it.", ("event",), events)


# --- kinds -------------------------------------------------------------------------------------------------------


def _of_agents(
    zero: Mapping[tuple[str, str], float], found: Mapping[tuple[str, str], float], reading: Reading
) -> Mapping[tuple[str, str], float]:
    """Values by agent: those that the configuration has, and the others together, so that their number is bounded."""
    values = dict(zero)
    for (agent, label), value in found.items():
        key = (agent if agent in reading.agents else OTHER, label)
        values[key] = values.get(key, 0) + value
    return values


def _sessions(reading: Reading) -> Mapping[str, int | None]:
    counted = reading.counted.get("sessions", {})
    total, live = counted.get("total"), counted.get("live")
    return {} if total is None or live is None else {"live": live, "ended": total - live}


def _stored(name: str, words: str, values: Mapping[str, int | None]) -> Iterator[Metric]:
    """A number by state; without those that nobody knows in an outage."""
    known = {state: number for state, number in values.items() if number is not None}
    if known:
        yield _states(name, words, known)


def _states(name: str, words: str, values: Mapping[str, int]) -> Metric:
    family = _gauge(name, words, "state")
    for state, number in values.items():
        family.add_metric([state], number)
    return family


def _gauge(name: str, words: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, words, labels=labels)


def _gauge_of(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, words, value=value)


def _counter(name: str, words: str, labels: tuple[str, ...], values: Mapping[_Labels, float]) -> Metric:
    family = CounterMetricFamily(PREFIX + name, words, labels=labels)
    for key, value in values.items():
        family.add_metric([str(each) for each in key], value)
    return family


def _histogram(name: str, words: str, histogram: Histogram) -> Metric:
    """The counts of a histogram, which others may add to meanwhile: they are read once."""
    counts = list(accumulate(histogram.counts))
    buckets = [(str(bound), count) for bound, count in zip((*histogram.bounds, "+Inf"), counts, strict=True)]
    return HistogramMetricFamily(PREFIX + name, words, buckets=buckets, sum_value=histogram.total)
