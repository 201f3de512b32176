from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rescind.audits.extent import Told, as_removal
from rescind.audits.finding import Finding
from rescind.core.audit import ENOUGH, Null
from rescind.core.errors import BadParameter

TRACE = Finding(
    audit="a", null="no_trace", n=5, p=0.01, effect=0.3, interval=(0.1, 0.5), unit="bits"
)


@pytest.mark.parametrize(
    ("null", "p", "power", "as_removal", "outcome"),
    [
        ("no_trace", 0.049, None, None, "residue_found"),
        ("no_trace", 0.05, ENOUGH, None, "removed_supported"),
        ("no_trace", 0.05, 0.79, None, "no_power"),
        ("no_trace", 0.9, None, None, "no_power"),
        ("nothing_removed", 0.01, None, True, "removed_supported"),
        ("nothing_removed", 0.01, 0.99, False, "residue_found"),
        ("nothing_removed", 0.01, 0.99, None, "no_power"),
        ("nothing_removed", 0.2, 0.95, None, "no_power"),
        ("nothing_removed", 0.2, 0.95, False, "residue_found"),
        ("nothing_removed", 0.2, 0.5, True, "no_power"),
    ],
)
def test_what_stands_says_something_only_with_power_and_a_change_is_no_removal(
    null: Null, p: float, power: float | None, as_removal: bool | None, outcome: str
) -> None:
    found = replace(TRACE, null=null, p=p, power=power, as_removal=as_removal)
    assert found.outcome == outcome


@pytest.mark.parametrize(
    "bad", [{"p": 1.2}, {"level": -0.1}, {"power": 2.0}, {"n": 0}, {"interval": (0.5, 0.1)}]
)
def test_what_is_no_finding(bad: dict[str, Any]) -> None:
    with pytest.raises(BadParameter):
        replace(TRACE, **bad)


@pytest.mark.parametrize(
    ("told", "answer"),
    [
        ("as_removed", True),
        ("partly", None),
        ("overshoot", False),
        ("strengthened", False),
        ("changed", None),
        ("nothing_seen", None),
    ],
)
def test_too_little_and_too_much_are_no_removal(told: Told, answer: bool | None) -> None:
    assert as_removal(told) is answer


@pytest.mark.parametrize("told", ["partly", "nothing_seen"])
def test_too_little_is_said_only_where_the_whole_interval_says_so(told: Told) -> None:
    assert as_removal(told, (0.1, 0.49)) is False
    assert as_removal(told, (0.1, 0.51)) is None
