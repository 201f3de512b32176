"""What was measured after a request, and the verdict beside retrained models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rescind.cli.opening import opened
from rescind.cli.options import HERE, AsJson, RequestId, WorkspaceFolder
from rescind.cli.output import emit, table
from rescind.core.control import CONTROLS, warning
from rescind.core.request import GOALS

if TYPE_CHECKING:
    from rescind.core.control import Control
    from rescind.core.evidence import Evaluation
    from rescind.core.judgement import Judgement


def evaluate(
    request: RequestId, workspace: WorkspaceFolder = HERE, as_json: AsJson = False
) -> None:
    """Show the evaluation of a request: goal, verdict, gaps, controls and attempts.

    It is made by `rescind process`. A model is judged where the recipe has margins and the method
    claims no exactness; else the reason is told. The controls are judged by the same rule: the
    original, random weights, an edit of the last layer only, and the retrained models themselves.
    """
    found = opened(workspace).evaluation(request)
    emit(as_json, found, lambda: _lines(found))


def _lines(found: Evaluation) -> Iterator[str]:
    yield f"Version {found.version}. Goal: {GOALS[found.goal]}."
    if found.judgement is None:
        yield f"Not judged: {found.unjudged or 'it was evaluated before there were judgements'}."
    else:
        yield from _judged(found.judgement)
        yield from _controls(found.judgement, found.controls)
    if found.attempts:
        yield "Tried, in order:"
        rows = [
            (a.method, a.tuned[:12], a.round, a.outcome, f"{a.cpu_seconds:.2f}", a.because)
            for a in found.attempts
        ]
        yield from table(["method", "parameters", "round", "outcome", "CPU s", "because"], rows)
    if found.cpu_seconds:
        told = ", ".join(f"{name} {s:.2f}" for name, s in found.cpu_seconds.items())
        yield f"CPU seconds: {told}."
    rows_ = [
        (m.name, f"{m.value:.4f}", "{:.4f} to {:.4f}".format(*m.interval), m.n, m.compared_with)
        for m in found.measurements
    ]
    yield from table(["measured", "value", "95 % interval", "n", "against"], rows_)


def _judged(found: Judgement) -> Iterator[str]:
    rate = found.rejection_rate_of_retrained
    rejected = "none counts" if rate is None else f"{rate:.0%}"
    yield f"Verdict: {found.verdict}. {found.because}"
    yield (
        f"{found.seeds} seeds beside {found.references} retrained models, of which the same rules"
        f" reject: {rejected}."
    )
    rows = [
        (
            gap.metric,
            gap.role,
            f"{gap.value:.4f}",
            f"{gap.gap:+.4f}",
            "{:+.4f} to {:+.4f}".format(*gap.interval),
            f"{gap.natural_spread:.4f}",
            f"{gap.margin:g}",
            ("equivalent" if gap.equivalent else "no") if gap.counts else "no power",
        )
        for gap in found.gaps
    ]
    head = ["metric", "role", "value", "gap", "95 % interval", "spread", "margin", "equivalent"]
    yield from table(head, rows)


def _controls(found: Judgement, controls: Sequence[Control]) -> Iterator[str]:
    """Each control's verdict, and its gap by metric with a = where it is equivalent."""
    if not controls:
        return
    if passed := warning(controls):
        yield f"Warning: {passed}"
    metrics = [gap.metric for gap in found.gaps]
    rows = []
    for one in controls:
        style = ".4f" if one.kind == "retrained" else "+.4f"  # a mean size has no sign
        gaps = {g.metric: f"{g.gap:{style}}{' =' if g.equivalent else ''}" for g in one.gaps}
        rows.append((CONTROLS[one.kind], one.verdict, *(gaps.get(name) for name in metrics)))
    yield "Controls by the same rule, with their gaps (=: equivalent):"
    yield from table(["control", "verdict", *metrics], rows)
    yield from (f"{CONTROLS[c.kind]}: {c.because}" for c in controls if c.because)
