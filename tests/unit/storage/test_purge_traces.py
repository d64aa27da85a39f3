"""A purge reaches what a session has left outside of its own rows: records of programs, copies made in the midst of a
turn, spools in backups, and what was kept under another session's or turn's name."""

from typing import Final

import pytest

from config import Platform
from gateway.api.ledger import ACCOUNT, Answer, Asked, Ledger
from gateway.inbox import Inbox
from gateway.ports import InboundMessage
from gateway.source import SessionSource
from tests.unit.storage.test_erasure import CONFIG, MARK, House, house

__all__ = ["house"]

HERE: Final = SessionSource(Platform.TELEGRAM, "9", user_id="7")
"""Where the sessions of a `House` are."""


async def take(house: House, number: str, text: str = f"{MARK} again", source: SessionSource = HERE) -> None:
    """A message comes in, and waits."""
    inbox = Inbox(
        house.database,
        house.store,
        CONFIG,
        house.clock,
        on_message=lambda _record: None,
        on_delivery=lambda _target: None,
    )
    await inbox.accept(InboundMessage(source, number, text, account=ACCOUNT), operator=True)


async def settle(house: House, number: str, turn: str | None, state: str = "answered") -> None:
    """The message has its end."""
    await house.run(
        "UPDATE inbound SET state = ?, turn_id = ?, ended_at = received_at WHERE message_id = ?", state, turn, number
    )


@pytest.mark.parametrize("turn", ["turn9", None], ids=["a turn", "a command"])
async def test_what_a_program_asked_and_was_answered(house: House, turn: str | None) -> None:
    session_id, ledger = await house.live_through(MARK), Ledger(house.database, house.clock)
    source = SessionSource(Platform.API_SERVER, "resp_1", user_id="key")
    if turn is None:
        await house.run("UPDATE slots SET platform = 'api_server', chat = 'resp_1', participant = ''")
    await take(house, "resp_1", source=source)
    await settle(house, "resp_1", turn)
    for name, of in (("resp_1", session_id), ("resp_2", "another")):
        await ledger.note(
            Asked(name, "key", "response", name, "print", {"instructions": name + MARK * (name == "resp_1")},
                  house.clock.now())
        )  # fmt: skip
        await ledger.keep([name], Answer(text=MARK if name == "resp_1" else "other", session_id=of))
    await house.eraser.erase(session_id, purge=True)
    assert house.holding(MARK) == []
    assert await ledger.find("resp_1") is None
    assert await ledger.answer("resp_1") is None
    assert await ledger.find("resp_2") is not None
    assert (await ledger.answer("resp_2") or Answer()).text == "other"
