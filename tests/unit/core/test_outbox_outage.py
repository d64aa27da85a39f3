"""The outbox in an outage of the database: what was sent before it is not taken for what may have been sent in it."""

from pathlib import Path

import pytest

from gateway.ports import Capabilities, Delivery, Found, OutcomeUnknownError, SearchOutcome
from gateway.storage import failover as failover_module
from gateway.storage import shadow as shadow_module
from gateway.storage import writer as writer_module
from tests.support.fakes import FakeAdapter, core
from tests.unit.core.test_outbox import put
from tests.unit.storage.test_failover import held

UNSURE = OutcomeUnknownError("the connection broke")


class ByContent(FakeAdapter):
    """Finds as Discord does: the first message of this content that no delivery is known to be."""

    async def find(self, delivery: Delivery) -> Found | SearchOutcome:
        claimed = {*delivery.before, *delivery.others}
        await super().find(delivery)
        texts = {message_id: shown.text for message_id, shown in self.screen.items() if message_id not in claimed}
        return next((Found(name) for name, text in texts.items() if text == delivery.text), SearchOutcome.ABSENT)


@pytest.mark.parametrize("hidden", [False, True])
async def test_a_reply_that_was_not_shown_is_not_taken_for_an_earlier_one_like_it(
    tmp_path: Path, hidden: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (writer_module, failover_module):
        monkeypatch.setattr(module, "SQLITE_BUSY_SECONDS", 0.02)
    if hidden:
        monkeypatch.setattr(shadow_module, "_open", lambda _path: None)
    adapter = ByContent(Capabilities(find=True))
    async with core(tmp_path, adapter=adapter) as gateway:
        await put(gateway, "Done.")
        await gateway.settled()
        with held(tmp_path / "gateway.db"):
            adapter.fail("send", UNSURE)
            await put(gateway, "Done.")
            await gateway.settled()
            assert gateway.database.state.mode == "spool"
            assert [delivery.repeated for delivery in adapter.screen.values()] == [False, hidden]
