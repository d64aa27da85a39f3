"""A delivery in the database: put in, read, and marked before it is sent."""

import json
import sqlite3
from dataclasses import dataclass
from datetime import datetime

from config import Platform
from gateway.ports import Delivery, DeliveryKind, Target
from gateway.storage import queries
from gateway.storage.codec import clean_text, dump, to_micros
from gateway.storage.shadow import check_known


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """A message to be put in the outbox. `final` is False for a reply that will still grow."""

    target: Target
    kind: DeliveryKind
    text: str
    answers: tuple[str, ...] = ()
    final: bool = True
    session_id: str | None = None
    turn_id: str | None = None


def add_delivery(connection: sqlite3.Connection, delivery: NewDelivery, now: datetime) -> int:
    """Put a message in the outbox, as part of a job of the writer; its number. After the commit call `Outbox.offer`."""
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
    )
    return connection.execute(queries.ADD_DELIVERY, row).lastrowid or 0


def start_next(
    connection: sqlite3.Connection, chat: tuple[str, str, str], *, usable: bool
) -> tuple[sqlite3.Row | None, Delivery | None]:
    """What is to be sent next in a chat (platform, account, chat), as a job of the writer; None if nothing waits.

    Where the platform is usable and nothing has to be decided before, the same commit notes that the call is about to
    be made: then there is the delivery too.
    """
    row: sqlite3.Row | None = connection.execute(queries.NEXT_DELIVERY, chat).fetchone()
    if row is None or not usable:
        return row, None
    if row["state"] != "pending" or row["message_id"] is not None or row["not_before"] is not None:
        return row, None
    connection.execute(queries.START_DELIVERY, (0, row["id"]))
    return row, delivery_from_row(row)


def start_sending(connection: sqlite3.Connection, delivery_id: int, *, repeated: bool) -> Delivery:
    """Note, as a job of the writer, that the call to the platform is about to be made; the delivery as it is now."""
    begun = connection.execute(queries.START_DELIVERY, (int(repeated), delivery_id)).rowcount
    check_known(connection, begun, "the delivery")
    return delivery_from_row(connection.execute(queries.GET_DELIVERY, (delivery_id,)).fetchone())


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
        repeated=bool(row["repeated"]),
        session_id=row["session_id"],
        turn_id=row["turn_id"],
    )
