"""The audits as a report tells them: what was planned, what each saw, with its power."""

from __future__ import annotations

from collections.abc import Sequence
from math import log10

from rescind.core.audit import ACCESS, OUTCOMES, AuditPlan, AuditResult
from rescind.drawing import number
from rescind.picture import Lines, Table, words

NULLS = {
    "no_trace": "the records left no trace",
    "nothing_removed": "nothing was done about the records",
}
NONE = "No audit was planned before the model was unlearned, and none was added."
WAITING = "Audits are planned and have not been run."


def plan_table(found: AuditPlan) -> Table:
    """What was chosen, with its seed, and what was left out and why."""
    chosen = [(c.audit, "planned", str(c.seed), f"{number(c.seconds)} s") for c in found.choices]
    rest = [(name, f"left out: {why}", "", "") for name, why in sorted(found.left_out.items())]
    head = ("Audit", "Choice", "Seed", "Expected time")
    told = (
        f"Chosen before the model was unlearned, for {number(found.budget_seconds)} seconds of one"
        f" core, with access to {ACCESS[found.access]}, at the level {found.level:g}"
    )
    return Table(head, [*chosen, *rest], told)


def result_table(found: Sequence[AuditResult]) -> Table:
    """One row an audit."""
    head = (
        "Audit",
        "Outcome",
        "Null hypothesis",
        "n",
        "p",
        "p after Holm",
        "Power",
        "Effect",
        "95 % interval",
        "Of",
    )
    told = (
        "A p-value below the level rejects the null hypothesis. Audits added later can find a"
        " residue and support nothing"
    )
    return Table(head, [_row(r) for r in found], told)


def roc_lines(found: AuditResult) -> Lines:
    """How well the audit's score tells the records from held-out ones, before and after."""
    return Lines(
        f"Audit {found.audit}: records told from held-out ones",
        "False-positive rate, its logarithm to base 10",
        "True-positive rate",
        [(one.model, [(log10(x), y) for x, y in one.points]) for one in found.curves],
    )


def rate_table(found: AuditResult) -> Table:
    """True positives where false ones are few, which the low end of the curves shows."""
    rows = [
        (one.model, f"{at:.1%}", f"{true:.3g}", f"{low:.3g} to {high:.3g}")
        for one in found.curves
        for at, true, low, high in one.rates
    ]
    head = ("Model", "False positives, at most", "True positives", "95 % interval")
    return Table(head, rows, f"Audit {found.audit}: records found at few false positives")


def _row(found: AuditResult) -> tuple[str, ...]:
    name = f"{found.audit} (added later)" if found.exploratory else found.audit
    ends = "none" if found.interval is None else "{:.3g} to {:.3g}".format(*found.interval)
    return (
        name,
        f"Not run: {found.refused}" if found.refused else words(OUTCOMES[found.outcome]),
        "" if found.refused else NULLS[found.null],
        number(found.n),
        *(_number(x) for x in (found.p, found.p_corrected, found.power, found.effect)),
        ends,
        found.unit,
    )


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}"
