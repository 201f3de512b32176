from __future__ import annotations

import dataclasses
import json
import math

import pytest

from rescind.core import canonical
from rescind.core.errors import BadParameter
from rescind.core.judgement import Gap, Judgement, Margin


def gap(role: str = "forgetting", power: bool = True, p: float | None = 0.01) -> Gap:
    data = {
        "metric": "forget_accuracy", "role": role, "value": 0.41, "retrained_mean": 0.4,
        "gap": 0.01, "interval": [-0.01, 0.03], "natural_spread": 0.01, "margin": 0.05,
        "p_equivalent": 0.005, "p_corrected": p, "power": power, "equivalent": p is not None,
    }  # fmt: skip
    return canonical.build(Gap, data)


JUDGEMENT = Judgement(
    "admissible", "influence", (gap(), gap(power=False, p=None)), 8, 1, 0.125, "All are equivalent."
)


def test_a_judgement_is_read_back_as_it_was() -> None:
    again = canonical.build(Judgement, json.loads(canonical.dumps(JUDGEMENT)))
    assert again == JUDGEMENT
    assert again.gaps[0].interval == (-0.01, 0.03)
    assert again.gaps[1].p_corrected is None


def test_a_rate_that_is_undefined_is_not_zero() -> None:
    undefined = dataclasses.replace(JUDGEMENT, rejection_rate_of_retrained=None)
    assert canonical.plain(undefined)["rejection_rate_of_retrained"] is None
    assert canonical.build(Judgement, canonical.plain(undefined)) == undefined
    zero = dataclasses.replace(JUDGEMENT, rejection_rate_of_retrained=0.0)
    assert canonical.digest(zero) != canonical.digest(undefined)


@pytest.mark.parametrize(
    ("field", "value"), [("verdict", "passed"), ("goal", "capability"), ("references", 8.5)]
)
def test_other_words_are_refused(field: str, value: object) -> None:
    with pytest.raises(BadParameter, match=field):
        canonical.build(Judgement, {**canonical.plain(JUDGEMENT), field: value})


def test_a_margin_is_read_back_and_its_role_is_one_of_two() -> None:
    margin = Margin("forget_accuracy", 0.05, "forgetting")
    assert canonical.build(Margin, canonical.plain(margin)) == margin
    with pytest.raises(BadParameter, match="role is 'retain'"):
        canonical.build(Margin, {**canonical.plain(margin), "role": "retain"})
    with pytest.raises(BadParameter, match="width"):
        canonical.build(Margin, {**canonical.plain(margin), "width": math.nan})


@pytest.mark.parametrize(
    ("role", "power", "counts"),
    [
        ("utility", False, True),
        ("utility", True, True),
        ("forgetting", True, True),
        ("forgetting", False, False),
    ],
)
def test_a_forgetting_metric_counts_where_it_has_power(
    role: str, power: bool, counts: bool
) -> None:
    assert gap(role, power).counts is counts
