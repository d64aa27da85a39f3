"""What a client knows of the deliveries that it has shown, and what a frame changes of one."""

import hashlib
from dataclasses import dataclass

from adapters.local.protocol import Grow, Show
from adapters.local.screen import Update
from gateway.ports import DeliveryKind


@dataclass(slots=True)
class Known:
    """A delivery that has been shown: its text while it grows, then only a digest of it.

    `received` is what the gateway has sent of the text. It is shorter than what is on the screen while a turn that
    was interrupted runs again, and pieces are added to it.
    """

    kind: DeliveryKind
    text: str
    received: str
    session_id: str | None
    turn_id: str | None
    digest: bytes | None = None


def change(
    known: Known,
    frame: Show | Grow,
    text: str,
    *,
    own: bool | None,
    first: bool = False,
    replaced: bool = False,
    repeated: bool = False,
) -> Update:
    """What a frame, which makes the text of a delivery this one, changes on the screen."""
    return Update(
        id=frame.id,
        kind=known.kind,
        text=text,
        piece=text if replaced else text[len(known.text) :],
        final=frame.final,
        first=first,
        replaced=replaced,
        repeated=repeated,
        own=own,
        session_id=known.session_id,
        turn_id=known.turn_id,
    )


def digest(text: str) -> bytes:
    """What tells one text from another."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
