"""What is measured while messages go by: counts and times in memory, which cost next to nothing to add to."""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Final

from gateway.ports import Usage

FIRST_TEXT_BOUNDS: Final = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)
"""Seconds: people wait for a first word from a moment to minutes."""

TURN_BOUNDS: Final = (0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
"""Seconds: an answer takes from a moment to half an hour of an agent's work."""

COMMIT_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Seconds: a sync takes a millisecond on a good disk and seconds on one that fails."""

LAG_BOUNDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Seconds: nothing may hold up the event loop; a person notices a tenth."""


class Histogram:
    """How many values fell below each of some bounds, and their sum. One thread observes, any may read."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        """By bound; the last one counts what is above all of them."""
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Add a value; a bound counts what equals it."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def copy(self) -> "Histogram":
        """How it stands now."""
        copy = Histogram(self.bounds)
        copy.counts, copy.total = list(self.counts), self.total
        return copy


class Meters:
    """Counts with labels, and times in seconds. Labels are names of the configuration and the code, never people's."""

    def __init__(self) -> None:
        self.inbound: Counter[tuple[str, str]] = Counter()
        """Messages that came in, by platform and what became of them: see `gateway.metrics.names.INBOUND`."""
        self.turns: Counter[tuple[str, str]] = Counter()
        """Turns that ended, by agent and how."""
        self.tokens: Counter[tuple[str, str]] = Counter()
        """What models took for them, by agent and kind of token."""
        self.dollars: defaultdict[str, float] = defaultdict(float)
        """What that cost, by agent, where the price is known."""
        self.deliveries: Counter[tuple[str, str]] = Counter()
        """Deliveries that ended, by platform and how."""
        self.retries: Counter[str] = Counter()
        """How often a delivery was put off to be tried again, by platform."""
        self.first_text = Histogram(FIRST_TEXT_BOUNDS)
        """From when a message came in until its agent's first text."""
        self.turn = Histogram(TURN_BOUNDS)
        """From when a message came in until the end of its turn was on disk."""
        self.lag = Histogram(LAG_BOUNDS)
        """By how much the event loop was late."""

    def turn_ended(self, agent: str, outcome: str, usage: Usage, seconds: float, first_text: float | None) -> None:
        """A turn has ended, so many seconds after its first message came in; `first_text` is when its text began."""
        self.turns[agent, outcome] += 1
        # The machine's clock may have been put back meanwhile.
        self.turn.observe(max(0.0, seconds))
        if first_text is not None:
            self.first_text.observe(max(0.0, first_text))
        if usage.input_tokens:
            self.tokens[agent, "input"] += usage.input_tokens
        if usage.output_tokens:
            self.tokens[agent, "output"] += usage.output_tokens
        if usage.cache_read_tokens:
            self.tokens[agent, "cache_read"] += usage.cache_read_tokens
        if usage.cache_write_tokens:
            self.tokens[agent, "cache_write"] += usage.cache_write_tokens
        if usage.cost_usd:
            self.dollars[agent] += usage.cost_usd

    def copy(self) -> "Meters":
        """How they stand now; for another thread, which may not look at what is added to meanwhile."""
        copy = Meters()
        copy.inbound, copy.turns, copy.tokens = self.inbound.copy(), self.turns.copy(), self.tokens.copy()
        copy.dollars, copy.deliveries, copy.retries = self.dollars.copy(), self.deliveries.copy(), self.retries.copy()
        copy.first_text, copy.turn, copy.lag = self.first_text.copy(), self.turn.copy(), self.lag.copy()
        return copy
