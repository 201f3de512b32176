"""Plan audits before a model is unlearned, run exactly those, and show what they saw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from rescind.cli.opening import opened
from rescind.cli.options import HERE, AsJson, WorkspaceFolder
from rescind.cli.output import Exit, emit, table
from rescind.core.audit import ACCESS, OUTCOMES

if TYPE_CHECKING:
    from rescind.core.audit import AuditPlan, AuditResult, AuditVerdict

CODES = {
    "removed_supported": Exit.FINE,
    "residue_found": Exit.VERIFICATION_FAILED,
    "no_power": Exit.NOT_ENOUGH_EVIDENCE,
}


def audit(
    version: Annotated[
        str, typer.Argument(metavar="VERSION", help="A version, or the request that makes it.")
    ],
    add: Annotated[
        list[str] | None,
        typer.Option(
            "--add",
            metavar="NAME",
            help="One more audit: it can lower the claim, never support it.",
        ),
    ] = None,
    workspace: WorkspaceFolder = HERE,
    as_json: AsJson = False,
) -> None:
    """Unlearn if that is not done, run the audits that were planned, and show the verdict.

    The model is not released: `rescind process` goes on from here. Audits that are done are not run
    again, and an interrupted run goes on with the next one. The exit code is 0 where removal is
    supported, 3 where a residue was found, and 4 where there was not enough power to tell.
    """
    from rescind.progress import Bars

    ws = opened(workspace)
    with Bars() as progress:
        found = ws.audit(version, add=add or (), progress=progress)
    emit(as_json, found, lambda: verdict_lines(found))
    if CODES[found.outcome]:
        raise typer.Exit(CODES[found.outcome])


def plan_lines(request: str, found: AuditPlan) -> Iterator[str]:
    """What was chosen for a request, and why the rest was not."""
    yield (
        f"Audits of request {request}, level {found.level:g}, budget"
        f" {found.budget_seconds:g} s of one core, access to {ACCESS[found.access]}:"
    )
    rows = [(c.audit, f"{c.seconds:.0f}", c.seed) for c in found.choices]
    yield from table(["audit", "seconds", "seed"], rows) if rows else ["  none"]
    yield from (f"Left out: {name}: {why}." for name, why in sorted(found.left_out.items()))


def verdict_lines(found: AuditVerdict) -> Iterator[str]:
    """The verdict, a row an audit, and what none of them shows."""
    yield f"Version {found.version}: {OUTCOMES[found.outcome]}. {found.because}"
    head = ["audit", "outcome", "n", "p", "corrected", "power", "effect", "95 % interval", "unit"]
    yield from table(head, [_row(r) for r in found.results])
    yield from (f"{r.audit}: {r.told}." for r in found.results)
    yield "Not claimed:"
    yield from (f"  {line}" for line in found.not_claimable)


def _row(found: AuditResult) -> Sequence[object]:
    name = f"{found.audit} (added)" if found.exploratory else found.audit
    ends = "" if found.interval is None else "{:.3g} to {:.3g}".format(*found.interval)
    numbers = (found.p, found.p_corrected, found.power, found.effect)
    shown = ["" if x is None else f"{x:.3g}" for x in numbers]
    return (name, OUTCOMES[found.outcome], found.n, *shown, ends, found.unit)
