"""Pairing: a stranger gets a code, whoever runs the gateway approves it, and may take that back.

Each function that has a connection is part of a job of the writer, and has no effect but on it.
"""

import hashlib
import hmac
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from config import GatewayConfig, LiveConfig, Platform
from gateway import audit
from gateway.access import Member, Role, Sender, person_of
from gateway.audit import AuditEntry
from gateway.constants import LOCK_OUT_SECONDS
from gateway.delivery import NewDelivery, add_delivery
from gateway.outside import NAME_CHARS, as_code, one_line
from gateway.ports import Button, Target
from gateway.storage import access_queries
from gateway.storage.codec import from_micros, optional_instant, to_micros
from gateway.storage.shadow import check_known

ALPHABET: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
"""Letters and digits but for those that look alike: I and 1, O and 0. Each stands for five bits."""

CODE_CHARS: Final = 8
"""Forty bits: of ten pending codes, a guess hits one in a hundred thousand million."""

CODE_LASTS: Final = timedelta(hours=1)
REQUEST_PAUSE: Final = timedelta(minutes=10)
"""How long somebody who was given a code gets no other one."""

WRONG_CODES: Final = 5
"""Wrong codes in a row after which no code of whoever tried counts for a while, the right one neither."""

LOCK_OUT: Final = timedelta(seconds=LOCK_OUT_SECONDS)

PAGE: Final = 500

LABEL_NAME_CHARS: Final = 20
"""Characters of a name on a button."""

STRANGER: Final = "I do not know you yet."
"""How every message to a stranger begins."""

SPENT: Final = "(This code counts no more.)"
"""What a message says in our records once its code was used or replaced."""


class PairingError(Exception):
    """It was not done; `str()` says why, and what to do, to an operator."""


@dataclass(frozen=True, slots=True)
class Request:
    """A stranger who has a code that waits to be approved."""

    member: Member
    name: str | None
    requested_at: datetime
    expires_at: datetime
    target: Target

    def to_dict(self) -> dict[str, Any]:
        """Plain data; times in ISO 8601."""
        return {
            "person": str(self.member),
            "name": self.name,
            "requested_at": self.requested_at.isoformat(),
            "expires_at": self.expires_at.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class Paired:
    """Someone who was let in."""

    member: Member
    role: Role
    name: str | None
    let_in_at: datetime
    let_in_by: str

    def to_dict(self) -> dict[str, Any]:
        """Plain data; times in ISO 8601."""
        return {
            "person": str(self.member),
            "role": self.role.word,
            "name": self.name,
            "let_in_at": self.let_in_at.isoformat(),
            "let_in_by": self.let_in_by,
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a decision about someone: as what they are let in now, None for not at all. `problem` says why
    nothing was decided; `told` are the places where somebody is told of it."""

    member: Member | None = None
    role: Role | None = None
    name: str | None = None
    problem: str | None = None
    told: tuple[Target, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "person": None if self.member is None else str(self.member),
            "role": None if self.role is None else self.role.word,
            "name": self.name,
        }


class Pairing:
    """Carries out what is asked about people. `secret` is the installation's: codes are kept as hashes keyed by it."""

    def __init__(
        self,
        config: GatewayConfig | LiveConfig,
        secret: bytes,
        *,
        choose: Callable[[str], str] = secrets.choice,
    ) -> None:
        self._config = LiveConfig.of(config)
        self._key = hmac.new(secret, b"pairing codes", hashlib.sha256).digest()
        self._choose = choose

    # --- strangers -------------------------------------------------------------------------------------------

    def request(
        self, connection: sqlite3.Connection, sender: Sender, account: str, now: datetime
    ) -> tuple[NewDelivery, ...]:
        """What is sent because a stranger wrote: a code to them and word to the home channel, or nothing so soon after
        the last time. Of what they wrote nothing is looked at."""
        source = sender.source
        person, platform = person_of(source), str(source.platform)
        if person is None or source.chat_id is None:
            return ()
        member = Member(platform, person)
        row = connection.execute(access_queries.GET_REQUEST, (platform, person)).fetchone()
        if row is not None and now - from_micros(row["requested_at"]) < REQUEST_PAUSE:
            return ()
        self._forget_expired(connection, platform, now)
        (waiting,) = connection.execute(access_queries.COUNT_REQUESTS, (platform,)).fetchone()
        if row is None and waiting >= self._config.current.access.max_pending:
            return ()
        if row is not None:
            _forget_code(connection, row)
        code = "".join(self._choose(ALPHABET) for _ in range(CODE_CHARS))
        target = Target(source.platform, source.chat_id, source.thread_id, account)
        name = one_line(source.user_name or "", NAME_CHARS) or None
        request = Request(member, name, now, now + CODE_LASTS, target)
        self._put_request(connection, request, code)
        audit.note(connection, AuditEntry("asked", platform, person, detail=name), now)
        return (_code_message(request, code), *self._word(request))

    def _put_request(self, connection: sqlite3.Connection, request: Request, code: str) -> None:
        values = (
            request.member.platform,
            request.member.person,
            self._hash(code),
            request.name,
            *_place(request.target),
            to_micros(request.requested_at),
            to_micros(request.expires_at),
        )
        connection.execute(access_queries.PUT_REQUEST, values)

    def _word(self, request: Request) -> Iterator[NewDelivery]:
        """Word to the platform's home channel, with a button for each answer."""
        section = self._config.current.platforms.get(request.target.platform)
        home = section.home_channel if section is not None else None
        if home is None:
            return
        target = Target(request.target.platform, home.chat_id, home.thread_id, request.target.account)
        text = f"{described(request.member, request.name)} wrote to me and asks to be let in. An admin can answer here."
        yield NewDelivery(target, "notice", text, buttons=(buttons_for(request.member),))

    def requests(self, connection: sqlite3.Connection, now: datetime) -> list[Request]:
        """Who has a code that counts, the oldest first."""
        found = [_request(row) for row in _paged(connection, access_queries.REQUESTS)]
        return sorted((one for one in found if one.expires_at > now), key=lambda one: one.requested_at)

    def people(self, connection: sqlite3.Connection) -> list[Paired]:
        """Who was let in, by platform and id."""
        return [
            Paired(
                Member(row["platform"], row["person"]),
                Role.named(row["role"]),
                row["name"],
                from_micros(row["let_in_at"]),
                row["let_in_by"],
            )
            for row in _paged(connection, access_queries.PEOPLE)
        ]

    # --- decisions -------------------------------------------------------------------------------------------

    def approve(
        self, connection: sqlite3.Connection, wanted: str, actor: str, now: datetime, role: Role = Role.USER
    ) -> Outcome:
        """Let in whoever has this code, or who is named as `platform:id` and has one.

        Wrong codes are counted by who gave them; after `WRONG_CODES` no code of theirs counts for `LOCK_OUT`.
        """
        if ":" in wanted:
            row = _named_request(connection, wanted, now)
            if row is None:
                return Outcome(problem=f"{one_line(wanted, NAME_CHARS)} has not asked to be let in, or too long ago")
        else:
            if (problem := _locked(connection, actor, now)) is not None:
                return Outcome(problem=problem)
            row = self._with_code(connection, wanted, now)
            if row is None:
                return Outcome(problem=_count_wrong(connection, actor, now))
            connection.execute(access_queries.FORGET_TRIES, (actor,))
        return self._let_in(connection, _request(row), row, role, actor, now)

    def _let_in(
        self,
        connection: sqlite3.Connection,
        request: Request,
        row: sqlite3.Row,
        role: Role,
        actor: str,
        now: datetime,
    ) -> Outcome:
        member = request.member
        key = (member.platform, member.person)
        values = (*key, role.word, request.name, *_place(request.target), to_micros(now), actor)
        connection.execute(access_queries.PUT_PERSON, values)
        _forget_code(connection, row)
        connection.execute(access_queries.DELETE_REQUEST, key)
        audit.note(connection, AuditEntry("let in", *key, actor, role.word, request.name), now)
        words = "You have been let in. Write to me; `/help` shows what else there is."
        add_delivery(connection, NewDelivery(request.target, "notice", words), now)
        return Outcome(member, role, request.name, told=(request.target,))

    def refuse(self, connection: sqlite3.Connection, wanted: str, actor: str, now: datetime) -> Outcome:
        """Take a stranger's code back; they are not told."""
        row = _named_request(connection, wanted, now)
        if row is None:
            return Outcome(problem=f"{one_line(wanted, NAME_CHARS)} has not asked to be let in, or too long ago")
        member = Member(row["platform"], row["person"])
        _forget_code(connection, row)
        # The row stays, without a code that anybody could give: so they get no other one at once.
        request = _request(row)
        self._put_request(connection, Request(member, request.name, now, now, request.target), secrets.token_hex(16))
        audit.note(connection, AuditEntry("refused", member.platform, member.person, actor, detail=request.name), now)
        return Outcome(member, None, request.name)

    def revoke(self, connection: sqlite3.Connection, wanted: str, actor: str, now: datetime) -> Outcome:
        """Let someone in no more; they are told."""
        member = _parse(wanted)
        if member is None:
            return Outcome(problem=_no_person(wanted))
        row = connection.execute(access_queries.GET_PERSON, (member.platform, member.person)).fetchone()
        check_known(connection, row, "who was let in")
        if row is None:
            return Outcome(
                problem=f"{one_line(wanted, NAME_CHARS)} was not paired; who is in a list is taken out there"
            )
        connection.execute(access_queries.DELETE_PERSON, (member.platform, member.person))
        entry = AuditEntry("revoked", member.platform, member.person, actor, row["role"], row["name"])
        audit.note(connection, entry, now)
        target = _target(row)
        words = "You are not let in any more: I do not answer you from now on."
        add_delivery(connection, NewDelivery(target, "notice", words), now)
        return Outcome(member, None, row["name"], told=(target,))

    def set_role(self, connection: sqlite3.Connection, wanted: str, role: Role, actor: str, now: datetime) -> Outcome:
        """Give someone who was paired another role; they are told."""
        member = _parse(wanted)
        if member is None:
            return Outcome(problem=_no_person(wanted))
        row = connection.execute(access_queries.GET_PERSON, (member.platform, member.person)).fetchone()
        check_known(connection, row, "who was let in")
        if row is None:
            return Outcome(problem=f"{one_line(wanted, NAME_CHARS)} was not paired; approve their code first")
        before = Role.named(row["role"])
        if before is role:
            return Outcome(member, role, row["name"])
        connection.execute(access_queries.SET_ROLE, (role.word, member.platform, member.person))
        event: audit.Event = "promoted" if role > before else "demoted"
        entry = AuditEntry(event, member.platform, member.person, actor, role.word, row["name"])
        audit.note(connection, entry, now)
        target = _target(row)
        add_delivery(connection, NewDelivery(target, "notice", f"You are {_a(role)} here from now on."), now)
        return Outcome(member, role, row["name"], told=(target,))

    def is_admin(self, connection: sqlite3.Connection, wanted: str) -> bool:
        """Whether someone was made an admin."""
        member = _parse(wanted)
        if member is None:
            return False
        row = connection.execute(access_queries.GET_PERSON, (member.platform, member.person)).fetchone()
        return row is not None and Role.named(row["role"]) >= Role.ADMIN

    # --- codes -----------------------------------------------------------------------------------------------

    def _hash(self, code: str) -> str:
        return hmac.new(self._key, code.encode(), hashlib.sha256).hexdigest()

    def _with_code(self, connection: sqlite3.Connection, code: str, now: datetime) -> sqlite3.Row | None:
        """Who has a code. Each is compared, in a time that does not tell how much of it was right."""
        given = self._hash(normal_code(code))
        found: sqlite3.Row | None = None
        for row in _paged(connection, access_queries.REQUESTS):
            if hmac.compare_digest(row["code_hash"], given) and from_micros(row["expires_at"]) > now:
                found = row
        return found

    def _forget_expired(self, connection: sqlite3.Connection, platform: str, now: datetime) -> None:
        """Drop the requests of a platform whose code counts no more, once another one could be asked for."""
        for row in _paged(connection, access_queries.REQUESTS):
            over = from_micros(row["expires_at"]) <= now and now - from_micros(row["requested_at"]) >= REQUEST_PAUSE
            if row["platform"] == platform and over:
                _forget_code(connection, row)
                connection.execute(access_queries.DELETE_REQUEST, (row["platform"], row["person"]))


def normal_code(text: str) -> str:
    """A code as it was given out, from what somebody typed: blanks and hyphens do not matter, nor do small letters."""
    return "".join(c for c in text.upper() if c not in " -\u2010\u2011\u2013\t")[: 4 * CODE_CHARS]


def shown_code(code: str) -> str:
    """A code as people read it out."""
    return f"{code[:4]}-{code[4:]}"


def described(member: Member, name: str | None) -> str:
    """Someone, as part of a Markdown sentence: what they call themselves is theirs to choose."""
    called = as_code(name)
    return f"{called} ({as_code(str(member))})" if called else as_code(str(member))


def buttons_for(member: Member, name: str | None = None) -> tuple[Button, ...]:
    """What an admin can press about a stranger; with a name, where several are listed."""
    whom = f" {one_line(name or member.person, LABEL_NAME_CHARS)}" if name is not None else ""
    return (Button(f"Let in{whom}", f"/pairing approve {member}"), Button(f"Refuse{whom}", f"/pairing refuse {member}"))


def _code_message(request: Request, code: str) -> NewDelivery:
    shown = shown_code(code)
    words = (
        f"{STRANGER} Your code is `{shown}`, for one hour.\n\n"
        "Give it to whoever runs this gateway. They let you in with:\n\n"
        f"```\nhermes-gateway pairing approve {shown}\n```\n\n"
        "What you wrote was not kept. Send it again once you are let in."
    )
    return NewDelivery(request.target, "notice", words, key=_key_of(request.member, to_micros(request.requested_at)))


def _key_of(member: Member, requested_at: int) -> str:
    return f"pairing:{member}:{requested_at}"


def _forget_code(connection: sqlite3.Connection, row: sqlite3.Row) -> None:
    key = _key_of(Member(row["platform"], row["person"]), row["requested_at"])
    connection.execute(access_queries.FORGET_CODE, (SPENT, key))


def _locked(connection: sqlite3.Connection, actor: str, now: datetime) -> str | None:
    row = connection.execute(access_queries.GET_TRIES, (actor,)).fetchone()
    until = None if row is None else optional_instant(row["locked_until"])
    if until is None or until <= now:
        return None
    minutes = max(1, round((until - now) / timedelta(minutes=1)))
    return (
        f"too many wrong codes: none counts for another {minutes} minutes; "
        "name the person instead, as in: pairing approve telegram:123456789"
    )


def _count_wrong(connection: sqlite3.Connection, actor: str, now: datetime) -> str:
    """Note a wrong code; what to say about it."""
    connection.execute(access_queries.FORGET_OLD_TRIES, (to_micros(now - LOCK_OUT),))
    row = connection.execute(access_queries.GET_TRIES, (actor,)).fetchone()
    wrong = 1 + (row["wrong"] if row is not None and row["locked_until"] is None else 0)
    until = to_micros(now + LOCK_OUT) if wrong >= WRONG_CODES else None
    connection.execute(access_queries.PUT_TRIES, (actor, wrong, to_micros(now), until))
    if until is not None:
        audit.note(connection, AuditEntry("locked out", "", "", actor, detail=f"{wrong} wrong codes"), now)
        return "that is no code that waits to be approved; it was one too many, and none counts for an hour"
    return "that is no code that waits to be approved; codes last one hour, and `pairing list` shows who has one"


def _named_request(connection: sqlite3.Connection, wanted: str, now: datetime) -> sqlite3.Row | None:
    member = _parse(wanted)
    if member is None:
        return None
    row = connection.execute(access_queries.GET_REQUEST, (member.platform, member.person)).fetchone()
    return row if row is not None and from_micros(row["expires_at"]) > now else None


def _parse(wanted: str) -> Member | None:
    try:
        return Member.parse(wanted)
    except ValueError:
        return None


def _no_person(wanted: str) -> str:
    return f"{one_line(wanted, NAME_CHARS)!r} is no person: write platform:id, as in telegram:123456789"


def _a(role: Role) -> str:
    return f"{'an' if role.word[0] in 'aeo' else 'a'} {role.word}"


def _paged(connection: sqlite3.Connection, query: str) -> Iterator[sqlite3.Row]:
    after = ("", "")
    while True:
        rows: Sequence[sqlite3.Row] = connection.execute(query, (*after, PAGE)).fetchall()
        yield from rows
        if len(rows) < PAGE:
            return
        after = (rows[-1]["platform"], rows[-1]["person"])


def _place(target: Target) -> tuple[str, str, str]:
    return (target.account, target.chat_id, target.thread_id or "")


def _target(row: sqlite3.Row | Mapping[str, Any]) -> Target:
    return Target(Platform(row["platform"]), row["chat"], row["thread"] or None, row["account"])


def _request(row: sqlite3.Row) -> Request:
    return Request(
        Member(row["platform"], row["person"]),
        row["name"],
        from_micros(row["requested_at"]),
        from_micros(row["expires_at"]),
        _target(row),
    )
