"""What a run of kills has left, on the clients' screens and in the database, and what must hold between the two."""

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from gateway.journal import BETWEEN_STEPS
from gateway.turns import NO_TEXT, OUTCOME_UNKNOWN
from tests.support.crash_agent import COUNT, INPUT_TOKENS, OUTPUT_TOKENS, call_ids, closing, opening, parse
from tests.support.gateway_client import Event, Printed, Receipt, Said, Shown

RESET_NOTICE: Final = "This is a new conversation, because"
ENDS: Final = ("answered", "merged")
"""The ends that a message can come to here, where nothing fails for good."""


@dataclass(frozen=True, slots=True)
class Inbound:
    id: int
    message_id: str
    text: str
    state: str
    turn_id: str | None


@dataclass(frozen=True, slots=True)
class Outgoing:
    id: int
    kind: str
    text: str
    answers: tuple[str, ...]
    final: bool
    state: str
    repeated: bool
    session_id: str | None
    turn_id: str | None


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a transcript. `data` holds what is no plain text of it."""

    id: int
    session_id: str
    turn_id: str | None
    role: str
    content: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Session:
    id: str
    message_count: int
    input_tokens: int
    output_tokens: int
    end_detail: str | None
    auto_reset_reason: str | None
    reset_had_activity: bool


@dataclass(frozen=True, slots=True)
class Turn:
    id: str
    session_id: str
    state: str


@dataclass(frozen=True)
class Evidence:
    """All that is known after the last daemon has ended in good order.

    `lives_ended` are the clients that died: what they had not been told to be accepted may be lost with them.
    `jumps` is how often the clock was put forward far enough to end a session.
    """

    events: Sequence[Event]
    inbound: Sequence[Inbound]
    outbox: Sequence[Outgoing]
    rows: Sequence[Row]
    sessions: Sequence[Session]
    turns: Sequence[Turn]
    traces: Sequence[str]
    leftover_steps: int = 0
    lives_ended: frozenset[int] = frozenset()
    jumps: int = 0
    faults: tuple[str, ...] = ()

    @cached_property
    def by_message(self) -> dict[str, Inbound]:
        return {message.message_id: message for message in self.inbound}

    @cached_property
    def completed(self) -> list[Shown]:
        """What was complete on a screen, in order."""
        return [event for event in self.events if isinstance(event, Shown) and event.final]

    @cached_property
    def rows_of_turn(self) -> dict[str | None, list[Row]]:
        rows: dict[str | None, list[Row]] = defaultdict(list)
        for row in self.rows:
            rows[row.turn_id].append(row)
        return rows

    @cached_property
    def asked(self) -> list[Inbound]:
        """The messages for the agent, in order of receipt."""
        return [message for message in self.inbound if not message.text.startswith("/")]

    @property
    def marked(self) -> int:
        """Deliveries that say of themselves that they may be a repeat."""
        return sum(delivery.repeated for delivery in self.outbox)


def read_evidence(
    database: Path,
    events: Sequence[Event],
    *,
    traces: Path | None = None,
    lives_ended: frozenset[int] = frozenset(),
    jumps: int = 0,
) -> Evidence:
    """Read the database of a daemon that has ended."""
    connection = sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row

    def read(sql: str) -> list[sqlite3.Row]:
        return list(connection.execute(sql))

    try:
        (steps,) = read("SELECT count(*) FROM turn_steps")[0]
        integrity = [str(row[0]) for row in read("PRAGMA integrity_check") if row[0] != "ok"]
        foreign = [f"foreign key of {row[0]}" for row in read("PRAGMA foreign_key_check")]
        return Evidence(
            events=tuple(events),
            inbound=[
                Inbound(row["id"], row["message_id"], row["text"], row["state"], row["turn_id"])
                for row in read("SELECT * FROM inbound ORDER BY id")
            ],
            outbox=[_outgoing(row) for row in read("SELECT * FROM outbox ORDER BY id")],
            rows=[_row(row) for row in read("SELECT * FROM messages ORDER BY id")],
            sessions=[_session(row) for row in read("SELECT * FROM sessions ORDER BY created_at, rowid")],
            turns=[
                Turn(row["id"], row["session_id"], row["state"]) for row in read("SELECT * FROM turns ORDER BY rowid")
            ],
            traces=traces.read_text().split() if traces is not None and traces.exists() else (),
            leftover_steps=steps,
            lives_ended=lives_ended,
            jumps=jumps,
            faults=(*integrity, *foreign),
        )
    finally:
        connection.close()


def _outgoing(row: sqlite3.Row) -> Outgoing:
    return Outgoing(
        id=row["id"],
        kind=row["kind"],
        text=row["text"],
        answers=tuple(json.loads(row["answers"])),
        final=bool(row["final"]),
        state=row["state"],
        repeated=bool(row["repeated"]),
        session_id=row["session_id"],
        turn_id=row["turn_id"],
    )


def _row(row: sqlite3.Row) -> Row:
    data = json.loads(row["data"]) if row["data"] else {}
    return Row(row["id"], row["session_id"], row["turn_id"], row["role"], row["content"] or "", data)


def _session(row: sqlite3.Row) -> Session:
    return Session(
        id=row["id"],
        message_count=row["message_count"],
        input_tokens=row["input_tokens"],
        output_tokens=row["output_tokens"],
        end_detail=row["end_detail"],
        auto_reset_reason=row["auto_reset_reason"],
        reset_had_activity=bool(row["reset_had_activity"]),
    )


# --- what must hold ----------------------------------------------------------------------------------------


Check: TypeAlias = Literal[
    "faults",
    "lost",
    "unended",
    "answers",
    "screens",
    "pieces",
    "repeats",
    "order",
    "turns",
    "transcripts",
    "counters",
    "usage",
    "tools",
    "contexts",
    "notices",
]


def violations(evidence: Evidence, *, without: Collection[Check] = ()) -> list[str]:
    """Everything that is not as promised; each begins with one word for its kind. `without` leaves checks out."""
    checks: Mapping[Check, Callable[[Evidence], Iterator[str]]] = {
        "faults": _faults,
        "lost": _lost,
        "unended": _unended,
        "answers": _answers,
        "screens": _screens,
        "pieces": _pieces,
        "repeats": _repeats,
        "order": _order,
        "turns": _turns,
        "transcripts": _transcripts,
        "counters": _counters,
        "usage": _usage,
        "tools": _tools,
        "contexts": _contexts,
        "notices": _notices,
    }
    return [violation for name, check in checks.items() if name not in without for violation in check(evidence)]


def _faults(evidence: Evidence) -> Iterator[str]:
    yield from (f"corrupt: {fault}" for fault in evidence.faults)


def _lost(evidence: Evidence) -> Iterator[str]:
    """Every line that was written, or accepted, is in the inbox, once, as it was written."""
    receipts = {event.id for event in evidence.events if isinstance(event, Receipt)}
    for event in evidence.events:
        if isinstance(event, Said):
            stored = evidence.by_message.get(event.id)
            if stored is None:
                if event.life not in evidence.lives_ended or event.id in receipts:
                    yield f"lost: {event.id} ({event.text}) is not in the inbox"
            elif stored.text != event.text:
                yield f"lost: {event.id} was {event.text!r} and is {stored.text!r}"
    said = {event.id for event in evidence.events if isinstance(event, Said)}
    for message_id, number in Counter(message.message_id for message in evidence.inbound).items():
        if number > 1:
            yield f"doubled: {message_id} is in the inbox {number} times"
        if message_id not in said:
            yield f"invented: {message_id} was never written"


def _unended(evidence: Evidence) -> Iterator[str]:
    """Nothing is left under way."""
    for message in evidence.inbound:
        if message.state not in ENDS:
            yield f"unended: {message.message_id} is {message.state}"
    for turn in evidence.turns:
        if turn.state != "done":
            yield f"unended: turn {turn.id} is {turn.state}"
    for delivery in evidence.outbox:
        if delivery.state != "sent" or not delivery.final:
            yield f"unended: delivery {delivery.id} is {delivery.state}{'' if delivery.final else ' and grows'}"
    if evidence.leftover_steps:
        yield f"unended: {evidence.leftover_steps} journalled steps are left"


def _answers(evidence: Evidence) -> Iterator[str]:
    """Each message is answered by one delivery."""
    answers = Counter(answered for delivery in evidence.outbox for answered in delivery.answers)
    for message in evidence.inbound:
        number = answers.pop(message.message_id, 0)
        if number != 1:
            kind = "doubled" if number else "lost"
            yield f"{kind}: {message.message_id} ({message.text}) has {number} answers"
    yield from (f"invented: an answer to {message_id}, which nobody wrote" for message_id in answers)


def _screens(evidence: Evidence) -> Iterator[str]:
    """What was sent has been seen, as it is stored."""
    last = {shown.delivery: shown.text for shown in evidence.completed}
    for delivery in evidence.outbox:
        if delivery.id not in last:
            yield f"lost: delivery {delivery.id} ({delivery.text[:40]!r}) was on no screen"
        elif last[delivery.id] != delivery.text:
            yield f"differs: delivery {delivery.id} is {delivery.text!r}, and people saw {last[delivery.id]!r}"


def _pieces(evidence: Evidence) -> Iterator[str]:
    """The deltas of a turn, joined from the last one that says it replaces the others, are its message."""
    joined: dict[tuple[int, str | None], str] = {}
    for printed in (event for event in evidence.events if isinstance(event, Printed)):
        place = (printed.life, printed.turn_id)
        if printed.type == "delta":
            joined[place] = printed.text if printed.replace else joined.get(place, "") + printed.text
        elif printed.type == "message" and joined.get(place, printed.text) != printed.text:
            yield f"pieces: those of turn {printed.turn_id} make {joined[place]!r}, and its message {printed.text!r}"


def _repeats(evidence: Evidence) -> Iterator[str]:
    """A delivery is complete on one screen once; on a later client's it says that it may be a repeat."""
    seen: dict[int, int] = {}
    repeated = {delivery.id for delivery in evidence.outbox if delivery.repeated}
    begun: set[tuple[int, int]] = set()
    for shown in (event for event in evidence.events if isinstance(event, Shown)):
        place = (shown.life, shown.delivery)
        if shown.first and place in begun:
            yield f"repeated: delivery {shown.delivery} began twice on one screen"
        begun.add(place)
        if shown.marked and shown.delivery not in repeated:
            yield f"marked: delivery {shown.delivery} says that it is a repeat, and is not counted as one"
        if not shown.final:
            continue
        if shown.delivery in seen:
            if seen[shown.delivery] == shown.life:
                yield f"repeated: delivery {shown.delivery} was shown twice"
            elif not any(
                event.marked
                for event in evidence.events
                if isinstance(event, Shown) and (event.life, event.delivery) == place
            ):
                yield f"repeated: delivery {shown.delivery} was shown again without a mark"
        seen[shown.delivery] = shown.life


def _order(evidence: Evidence) -> Iterator[str]:
    """Messages are received as each client wrote them, and answered as they were received."""
    position = {message.message_id: number for number, message in enumerate(evidence.inbound)}
    latest: dict[int, int] = {}
    for event in evidence.events:
        if isinstance(event, Said) and event.id in position:
            if position[event.id] < latest.get(event.life, -1):
                yield f"order: {event.id} was received before an earlier line"
            latest[event.life] = position[event.id]
    first_seen: dict[int, int] = {}
    for number, shown in enumerate(evidence.completed):
        first_seen.setdefault(shown.delivery, number)
    delivery_of = {answered: delivery.id for delivery in evidence.outbox for answered in delivery.answers}
    last = -1
    for message in evidence.inbound:
        if message.text == "/status":  # does not wait for the turns before it
            continue
        seen = first_seen.get(delivery_of.get(message.message_id, -1))
        if seen is not None:
            if seen < last:
                yield f"order: {message.message_id} ({message.text}) was answered before an earlier message"
            last = max(last, seen)


def _turns(evidence: Evidence) -> Iterator[str]:
    """Each message for the agent has one turn, each turn its messages, and turns stand in order of receipt."""
    used = [message.turn_id for message in evidence.asked if message.state == "answered"]
    for turn_id, number in Counter(used).items():
        if turn_id is None or number > 1:
            yield f"doubled: turn {turn_id} answers {number} messages on its own"
    begun = [turn.id for turn in evidence.turns]
    if begun != used:
        yield f"order: the turns are {begun}, and the messages had {used}"
    if [turn_id for turn_id, _ in groupby(row.turn_id for row in evidence.rows)] != used:
        yield "order: the transcripts do not have the turns one after another, as they were received"


def _transcripts(evidence: Evidence) -> Iterator[str]:
    """Each turn's rows are its messages, what the script does with them, and what people saw of it."""
    texts: dict[str | None, list[str]] = defaultdict(list)
    for message in evidence.asked:
        texts[message.turn_id].append(message.text)
    session_of: dict[str | None, str] = {turn.id: turn.session_id for turn in evidence.turns}
    seen = {delivery.turn_id: delivery.text for delivery in evidence.outbox if delivery.answers}
    for turn_id, said in texts.items():
        rows = evidence.rows_of_turn[turn_id]
        users = [row.content for row in rows if row.role == "user"]
        if users != said:
            yield f"transcript: turn {turn_id} has the messages {users}, and people wrote {said}"
        if any(row.session_id != session_of.get(turn_id) for row in rows):
            yield f"transcript: turn {turn_id} is in another session than its own"
        yield from _script_rows(rows, said[0])
        spoken = BETWEEN_STEPS.join(row.content for row in rows if row.role == "assistant" and row.content)
        if seen.get(turn_id) != (spoken or NO_TEXT):
            yield f"differs: turn {turn_id} says {spoken!r}, and people saw {seen.get(turn_id)!r}"


def _script_rows(rows: Sequence[Row], text: str) -> Iterator[str]:
    """The rows of one turn, against what its message makes the agent do."""
    parsed = parse(text)
    if parsed is None:
        return
    label, plan = parsed
    expected: list[tuple[str, str]] = []
    for number, names in enumerate(plan.rounds):
        ids = call_ids(label, number, names)
        expected += [("assistant", opening(label, number)), *(("tool", call_id) for call_id in ids)]
    results = [row.content for row in rows if row.role == "tool"]
    steered = [row.content for row in rows[1:] if row.role == "user"]
    if not plan.silent:
        expected.append(("assistant", closing(label, results, steered)))
    found = [
        (row.role, str(row.data.get("tool_call_id")) if row.role == "tool" else row.content)
        for row in rows
        if row.role != "user"
    ]
    if plan.drafts and found and found[-1][1].startswith("Draft "):
        found[-1] = (found[-1][0], found[-1][1].partition(". ")[2])
    if found != expected:
        yield f"transcript: {label} has {found}, and the script says {expected}"
    if any(row.data.get("partial") for row in rows):
        yield f"transcript: {label} counts as cut short"


def _counters(evidence: Evidence) -> Iterator[str]:
    """A session has as many messages as are counted, and took no less than its turns did."""
    rows_of = Counter(row.session_id for row in evidence.rows)
    steps = _steps(evidence)
    for session in evidence.sessions:
        if session.message_count != rows_of[session.id]:
            yield f"counters: session {session.id} counts {session.message_count} messages, not {rows_of[session.id]}"
        expected, found = _tokens(steps[session.id]), (session.input_tokens, session.output_tokens)
        if found[0] < expected[0] or found[1] < expected[1]:
            yield f"counters: session {session.id} took {found} tokens, its turns take {expected}"


def _usage(evidence: Evidence) -> Iterator[str]:
    """What a session took is the sum over its turns: no step was made twice."""
    steps = _steps(evidence)
    for session in evidence.sessions:
        expected, found = _tokens(steps[session.id]), (session.input_tokens, session.output_tokens)
        if found[0] > expected[0] or found[1] > expected[1]:
            yield f"usage: session {session.id} took {found} tokens, its turns take {expected}"


def _steps(evidence: Evidence) -> Counter[str]:
    """How many steps the script has in the turns of each session."""
    steps: Counter[str] = Counter()
    for turn in evidence.turns:
        rows = evidence.rows_of_turn[turn.id]
        parsed = parse(rows[0].content) if rows else None
        steps[turn.session_id] += parsed[1].steps if parsed else 0
    return steps


def _tokens(steps: int) -> tuple[int, int]:
    return steps * INPUT_TOKENS, steps * OUTPUT_TOKENS


def _tools(evidence: Evidence) -> Iterator[str]:
    """A call that must not run twice ran once, or its outcome is unknown and the model was told so."""
    runs = Counter(evidence.traces)
    for row in evidence.rows:
        if row.role != "tool":
            continue
        call_id = str(row.data.get("tool_call_id"))
        number = runs.pop(call_id, 0)
        if row.content == OUTCOME_UNKNOWN:
            if row.data.get("tool_name") != COUNT:
                yield f"tools: {call_id} may run again, and its outcome is unknown"
            elif number > 1:
                yield f"tools: {call_id} ran {number} times"
        elif row.content != f"ran {call_id}":
            yield f"tools: {call_id} came to {row.content!r}"
        elif number == 0:
            yield f"tools: {call_id} did not run, and the model was told that it did"
        elif number > 1 and row.data.get("tool_name") == COUNT:
            yield f"tools: {call_id} ran {number} times"
    yield from (f"tools: {call_id} ran, and no transcript tells of it" for call_id in runs)


def _contexts(evidence: Evidence) -> Iterator[str]:
    """A session goes on until a command or the policy ends it, and none is gone back to."""
    session_of = {turn.id: turn.session_id for turn in evidence.turns}
    sessions = {session.id: session for session in evidence.sessions}
    before: str | None = None
    left: set[str] = set()
    renewed = False
    for message in evidence.inbound:
        if message.text == "/new":
            renewed = True
        if message.text.startswith("/"):
            continue
        current = session_of.get(message.turn_id or "")
        if current is None:
            continue
        if current in left:
            yield f"context: {message.message_id} went back to session {current}"
        if before is not None and renewed and current == before:
            yield f"context: {message.message_id} is still in session {current}, which a command had ended"
        changed = before is not None and current != before
        if changed and not renewed and sessions[current].auto_reset_reason is None:
            yield f"context: {message.message_id} began session {current} for no reason"
        if changed and before is not None:
            left.add(before)
        before, renewed = current, False
    resets = [session for session in evidence.sessions if session.auto_reset_reason]
    if len(resets) > evidence.jumps:
        yield f"context: {len(resets)} sessions ended by the policy, in {evidence.jumps} long pauses"
    commands = sum(message.text == "/new" for message in evidence.inbound)
    if sum(session.end_detail == "command" for session in evidence.sessions) > commands:
        yield f"context: more sessions were ended by command than the {commands} commands"


def _notices(evidence: Evidence) -> Iterator[str]:
    """A reset that took something away is told of once."""
    notices = Counter(
        delivery.session_id
        for delivery in evidence.outbox
        if delivery.kind == "notice" and delivery.text.startswith(RESET_NOTICE)
    )
    used = {turn.session_id for turn in evidence.turns}
    for session in evidence.sessions:
        due = session.auto_reset_reason is not None and session.reset_had_activity and session.id in used
        if notices.pop(session.id, 0) != int(due):
            yield f"notice: session {session.id} should have {int(due)} notices of a reset"
    yield from (f"notice: of a reset in {session_id}, which there is not" for session_id in notices)
