from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product
from typing import get_args

import pytest

from rescind.audits.finding import Finding
from rescind.audits.one_verdict import NEVER, verdict
from rescind.audits.results import SAID, refused, result_of
from rescind.core.audit import AuditOutcome, AuditResult

OUTCOMES: tuple[AuditOutcome, ...] = get_args(AuditOutcome)
QUIET = Finding(
    audit="quiet",
    null="no_trace",
    n=9,
    p=0.5,
    effect=0.5,
    interval=(0.4, 0.6),
    unit="AUC",
    power=0.9,
)
CHANGED = replace(QUIET, audit="changed", null="nothing_removed", p=0.01, as_removal=True)


def row(finding: Finding, p: float | None = None, audit: str = "", note: str = "") -> AuditResult:
    found = replace(finding, p=finding.p if p is None else p, audit=audit or finding.audit)
    return result_of(found, f"limits of {found.audit}", 0, note)


def added(result: AuditResult) -> AuditResult:
    return replace(result, exploratory=True)


SUPPORT, RESIDUE = row(QUIET), row(QUIET, 0.01, "residue")
WEAK = row(replace(QUIET, power=0.2), audit="weak")
ROW = {"removed_supported": SUPPORT, "residue_found": RESIDUE, "no_power": WEAK}


def test_the_rows_are_what_they_are_called() -> None:
    assert {name: r.outcome for name, r in ROW.items()} == {name: name for name in OUTCOMES}


# --- the rule ---


@pytest.mark.parametrize(("planned", "more"), [*product(OUTCOMES, OUTCOMES)])
def test_any_residue_decides_and_what_was_added_supports_nothing(
    planned: AuditOutcome, more: AuditOutcome
) -> None:
    found = verdict("v2", [ROW[planned], added(ROW[more])])
    if "residue_found" in (planned, more):
        assert found.outcome == "residue_found"
    else:
        assert found.outcome == planned
    assert found.version == "v2"
    assert [r.exploratory for r in found.results] == [False, True]


def test_support_that_was_added_alone_is_no_support() -> None:
    found = verdict("v2", [added(SUPPORT), added(row(CHANGED))])
    assert found.outcome == "no_power"
    assert found.because.startswith("No audit had the power to tell")


def test_no_further_audit_softens_a_verdict() -> None:
    """The p stays below the level when it is corrected; the order of rows says nothing."""
    for rows in permutations([RESIDUE, SUPPORT, WEAK, refused("other", "too few", 0)]):
        assert verdict("v2", rows).outcome == "residue_found"
    lowered = verdict("v2", [SUPPORT, added(RESIDUE)])
    softened = verdict("v2", [*lowered.results, *map(added, [SUPPORT, WEAK, row(CHANGED)])])
    assert softened.outcome == "residue_found"


def test_without_results_nothing_is_said() -> None:
    found = verdict("v2", [])
    assert (found.outcome, found.because) == ("no_power", "No audit was run.")
    assert found.results == () and found.not_claimable == (NEVER,)


def test_what_was_refused_says_nothing_and_why() -> None:
    found = verdict("v2", [refused("margins", "too few records", 7)])
    assert found.outcome == "no_power"
    assert "margins: not run: too few records" in found.because
    [only] = found.results
    assert (only.p, only.p_corrected, only.seed) == (None, None, 7)
    assert verdict("v2", [SUPPORT, refused("margins", "few", 7)]).outcome == "removed_supported"


# --- Holm, null by null ---


def test_p_values_of_one_null_are_corrected_together_and_others_apart() -> None:
    rows = [
        row(QUIET, 0.04, "a"),
        row(CHANGED, 0.04, "b"),
        row(QUIET, 0.02, "c"),
        refused("d", "few", 0),
        row(QUIET, 0.5, "e"),
        added(row(QUIET, 0.9, "f")),
    ]
    found = {r.audit: r.p_corrected for r in verdict("v2", rows).results}
    # by hand: 3 p-values of no_trace, the smallest times 3, the next times 2, none below another
    assert found == {
        "a": pytest.approx(0.08),
        "b": pytest.approx(0.04),
        "c": pytest.approx(0.06),
        "d": None,
        "e": pytest.approx(0.5),
        "f": None,
    }


def test_what_is_significant_alone_need_not_be_among_others() -> None:
    rows = [row(QUIET, 0.04, "a"), row(QUIET, 0.5, "b")]
    assert verdict("v2", rows[:1]).outcome == "residue_found"
    found = verdict("v2", rows)
    assert found.outcome == "removed_supported"
    assert [r.outcome for r in found.results] == ["removed_supported"] * 2


def test_a_change_that_is_none_after_the_correction_is_a_residue() -> None:
    rows = [row(CHANGED, 0.04, "a"), row(CHANGED, 0.3, "b")]
    assert [r.outcome for r in verdict("v2", rows).results] == ["residue_found"] * 2
    weak = [replace(r, power=0.5) for r in rows]
    assert verdict("v2", weak).outcome == "no_power"


# --- the words ---


def test_the_words_follow_the_outcome() -> None:
    rows = [row(QUIET, 0.04, "a", "a note"), row(QUIET, 0.5, "b")]
    assert rows[0].told == "it saw a residue (p 0.04, power 0.90); a note"
    told = [r.told for r in verdict("v2", rows).results]
    assert told[0] == f"{SAID['removed_supported']} (p 0.04, power 0.90); a note"
    assert told[1] == rows[1].told


def test_the_verdict_names_those_that_decide_and_all_limits_once() -> None:
    found = verdict("v2", [RESIDUE, SUPPORT, SUPPORT])
    assert found.because == f"residue: {RESIDUE.told}."
    assert found.not_claimable == (NEVER, "limits of residue", "limits of quiet")


def test_what_has_no_bound_is_told_without_one() -> None:
    endless = replace(QUIET, interval=(0.1, float("inf")), power=None)
    result = row(endless)
    assert (result.effect, result.interval) == (0.5, None)
    assert "power unknown" in result.told
    assert row(replace(endless, effect=float("inf"))).effect is None
