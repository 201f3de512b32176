"""What an edit of the last layer passes, from gaps that are made up."""

from __future__ import annotations

from dataclasses import replace

import made_up
import pytest

from rescind.benchmarks.depth import Depth, depths
from rescind.benchmarks.result import Line, Part
from rescind.benchmarks.scoring import CKA
from rescind.benchmarks.subjects import LAST_LINE, PLANTED_LINE
from rescind.core.judgement import Gap, Margin

OUTPUT = Margin("forget accuracy", 0.1, "forgetting")
FEATURES = Margin(CKA, 0.1, "forgetting")
UTILITY = Margin("test accuracy", 0.1, "utility")


def gap(margin: Margin, equivalent: bool, power: bool = True) -> Gap:
    return made_up.gap(margin, 0.2 if equivalent else 3.0, power)


def part_of(*gaps: Gap, name: str = LAST_LINE) -> Part:
    judgement = made_up.judgement(1.0, 1.0, power=True, decides=True)
    line = Line(name=name, control=True, judgement=replace(judgement, gaps=gaps))
    return replace(made_up.part(), lines=(line,))


def only(*gaps: Gap) -> Depth:
    (found,) = depths(part_of(*gaps))
    return found


def test_an_edit_that_outputs_admit_and_features_do_not() -> None:
    found = only(gap(OUTPUT, True), gap(FEATURES, False), gap(UTILITY, True))
    assert found.passes_outputs and found.passes_features is False
    assert (found.outputs, found.failed) == (("forget accuracy", "test accuracy"), ())
    assert found.told == (
        "Passes the 2 output metrics that count; fails the representation metric (CKA +0.300 to"
        " retrained models)."
    )


def test_utility_and_forgetting_must_both_pass_and_the_failed_are_named() -> None:
    for first, second, failed in ((True, False, "test"), (False, True, "forget")):
        found = only(gap(OUTPUT, first), gap(FEATURES, True), gap(UTILITY, second))
        assert not found.passes_outputs and found.passes_features
        assert found.failed == (f"{failed} accuracy",)
        assert found.told.startswith(f"Fails output metrics ({failed} accuracy); passes the")


@pytest.mark.parametrize("measured", [True, False])
def test_features_without_power_or_not_measured_say_nothing(measured: bool) -> None:
    cka = (gap(FEATURES, True, power=False),) if measured else ()
    found = only(gap(OUTPUT, True), *cka, gap(UTILITY, True))
    assert (found.passes_features, found.gap) == (None, None)
    assert found.told.endswith("features have no power on this forget set.")


def test_output_metrics_without_power_do_not_count_and_that_is_said() -> None:
    found = only(gap(OUTPUT, False, power=False), gap(FEATURES, False), gap(UTILITY, True))
    assert found.passes_outputs and found.outputs == ("test accuracy",)
    assert "of which none of forgetting has power" in found.told


def test_only_the_two_shallow_edits_have_a_record_and_only_where_they_were_judged() -> None:
    assert [d.name for d in depths(part_of(gap(UTILITY, True), name=PLANTED_LINE))] == [
        PLANTED_LINE
    ]
    assert depths(part_of(gap(UTILITY, True), name="finetune")) == ()
    refused = Line(name=LAST_LINE, control=True, refused="no linear layer")
    assert depths(replace(made_up.part(), lines=(refused,))) == ()
    assert [d.name for d in depths(made_up.part())] == [LAST_LINE]
