"""The decision: all cases in one reviewed table, and what holds in every one of them."""

import pytest

from gateway.access import Facts, Membership, Role, Verdict, decide, role_of
from tests.unit.access.decision_table import FILE, all_facts, render


def test_the_table_is_the_one_that_was_read_over() -> None:
    assert FILE.read_text("utf-8") == render(), (
        "decisions have changed: run python -m tests.unit.access.decision_table, and read what it changes"
    )


def _cases(*memberships: Membership) -> list[Facts]:
    return [facts for facts in all_facts() if facts.membership in memberships]


def test_who_is_unknown_is_let_in_by_an_open_policy_alone() -> None:
    let_in = {facts.policy for facts in _cases(Membership.UNKNOWN) if decide(facts).allowed}
    assert let_in == {"open"}


def test_a_bot_is_let_in_by_name_alone() -> None:
    bots = [facts for facts in all_facts() if facts.bot and decide(facts).allowed]
    assert {facts.membership for facts in bots} == {Membership.BOT, Membership.OPERATOR}


def test_what_is_not_meant_for_us_is_ignored() -> None:
    assert {decide(facts).verdict for facts in all_facts() if not facts.addressed} == {Verdict.IGNORE}


def test_closed_is_closed_but_for_owners() -> None:
    closed = [
        facts for facts in all_facts() if facts.policy == "closed" and decide(facts).verdict is not Verdict.IGNORE
    ]
    assert {facts.membership for facts in closed} == {Membership.OPERATOR, Membership.OWNER}


def test_a_code_is_given_only_to_an_unknown_person_in_a_direct_message() -> None:
    paired = {
        (facts.membership, facts.place, facts.policy, facts.bot, facts.known_by_id)
        for facts in all_facts()
        if decide(facts).verdict is Verdict.PAIR
    }
    assert paired == {("unknown", "dm", "pair", False, True)}


def test_no_command_goes_beyond_its_sender() -> None:
    for facts in all_facts():
        decision = decide(facts)
        if decision.allowed and facts.needs is not None:
            assert decision.role is not None
            assert decision.role >= facts.needs


def test_a_higher_role_may_what_a_lower_one_may() -> None:
    ranked = sorted(Role)
    for facts in all_facts():
        if facts.needs is None or not decide(facts).allowed:
            continue
        for lower in ranked[: ranked.index(facts.needs)]:
            assert decide(Facts(facts.place, facts.membership, facts.policy, needs=lower)).allowed


@pytest.mark.parametrize("facts", list(all_facts())[::97])
def test_each_decision_says_why(facts: Facts) -> None:
    decision = decide(facts)
    assert decision.reason
    if decision.allowed:
        assert decision.role is role_of(facts.membership, facts.policy)


def test_owners_are_made_by_the_configuration_and_the_terminal_alone() -> None:
    owners = {facts.membership for facts in all_facts() if role_of(facts.membership, facts.policy) is Role.OWNER}
    assert owners == {Membership.OPERATOR, Membership.OWNER}
