"""What a gateway tells a monitor, as the monitor's own parser reads it."""

from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True, slots=True)
class Scraped:
    """The text, and the metrics in it."""

    text: str

    @property
    def families(self) -> Mapping[str, Metric]:
        """The metrics by name: a counter is called what it is without `_total`."""
        return {family.name: family for family in text_string_to_metric_families(self.text)}

    def value(self, name: str, **labels: str) -> float:
        """One value; the name is without what all of them begin with. Raises KeyError where there is none."""
        for family in text_string_to_metric_families(self.text):
            for sample in family.samples:
                if sample.name == f"hermes_gateway_{name}" and sample.labels == labels:
                    return sample.value
        raise KeyError(name, labels)

    @property
    def series(self) -> int:
        """How many values there are."""
        return sum(len(family.samples) for family in text_string_to_metric_families(self.text))
