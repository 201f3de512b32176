"""What a report says of audits: the plan, each row, and the curves on a log scale."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from rescind.audit_job import _scores
from rescind.audited_tables import plan_table, rate_table, result_table, roc_lines
from rescind.core.audit import AuditPlan, AuditResult, Choice, Curve
from rescind.metrics.membership import margin
from rescind.training.modules import CausalLM, Classification, Regression

FOUND = AuditResult(
    audit="membership",
    outcome="residue_found",
    told="it saw a residue",
    n=60,
    p=0.01,
    p_corrected=0.02,
    effect=0.7,
    interval=(0.6, 0.8),
    unit="AUC",
    power=0.9,
    curves=(Curve("before", ((0.01, 0.5), (1.0, 1.0))), Curve("after", ((0.01, 0.1), (1.0, 1.0)))),
)


def test_a_curve_is_drawn_over_the_logarithm_of_the_false_positive_rate() -> None:
    found = roc_lines(FOUND)
    assert [name for name, _ in found.series] == ["before", "after"]
    assert [tuple(points) for _, points in found.series] == [
        ((-2.0, 0.5), (0.0, 1.0)),
        ((-2.0, 0.1), (0.0, 1.0)),
    ]
    assert "-2" in str(found.svg())


def test_true_positives_stand_at_few_false_ones() -> None:
    told = Curve("after", ((1.0, 1.0),), ((0.001, 0.05, 0.01, 0.1), (0.01, 0.25, 0.2, 0.3)))
    assert rate_table(replace(FOUND, curves=(told,))).rows == [
        ("after", "0.1%", "0.05", "0.01 to 0.1"),
        ("after", "1.0%", "0.25", "0.2 to 0.3"),
    ]


def test_a_row_has_its_power_and_says_when_it_was_added_or_not_run() -> None:
    added = replace(FOUND, exploratory=True, p_corrected=None, power=None, interval=None)
    refused = replace(FOUND, refused="too few records", outcome="no_power")
    rows = result_table([FOUND, added, refused]).rows
    assert rows[0][:8] == (
        "membership", "Residue found", "the records left no trace", "60", "0.01", "0.02", "0.9",
        "0.7",
    )  # fmt: skip
    assert rows[1][0] == "membership (added later)"
    assert rows[1][5:7] == ("none", "none") and rows[1][8] == "none"
    assert rows[2][1] == "Not run: too few records"


def test_a_plan_names_what_it_left_out() -> None:
    plan = AuditPlan(90.0, 0.05, (Choice("membership", {}, 7, 1.5),), {"margins": "too few"})
    assert plan_table(plan).rows == [
        ("membership", "planned", "7", "1.5 s"),
        ("margins", "left out: too few", "", ""),
    ]
    assert "90 seconds" in plan_table(plan).caption


def desk(task: object) -> Any:
    return SimpleNamespace(run=SimpleNamespace(recipe=SimpleNamespace(task=task)))


def test_a_score_is_higher_where_the_answer_fits_better_whatever_is_answered() -> None:
    numbers = Regression("module:function", (1,), 0.5)
    labels = torch.tensor([1.0, 1.0])
    near, far = _scores(desk(numbers), torch.tensor([1.1, 3.0]), {"labels": labels}).tolist()
    assert (near, far) == (pytest.approx(-0.01), pytest.approx(-4.0))
    tokens = CausalLM("module:function", 3)
    ids = torch.tensor([[0, 1, 1], [0, 1, 1]])
    logits = torch.zeros(2, 3, 2)
    logits[0, :, 1] = 5.0  # the first text is foretold
    first, second = _scores(desk(tokens), logits, {"labels": ids}).tolist()
    assert first > second
    classes = Classification("module:function", ("a", "b"), (1,))
    answers, kinds = torch.tensor([[2.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 0])
    found = _scores(desk(classes), answers, {"labels": kinds})
    assert found.tolist() == pytest.approx(margin(answers, kinds).tolist())
