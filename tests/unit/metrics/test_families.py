"""The names, types and labels that monitors rely on, and what is told where something is not known."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.metrics.families import MODES, as_text
from gateway.metrics.meters import COMMIT_BOUNDS, Histogram, Meters
from gateway.metrics.names import DENIALS, ERRORS, SINGLE, TOLD_WITH_LABELS, TURNS, part_of
from gateway.metrics.reading import Reading
from gateway.ports import Usage
from gateway.storage.state import StorageState
from tests.support.scraped import Scraped

ROOT = Path(__file__).resolve().parents[3]
RULES = ROOT / "examples" / "prometheus" / "alerts.yml"

GOLDEN: Mapping[str, tuple[str, frozenset[str]]] = {
    name: (kind, frozenset(labels.split()))
    for name, kind, labels in (
        ("adapter_state", "gauge", "platform state"),
        ("build_info", "gauge", "version python"),
        ("config_reload_ok", "gauge", ""),
        ("cost_dollars", "counter", "agent"),
        ("degraded", "gauge", ""),
        ("deliveries", "counter", "platform outcome"),
        ("delivery_repeats", "counter", ""),
        ("delivery_retries", "counter", "platform"),
        ("denials", "counter", "reason"),
        ("errors", "counter", "part"),
        ("events", "counter", "event"),
        ("first_text_seconds", "histogram", "le"),
        ("inbound_messages", "counter", "platform outcome"),
        ("loop_lag_seconds", "histogram", "le"),
        ("memory_turns_waiting", "gauge", ""),
        ("messages_waiting", "gauge", ""),
        ("mirror_messages_behind", "gauge", ""),
        ("outbox_deliveries", "gauge", "state"),
        ("ready", "gauge", ""),
        ("sessions", "gauge", "state"),
        ("storage_commit_seconds", "histogram", "le"),
        ("storage_mode", "gauge", "mode"),
        ("storage_recoveries", "counter", ""),
        ("storage_writer_jobs", "gauge", ""),
        ("tokens", "counter", "agent kind"),
        ("turn_retries", "counter", ""),
        ("turn_seconds", "histogram", "le"),
        ("turns", "counter", "agent outcome"),
        ("turns_abandoned", "counter", ""),
        ("turns_open", "gauge", "state"),
        ("turns_stalled", "counter", ""),
        ("unanswered_messages", "gauge", "state"),
        ("updates_set_aside", "gauge", ""),
    )
}
"""An interface: whoever renames one breaks the monitors of those who upgrade."""


def reading(**values: Any) -> Reading:
    meters = Meters()
    meters.turn_ended("ada", "answered", Usage(input_tokens=1, cost_usd=0.5), 2.0, 1.0)
    known: dict[str, Any] = {
        "version": "1.2.3",
        "python": "3.13.1",
        "ready": True,
        "degraded": False,
        "adapters": {"telegram": "connected"},
        "agents": ["ada"],
        "meters": meters,
        "counters": {"reload.done": 2},
        "turns": {"running": 1, "queued": 2, "put_off": 3},
        "storage": StorageState(),
        "queued": 0,
        "commits": Histogram(COMMIT_BOUNDS),
        "reloaded": True,
        "counted": {
            "sessions": {"total": 5, "live": 2},
            "inbound": {"pending": 1, "dead": 2},
            "outbox": {"pending": 1, "dead": 2},
        },
        "set_aside": 0,
        "behind": 0,
        "unremembered": 0,
    }
    return Reading(**(known | values))


def told(**values: Any) -> Scraped:
    return Scraped(as_text(reading(**values)).decode())


def test_names_types_and_labels_are_what_they_were() -> None:
    found = {
        name.removeprefix("hermes_gateway_"): (
            family.type,
            frozenset(label for sample in family.samples for label in sample.labels),
        )
        for name, family in told().families.items()
        if name.startswith("hermes_gateway_")
    }
    assert found == GOLDEN


def test_what_the_process_is_is_named_as_everywhere() -> None:
    others = {name for name in told().families if not name.startswith("hermes_gateway_")}
    assert "process_resident_memory_bytes" in others
    assert all(name.startswith("process_") for name in others)


def test_what_nobody_knows_is_left_out_and_not_told_as_none() -> None:
    everything = {"sessions": {"total": None, "live": None}, "inbound": {"pending": 1, "dead": None}, "outbox": {}}
    found = told(counted=everything, reloaded=None, set_aside=None, behind=None, unremembered=None)
    assert found.value("unanswered_messages", state="pending") == 1
    left_out = ("sessions", "outbox_deliveries", "config_reload_ok", "updates_set_aside", "mirror_messages_behind")
    for name in (*left_out, "memory_turns_waiting"):
        assert f"hermes_gateway_{name}" not in found.families
    with pytest.raises(KeyError):
        found.value("unanswered_messages", state="dead")
    assert told(counted={}).value("ready") == 1


@pytest.mark.parametrize("mode", MODES)
def test_where_data_goes(mode: Any) -> None:
    found = told(storage=replace(StorageState(), mode=mode, recovered=3))
    assert {each: found.value("storage_mode", mode=each) for each in MODES} == {each: each == mode for each in MODES}
    assert found.value("storage_recoveries_total") == 3


@pytest.mark.parametrize("reloaded", [True, False])
def test_whether_the_configuration_was_taken_over(reloaded: bool) -> None:
    assert told(reloaded=reloaded).value("config_reload_ok") == reloaded


def test_agents_that_there_are_not_any_more_share_a_label() -> None:
    meters = Meters()
    for name in ("ada", "gone-1", "gone-2"):
        meters.turn_ended(name, "answered", Usage(output_tokens=7, cost_usd=1.5), 1.0, None)
    found = told(meters=meters)
    assert found.value("turns_total", agent="ada", outcome="answered") == 1
    assert found.value("turns_total", agent="other", outcome="answered") == 2
    assert found.value("tokens_total", agent="other", kind="output") == 14
    assert found.value("cost_dollars_total", agent="other") == 3.0
    assert "gone-" not in found.text


def test_a_histogram_counts_what_is_below_each_bound() -> None:
    commits = Histogram((0.5, 1.0))
    for value in (0.1, 0.7, 5.0):
        commits.observe(value)
    found = told(commits=commits)
    assert [found.value("storage_commit_seconds_bucket", le=le) for le in ("0.5", "1.0", "+Inf")] == [1, 2, 3]
    assert found.value("storage_commit_seconds_count") == 3
    assert found.value("storage_commit_seconds_sum") == pytest.approx(5.8)


def test_every_counter_is_told_once() -> None:
    counters = Counter(
        {
            **dict.fromkeys((*ERRORS, *SINGLE, *DENIALS, *TOLD_WITH_LABELS), 4),
            "media.fetched": 5,
            "new.errors": 6,
        }
    )
    found = told(counters=counters)
    assert found.value("errors_total", part="outbox.adapter") == 4
    assert found.value("errors_total", part="new") == 6
    assert found.value("denials_total", reason="stranger") == 4
    assert found.value("delivery_repeats_total") == found.value("turn_retries_total") == 4
    assert found.value("events_total", event="media.fetched") == 5
    assert len(found.families["hermes_gateway_events"].samples) == 1


def test_labels_are_quoted_as_they_must_be() -> None:
    name = 'a "name"\nwith \\ everything'
    assert told(agents=[name]).value("turns_total", agent=name, outcome="dead") == 0


def test_every_fault_that_is_counted_is_there_from_the_start() -> None:
    sources = [path.read_text("utf-8") for path in (ROOT / "gateway").rglob("*.py")]
    named = {name for text in sources for name in re.findall(r'counters\["([a-z_.]+errors)"\]', text)}
    assert named == set(ERRORS)
    assert len({part_of(name) for name in ERRORS}) == len(ERRORS)
    assert all("counters[" in "".join(sources) and name in "".join(sources) for name in (*SINGLE, *DENIALS))


def test_how_turns_end_is_there_from_the_start() -> None:
    found = told()
    assert [found.value("turns_total", agent="ada", outcome=outcome) for outcome in TURNS] == [1, 0, 0, 0]


# --- the alert rules -----------------------------------------------------------------------------------------------


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_the_rules_ask_for_metrics_and_labels_that_there_are() -> None:
    samples = {sample.name: set(sample.labels) for family in told().families.values() for sample in family.samples}
    for rule in rules():
        asked = re.findall(r"((?:hermes_gateway|process)_\w+)(?:\{([^}]*)\})?", rule["expr"])
        assert asked or rule["alert"] == "HermesGatewayDown", rule["alert"]
        for name, matchers in asked:
            assert name in samples, (rule["alert"], name)
            labels = set(re.findall(r"(\w+)\s*(?:=~|=|!=)", matchers))
            assert labels <= samples[name] | {"job", "instance"}, (rule["alert"], labels)


def test_the_rules_ask_for_values_that_there_are() -> None:
    values = {
        value for family in told().families.values() for sample in family.samples for value in sample.labels.values()
    } | {"hermes-gateway", "sending"}
    for rule in rules():
        for _label, found in re.findall(r'(\w+)=~?"([^"]*)"', rule["expr"]):
            assert set(found.split("|")) <= values, (rule["alert"], found)


def test_every_rule_says_what_is_wrong_and_the_page_what_to_do() -> None:
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    explained = set(re.findall(r"^\| `(HermesGateway\w+)` \|", page, re.MULTILINE))
    assert {rule["alert"] for rule in rules()} == explained
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert set(rule["annotations"]) == {"summary", "description"}


def test_every_metric_is_in_the_page() -> None:
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    kinds = {"counter": "_total"}
    for name, (kind, _labels) in GOLDEN.items():
        assert f"`{name}{kinds.get(kind, '')}" in page, name
