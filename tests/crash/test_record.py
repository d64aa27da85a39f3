"""The check of what kills have left: it must see each kind of fault in a record that was tampered with."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from gateway.turns import OUTCOME_UNKNOWN
from tests.crash.record import Evidence, Inbound, Outgoing, Row, Session, Turn, violations
from tests.support.crash_agent import COUNT, INPUT_TOKENS, NOTE, OUTPUT_TOKENS, call_ids, closing, opening
from tests.support.gateway_client import Event, Printed, Receipt, Said, Shown

COUNTED, NOTED = call_ids("m3", 0, (COUNT, NOTE))
RESULTS = (f"ran {COUNTED}", f"ran {NOTED}")
ANSWERS = ("That was m1.", "That was m2.", f"{opening('m3', 0)}\n\n{closing('m3', RESULTS)}")
TEXTS = ("m1 say", "m2 say", "m3 tools")


def sound() -> Evidence:
    """Three messages in one session, as they should be."""
    numbers = range(3)
    events: list[Event] = [Said(0, f"id{n}", TEXTS[n]) for n in numbers]
    events += [Receipt(0, f"id{n}", "pending") for n in numbers]
    events += [Shown(0, n, "reply", ANSWERS[n], final=True) for n in numbers]
    rows = [
        Row(1, "s", "t0", "user", "m1 say"),
        Row(2, "s", "t0", "assistant", ANSWERS[0]),
        Row(3, "s", "t1", "user", "m2 say"),
        Row(4, "s", "t1", "assistant", ANSWERS[1]),
        Row(5, "s", "t2", "user", "m3 tools"),
        Row(6, "s", "t2", "assistant", opening("m3", 0)),
        Row(7, "s", "t2", "tool", RESULTS[0], {"tool_call_id": COUNTED, "tool_name": COUNT}),
        Row(8, "s", "t2", "tool", RESULTS[1], {"tool_call_id": NOTED, "tool_name": NOTE}),
        Row(9, "s", "t2", "assistant", closing("m3", RESULTS)),
    ]
    return Evidence(
        events=events,
        inbound=[Inbound(n, f"id{n}", TEXTS[n], "answered", f"t{n}") for n in numbers],
        outbox=[Outgoing(n, "reply", ANSWERS[n], (f"id{n}",), True, "sent", False, "s", f"t{n}") for n in numbers],
        rows=rows,
        sessions=[Session("s", len(rows), 4 * INPUT_TOKENS, 4 * OUTPUT_TOKENS, None, None, False)],
        turns=[Turn(f"t{n}", "s", "done") for n in numbers],
        traces=[COUNTED, NOTED],
    )


def swapped(evidence: Evidence) -> Evidence:
    events = list(evidence.events)
    events[-1], events[-2] = events[-2], events[-1]
    return replace(evidence, events=events)


def other_life(evidence: Evidence, *, marked: bool) -> Evidence:
    again = Shown(1, 2, "reply", ANSWERS[2], final=True, marked=marked)
    outbox = [*evidence.outbox[:2], replace(evidence.outbox[2], repeated=marked)]
    return replace(evidence, events=[*evidence.events, again], outbox=outbox, lives_ended=frozenset({0}))


def with_rows(evidence: Evidence, rows: list[Row]) -> Evidence:
    session = replace(evidence.sessions[0], message_count=len(rows))
    return replace(evidence, rows=rows, sessions=[session])


def printed(evidence: Evidence, *pieces: str, replace_from: int | None = None) -> Evidence:
    """What a script got of the last turn: these pieces, and its message."""
    deltas = [Printed(0, "delta", piece, "t2", number == replace_from) for number, piece in enumerate(pieces)]
    return replace(evidence, events=[*evidence.events, *deltas, Printed(0, "message", ANSWERS[2], "t2")])


TAMPERED: dict[str, tuple[str, Callable[[Evidence], Evidence]]] = {
    "a message is gone": ("lost", lambda e: replace(e, inbound=e.inbound[1:])),
    "a message is there twice": ("doubled", lambda e: replace(e, inbound=[*e.inbound, e.inbound[2]])),
    "a message has another text": (
        "lost",
        lambda e: replace(e, inbound=[replace(e.inbound[0], text="m9 say"), *e.inbound[1:]]),
    ),
    "a message waits for ever": (
        "unended",
        lambda e: replace(e, inbound=[*e.inbound[:2], replace(e.inbound[2], state="pending")]),
    ),
    "an answer was on no screen": ("lost", lambda e: replace(e, events=e.events[:-1])),
    "an answer was never made": ("lost", lambda e: replace(e, outbox=e.outbox[:2])),
    "two deliveries answer one message": (
        "doubled",
        lambda e: replace(e, outbox=[*e.outbox, replace(e.outbox[2], id=3)]),
    ),
    "people saw something else": (
        "differs",
        lambda e: replace(e, events=[*e.events[:-1], Shown(0, 2, "reply", "half of it", final=True)]),
    ),
    "a piece has lost a blank": ("pieces", lambda e: printed(e, ANSWERS[2][:8].rstrip(), ANSWERS[2][8:])),
    "a piece came twice": ("pieces", lambda e: printed(e, ANSWERS[2][:8], ANSWERS[2][:8], ANSWERS[2][8:])),
    "a delivery was shown twice": ("repeated", lambda e: replace(e, events=[*e.events, e.events[-1]])),
    "a repeat has no mark": ("repeated", lambda e: other_life(e, marked=False)),
    "answers changed places": ("order", swapped),
    "messages were received in another order": (
        "order",
        lambda e: replace(e, inbound=[e.inbound[1], e.inbound[0], e.inbound[2]]),
    ),
    "a row of the transcript is gone": ("transcript", lambda e: with_rows(e, [*e.rows[:-1]])),
    "a row of the transcript is there twice": ("transcript", lambda e: with_rows(e, [*e.rows, e.rows[-1]])),
    "a turn was recorded twice": ("order", lambda e: with_rows(e, [*e.rows, *e.rows[:2]])),
    "usage was counted twice": (
        "usage",
        lambda e: replace(e, sessions=[replace(e.sessions[0], input_tokens=5 * INPUT_TOKENS)]),
    ),
    "usage was not counted": (
        "counters",
        lambda e: replace(e, sessions=[replace(e.sessions[0], output_tokens=3 * OUTPUT_TOKENS)]),
    ),
    "a tool ran twice": ("tools", lambda e: replace(e, traces=[*e.traces, COUNTED])),
    "a tool did not run": ("tools", lambda e: replace(e, traces=[NOTED])),
    "a session ended for no reason": (
        "context",
        lambda e: replace(
            e,
            turns=[*e.turns[:2], replace(e.turns[2], session_id="s2")],
            rows=[*e.rows[:4], *(replace(row, session_id="s2") for row in e.rows[4:])],
            sessions=[*e.sessions, replace(e.sessions[0], id="s2")],
        ),
    ),
    "a reset was told of twice": (
        "notice",
        lambda e: replace(
            e,
            outbox=[
                *e.outbox,
                Outgoing(9, "notice", "This is a new conversation, because of …", (), True, "sent", False, "s", "t0"),
            ],
        ),
    ),
}


def test_a_sound_record_has_no_faults() -> None:
    assert violations(sound()) == []


def test_pieces_that_replace_those_before_them_are_right() -> None:
    assert ANSWERS[2][7] == " "
    assert violations(printed(sound(), ANSWERS[2][:8], ANSWERS[2][8:])) == []
    assert violations(printed(sound(), "This is not ", ANSWERS[2][:8], ANSWERS[2][8:], replace_from=1)) == []


def test_a_marked_repeat_on_a_later_terminal_is_right() -> None:
    assert violations(other_life(sound(), marked=True)) == []


def test_an_unknown_outcome_is_right_where_a_tool_must_not_run_again() -> None:
    evidence = sound()
    results = (OUTCOME_UNKNOWN, RESULTS[1])
    rows = [
        *evidence.rows[:6],
        replace(evidence.rows[6], content=OUTCOME_UNKNOWN),
        evidence.rows[7],
        replace(evidence.rows[8], content=closing("m3", results)),
    ]
    text = f"{opening('m3', 0)}\n\n{closing('m3', results)}"
    told = replace(
        evidence,
        rows=rows,
        outbox=[*evidence.outbox[:2], replace(evidence.outbox[2], text=text)],
        events=[*evidence.events[:-1], Shown(0, 2, "reply", text, final=True)],
    )
    assert violations(told) == []


@pytest.mark.parametrize("what", TAMPERED)
def test_tampering_is_seen(what: str) -> None:
    kind, tamper = TAMPERED[what]
    assert any(violation.startswith(f"{kind}:") for violation in violations(tamper(sound()))), violations(
        tamper(sound())
    )
