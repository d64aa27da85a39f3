"""How long the property tests search: a short while by default, long when asked to."""

import os

from hypothesis import HealthCheck, settings

LONG = bool(os.environ.get("HERMES_GATEWAY_TEST_LONG") or os.environ.get("HERMES_LONG"))


def effort(examples: int, steps: int) -> settings:
    """The settings of a stateful test; the long run has twenty times the examples and twice the steps."""
    return settings(
        max_examples=examples * (20 if LONG else 1),
        stateful_step_count=steps * (2 if LONG else 1),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )
