"""The import's service on the gateway's socket: what it answers to clients that know it, and to others."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.importing.records import ImportedMessage, ImportedSession, Piece, Place, to_wire
from gateway.source import SessionSource
from tests.unit.importing.support import Gateway, gateway

SESSION = ImportedSession(
    id="one", place=Place(platform="telegram", chat="7", person="7"), created_at=1, updated_at=2, live=True
)
PIECE = Piece(session=SESSION, messages=(ImportedMessage(role="user", content="hello", data=None, at=2),))


class Client:
    """Sends these frames, and keeps the answers."""

    def __init__(self, *frames: Mapping[str, Any]) -> None:
        self._frames = list(frames)
        self.answers: list[Mapping[str, Any]] = []

    async def receive(self) -> dict[str, Any] | None:
        return dict(self._frames.pop(0)) if self._frames else None

    async def send(self, frame: Mapping[str, Any]) -> None:
        self.answers.append(frame)

    async def close(self) -> None:
        """Nothing to close."""


async def talk_to(ours: Gateway, *frames: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    client = Client(*frames)
    await ours.intake.serve(client, {"service": "import"})
    assert client.answers[0] == {"ok": True}
    return client.answers[1:]


async def test_what_it_can_do(tmp_path: Path) -> None:
    take_in = {"op": "take_in", "pieces": to_wire([PIECE])}
    async with gateway(tmp_path) as ours:
        answers = await talk_to(
            ours, {"op": "known", "ids": ["one"]}, take_in, take_in, {"op": "known", "ids": ["one"]}
        )
        assert answers == [
            {"ok": True, "known": {}},
            {"ok": True, "verdicts": ["opened"]},
            {"ok": True, "verdicts": ["passed_over"]},
            {"ok": True, "known": {"one": {"imported": 1, "messages": 1}}},
        ]
        assert await talk_to(ours, {"op": "finish"}) == [{"ok": True}]
        assert await ours.said("one") == ["hello"]


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"op": "drop"},
        {"op": "known"},
        {"op": "known", "ids": [None]},
        {"op": "take_in", "pieces": "none"},
        {"op": "take_in", "pieces": [{}]},
        {"op": "take_in", "pieces": [{"session": {**SESSION.model_dump(), "id": "../../x"}}]},
        {"op": "take_in", "pieces": [{"session": {**SESSION.model_dump(), "owner": "telegram:user:1"}}]},
        {"op": "take_in", "pieces": [{"session": {**SESSION.model_dump(), "created_at": 10**30}}]},
    ],
)
async def test_what_makes_no_sense_is_answered_and_nothing_stored(tmp_path: Path, request_: dict[str, Any]) -> None:
    async with gateway(tmp_path) as ours:
        (answer,) = await talk_to(ours, request_)
        assert answer["ok"] is False
        assert answer["error"]
        assert await ours.rows("SELECT id FROM sessions") == []


async def test_pieces_out_of_order_are_passed_over(tmp_path: Path) -> None:
    async with gateway(tmp_path) as ours:
        late = PIECE.model_copy(update={"first": 5})
        assert await ours.intake.take_in([late]) == ["passed_over"]
        assert await ours.rows("SELECT id FROM sessions") == []
        assert await ours.intake.take_in([PIECE]) == ["opened"]
        unlike = PIECE.model_copy(update={"first": 1, "after": "0" * 64})
        assert await ours.intake.take_in([unlike]) == ["passed_over"]
        assert await ours.said("one") == ["hello"]


async def test_a_session_that_began_here_takes_nothing_in(tmp_path: Path) -> None:
    async with gateway(tmp_path) as ours:
        entry = await ours.store.get_or_create_session(SessionSource.local_cli())
        forged = PIECE.model_copy(update={"session": SESSION.model_copy(update={"id": entry.session_id})})
        assert await ours.intake.take_in([forged]) == ["passed_over"]
        assert await ours.said(entry.session_id) == []
