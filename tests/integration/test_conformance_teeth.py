"""The conformance suite bites: adapters that break a promise fail the test about it."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from adapters.base import AdapterHost, Composed, Composer, Delivery, Found, SearchOutcome
from adapters.testing.conformance import AdapterConformance, Fault, Harness, PlaceKind, run
from adapters.testing.conformance.trial import Trial
from config import PlatformConfig
from tests.support.lines_example import installed_lines

Break = Callable[[pytest.MonkeyPatch, Any], None]


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with installed_lines(tmp_path_factory.mktemp("site")):
        yield


def denies_everything(patch: pytest.MonkeyPatch, adapter: Any) -> None:
    async def find(self: object, delivery: Delivery) -> Found | SearchOutcome:
        return SearchOutcome.ABSENT

    patch.setattr(adapter, "find", find)


def marks_nothing(patch: pytest.MonkeyPatch, adapter: Any) -> None:
    async def find(self: object, delivery: Delivery) -> Found | SearchOutcome:
        return SearchOutcome.UNKNOWN

    send = adapter.send
    patch.setattr(adapter, "find", find)
    patch.setattr(adapter, "send", lambda self, delivery: send(self, replace(delivery, repeated=False)))


def forgets_threads(patch: pytest.MonkeyPatch, adapter: Any) -> None:
    send = adapter.send

    def elsewhere(self: object, delivery: Delivery) -> Any:
        return send(self, replace(delivery, target=replace(delivery.target, thread_id=None)))

    patch.setattr(adapter, "send", elsewhere)


def makes_ids_up(patch: pytest.MonkeyPatch, adapter: Any) -> None:
    numbers = iter(range(1000))
    take = adapter._take

    def renumbered(self: object, frame: dict[str, Any]) -> Any:
        return take(self, {**frame, "id": f"made-up-{next(numbers)}"} if frame["op"] == "message" else frame)

    patch.setattr(adapter, "_take", renumbered)


def tells_secrets(patch: pytest.MonkeyPatch, adapter: Any) -> None:
    build = adapter.__init__

    def init(self: object, config: PlatformConfig, host: AdapterHost) -> None:
        assert config.token is not None
        logging.getLogger("lines").info("my token is %s", config.token.get_secret_value())
        build(self, config, host)

    patch.setattr(adapter, "__init__", init)


def cuts_off(patch: pytest.MonkeyPatch, adapter: Any) -> None:
    class Short(Composer):
        def update(self, text: str, *, final: bool, shown: int) -> Composed:
            return Composed((text[:1000],))

    patch.setattr(adapter, "composer", lambda self: Short())


def knocks_again(patch: pytest.MonkeyPatch, adapter: Any) -> None:
    take = adapter._take

    async def deaf(self: object, frame: dict[str, Any]) -> None:
        if frame["op"] == "denied":
            raise ConnectionError("the server does not like this token")
        await take(self, frame)

    patch.setattr(adapter, "_take", deaf)


def answers_itself(patch: pytest.MonkeyPatch, adapter: Any) -> None:
    take = adapter._take

    def own(self: object, frame: dict[str, Any]) -> Any:
        return take(self, {**frame, "ours": False, "user": "ann"} if frame["op"] == "message" else frame)

    patch.setattr(adapter, "_take", own)


def confirms_unseen(patch: pytest.MonkeyPatch, adapter: Any) -> None:
    """It says that a message is there before it is, and forgets those that come while a turn runs."""
    take = adapter._take
    taken: list[dict[str, Any]] = []

    async def hasty(self: Any, frame: dict[str, Any]) -> None:
        if frame["op"] == "message" and taken and not frame["ours"]:
            self._put(op="seen", number=frame["number"])
            return
        taken.extend([frame] if frame["op"] == "message" else [])
        await take(self, frame)

    patch.setattr(adapter, "_take", hasty)


def hangs(patch: pytest.MonkeyPatch, adapter: Any) -> None:
    """It waits for ever for what a dead connection brings."""
    build = adapter.__init__

    def init(self: Any, config: PlatformConfig, host: AdapterHost) -> None:
        build(self, config, host)
        self._patience = 1000.0

    patch.setattr(adapter, "__init__", init)


@pytest.mark.parametrize(
    ("broken", "test", "parameters"),
    [
        (denies_everything, "test_an_answer_survives", {"fault": Fault.DROPPED}),
        (marks_nothing, "test_an_answer_survives", {"fault": Fault.ERROR_AFTER}),
        (hangs, "test_an_answer_survives", {"fault": Fault.NO_ANSWER}),
        (hangs, "test_a_connection_that_is_open_and_dead_is_noticed", {"fault": Fault.HALF_OPEN}),
        (forgets_threads, "test_an_answer_comes_where_it_was_asked", {}),
        (forgets_threads, "test_an_answer_grows", {"kind": PlaceKind.THREAD}),
        (makes_ids_up, "test_what_comes_twice_is_answered_once", {"fault": Fault.DUPLICATE_UPDATE}),
        (tells_secrets, "test_a_text_goes_both_ways", {"text": "good morning"}),
        (cuts_off, "test_a_long_answer_is_shown_whole", {}),
        (cuts_off, "test_no_word_of_a_markdown_text_is_lost", {}),
        (knocks_again, "test_a_secret_that_is_revoked_fails_alone", {}),
        (answers_itself, "test_our_own_messages_are_not_answered", {}),
        (confirms_unseen, "test_answers_come_in_the_order_of_questions", {}),
        (confirms_unseen, "test_a_restart_in_the_middle_loses_nothing", {}),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_a_broken_promise_is_noticed(
    broken: Break, test: str, parameters: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import hermes_lines  # type: ignore[import-not-found]
    import test_lines  # type: ignore[import-not-found]

    broken(monkeypatch, hermes_lines.LinesAdapter)
    harness: Harness = test_lines.LinesHarness()
    async with Trial(harness) as trial:
        await trial.start()
        await trial.connected()
        monkeypatch.setattr(run, "PATIENCE", 0.8)
        with pytest.raises(AssertionError):
            await passes(trial, test, parameters)


async def passes(trial: Trial, test: str, parameters: dict[str, Any]) -> None:
    await getattr(AdapterConformance(), test)(trial, **parameters)
    await trial.check()
