"""A delivery in the database: put in, read, and marked before it is sent."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Final

from config import Platform
from gateway.ports import Button, Delivery, DeliveryKind, MediaKind, OutgoingFile, Target
from gateway.storage import outbox_queries
from gateway.storage.codec import clean_text, dump, to_micros
from gateway.storage.shadow import check_known
from gateway.values import value

NO_PARTS: Final = "[]"
"""The parts of a delivery of which the platform has none, as the database has them."""


@value
class NewDelivery:
    """A message to be put in the outbox. `final` is False for a reply that will still grow.

    A `file` is sent in place of `text`, which then says in words what it is. Of two with the same `key` only the first
    is put in.
    """

    target: Target
    kind: DeliveryKind
    text: str
    answers: tuple[str, ...] = ()
    final: bool = True
    session_id: str | None = None
    turn_id: str | None = None
    file: OutgoingFile | None = None
    buttons: tuple[tuple[Button, ...], ...] = ()
    key: str | None = None


@value
class ShownPart:
    """One message of a delivery that the platform has. `repeated`: it says that it may have been seen before."""

    message_id: str
    repeated: bool = False


def dump_parts(parts: Sequence[ShownPart]) -> str:
    """Parts as the database has them."""
    if not parts:
        return NO_PARTS
    return dump([[part.message_id, int(part.repeated)] for part in parts])


def parts_of(text: str) -> tuple[ShownPart, ...]:
    """Parts from what the database has."""
    if text == NO_PARTS:
        return ()
    return tuple(ShownPart(message_id, bool(repeated)) for message_id, repeated in json.loads(text))


def add_delivery(connection: sqlite3.Connection, delivery: NewDelivery, now: datetime) -> int:
    """Put a message in the outbox, as part of a job of the writer; its number. After the commit call `Outbox.offer`.

    It goes to the id that its chat has now.
    """
    target = delivery.target
    row = (
        str(target.platform),
        target.account,
        target.chat_id,
        target.thread_id or "",
        delivery.session_id,
        delivery.turn_id,
        delivery.kind,
        clean_text(delivery.text),
        dump(delivery.answers),
        int(delivery.final),
        to_micros(now),
        None if delivery.file is None else dump(asdict(delivery.file)),
        dump([[asdict(button) for button in row] for row in delivery.buttons]) if delivery.buttons else None,
        delivery.key,
    )
    return connection.execute(outbox_queries.ADD_DELIVERY, row).lastrowid or 0


def start_next(
    connection: sqlite3.Connection, chat: tuple[str, str, str], now: datetime, *, usable: bool
) -> tuple[sqlite3.Row | None, bool]:
    """What is to be sent next in a chat (platform, account, chat), as a job of the writer; None if nothing waits.

    Where the platform is usable and nothing has to be decided before, the same commit notes that the call is about to
    be made; whether it does.
    """
    row: sqlite3.Row | None = connection.execute(outbox_queries.NEXT_DELIVERY, chat).fetchone()
    if row is None or not usable:
        return row, False
    if row["state"] != "pending" or row["parts"] != NO_PARTS or row["not_before"] is not None:
        return row, False
    connection.execute(outbox_queries.START_DELIVERY, (0, to_micros(now), row["id"]))
    return row, True


def start_sending(connection: sqlite3.Connection, delivery_id: int, now: datetime, *, repeated: bool) -> None:
    """Note, as a job of the writer, that the call to the platform is about to be made."""
    begun = connection.execute(outbox_queries.START_DELIVERY, (int(repeated), to_micros(now), delivery_id)).rowcount
    check_known(connection, begun, "the delivery")


def _target(row: sqlite3.Row) -> Target:
    return Target(Platform(row["platform"]), row["chat"], row["thread"] or None, row["account"])


def delivery_from_row(row: sqlite3.Row) -> Delivery:
    """The delivery as an adapter gets it."""
    return Delivery(
        id=row["id"],
        target=_target(row),
        kind=row["kind"],
        text=row["text"],
        final=bool(row["final"]),
        message_id=row["message_id"],
        answers=tuple(json.loads(row["answers"])),
        buttons=buttons_of(row),
        repeated=bool(row["repeated"]),
        session_id=row["session_id"],
        turn_id=row["turn_id"],
    )


def file_of(row: sqlite3.Row) -> OutgoingFile | None:
    """The file that a delivery is, if it is one."""
    if row["file"] is None:
        return None
    values = json.loads(row["file"])
    return OutgoingFile(**values | {"kind": MediaKind(values["kind"])})


def buttons_of(row: sqlite3.Row) -> tuple[tuple[Button, ...], ...]:
    """What stands below a delivery to be pressed."""
    if row["buttons"] is None:
        return ()
    rows = json.loads(row["buttons"])
    return tuple(tuple(Button(**button) for button in line) for line in rows)
