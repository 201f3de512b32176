"""The life of a request: every pair of states, written down a second time."""

from __future__ import annotations

from itertools import pairwise
from typing import get_args

import pytest

from rescind.core.errors import BadParameter
from rescind.core.request import ALLOWED, FINAL, Status, check_transition

STATES: tuple[Status, ...] = get_args(Status)
PATH: tuple[Status, ...] = (
    "accepted", "planned", "withdrawn", "unlearned", "evidenced", "erased", "closed",
)  # fmt: skip
MAY = """
accepted   planned cancelled rejected failed
planned    withdrawn unlearned cancelled rejected held failed
withdrawn  unlearned held failed
unlearned  evidenced held failed
evidenced  erased held failed
erased     closed failed
held       planned withdrawn unlearned evidenced
failed     accepted planned withdrawn unlearned evidenced erased held cancelled rejected
closed
rejected
cancelled
"""
EXPECTED = {line.split()[0]: set(line.split()[1:]) for line in MAY.strip().splitlines()}


def test_every_state_has_its_line() -> None:
    assert set(EXPECTED) == set(STATES) == set(ALLOWED)


@pytest.mark.parametrize("then", STATES)
@pytest.mark.parametrize("now", STATES)
def test_each_step_is_allowed_or_refused(now: Status, then: Status) -> None:
    if then in EXPECTED[now]:
        check_transition(now, then, "r1")
    else:
        with pytest.raises(BadParameter) as caught:
            check_transition(now, then, "r1")
        assert f"Request r1 is {now}; it cannot become {then}." in str(caught.value)


def test_a_refusal_lists_what_may_follow() -> None:
    with pytest.raises(BadParameter, match="closed, failed"):
        check_transition("erased", "planned", "r1")
    with pytest.raises(BadParameter, match="it is final"):
        check_transition("closed", "planned", "r1")


def test_final_states_are_never_left_and_all_others_are() -> None:
    assert {state for state in STATES if not ALLOWED[state]} == FINAL


def test_the_straight_path_leads_to_the_close() -> None:
    for now, then in pairwise(PATH):
        check_transition(now, then, "r1")


def test_a_method_that_edits_weights_withdraws_nothing_first() -> None:
    check_transition("planned", "unlearned", "r1")


def test_nothing_ends_a_request_once_it_is_withdrawn_but_its_close() -> None:
    """A withdrawal is never undone, so neither is the request."""
    for state in PATH[2:-1]:
        assert not {"cancelled", "rejected"} & ALLOWED[state]


def test_every_step_can_fail_and_be_taken_again() -> None:
    for state in PATH[:-1]:
        check_transition(state, "failed", "r1")
        check_transition("failed", state, "r1")


def test_a_hold_is_lifted_to_where_it_was_placed() -> None:
    held_from = {state for state in STATES if "held" in ALLOWED[state]}
    # one that failed goes back to the step that it failed in
    assert ALLOWED["held"] == held_from - {"failed"}
