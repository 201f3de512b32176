from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rescind.audits.finding import ENOUGH, Finding, Null
from rescind.core.errors import BadParameter

TRACE = Finding(
    audit="a", null="no_trace", n=5, p=0.01, effect=0.3, interval=(0.1, 0.5), unit="bits"
)


@pytest.mark.parametrize(
    ("null", "p", "power", "outcome"),
    [
        ("no_trace", 0.049, None, "residue_found"),
        ("no_trace", 0.05, ENOUGH, "removed_supported"),
        ("no_trace", 0.05, 0.79, "no_power"),
        ("no_trace", 0.9, None, "no_power"),
        ("nothing_removed", 0.01, None, "removed_supported"),
        ("nothing_removed", 0.2, 0.95, "residue_found"),
        ("nothing_removed", 0.2, 0.5, "no_power"),
    ],
)
def test_what_stands_says_something_only_with_power(
    null: Null, p: float, power: float | None, outcome: str
) -> None:
    assert replace(TRACE, null=null, p=p, power=power).outcome == outcome


@pytest.mark.parametrize(
    "bad", [{"p": 1.2}, {"level": -0.1}, {"power": 2.0}, {"n": 0}, {"interval": (0.5, 0.1)}]
)
def test_what_is_no_finding(bad: dict[str, Any]) -> None:
    with pytest.raises(BadParameter):
        replace(TRACE, **bad)
