"""A verdict as the report tells it: the gaps to retrained models, and all that was tried."""

from __future__ import annotations

from collections.abc import Sequence

from rescind.core.control import CONTROLS, Control, ControlGap
from rescind.core.evidence import Measurement
from rescind.core.judgement import Attempt, Gap, Judgement
from rescind.drawing import number
from rescind.picture import Table, shown

VERDICTS = {
    "admissible": "admissible: equivalent to retrained models within the margins of the recipe",
    "not_admissible": "not admissible",
    "no_power": "no power: no metric tells the original model from retrained ones",
    "display_only": "shown only, nothing is decided",
}
GAPS = (
    "Metric",
    "Role",
    "Value",
    "Retrained mean",
    "Gap",
    "95 % interval",
    "Spread of retrained",
    "Margin",
    "Result",
)

CONCEPT = {
    "concept_accuracy": "Concept, on probes",
    "utility_accuracy": "Utility, on other test records",
}


def concept_table(before: Sequence[Measurement], after: Sequence[Measurement]) -> Table | None:
    """Right answers of the original and of the unlearned model; None where no probe was there."""
    old, new = ({m.name: m for m in side} for side in (before, after))
    rows = [
        (
            title,
            number(new[name].n),
            *(_with_ends(m) for m in (old.get(name), new[name], new.get(f"{name}_change"))),
        )
        for name, title in CONCEPT.items()
        if name in new
    ]
    head = ("Measured", "n", "Original", "Unlearned", "Change")
    return (
        Table(head, rows, "Right answers, and the change on the same records, with 95 % intervals")
        if rows
        else None
    )


def _with_ends(m: Measurement | None) -> str:
    if m is None:
        return "not measured"
    low, high = (shown(m.name, end).split()[0] for end in m.interval)
    return f"{shown(m.name, m.value)} ({low} to {high})"


def gap_table(found: Judgement) -> Table:
    """One row a metric: value, gap with its 95 % interval, natural spread, margin, result."""
    return Table(GAPS, [_gap_row(gap) for gap in found.gaps])


def _gap_row(gap: Gap) -> tuple[str, ...]:
    low, high = gap.interval
    means = f"{gap.value:.4g}", f"{gap.retrained_mean:.4g}"
    ends = f"{gap.gap:+.4g}", f"{low:+.4g} to {high:+.4g}", f"{gap.natural_spread:.4g}"
    result = "equivalent" if gap.equivalent else "not equivalent"
    told = result if gap.counts else "no power, does not count"
    return gap.metric, gap.role, *means, *ends, f"{gap.margin:g}", told


def control_table(found: Judgement, controls: Sequence[Control]) -> Table:
    """The unlearned model and each control in a row: its verdict, and its gap by metric."""
    head = [g.metric if g.counts else f"{g.metric} (does not count)" for g in found.gaps]
    rows = [("unlearned model", _said(found.verdict), *(_cell(g, "+.4g") for g in found.gaps))]
    rows += [(CONTROLS[c.kind], _ruling(found, c), *_cells(found, c)) for c in controls]
    caption = (
        "The same rule for models of which it is known what to say: gaps to retrained models, each"
        " marked where it is equivalent; of retrained against retrained their mean size"
    )
    return Table(("Model", "Verdict", *head), rows, caption)


def _ruling(found: Judgement, control: Control) -> str:
    """The verdict on a control, with its reason or, of retrained models, the share rejected."""
    told = _said(control.verdict)
    if control.because:
        return f"{told}: {control.because}"
    rate = found.rejection_rate_of_retrained
    return told if control.kind != "retrained" or rate is None else f"{100 * rate:.0f} % rejected"


def _said(verdict: str) -> str:
    return verdict.replace("_", " ")


def _cells(found: Judgement, control: Control) -> list[str]:
    """By metric; a mean size has no sign."""
    style = ".4g" if control.kind == "retrained" else "+.4g"
    of = {g.metric: _cell(g, style) for g in control.gaps}
    return [of.get(g.metric, "not measured") for g in found.gaps]


def _cell(gap: Gap | ControlGap, style: str) -> str:
    return f"{gap.gap:{style}}" + (" equivalent" if gap.equivalent else "")


def attempt_table(attempts: Sequence[Attempt]) -> Table:
    """One row an attempt, in order."""
    head = ("Method", "Parameters", "Seeds", "Round", "Outcome", "Because", "CPU seconds")
    rows = [
        (
            one.method,
            one.tuned if one.tuned == "defaults" else f"searched ({one.tuned[:12]})",
            ", ".join(map(str, one.seeds)) or "none",
            one.round,
            one.outcome.replace("_", " "),
            one.because,
            number(one.cpu_seconds),
        )
        for one in attempts
    ]
    return Table(
        head,
        rows,
        "All methods that were tried, in order; CPU seconds with the start of worker processes",
    )
