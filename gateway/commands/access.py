"""The commands about people: who asks to be let in, who was, and what an admin decides about them."""

import sqlite3
from collections.abc import Sequence
from functools import partial
from typing import Final

from gateway.access import Gate, Role, person_of
from gateway.admissions import Admissions, Listing
from gateway.commands.table import Arguments, Buttons, Command, Effect, Parameter, Reply, in_family, say
from gateway.inbound import InboundRecord
from gateway.pairing import Outcome, Pairing, buttons_for, described
from gateway.ports import Clock

FAMILY: Final = "People"
SHOWN: Final = 5
"""Strangers who are shown at once, each with buttons; platforms take few of those."""

SHOWN_PEOPLE: Final = 50
"""People who were let in and are shown at once; the command line shows all."""

ACTIONS: Final = ("list", "approve", "refuse", "revoke", "role")


class AccessCommands:
    """Builds the commands. Each decides about the role of who writes as things stand when it runs."""

    def __init__(self, admissions: Admissions, pairing: Pairing, gate: Gate, clock: Clock) -> None:
        self._admissions = admissions
        self._pairing = pairing
        self._gate = gate
        self._clock = clock

    def commands(self) -> Sequence[Command]:
        """The commands of the family."""
        parameters = (
            Parameter("action", "choice", ACTIONS),
            Parameter("who", "word"),
            Parameter("role", "choice", ("user", "guest", "admin")),
        )
        pairing = Command(
            "pairing",
            "See who asks to be let in, and decide",
            self._run,
            immediate=True,
            parameters=parameters,
            role=Role.ADMIN,
        )
        return in_family(FAMILY, [pairing])

    def _run(self, record: InboundRecord, given: Arguments) -> Effect:
        action, who = given.text("action") or "list", given.text("who")
        if action == "list":
            return lambda connection: _shown(self._admissions.list_in(connection, self._clock.now()))
        if not who:
            return say(f"Say whom, as in `/pairing {action} telegram:123456789`.")
        mine, role = self._gate.role(record), Role.named(given.text("role") or "user")
        if role >= Role.ADMIN and mine is not Role.OWNER:
            return say("Only an owner makes admins.")
        return partial(self._decide, record=record, action=action, who=who, role=role, mine=mine)

    def _decide(
        self,
        connection: sqlite3.Connection,
        *,
        record: InboundRecord,
        action: str,
        who: str,
        role: Role,
        mine: Role | None,
    ) -> Reply:
        now, actor, pairing = self._clock.now(), actor_of(record), self._pairing
        if action == "approve":
            outcome = pairing.approve(connection, who, actor, now, role)
        elif action == "refuse":
            outcome = pairing.refuse(connection, who, actor, now)
        elif mine is not Role.OWNER and pairing.is_admin(connection, who):
            return Reply("Only an owner decides about admins.")
        elif action == "revoke":
            outcome = pairing.revoke(connection, who, actor, now)
        else:
            outcome = pairing.set_role(connection, who, role, actor, now)
        return Reply(_words(action, outcome), then=partial(self._admissions.apply, outcome))


def actor_of(record: InboundRecord) -> str:
    """Who decides, for the audit."""
    source = record.source
    return f"{source.platform}:{person_of(source) or source.chat_id or ''}"


def _words(action: str, outcome: Outcome) -> str:
    if outcome.problem is not None or outcome.member is None:
        return f"Nothing was changed: {outcome.problem}."
    who = described(outcome.member, outcome.name)
    if action == "refuse":
        return f"{who} is not let in."
    if outcome.role is None:
        return f"{who} is not let in any more."
    return f"{who} is let in, as {outcome.role.word}."


def _shown(listing: Listing) -> Reply:
    lines: list[str] = []
    if listing.requests:
        lines += ["They ask to be let in:", ""]
        lines += [f"- {described(request.member, request.name)}" for request in listing.requests[:SHOWN]]
        lines += ["", "Let one in with `/pairing approve CODE`, or by their id.", ""]
    if listing.people:
        lines += ["They were let in:", ""]
        lines += [f"- {described(one.member, one.name)}, {one.role.word}" for one in listing.people[:SHOWN_PEOPLE]]
    if not lines:
        lines = ["Nobody asks to be let in, and nobody was."]
    return Reply("\n".join(lines).strip(), buttons=_buttons(listing))


def _buttons(listing: Listing) -> Buttons:
    return tuple(buttons_for(request.member, request.name) for request in listing.requests[:SHOWN])
